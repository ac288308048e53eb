"""The inbox of contact events, and what an event changes in a contact."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db import touched
from parcours.db.statements import like, statements
from parcours.db.tables import contacts, installation, rules
from parcours.domain import gate
from parcours.domain.contacts import identity
from parcours.domain.contacts.identity import is_address, same_address
from parcours.domain.contacts.touched import by_event
from parcours.domain.events.parsing import ContactEvent

sql = statements(__file__)

# So many of the oldest events a contact of a batch are looked at for contacts; more are of few contacts.
LOOK_EACH = 4

# Characters of a dead letter that are kept; no event that can be understood is longer.
MAX_LETTER = 1_000_000
MAX_REASON = 2_000
# An extension attribute of events that are dead letters (CloudEvents 1.0.2, section 3.1: small letters, a text).
UNJUDGED = "parcoursunjudged"


class Pending(NamedTuple):
    """An event that was taken from the inbox."""

    contact_id: int
    seq: int
    received_at: datetime
    source: str
    id: str
    type: str
    at: datetime
    data: dict[str, Any]
    # Whether some campaign lets contacts in or out by events of this type.
    heeded: bool = False


class Said(NamedTuple):
    """A contact's attributes as events may change them, and when each was last said."""

    id: int
    email: str | None
    timezone: str | None
    owner: str | None
    stage: str | None
    fields: dict[str, Any]
    said_at: dict[str, str]


class Past(NamedTuple):
    contact_id: int
    type: str
    at: datetime
    data: dict[str, Any]


def remember(conn: Connection, events: Sequence[ContactEvent], *, now: datetime) -> set[tuple[str, str]]:
    """Return the (source, id) of those that were never seen before, and remember them."""
    if not events:
        return set()
    parameters = {"sources": [each.source for each in events], "ids": [each.id for each in events], "now": now}
    return {(row.source, row.id) for row in conn.execute(sql["remember"], parameters)}


def contact_ids(conn: Connection, names: Iterable[str]) -> dict[str, int]:
    """Return the ids of the contacts that names mean, nobody erasing them before the transaction ends."""
    found = contacts.named(conn, names)
    if not found:
        return {}
    kept = set(conn.execute(sql["keep_contacts"], {"ids": sorted(set(found.values()))}).scalars())
    return {name: id_ for name, id_ in found.items() if id_ in kept}


def make_contacts(conn: Connection, names: Iterable[str]) -> None:
    """Make contacts for names that mean nobody; one that is named by an address has it.

    Whoever else is about to make a contact of one of these addresses waits, and then finds it.
    """
    addresses: dict[str, str] = {}
    keys: list[str] = []
    for name in sorted(set(names)):
        if not is_address(name):
            keys.append(name)
        elif same_address(name) not in addresses:
            addresses[same_address(name)] = name
    lock_addresses(conn, addresses)
    since = contacts.named(conn, addresses.values())
    new = [name for name in addresses.values() if name not in since]
    emails = [*[None] * len(keys), *map(identity.address, new)]
    made = conn.execute(sql["make_contacts"], {"keys": [*keys, *new], "emails": emails}).scalars()
    touched.note_anything(conn, made)


def lock_addresses(conn: Connection, addresses: Iterable[str]) -> None:
    """Wait until nobody else gives these addresses to contacts, and keep others out until the transaction ends."""
    wanted = sorted({same_address(address) for address in addresses})
    if wanted:
        conn.execute(sql["lock_addresses"], {"addresses": wanted})


def key_hash(key: str, secret: str) -> bytes:
    """Return what is remembered of an erased contact's key: nobody finds the key by trying without the secret."""
    return hmac.digest(secret.encode(), key.encode(), "sha256")


def _old_hash(key: str) -> bytes:
    """Return what versions before this one remembered of an erased contact's key."""
    return hashlib.sha256(key.encode()).digest()


def keys(conn: Connection, ids: Iterable[int]) -> list[str]:
    """Return the keys of contacts by id, in that order; those that are gone are left out."""
    return list(conn.execute(sql["keys"], {"ids": list(ids)}).scalars())


def as_cloud_event(event: Pending, contact: str) -> str:
    """Return an event as it may be offered again: under an id of its own, since its first one is known."""
    described = {
        "specversion": "1.0",
        "source": event.source,
        "id": f"{event.id}#{event.seq}",
        "type": event.type,
        "subject": contact,
        "time": event.at.isoformat(),
        "data": event.data,
    }
    return json.dumps(described, ensure_ascii=False)


def erased(conn: Connection, keys: Iterable[str]) -> dict[str, datetime]:
    """Return when contacts of these keys were erased; those never erased are left out."""
    wanted = sorted(set(keys))
    if not wanted:
        return {}
    secret = installation.erasure_key(conn)
    hashes = {hash_: key for key in wanted for hash_ in (key_hash(key, secret), _old_hash(key))}
    found: dict[str, datetime] = {}
    for row in conn.execute(sql["erased"], {"hashes": list(hashes)}):
        key = hashes[bytes(row.key_hash)]
        found[key] = max(row.at, found.get(key, row.at))
    return found


def tombstone(conn: Connection, at: Mapping[str, datetime]) -> None:
    """Remember that contacts were erased, so that late events do not bring them back."""
    if not at:
        return
    secret = installation.erasure_key(conn)
    before = {"hashes": [_old_hash(key) for key in at]}
    old = {bytes(row.key_hash): row.at for row in conn.execute(sql["drop_old_tombstones"], before)}
    ats = [max(when, old.get(_old_hash(key), when)) for key, when in at.items()]
    conn.execute(sql["tombstone"], {"hashes": [key_hash(key, secret) for key in at], "ats": ats})


def forget_ids(conn: Connection, ids: Iterable[tuple[str, str]]) -> None:
    """Forget that events, by (source, id), ever came."""
    wanted = sorted(set(ids))
    if wanted:
        sources, names = map(list, zip(*wanted, strict=True))
        conn.execute(sql["forget_ids"], {"sources": sources, "ids": names})


def store(conn: Connection, events: Sequence[tuple[int, ContactEvent]], *, now: datetime) -> None:
    """Put events of contacts into the inbox, in their order."""
    if not events:
        return
    parameters = {
        "contact_ids": [contact_id for contact_id, _ in events],
        "sources": [each.source for _, each in events],
        "ids": [each.id for _, each in events],
        "types": [each.type for _, each in events],
        "ats": [each.at for _, each in events],
        "datas": [json.dumps(each.data, default=str) for _, each in events],
        "now": now,
    }
    conn.execute(sql["store"], parameters)


def pending_contacts(conn: Connection, limit: int) -> list[int]:
    """Return contacts with something in the inbox, oldest first, with their locks.

    Behind a flood of few contacts others have their turn at once, however long it is.
    """
    parameters = {"look": limit * LOOK_EACH, "limit": limit, "share": random.random()}
    return list(conn.execute(sql["pending_contacts"], parameters).scalars())


def lock_pending(conn: Connection, contact_ids: Sequence[int]) -> list[int]:
    """Take the locks of those of these contacts that are in nobody's hands; return them in the given order."""
    free = set(conn.execute(sql["lock_pending"], {"contact_ids": list(contact_ids)}).scalars())
    return [contact_id for contact_id in contact_ids if contact_id in free]


def pending_of(conn: Connection, names: Iterable[str], limit: int) -> list[int]:
    """Return those of these contacts with something in the inbox, oldest first, with their locks."""
    ids = sorted(set(contacts.named(conn, names).values()))
    return list(conn.execute(sql["pending_of"], {"ids": ids, "limit": limit}).scalars())


def take(conn: Connection, contact_ids: Sequence[int], *, each: int) -> list[Pending]:
    """Take the oldest events of contacts whose locks the caller holds, at most so many of each, in its order."""
    if not contact_ids:
        return []
    rows = conn.execute(sql["take"], {"contact_ids": list(contact_ids), "each": each}).all()
    if rows:
        rules.go_by(conn, rows[0].rules)
    return sorted((Pending(*row[:-1]) for row in rows), key=lambda event: event.seq)


def take_all(conn: Connection, contacts: Iterable[int]) -> list[Pending]:
    """Take all that is left in the inbox of contacts whose locks the caller holds, in its order."""
    rows = [Pending(*row) for row in conn.execute(sql["take_all"], {"contact_ids": list(contacts)})]
    return sorted(rows, key=lambda event: event.seq)


def oldest_pending(conn: Connection) -> int | None:
    """Return the number of the oldest event in the inbox; None when that is empty."""
    seq: int | None = conn.execute(sql["oldest_pending"]).scalar_one_or_none()
    return seq


def backlog(conn: Connection) -> tuple[int, datetime | None]:
    """Return how many events wait in the inbox, and since when the oldest does."""
    row = conn.execute(sql["backlog"]).one()
    return row.n, row.oldest


def keep(conn: Connection, events: Sequence[Pending]) -> None:
    """Write events to the history."""
    if events:
        parameters = {
            "contact_ids": [each.contact_id for each in events],
            "receiveds": [each.received_at for each in events],
            "sources": [each.source for each in events],
            "ids": [each.id for each in events],
            "types": [each.type for each in events],
            "ats": [each.at for each in events],
            "datas": [json.dumps(each.data) for each in events],
        }
        conn.execute(sql["keep"], parameters)
        touched.note_tokens(
            conn, ((each.contact_id, token) for each in events for token in by_event(each.type, each.data))
        )


def seen_active(conn: Connection, seen: Sequence[tuple[int, datetime]]) -> None:
    """Move the time at which contacts were last active."""
    if seen:
        parameters = {"contact_ids": [contact_id for contact_id, _ in seen], "ats": [at for _, at in seen]}
        conn.execute(sql["seen_active"], parameters)
        touched.note(conn, "last_active_at", (contact_id for contact_id, _ in seen))


def said(conn: Connection, ids: Iterable[int]) -> dict[int, Said]:
    """Return contacts' attributes with when each was last said."""
    return {row.id: Said(*row) for row in conn.execute(sql["said"], {"ids": list(ids)})}


def say(conn: Connection, contacts: Sequence[Said], *, now: datetime) -> None:
    """Write contacts' attributes."""
    if contacts:
        parameters = {
            "ids": [each.id for each in contacts],
            "emails": [each.email for each in contacts],
            "timezones": [each.timezone for each in contacts],
            "owners": [each.owner for each in contacts],
            "stages": [each.stage for each in contacts],
            "fields": [json.dumps(each.fields) for each in contacts],
            "said_ats": [json.dumps(each.said_at) for each in contacts],
            "now": now,
        }
        conn.execute(sql["say"], parameters)


class Written(NamedTuple):
    """Where one of our own messages went."""

    channel: str
    address: str | None


def addresses_of_messages(conn: Connection, keys: Iterable[str]) -> dict[str, Written]:
    """Return where our own messages went, by message key."""
    wanted = sorted(set(keys))
    rows = conn.execute(sql["addresses_of_messages"], {"keys": wanted}) if wanted else ()
    return {row.key: Written(row.channel, row.address) for row in rows}


def messages_meant(conn: Connection, named: Sequence[tuple[int, str, datetime]]) -> dict[int, str]:
    """Return which of our own emails are meant by (contact id, template, when): message keys by place in `named`.

    One that the contact was not sent is left out.
    """
    if not named:
        return {}
    contact_ids, keys, ats = map(list, zip(*named, strict=True))
    rows = conn.execute(
        sql["messages_meant"],
        {"nths": list(range(len(named))), "contact_ids": contact_ids, "templates": keys, "ats": ats},
    )
    return {row.nth: row.key for row in rows}


def mark_messages(conn: Connection, marks: Sequence[tuple[str, str, datetime]]) -> None:
    """Write what became of our own messages: (message key, opened, clicked, replied or bounced, when)."""
    if marks:
        keys, whats, ats = map(list, zip(*marks, strict=True))
        conn.execute(sql["mark_messages"], {"keys": keys, "whats": whats, "ats": ats})


def templates(conn: Connection, keys: Iterable[str]) -> dict[str, str]:
    """Return the templates of our own messages, by message key."""
    rows = conn.execute(sql["templates"], {"keys": sorted(set(keys))})
    return {row.key: row.template for row in rows if row.template}


def templates_named(conn: Connection, datas: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the templates of the messages that the data of events name, by message key."""
    keys = {str(data["message"]) for data in datas if data.get("message")}
    return templates(conn, keys) if keys else {}


def texted(conn: Connection, contact_ids: Iterable[int]) -> dict[int, dict[int, datetime]]:
    """Return which campaigns, by id, sent contacts a text message, and when first."""
    found: dict[int, dict[int, datetime]] = {}
    ids = list(contact_ids)
    for contact_id, campaign_id, first_at in conn.execute(sql["texted"], {"contact_ids": ids}) if ids else ():
        found.setdefault(contact_id, {})[campaign_id] = first_at
    return found


def campaigns_of_messages(conn: Connection, keys: Iterable[str]) -> dict[str, int]:
    """Return the ids of the campaigns that wrote our own messages, by message key."""
    wanted = sorted(set(keys))
    rows = conn.execute(sql["campaigns_of_messages"], {"keys": wanted}) if wanted else ()
    return {row.key: row.campaign_id for row in rows}


def see_devices(conn: Connection, seen: Sequence[tuple[int, str | None, str | None, str | None, datetime]]) -> None:
    """Remember devices: (contact id, type, brand, system, when)."""
    if seen:
        names = ("contact_ids", "types", "brands", "oss", "ats")
        conn.execute(sql["see_devices"], dict(zip(names, map(list, zip(*seen, strict=True)), strict=True)))
        touched.note(conn, "devices", (contact_id for contact_id, *_ in seen))


def segments_by_time(
    conn: Connection, segment_id: int, said_at: Sequence[tuple[int, datetime]], *, active: bool
) -> None:
    """Put contacts into a segment or take them out, unless something newer or a person said otherwise.

    In a segment by rule this is a word by hand, which its rule does not undo; the latest one holds there.
    """
    if said_at:
        parameters = {
            "segment_id": segment_id,
            "active": active,
            "contact_ids": [contact_id for contact_id, _ in said_at],
            "ats": [at for _, at in said_at],
        }
        conn.execute(sql["segments_by_time"], parameters)
        touched.note_named(conn, "segments", ((contact_id, segment_id) for contact_id, _ in said_at))


def campaigns_of_segment(conn: Connection, segment_id: int) -> list[tuple[int, str | None]]:
    """Return the campaigns that a segment feeds (None), then those of which it is an exit, with its key."""
    return [
        (row.campaign_id, row.exit) for row in conn.execute(sql["campaigns_of_segment"], {"segment_id": segment_id})
    ]


def recent(conn: Connection, contacts: Iterable[int], types: Iterable[str], *, since: datetime) -> list[Past]:
    """Return what contacts did of some types, `*` being anything, since an instant, oldest first."""
    patterns = [like(each) for each in types]
    parameters = {"contact_ids": list(contacts), "types": patterns, "since": since}
    return [Past(*row) for row in conn.execute(sql["recent"], parameters)]


def add_dead_letters(
    conn: Connection, letters: Sequence[tuple[str, str]], *, origin: Literal["event", "message"], now: datetime
) -> None:
    """Keep what could not be understood or done: (reason, body as it came). Never fails for what is in them.

    What PostgreSQL has not in texts is replaced, and a body without end is cut, which its reason says.
    """
    if letters:
        kept = [_kept(reason, body) for reason, body in letters]
        parameters = {
            "origin": origin,
            "now": now,
            "reasons": [reason for reason, _ in kept],
            "bodies": [body for _, body in kept],
        }
        conn.execute(sql["add_dead_letters"], parameters)


class DeadEvent(NamedTuple):
    """An event that becomes a dead letter, and why.

    `unjudged` has the places, CAMPAIGN/STEP, of the decisions that could not judge it: the rest of it is done.
    """

    event: Pending
    reason: str
    unjudged: Sequence[str] = ()


def add_dead_events(conn: Connection, letters: Sequence[DeadEvent], *, now: datetime) -> None:
    """Keep events as dead letters, as they could be sent again."""
    if letters:
        ids = [letter.event.contact_id for letter in letters]
        keys = {row.id: row.key for row in conn.execute(sql["keys_by_id"], {"ids": ids})}
        written = [(letter.reason, _as_sent(letter, keys.get(letter.event.contact_id, ""))) for letter in letters]
        add_dead_letters(conn, written, origin="event", now=now)


def unjudged_of(body: Mapping[str, Any]) -> list[str]:
    """Return the places of the decisions that could not judge the event of a dead letter."""
    places = body.get(UNJUDGED)
    return places.split() if isinstance(places, str) else []


def move_to_dead_letters(conn: Connection, event: Pending, reason: str, *, now: datetime) -> bool:
    """Move an event from the inbox to the dead letters; return whether it was still there.

    It counts as never seen, so that it can be sent again, or replayed.
    """
    place = {"contact_id": event.contact_id, "seq": event.seq}
    if conn.execute(sql["drop_pending"], place).first() is None:
        return False
    conn.execute(sql["forget"], {"source": event.source, "id": event.id})
    add_dead_events(conn, [DeadEvent(event, reason)], now=now)
    return True


def _as_sent(letter: DeadEvent, contact: str) -> str:
    """Return an event as a CloudEvent in its JSON form."""
    event = letter.event
    sent = {
        "specversion": "1.0",
        "source": event.source,
        "id": event.id,
        "type": event.type,
        "subject": contact,
        "time": event.at.isoformat(),
        "data": event.data,
        **({UNJUDGED: " ".join(letter.unjudged)} if letter.unjudged else {}),
    }
    return json.dumps(sent, ensure_ascii=False)


def _kept(reason: str, body: str) -> tuple[str, str]:
    reason = gate.clean(reason)[:MAX_REASON]
    if len(body) > MAX_LETTER:
        reason += f" (only the first {MAX_LETTER:,} characters of the body are kept)"
    return reason, gate.clean(body[:MAX_LETTER])


def has_pending_of(conn: Connection, names: Iterable[str]) -> bool:
    """Return whether the inbox holds anything of these contacts."""
    ids = sorted(set(contacts.named(conn, names).values()))
    return bool(conn.execute(sql["has_pending_of"], {"ids": ids}).scalar_one())


def is_longer_than(conn: Connection, limit: int) -> bool:
    """Return whether the inbox holds more than so many events; reads no more than that many index entries."""
    return bool(conn.execute(sql["is_longer_than"], {"limit": limit}).scalar_one())


class DeadLetter(NamedTuple):
    id: int
    at: datetime
    origin: str
    reason: str
    body: str


def dead_letters(conn: Connection, *, id_: int | None = None, limit: int = 100) -> list[DeadLetter]:
    """Return the latest dead letters, or the one of an id."""
    return [DeadLetter(*row) for row in conn.execute(sql["dead_letters"], {"id": id_, "limit": limit})]


def take_dead_letters(conn: Connection, ids: Sequence[int] | None) -> list[DeadLetter]:
    """Take dead letters out of the table, all of them without ids."""
    rows = conn.execute(sql["take_dead_letters"], {"ids": None if ids is None else list(ids)})
    return sorted(DeadLetter(*row) for row in rows)


def count_dead_letters(conn: Connection) -> int:
    """Return how many dead letters there are."""
    return int(conn.execute(sql["count_dead_letters"]).scalar_one())
