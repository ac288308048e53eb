"""`parcours consume`: contact events from their queue into the inbox, and acted on at once.

A message is acknowledged when its events are stored. What cannot be understood goes to the dead
letters with the reason, and never stands in the way of what comes behind it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Engine

from parcours.db import partitions
from parcours.db.clock import now as database_now
from parcours.db.faults import Fault, fault_of
from parcours.db.tables import events as events_table
from parcours.domain.events.parsing import ContactEvent, EventError, parse
from parcours.ops import metrics
from parcours.ops.settings import Settings
from parcours.producers import event_queue
from parcours.workers import events, intake
from parcours.workers.event_readers import EventReader, Received, reading

log = structlog.get_logger()

# Events of one transaction, and of one message.
AT_ONCE = 1_000
MOST_EVENTS = 10_000
# Between tries when the database or the broker is away, and while the inbox is full.
PAUSE_SECONDS = 1.0
FULL_SECONDS = 0.2


class UnreadEvent(NamedTuple):
    """One event of a message, not yet parsed: as it came, and why it cannot be read if that is known already."""

    value: Any
    body: str
    problem: str | None = None


class Consumer:
    """One consuming process; several share the queue."""

    def __init__(self, engine: Engine, url: str, settings: Settings, *, act: bool = True) -> None:
        self._engine = engine
        self._url = url
        self._settings = settings
        self._act = act
        # Why the last try failed, until one works. Health tells it.
        self.trouble: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Consume until told to stop; whatever goes wrong, wait and go on."""
        while not stop.is_set():
            conn = event_queue.consuming(self._url)
            try:
                with conn, reading(conn) as reader:
                    self._consume(reader, stop)
            except event_queue.away(conn) as error:
                self.trouble = "cannot reach the events queue; start its broker, or check PARCOURS_EVENTS_URL"
                log.warning("broker_away", error=f"{type(error).__name__}: {error}".splitlines()[0])
                stop.wait(PAUSE_SECONDS)
            except Exception as error:
                # A defect of ours, or an answer of the broker's that nobody foresaw. Messages in hand went back.
                self.trouble = f"reading events failed ({type(error).__name__}); see the log for details"
                log.exception("consumer_failed")
                stop.wait(PAUSE_SECONDS)

    def _consume(self, reader: EventReader, stop: threading.Event) -> None:
        while not stop.is_set():
            received = reader.take()
            if received:
                self._handle(received, reader, stop)
                self._wait_for_room(reader, stop)
            elif not stop.is_set():
                self.trouble = None

    def _handle(self, received: Sequence[Received], reader: EventReader, stop: threading.Event) -> None:
        """Store the events of the messages in hand, let go of them, then act on what is in the inbox."""
        letters = _letters(received)
        while batch := list(islice(letters, AT_ONCE)):
            if self._until_it_works(partial(self._store, batch), reader, stop) is None:
                # Told to stop without a database: the messages go back to the queue. Events of theirs that are
                # stored already will be known.
                reader.give_back()
                return
            reader.keep_alive()
        reader.done()
        self.trouble = None
        if self._act:
            self._act_on_inbox(reader, stop)

    def _store(self, letters: Sequence[UnreadEvent]) -> int:
        """Store what can be understood, the rest as dead letters, in one transaction; return how many are stored."""
        partitions.begin(self._engine)
        with self._engine.begin() as conn:
            now = database_now(conn)
            good: list[ContactEvent] = []
            bodies: list[str] = []
            dead: list[tuple[str, str]] = []
            for letter in letters:
                try:
                    if letter.problem is not None:
                        raise EventError(letter.problem)
                    good.append(intake.understood(partial(parse, letter.value, now=now)))
                    bodies.append(letter.body)
                except EventError as error:
                    dead.append((str(error), letter.body))
            done = intake.accept(conn, good, now=now, unknown_contacts=self._settings.unknown_contacts)
            rejected = len(dead) + len(done.rejected)
            dead += [(reason, bodies[index]) for index, reason in done.rejected if reason != intake.ERASED]
            events_table.add_dead_letters(conn, dead, origin="event", now=now)
        metrics.count_events(accepted=done.accepted, duplicates=done.duplicates, rejected=rejected)
        log.info(
            "events_stored",
            events=len(letters),
            accepted=done.accepted,
            duplicates=done.duplicates,
            dead_letters=len(dead),
        )
        return done.accepted

    def _act_on_inbox(self, reader: EventReader, stop: threading.Event) -> None:
        """Act on what is there; what is left when told to stop is found by the next who looks at the inbox."""
        while not stop.is_set() and self._until_it_works(self._act_once, reader, stop):
            reader.keep_alive()

    def _act_once(self) -> int:
        known = self._settings
        batch = events.act_once(self._engine, zone=known.zone, stop=known.stop_rule)
        if batch.events:
            log.info("events_acted_on", events=batch.events, lag_seconds=round(batch.lag_seconds, 3), **batch.counts)
        return batch.events

    def _until_it_works(self, work: Callable[[], int], reader: EventReader, stop: threading.Event) -> int | None:
        """Return what the work returns, tried again while the database is away; None when told to stop."""
        while True:
            try:
                return work()
            except Exception as error:
                fault = fault_of(error)
                if fault not in (Fault.AWAY, Fault.AGAIN):
                    raise
                if fault is Fault.AWAY:
                    self.trouble = "cannot reach the database; start it, or check PARCOURS_DATABASE_URL"
                log.warning("database_away" if fault is Fault.AWAY else "database_busy", error=_first_line(error))
                reader.keep_alive()
                if stop.wait(PAUSE_SECONDS if fault is Fault.AWAY else 0):
                    return None

    def _wait_for_room(self, reader: EventReader, stop: threading.Event) -> None:
        """Leave the rest in the queue while the inbox is over its limit."""
        told = False
        while not stop.is_set():
            if not self._until_it_works(self._is_inbox_full, reader, stop):
                return
            if not told:
                log.warning("inbox_full", limit=self._settings.max_inbox)
                told = True
            reader.keep_alive()
            stop.wait(FULL_SECONDS)

    def _is_inbox_full(self) -> int:
        with self._engine.connect() as conn:
            return int(events_table.is_longer_than(conn, self._settings.max_inbox))


def _letters(received: Iterable[Received]) -> Iterator[UnreadEvent]:
    """Yield the events of messages, one by one, and a message that cannot be read as a whole."""
    for message in received:
        text = message.body.decode("utf-8", errors="replace")
        if message.problem is not None:
            yield UnreadEvent(None, text, message.problem)
            continue
        try:
            values = event_queue.decode(message.body)
        except ValueError as error:
            yield UnreadEvent(None, text, str(error))
            continue
        if len(values) > MOST_EVENTS:
            sentence = f"the message contains {len(values):,} events; send at most {MOST_EVENTS:,} per message"
            yield UnreadEvent(None, text, sentence)
            continue
        for value in values:
            yield UnreadEvent(value, _written(value, text if len(values) == 1 else None))


def _written(value: Any, text: str | None) -> str:
    """Return an event as it is kept in a dead letter; `text` is its message, if it was alone in it."""
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (RecursionError, ValueError):
        # Nested so deeply that it could be read and cannot be written.
        return text or "(nested too deeply to store)"


def _first_line(error: BaseException) -> str:
    return (str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__])[0]
