"""Every actor, on one page. Each reads, decides and writes through a function of its own module,
commits, and then publishes what follows. A message is a hint: done twice, it finds nothing to do."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import dramatiq
from dramatiq.broker import Broker
from sqlalchemy import Engine

from parcours.db import partitions
from parcours.db.clock import now as database_now
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, entrants, traces, waits
from parcours.db.tables import events as events_table
from parcours.db.tables import sweeps as sweeps_table
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.errors import CampaignError
from parcours.domain.jobs import (
    ActOnEvents,
    Deliver,
    EndGraces,
    EnterByDate,
    ExecuteDue,
    FollowRules,
    FollowTimezones,
    RebuildSegments,
    ReleaseEntrants,
    RunSweep,
    SyncMembers,
    WipeFiles,
)
from parcours.ops.logs import bind_to_line
from parcours.ops.settings import Settings
from parcours.producers.broker import publish
from parcours.workers import dates, events, local_time, membership, rebuilding, rules, sweeps
from parcours.workers.batch_size import Pace
from parcours.workers.delivery import deliver
from parcours.workers.delivery.channels import Delivery, delivery_of
from parcours.workers.executor import execute_due as execute_batch

# A message works so long and then makes room for others of its queue.
SHARE_SECONDS = 2.0
# Due rows in somebody else's hands are looked at again after this long.
LOOK_AGAIN_MS = 200
# So often by who found all of them so: a hint that came to nothing is not repeated for a while, and what holds a
# contact is mostly over in a moment.
LOOKS = 3
# Likewise for events that are all in somebody else's hands: each time after twice as long, 12 s together, which
# is about as long as a tick takes to ask again.
INBOX_LOOKS = 6


@dataclass(frozen=True)
class Workshop:
    """What every actor of a process works with."""

    engine: Engine
    broker: Broker
    settings: Settings
    # By step; threads that lose each other's latest batch learn from the next.
    paces: dict[int, Pace] = field(default_factory=dict)

    @cached_property
    def delivery(self) -> Delivery:
        """The ways out of this process, whose connections outlive a message of the queue."""
        return delivery_of(self.engine, self.settings)

    def execute_due(self, step_id: int, sweep_id: int | None = None) -> None:
        """Do what is due at a step, batch after batch; then let others have a turn."""
        with self.engine.connect() as conn:
            sweep = None if sweep_id is None else sweeps_table.find(conn, sweep_id)
            if sweep_id is not None and (sweep is None or sweep.finished_at is not None):
                return
            now = database_now(conn) if sweep is None else sweep.at
        partitions.ensure_partitions(self.engine, now)
        scope = EVERYTHING if sweep is None else sweep.scope
        pace = self.paces.setdefault(step_id, Pace(self.settings.batch_size))
        started, batches, claimed, looks = time.monotonic(), 0, 0, 0
        counts: Counter[str] = Counter()
        more = True
        while more and time.monotonic() - started < SHARE_SECONDS:
            limit, began = scope.batch_limit or pace.size, time.monotonic()
            with self.engine.begin() as conn:
                if sweep is not None and scope.campaign_limit is not None:
                    sweeps_table.turn(conn, sweep.id)
                    room = sweeps.claims_left(conn, sweep, campaigns.of_step(conn, step_id))
                    limit = min(limit, room or 0)
                    if limit == 0:
                        return
                done = execute_batch(
                    conn,
                    step_id,
                    now=now,
                    limit=limit,
                    zone=self.settings.zone,
                    scope=scope,
                    sweep_id=sweep_id,
                    stop=self.settings.stop_rule,
                )
                if sweep_id is not None:
                    sweeps_table.count(conn, sweep_id, done.campaign_id, {"claimed": done.claimed})
            pace.learn(done.claimed, time.monotonic() - began)
            more = done.more
            batches += 1
            claimed += done.claimed
            counts += done.counts
            if not claimed and looks < LOOKS and self._is_due(step_id, now, scope):
                looks += 1
                more = True
                time.sleep(LOOK_AGAIN_MS / 1000)
        if counts["erased"]:
            traces.wipe_noted(self.engine)
        bind_to_line(step_id=step_id, sweep_id=sweep_id or 0, batches=batches, claimed=claimed, **counts)
        if more:
            publish(self.broker, ExecuteDue(step_id, sweep_id))
        elif claimed and self._is_due(step_id, now, scope):
            publish(self.broker, ExecuteDue(step_id, sweep_id), delay_ms=LOOK_AGAIN_MS)

    def _is_due(self, step_id: int, now: datetime, scope: Scope) -> bool:
        with self.engine.connect() as conn:
            campaigns.read_by_index(conn)
            return waits.has_due(conn, [step_id], now=now, scope=scope)

    def act_on_events(self, look: int = 0) -> None:
        """Act on contact events until the inbox is empty or others should have a turn."""
        started = time.monotonic()
        done, counts, lag = 0, Counter[str](), 0.0
        while time.monotonic() - started < SHARE_SECONDS:
            batch = events.act_once(self.engine, zone=self.settings.zone, stop=self.settings.stop_rule)
            if not batch.events:
                break
            done, counts, lag = done + batch.events, counts + batch.counts, max(lag, batch.lag_seconds)
        bind_to_line(events=done, lag_seconds=round(lag, 3), **counts)
        with self.engine.connect() as conn:
            if events_table.oldest_pending(conn) is None:
                return
        if done:
            # More than a turn's worth.
            publish(self.broker, ActOnEvents())
        elif look < INBOX_LOOKS:
            # In somebody else's hands, who goes on with it. A look must end, or each hint adds one for as long as
            # the inbox holds anything.
            publish(self.broker, ActOnEvents(look + 1), delay_ms=LOOK_AGAIN_MS * 2**look)

    def deliver(self, channel: str) -> None:
        """Send what is due of a channel, batch after batch; then let others have a turn."""
        if channel not in self.delivery.outlets:
            return
        started, claimed, counts = time.monotonic(), 0, Counter[str]()
        with deliver.hand(self.engine, channel) as free:
            if not free:
                return
            more, wait = True, None
            while more and time.monotonic() - started < SHARE_SECONDS:
                done = deliver.deliver_once(self.engine, self.delivery, channel, zone=self.settings.zone)
                claimed, counts = claimed + done.claimed, counts + done.counts
                more, wait = done.more, done.wait
        bind_to_line(claimed=claimed, **counts)
        if more:
            publish(self.broker, Deliver(channel))
        elif wait is not None:
            # The rate lets the next one go then; ticks come once a second.
            publish(self.broker, Deliver(channel), delay_ms=max(1, int(min(wait, 1.0) * 1000)))
        else:
            self.delivery.outlets[channel].close()

    def end_graces(self) -> None:
        """Let go whose grace is over, and in whose cooldown is."""
        now = partitions.begin(self.engine)
        membership.grace_over_all(self.engine, now=now, zone=self.settings.zone)

    def release_entrants(self) -> None:
        """Let in who was held back by the limits of campaigns."""
        now = partitions.begin(self.engine)
        with self.engine.connect() as conn:
            due = entrants.due(conn, now=now)
        for campaign_id in due:
            with self.engine.begin() as conn:
                membership.release(conn, campaign_id, now=now, zone=self.settings.zone, ask=True)

    def follow_timezones(self) -> None:
        """Move the waits of contacts whose timezone or dates changed."""
        with self.engine.connect() as conn:
            now = database_now(conn)
        local_time.follow_all(self.engine, now=now, zone=self.settings.zone)

    def enter_by_date(self) -> None:
        """Write what new sources need, and let in whose date has come, until others should have a turn."""
        now = partitions.begin(self.engine)
        started, building = time.monotonic(), True
        while building and time.monotonic() - started < SHARE_SECONDS:
            with self.engine.begin() as conn:
                building = dates.build(conn, zone=self.settings.zone)
        if building:
            publish(self.broker, EnterByDate())
        bind_to_line(**dates.let_in_all(self.engine, now=now, zone=self.settings.zone))

    def follow_rules(self) -> None:
        """Ask rules of contacts for whom it is time, or whom nobody asked yet, until others should have a turn."""
        now, started, asked = partitions.begin(self.engine), time.monotonic(), 0
        while time.monotonic() - started < SHARE_SECONDS:
            with self.engine.begin() as conn:
                looked = rules.follow_due(conn, now=now, zone=self.settings.zone)
            asked += looked
            if not looked:
                break
        else:
            publish(self.broker, FollowRules())
        bind_to_line(asked=asked)

    def rebuild_segments(self, hand: int = 0) -> None:
        """Ask rules of everybody, range by range, until none is free or others should have a turn."""
        now, started, ranges = partitions.begin(self.engine), time.monotonic(), 0
        while time.monotonic() - started < SHARE_SECONDS:
            if not rebuilding.work(self.engine, now=now, zone=self.settings.zone):
                break
            ranges += 1
        else:
            publish(self.broker, RebuildSegments(hand))
        bind_to_line(ranges=ranges)

    def wipe_files(self) -> None:
        """Delete files of erased contacts that whoever erased them did not come to delete."""
        traces.wipe_noted(self.engine)

    def sync_members(self, sweep_id: int) -> None:
        """Align chunks of an update until none is left or others should have a turn."""
        started, chunks, moved = time.monotonic(), 0, 0
        while time.monotonic() - started < SHARE_SECONDS:
            count = sweeps.sync_members(self.engine, sweep_id, zone=self.settings.zone)
            if count < 0:
                break
            chunks, moved = chunks + 1, moved + count
        else:
            publish(self.broker, SyncMembers(sweep_id))
        bind_to_line(sweep_id=sweep_id, chunks=chunks, moved=moved)

    def run_sweep(self, sweep_id: int, round: int = 0) -> None:  # noqa: A002
        """Split a sweep into orders, or see whether it is finished."""
        orders = sweeps.run_sweep(self.engine, sweep_id, round, zone=self.settings.zone)
        bind_to_line(sweep_id=sweep_id, round=round, orders=len(orders))
        for order, delay_ms in orders:
            publish(self.broker, order, delay_ms=delay_ms)


def register(workshop: Workshop) -> None:
    """Make the actors known to the workshop's broker."""
    for order, work in (
        (ExecuteDue, workshop.execute_due),
        (ActOnEvents, workshop.act_on_events),
        (Deliver, workshop.deliver),
        (EndGraces, workshop.end_graces),
        (ReleaseEntrants, workshop.release_entrants),
        (FollowTimezones, workshop.follow_timezones),
        (EnterByDate, workshop.enter_by_date),
        (FollowRules, workshop.follow_rules),
        (RebuildSegments, workshop.rebuild_segments),
        (WipeFiles, workshop.wipe_files),
        (SyncMembers, workshop.sync_members),
        (RunSweep, workshop.run_sweep),
    ):
        decorate = dramatiq.actor(
            actor_name=order.actor, queue_name=order.queue, broker=workshop.broker, throws=CampaignError
        )
        decorate(work)
