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

from parcours.db.faults import blames_the_data
from parcours.db.reads import batch
from parcours.db.reads import rules as in_sql
from parcours.db.tables import campaigns, events, rebuilds, rules
from parcours.db.tables.membership import Chunk
from parcours.db.tables.rebuilds import RebuildPart
from parcours.db.tables.rules import KnownRule, RuleStanding
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.segments.judging import Judged, judged
from parcours.domain.steps.types import Failed
from parcours.ops.logs import described
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
            for segment_id, asked_at in rebuilds.finish(conn, wanted).items():
                rules.forgive(conn, segment_id, since=asked_at)
            return False
        # Nobody changes the rule while its range is in hand; until then somebody could.
        rules.look_again(conn)
        known = rules.book(conn).rules.get(part.segment_id)
        if known is None:
            return True
        if part.filled:
            _let_campaigns_follow(conn, part, now=now, zone=zone)
        moved = 0 if part.filled else _fill(conn, known, part.chunk, now=now, zone=zone)
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


def _let_campaigns_follow(conn: Connection, part: RebuildPart, *, now: datetime, zone: ZoneInfo) -> None:
    for campaign_id in dict.fromkeys(id_ for id_, _ in events.campaigns_of_segment(conn, part.segment_id)):
        alignment.sync_chunk(conn, campaign_id, part.chunk, now=now, zone=zone, limit=None, scope=EVERYTHING)


def _fill(conn: Connection, known: KnownRule, chunk: Chunk, *, now: datetime, zone: ZoneInfo) -> int:
    """Fill a range; where SQL cannot, in Python, which leaves out those alone of whom it cannot tell.

    A range that neither can fill stays as it is, and holds back no other.
    """
    for in_python in (False, True):
        try:
            with conn.begin_nested():
                return fill(conn, known, chunk, now=now, zone=zone, in_python=in_python)
        except Exception as error:
            if not blames_the_data(error):
                raise
            log.error(
                "rule_range_failed", segment=known.key, in_python=in_python, **chunk._asdict(), **described(error)
            )
            failed = str(error).splitlines()
    rules.complain(conn, {known.segment_id: (failed or ["it raised"])[0][:300]}, now=now)
    return 0


def fill(
    conn: Connection, known: KnownRule, chunk: Chunk, *, now: datetime, zone: ZoneInfo, in_python: bool = False
) -> int:
    """Let contacts of a range into a segment and out as its rule says; return how many moved.

    Who they are is read without their locks, and asked again with them. Rules that ask for this segment follow at
    once; campaigns do not.
    """
    standing = rebuilds.members(conn, known.segment_id, chunk)
    if in_python:
        told = _told_in_python(conn, known, chunk, now=now, zone=zone)
    else:
        told = in_sql.judged(conn, known.rule, chunk.first_id, chunk.last_id, now=now, zone=zone, at_once=AT_ONCE)
    moving = sorted(differing(told, standing))
    if known.by_time:
        due = {id_: each.changes_at for id_, each in told.items() if each.changes_at is not None}
        rebuilds.drop_due(conn, known.segment_id, chunk, keep=due)
        rules.set_due(conn, {(id_, known.segment_id): at for id_, at in due.items()})
    moved = 0
    locked = batch.lock(conn, moving) if moving else []
    rules.look_again(conn)
    if len(locked) > AT_ONCE and not in_python:
        locked, moved = _move_in_sql(conn, known, chunk, locked, now=now)
    for some in _some(locked):
        done = asking.align(conn, [known], {known.segment_id: some}, now, zone)
        moved += len(done.get(known.segment_id, ()))
    if moved:
        asking.follow(conn, now=now, zone=zone)
    return moved


def _move_in_sql(
    conn: Connection, known: KnownRule, chunk: Chunk, locked: Sequence[int], *, now: datetime
) -> tuple[list[int], int]:
    """Move contacts as SQL says now that they are locked; return those of whom it cannot tell, and how many moved."""
    again = in_sql.answers(conn, known.rule, chunk.first_id, chunk.last_id, now=now, timeless=known.by_time)
    yes, unsure = set(again.yes), set(again.unsure)
    certain = [(id_, known.segment_id) for id_ in locked if id_ not in unsure]
    moved = rules.enter(conn, [pair for pair in certain if pair[0] in yes], now=now)
    moved += rules.leave(conn, [pair for pair in certain if pair[0] not in yes], now=now)
    return [id_ for id_ in locked if id_ in unsure], len(moved)


def _told_in_python(
    conn: Connection, known: KnownRule, chunk: Chunk, *, now: datetime, zone: ZoneInfo
) -> dict[int, Judged]:
    told: dict[int, Judged] = {}
    for ids in _some(rebuilds.ids(conn, chunk)):
        facts = batch.load_rules(conn, [known.rule], ids, now=now)
        contacts = list(facts.contacts.values())
        answers = judged(known.rule, contacts, facts.world, now, zone, when=known.by_time)
        told |= {contact.id: answer for contact, answer in zip(contacts, answers, strict=True)}
    return told


def _some(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))


def differing(told: Mapping[int, Judged], standing: Mapping[int, RuleStanding]) -> Iterator[int]:
    """Yield who is to come or go, or cannot be told of, by what a rule says of a range; who is left out belongs not."""
    for id_, each in told.items():
        if isinstance(each.answer, Failed) or asking.moves(each.answer, standing.get(id_)) is not None:
            yield id_
    for id_, how in standing.items():
        if id_ not in told and asking.moves(False, how) is not None:
            yield id_


def wrong(
    conn: Connection,
    known: KnownRule,
    ids: Sequence[int],
    standing: Mapping[int, RuleStanding],
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
