"""The engine against the hand-written limit, in turn, on fresh databases: `python -m tests.benchmarks.run`.

Speeds of a shared machine mean little; the ratio of two that were measured one after the other says
what the engine's generality costs. The exit code is 0 whatever the figures, and 1 when the engine
did not do to the contacts what the limit did.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import psycopg
import structlog
from dramatiq.brokers.stub import StubBroker
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, make_url, text

from db import embedded, schema
from db.engine import connect
from db.partitions import ensure_partitions
from db.scope import Scope
from producers import applying, campaign_files
from producers.tick import Tick
from tests.benchmarks import limit
from tests.benchmarks.limit import Tree
from workers.sweeps import trigger_inline, update_inline

ZONE = ZoneInfo("UTC")
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
# Idle work is compared with this many waiting contacts.
FEW = 10_000
IDLE_RUNS = 50
# What only reads is run so often on one database.
READ_RUNS = 5

CAMPAIGN = f"""
campaign: benchmark
published: true
sources: {{segments: [everybody]}}
steps:
  - step: score
    action: contact.points
    with: {{points: {limit.POINTS}}}
    then:
      - step: local
        condition: contact.field
        with: {{field: country, operator: "=", value: {limit.COUNTRY}}}
        yes:
          - step: tag_yes
            action: contact.tags
            with: {{add: [{limit.TAGS[True]}]}}
            then: [{{step: later_yes, action: contact.points, with: {{points: 1}}, after: {limit.DELAY.days} days}}]
        no:
          - step: tag_no
            action: contact.tags
            with: {{add: [{limit.TAGS[False]}]}}
            then: [{{step: later_no, action: contact.points, with: {{points: 1}}, after: {limit.DELAY.days} days}}]
"""

# What a case may have changed, in figures that hardly any mistake leaves alone.
_STATE = {
    "members": "SELECT campaign_id, rotation, arrival::text, added_at, count(*), sum(contact_id) FROM membership "
    "WHERE left_at IS NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2",
    "waits": "SELECT step_id, rotation, passage, attempt, reason::text, anchor_at, due_at, count(*), sum(contact_id) "
    "FROM wait GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3",
    "outcomes": "SELECT step_id, rotation, passage, at, due_at, result::text, count(*), sum(contact_id) FROM outcome "
    "GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3",
    "points": "SELECT count(*), sum(points), sum(points * id) FROM contact",
    "tags": "SELECT tag, count(*), sum(contact_id) FROM contact_tag GROUP BY 1 ORDER BY 1",
}


class WrongResultError(Exception):
    """The engine did something else than the limit."""


class Pair(NamedTuple):
    """Two measurements of one round. Speeds, or milliseconds with few and with all waiting."""

    base: float
    ours: float


@dataclass
class Case:
    """One line of the table."""

    name: str
    unit: str
    pairs: list[Pair] = field(default_factory=list)

    @property
    def base(self) -> float:
        return statistics.median(pair.base for pair in self.pairs)

    @property
    def ours(self) -> float:
        return statistics.median(pair.ours for pair in self.pairs)

    @property
    def ratios(self) -> list[float]:
        return [pair.ours / pair.base for pair in self.pairs]

    def to_json(self) -> dict[str, Any]:
        ratios = self.ratios
        return {
            "case": self.name,
            "unit": self.unit,
            "limit": self.base,
            "engine": self.ours,
            "ratio": statistics.median(ratios),
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "rounds": [pair._asdict() for pair in self.pairs],
        }


class Server:
    """A server of our own in a temporary folder, and the databases on it."""

    def __init__(self, url: str, contacts: int) -> None:
        self._url = url
        self._copies = 0
        # Copying files costs two checkpoints, copying through the log costs by the page.
        self._strategy = "file_copy" if contacts > 100_000 else "wal_log"

    def url(self, name: str) -> str:
        return make_url(self._url).set(database=name).render_as_string(hide_password=False)

    def administer(self, *statements: str) -> None:
        with psycopg.connect(_plain(self._url), autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement.encode())

    def clone(self, template: str, name: str) -> None:
        self.administer(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {self._strategy}")

    @contextmanager
    def copy(self, template: str) -> Iterator[str]:
        """Yield the name of a database like the template, for one measurement."""
        self._copies += 1
        name = f"copy_{self._copies}"
        self.clone(template, name)
        try:
            yield name
        finally:
            self.administer(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def engine(self, name: str) -> Iterator[Engine]:
        engine = connect(self.url(name))
        try:
            with engine.connect() as conn:
                conn.execute(text("SELECT 1"))
            yield engine
        finally:
            engine.dispose()

    @contextmanager
    def bare(self, name: str) -> Iterator[psycopg.Connection[Any]]:
        # One process against one process: nobody may use a second core for a read.
        options = "-c timezone=UTC -c jit=off -c max_parallel_workers_per_gather=0"
        with psycopg.connect(_plain(self.url(name)), options=options, autocommit=True) as conn:
            yield conn


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@contextmanager
def a_server(contacts: int) -> Iterator[Server]:
    # The embedded server's library warns when nobody said where sockets go.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    home = Path(tempfile.mkdtemp(prefix="parcours-bench-"))
    # As root, the server runs as another user, who must get in.
    home.chmod(0o755)
    try:
        # Some settings count from the second start on.
        embedded.start(home)
        embedded.stop(home)
        yield Server(embedded.start(home), contacts)
    finally:
        embedded.stop(home)
        shutil.rmtree(home, ignore_errors=True)


# The world.


def make_templates(server: Server, contacts: int) -> Tree:
    """Make the databases to copy: `fresh`, where nobody has joined, `joined`, `few` and `many` where all wait."""
    server.administer("CREATE DATABASE fresh")
    with server.engine("fresh") as engine:
        schema.upgrade(engine)
        ensure_partitions(engine, NOW)
        tree = _populate(engine, contacts)
    _settle(server, "fresh")
    server.clone("fresh", "joined")
    with server.bare("joined") as conn:
        limit.join(conn, tree, now=NOW)
    _settle(server, "joined")
    for name, waiting in (("few", min(FEW, contacts)), ("many", contacts)):
        server.clone("fresh", name)
        with server.bare(name) as conn:
            conn.execute(
                "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
                "SELECT n, %s, %s, 1, 1, 'delay', now(), now() + n %% 30 * interval '1 day' + interval '1 day' "
                "FROM generate_series(1, %s) AS n",
                (tree.later_yes, tree.campaign_id, waiting),
            )
        _settle(server, name)
    return tree


def _populate(engine: Engine, contacts: int) -> Tree:
    with engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO contact (key, email, points, fields) "
                "SELECT 'c' || n, 'c' || n || '@example.org', n % 100, jsonb_build_object('country', "
                "CASE WHEN n % 3 = 0 THEN 'FR' ELSE 'DE' END, 'city', 'City ' || n % 500) "
                "FROM generate_series(1, :n) AS n"
            ),
            {"n": contacts},
        )
        conn.execute(text("INSERT INTO segment (key, name) VALUES ('everybody', 'Everybody')"))
        conn.execute(
            text("INSERT INTO segment_member (contact_id, segment_id, changed_at) SELECT id, 1, :now FROM contact"),
            {"now": NOW},
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "benchmark.yaml"
            path.write_text(CAMPAIGN, encoding="utf-8")
            plan = applying.plan(conn, campaign_files.read(path, default_zone=ZONE), zone=ZONE)
        applying.apply(conn, plan, backfill=False, reschedule=False, who="benchmark", now=NOW, zone=ZONE)
        steps = {row.key: row.id for row in conn.execute(text("SELECT key, id FROM step"))}
        campaign_id = conn.execute(text("SELECT id FROM campaign")).scalar_one()
    return Tree(campaign_id=campaign_id, segment_id=1, **steps)


def _settle(server: Server, name: str) -> None:
    with server.bare(name) as conn:
        conn.execute("VACUUM ANALYZE")


# The cases.

Measured = Callable[[str], tuple[float, Any]]


def both(server: Server, template: str, contacts: int, *, base: Measured, ours: Measured, base_first: bool) -> Pair:
    """Measure the limit and the engine, each on a database of its own; raise if they left different things."""
    seconds: dict[bool, float] = {}
    left: dict[bool, dict[str, Any]] = {}
    for is_base in (base_first, not base_first):
        with server.copy(template) as name:
            seconds[is_base], said = (base if is_base else ours)(name)
            with server.bare(name) as conn:
                state = {what: conn.execute(sql.encode()).fetchall() for what, sql in _STATE.items()}
                left[is_base] = {"said": said, **state}
    wrong = [what for what in left[True] if left[True][what] != left[False][what]]
    if wrong:
        sides = (f"  {what}, limit: {left[True][what]}\n  {what}, engine: {left[False][what]}" for what in wrong)
        raise WrongResultError("\n".join(["the engine did something else than the limit", *sides]))
    return Pair(contacts / seconds[True], contacts / seconds[False])


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def median_of(runs: int, work: Callable[[], Any]) -> tuple[float, Any]:
    measured = [timed(work) for _ in range(runs)]
    return statistics.median(seconds for seconds, _ in measured), [said for _, said in measured]


class Benchmarks:
    """The cases, each one round at a time."""

    def __init__(self, server: Server, tree: Tree, contacts: int) -> None:
        self._server = server
        self._tree = tree
        self._contacts = contacts

    def update(self, base_first: bool) -> Pair:
        return self._both("fresh", lambda conn: limit.join(conn, self._tree, now=NOW), self._update, base_first)

    def update_again(self, base_first: bool) -> Pair:
        missing = lambda conn: limit.missing(conn, self._tree)  # noqa: E731
        return self._both("joined", missing, self._update, base_first, runs=READ_RUNS)

    def trigger(self, base_first: bool) -> Pair:
        def ours(engine: Engine) -> int:
            done = trigger_inline(engine, Scope(), now=NOW, zone=ZONE, batch_size=limit.BATCH)
            return done["benchmark"]["scheduled"]

        return self._both("joined", lambda conn: limit.run_due(conn, self._tree, now=NOW), ours, base_first)

    def idle_tick(self, base_first: bool) -> Pair:
        def work(engine: Engine) -> Callable[[], Any]:
            return Tick(engine, StubBroker()).run_once

        return self._idle(work, 0, base_first)

    def idle_sweep(self, base_first: bool) -> Pair:
        def work(engine: Engine) -> Callable[[], Any]:
            return lambda: sum(
                counts.total()
                for counts in trigger_inline(
                    engine, Scope(), now=datetime.now(UTC), zone=ZONE, batch_size=limit.BATCH
                ).values()
            )

        return self._idle(work, 0, base_first)

    def _update(self, engine: Engine) -> int:
        return update_inline(engine, Scope(), now=NOW, zone=ZONE)["benchmark"]["added"]

    def _both(
        self,
        template: str,
        base: Callable[[psycopg.Connection[Any]], int],
        ours: Callable[[Engine], int],
        base_first: bool,
        *,
        runs: int = 1,
    ) -> Pair:
        def by_hand(name: str) -> tuple[float, Any]:
            with self._server.bare(name) as conn:
                return median_of(runs, lambda: base(conn))

        def by_engine(name: str) -> tuple[float, Any]:
            with self._server.engine(name) as engine:
                return median_of(runs, lambda: ours(engine))

        return both(self._server, template, self._contacts, base=by_hand, ours=by_engine, base_first=base_first)

    def _idle(self, prepare: Callable[[Engine], Callable[[], Any]], expected: int, base_first: bool) -> Pair:
        """Return the milliseconds of a round that finds nothing due, with few and with all waiting."""
        found: dict[bool, float] = {}
        for few in (base_first, not base_first):
            with self._server.engine("few" if few else "many") as engine:
                work = prepare(engine)
                work()
                measured = [timed(work) for _ in range(IDLE_RUNS)]
            if any(said != expected for _, said in measured):
                raise WrongResultError("an idle round found something to do")
            found[few] = statistics.median(seconds for seconds, _ in measured) * 1000
        return Pair(found[True], found[False])


def run(server: Server, contacts: int, rounds: int, say: Callable[[str], None]) -> list[Case]:
    say(f"{contacts:,} contacts: building the world")
    benchmarks = Benchmarks(server, make_templates(server, contacts), contacts)
    cases: list[tuple[Case, Callable[[bool], Pair]]] = [
        (Case("update", "contacts/s"), benchmarks.update),
        (Case("update, nothing changed", "contacts/s"), benchmarks.update_again),
        (Case("trigger, one process", "contacts/s"), benchmarks.trigger),
        (Case("idle tick", "ms"), benchmarks.idle_tick),
        (Case("idle sweep", "ms"), benchmarks.idle_sweep),
    ]
    for number in range(rounds):
        for case, measure in cases:
            case.pairs.append(measure(number % 2 == 0))
        say(f"round {number + 1} of {rounds}")
    return [case for case, _ in cases]


def table(cases: Sequence[Case], contacts: int) -> Table:
    shown = Table("case", title=f"{contacts:,} contacts")
    for column in ("limit", "engine", "ratio", "spread"):
        shown.add_column(column, justify="right")
    for case in cases:
        base, ours = f"{case.base:,.0f}/s", f"{case.ours:,.0f}/s"
        if case.unit == "ms":
            base, ours = f"{min(FEW, contacts):,} wait: {case.base:.1f} ms", f"all wait: {case.ours:.1f} ms"
        ratios = case.ratios
        shown.add_row(case.name, base, ours, f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f}–{max(ratios):.2f}")
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the engine against the hand-written limit.")
    parser.add_argument("--contacts", type=int, default=1_000_000, help="contacts of the world (1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each case (3)")
    parser.add_argument("--short", action="store_true", help="20,000 contacts: a quick check")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    options = parser.parse_args(arguments)
    contacts = 20_000 if options.short else options.contacts
    # A line for each round, not for each tick that leads.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    progress = Console(stderr=True)
    with a_server(contacts) as server:
        try:
            cases = run(server, contacts, options.rounds, lambda line: progress.print(line, highlight=False))
        except WrongResultError as error:
            progress.print(f"wrong result: {error}", style="red", markup=False)
            return 1
    Console(width=110).print(table(cases, contacts))
    if options.json is not None:
        figures = {"contacts": contacts, "rounds": options.rounds, "cases": [case.to_json() for case in cases]}
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
