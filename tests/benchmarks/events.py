"""Contact events: how long from publication to the consequence, and how many a consumer takes in.

    python -m tests.benchmarks.events [--short]

One `parcours consume` on servers of its own: PostgreSQL with all its safeguards, Redis, and RabbitMQ
where it is installed. Latency is from just before an event is published to the commit of the outcome of
the action that follows, by PostgreSQL's own record of commits: the "yes" of a decision, or the first
step of a campaign whose segment has a rule that the event makes true. Everything shares this machine.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, make_url, text

from parcours.db import schema
from parcours.db.clock import now as database_now
from parcours.db.engine import connect
from parcours.db.scope import Scope
from parcours.db.tables import segments
from parcours.producers import event_queue
from parcours.producers.files import campaigns
from parcours.services import apply_campaign, campaign_plan, segment_rules
from parcours.workers import rebuilding
from parcours.workers.sweeps import update_inline
from tests import servers

ROOT = Path(__file__).parents[2]
ZONE = ZoneInfo("UTC")
PER_SECOND = 200

CAMPAIGN = """
campaign: visits
published: true
sources: {segments: [everybody]}
steps:
  - step: visit
    decision: page.hit
    yes:
      - {step: point, action: contact.points, with: {points: 1}}
"""

VISIT = {"url": "https://shop.example/"}
BEHIND_RULE = """
campaign: visits
published: true
sources: {segments: [everybody]}
steps:
  - {step: point, action: contact.points, with: {points: 1}}
"""
RULE = {"condition": "contact.field", "with": {"field": "colour", "operator": "=", "value": "blue"}}


def event(type_: str, number: int, id_: str, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": id_,
        "source": "benchmark",
        "type": type_,
        "subject": f"c{number}",
        "time": datetime.now(UTC).isoformat(),
        "data": data,
    }


def a_world(engine: Engine, contacts: int, *, behind_rule: bool = False) -> None:
    """Contacts that all stand at a decision, armed; or that a rule lets into the campaign once they are blue."""
    with engine.begin() as conn:
        conn.execute(
            text("INSERT INTO contact (key) SELECT 'c' || n FROM generate_series(1, :n) AS n"), {"n": contacts}
        )
        segments.save(conn, "everybody", name=None, public=True, published=True)
        now = database_now(conn)
        if behind_rule:
            segment_rules.put(conn, "everybody", RULE, now=now)
        else:
            conn.execute(
                text("INSERT INTO segment_member (contact_id, segment_id, changed_at) SELECT id, 1, :now FROM contact"),
                {"now": now},
            )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "visits.yaml"
            path.write_text(BEHIND_RULE if behind_rule else CAMPAIGN, encoding="utf-8")
            plan = campaign_plan.plan(conn, campaigns.read(path, default_zone=ZONE), zone=ZONE)
        apply_campaign.apply(conn, plan, backfill=False, reschedule=False, who="benchmark", now=now, zone=ZONE)
    if behind_rule:
        assert rebuilding.work_all(engine, [1], now=now, zone=ZONE)
    update_inline(engine, Scope(), now=now, zone=ZONE)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("VACUUM ANALYZE"))


@contextmanager
def consumer(engine: Engine, url: str) -> Iterator[None]:
    """One consuming process."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "parcours", "consume"],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")},
                "PARCOURS_DATABASE_URL": engine.url.render_as_string(hide_password=False),
                "PARCOURS_BROKER_URL": url,
                "PARCOURS_HOME": folder,
                "PYTHONPATH": str(ROOT),
            },
            cwd=folder,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def latency(engine: Engine, url: str, *, seconds: int, behind_rule: bool = False) -> list[float]:
    """Publish one event a message at a steady pace; return the seconds from each to its consequence, sorted."""
    number = PER_SECOND * seconds
    a_world(engine, number + 1, behind_rule=behind_rule)
    happens = ("contact.changed", {"fields": {"colour": "blue"}}) if behind_rule else ("page.hit", VISIT)
    sent: dict[str, float] = {}
    with consumer(engine, url), event_queue.publisher(url) as publish:
        # The first event waits for the process to start.
        publish([event(happens[0], number + 1, "first", **happens[1])])
        _until(engine, "SELECT count(*) FROM outcome JOIN step ON id = step_id WHERE key = 'point'", 1)
        began = time.time()
        for nth in range(number):
            time.sleep(max(0.0, began + nth / PER_SECOND - time.time()))
            sent[f"c{nth + 1}"] = time.time()
            publish([event(happens[0], nth + 1, str(nth), **happens[1])])
        _until(engine, "SELECT count(*) FROM outcome JOIN step ON id = step_id WHERE key = 'point'", number + 1)
    with engine.connect() as conn:
        rows = conn.execute(
            text(
                "SELECT contact.key, extract(epoch FROM pg_xact_commit_timestamp(outcome.xmin))::float AS at "
                "FROM outcome "
                "JOIN step ON step.id = step_id AND step.key = 'point' JOIN contact ON contact.id = contact_id"
            )
        )
        return sorted(row.at - sent[row.key] for row in rows if row.key in sent)


def ingest(engine: Engine, url: str, *, events: int, each: int) -> tuple[float, float]:
    """Let one consumer take what stands in the queue; return the events a second, and the bytes that one takes.

    Those are of its row, of its key and of their indexes.
    """
    a_world(engine, 10_000)
    with event_queue.publisher(url) as publish:
        for first in range(0, events, each):
            publish(event("order.paid", n % 10_000 + 1, str(n), amount=n) for n in range(first, first + each))
    with consumer(engine, url):
        _until(engine, "SELECT count(*) FROM event", events)
    with engine.connect() as conn:
        took = conn.execute(
            text("SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin)) - min(received_at))::float FROM event")
        ).scalar_one()
        bytes_ = conn.execute(
            text(
                "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND (relname = 'event_key' "
                "OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'event'::regclass))"
            )
        ).scalar_one()
    return events / float(took), float(bytes_) / events


def _until(engine: Engine, question: str, number: int) -> None:
    end = time.monotonic() + 300
    while True:
        with engine.connect() as conn:
            found = conn.execute(text(question)).scalar_one()
        if found >= number:
            return
        if time.monotonic() > end:
            raise TimeoutError(f"{found} of {number} after 300 s")
        time.sleep(0.2)


@contextmanager
def database(postgresql: servers.PostgreSQL, name: str) -> Iterator[Engine]:
    """A migrated database of its own, dropped afterwards."""
    admin = connect(postgresql.url)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text(f"CREATE DATABASE {name}"))
        made = connect(make_url(postgresql.url).set(database=name).render_as_string(hide_password=False))
        try:
            schema.upgrade(made)
            yield made
        finally:
            made.dispose()
            conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def percentile(sorted_values: Sequence[float], share: float) -> float:
    return sorted_values[math.ceil(share * len(sorted_values)) - 1]


class Measured(NamedTuple):
    """What one consumer did on one broker.

    Latency in ms, events a second by how they were packed, their size, and latency through the rule of a segment.
    """

    broker: str
    p50_ms: float
    p99_ms: float
    max_ms: float
    one_a_message: float
    hundred_a_message: float
    bytes_an_event: float
    p50_behind_rule_ms: float
    p99_behind_rule_ms: float


def measure(*, short: bool, say: Callable[[str], None]) -> list[Measured]:
    """Measure each broker that is installed, on servers of its own."""
    found = []
    with _postgresql() as postgresql:
        for name in ("redis", "rabbitmq"):
            if shutil.which(f"{name}-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None:
                say(f"events: {name} is not installed")
                continue
            with servers.broker(name) as broker:
                with database(postgresql, "latency") as engine:
                    took = latency(engine, broker.url, seconds=4 if short else 20)
                with database(postgresql, "behind_rule") as engine:
                    behind = latency(engine, broker.url, seconds=4 if short else 20, behind_rule=True)
                ingested = []
                for each, events in ((1, 2_000 if short else 10_000), (100, 20_000 if short else 100_000)):
                    with database(postgresql, f"ingest_{each}") as engine:
                        ingested.append(ingest(engine, broker.url, events=events, each=each))
            one, hundred = ingested
            p50, p99 = (percentile(took, share) * 1000 for share in (0.5, 0.99))
            slow = [percentile(behind, share) * 1000 for share in (0.5, 0.99)]
            found.append(Measured(name, p50, p99, took[-1] * 1000, one[0], hundred[0], hundred[1], *slow))
            say(f"events: {name} measured")
    return found


@contextmanager
def _postgresql() -> Iterator[servers.PostgreSQL]:
    """A server that keeps the times of commits."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    postgresql = servers.PostgreSQL()
    try:
        admin = connect(postgresql.url)
        with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.execute(text("ALTER SYSTEM SET track_commit_timestamp = on"))
        admin.dispose()
        postgresql.restart()
        yield postgresql
    finally:
        postgresql.close()


def shown(found: Sequence[Measured]) -> Table:
    """Return what was measured as a table."""
    table = Table("broker", title=f"events: latency at {PER_SECOND} a second; ingest by one consumer")
    for column in (
        "p50",
        "p99",
        "longest",
        "1 a message",
        "100 a message",
        "bytes an event",
        "p50 by rule",
        "p99 by rule",
    ):
        table.add_column(column, justify="right")
    for each in found:
        times = (f"{value:,.0f} ms" for value in (each.p50_ms, each.p99_ms, each.max_ms))
        rates = (f"{value:,.0f}/s" for value in (each.one_a_message, each.hundred_a_message))
        behind = (f"{value:,.0f} ms" for value in (each.p50_behind_rule_ms, each.p99_behind_rule_ms))
        table.add_row(each.broker, *times, *rates, f"{each.bytes_an_event:,.0f}", *behind)
    return table


def main() -> None:
    """Print a table of both brokers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few seconds of each")
    progress = Console(stderr=True)
    Console(width=132).print(shown(measure(short=parser.parse_args().short, say=progress.print)))


if __name__ == "__main__":
    main()
