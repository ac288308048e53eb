"""The invariants of rules, asked again of everybody or of some: who is in segments by rule, and who is out by exits."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from parcours.db.checks.invariants import EXAMPLES, CheckedInvariant
from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns, events, rebuilds, rules
from parcours.db.tables import membership as memberships
from parcours.db.tables.membership import Chunk
from parcours.db.tables.rules import Book
from parcours.workers import exits, rebuilding

SAYS = "the members of a segment with a rule match the rule, except those added or removed manually"
SAYS_OF_EXITS = "no member of a campaign matches its exit rules, except those added manually"
# Contacts that are asked about when not all are, and ids of one range.
SAMPLE = 2000
AT_ONCE = 2000


def run(engine: Engine, *, full: bool, zone: ZoneInfo) -> Iterator[CheckedInvariant]:
    """Ask every rule of some contacts, of all with `full`, and compare; nothing without rules.

    All is of one snapshot. Whoever is still to be asked, and rules that are being asked of everybody, are left out.
    """
    with engine.connect().execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True) as conn:
        campaigns.read_by_index(conn)
        book = rules.book(conn)
        now = database_now(conn)
        if book.rules:
            yield _members(conn, book, full=full, now=now, zone=zone)
        if book.exits:
            yield _exits(conn, book, full=full, now=now, zone=zone)


def _members(conn: Connection, book: Book, *, full: bool, now: datetime, zone: ZoneInfo) -> CheckedInvariant:
    unfinished = {each.segment_id for each in rebuilds.left(conn, list(book.rules))}
    found, examples = 0, list[dict[str, Any]]()
    for known in book.rules.values():
        if known.segment_id in unfinished:
            continue
        for ids in _everybody(conn) if full else _some(conn):
            wrong = _wrong(conn, known, ids, now, zone)
            found += len(wrong)
            examples += [{"segment": known.key, "contact": key} for key in _named(conn, wrong, examples)]
    return CheckedInvariant("members_of_rules", SAYS, found, examples)


def _exits(conn: Connection, book: Book, *, full: bool, now: datetime, zone: ZoneInfo) -> CheckedInvariant:
    found, examples = 0, list[dict[str, Any]]()
    rows = campaigns.listing(conn, sorted(book.exits))
    unreadable = campaigns.unreadable(conn, rows)
    for row in rows:
        if row.id in unreadable:
            continue
        campaign = campaigns.load(conn, row.id, row.version, zone)
        for ids in _everybody(conn) if full else _some(conn):
            asked = memberships.asked_for_exit(conn, row.id, ids, now=now)
            told = sorted(asked - rules.unasked(conn, asked))
            wrong = [id_ for id_, each in exits.told(conn, campaign, told, now=now, zone=zone).items() if each.reason]
            found += len(wrong)
            examples += [{"campaign": campaign.key, "contact": key} for key in _named(conn, wrong, examples)]
    return CheckedInvariant("members_of_exit_rules", SAYS_OF_EXITS, found, examples)


def _named(conn: Connection, wrong: Sequence[int], before: Sequence[Any]) -> list[str]:
    """Return the keys of so many contacts as are still shown."""
    room = EXAMPLES - len(before)
    return list(events.keys(conn, wrong[:room])) if wrong and room > 0 else []


def _wrong(conn: Connection, known: rules.KnownRule, ids: Sequence[int], now: datetime, zone: ZoneInfo) -> list[int]:
    if not ids:
        return []
    waiting = {id_ for id_, _ in rules.due_of(conn, [known.segment_id], ids, now=now)} | rules.unasked(conn, ids)
    standing = {each.contact_id: each for each in rules.standing(conn, [known.segment_id], ids)}
    told = [id_ for id_ in ids if id_ not in waiting]
    return rebuilding.wrong(conn, known, told, standing, now=now, zone=zone)


def _everybody(conn: Connection) -> Iterator[list[int]]:
    whole = rebuilds.id_range(conn)
    for first in () if whole is None else range(whole.first_id, whole.last_id + 1, AT_ONCE):
        yield rebuilds.ids(conn, Chunk(first, first + AT_ONCE - 1))


def _some(conn: Connection) -> Iterator[list[int]]:
    """Yield contacts of a few ranges that are drawn."""
    whole = rebuilds.id_range(conn)
    if whole is None:
        return
    width = SAMPLE // 10
    if whole.last_id - whole.first_id < SAMPLE:
        yield rebuilds.ids(conn, whole)
        return
    for _ in range(10):
        first = random.randint(whole.first_id, whole.last_id)
        yield rebuilds.ids(conn, Chunk(first, first + width - 1))
