"""Who must not be contacted: refusals and bounces of mailboxes and numbers, and those of contacts themselves.

What is said of a channel with an address belongs to (channel, address): all contacts of the address are silent,
and who gets another one is free. What is said of a channel without one, and what colleagues say of a contact,
belongs to the contact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Connection

from db import campaigns
from db.house import house_of
from db.statements import statements
from domain.identity import IdentityError, phone

sql = statements("refusals")

Reason = Literal["unsubscribed", "bounced", "manual"]
# The strongest first: a person's own word, a colleague's, a machine's.
STRENGTH = ("unsubscribed", "manual", "bounced")
# So many last digits find a number however it is written, with or without a country code.
TAIL = 6


class Refusal(NamedTuple):
    """Why a contact is not to be written to on a channel."""

    channel: str
    reason: str
    comment: str | None
    at: datetime


class Reach(NamedTuple):
    """Where a contact is reached: an email address in small letters, a phone number in the form +33123456789."""

    email: str | None
    phone: str | None

    def on(self, channel: str) -> str | None:
        """Return the address that a channel uses; None for one that uses none that we know."""
        kind = channel.partition(":")[0]
        return self.email if kind == "email" else self.phone if kind == "sms" else None


class Said(NamedTuple):
    """A word of a contact on a channel. Without an address it is about the one that the contact has."""

    contact_id: int
    channel: str
    at: datetime
    address: str | None = None


class Owner(NamedTuple):
    """A contact that has a phone number."""

    id: int
    key: str


def number_of(text: str | None, country: str | None, otherwise: str | None) -> str | None:
    """Return a phone number in one form, by the rules of the contact's country or of `otherwise`.

    What is no number of a known plan is compared by its digits; None without any.
    """
    if not text:
        return None
    try:
        return phone(text, country if country and len(country.strip()) == 2 else otherwise)
    except IdentityError:
        return re.sub("[^0-9]", "", text) or None


def reach(conn: Connection, contact_ids: Iterable[int]) -> dict[int, Reach]:
    """Return where contacts are reached, by id."""
    default = house_of(conn).country
    rows = conn.execute(sql["reach"], {"ids": sorted(set(contact_ids))})
    return {row.id: Reach(row.email, number_of(row.phone, row.country, default)) for row in rows}


def in_full(conn: Connection, contact_ids: Iterable[int]) -> dict[int, list[Refusal]]:
    """Return what must not be sent to contacts, by id: for each channel the strongest reason."""
    default = house_of(conn).country
    found: dict[int, dict[str, Refusal]] = {}
    for row in conn.execute(sql["of_contacts"], {"ids": list(contact_ids)}):
        if row.number is not None and number_of(row.phone, row.country, default) != row.number:
            continue
        refusal = Refusal(row.channel, row.reason, row.comment, row.at)
        known = found.setdefault(row.contact_id, {})
        before = known.get(row.channel)
        if before is None or STRENGTH.index(row.reason) < STRENGTH.index(before.reason):
            known[row.channel] = refusal
    return {id_: [known[channel] for channel in sorted(known)] for id_, known in found.items()}


def of_contacts(conn: Connection, contact_ids: Iterable[int]) -> dict[int, dict[str, str]]:
    """Return why contacts must not be contacted: by id, the reason of each channel; who may be is left out."""
    return {
        id_: {refusal.channel: refusal.reason for refusal in refusals}
        for id_, refusals in in_full(conn, contact_ids).items()
    }


def refuse(conn: Connection, said: Sequence[Said], *, reason: Literal["unsubscribed", "bounced"]) -> None:
    """Write what contacts, or their mail servers, said: the address where it was said is silent from then on."""
    if not said:
        return
    reached = reach(conn, {each.contact_id for each in said})
    said = _placed(said, reached)
    _refuse_addresses(conn, said, reason)
    # What was said of an address that the contact no longer has is not about the contact.
    present = [each for each in said if each.address is None or each.address == _own(reached, each)]
    if present:
        columns = _columns(present)
        conn.execute(sql["refuse_contacts"], {**columns, "reason": reason})


def _refuse_addresses(conn: Connection, said: Sequence[Said], reason: str, comments: Sequence[str | None] = ()) -> None:
    rows = list(zip(said, comments or [None] * len(said), strict=True))
    rows = [(each, comment) for each, comment in rows if each.address is not None]
    if rows:
        columns = _columns([each for each, _ in rows])
        conn.execute(sql["refuse"], {**columns, "comments": [comment for _, comment in rows], "reason": reason})


def resubscribe(conn: Connection, said: Sequence[Said]) -> None:
    """Take back what contacts said when they unsubscribed, unless they said so since."""
    if not said:
        return
    placed = _placed(said, reach(conn, {each.contact_id for each in said}))
    conn.execute(sql["resubscribe_contacts"], _columns(placed))
    with_address = [each for each in placed if each.address is not None]
    without = [each for each in placed if each.address is None]
    if with_address:
        columns = _columns(with_address)
        conn.execute(sql["resubscribe"], columns)
        conn.execute(sql["resubscribe_mates"], columns)
    if without:
        conn.execute(sql["remember_return"], _columns(without))


def refused_by_hand(conn: Connection, refused: Sequence[tuple[int, str, str, str | None]], *, now: datetime) -> None:
    """Let what was written of contacts (contact id, channel, reason, comment) hold for others of their addresses."""
    reached = reach(conn, {id_ for id_, *_ in refused})
    for reason in sorted({reason for _, _, reason, _ in refused}):
        mine = [(id_, channel, comment) for id_, channel, why, comment in refused if why == reason]
        placed = _placed([Said(id_, channel, now) for id_, channel, _ in mine], reached)
        _refuse_addresses(conn, placed, reason, [comment for *_, comment in mine])


def allow(conn: Connection, allowed: Sequence[tuple[int, str]], *, now: datetime) -> None:
    """Free the addresses of contacts on channels, whatever the reason: (contact id, channel)."""
    reached = reach(conn, {id_ for id_, _ in allowed})
    placed = _placed([Said(id_, channel, now) for id_, channel in allowed], reached)
    freed = [each for each in placed if each.address is not None]
    if freed:
        conn.execute(sql["allow"], {**_columns(freed), "now": now})


def owners(conn: Connection, numbers: Iterable[str]) -> dict[str, list[Owner]]:
    """Return who has phone numbers, by the numbers as they are given; the oldest contact first."""
    default = house_of(conn).country
    wanted = {number: read for number in numbers if (read := number_of(number, None, default)) is not None}
    found: dict[str, list[Owner]] = {}
    rows = (
        conn.execute(sql["by_phones"], {"tails": sorted({read[-TAIL:] for read in wanted.values()})}) if wanted else ()
    )
    by_number: dict[str, list[Owner]] = {}
    for row in rows:
        own = number_of(row.phone, row.country, default)
        if own is not None:
            by_number.setdefault(own, []).append(Owner(row.id, row.key))
    for number, read in wanted.items():
        if read in by_number:
            found[number] = by_number[read]
    return found


def forget(conn: Connection, contact_ids: Iterable[int]) -> set[str]:
    """Forget what the addresses of contacts, past ones too, refused; return the addresses.

    For those who are erased. What others have as well is theirs, and left alone.
    """
    ids = sorted(set(contact_ids))
    # Erasing reads no table as a whole, whatever statistics say.
    campaigns.read_by_index(conn)
    default = house_of(conn).country
    reached = reach(conn, ids).values()
    emails = {each.email for each in reached if each.email}
    phones = {each.phone for each in reached if each.phone}
    for address in conn.execute(sql["past_addresses"], {"ids": ids}).scalars():
        if "@" in address:
            emails.add(address.strip().lower())
        elif number := number_of(address, None, default):
            phones.add(number)
    shared = {number for number, who in owners(conn, phones).items() if not {owner.id for owner in who} <= set(ids)}
    held = set(conn.execute(sql["held"], {"addresses": sorted(emails), "ids": ids}).scalars())
    gone = (emails - held) | (phones - shared)
    conn.execute(sql["forget"], {"addresses": sorted(gone)})
    return gone


def _placed(said: Sequence[Said], reached: dict[int, Reach]) -> list[Said]:
    """Return words with the addresses that they are about, in the form in which they are compared."""
    return [each._replace(address=_normal(each) or _own(reached, each)) for each in said]


def _normal(said: Said) -> str | None:
    if said.address is None:
        return None
    text = said.address.strip()
    return (text.lower() or None) if "@" in text else number_of(text, None, None)


def _own(reached: dict[int, Reach], said: Said) -> str | None:
    return reached[said.contact_id].on(said.channel) if said.contact_id in reached else None


def _columns(said: Sequence[Said]) -> dict[str, list[object]]:
    contact_ids, channels, ats, addresses = map(list, zip(*said, strict=True))
    return {"contact_ids": contact_ids, "channels": channels, "ats": ats, "addresses": addresses}
