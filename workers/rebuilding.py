"""Rules asked of everybody, range by range: after a rule changed, and as repair in `update`.

Many workers share the ranges. One that dies gives its range back, and what was asked twice finds nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, Engine

from parcours.db.reads import batch
from parcours.db.tables import campaigns, events, rebuilds, rules
from parcours.db.tables.membership import Chunk
from parcours.db.tables.rebuilds import Part
from parcours.db.tables.rules import Book, Known, Standing
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.segments.judging import judged
from parcours.domain.steps.types import Failed
from parcours.workers import alignment
from parcours.workers import rules as asking

log = structlog.get_logger()

# Contacts that are loaded, or locked, at once.
AT_ONCE = 2000
# How long a process waits for others who have the last ranges in hand, or began before the rule changed.
PATIENCE_SECONDS = 60.0
PAUSE_SECONDS = 0.05


def work(engine: Engine, segment_ids: Collection[int] | None = None, *, now: datetime, zone: ZoneInfo) -> bool:
    """Do one range of one of these segments, of any without them; return whether there was one that is free."""
    with engine.begin() as conn:
        rebuilds.settle(conn)
    with engine.begin() as conn:
        campaigns.read_by_index(conn)
        book = rules.book(conn)
        wanted = [id_ for id_ in book.rules if segment_ids is None or id_ in segment_ids]
        part = rebuilds.take(conn, wanted)
        if part is None:
            rebuilds.finish(conn, wanted)
            return False
        if part.filled:
            _let_campaigns_follow(conn, part, now=now, zone=zone)
        moved = 0 if part.filled else fill(conn, book, book.rules[part.segment_id], part.chunk, now=now, zone=zone)
        if moved and events.campaigns_of_segment(conn, part.segment_id):
            rebuilds.fill(conn, part)
        else:
            rebuilds.finish_chunk(conn, part)
    return True


def work_all(
    engine: Engine,
    segment_ids: Collection[int],
    *,
    now: datetime,
    zone: ZoneInfo,
    progress: Callable[[int], None] = lambda left: None,
    patience: float | None = None,
) -> bool:
    """Do all ranges of segments, together with whoever else does; return whether all is done when this returns.

    It is not where somebody else keeps a range, or a transaction from before, for longer than a minute, or where
    it would take longer than `patience` seconds.
    """
    began = time.monotonic()
    until = began + PATIENCE_SECONDS
    while patience is None or time.monotonic() - began < patience:
        if work(engine, segment_ids, now=now, zone=zone):
            until = time.monotonic() + PATIENCE_SECONDS
            continue
        with engine.connect() as conn:
            left = rebuilds.left(conn, [id_ for id_ in segment_ids if id_ in rules.book(conn).rules])
        progress(sum(each.chunks for each in left))
        if not left:
            return True
        if time.monotonic() > until:
            return False
        time.sleep(PAUSE_SECONDS)
    return False


def _let_campaigns_follow(conn: Connection, part: Part, *, now: datetime, zone: ZoneInfo) -> None:
    for campaign_id in events.campaigns_of_segment(conn, part.segment_id):
        alignment.sync_chunk(conn, campaign_id, part.chunk, now=now, zone=zone, limit=None, scope=EVERYTHING)


def fill(conn: Connection, book: Book, known: Known, chunk: Chunk, *, now: datetime, zone: ZoneInfo) -> int:
    """Let contacts of a range into a segment and out as its rule says; return how many moved.

    Who they are is read without their locks, and asked again with them. Rules that ask for this segment follow at
    once; campaigns do not.
    """
    moving: list[int] = []
    for answers in _answers(conn, known, chunk, now=now, zone=zone):
        moving += answers
    moved = 0
    for some in _some(moving):
        locked = batch.lock(conn, some)
        done = asking.align(conn, [known], {known.segment_id: locked}, now, zone)
        moved += len(done.get(known.segment_id, ()))
        asking.follow(conn, now=now, zone=zone)
    return moved


def _some(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))


def _answers(conn: Connection, known: Known, chunk: Chunk, *, now: datetime, zone: ZoneInfo) -> list[list[int]]:
    """Return the contacts of a range who are to come or go, and write when the rule is to be asked of the others."""
    standing = rebuilds.members(conn, known.segment_id, chunk)
    found = []
    for ids in _some(rebuilds.ids(conn, chunk)):
        moving, due, never = differing(conn, known, ids, standing, now=now, zone=zone)
        rules.set_due(conn, {(id_, known.segment_id): at for id_, at in due.items()})
        rules.drop_due(conn, [(id_, known.segment_id) for id_ in never])
        found.append(moving)
    return found


def wrong(
    conn: Connection,
    known: Known,
    ids: Sequence[int],
    standing: Mapping[int, Standing],
    *,
    now: datetime,
    zone: ZoneInfo,
) -> list[int]:
    """Return who is in a segment and should not be by its rule, or the other way round."""
    facts = batch.load_rules(conn, [known.rule], ids, now=now)
    contacts = list(facts.contacts.values())
    answers = judged(known.rule, contacts, facts.world, now, zone, when=False)
    return [
        contact.id
        for contact, answer in zip(contacts, answers, strict=True)
        if not isinstance(answer.answer, Failed) and asking.moves(answer.answer, standing.get(contact.id)) is not None
    ]


def differing(
    conn: Connection,
    known: Known,
    ids: Sequence[int],
    standing: Mapping[int, Standing],
    *,
    now: datetime,
    zone: ZoneInfo,
) -> tuple[list[int], dict[int, datetime], list[int]]:
    """Return who is to come or go, or cannot be told of; when to ask again of others, and of whom never.

    The last two are empty for a rule that time does not change.
    """
    facts = batch.load_rules(conn, [known.rule], ids, now=now)
    contacts = list(facts.contacts.values())
    moving: list[int] = []
    due: dict[int, datetime] = {}
    never: list[int] = []
    answers = judged(known.rule, contacts, facts.world, now, zone, when=known.by_time)
    for contact, answer in zip(contacts, answers, strict=True):
        if isinstance(answer.answer, Failed) or asking.moves(answer.answer, standing.get(contact.id)) is not None:
            moving.append(contact.id)
        elif known.by_time and answer.changes_at is None:
            never.append(contact.id)
        elif answer.changes_at is not None:
            due[contact.id] = answer.changes_at
    return moving, due, never
