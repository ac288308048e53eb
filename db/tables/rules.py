"""Rules of segments: what is stored of them, whom they put in and take out, and who is still to be asked."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import Transaction

from parcours.db.statements import statements
from parcours.db.tables import refusals
from parcours.db.touched import Touched, take

sql = statements(__file__)

# (contact id, segment id)
Pair = tuple[int, int]


class StoredRule(NamedTuple):
    """The rule of a segment, as its file has it in {"format": n, "rule": …}."""

    segment_id: int
    key: str
    name: str
    public: bool
    published: bool
    rule: Any
    digest: str
    version: int


class Standing(NamedTuple):
    """How a contact is, or was, in a segment."""

    contact_id: int
    segment_id: int
    active: bool
    manually_added: bool
    manually_removed: bool


class Left(NamedTuple):
    """A contact whose rules somebody else is to ask, and the word of what changed; None: anything."""

    contact_id: int
    what: str | None


# The version of all rules that a transaction goes by, read once in it, after it wrote something. A rule that is
# changed meanwhile is asked of everybody once such transactions are over.
_versions: WeakKeyDictionary[Transaction, int] = WeakKeyDictionary()
# By engine: the version, and the words that any rule reads.
_reads: WeakKeyDictionary[Engine, tuple[int, frozenset[str]]] = WeakKeyDictionary()


def version(conn: Connection) -> int:
    """Return the number of the latest change of any rule, as this transaction goes by it."""
    transaction = conn.get_transaction()
    if transaction is not None and transaction in _versions:
        return _versions[transaction]
    found = int(conn.execute(sql["version"]).scalar_one())
    transaction = conn.get_transaction()
    if transaction is not None:
        _versions[transaction] = found
    return found


def reads(conn: Connection) -> frozenset[str]:
    """Return the words that the rules of any segment read; none without a rule."""
    now = version(conn)
    known = _reads.get(conn.engine)
    if known is None or known[0] != now:
        known = _reads[conn.engine] = (now, frozenset(conn.execute(sql["reads"]).scalars()))
    return known[1]


def begin_to_change(conn: Connection) -> None:
    """Keep everybody else from changing rules until the transaction ends; what is read from then on is the present."""
    found = int(conn.execute(sql["begin_to_change"]).scalar_one())
    transaction = conn.get_transaction()
    assert transaction is not None
    _versions[transaction] = found


def stored(conn: Connection) -> list[StoredRule]:
    """Return the rules of all segments that have one, by key."""
    return [StoredRule(*row) for row in conn.execute(sql["stored"])]


def save(conn: Connection, segment_id: int, rule: Any, *, digest: str | None, reads: Iterable[str]) -> None:
    """Give a segment a rule, or none; who is in it stays, until the rule is asked."""
    written = None if rule is None else json.dumps(rule)
    given = {"segment_id": segment_id, "rule": written, "digest": digest, "reads": sorted(reads)}
    conn.execute(sql["save"], given)
    conn.execute(sql["drop_all_due"], {"segment_id": segment_id})


def complain(conn: Connection, errors: Mapping[int, str], *, now: datetime) -> None:
    """Remember what rules raised, by segment."""
    for segment_id, error in errors.items():
        conn.execute(sql["complain"], {"segment_id": segment_id, "error": error, "now": now})


def forgive(conn: Connection, segment_id: int) -> None:
    """Forget what a rule raised: it was asked of everybody, and answered."""
    conn.execute(sql["forgive"], {"segment_id": segment_id})


def complaints(conn: Connection) -> dict[str, str]:
    """Return what rules raised lately, by the key of the segment."""
    return {row.key: row.rule_error for row in conn.execute(sql["complaints"])}


# Members.


def standing(conn: Connection, segment_ids: Collection[int], contact_ids: Collection[int]) -> list[Standing]:
    """Return how contacts are in segments; those who never were are left out."""
    parameters = {"segment_ids": list(segment_ids), "ids": list(contact_ids)}
    return [Standing(*row) for row in conn.execute(sql["standing"], parameters)]


def enter(conn: Connection, pairs: Sequence[Pair], *, now: datetime) -> list[Pair]:
    """Let contacts, whose locks the caller holds, into segments by their rules; return those who came in."""
    return [(row.contact_id, row.segment_id) for row in _pairs(conn, "enter", pairs, now=now)]


def leave(conn: Connection, pairs: Sequence[Pair], *, now: datetime) -> list[Pair]:
    """Take contacts, whose locks the caller holds, out of segments by their rules; return those who went."""
    return [(row.contact_id, row.segment_id) for row in _pairs(conn, "leave", pairs, now=now)]


def release(conn: Connection, segment_id: int, contact_ids: Collection[int] | None) -> list[int]:
    """Forget who of contacts, of all without any, was put in or taken out by hand; return those of whom that was so."""
    ids = None if contact_ids is None else list(contact_ids)
    return list(conn.execute(sql["release"], {"segment_id": segment_id, "ids": ids}).scalars())


# When an answer may change by time alone.


def set_due(conn: Connection, due: Mapping[Pair, datetime]) -> None:
    """Write when rules are to be asked again of contacts."""
    if due:
        contact_ids, segment_ids = map(list, zip(*due, strict=True))
        given = {"contact_ids": contact_ids, "segment_ids": segment_ids, "dues": list(due.values())}
        conn.execute(sql["set_due"], given)


def drop_due(conn: Connection, pairs: Sequence[Pair]) -> None:
    """Forget when rules are to be asked again: their answer does not change by time any more."""
    _pairs(conn, "drop_due", pairs)


def first_due(conn: Connection, segment_ids: Collection[int], *, now: datetime) -> datetime | None:
    """Return since when a rule of these segments is to be asked again of somebody; None when that is nobody."""
    if not segment_ids:
        return None
    found: datetime | None = conn.execute(sql["first_due"], {"segment_ids": list(segment_ids), "now": now}).scalar_one()
    return found


def due_contacts(conn: Connection, segment_ids: Collection[int], *, now: datetime, limit: int) -> list[int]:
    """Return contacts of whom a rule of these segments is to be asked again, the longest due first."""
    parameters = {"segment_ids": list(segment_ids), "now": now, "limit": limit}
    return list(conn.execute(sql["due_contacts"], parameters).scalars()) if segment_ids else []


def due_of(conn: Connection, segment_ids: Collection[int], contact_ids: Collection[int], *, now: datetime) -> list[Pair]:
    """Return which rules of these segments are due for contacts."""
    parameters = {"segment_ids": list(segment_ids), "ids": list(contact_ids), "now": now}
    return [(row.contact_id, row.segment_id) for row in conn.execute(sql["due_of"], parameters)]


def lock_free(conn: Connection, contact_ids: Collection[int]) -> list[int]:
    """Take the locks of those contacts that nobody has in hand, in id order; return them."""
    return list(conn.execute(sql["lock_free"], {"ids": list(contact_ids)}).scalars())


def gone(conn: Connection, contact_ids: Collection[int]) -> list[int]:
    """Return which of these ids are no contact's any more."""
    return list(conn.execute(sql["gone"], {"ids": list(contact_ids)}).scalars())


# Who is left to others.


def leave_to_others(conn: Connection, rest: Touched) -> None:
    """Let somebody else ask the rules about what was touched, as far as any rule reads it."""
    known = reads(conn) if rest else frozenset[str]()
    if not known:
        return
    rows: list[tuple[int, str | None]] = [(id_, None) for id_ in rest.anything]
    for word in known:
        alone = Touched(words=rest.words, fields=rest.fields)
        rows += [(id_, word) for id_ in alone.of([word]) - rest.anything]
    if rows:
        ids, whats = map(list, zip(*sorted(rows, key=lambda row: (row[0], row[1] or "")), strict=True))
        conn.execute(sql["leave_to_others"], {"ids": ids, "whats": whats})
    if rest.companies and (known & {"company", "*"}):
        conn.execute(sql["companies_changed"], {"keys": sorted(rest.companies)})
    if rest.addresses and (known & {"refusals", "*"}):
        _leave_who_has(conn, rest.addresses)
    for joined in rest.joined:
        if known & {word := f"campaign:{joined.campaign_id}", "campaign:", "*"}:
            conn.execute(sql["leave_who_joined"], {**joined._asdict(), "what": word})


def _leave_who_has(conn: Connection, addresses: Collection[str]) -> None:
    emails = [each for each in addresses if "@" in each]
    if emails:
        conn.execute(sql["leave_who_has"], {"addresses": emails})
    numbers = [each for each in addresses if "@" not in each]
    ids = sorted({owner.id for owners in refusals.owners(conn, numbers).values() for owner in owners})
    if ids:
        conn.execute(sql["leave_to_others"], {"ids": ids, "whats": ["refusals"] * len(ids)})


def leave_imported(conn: Connection, *, now: datetime) -> bool:
    """Let somebody else ask the rules about whom the import of this transaction changed; return whether there are rules."""
    if not reads(conn):
        return False
    conn.execute(sql["leave_imported"], {"now": now})
    return True


def leave_rest(conn: Connection) -> None:
    """Leave to others what was touched and nobody asked about: as a transaction commits."""
    rest = take(conn)
    if rest:
        leave_to_others(conn, rest)


def oldest_left(conn: Connection) -> datetime | None:
    """Return since when somebody waits for being asked about; None when that is nobody."""
    found: datetime | None = conn.execute(sql["oldest_left"]).scalar_one()
    return found


def contacts_left(conn: Connection, *, limit: int) -> list[int]:
    """Return contacts whose rules are to be asked, who have waited longest first."""
    return list(conn.execute(sql["contacts_left"], {"limit": limit, "look": 4 * limit}).scalars())


def take_left(conn: Connection, contact_ids: Collection[int]) -> list[Left]:
    """Take what is left of contacts whose locks the caller holds."""
    return [Left(*row) for row in conn.execute(sql["take_left"], {"ids": list(contact_ids)})]


def expand_companies(conn: Connection, *, limit: int) -> None:
    """Put the contacts of companies that changed among those who are left, so many companies at a time."""
    conn.execute(sql["expand_companies"], {"limit": limit})


def _pairs(conn: Connection, name: str, pairs: Sequence[Pair], **more: Any) -> Any:
    if not pairs:
        return ()
    contact_ids, segment_ids = map(list, zip(*pairs, strict=True))
    return conn.execute(sql[name], {"contact_ids": contact_ids, "segment_ids": segment_ids, **more})
