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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console
from rich.table import Table

from tests.benchmarks import events, pools, rules, worlds
from tests.benchmarks.cases import Case, Cases, Size, WrongResultError, sizes, timed, triggered, updated
from tests.benchmarks.server import a_server

SHORT = 20_000
Say = Callable[[str], None]


def measure(contacts: int, rounds: int, wanted: Sequence[str], say: Say) -> tuple[list[Case], list[Size]]:
    """Build the worlds of a size and measure the cases that are wanted, a round of each after the other.

    The sizes of tables are measured where all cases are wanted.
    """
    say(f"{contacts:,} contacts: building the worlds")
    with a_server(contacts) as server:
        waiting = sorted({min(contacts, number) for number in (10_000, 100_000, contacts)})
        made = worlds.make(server, contacts, waiting)
        cases = [case for case in Cases(server, made, waiting).all() if not wanted or case.name in wanted]
        for number in range(rounds):
            for case in cases:
                case.measure_once(base_first=number % 2 == 0)
            say(f"{contacts:,} contacts: round {number + 1} of {rounds}")
        return cases, [] if wanted else sizes(server, contacts)


def grow(sizes: Sequence[int], rounds: int, say: Say) -> list[dict[str, Any]]:
    """Return microseconds a contact of `update` and `trigger` for worlds of several sizes: medians of the rounds."""
    grown = []
    for contacts in sizes:
        say(f"growth: {contacts:,} contacts")
        line: dict[str, Any] = {"contacts": contacts}
        with a_server(contacts) as server:
            worlds.make_joined(server, contacts)
            for case, template, work in (("update", "fresh", updated), ("trigger", "joined", triggered)):
                seconds = []
                for _ in range(rounds):
                    with server.copy(template) as name, server.engine(name) as engine:
                        seconds.append(timed(partial(work, engine))[0])
                line[case] = round(1e6 * statistics.median(seconds) / contacts, 2)
        grown.append(line)
    return grown


def shown_cases(cases: Sequence[Case], contacts: int) -> Table:
    table = Table("case", title=f"{contacts:,} contacts")
    for column in ("compared with", "engine", "ratio", "least", "spread", "WAL a contact", "rows a contact"):
        table.add_column(column, justify="right")
    for case in cases:
        ratios = case.ratios
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        wal = case.wal_bytes
        told = "" if wal is None else f"{wal[1]:,.0f} B ({wal[0]:,.0f})"
        rows = "" if case.rows is None else f"{case.rows[1]:.1f} ({case.rows[0]:.1f})"
        base, ours = case.shown(case.base, ours=False), case.shown(case.ours, ours=True)
        least = "" if case.least is None else f"{case.least:.2f}"
        table.add_row(case.name, base, ours, f"{statistics.median(ratios):.2f}", least, spread, told, rows)
    return table


def shown_sizes(held: Sequence[Size]) -> Table:
    table = Table("table", title="after an email to everybody, with indexes")
    for column in ("rows", "bytes a row"):
        table.add_column(column, justify="right")
    for each in held:
        table.add_row(each.table, f"{each.rows:,}", f"{each.bytes_a_row:,.0f}")
    return table


def shown_pools(found: Sequence[pools.Pool]) -> Table:
    table = Table("workers", title="trigger by processes, from the queue")
    for column in ("steps/s", "times one", "memory a process", "cores busy", "sessions waiting"):
        table.add_column(column, justify="right")
    for each in found:
        times = each.steps_a_second / found[0].steps_a_second
        memory = f"{each.peak_bytes / 1e6:,.0f} MB"
        table.add_row(
            str(each.processes),
            f"{each.steps_a_second:,.0f}",
            f"{times:.2f}",
            memory,
            f"{each.busy:.0%}",
            f"{each.waiting:.2f}",
        )
    return table


def shown_growth(grown: Sequence[dict[str, Any]]) -> Table:
    table = Table("contacts", title="microseconds a contact")
    for name in ("update", "trigger"):
        table.add_column(name, justify="right")
    for each in grown:
        table.add_row(f"{each['contacts']:,}", f"{each['update']:.1f}", f"{each['trigger']:.1f}")
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure the engine against the hand-written limit.")
    parser.add_argument("--contacts", type=int, default=1_000_000, help="contacts of the world (1,000,000)")
    parser.add_argument("--rounds", type=int, default=None, help="measurements of each case (3; short: 1)")
    parser.add_argument("--short", action="store_true", help=f"{SHORT:,} contacts: a quick check")
    parser.add_argument("--case", action="append", default=[], metavar="NAME", help="only these cases; repeatable")
    parser.add_argument("--workers", type=int, nargs="*", default=None, help="processes to compare (1 2 4; short: 1 2)")
    parser.add_argument("--growth", type=int, nargs="+", default=[], metavar="N", help="also the cost at these sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    options = parser.parse_args(arguments)
    contacts = SHORT if options.short else options.contacts
    rounds = options.rounds if options.rounds is not None else 1 if options.short else 3
    workers = options.workers if options.workers is not None else [1, 2] if options.short else [1, 2, 4]
    # A line for each round, not for each tick that leads.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    progress = Console(stderr=True)

    def say(line: str) -> None:
        progress.print(line, highlight=False)

    screen = Console(width=max(132, shutil.get_terminal_size().columns))
    figures: dict[str, Any] = {"cores": os.cpu_count(), "contacts": contacts, "rounds": rounds}
    try:
        cases, held = measure(contacts, rounds, options.case, say)
    except WrongResultError as error:
        progress.print(f"wrong result: {error}", style="red", markup=False)
        return 1
    screen.print(shown_cases(cases, contacts))
    figures["cases"] = [case.to_json() for case in cases]
    if held:
        screen.print(shown_sizes(held))
        figures["sizes"] = [each._asdict() for each in held]
    if workers and not options.case:
        found = pools.compare(workers, contacts, rounds, say)
        screen.print(shown_pools(found))
        figures["pools"] = [each._asdict() for each in found]
    if not options.case:
        events_found = events.measure(short=options.short, say=say)
        screen.print(events.shown(events_found))
        figures["events"] = [each._asdict() for each in events_found]
        rules_found = rules.measure(contacts, say)
        screen.print(rules.shown(rules_found))
        figures["rules"] = [each._asdict() for each in rules_found]
    if options.growth:
        grown = grow(options.growth, rounds, say)
        screen.print(shown_growth(grown))
        figures["growth"] = grown
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
