"""What a transaction changed of contacts, so that rules which look at that are asked again before it ends.

Whatever writes something of contacts says so here, and who works with many of them asks once for all of it
(workers.rules). What nobody asked about is left to others when the transaction commits (db.tables.rules). What was
said of a part that was rolled back costs a look that finds nothing.

The words are the name of an attribute (`points`), of a kind (`utm`, `devices`, `submissions`, `refusals`, `company`),
or a kind with a name: `field:country`, `tag:customer`, `points:wine`, `event:order.paid`, `segment:12`, `campaign:3`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from sqlalchemy import Connection
from sqlalchemy.engine import Transaction

# (contact id, fields before, fields after)
FieldChange = tuple[int, Mapping[str, Any], Mapping[str, Any]]
_FIELD = "field:"


class JoinedRange(NamedTuple):
    """Who of a range of contact ids joined a campaign at an instant; nobody read who that is."""

    campaign_id: int
    first_id: int
    last_id: int
    at: datetime


@dataclass(slots=True)
class Touched:
    """What was changed of whom."""

    words: dict[str, set[int]] = field(default_factory=dict)
    # Which fields differ is only looked into where a rule reads some.
    fields: list[Sequence[FieldChange]] = field(default_factory=list)
    # Of whom anything may have changed: they are new, or took somebody in.
    anything: set[int] = field(default_factory=set)
    # What others have as well: addresses that refuse or do not any more, and keys of companies.
    addresses: set[str] = field(default_factory=set)
    companies: set[str] = field(default_factory=set)
    joined: list[JoinedRange] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.words or self.fields or self.anything or self.addresses or self.companies or self.joined
        )

    def of(self, reads: Collection[str]) -> set[int]:
        """Return the contacts of whom something changed that a rule reads. A word that ends with `:` means all of
        its kind, `*` anything."""
        found = set(self.anything)
        names = {word.removeprefix(_FIELD) for word in reads if word.startswith(_FIELD)}
        for rows in self.fields if names else ():
            if "" in names:
                found.update(id_ for id_, _, _ in rows)
            else:
                found.update(
                    id_ for id_, was, is_ in rows for name in names if was.get(name) != is_.get(name)
                )
        for word, ids in self.words.items():
            if word in reads or "*" in reads or f"{word.partition(':')[0]}:" in reads:
                found |= ids
        if "*" in reads:
            found.update(id_ for rows in self.fields for id_, _, _ in rows)
        return found


# By transaction, which takes what was said of it with it when it ends.
_said: WeakKeyDictionary[Transaction, Touched] = WeakKeyDictionary()


def _of(conn: Connection) -> Touched:
    transaction = conn.get_transaction()
    if transaction is None:
        # Nothing was written, so nothing changed.
        return Touched()
    found = _said.get(transaction)
    if found is None:
        found = _said[transaction] = Touched()
    return found


def note(conn: Connection, word: str, contact_ids: Iterable[int]) -> None:
    """Say that something of contacts changed."""
    ids = set(contact_ids)
    if ids:
        words = _of(conn).words
        known = words.get(word)
        words[word] = ids if known is None else known | ids


def note_named(conn: Connection, kind: str, pairs: Iterable[tuple[int, Any]]) -> None:
    """Say that of contacts something of a kind changed: (contact id, its name)."""
    words: dict[str, set[int]] | None = None
    for id_, name in pairs:
        if words is None:
            words = _of(conn).words
        words.setdefault(f"{kind}:{name}", set()).add(id_)


def note_fields(conn: Connection, changes: Sequence[FieldChange]) -> None:
    """Say what custom fields of contacts were before and are now."""
    if changes:
        _of(conn).fields.append(changes)


def note_anything(conn: Connection, contact_ids: Iterable[int]) -> None:
    """Say that all of contacts may have changed."""
    ids = set(contact_ids)
    if ids:
        _of(conn).anything.update(ids)


def note_addresses(conn: Connection, addresses: Iterable[str]) -> None:
    """Say that what addresses refuse changed, for everybody who has them."""
    wanted = set(addresses)
    if wanted:
        _of(conn).addresses.update(wanted)


def note_companies(conn: Connection, keys: Iterable[str]) -> None:
    """Say that companies changed."""
    wanted = set(keys)
    if wanted:
        _of(conn).companies.update(wanted)


def note_joined(conn: Connection, campaign_id: int, first_id: int, last_id: int, at: datetime) -> None:
    """Say that some of a range of contact ids joined a campaign."""
    _of(conn).joined.append(JoinedRange(campaign_id, first_id, last_id, at))


def take(conn: Connection) -> Touched:
    """Return what was said in this transaction since it was last taken."""
    transaction = conn.get_transaction()
    found = None if transaction is None else _said.pop(transaction, None)
    return Touched() if found is None else found
