"""Tick: every second, look at the index and publish work for the steps that have something due."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import datetime

import structlog
from dramatiq.broker import Broker
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from parcours.db.clock import now as database_now
from parcours.db.faults import Fault, fault_of
from parcours.db.partitions import ensure_partitions
from parcours.db.scope import Scope
from parcours.db.statements import statements
from parcours.db.tables import (
    campaigns,
    dates,
    entrants,
    events,
    membership,
    outbox,
    realign,
    rebuilds,
    rules,
    sweeps,
    traces,
    waits,
)
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.jobs import (
    ActOnEvents,
    Deliver,
    EndGraces,
    EnterByDate,
    ExecuteDue,
    FollowRules,
    FollowTimezones,
    Order,
    RebuildSegments,
    ReleaseEntrants,
    RunSweep,
    WipeFiles,
)
from parcours.producers.broker import away, publish

log = structlog.get_logger()
sql = statements(__file__)

# Any number, as long as nobody else locks by it.
LEADER_LOCK = 72726879
# A sweep that is not finished is looked after again this often, in case its message was lost.
SWEEP_SECONDS = 15.0
# A hint for what is due stands so long for all that fall due meanwhile: while no worker runs, queues hold a few
# messages a step and not one a second. A broker that lost it costs no more than this.
HINT_SECONDS = 15.0
# How many workers share the rules that are asked of everybody.
HANDS = 4
# What has been waiting longest for an order: since when, or its number.
Oldest = datetime | int


class Tick:
    """One ticking process. Several may run: the one that holds the advisory lock leads.

    The lock lives with the leader's connection, so another leads within a second of its death.
    """

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._engine = engine
        self._broker = broker
        self._interruptions: tuple[type[Exception], ...] = (SQLAlchemyError, *away(broker))
        self._leading: Connection | None = None
        self._nudged: dict[int, float] = {}
        # What was published, for what had been due longest then, and when.
        self._hinted: dict[Order, tuple[Oldest, float]] = {}

    def run_once(self) -> int:
        """Publish work for what is due; return how many orders that took. 0 when another tick leads."""
        conn = self._lead()
        if conn is None:
            return 0
        with conn.begin():
            now = database_now(conn)
            campaigns.read_by_index(conn)
            steps = waits.due_steps(conn, now=now)
            open_sweeps = sweeps.unfinished(conn, older_than=1)
            if changed := realign.take(conn, now=now):
                open_sweeps.append(sweeps.ask(conn, "update", Scope(campaign_ids=tuple(changed)), at=now))
            others: dict[Order, Oldest | None] = {
                ActOnEvents(): events.oldest_pending(conn),
                EndGraces(): membership.first_grace_over(conn, now=now),
                ReleaseEntrants(): entrants.first_due(conn, now=now),
                FollowTimezones(): dates.first_to_follow(conn),
                EnterByDate(): _first_by_date(conn, now),
                WipeFiles(): traces.oldest_noted(conn),
                FollowRules(): rules.oldest_due(conn, now=now),
                **{RebuildSegments(hand): since for hand, since in enumerate(rebuilds.oldest(conn, HANDS))},
            }
            lanes = outbox.lanes(conn, now=now, scope=EVERYTHING)
        ensure_partitions(self._engine, now)
        orphans = [sweep_id for sweep_id in open_sweeps if self._due_for_a_nudge(sweep_id)]
        for sweep_id in orphans:
            publish(self._broker, RunSweep(sweep_id))
        channels: dict[Order, datetime] = {}
        for lane in sorted(lanes, key=lambda lane: lane.channel):
            channel = Deliver(lane.channel)
            channels[channel] = min(channels.get(channel, lane.due_at), lane.due_at)
        due: dict[Order, Oldest] = {ExecuteDue(step.step_id): step.due_at for step in steps}
        due |= channels
        due |= {order: oldest for order, oldest in others.items() if oldest is not None}
        fresh = self._fresh(due)
        for order in fresh:
            publish(self._broker, order)
            self._hinted[order] = (due[order], time.monotonic())
        return len(fresh) + len(orphans)

    def run(self, stop: threading.Event) -> None:
        """Tick every second until told to stop; a lost database or broker is waited for."""
        while not stop.is_set():
            began = time.monotonic()
            try:
                published = self.run_once()
                if published:
                    log.info("tick", published=published)
            except self._interruptions as error:
                if isinstance(error, SQLAlchemyError) and fault_of(error) not in (Fault.AWAY, Fault.AGAIN):
                    raise
                log.warning("tick_interrupted", error=f"{type(error).__name__}: {error}".splitlines()[0])
                self.close()
            stop.wait(max(0.0, 1.0 - (time.monotonic() - began)))
        self.close()

    def close(self) -> None:
        """Give up the lead, so that another tick can lead at once."""
        leading, self._leading = self._leading, None
        if leading is None:
            return
        if not leading.invalidated:
            # The server would find out by itself that the session ended, but only a moment later.
            with contextlib.suppress(SQLAlchemyError):
                leading.rollback()
                leading.execute(sql["give_up"], {"lock": LEADER_LOCK})
        leading.invalidate()
        leading.close()

    def _lead(self) -> Connection | None:
        if self._leading is None:
            conn = self._engine.connect()
            try:
                led = conn.execute(sql["lead"], {"lock": LEADER_LOCK}).scalar_one()
                conn.commit()
            except BaseException:
                conn.close()
                raise
            if not led:
                conn.close()
                return None
            self._leading = conn
            log.info("tick_leads")
        return self._leading

    def _fresh(self, due: dict[Order, Oldest]) -> list[Order]:
        """Return the orders whose hint is not out: where what was due longest is gone, somebody took the hint."""
        clock = time.monotonic()
        self._hinted = {
            order: (oldest, at)
            for order, (oldest, at) in self._hinted.items()
            if due.get(order) == oldest and clock - at < HINT_SECONDS
        }
        return [order for order in due if order not in self._hinted]

    def _due_for_a_nudge(self, sweep_id: int) -> bool:
        last = self._nudged.get(sweep_id)
        if last is not None and time.monotonic() - last < SWEEP_SECONDS:
            return False
        self._nudged[sweep_id] = time.monotonic()
        return True


def _first_by_date(conn: Connection, now: datetime) -> datetime | None:
    due = min(dates.due_campaigns(conn, now=now).values(), default=None)
    return dates.first_build(conn) if due is None else due
