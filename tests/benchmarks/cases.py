"""What is measured: each case one round at a time, the limit and the engine on databases of their own."""

from __future__ import annotations

import csv
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psycopg
from sqlalchemy import Engine

from parcours.db.clock import now as database_now
from parcours.db.reads import overview
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, contacts, realign
from parcours.db.tables.contacts import Incoming
from parcours.ops.settings import Settings
from parcours.producers.broker import make_broker
from parcours.producers.files.contacts import contacts as contacts_of
from parcours.producers.tick import Tick
from parcours.workers.sweeps import trigger_inline, update_inline
from tests.benchmarks import limit
from tests.benchmarks.server import Server
from tests.benchmarks.worlds import NOW, ZONE, Worlds

IDLE_RUNS = 50
# The engine's own; what it takes of it is its own affair.
BATCH_SIZE: int = Settings.model_fields["batch_size"].default
# What only reads is run so often on one database.
READ_RUNS = 5
LATER = NOW + limit.PATIENCE

# What a case may have changed, in figures that hardly any mistake leaves alone.
_STATE = {
    "members": "SELECT campaign_id, rotation, arrival::text, added_at, count(*), sum(contact_id) FROM membership "
    "WHERE left_at IS NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 4",
    "waits": "SELECT step_id, rotation, passage, attempt, reason::text, anchor_at, due_at, count(*), sum(contact_id) "
    "FROM wait GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 6",
    "outcomes": "SELECT step_id, rotation, passage, at, due_at, result::text, count(*), sum(contact_id) FROM outcome "
    "GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3",
    "contacts": "SELECT count(*), sum(points), sum(points * id), sum(hashtext(fields::text)::bigint) FROM contact",
    "tags": "SELECT tag, count(*), sum(contact_id) FROM contact_tag GROUP BY 1 ORDER BY 1",
    "messages": "SELECT campaign_id, step_id, channel, template, state::text, due_at, count(*), "
    # Without the installation's name at its end, which the limit does not write.
    "sum(hashtext(substring(key FROM '^\\d+-\\d+-\\d+-\\d+') || address)::bigint) "
    "FROM message GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2",
}


# What the server believes after it looked at the wrong moment: the tables had just been emptied, and what little
# `wait` held was of another step. Functions of PostgreSQL 18.
_LIES = (
    "ALTER TABLE wait SET (autovacuum_enabled = off)",
    "SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', relname::text, "
    "'relpages', (pg_relation_size(oid) / 8192)::int, 'reltuples', 3::real) "
    "FROM pg_class WHERE relname IN ('wait', 'wait_pkey', 'wait_due_idx', 'membership', 'membership_pkey')",
    "SELECT pg_restore_attribute_stats('schemaname', 'public', 'relname', 'wait', 'attname', 'step_id', "
    "'inherited', false, 'null_frac', 0::real, 'avg_width', 4, 'n_distinct', 1::real, "
    "'most_common_vals', '{999999}', 'most_common_freqs', '{1}'::real[])",
)


class WrongResultError(Exception):
    """The engine did something else than the limit."""


class Pair(NamedTuple):
    """Two measurements of one round; where they write, also the bytes of log and the rows that each wrote a contact."""

    base: float
    ours: float
    wal: tuple[float, float] | None = None
    rows: tuple[float, float] | None = None


class Size(NamedTuple):
    """What a table holds, and the bytes that it takes with its indexes, a row."""

    table: str
    rows: int
    bytes_a_row: float


class Case:
    """One line of the table: a speed in contacts a second, or milliseconds."""

    def __init__(
        self,
        name: str,
        unit: Literal["contacts/s", "ms"],
        measure: Callable[[bool], Pair],
        labels: tuple[str, str] = ("", ""),
        least: float | None = None,
    ) -> None:
        """`least` is the ratio that the engine must reach."""
        self.name = name
        self.unit = unit
        self.labels = labels
        self.least = least
        self._measure = measure
        self.pairs: list[Pair] = []

    def measure_once(self, *, base_first: bool) -> None:
        self.pairs.append(self._measure(base_first))

    @property
    def base(self) -> float:
        return statistics.median(pair.base for pair in self.pairs)

    @property
    def ours(self) -> float:
        return statistics.median(pair.ours for pair in self.pairs)

    @property
    def ratios(self) -> list[float]:
        return [pair.ours / pair.base for pair in self.pairs]

    @property
    def wal_bytes(self) -> tuple[float, float] | None:
        """The bytes of log a contact, of the limit and of the engine; None where nothing is compared."""
        return _medians([pair.wal for pair in self.pairs])

    @property
    def rows(self) -> tuple[float, float] | None:
        """The rows that were inserted, changed or deleted for a contact, likewise."""
        return _medians([pair.rows for pair in self.pairs])

    def shown(self, value: float, *, ours: bool) -> str:
        label = self.labels[ours]
        figure = f"{value:,.1f} ms" if self.unit == "ms" else f"{value:,.0f}/s"
        return f"{label}: {figure}" if label else figure

    def to_json(self) -> dict[str, Any]:
        ratios = self.ratios
        return {
            "case": self.name,
            "unit": self.unit,
            "compared_with": self.base,
            "engine": self.ours,
            "ratio": statistics.median(ratios),
            "least": self.least,
            "ratio_min": min(ratios),
            "ratio_max": max(ratios),
            "wal_bytes_a_contact": None if self.wal_bytes is None else self.wal_bytes[1],
            "rows_a_contact": None if self.rows is None else self.rows[1],
            "rounds": [pair._asdict() for pair in self.pairs],
        }


def _medians(pairs: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
    known = [pair for pair in pairs if pair is not None]
    if not known:
        return None
    return statistics.median(base for base, _ in known), statistics.median(ours for _, ours in known)


ByHand = Callable[[psycopg.Connection[Any]], Any]
ByEngine = Callable[[Engine], Any]


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def median_of(runs: int, work: Callable[[], Any]) -> tuple[float, Any]:
    measured = [timed(work) for _ in range(runs)]
    return statistics.median(seconds for seconds, _ in measured), [said for _, said in measured]


class Cases:
    """Every case, on the worlds of one size."""

    def __init__(self, server: Server, worlds: Worlds, waiting: Sequence[int]) -> None:
        self._server = server
        self._worlds = worlds
        self._waiting = waiting

    def all(self) -> list[Case]:
        """Return the cases, none of them measured."""
        data, email = self._worlds.data, self._worlds.email
        hundred = ("one campaign", "hundred")
        few, many = (f"{number:,} wait" for number in (self._waiting[0], self._waiting[-1]))
        return [
            self._against("update", "fresh", lambda db: limit.join(db, data, now=NOW), updated, least=0.7),
            self._against(
                "update, nothing changed",
                "joined",
                lambda db: limit.missing(db, data),
                updated,
                least=0.7,
                runs=READ_RUNS,
            ),
            self._against("update, 1 % changed", "changed", lambda db: limit.sync(db, data, now=NOW), updated),
            self._against("trigger", "joined", lambda db: limit.run_due(db, data, now=NOW), triggered, least=0.5),
            self._against("trigger, emails", "mailing", lambda db: limit.run_emails(db, email, now=NOW), triggered),
            self._against("trigger, no paths", "silent", lambda db: limit.run_silent(db, email, now=LATER), _no_paths),
            Case("trigger, 100 campaigns", "contacts/s", self._hundred, hundred),
            Case("trigger, unlucky statistics", "contacts/s", self._unlucky, ("settled", "misled"), least=1 / 1.2),
            Case("import", "contacts/s", self._import),
            Case("idle tick", "ms", lambda first: self._idle(_ticking, first), (few, many)),
            Case("idle sweep", "ms", lambda first: self._idle(_sweeping, first), (few, many)),
            Case("overview", "ms", self._overview, ("nobody yet", "everybody past")),
        ]

    def _against(
        self,
        name: str,
        template: str,
        base: ByHand,
        ours: ByEngine,
        *,
        least: float | None = None,
        runs: int = 1,
    ) -> Case:
        def by_hand(database: str) -> tuple[float, Any]:
            with self._server.bare(database) as db:
                return median_of(runs, lambda: base(db))

        def by_engine(database: str) -> tuple[float, Any]:
            with self._server.engine(database) as engine:
                return median_of(runs, lambda: ours(engine))

        return Case(name, "contacts/s", lambda first: self._both(template, by_hand, by_engine, first), least=least)

    def _both(
        self,
        template: str,
        base: Callable[[str], tuple[float, Any]],
        ours: Callable[[str], tuple[float, Any]],
        base_first: bool,
    ) -> Pair:
        """Measure the limit and the engine, each on a copy of its own; raise if they left different things."""
        seconds: dict[bool, float] = {}
        wal: dict[bool, float] = {}
        rows: dict[bool, float] = {}
        left: dict[bool, dict[str, Any]] = {}
        for is_base in (base_first, not base_first):
            with self._server.copy(template) as name:
                before = self._server.wal_bytes()
                seconds[is_base], said = (base if is_base else ours)(name)
                wal[is_base] = (self._server.wal_bytes() - before) / self._worlds.contacts
                rows[is_base] = self._server.rows_written(name) / self._worlds.contacts
                with self._server.bare(name) as db:
                    state = {what: db.execute(sql.encode()).fetchall() for what, sql in _STATE.items()}
                left[is_base] = {"said": said, **state}
        wrong = [what for what in left[True] if left[True][what] != left[False][what]]
        if wrong:
            sides = (f"  {what}, limit: {left[True][what]}\n  {what}, engine: {left[False][what]}" for what in wrong)
            raise WrongResultError("\n".join(["the engine did something else than the limit", *sides]))
        contacts_ = self._worlds.contacts
        return Pair(
            contacts_ / seconds[True], contacts_ / seconds[False], (wal[True], wal[False]), (rows[True], rows[False])
        )

    def _hundred(self, base_first: bool) -> Pair:
        """Compare the engine on one campaign with the same contacts in a hundred."""
        speed = {}
        for is_base in (base_first, not base_first):
            with self._server.copy("joined" if is_base else "hundred") as name, self._server.engine(name) as engine:
                seconds, done = timed(partial(triggered, engine))
            if done != self._worlds.contacts:
                raise WrongResultError(f"{done:,} of {self._worlds.contacts:,} contacts went through their campaigns")
            speed[is_base] = self._worlds.contacts / seconds
        return Pair(speed[True], speed[False])

    def _unlucky(self, base_first: bool) -> Pair:
        """Compare the engine with itself where the server believes that all wait at another step, or that few do."""
        speed = {}
        for settled in (base_first, not base_first):
            with self._server.copy("joined") as name:
                if not settled:
                    with self._server.bare(name) as db:
                        for lie in _LIES:
                            db.execute(lie.encode())
                with self._server.engine(name) as engine:
                    seconds, done = timed(partial(triggered, engine))
            if done != self._worlds.contacts:
                raise WrongResultError(f"{done:,} of {self._worlds.contacts:,} contacts went through the campaign")
            speed[settled] = self._worlds.contacts / seconds
        return Pair(speed[True], speed[False])

    def _import(self, base_first: bool) -> Pair:
        with _a_file(self._worlds.contacts) as path:

            def by_hand(database: str) -> tuple[float, Any]:
                with self._server.bare(database) as db:
                    return timed(lambda: limit.import_csv(db, path))

            def by_engine(database: str) -> tuple[float, Any]:
                with self._server.engine(database) as engine:
                    return timed(lambda: _imported(engine, path))

            return self._both("bare", by_hand, by_engine, base_first)

    def _idle(self, ready: Callable[[Engine], Callable[[], int]], base_first: bool) -> Pair:
        """Return the milliseconds of a round that finds nothing due, with few and with all waiting."""
        found: dict[bool, float] = {}
        for few in (base_first, not base_first):
            number = self._waiting[0 if few else -1]
            with self._server.engine(f"waiting_{number}") as engine:
                work = ready(engine)
                work()
                measured = [timed(work) for _ in range(IDLE_RUNS)]
            if any(said for _, said in measured):
                raise WrongResultError("an idle round found something to do")
            found[few] = statistics.median(seconds for seconds, _ in measured) * 1000
        return Pair(found[True], found[False])

    def _overview(self, base_first: bool) -> Pair:
        """Return the milliseconds of a campaign's figures, with nobody in it and with everybody past its steps."""
        found: dict[bool, float] = {}
        for is_base in (base_first, not base_first):
            with self._server.copy("fresh" if is_base else "joined") as name, self._server.engine(name) as engine:
                if not is_base:
                    triggered(engine)
                with engine.connect() as conn:
                    campaign = campaigns.find(conn, "benchmark")
                    tree = campaigns.load(conn, campaign.id, campaign.version, ZONE)
                    seconds, _ = median_of(READ_RUNS, partial(overview.of, conn, tree))
            found[is_base] = seconds * 1000
        return Pair(found[True], found[False])


def sizes(server: Server, contacts_: int) -> list[Size]:
    """Return what the tables hold and take once everybody got an email and waits for what they do with it."""
    tables = ("contact", "segment_member", "membership", "wait", "outcome", "message")
    with server.copy("mailing") as name:
        with server.engine(name) as engine:
            triggered(engine)
        server.settle(name)
        with server.bare(name) as db:
            found = db.execute(
                "SELECT coalesce(inhparent, pg_class.oid)::regclass::text AS name, sum(reltuples)::bigint, "
                "sum(pg_total_relation_size(pg_class.oid))::bigint FROM pg_class "
                "LEFT JOIN pg_inherits ON inhrelid = pg_class.oid "
                "WHERE relkind = 'r' AND reltuples >= %s GROUP BY 1",
                (contacts_ * 0.9,),
            ).fetchall()
    by_name = {name: Size(name, rows, bytes_ / rows) for name, rows, bytes_ in found}
    return [by_name[table] for table in tables]


def updated(engine: Engine) -> int:
    done = update_inline(engine, Scope(), now=NOW, zone=ZONE)["benchmark"]
    return done["added"] + done["removed"]


def triggered(engine: Engine, now: datetime = NOW) -> int:
    """Do what is due; return how many contacts that were, of trees in which each comes to one delay or decision."""
    done = trigger_inline(engine, Scope(), now=now, zone=ZONE, batch_size=BATCH_SIZE)
    return sum(counts["scheduled"] or counts["done"] for counts in done.values())


def _no_paths(engine: Engine) -> int:
    return trigger_inline(engine, Scope(), now=LATER, zone=ZONE, batch_size=BATCH_SIZE)["benchmark"]["no"]


def _imported(engine: Engine, path: Path) -> int:
    with engine.begin() as conn:
        contacts.stage(conn, (row for row in contacts_of(path) if isinstance(row, Incoming)))
        return contacts.merge(conn, now=NOW).added


def _ticking(engine: Engine) -> Callable[[], int]:
    with engine.begin() as conn:
        # What the making of the world noted is not what an idle tick meets.
        realign.take(conn, now=database_now(conn))
    return Tick(engine, make_broker(None)).run_once


def _sweeping(engine: Engine) -> Callable[[], int]:
    def sweep() -> int:
        done = trigger_inline(engine, Scope(), now=datetime.now(UTC), zone=ZONE, batch_size=BATCH_SIZE)
        return sum(counts.total() for counts in done.values())

    return sweep


@contextmanager
def _a_file(contacts_: int) -> Iterator[Path]:
    """A CSV of contacts who are not in the worlds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "contacts.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("key", "email", "country"))
            rows.writerows((f"new{n}", f"new{n}@example.org", "FR" if n % 3 == 0 else "DE") for n in range(contacts_))
        yield path
