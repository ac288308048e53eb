"""What every page costs on the server in a large installation: `python -m tests.benchmarks.pages`.

Contacts, 500 segments, 200 campaigns and one campaign of 300 steps. Each page, and each operation of the builder on the
large tree, is asked for through the app, without a network: the median and the worst of some, in milliseconds, after a
first one. The exit code is 1 when a median is over the limit.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from fastapi.testclient import TestClient
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from parcours.db import schema
from parcours.db.clock import now as database_now
from parcours.db.partitions import ensure_partitions
from parcours.ops.settings import Settings
from parcours.web.app import make_app
from tests.benchmarks.server import Server, a_server
from tests.benchmarks.worlds import _campaign, _contacts

LIMIT_MS = 200
RUNS = 7
SEGMENTS, CAMPAIGNS, STEPS = 500, 200, 300
SMALL = "steps:\n  - {step: one, action: contact.points, with: {points: 1}}\n"
PAGES = (
    *("/account", "/start", "/status", "/users", "/drafts", "/drafts/+new"),
    *("/campaigns", "/campaigns?q=small-1", "/campaigns/+new?as=yaml", "/campaigns/large", "/campaigns/large/actions"),
    *("/campaigns/large/decisions", "/campaigns/large/conditions", "/campaigns/large/contacts"),
    *("/campaigns/large/failures", "/campaigns/large/activity", "/campaigns/large/live?tab=path"),
    *("/campaigns/large/build", "/campaigns/large/build?step=step-150", "/campaigns/large/build?panel=settings"),
    *("/campaigns/large/build/review", "/campaigns/large/edit", "/campaigns/large/clone", "/campaigns/large/publish"),
    *("/campaigns/large/pause", "/campaigns/large/delete", "/campaigns/large/versions", "/campaigns/large/versions/1"),
    *("/campaigns/large/try", "/contacts", "/contacts?q=c77", "/contacts/+new", "/contacts/+import", "/contacts/c77"),
    *("/contacts/c77/edit", "/contacts/c77/erase", "/segments", "/segments?q=segment-4", "/segments/+new"),
    *("/segments/everybody", "/segments/everybody/edit", "/segments/segment-7", "/segments/segment-7/delete"),
    *("/emails", "/emails/+new", "/emails/hello", "/emails/hello/edit", "/forms"),
)


def _tree() -> str:
    """Return steps in branches of ten, one below the other."""
    lines = ["steps:"]
    for first in range(0, STEPS, 10):
        for depth in range(10):
            pad = "  " + "    " * depth
            name = f"step-{first + depth}"
            lines += [f"{pad}- step: {name}", f"{pad}  action: contact.points", f"{pad}  with: {{points: 1}}"]
            lines += [f"{pad}  then:"] if depth < 9 else []
    return "\n".join([*lines, ""])


def populate(engine: Engine, contacts: int) -> None:
    """Make the world."""
    with engine.begin() as conn:
        now = database_now(conn)
        _contacts(conn, contacts)
        conn.execute(
            text(
                "INSERT INTO segment (key, name) SELECT 'segment-' || n, 'Segment ' || n FROM generate_series(1, :n) n"
            ),
            {"n": SEGMENTS},
        )
        conn.execute(text("INSERT INTO email (key, subject, html) VALUES ('hello', 'Hello', '<p>Hello')"))
    ensure_partitions(engine, now)
    for number in range(CAMPAIGNS - 1):
        _campaign(engine, f"small-{number}", SMALL, [f"segment-{number + 1}"])
    _campaign(engine, "large", _tree(), ["everybody"])


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the median and the worst milliseconds of something that is done some times, after a first one."""
    work()
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took), max(took)


def measure(engine: Engine) -> Mapping[str, tuple[float, float]]:
    """Return the milliseconds of each page, and of each operation of the builder."""
    app = make_app(engine, None, Settings(), open_to_all=True)
    found = {}
    with TestClient(app, raise_server_exceptions=True) as http:
        for page in PAGES:
            found[page] = _timed(lambda page=page: http.get(page).raise_for_status())  # type: ignore[misc]
        for does, fields in (
            ("insert", {"type": "action contact.points", "parent": "step-9", "branch": "then", "nth": "0"}),
            ("set", {"step": "step-100", "name": "Renamed", "when": "now", "with-points": "5"}),
            ("copy", {"step": "step-105"}),
            ("remove", {"step": "step-209"}),
            ("undo", {}),
            ("redo", {}),
        ):
            found[f"build: {does}"] = _operations(http, does, fields)
    return found


def _operations(http: TestClient, does: str, fields: Mapping[str, str]) -> tuple[float, float]:
    took = []
    for number in range(RUNS):
        page = http.get("/campaigns/large/build").text
        revision, token = (
            re.findall(r'data-revision="(\d+)"', page)[0],
            re.findall(r'name="csrf" value="([^"]+)"', page)[0],
        )
        own = {**fields, **({"name": f"Renamed {number}"} if "name" in fields else {})}
        if does == "remove":
            own["step"] = f"step-{209 - number}"
        data = {"csrf": token, "revision": revision, "do": does, **own}
        began = time.perf_counter()
        answer = http.post("/campaigns/large/build", data=data)
        took.append((time.perf_counter() - began) * 1000)
        assert answer.status_code in (200, 422), answer.text
    return statistics.median(took), max(took)


def run(server: Server, contacts: int) -> Mapping[str, tuple[float, float]]:
    server.administer("CREATE DATABASE every_page")
    with server.engine("every_page") as engine:
        schema.upgrade(engine)
        populate(engine, contacts)
    with server.bare("every_page") as conn:
        conn.execute("VACUUM ANALYZE")
    with server.engine("every_page") as engine:
        return measure(engine)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure every page of a large installation.")
    parser.add_argument("--contacts", type=int, default=20_000, help="contacts (20,000)")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    with a_server(options.contacts) as server:
        figures = run(server, options.contacts)
    table = Table("page", title=f"{options.contacts:,} contacts; the limit is {LIMIT_MS} ms")
    for column in ("median ms", "worst ms"):
        table.add_column(column, justify="right")
    for page, (median, worst) in figures.items():
        table.add_row(page, f"{median:.1f}{' !' if median > LIMIT_MS else ''}", f"{worst:.1f}")
    Console(width=110).print(table)
    return int(any(median > LIMIT_MS for median, _ in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
