"""What people do with our messages, on its way from a link or a page into the inbox."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Literal

import structlog
from prometheus_client import Counter
from sqlalchemy import Connection

from parcours.db.tables import tracking
from parcours.db.tables.tracking import Origin
from parcours.domain import gate
from parcours.domain.events.parsing import ContactEvent
from parcours.domain.events.visitors import TOO_SOON
from parcours.ops import metrics
from parcours.web.inbox import AWAY, Inbox, Offered

log = structlog.get_logger()

SOURCE = "parcours"
# The same thing done with the same message again within this time is the same event: a mail program that
# loads its pictures anew, a page that is reloaded.
SAME_SECONDS = 60
# While the database is away: how many sightings are kept in memory, for how long, and the time between tries.
KEPT = 10_000
KEPT_FOR = timedelta(minutes=10)
TRY_SECONDS = 2.0
AT_ONCE = 500

AUTOMATIC = Counter(
    "parcours_automatic_requests_total",
    "Opens, clicks and page hits that were flagged as automated.",
    ["what"],
    registry=metrics.PROCESS,
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """Something done with a message of ours, before anybody looked up whose it is."""

    what: Literal["opened", "clicked", "hit"]
    message: str
    at: datetime
    # Why a machine is believed to have done it.
    bot: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


class Sightings:
    """Stores sightings, after those who caused them have their answer.

    While the database is away they are kept in memory and tried again; those that are too old or too
    many then, and those of a process that is killed, are lost.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._kept: deque[Sighting] = deque()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def store(self, sighting: Sighting) -> None:
        """Store a sighting, or keep it until that works."""
        # Behind others there is no need to find out once more that the database is away.
        if not self._kept:
            try:
                self._put([sighting])
            except AWAY:
                log.warning("sighting_kept", what=sighting.what)
            else:
                return
        with self._lock:
            if len(self._kept) >= KEPT:
                log.error("sightings_lost", n=1, why="too many")
                return
            self._kept.append(sighting)
            if self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="sightings", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Try once more, and end."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=30)
        if self._kept and self._try() == "away":
            log.error("sightings_lost", n=len(self._kept), why="stopped")

    def _run(self) -> None:
        while not self._stopped.wait(TRY_SECONDS):
            if self._try() == "away":
                self._forget(datetime.now(UTC) - KEPT_FOR)
            with self._lock:
                if not self._kept:
                    self._thread = None
                    return

    def _try(self) -> Literal["done", "away"]:
        while batch := list(islice(self._kept, AT_ONCE)):
            try:
                self._put(batch)
            except AWAY:
                return "away"
            except Exception as error:
                # These are lost rather than all that come behind them.
                log.error("sightings_lost", n=len(batch), why=type(error).__name__, exc_info=error)
            with self._lock:
                for _ in batch:
                    self._kept.popleft()
        return "done"

    def _forget(self, before: datetime) -> None:
        lost = 0
        with self._lock:
            while self._kept and self._kept[0].at < before:
                self._kept.popleft()
                lost += 1
        if lost:
            log.error("sightings_lost", n=lost, why="too old")

    def _put(self, sightings: list[Sighting]) -> None:
        def offer(conn: Connection, now: datetime) -> Offered:
            known = tracking.origins(conn, (each.message for each in sightings))
            made = [event_of(each, known[each.message]) for each in sightings if each.message in known]
            # By the database's clock, as everything else: this machine's may be ahead.
            return Offered([(n, each._replace(at=gate.happened_at(each.at, now))) for n, each in enumerate(made)])

        self._inbox.put(offer, limited=False)
        for each in sightings:
            if each.bot is not None:
                AUTOMATIC.labels(each.what).inc()


def event_of(sighting: Sighting, origin: Origin) -> ContactEvent:
    """Return the event of a sighting. Its id is the same for the same thing within a minute.

    A machine's has an id of its own, so that a person who comes right after it is not taken for it.
    """
    bot = sighting.bot
    if bot is None and sighting.what != "opened" and origin.sent_at is not None:
        bot = "too soon after sending" if sighting.at - origin.sent_at < TOO_SOON else None
    data: dict[str, Any] = {"message": sighting.message, **sighting.data}
    if sighting.what == "hit":
        data |= {name: each for name, each in (("campaign", origin.campaign), ("step", origin.step)) if each}
    if bot is not None:
        data["bot"] = bot
    where = hashlib.sha256(str(data.get("url", "")).encode()).hexdigest()[:16]
    when = int(sighting.at.timestamp()) // SAME_SECONDS
    id_ = "/".join([sighting.message, sighting.what, where, str(when), *(["machine"] if bot else [])])
    type_ = "page.hit" if sighting.what == "hit" else f"{origin.channel}.{sighting.what}"
    return ContactEvent(SOURCE, id_, type_, origin.contact, sighting.at, data)
