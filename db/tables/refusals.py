"""Who must not be contacted: refusals and bounces of mailboxes and numbers, and those of contacts themselves.

What is said of a channel with an address belongs to (channel, address): all contacts of the address are silent,
and who gets another one is free. What is said of a channel without one, and what colleagues say of a contact,
belongs to the contact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db import touched
from parcours.db.installation_settings import settings_of
from parcours.db.statements import statements
from parcours.domain.contacts.identity import MAX_PHONE, IdentityError, phone, same_address

sql = statements(__file__)

Reason = Literal["unsubscribed", "bounced", "manual"]
# The strongest first: a person's own word, a colleague's, a machine's.
STRENGTH = ("unsubscribed", "manual", "bounced")
# So many last digits find a number however it is written, with or without a country code.
TAIL = 6
# So many digits, not beginning with 0, may have the code of a country in front.
WITH_COUNTRY = 11


class Refusal(NamedTuple):
    """Why a contact is not to be written to on a channel."""

    channel: str
    reason: str
    comment: str | None
    at: datetime
    # The mailbox or number that is refused; None: the contact itself, at any address.
    address: str | None = None


class Reach(NamedTuple):
    """Where a contact is reached: an email address in small letters, phone numbers in the form +33123456789."""

    email: str | None
    phones: tuple[str, ...]

    def on(self, channel: str) -> tuple[str, ...]:
        """Return the addresses that a channel uses; none for one that uses none that we know."""
        kind = channel.partition(":")[0]
        if kind == "email":
            return (self.email,) if self.email else ()
        return self.phones if kind == "sms" else ()


class RefusalChange(NamedTuple):
    """A word of a contact on a channel. Without an address it is about those that the contact has."""

    contact_id: int
    channel: str
    at: datetime
    address: str | None = None
    comment: str | None = None


class Owner(NamedTuple):
    """A contact that has a phone number."""

    id: int
    key: str


def number_of(text: str | None, country: str | None, otherwise: str | None) -> str | None:
    """Return a phone number in one form, by the rules of the contact's country or of `otherwise`.

    What is no number of a known plan is compared by its digits; None without any, or with more than a number has.
    """
    if not text:
        return None
    try:
        return phone(text, country if country and len(country.strip()) == 2 else otherwise)
    except IdentityError:
        digits = re.sub("[^0-9]", "", text)
    if len(digits) >= WITH_COUNTRY and not digits.startswith("0"):
        # As providers write numbers: with the code of the country, and without +.
        with suppress(IdentityError):
            return phone(f"+{digits}")
    return digits if 0 < len(digits) <= MAX_PHONE else None


def reach(conn: Connection, contact_ids: Iterable[int]) -> dict[int, Reach]:
    """Return where contacts are reached, by id."""
    default = settings_of(conn).country
    rows = conn.execute(sql["reach"], {"ids": sorted(set(contact_ids))})
    return {row.id: Reach(row.email, _numbers(row.phones, row.country, default)) for row in rows}


def _numbers(texts: Iterable[str | None], country: str | None, otherwise: str | None) -> tuple[str, ...]:
    read = (number_of(each, country, otherwise) for each in texts)
    return tuple(dict.fromkeys(each for each in read if each is not None))


def in_full(conn: Connection, contact_ids: Iterable[int]) -> dict[int, list[Refusal]]:
    """Return what must not be sent to contacts, by id: for each channel the strongest reason."""
    found: dict[int, dict[str, Refusal]] = {}
    for id_, refusal in _said_of(conn, contact_ids):
        known = found.setdefault(id_, {})
        before = known.get(refusal.channel)
        if before is None or STRENGTH.index(refusal.reason) < STRENGTH.index(before.reason):
            known[refusal.channel] = refusal
    return {id_: [known[channel] for channel in sorted(known)] for id_, known in found.items()}


def listed(conn: Connection, contact_id: int) -> list[Refusal]:
    """Return all that is refused of a contact, address by address, by channel and with the strongest reason first."""
    found = {refusal for _, refusal in _said_of(conn, [contact_id])}
    return sorted(found, key=lambda each: (each.channel, STRENGTH.index(each.reason), each.address or "", each.at))


def _said_of(conn: Connection, contact_ids: Iterable[int]) -> Iterator[tuple[int, Refusal]]:
    default = settings_of(conn).country
    for row in conn.execute(sql["of_contacts"], {"ids": list(contact_ids)}):
        if row.number is None or number_of(row.phone, row.country, default) == row.number:
            yield row.contact_id, Refusal(row.channel, row.reason, row.comment, row.at, row.address)


def of_contacts(conn: Connection, contact_ids: Iterable[int]) -> dict[int, dict[str, str]]:
    """Return why contacts must not be contacted: by id, the reason of each channel; who may be is left out."""
    return {
        id_: {refusal.channel: refusal.reason for refusal in refusals}
        for id_, refusals in in_full(conn, contact_ids).items()
    }


def refuse(conn: Connection, said: Sequence[RefusalChange], *, reason: Literal["unsubscribed", "bounced"]) -> None:
    """Write what contacts, or their mail servers, said: the address where it was said is silent from then on."""
    if not said:
        return
    reached = reach(conn, {each.contact_id for each in said})
    said = _placed(conn, said, reached)
    _refuse_addresses(conn, said, reason)
    # What was said of an address that the contact no longer has is not about the contact.
    present = [each for each in said if each.address is None or each.address in _own(reached, each)]
    if present:
        columns = _columns(present)
        conn.execute(sql["refuse_contacts"], {**columns, "reason": reason})
        touched.note(conn, "do_not_contact", (each.contact_id for each in present))


def _refuse_addresses(conn: Connection, said: Sequence[RefusalChange], reason: str) -> None:
    rows = [each for each in said if each.address is not None]
    if rows:
        conn.execute(sql["refuse"], {**_columns(rows), "reason": reason})
        _touch(conn, rows)


def of_numbers(conn: Connection, channel: str, numbers: Mapping[str, tuple[str, str | None]]) -> dict[str, str]:
    """Return why numbers refuse a channel, by what the caller calls each: (number as written, country of its owner)."""
    default = settings_of(conn).country
    read = {name: number_of(written, country, default) for name, (written, country) in numbers.items()}
    addresses = sorted({number for number in read.values() if number is not None})
    if not addresses:
        return {}
    rows = conn.execute(sql["of_addresses"], {"addresses": addresses, "channel": channel})
    reasons: dict[str | None, str] = {row.address: row.reason for row in rows}
    return {name: reasons[number] for name, number in read.items() if number in reasons}


def texted(conn: Connection, said: Sequence[RefusalChange]) -> list[RefusalChange]:
    """Return what text messages that came in say: of the number that sent them.

    One that is none of the contact's numbers speaks for these too: its message was an answer to ours.
    """
    default = settings_of(conn).country
    reached = reach(conn, {each.contact_id for each in said})
    words = []
    for each in said:
        number = number_of(each.address, None, default)
        if number is not None:
            words.append(each._replace(address=number))
        if number is None or number not in _own(reached, each):
            words.append(each._replace(address=None))
    return words


def left_by_address(conn: Connection, contact_ids: Iterable[int]) -> list[RefusalChange]:
    """Return which channels were left by the addresses of contacts, for who has others to say so of these."""
    return [
        RefusalChange(id_, refusal.channel, refusal.at, None, refusal.comment)
        for id_, refusal in _said_of(conn, contact_ids)
        if refusal.address is not None and refusal.reason == "unsubscribed"
    ]


def leave_by_address(conn: Connection, said: Sequence[RefusalChange]) -> None:
    """Let all addresses that contacts have leave channels, unless they came back there since."""
    if said:
        placed = _placed(conn, said, reach(conn, {each.contact_id for each in said}))
        _refuse_addresses(conn, placed, "unsubscribed")


def heard(conn: Connection, channel: str, address: str, reason: Reason | None, at: datetime) -> bool:
    """Keep what is said of an address, for whoever has it or gets it; without a reason they came back.

    Nobody's event says so: that of a contact that is not taken in, or of a number that no contact has. Returns False
    for what is no address.
    """
    # Nobody has the id 0.
    said = RefusalChange(0, channel, at, address)
    read = _normal(said, settings_of(conn).country)
    if read is None:
        return False
    placed = [said._replace(address=read)]
    if reason is not None:
        _refuse_addresses(conn, placed, reason)
    else:
        conn.execute(sql["resubscribe"], _columns(placed))
        _touch(conn, placed)
    return True


def resubscribe(conn: Connection, said: Sequence[RefusalChange]) -> None:
    """Take back what contacts said when they unsubscribed, unless they said so since."""
    if not said:
        return
    placed = _placed(conn, said, reach(conn, {each.contact_id for each in said}))
    conn.execute(sql["resubscribe_contacts"], _columns(placed))
    touched.note(conn, "do_not_contact", (each.contact_id for each in placed))
    _touch(conn, placed)
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
        mine = [
            RefusalChange(id_, channel, now, None, comment) for id_, channel, why, comment in refused if why == reason
        ]
        _refuse_addresses(conn, _placed(conn, mine, reached), reason)


def allow(conn: Connection, allowed: Sequence[tuple[int, str]], *, now: datetime) -> None:
    """Free the addresses of contacts on channels, whatever the reason: (contact id, channel)."""
    reached = reach(conn, {id_ for id_, _ in allowed})
    placed = _placed(conn, [RefusalChange(id_, channel, now) for id_, channel in allowed], reached)
    freed = [each for each in placed if each.address is not None]
    if freed:
        conn.execute(sql["allow"], {**_columns(freed), "now": now})
        _touch(conn, freed)


def owners(conn: Connection, numbers: Iterable[str]) -> dict[str, list[Owner]]:
    """Return who has phone numbers, by the numbers as they are given; the oldest contact first.

    A number without a country code is read by the rules of each contact whose number ends like it.
    """
    default = settings_of(conn).country
    wanted = {number: read for number in numbers if (read := number_of(number, None, default)) is not None}
    local: dict[str, list[str]] = {}
    for number, read in wanted.items():
        if not read.startswith("+"):
            local.setdefault(read[-TAIL:], []).append(number)
    found: dict[str, list[Owner]] = {}
    rows = (
        conn.execute(sql["by_phones"], {"tails": sorted({read[-TAIL:] for read in wanted.values()})}) if wanted else ()
    )
    by_number: dict[str, list[Owner]] = {}
    for row in rows:
        own = number_of(row.phone, row.country, default)
        if own is None:
            continue
        owner = Owner(row.id, row.key)
        by_number.setdefault(own, []).append(owner)
        for number in local.get(own[-TAIL:], ()):
            if own != wanted[number] and number_of(number, row.country, default) == own:
                by_number.setdefault(wanted[number], []).append(owner)
    for number, read in wanted.items():
        if read in by_number:
            found[number] = list(dict.fromkeys(by_number[read]))
    return found


def forget(conn: Connection, contact_ids: Iterable[int]) -> set[str]:
    """Forget what the addresses of contacts, past ones too, refused; return the addresses.

    For those who are erased. What others have as well is theirs, and left alone.
    """
    ids = sorted(set(contact_ids))
    # Erasing reads no table as a whole, whatever statistics say.
    # Here, since who only reads refusals needs no campaigns.
    from parcours.db.tables.campaigns import read_by_index

    read_by_index(conn)
    default = settings_of(conn).country
    reached = reach(conn, ids).values()
    emails = {each.email for each in reached if each.email}
    phones = {number for each in reached for number in each.phones}
    for address in conn.execute(sql["past_addresses"], {"ids": ids}).scalars():
        if "@" in address:
            emails.add(same_address(address))
        elif number := number_of(address, None, default):
            phones.add(number)
    shared = {number for number, who in owners(conn, phones).items() if not {owner.id for owner in who} <= set(ids)}
    held = set(conn.execute(sql["held"], {"addresses": sorted(emails), "ids": ids}).scalars())
    gone = (emails - held) | (phones - shared)
    conn.execute(sql["forget"], {"addresses": sorted(gone)})
    return gone


def _touch(conn: Connection, said: Sequence[RefusalChange]) -> None:
    """Say that others who have these addresses are silent now, or not any more."""
    touched.note_addresses(conn, (each.address for each in said if each.address is not None))


def _placed(conn: Connection, said: Sequence[RefusalChange], reached: dict[int, Reach]) -> list[RefusalChange]:
    """Return words with the addresses that they are about, in the form in which they are compared."""
    default = settings_of(conn).country
    placed = []
    for each in said:
        named = _normal(each, default)
        addresses = (named,) if named is not None else _own(reached, each) or (None,)
        placed += [each._replace(address=address) for address in addresses]
    return placed


def _normal(said: RefusalChange, default: str | None) -> str | None:
    if said.address is None:
        return None
    text = said.address.strip()
    return (same_address(text) or None) if "@" in text else number_of(text, None, default)


def _own(reached: dict[int, Reach], said: RefusalChange) -> tuple[str, ...]:
    return reached[said.contact_id].on(said.channel) if said.contact_id in reached else ()


def _columns(said: Sequence[RefusalChange]) -> dict[str, list[object]]:
    names = ("contact_ids", "channels", "ats", "addresses", "comments")
    return dict(zip(names, map(list, zip(*said, strict=True)), strict=True))
