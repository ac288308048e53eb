"""Segments by rule: asking a rule of everybody, what an event costs beside many rules, and a tick beside many flips.

    python -m tests.benchmarks.rules [--short]

One process and a PostgreSQL of its own, on this machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

import structlog
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from parcours.db.clock import now as database_now
from parcours.db.tables import rebuilds, rules
from parcours.domain.events.parsing import ContactEvent
from parcours.producers.broker import make_broker
from parcours.producers.tick import Tick
from parcours.services import segment_rules
from parcours.workers import events, intake, rebuilding
from tests.benchmarks.server import Server, a_server
from tests.benchmarks.worlds import NOW, ZONE, make_joined

THREE = {
    "all": [
        {"condition": "contact.field", "with": {"field": "country", "operator": "in", "value": ["FR", "BE"]}},
        {"condition": "contact.points", "with": {"operator": "gte", "points": 50}},
        {"not": {"condition": "contact.tags", "with": {"tags": ["customer"]}}},
    ]
}
# Segments by rule beside an event, and how many of them read what it changes.
RULES, READERS = 100, 5
EVENTS = 500
IDLE_RUNS = 50
Say = Callable[[str], None]


class Figure(NamedTuple):
    """Something measured, and what it must stay under."""

    what: str
    value: float
    unit: str
    most: float | None


def measure(contacts: int, say: Say) -> list[Figure]:
    """Return the figures for a world of so many contacts."""
    say(f"rules: {contacts:,} contacts: building the world")
    with a_server(contacts) as server:
        make_joined(server, contacts)
        found = [*_rebuild(server, contacts), *_event(server), *_idle(server, contacts)]
    say("rules: done")
    return found


def _asked(engine: Engine, key: str, rule: object) -> float:
    """Give a segment a rule, ask it of everybody, and return the seconds that took."""
    with engine.begin() as conn:
        segment_id = segment_rules.put(conn, key, rule, now=NOW)
    began = time.monotonic()
    assert rebuilding.work_all(engine, [segment_id], now=NOW, zone=ZONE)
    return time.monotonic() - began


def _rebuild(server: Server, contacts: int) -> list[Figure]:
    # 15 s for a million.
    most = 15.0 * contacts / 1_000_000
    with server.copy("bare") as name, server.engine(name) as engine:
        new = _asked(engine, "warm", THREE)
        with engine.begin() as conn:
            rebuilds.ask(conn, list(rules.book(conn).rules), now=NOW)
        began = time.monotonic()
        while rebuilding.work(engine, now=NOW, zone=ZONE):
            pass
        again = time.monotonic() - began
        with engine.connect() as conn:
            inside = conn.execute(text("SELECT count(*) FROM segment_member WHERE segment_id > 1 AND active"))
            assert inside.scalar_one() > contacts / 10
    return [
        Figure("a new rule of three conditions, asked of everybody", new, "s", most),
        Figure("the same again, nobody moves", again, "s", most),
    ]


def _event(server: Server) -> list[Figure]:
    """Events that change a field: without rules, with rules of which none reads it, and with some that do."""
    figures = []
    with server.copy("bare") as name, server.engine(name) as engine:
        _milliseconds_an_event(engine, "first")
        without = _milliseconds_an_event(engine, "without")
        for number in range(RULES - READERS):
            _asked(engine, f"other-{number}", {"condition": "contact.tags", "with": {"tags": [f"t{number}"]}})
        beside = _milliseconds_an_event(engine, "beside")
        for number in range(READERS):
            test = {"field": "colour", "operator": "=", "value": f"colour {number}"}
            _asked(engine, f"reader-{number}", {"condition": "contact.field", "with": test})
        reading = _milliseconds_an_event(engine, "reading")
        alone = statistics.median(_milliseconds_an_event(engine, f"alone-{n}", events_=1) for n in range(20))
    figures.append(Figure("an event without rules, in batches", without, "ms", None))
    figures.append(Figure(f"more beside {RULES - READERS} rules that read nothing of it", beside - without, "ms", 0.2))
    figures.append(Figure(f"more beside {RULES} rules, {READERS} of which read it", reading - without, "ms", 2.0))
    figures.append(Figure(f"one event alone, from the inbox to its end, beside {RULES} rules", alone, "ms", None))
    return figures


def _milliseconds_an_event(engine: Engine, name: str, *, events_: int = EVENTS) -> float:
    with engine.begin() as conn:
        now = database_now(conn)
        offered = [
            ContactEvent(
                "bench",
                f"{name}-{n}",
                "contact.changed",
                f"c{n}",
                now,
                {"fields": {"colour": f"colour {n % 7} {name}"}},
            )
            for n in range(1, events_ + 1)
        ]
        intake.accept(conn, offered, now=now, unknown_contacts="reject")
    began = time.monotonic()
    acted = events.act_once(engine, zone=ZONE)
    taken = time.monotonic() - began
    assert acted.events == events_
    return 1000 * taken / events_


def _idle(server: Server, contacts: int) -> list[Figure]:
    """A tick with nothing due, beside few and many contacts whose answers change by time some day."""
    with server.copy("bare") as name, server.engine(name) as engine:
        figures = [Figure("idle tick without rules", _milliseconds_a_tick(engine), "ms", None)]
    for number in sorted({min(contacts, 10_000), contacts}):
        with server.copy("bare") as name, server.engine(name) as engine:
            _asked(engine, "new", {"condition": "contact.created", "with": {"older_than": "30 days"}})
            with engine.begin() as conn:
                now = database_now(conn)
                conn.execute(text("DELETE FROM segment_due"))
                conn.execute(
                    text(
                        "INSERT INTO segment_due SELECT id, (SELECT id FROM segment WHERE key = 'new'), "
                        "CAST(:later AS timestamptz) + id % 30 * interval '1 day' FROM contact WHERE id <= :n"
                    ),
                    {"later": now + timedelta(days=1), "n": number},
                )
            server.settle(name)
            figures.append(
                Figure(f"idle tick beside {number:,} flips to come", _milliseconds_a_tick(engine), "ms", 5.0)
            )
    return figures


def _milliseconds_a_tick(engine: Engine) -> float:
    ticking = Tick(engine, make_broker(None))
    ticking.run_once()
    seconds = []
    for _ in range(IDLE_RUNS):
        began = time.monotonic()
        ticking.run_once()
        seconds.append(time.monotonic() - began)
    ticking.close()
    return 1000 * statistics.median(seconds)


def shown(figures: Sequence[Figure]) -> Table:
    table = Table("segments by rule", title="rules")
    for column in ("measured", "most"):
        table.add_column(column, justify="right")
    for each in figures:
        most = "" if each.most is None else f"{each.most:.2f} {each.unit}"
        table.add_row(each.what, f"{each.value:.2f} {each.unit}", most)
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure segments by rule.")
    parser.add_argument("--contacts", type=int, default=1_000_000, help="contacts of the world (1,000,000)")
    parser.add_argument("--short", action="store_true", help="20,000 contacts: a quick check")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    progress = Console(stderr=True)
    found = measure(20_000 if options.short else options.contacts, lambda line: progress.print(line, highlight=False))
    Console(width=120).print(shown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
