"""The way of events from a request into the inbox, and the hint that they are there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TypeVar

import structlog
from dramatiq.broker import Broker
from dramatiq.errors import DramatiqError
from pika.exceptions import AMQPError
from pydantic import BaseModel
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from parcours.db.clock import now as database_now
from parcours.db.faults import Fault, fault_of
from parcours.db.tables import events as events_table
from parcours.domain.events.parsing import ContactEvent, EventError
from parcours.domain.jobs import ActOnEvents
from parcours.ops import metrics
from parcours.ops.settings import Settings
from parcours.producers.broker import depth, publish
from parcours.web.problems import ProblemError
from parcours.workers import events, intake

T = TypeVar("T")

log = structlog.get_logger()

FULL_RETRY_SECONDS = 5
# A queue that holds so many hints needs no other: one is enough for all that is in the inbox.
ENOUGH_HINTS = 100
# Between a hint that could not be published and the next try.
HINT_PAUSE_SECONDS = 1.0
# So often in a row a request may lose a deadlock.
DEADLOCKS = 5
# What says that the database is away for now; deadlocks too, after which the same may be tried again.
AWAY = (OperationalError, InterfaceError, PoolTimeoutError)


class RejectedEvent(BaseModel):
    """An event that was not stored; sending it again as it is will not help."""

    index: int
    error: str


class Taken(BaseModel):
    """What became of the events of a request."""

    accepted: int
    duplicates: int
    rejected: list[RejectedEvent]

    @property
    def status(self) -> int:
        """The HTTP status: 422 when nothing is stored and everything was rejected."""
        return 422 if self.rejected and not self.accepted and not self.duplicates else 202


class Hints:
    """Publishes that the inbox holds something, from a thread of its own.

    Nobody who posts waits for the broker, and posts that come together share a hint. While no worker runs, hints do
    not pile up. A broker that is away costs nothing but time: the events are stored, and the next hint or tick finds
    them.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def give(self) -> None:
        """Ask for a hint; returns at once."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
                self._thread.start()
        self._wanted.set()

    def stop(self) -> None:
        """Publish what is asked for, and end."""
        self._stopped.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        told = False
        while True:
            self._wanted.wait()
            asked_to_stop = self._stopped.is_set()
            self._wanted.clear()
            try:
                if depth(self._broker, ActOnEvents.queue) < ENOUGH_HINTS:
                    publish(self._broker, ActOnEvents())
                told = False
            except Exception as error:
                # A broker that is away, mostly. Whatever it is, the next hint is tried again.
                if not told:
                    known = isinstance(error, OSError | RedisError | AMQPError | DramatiqError)
                    log.warning("hint_not_published", error=type(error).__name__, exc_info=not known)
                told = True
                self._stopped.wait(HINT_PAUSE_SECONDS)
            if asked_to_stop:
                return


@dataclass(slots=True)
class Offered:
    """Events to be stored, and what cannot be understood: each with its place in the request, from 0."""

    good: list[tuple[int, ContactEvent]] = field(default_factory=list)
    rejected: list[tuple[int, str]] = field(default_factory=list)
    # What numbers that no contact has asked for; there is nobody whose events these could be.
    strangers: list[tuple[int, ContactEvent]] = field(default_factory=list)

    def offer(self, index: int, read: Callable[[], ContactEvent]) -> None:
        """Add what a function reads, or why it cannot."""
        try:
            self.good.append((index, intake.understood(read)))
        except EventError as error:
            self.rejected.append((index, str(error)))


class Inbox:
    """Where the events of requests go."""

    def __init__(self, engine: Engine, broker: Broker | None, settings: Settings) -> None:
        """Without a broker events are stored all the same, and wait for somebody who looks at the inbox."""
        self.engine = engine
        self.settings = settings
        self._hints = None if broker is None else Hints(broker)

    def put(self, make: Callable[[Connection, datetime], Offered], *, limited: bool) -> Taken:
        """Store the events that a function makes in this transaction; when this returns, they are stored.

        Raises ProblemError (429) when it is `limited` and the inbox is full: for those who can come
        again. What people do in front of a browser is stored in any case.
        """
        offered, taken, heeded = self._until_nobody_is_in_the_way(partial(self._put, make, limited))
        rejected = sorted(
            offered.rejected
            + [(offered.good[nth][0], reason) for nth, reason in taken.rejected]
            + [(offered.strangers[nth][0], reason) for nth, reason in heeded.rejected]
        )
        accepted, duplicates = taken.accepted + heeded.accepted, taken.duplicates + heeded.duplicates
        metrics.count_events(accepted=accepted, duplicates=duplicates, rejected=len(rejected))
        if taken.accepted:
            self.hint()
        return Taken(
            accepted=accepted,
            duplicates=duplicates,
            rejected=[RejectedEvent(index=index, error=error) for index, error in rejected],
        )

    def _put(
        self, make: Callable[[Connection, datetime], Offered], limited: bool
    ) -> tuple[Offered, intake.Accepted, intake.Accepted]:
        with self.engine.begin() as conn:
            if limited and events_table.is_longer_than(conn, self.settings.max_inbox):
                raise ProblemError(
                    429,
                    "too many events are waiting to be processed; send these again later",
                    headers={"Retry-After": str(FULL_RETRY_SECONDS)},
                )
            now = database_now(conn)
            offered = make(conn, now)
            new = [event for _, event in offered.good]
            taken = intake.accept(conn, new, now=now, unknown_contacts=self.settings.unknown_contacts)
            return offered, taken, events.heed(conn, [event for _, event in offered.strangers], now=now)

    def _until_nobody_is_in_the_way(self, work: Callable[[], T]) -> T:
        """Return what the work returns. Who loses a deadlock has stored nothing, and begins again."""
        for left in reversed(range(DEADLOCKS)):
            try:
                return work()
            except DBAPIError as error:
                if fault_of(error) is not Fault.AGAIN or not left:
                    raise
        raise AssertionError("the last try returns or raises")

    def hint(self) -> None:
        """Say that the inbox holds something; returns at once."""
        if self._hints is not None:
            self._hints.give()

    def close(self) -> None:
        """Publish the hint that is asked for, and end."""
        if self._hints is not None:
            self._hints.stop()
