"""Rules of segments: what is stored of them, whom they put in and take out, and who is still to be asked."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import Transaction

from parcours.db import touched
from parcours.db.statements import statements
from parcours.db.tables import refusals
from parcours.db.touched import Touches
from parcours.domain.contacts.touched import ALL, CAMPAIGNS, COMPANIES, DO_NOT_CONTACT, FIELDS, SEGMENTS, Readers

if TYPE_CHECKING:
    from parcours.domain.campaign_file.model import Problem
    from parcours.domain.segments.rule import Rule

sql = statements(__file__)

# The format of stored rules, raised when an older release could not read a new one.
FORMAT = 1

# (contact id, segment id)
Pair = tuple[int, int]

K = TypeVar("K")


class StoredRule(NamedTuple):
    """The rule of a segment, as its file has it in {"format": n, "rule": …}; `reads` are tokens with ids for names."""

    segment_id: int
    key: str
    rule: Any
    digest: str
    version: int
    reads: Sequence[str]
    # The campaign whose goal it is.
    goal_of: int | None = None


@dataclass(frozen=True, slots=True)
class KnownRule:
    """A rule that this process can read."""

    segment_id: int
    key: str
    rule: Rule
    version: int
    by_time: bool
    # Behind how many others it is asked: those whose segments, or campaigns, it asks for.
    level: int
    # The campaign whose goal it is; people do not see that segment.
    goal_of: int | None = None


class Watcher(NamedTuple):
    """A rule in a campaign: of a decision, at whose step contacts wait until it is true, or of an exit (no step)."""

    campaign_id: int
    step_id: int | None


@dataclass(frozen=True)
class Book:
    """All rules as of a version: by segment, who reads what, and which cannot be read here, with the reason, by key."""

    version: int
    rules: Mapping[int, KnownRule]
    readers: Readers[int]
    # Which fields any of them reads.
    fields: frozenset[str]
    aside: Mapping[str, str]
    # Of campaigns.
    watchers: Readers[Watcher]
    exits: frozenset[int] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether there is no rule at all."""
        return not (self.rules or self.watchers)

    def is_read(self, token: str) -> bool:
        """Return whether any rule reads what a token stands for."""
        return bool(self.readers.of([token]) or self.watchers.of([token]))

    def asked(self, noted: Touches) -> dict[int, set[int]]:
        """Return of whom each rule is to be asked again, by segment."""
        return self._asked(self.readers, noted)

    def watched(self, noted: Touches) -> dict[Watcher, set[int]]:
        """Return of whom each rule of a campaign is to be asked again, as far as it concerns them."""
        return self._asked(self.watchers, noted) if self.watchers else {}

    def _asked(self, readers: Readers[K], noted: Touches) -> dict[K, set[int]]:
        found: dict[K, set[int]] = {}

        def ask(touched: Collection[str], ids: Collection[int]) -> None:
            for reader in readers.of(touched) if ids else ():
                found.setdefault(reader, set()).update(ids)

        ask(ALL, noted.anything)
        for token, ids in noted.tokens.items():
            ask([token], ids)
        if noted.fields:
            # One that no rule names stands for those that any rule reads.
            ask([f"{FIELDS}.\0"], noted.field_differs(None))
            for name in self.fields:
                ask([f"{FIELDS}.{name}"], noted.field_differs(name))
        return found


NO_RULES = Book(0, {}, Readers({}), frozenset(), {}, Readers({}))


class RuleStanding(NamedTuple):
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
# By engine: what is known of the rules.
_books: WeakKeyDictionary[Engine, Book] = WeakKeyDictionary()


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


def go_by(conn: Connection, version: int) -> None:
    """Let this transaction, which has taken locks, go by a version that it has read with something else."""
    transaction = conn.get_transaction()
    if transaction is not None:
        _versions.setdefault(transaction, version)


def look_again(conn: Connection) -> None:
    """Let this transaction, which has just taken locks, go by the rules as they are now.

    Whoever was asked about a rule that came since it looked last was not locked yet.
    """
    transaction = conn.get_transaction()
    if transaction is not None:
        _versions.pop(transaction, None)


def book(conn: Connection) -> Book:
    """Return all rules, read once a process for each version."""
    now = version(conn)
    known = _books.get(conn.engine, NO_RULES)
    if known.version != now:
        known = _books[conn.engine] = _with_campaigns(_read(now, stored(conn)), conn)
    return known


def _with_campaigns(found: Book, conn: Connection) -> Book:
    """Return a book that knows who else reads something: rules of campaigns, which these hold themselves."""
    reads = {Watcher(row.campaign_id, row.step_id): row.reads for row in conn.execute(sql["watchers"])}
    if not reads:
        return found
    exits = frozenset(each.campaign_id for each in reads if each.step_id is None)
    return replace(found, watchers=Readers(reads), exits=exits, fields=found.fields | _fields_in(reads.values()))


def _fields_in(reads: Iterable[Collection[str]]) -> frozenset[str]:
    parts = (token.partition(".") for tokens in reads for token in tokens)
    return frozenset(name for kind, dot, name in parts if dot and kind == FIELDS)


def _read(now: int, found: Sequence[StoredRule]) -> Book:
    if not found:
        return replace(NO_RULES, version=now)
    # Here, since most processes that look whether there are rules find none: it takes a while to load.
    from parcours.domain.segments import parsing
    from parcours.domain.segments import rule as rules

    read: dict[str, tuple[StoredRule, Rule]] = {}
    aside: dict[str, str] = {}
    for each in found:
        # Whatever it is, it is this rule's alone: a condition that is not installed, the code of another package.
        try:
            rule, why = _understood(each.rule, parsing.parse)
        except Exception as error:
            rule, why = None, f"{type(error).__name__}: {error}"
        if rule is None:
            aside[each.key] = (why.splitlines() or [""])[0][:300]
        else:
            read[each.key] = (each, rule)
    levels = _levels({key: rules.segments(rule) for key, (_, rule) in read.items()})
    of_campaigns = max(levels.values(), default=0) + 1
    known = {
        each.segment_id: KnownRule(
            each.segment_id,
            each.key,
            rule,
            each.version,
            rules.reads_time(rule),
            levels[each.key] + (of_campaigns if any(token.startswith(CAMPAIGNS) for token in each.reads) else 0),
            each.goal_of,
        )
        for each, rule in read.values()
    }
    reads = {each.segment_id: each.reads for each, _ in read.values()}
    return replace(
        NO_RULES, version=now, rules=known, readers=Readers(reads), fields=_fields_in(reads.values()), aside=aside
    )


def _understood(data: Any, parse: Callable[..., tuple[Rule | None, list[Problem]]]) -> tuple[Rule | None, str]:
    if not isinstance(data, dict) or not isinstance(data.get("format"), int):
        return None, "the stored rule is damaged"
    if data["format"] > FORMAT:
        return None, f"its rule has format {data['format']}, which only a newer version of Parcours reads"
    rule, problems = parse(data.get("rule"), stored=True)
    return rule, str(problems[0]) if problems else ""


def _levels(asks: Mapping[str, Collection[str]]) -> dict[str, int]:
    """Return behind how many others each is; a circle, which nobody can apply, ends somewhere."""
    levels = dict.fromkeys(asks, 0)
    for _ in asks:
        higher = {
            key: max((levels[other] + 1 for other in others if other in levels and other != key), default=0)
            for key, others in asks.items()
        }
        if higher == levels:
            break
        levels = higher
    return levels


def ids_named(conn: Connection, reads: Iterable[str]) -> frozenset[str]:
    """Return tokens with ids in the place of the keys of segments and campaigns; those that are gone are left out."""
    named: dict[str, list[str]] = {SEGMENTS: [], CAMPAIGNS: []}
    found: set[str] = set()
    for token in reads:
        kind, dot, name = token.partition(".")
        if dot and kind in named:
            named[kind].append(name)
        else:
            found.add(token)
    if any(named.values()):
        found |= {f"{row.kind}.{row.id}" for row in conn.execute(sql["ids"], named)}
    return frozenset(found)


def set_aside(conn: Connection) -> dict[str, str]:
    """Return the segments whose rules cannot be read here, or raised lately, by key, and why."""
    return {**complaints(conn), **book(conn).aside}


def begin_to_change(conn: Connection) -> None:
    """Keep everybody else from changing rules until the transaction ends; what is read from then on is the present."""
    found = int(conn.execute(sql["begin_to_change"]).scalar_one())
    transaction = conn.get_transaction()
    assert transaction is not None
    _versions[transaction] = found


def stored(conn: Connection, key: str | None = None) -> list[StoredRule]:
    """Return the rules of all segments that have one, by key, or that of one segment."""
    return [StoredRule(*row) for row in conn.execute(sql["stored"], {"key": key})]


def save(conn: Connection, segment_id: int, rule: Any, *, digest: str | None, reads: Iterable[str]) -> None:
    """Give a segment a rule, or none; who is in it stays, until the rule is asked."""
    written = None if rule is None else json.dumps(rule)
    given = {"segment_id": segment_id, "rule": written, "digest": digest, "reads": sorted(reads)}
    conn.execute(sql["save"], given)
    conn.execute(sql["drop_all_due"], {"segment_id": segment_id})


def save_watchers(conn: Connection, campaign_id: int, reads: Mapping[int | None, Iterable[str]]) -> None:
    """Write what the rules of a campaign read, by step, None for its exits; those that have none any more read nothing.

    The caller has begun to change rules, or there were none and are none.
    """
    conn.execute(sql["clear_watchers"], {"campaign_id": campaign_id})
    for step_id, tokens in reads.items():
        name = "watch_exits" if step_id is None else "watch_step"
        conn.execute(sql[name], {"campaign_id": campaign_id, "step_id": step_id, "reads": sorted(tokens)})


def watchers_of(conn: Connection, campaign_id: int) -> bool:
    """Return whether a campaign has rules, as it is stored."""
    return bool(conn.execute(sql["has_watchers"], {"campaign_id": campaign_id}).scalar_one())


def complain(conn: Connection, errors: Mapping[int, str], *, now: datetime) -> None:
    """Remember what rules raised, by segment."""
    for segment_id, error in errors.items():
        conn.execute(sql["complain"], {"segment_id": segment_id, "error": error, "now": now})


def forgive(conn: Connection, segment_id: int, *, since: datetime) -> None:
    """Forget what a rule raised, unless it did since an instant: it was asked of everybody, and answered."""
    conn.execute(sql["forgive"], {"segment_id": segment_id, "since": since})


def complaints(conn: Connection) -> dict[str, str]:
    """Return what rules raised lately, by the key of the segment."""
    return {row.key: row.rule_error for row in conn.execute(sql["complaints"])}


# Members.


def standing(conn: Connection, segment_ids: Collection[int], contact_ids: Collection[int]) -> list[RuleStanding]:
    """Return how contacts are in segments; those who never were are left out."""
    parameters = {"segment_ids": list(segment_ids), "ids": list(contact_ids)}
    return [RuleStanding(*row) for row in conn.execute(sql["standing"], parameters)]


def enter(conn: Connection, pairs: Sequence[Pair], *, now: datetime) -> list[Pair]:
    """Let contacts, whose locks the caller holds, into segments by their rules; return those who came in."""
    return _moved(conn, "enter", pairs, now)


def leave(conn: Connection, pairs: Sequence[Pair], *, now: datetime) -> list[Pair]:
    """Take contacts, whose locks the caller holds, out of segments by their rules; return those who went."""
    return _moved(conn, "leave", pairs, now)


def _moved(conn: Connection, name: str, pairs: Sequence[Pair], now: datetime) -> list[Pair]:
    moved = [(row.contact_id, row.segment_id) for row in _pairs(conn, name, pairs, now=now)]
    touched.note_named(conn, SEGMENTS, moved)
    return moved


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


def due_contacts(conn: Connection, segment_ids: Collection[int], *, now: datetime, limit: int) -> list[int]:
    """Return contacts of whom a rule of these segments is to be asked again, the longest due first."""
    parameters = {"segment_ids": list(segment_ids), "now": now, "limit": limit}
    return list(conn.execute(sql["due_contacts"], parameters).scalars()) if segment_ids else []


def due_of(
    conn: Connection, segment_ids: Collection[int], contact_ids: Collection[int], *, now: datetime
) -> list[Pair]:
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


def _leave_to_others(conn: Connection, rest: Touches) -> None:
    """Let somebody else ask the rules about what was noted of contacts, as far as any rule reads it."""
    known = book(conn)
    if known.is_empty:
        return
    rows: set[tuple[int, str | None]] = {(id_, None) for id_ in rest.anything}
    for token, ids in rest.tokens.items():
        if known.is_read(token):
            rows.update((id_, token) for id_ in ids - rest.anything)
    if rest.fields:
        fields = Touches(fields=rest.fields)
        several = (*known.asked(fields).values(), *known.watched(fields).values())
        rows.update((id_, FIELDS) for ids in several for id_ in ids)
    if rows:
        contact_ids, whats = map(list, zip(*sorted(rows, key=lambda row: (row[0], row[1] or "")), strict=True))
        conn.execute(sql["leave_to_others"], {"ids": contact_ids, "whats": whats})


def _leave_shared(conn: Connection, rest: Touches) -> None:
    """Let somebody else ask the rules about what was noted of those whose locks nobody here may hold.

    That is why it comes last: a rule that is stored later is asked of them later, since whoever stores it waits for
    this transaction. While somebody stores one, it may read anything.
    """
    held = conn.execute(sql["hold"]).scalar()
    transaction = conn.get_transaction()
    if held is not None and transaction is not None:
        _versions[transaction] = int(held)

    def is_read(token: str) -> bool:
        return held is None or book(conn).is_read(token)

    if rest.companies and is_read(COMPANIES):
        conn.execute(sql["companies_changed"], {"keys": sorted(rest.companies)})
    if rest.addresses and is_read(DO_NOT_CONTACT):
        _leave_who_has(conn, rest.addresses)
    for joined in rest.joined:
        token = f"{CAMPAIGNS}.{joined.campaign_id}"
        if is_read(token):
            conn.execute(sql["leave_who_joined"], {**joined._asdict(), "what": token})


def _leave_who_has(conn: Connection, addresses: Collection[str]) -> None:
    emails = [each for each in addresses if "@" in each]
    if emails:
        conn.execute(sql["leave_who_has"], {"addresses": emails})
    numbers = [each for each in addresses if "@" not in each]
    ids = sorted({owner.id for owners in refusals.owners(conn, numbers).values() for owner in owners})
    if ids:
        conn.execute(sql["leave_to_others"], {"ids": ids, "whats": [DO_NOT_CONTACT] * len(ids)})


def leave_imported(conn: Connection, *, now: datetime) -> bool:
    """Let somebody else ask the rules about whom an import changed; return whether there are rules."""
    look_again(conn)
    if book(conn).is_empty:
        return False
    conn.execute(sql["leave_imported"], {"now": now})
    return True


def leave_rest(conn: Connection) -> None:
    """Leave to others what was touched and nobody asked about: as a transaction commits."""
    rest = touched.take(conn)
    touched.set_aside(conn, rest)
    if rest.of_contacts:
        look_again(conn)
        _leave_to_others(conn, rest)
    shared = touched.take_aside(conn)
    if shared:
        _leave_shared(conn, shared)


def oldest_due(conn: Connection, *, now: datetime) -> datetime | None:
    """Return since when a rule is to be asked of somebody; None when there is nobody. Costs what rules there are."""
    known = _books.get(conn.engine, NO_RULES)
    # By the rules as they were known last, in one read; mostly they are the same.
    row = _oldest_due(conn, known, now)
    if row.version != known.version:
        known = book(conn)
        row = _oldest_due(conn, known, now)
    found: datetime | None = row.since
    return None if known.is_empty else found


def _oldest_due(conn: Connection, known: Book, now: datetime) -> Any:
    given = {"segment_ids": list(known.rules), "campaign_ids": list(known.exits), "now": now}
    return conn.execute(sql["oldest_due"], given).one()


def contacts_left(conn: Connection, *, limit: int) -> list[int]:
    """Return contacts whose rules are to be asked, who have waited longest first."""
    return list(conn.execute(sql["contacts_left"], {"limit": limit, "look": 4 * limit}).scalars())


def unasked(conn: Connection, contact_ids: Collection[int]) -> set[int]:
    """Return of whom of these contacts rules are still to be asked by somebody."""
    return set(conn.execute(sql["unasked"], {"ids": list(contact_ids)}).scalars())


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
