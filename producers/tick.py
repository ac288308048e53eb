"""Tick: every second, look at the index and publish work for the steps that have something due."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from datetime import datetime, timedelta
from typing import NamedTuple

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
    installation,
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
from parcours.producers.broker import MAX_AGE_MS, away, depth, publish

log = structlog.get_logger()
sql = statements(__file__)

# Any number, as long as nobody else locks by it.
LEADER_LOCK = 72726879
# A hint stands for all that falls due meanwhile, and stands so long at least. Then it is given again if its queue
# holds less than it did, since a worker may have taken it, or the broker lost it; and in any case if a worker reads
# that queue, on which others may have been put meanwhile. While no worker runs, queues hold one message a step, and not
# one a second; once an hour there is another, since workers ignore the older ones.
HINT_SECONDS = 15.0
# A worker that has been silent for longer reads nothing.
SILENT_SECONDS = 35.0
EXPIRED_SECONDS = MAX_AGE_MS / 1000
# How many workers share the rules that are asked of everybody.
HANDS = 4
# What has been waiting longest for an order: since when, or its number.
Oldest = datetime | int


class _Hint(NamedTuple):
    """A hint that is out: for what had been due longest, when it was given and looked at last, on a queue so long."""

    oldest: Oldest
    given_at: float
    looked_at: float
    depth: int


class _Queues:
    """What is known of the queues of orders in one round, each thing asked once and only where it matters."""

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._engine, self._broker = engine, broker
        self._depths: dict[str, int] = {}
        self._read: set[str] | None = None

    def depth(self, queue: str) -> int:
        """Return how many messages a queue holds."""
        if queue not in self._depths:
            self._depths[queue] = depth(self._broker, queue)
        return self._depths[queue]

    def read(self) -> set[str]:
        """Return the queues that workers read."""
        if self._read is None:
            with self._engine.connect() as conn:
                now, seen = database_now(conn), installation.workers(conn)
            alive = (each for each in seen if now - each.at < timedelta(seconds=SILENT_SECONDS))
            self._read = {queue for each in alive for queue in each.queues}
        return self._read


class Tick:
    """One ticking process. Several may run: the one that holds the advisory lock leads.

    The lock lives with the leader's connection, so another leads within a second of its death.
    """

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._engine = engine
        self._broker = broker
        self._interruptions: tuple[type[Exception], ...] = (SQLAlchemyError, *away(broker))
        self._leading: Connection | None = None
        self._hinted: dict[Order, _Hint] = {}

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
        channels: dict[Order, datetime] = {}
        for lane in sorted(lanes, key=lambda lane: lane.channel):
            channel = Deliver(lane.channel)
            channels[channel] = min(channels.get(channel, lane.due_at), lane.due_at)
        due: dict[Order, Oldest] = {RunSweep(sweep_id): sweep_id for sweep_id in open_sweeps}
        due |= {ExecuteDue(step.step_id): step.due_at for step in steps}
        due |= channels
        due |= {order: oldest for order, oldest in others.items() if oldest is not None}
        queues = _Queues(self._engine, self._broker)
        fresh = self._fresh(due, queues)
        self._give({order: due[order] for order in fresh}, queues)
        return len(fresh)

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

    def _fresh(self, due: dict[Order, Oldest], queues: _Queues) -> list[Order]:
        """Return the orders whose hint is not out: where what was due longest is gone, somebody took the hint."""
        clock = time.monotonic()
        self._hinted = {
            order: hint
            for order, hint in self._hinted.items()
            # A sweep that was just asked for is only looked after when it is a moment old.
            if due.get(order, hint.oldest) == hint.oldest
            if order in due or clock - hint.given_at < HINT_SECONDS
        }
        return [order for order in due if order not in self._hinted or self._is_gone(order, queues)]

    def _is_gone(self, order: Order, queues: _Queues) -> bool:
        """Return whether the hint for an order may not be on its queue any more."""
        clock, hint = time.monotonic(), self._hinted[order]
        if clock - hint.looked_at < HINT_SECONDS:
            return False
        self._hinted[order] = hint._replace(looked_at=clock)
        return (
            clock - hint.given_at >= EXPIRED_SECONDS
            or queues.depth(order.queue) < hint.depth
            or order.queue in queues.read()
        )

    def _give(self, fresh: dict[Order, Oldest], queues: _Queues) -> None:
        # As long as the queues were before, and what comes now: whoever takes some of it meanwhile makes them shorter.
        added = Counter(order.queue for order in fresh)
        before = {queue: queues.depth(queue) for queue in added}
        for order, oldest in fresh.items():
            publish(self._broker, order)
            clock = time.monotonic()
            self._hinted[order] = _Hint(oldest, clock, clock, before[order.queue] + added[order.queue])


def _first_by_date(conn: Connection, now: datetime) -> datetime | None:
    due = min(dates.due_campaigns(conn, now=now).values(), default=None)
    return dates.first_build(conn) if due is None else due
