"""Tick: every second, look at the index and publish work for the steps that have something due."""

from __future__ import annotations

import threading
import time

import structlog
from dramatiq.broker import Broker
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import InterfaceError, OperationalError

from db import events, membership, outbox, sweeps, waits
from db.clock import now as database_now
from db.partitions import ensure_partitions
from db.waits import EVERYTHING
from domain.orders import ActOnEvents, Deliver, EndGraces, ExecuteDue, FollowTimezones, Order, RunSweep
from producers.broker import AWAY, publish

log = structlog.get_logger()

# Any number, as long as nobody else locks by it.
LEADER_LOCK = 72726879
# A sweep that is not finished is looked after again this often, in case its message was lost.
SWEEP_SECONDS = 15.0


class Tick:
    """One ticking process. Several may run: the one that holds the advisory lock leads.

    The lock lives with the leader's connection, so another leads within a second of its death.
    """

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._engine = engine
        self._broker = broker
        self._leading: Connection | None = None
        self._nudged: dict[int, float] = {}

    def run_once(self) -> int:
        """Publish work for what is due; return how many orders that took. 0 when another tick leads."""
        conn = self._lead()
        if conn is None:
            return 0
        with conn.begin():
            now = database_now(conn)
            steps = waits.due_steps(conn, now=now)
            open_sweeps = sweeps.unfinished(conn, older_than=1)
            others: list[Order] = []
            if events.has_pending(conn):
                others.append(ActOnEvents())
            if membership.has_grace_over(conn, now=now):
                others.append(EndGraces())
            if waits.has_rezoned(conn):
                others.append(FollowTimezones())
            channels = {lane.channel for lane in outbox.lanes(conn, now=now, scope=EVERYTHING)}
            others += [Deliver(channel) for channel in sorted(channels)]
        if steps:
            ensure_partitions(self._engine, now)
        for step in steps:
            publish(self._broker, ExecuteDue(step.step_id))
        orphans = [sweep_id for sweep_id in open_sweeps if self._due_for_a_nudge(sweep_id)]
        for sweep_id in orphans:
            publish(self._broker, RunSweep(sweep_id))
        for order in others:
            publish(self._broker, order)
        return len(steps) + len(orphans) + len(others)

    def run(self, stop: threading.Event) -> None:
        """Tick every second until told to stop; a lost database or broker is waited for."""
        while not stop.is_set():
            began = time.monotonic()
            try:
                published = self.run_once()
                if published:
                    log.info("tick", published=published)
            except (OperationalError, InterfaceError, *AWAY) as error:
                log.warning("tick_interrupted", error=f"{type(error).__name__}: {error}".splitlines()[0])
                self.close()
            stop.wait(max(0.0, 1.0 - (time.monotonic() - began)))
        self.close()

    def close(self) -> None:
        """Give up the lead."""
        if self._leading is not None:
            self._leading.invalidate()
            self._leading.close()
            self._leading = None

    def _lead(self) -> Connection | None:
        if self._leading is None:
            conn = self._engine.connect()
            try:
                led = conn.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LEADER_LOCK}).scalar_one()
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

    def _due_for_a_nudge(self, sweep_id: int) -> bool:
        last = self._nudged.get(sweep_id)
        if last is not None and time.monotonic() - last < SWEEP_SECONDS:
            return False
        self._nudged[sweep_id] = time.monotonic()
        return True
