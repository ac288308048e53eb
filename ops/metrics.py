"""Metrics for Prometheus: what this process did, and the figures that all processes share.

The shared figures are read from the database and the broker when somebody scrapes. Every process tells
the same ones, so take `max by (…)` of them, not `sum`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dramatiq
import structlog
from dramatiq.errors import RateLimitExceeded, Retry
from dramatiq.middleware import Interrupt
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from parcours.db.clock import now as database_now
from parcours.db.reads import installation_metrics
from parcours.db.tables import campaigns, rebuilds, rules

if TYPE_CHECKING:
    from dramatiq import Broker, MessageProxy
    from prometheus_client.metrics_core import Metric

log = structlog.get_logger()

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Scrapes that come together are answered from one reading.
FRESH_SECONDS = 1.0

# What this process did. A registry of its own: the library's default one belongs to everybody.
PROCESS = CollectorRegistry()
ProcessCollector(registry=PROCESS)
EVENTS = Counter(
    "parcours_events", "Contact events received by this process, by result.", ["outcome"], registry=PROCESS
)
MESSAGES = Counter(
    "parcours_messages_handled", "Messages handled by this process.", ["actor", "outcome"], registry=PROCESS
)
MESSAGE_SECONDS = Histogram(
    "parcours_message_seconds",
    "Time to handle a message.",
    ["actor"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=PROCESS,
)
DECISION_SECONDS = Histogram(
    "parcours_decision_latency_seconds",
    "Time from the arrival of an event to the commit of all its effects; the oldest event of each batch.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
    registry=PROCESS,
)


class MetricsMiddleware(dramatiq.Middleware):
    """Count messages by actor and outcome, and time them.

    `again` asks for another turn; `failed` is tried again too, unless the actor throws it.
    """

    def __init__(self) -> None:
        # A thread handles one message at a time.
        self._in_hand = threading.local()

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        self._in_hand.since = time.perf_counter()

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        outcome = "done" if exception is None else "failed"
        if isinstance(exception, (Retry, RateLimitExceeded, Interrupt)):
            outcome = "again"
        MESSAGES.labels(message.actor_name, outcome).inc()
        since = getattr(self._in_hand, "since", None)
        # Without it, another middleware refused the message before it came to us.
        if since is not None:
            MESSAGE_SECONDS.labels(message.actor_name).observe(time.perf_counter() - since)
            self._in_hand.since = None

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        MESSAGES.labels(message.actor_name, "skipped").inc()
        self._in_hand.since = None


def count_events(*, accepted: int, duplicates: int, rejected: int) -> None:
    """Count events that were offered, once they are stored."""
    for outcome, n in (("accepted", accepted), ("duplicate", duplicates), ("rejected", rejected)):
        EVENTS.labels(outcome).inc(n)


class SharedFigures(Collector):
    """The figures that the database and the broker know, read when they are asked for.

    A source that does not answer is left out, and says so in `parcours_source_up`.
    """

    def __init__(self, engine: Engine, depths: Mapping[str, Callable[[], Mapping[str, int]]]) -> None:
        """`depths` are readers of queue depths by the name of their source."""
        self._engine = engine
        self._depths = depths
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._last: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        """Return the figures; readings are shared for a second, so that scraping hard costs nothing."""
        with self._lock:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                self._last = list(self._read())
                self._read_at = time.monotonic()
            return self._last

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the library would otherwise read the database to learn our names."""
        return []

    def _read(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("parcours_source_up", "1 if the source of the metrics responded.", labels=["source"])
        try:
            with self._engine.connect() as conn:
                now = database_now(conn)
                read = installation_metrics.read(conn, now=now)
                aside = campaigns.set_aside(conn)
                rules_aside = rules.set_aside(conn)
                rules_due = rules.oldest_due(conn, now=now)
                ranges = sum(each.chunks for each in rebuilds.left(conn, list(rules.book(conn).rules)))
        except SQLAlchemyError as error:
            log.warning("figures_not_read", source="database", error=type(error).__name__)
            up.add_metric(["database"], 0)
        else:
            up.add_metric(["database"], 1)
            yield from _families(read, now)
            unreadable = GaugeMetricFamily(
                "parcours_campaign_set_aside", "1 for a campaign that this process cannot read.", labels=["campaign"]
            )
            for key in aside:
                unreadable.add_metric([key], 1)
            yield unreadable
            broken = GaugeMetricFamily(
                "parcours_rule_set_aside",
                "1 for a segment whose rule this process cannot read, or whose rule failed for a contact.",
                labels=["segment"],
            )
            for key in rules_aside:
                broken.add_metric([key], 1)
            yield broken
            yield GaugeMetricFamily(
                "parcours_rules_due_seconds",
                "How long the oldest due evaluation of a segment rule has been due; 0 when none is.",
                value=_age(rules_due, now),
            )
            yield GaugeMetricFamily(
                "parcours_rule_ranges_left",
                "Contact ranges for which changed segment rules are still to be evaluated.",
                value=ranges,
            )
        queues = GaugeMetricFamily(
            "parcours_queue_messages", "Messages in a queue, including delayed ones.", labels=["queue"]
        )
        for source, depths in self._depths.items():
            try:
                for queue, n in depths().items():
                    queues.add_metric([queue], n)
            # Clients of three brokers, each with errors of its own; the scrape must not fail with them.
            except Exception as error:
                log.warning("figures_not_read", source=source, error=type(error).__name__)
                up.add_metric([source], 0)
            else:
                up.add_metric([source], 1)
        yield queues
        yield up


def exposition(shared: SharedFigures | None) -> bytes:
    """Return the metrics of this process, with the shared figures when there are any, as Prometheus reads them."""
    text = generate_latest(PROCESS)
    if shared is not None:
        registry = CollectorRegistry()
        registry.register(shared)
        text += generate_latest(registry)
    return text


def _families(read: installation_metrics.InstallationFigures, now: datetime) -> Iterator[Metric]:
    running = [each for each in read.backlog if each.published]
    oldest = min((each.oldest_due_at for each in running if each.oldest_due_at), default=None)
    yield GaugeMetricFamily(
        "parcours_oldest_due_wait_seconds",
        "Age of the oldest due wait of a published campaign; 0 if none is due.",
        value=_age(oldest, now),
    )
    due = GaugeMetricFamily("parcours_waits_due", "Contacts at a step that is due.", labels=["campaign"])
    waiting = GaugeMetricFamily("parcours_waits", "Contacts at a step, due or not.", labels=["campaign"])
    for each in read.backlog:
        due.add_metric([each.campaign], each.due)
        waiting.add_metric([each.campaign], each.waiting)
    yield due
    yield waiting
    passed = CounterMetricFamily(
        "parcours_steps_passed", "Steps completed by contacts, by type and result.", labels=["kind", "type", "result"]
    )
    for step in read.steps_passed:
        passed.add_metric([step.kind, step.type, step.result], step.n)
    yield passed
    yield GaugeMetricFamily("parcours_inbox_events", "Contact events stored and not yet processed.", value=read.inbox)
    yield GaugeMetricFamily(
        "parcours_ingest_lag_seconds",
        "Age of the oldest stored and unprocessed contact event.",
        value=_age(read.inbox_since, now),
    )
    for name, help_, label, counted in (
        ("parcours_outbox_messages", "Messages to contacts, by state.", "state", read.outbox),
        (
            "parcours_dead_letters",
            "Dead letters: messages that could not be processed, by origin.",
            "origin",
            read.dead_letters,
        ),
        ("parcours_open_sweeps", "Updates and triggers that are not finished.", "kind", read.open_sweeps),
    ):
        family = GaugeMetricFamily(name, help_, labels=[label])
        # What alarms look at is there before the first one.
        zeros = {"parcours_dead_letters": ("event", "message"), "parcours_open_sweeps": ("update", "trigger")}
        for value, n in {**dict.fromkeys(zeros.get(name, ()), 0), **counted}.items():
            family.add_metric([value], n)
        yield family
    yield GaugeMetricFamily(
        "parcours_open_failures", "Failed steps of contacts that will be retried.", value=read.open_failures
    )


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())
