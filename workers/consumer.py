"""`parcours consume`: contact events from their queue into the inbox, and acted on at once.

A message is acknowledged when its events are stored. What cannot be understood goes to the dead
letters with the reason, and never stands in the way of what comes behind it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import structlog
from kombu import Connection
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from db import events as events_table
from db import partitions
from db.clock import now as database_now
from domain.events import ContactEvent, EventError, parse
from producers import event_queue, metrics
from settings import Settings
from workers import events

log = structlog.get_logger()

# Messages in hand at most, and how long the first of them waits for company.
PREFETCH = 100
GATHER_SECONDS = 0.01
# After that, it waits only for what comes at once, and so long at most.
AT_ONCE_SECONDS = 0.002
BACKLOG_SECONDS = 0.1
# How often an idle consumer looks up.
IDLE_SECONDS = 0.5
# Between tries when the database or the broker is away.
PAUSE_SECONDS = 1.0


class Consumer:
    """One consuming process; several share the queue."""

    def __init__(self, engine: Engine, url: str, settings: Settings, *, act: bool = True) -> None:
        self._engine = engine
        self._url = url
        self._settings = settings
        self._act = act
        self._batch: list[Any] = []

    def run(self, stop: threading.Event) -> None:
        """Consume until told to stop; when the broker or the database is away, wait and go on."""
        while not stop.is_set():
            with event_queue.consuming(self._url) as conn:
                try:
                    self._consume(conn, stop)
                except event_queue.away(conn) as error:
                    log.warning("broker_away", error=f"{type(error).__name__}: {error}".splitlines()[0])
                    stop.wait(PAUSE_SECONDS)

    def _consume(self, conn: Connection, stop: threading.Event) -> None:
        channel = conn.channel()
        channel.basic_qos(0, PREFETCH, False)
        consumer = conn.Consumer(
            [event_queue.QUEUE], channel=channel, on_message=self._batch.append, accept=None, auto_declare=True
        )
        self._batch.clear()
        with consumer:
            while not stop.is_set():
                event_queue.keep_alive(conn, channel)
                self._gather(conn)
                if self._batch:
                    self._handle(stop)
                    self._wait_for_room(stop)

    def _gather(self, conn: Connection) -> None:
        """Take what is there: wait for the first message, then shortly for company.

        Both waits are counted from the first message on. Counted anew with each, a steady trickle would
        hold the first back until the batch is full; with the short one alone, a queue that has grown would
        be taken in such small batches that it grows on.
        """
        first_at = None
        while len(self._batch) < PREFETCH:
            wait = IDLE_SECONDS
            if first_at is not None:
                waited = time.monotonic() - first_at
                if waited > BACKLOG_SECONDS:
                    return
                wait = max(GATHER_SECONDS - waited, AT_ONCE_SECONDS)
            try:
                conn.drain_events(timeout=wait)
            except TimeoutError:
                return
            if first_at is None and self._batch:
                first_at = time.monotonic()

    def _handle(self, stop: threading.Event) -> None:
        """Store the events of the messages in hand, acknowledge, then act on them."""
        messages, self._batch[:] = list(self._batch), []
        stored = self._until_it_works(lambda: self._store(messages), stop)
        if stored is None:
            # Told to stop without a database: the messages go back to the queue.
            for message in messages:
                message.requeue()
            return
        for message in messages:
            message.ack()
        if self._act:
            self._until_it_works(self._act_on_inbox, stop)

    def _store(self, messages: list[Any]) -> int:
        """Store what can be understood and bury the rest, in one transaction.

        What the database refuses although we understood it is found by trying message by message, and buried:
        it must not stand in the way of what comes behind it.
        """
        try:
            return self._store_together(messages)
        except (OperationalError, InterfaceError):
            raise
        except DBAPIError as error:
            if len(messages) > 1:
                return sum(self._store([message]) for message in messages)
            reason = f"the database refused it: {str(error.orig).strip().splitlines()[0]}"
            with self._engine.begin() as conn:
                body = _text(messages[0].body).replace("\0", "")
                events_table.bury(conn, [(reason, body)], origin="event", now=database_now(conn))
            log.warning("events_refused", error=type(error.orig).__name__)
            return 0

    def _store_together(self, messages: list[Any]) -> int:
        partitions.begin(self._engine)
        with self._engine.begin() as conn:
            now = database_now(conn)
            good: list[ContactEvent] = []
            bodies: list[str] = []
            dead: list[tuple[str, str]] = []
            for message in messages:
                try:
                    values = event_queue.decode(message.body)
                except ValueError as error:
                    dead.append((str(error), _text(message.body)))
                    continue
                for value in values:
                    body = json.dumps(value, ensure_ascii=False, default=str)
                    try:
                        good.append(parse(value, now=now))
                        bodies.append(body)
                    except EventError as error:
                        dead.append((str(error), body))
            done = events.accept(conn, good, now=now, unknown_contacts=self._settings.unknown_contacts)
            dead += [(reason, bodies[index]) for index, reason in done.rejected]
            events_table.bury(conn, dead, origin="event", now=now)
        metrics.count_events(accepted=done.accepted, duplicates=done.duplicates, rejected=len(dead))
        log.info(
            "events_stored",
            messages=len(messages),
            accepted=done.accepted,
            duplicates=done.duplicates,
            dead_letters=len(dead),
        )
        return done.accepted

    def _act_on_inbox(self) -> int:
        acted = 0
        known = self._settings
        while (batch := events.act_once(self._engine, zone=known.zone, stop=known.stop_rule)).events:
            acted += batch.events
            log.info("events_acted_on", events=batch.events, lag_seconds=round(batch.lag_seconds, 3), **batch.counts)
        return acted

    def _until_it_works(self, work: Callable[[], int], stop: threading.Event) -> int | None:
        """Return what the work returns, tried again while the database is away; None when told to stop."""
        while True:
            try:
                return work()
            except (OperationalError, InterfaceError) as error:
                log.warning("database_away", error=str(error.orig).strip().splitlines()[0])
                if stop.wait(PAUSE_SECONDS):
                    return None

    def _wait_for_room(self, stop: threading.Event) -> None:
        """Leave the rest in the queue while the inbox is over its limit."""
        told = False
        while not stop.is_set():
            if not self._until_it_works(self._is_inbox_full, stop):
                return
            if not told:
                log.warning("inbox_full", limit=self._settings.max_inbox)
                told = True
            time.sleep(0.2)

    def _is_inbox_full(self) -> int:
        with self._engine.connect() as conn:
            return int(events_table.is_longer_than(conn, self._settings.max_inbox))


def _text(body: Any) -> str:
    return body.decode("utf-8", errors="replace") if isinstance(body, bytes) else str(body)
