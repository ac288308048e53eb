"""What a transaction changed of contacts, so that rules which read that are asked again before it ends.

Whatever writes something of contacts notes it here, and who works with many of them asks once for all of it
(workers.rules). What nobody asked about is left to others when the transaction commits (db.tables.rules). What was
noted in a part that was rolled back costs a look that finds nothing.

The tokens are those of `domain.contacts.touched`; segments and campaigns have their ids for a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Connection
from sqlalchemy.engine import Transaction

# (contact id, fields before, fields after)
FieldChange = tuple[int, Mapping[str, Any], Mapping[str, Any]]


class JoinedRange(NamedTuple):
    """Who of a range of contact ids joined a campaign at an instant; nobody read who that is."""

    campaign_id: int
    first_id: int
    last_id: int
    at: datetime


@dataclass(slots=True)
class Touches:
    """What was changed of whom."""

    # By token.
    tokens: dict[str, set[int]] = field(default_factory=dict)
    # Which fields differ is only looked into where a rule reads some.
    fields: list[Sequence[FieldChange]] = field(default_factory=list)
    # Of whom anything may have changed: they are new, or took somebody in.
    anything: set[int] = field(default_factory=set)
    # What others have as well: addresses that refuse or do not any more, and keys of companies.
    addresses: set[str] = field(default_factory=set)
    companies: set[str] = field(default_factory=set)
    joined: list[JoinedRange] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.tokens or self.fields or self.anything or self.addresses or self.companies or self.joined)

    @property
    def of_contacts(self) -> bool:
        """Whether anything is noted of contacts by their ids."""
        return bool(self.tokens or self.fields or self.anything)

    def field_differs(self, name: str | None) -> set[int]:
        """Return the contacts who have another value of a field now; without a name, of any."""
        if name is None:
            return {id_ for rows in self.fields for id_, _, _ in rows}
        return {id_ for rows in self.fields for id_, was, is_ in rows if was.get(name) != is_.get(name)}


# By transaction, which takes what was noted in it with it when it ends.
_noted: WeakKeyDictionary[Transaction, Touches] = WeakKeyDictionary()
_aside: WeakKeyDictionary[Transaction, Touches] = WeakKeyDictionary()
_due: WeakKeyDictionary[Transaction, set[int]] = WeakKeyDictionary()


def _of(conn: Connection) -> Touches:
    transaction = conn.get_transaction()
    if transaction is None:
        # Nothing was written, so nothing changed.
        return Touches()
    found = _noted.get(transaction)
    if found is None:
        found = _noted[transaction] = Touches()
    return found


def note(conn: Connection, token: str, contact_ids: Iterable[int]) -> None:
    """Note that something of contacts changed."""
    ids = set(contact_ids)
    if ids:
        tokens = _of(conn).tokens
        known = tokens.get(token)
        tokens[token] = ids if known is None else known | ids


def note_named(conn: Connection, kind: str, pairs: Iterable[tuple[int, Any]]) -> None:
    """Note that of contacts something of a kind changed: (contact id, its name)."""
    # Many contacts, and few names.
    by_name: dict[Any, list[int]] = {}
    for id_, name in pairs:
        by_name.setdefault(name, []).append(id_)
    for name, ids in by_name.items():
        note(conn, f"{kind}.{name}", ids)


def note_tokens(conn: Connection, pairs: Iterable[tuple[int, str]]) -> None:
    """Note what changed of contacts: (contact id, token)."""
    tokens: dict[str, set[int]] | None = None
    for id_, token in pairs:
        if tokens is None:
            tokens = _of(conn).tokens
        tokens.setdefault(token, set()).add(id_)


def note_fields(conn: Connection, changes: Sequence[FieldChange]) -> None:
    """Note what custom fields of contacts were before and are now."""
    if changes:
        _of(conn).fields.append(changes)


def note_anything(conn: Connection, contact_ids: Iterable[int]) -> None:
    """Note that all of contacts may have changed."""
    ids = set(contact_ids)
    if ids:
        _of(conn).anything.update(ids)


def note_addresses(conn: Connection, addresses: Iterable[str]) -> None:
    """Note that what addresses refuse changed, for everybody who has them."""
    wanted = set(addresses)
    if wanted:
        _of(conn).addresses.update(wanted)


def note_companies(conn: Connection, keys: Iterable[str]) -> None:
    """Note that companies changed."""
    wanted = set(keys)
    if wanted:
        _of(conn).companies.update(wanted)


def note_joined(conn: Connection, campaign_id: int, first_id: int, last_id: int, at: datetime) -> None:
    """Note that some of a range of contact ids joined a campaign."""
    _of(conn).joined.append(JoinedRange(campaign_id, first_id, last_id, at))


def note_due(conn: Connection, contact_ids: Iterable[int]) -> None:
    """Note that steps of contacts are due already: they have just entered a campaign."""
    transaction = conn.get_transaction()
    ids = set(contact_ids)
    if transaction is not None and ids:
        _due.setdefault(transaction, set()).update(ids)


def take_due(conn: Connection) -> set[int]:
    """Return of whom steps became due in this transaction since that was last taken."""
    transaction = conn.get_transaction()
    return set() if transaction is None else _due.pop(transaction, set())


def set_aside(conn: Connection, noted: Touches) -> None:
    """Keep what no lock of this transaction protects until it ends: then it is left to others."""
    transaction = conn.get_transaction()
    if transaction is not None and (noted.addresses or noted.companies or noted.joined):
        kept = _aside.setdefault(transaction, Touches())
        kept.addresses |= noted.addresses
        kept.companies |= noted.companies
        kept.joined += noted.joined


def take_aside(conn: Connection) -> Touches:
    """Return what was set aside in this transaction since that was last taken."""
    transaction = conn.get_transaction()
    found = None if transaction is None else _aside.pop(transaction, None)
    return Touches() if found is None else found


def take(conn: Connection) -> Touches:
    """Return what was noted in this transaction since it was last taken."""
    transaction = conn.get_transaction()
    found = None if transaction is None else _noted.pop(transaction, None)
    return Touches() if found is None else found
