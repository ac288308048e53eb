"""`update` and `trigger`: split into work for the queues, or done here and now."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from parcours.db.partitions import ensure_partitions
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, entrants, realign, rebuilds, sweeps, traces, waits
from parcours.db.tables import dates as dates_table
from parcours.db.tables import membership as memberships
from parcours.db.tables import rules as rule_tables
from parcours.db.tables.membership import Chunk, Sources
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.campaign import Campaign, StopRule
from parcours.domain.jobs import ExecuteDue, Order, RebuildSegments, RunSweep, SyncMembers
from parcours.workers import dates, exits, local_time, rebuilding, rules
from parcours.workers.alignment import sync_chunk
from parcours.workers.batch_size import Pace
from parcours.workers.executor import BY_DEFAULT, execute_due
from parcours.workers.membership import release, sources_of

# Contact ids of one chunk of an update: some tenths of a second of work.
CHUNK_WIDTH = 20_000
# Contact ids of one read that looks for chunks with something to do.
READ_AT_ONCE = 500_000
# Hints for one step or update: how many workers may share it from the start.
FAN_OUT = 4

Counts = dict[str, Counter[str]]


def running(conn: Connection, scope: Scope, now: datetime) -> list[tuple[int, str]]:
    """Return id and key of the campaigns of a scope that run, newest first."""
    rows = campaigns.listing(conn, scope.campaign_ids)
    return [
        (row.id, row.key)
        for row in rows
        if row.id not in scope.excluded and campaigns.status_of(row).why_not(now) is None
    ]


def _ask_rules(conn: Connection, scope: Scope, campaign_ids: Sequence[int], now: datetime) -> list[int]:
    """Let the rules of segments that let contacts into campaigns or out be asked of everybody; return the segments.

    What names contacts, or a share of them, is about these alone, and rules follow what changes by themselves.
    """
    if not rule_tables.book(conn).rules or scope.is_partial:
        return []
    wanted = _rules_of(conn, campaign_ids)
    rebuilds.ask(conn, wanted, now=now)
    return wanted


def _rules_of(conn: Connection, campaign_ids: Sequence[int]) -> list[int]:
    """Return the segments by rule that feed campaigns, or are exits of them."""
    return sorted(campaigns.segments_of(conn, campaign_ids) & rule_tables.book(conn).rules.keys())


# Here and now.


def update_inline(
    engine: Engine,
    scope: Scope,
    *,
    now: datetime,
    zone: ZoneInfo,
    progress: Callable[[Counts], None] = lambda counts: None,
) -> Counts:
    """Align members with segments in this process; return what happened by campaign key."""
    ensure_partitions(engine, now)
    local_time.follow_all(engine, now=now, zone=zone)
    dates.build_all(engine, zone=zone)
    rules.follow_all(engine, now=now, zone=zone)
    with engine.begin() as conn:
        wanted = running(conn, scope, now)
        repaired = _ask_rules(conn, scope, [id_ for id_, _ in wanted], now)
        if not scope.is_partial:
            realign.drop(conn, [id_ for id_, _ in wanted])
        limited = entrants.limited(conn, [id_ for id_, _ in wanted])
    if repaired:
        rebuilding.work_all(engine, repaired, now=now, zone=zone)
    done: Counts = {key: Counter() for _, key in wanted}
    for campaign_id, key in wanted:
        if campaign_id in limited:
            with engine.begin() as conn:
                done[key] += release(conn, campaign_id, now=now, zone=zone)
        with engine.connect() as conn:
            chunks = _chunks(conn, campaign_id, scope, now=now, zone=zone, width=CHUNK_WIDTH)
        for chunk in chunks:
            while (limit := _room(scope, done[key])) is None or limit > 0:
                with engine.begin() as conn:
                    counts = sync_chunk(conn, campaign_id, chunk, now=now, zone=zone, limit=limit, scope=scope)
                done[key] += counts
                progress(done)
                if scope.batch_limit is None or counts.total() < scope.batch_limit:
                    break
    return done


def trigger_inline(
    engine: Engine,
    scope: Scope,
    *,
    now: datetime,
    zone: ZoneInfo,
    batch_size: int,
    progress: Callable[[Counts], None] = lambda counts: None,
    stop: StopRule = BY_DEFAULT,
) -> Counts:
    """Do everything that is due as of `now` in this process; return what happened by campaign key.

    `batch_size` is the most contacts of a batch; without a limit in the scope, it is as many as are done quickly.
    Returns when nothing within the scope is due any more, also not in another worker's hands.
    """
    ensure_partitions(engine, now)
    with engine.connect() as conn:
        names = dict(running(conn, scope, now))
    done: Counts = {key: Counter() for key in names.values()}
    claimed: Counter[int] = Counter()
    paces: dict[int, Pace] = {}
    while True:
        # Each time, since steps that ran may have set a timezone, or erased contacts.
        local_time.follow_all(engine, now=now, zone=zone)
        rules.follow_all(engine, now=now, zone=zone)
        traces.wipe_noted(engine)
        with engine.connect() as conn:
            campaigns.read_by_index(conn)
            steps = waits.due_steps(conn, now=now, scope=scope)
            # Set aside: what waits there waits for a process that can read them.
            aside = _set_aside(conn, steps)
        steps = [
            step for step in steps if step.campaign_id not in aside and _may_claim(scope, claimed[step.campaign_id])
        ]
        if not steps:
            return done
        before = claimed.total()
        for step in steps:
            pace = paces.setdefault(step.step_id, Pace(batch_size))
            while _may_claim(scope, claimed[step.campaign_id]):
                limit = scope.batch_limit or pace.size
                if scope.campaign_limit is not None:
                    limit = min(limit, scope.campaign_limit - claimed[step.campaign_id])
                began = time.monotonic()
                with engine.begin() as conn:
                    batch = execute_due(conn, step.step_id, now=now, limit=limit, zone=zone, scope=scope, stop=stop)
                pace.learn(batch.claimed, time.monotonic() - began)
                claimed[step.campaign_id] += batch.claimed
                done.setdefault(names.get(step.campaign_id, str(step.campaign_id)), Counter()).update(batch.counts)
                progress(done)
                if not batch.more:
                    break
        if claimed.total() == before:
            # What is still due is in other hands; it is done when they have committed.
            time.sleep(0.02)


def _set_aside(conn: Connection, steps: Sequence[waits.DueStep]) -> set[int]:
    """Return the campaigns of steps that this process cannot read."""
    return {id_ for id_ in {step.campaign_id for step in steps} if not campaigns.is_readable(conn, id_)}


def _may_claim(scope: Scope, claimed: int) -> bool:
    return scope.campaign_limit is None or claimed < scope.campaign_limit


# For the queues.


def run_sweep(engine: Engine, sweep_id: int, look: int, *, zone: ZoneInfo) -> list[tuple[Order, int]]:
    """Split a sweep into orders, or see whether it is finished; return (order, delay in ms) to publish.

    What is left is read from the database each time, so a lost message costs a look, and a sweep
    that is asked for twice is done once. Whoever starts it looks again until it is finished; a tick that looks after
    it (`look` 0 again) only asks for what is left, or each time would leave one more who looks for ever.
    """
    with engine.begin() as conn:
        sweep = sweeps.find(conn, sweep_id)
        if sweep is None or sweep.finished_at is not None:
            return []
        ensure_partitions(engine, sweep.at)
        local_time.follow_all(engine, now=sweep.at, zone=zone)
        if sweep.started_at is None and sweep.kind == "update":
            dates.build_all(engine, zone=zone)
        rules.follow_all(engine, now=sweep.at, zone=zone)
        starts = sweeps.start(conn, sweep_id)
        if starts and sweep.kind == "update":
            wanted = running(conn, sweep.scope, sweep.at)
            _ask_rules(conn, sweep.scope, [id_ for id_, _ in wanted], sweep.at)
            if not sweep.scope.is_partial:
                realign.drop(conn, [id_ for id_, _ in wanted])
            limited = entrants.limited(conn, [id_ for id_, _ in wanted])
            for campaign_id, _ in wanted:
                counts = (
                    release(conn, campaign_id, now=sweep.at, zone=zone) if campaign_id in limited else Counter[str]()
                )
                if counts:
                    sweeps.count(conn, sweep_id, campaign_id, counts)
                width = sweep.scope.batch_limit or CHUNK_WIDTH
                chunks = _chunks(conn, campaign_id, sweep.scope, now=sweep.at, zone=zone, width=width)
                sweeps.add_chunks(conn, sweep_id, campaign_id, chunks)
        orders = _left_of(conn, sweep)
        if not orders:
            sweeps.finish(conn, sweep_id)
            return []
    delay = min(250 * 2 ** min(look, 5), 5_000)
    again = [(RunSweep(sweep_id, look + 1), delay)] if starts or look else []
    return [*((order, 0) for order in orders), *again]


def finish_if_done(conn: Connection, sweep: sweeps.Sweep) -> bool:
    """Return whether a sweep is finished; who waits for one need not wait for the next look of a worker."""
    if sweep.finished_at is None and sweep.started_at is not None and not _left_of(conn, sweep):
        sweeps.finish(conn, sweep.id)
        return True
    return sweep.finished_at is not None


def _left_of(conn: Connection, sweep: sweeps.Sweep) -> list[Order]:
    """Return orders for what is left of a started sweep, also for what somebody has in hand and not committed."""
    # A cap on contacts is kept exactly by one worker at a time.
    hands = 1 if sweep.scope.campaign_limit else FAN_OUT
    if sweep.kind == "update":
        unasked = sum(each.chunks for each in rebuilds.left(conn, _fed_by_rules(conn, sweep)))
        rebuild: list[Order] = [RebuildSegments(hand) for hand in range(min(unasked, hands))]
        return [*rebuild, *[SyncMembers(sweep.id)] * min(sweeps.chunks_left(conn, sweep.id), hands)]
    campaigns.read_by_index(conn)
    steps = waits.due_steps(conn, now=sweep.at, scope=sweep.scope)
    aside = _set_aside(conn, steps)
    return [
        ExecuteDue(step.step_id, sweep.id)
        for step in steps
        if step.campaign_id not in aside
        if claims_left(conn, sweep, step.campaign_id) != 0
        for _ in range(hands)
    ]


def _fed_by_rules(conn: Connection, sweep: sweeps.Sweep) -> list[int]:
    if not rule_tables.book(conn).rules or sweep.scope.is_partial:
        return []
    return _rules_of(conn, [id_ for id_, _ in running(conn, sweep.scope, sweep.at)])


def sync_members(engine: Engine, sweep_id: int, *, zone: ZoneInfo) -> int:
    """Align one chunk of an update; return how many contacts moved, or -1 when no chunk was free."""
    with engine.begin() as conn:
        sweep = sweeps.find(conn, sweep_id)
        if sweep is not None and sweep.scope.campaign_limit is not None:
            # Before a chunk is taken: who has its turn may drop all that are left.
            sweeps.turn(conn, sweep_id)
        taken = None if sweep is None else sweeps.take_chunk(conn, sweep_id)
        if sweep is None or taken is None:
            return -1
        campaign_id, chunk = taken
        limit = None
        if sweep.scope.campaign_limit is not None:
            moved = sweeps.counted_for(conn, sweep_id, campaign_id, ("added", "restarted", "removed"))
            limit = sweep.scope.campaign_limit - moved
        counts = sync_chunk(conn, campaign_id, chunk, now=sweep.at, zone=zone, limit=limit, scope=sweep.scope)
        sweeps.count(conn, sweep_id, campaign_id, counts)
        if limit is not None and counts.total() >= limit:
            sweeps.drop_chunks(conn, sweep_id, campaign_id)
        return counts.total()


def _beside_runs(
    conn: Connection, campaign_id: int, sources: Sources, whole: Chunk, known: Collection[int], width: int
) -> list[Chunk]:
    """Return ranges beside those that are known in which a segment holds members whom only events let in."""
    ids = memberships.in_runs_alone(conn, campaign_id, sources, whole, limit=READ_AT_ONCE, scope=EVERYTHING)
    firsts = {whole.first_id + (id_ - whole.first_id) // width * width for id_ in ids} - set(known)
    return [Chunk(first, min(first + width - 1, whole.last_id)) for first in sorted(firsts)]


def claims_left(conn: Connection, sweep: sweeps.Sweep, campaign_id: int) -> int | None:
    """Return how many contacts of a campaign a trigger may still claim; None without a cap."""
    if sweep.scope.campaign_limit is None:
        return None
    return max(0, sweep.scope.campaign_limit - sweeps.counted_for(conn, sweep.id, campaign_id, ("claimed",)))


def _room(scope: Scope, done: Counter[str]) -> int | None:
    room = None if scope.campaign_limit is None else scope.campaign_limit - done.total()
    return (
        room if scope.batch_limit is None else min(scope.batch_limit, room if room is not None else scope.batch_limit)
    )


def _out_by_rule(
    conn: Connection, campaign: Campaign, part: Chunk, width: int, *, now: datetime, zone: ZoneInfo
) -> set[Chunk]:
    """Return the chunks of a range that have a member whom an exit by rule lets out.

    It is asked of everybody, as repair: whoever changes lets contacts out at once, so that mostly there is none.
    """
    out = exits.of_range(conn, campaign, part, now=now, zone=zone)
    ids = memberships.active(conn, campaign.id, sorted(out)) if out else ()
    firsts = {part.first_id + (id_ - part.first_id) // width * width for id_ in ids}
    return {Chunk(first, min(first + width - 1, part.last_id)) for first in firsts}


def _chunks(
    conn: Connection, campaign_id: int, scope: Scope, *, now: datetime, zone: ZoneInfo, width: int
) -> list[Chunk]:
    """Return the ranges of contact ids, each so wide, in which an update has something to do; mostly none."""
    campaign, _ = campaigns.enter(conn, campaign_id, zone)
    sources = sources_of(conn, campaign)
    whole = memberships.id_range(conn, campaign_id, sources.segment_ids)
    by_date = dates_table.due_range(conn, campaign_id, now=now) if campaign.dates else None
    ranges = [each for each in (whole, by_date) if each is not None]
    if not ranges:
        return []
    first, last = min(each.first_id for each in ranges), max(each.last_id for each in ranges)
    if scope.contact_ids is not None:
        first, last = max(first, min(scope.contact_ids)), min(last, max(scope.contact_ids))
    first = max(first, scope.min_id) if scope.min_id is not None else first
    last = min(last, scope.max_id) if scope.max_id is not None else last
    # Seldom does a segment that is an exit hold somebody: whoever comes into it is out at once.
    if sources.exits and memberships.exiting(conn, campaign_id, sources.exits, Chunk(first, last), limit=1):
        return [Chunk(start, min(start + width - 1, last)) for start in range(first, last + 1, width)]
    at_once = max(1, READ_AT_ONCE // width) * width
    chunks: list[Chunk] = []
    for start in range(first, last + 1, at_once):
        part = Chunk(start, min(start + at_once - 1, last))
        found = memberships.differing(
            conn,
            campaign_id,
            sources,
            part,
            width=width,
            leaving=campaign.exit_on_leave,
            returning=campaign.reentry != "never",
        )
        if by_date is not None:
            found = sorted({*found, *dates_table.due_chunks(conn, campaign_id, part, width=width, now=now)})
        if campaign.rule_exits:
            found = sorted({*found, *_out_by_rule(conn, campaign, part, width, now=now, zone=zone)})
        chunks += found
    if campaign.event_sources and sources.segment_ids:
        chunks += _beside_runs(
            conn, campaign_id, sources, Chunk(first, last), {each.first_id for each in chunks}, width
        )
    return chunks
