"""`parcours simulate`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from parcours.cli.instants import given as given_instant
from parcours.cli.overview import print_overview
from parcours.cli.rejected_rows import RejectFile
from parcours.cli.session import Session, session
from parcours.db.clock import now as database_now
from parcours.db.reads import overview
from parcours.db.reads import simulation as rows
from parcours.db.scratch import scratch
from parcours.db.tables import contacts
from parcours.db.tables.contacts import Incoming
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.time.text import iso
from parcours.producers.files import campaigns
from parcours.producers.files.contacts import contacts as contacts_of
from parcours.producers.files.rows import RejectedRow
from parcours.services.overview_json import figures_json
from parcours.services.sample.contacts import people, with_dates
from parcours.services.simulation import Simulation, Tell

app = typer.Typer()

# So many periods stand side by side in the table.
COLUMNS = 7


@app.command()
def simulate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A campaign file (YAML).")],
    number: Annotated[
        int, typer.Option("--contacts", min=1, max=1_000_000, help="Number of generated contacts.")
    ] = 1000,
    given: Annotated[
        Path | None,
        typer.Option(
            "--contacts-file",
            metavar="FILE",
            help="Use the contacts in this file instead of generated ones: CSV, NDJSON or XLSX.",
        ),
    ] = None,
    days: Annotated[int, typer.Option("--days", min=1, max=3660, help="Number of days to simulate.")] = 28,
    seed: Annotated[int, typer.Option("--seed", help="Random seed.")] = 1,
    over: Annotated[
        float, typer.Option("--over", metavar="DAYS", min=0, help="Number of days over which contacts join evenly.")
    ] = 0,
    answer: Annotated[
        list[str] | None,
        typer.Option(
            "--answer",
            metavar="STEP=PERCENT",
            help="Percentage of contacts that answer yes at a decision before its deadline; repeatable.",
        ),
    ] = None,
    now: Annotated[str | None, typer.Option("--now", metavar="ISO", help="Start time (default: now).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with the values of every day.")] = False,
) -> None:
    """Run a campaign with generated or given contacts in simulated time, and show the volume per step and day.

    Uses a temporary database schema: nothing is sent, and your data is not changed. Segments, forms and emails come
    from your database; missing ones are assumed to be published.
    """
    here = session()
    campaign_file = campaigns.read(file, default_zone=here.zone)
    answers = _answers(answer or [], campaign_file)
    began = time.monotonic()
    with here.engine.connect() as conn:
        start = _start(database_now(conn), given_instant(now))
    with scratch(here.engine) as engine:
        simulation = Simulation(
            engine, campaign_file, here.zone, here.settings.batch_size, start, days, seed, answers, over
        )
        made_up = (with_dates(each, campaign_file, start, days) for each in _made_up(number, seed))
        came = _load(engine, made_up, given, start)
        with _progress(here, simulation, shown=not as_json) as tell:
            campaign = simulation.run(tell)
        with engine.connect() as conn:
            figures = overview.of(conn, campaign)
            volume = rows.volume(conn, campaign.id)
            messages = rows.messages(conn)
    # What is in the outbox counts as sent, and what the simulation itself did is no news.
    emails = sum(n for _, channel, n in messages if channel == "email")
    figures = replace(figures, emails_sent=emails, activity=[])
    if as_json:
        here.print_json(
            {
                "campaign": campaign_file.campaign,
                "start": iso(start),
                "days": days,
                "seed": seed,
                "taken_for_published": simulation.missing,
                **{name: value for name, value in figures_json(figures).items() if name != "activity"},
                "volume": _by_day(volume),
                "messages": [{"day": day.isoformat(), "channel": channel, "n": n} for day, channel, n in messages],
            }
        )
        return
    for each in simulation.missing:
        here.say(f"note: there is no {each} yet; it is assumed to be published")
    print_overview(here, f"{campaign_file.campaign}: {came:,} contacts, {days} days from {here.time(start)}", figures)
    _print_volume(here, campaign_file, volume, start, days)
    for channel in sorted({channel for _, channel, _ in messages}):
        by_day = {day: n for day, found, n in messages if found == channel}
        busiest = max(by_day, key=lambda day: (by_day[day], day))
        here.say(f"{channel}: {sum(by_day.values()):,} messages, busiest day {busiest}: {by_day[busiest]:,}")
    here.say(f"Simulated in {time.monotonic() - began:.0f} s. Nothing was sent or stored.")


def _answers(given: Sequence[str], file: CampaignFile) -> dict[str, float]:
    decisions = {step.step for step in file.walk() if step.kind == "decision"}
    answers = {}
    for each in given:
        step, _, percent = each.partition("=")
        try:
            answers[step] = float(percent)
        except ValueError:
            raise typer.BadParameter(f"--answer {each!r} is not of the form STEP=PERCENT") from None
        if step not in decisions:
            known = ", ".join(sorted(decisions)) or "none"
            raise typer.BadParameter(f"--answer {each!r}: the campaign has no decision {step!r}; it has {known}")
        if not 0 <= answers[step] <= 100:
            raise typer.BadParameter(f"--answer {each!r}: a percentage is from 0 to 100")
    return answers


def _start(present: datetime, given: datetime | None) -> datetime:
    if given is None:
        return present.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return given


def _made_up(number: int, seed: int) -> Iterator[Incoming]:
    return (person.incoming(line) for line, person in enumerate(people(number, seed), 2))


def _load(engine: Any, made_up: Iterator[Incoming], given: Path | None, start: datetime) -> int:
    with engine.begin() as conn:
        if given is None:
            contacts.stage(conn, made_up)
        else:
            with RejectFile(given) as rejects:

                def usable() -> Iterator[Incoming]:
                    for row in contacts_of(given):
                        if isinstance(row, RejectedRow):
                            rejects.add(row)
                        else:
                            yield row

                contacts.stage(conn, usable())
            if rejects.count:
                session().warn(f"note: {rejects.count:,} rows of {given} were rejected; see {rejects.path}")
        came = contacts.merge(conn, now=start).added
    with engine.begin() as conn:
        contacts.analyze(conn)
    return came


def _by_day(volume: Sequence[tuple[str, date, str, int]]) -> list[dict[str, Any]]:
    found: dict[tuple[str, date], dict[str, Any]] = {}
    for step, day, result, n in volume:
        found.setdefault((step, day), {"step": step, "day": day.isoformat()})[result] = n
    return list(found.values())


def _print_volume(
    here: Session, file: CampaignFile, volume: Sequence[tuple[str, date, str, int]], start: datetime, days: int
) -> None:
    """Print how many outcomes each step has in each of a few periods of equal length, and on its busiest day."""
    width = -(-(days + 1) // COLUMNS) if days >= COLUMNS else 1
    first = start.date()
    periods = range(-(-(days + 1) // width))
    by_step: dict[str, Counter[date]] = {}
    for key, day, _, n in volume:
        by_step.setdefault(key, Counter())[day] += n
    heads = [f"{first + timedelta(days=width * period):%d %b}" for period in periods]
    table = []
    for step in file.walk():
        counted = by_step.get(step.step, Counter[date]())
        cells: Counter[int] = Counter()
        for day, n in counted.items():
            cells[(day - first).days // width] += n
        busiest = max(counted, key=lambda day: (counted[day], day), default=None)
        busy = () if busiest is None else (f"{busiest:%d %b}: {counted[busiest]:,}",)
        table.append((step.step, *(cells[period] or None for period in periods), *(busy or (None,))))
    here.print_table("", ("step", *heads, "busiest day"), table, cut=["step"])
    here.say(f"Outcomes per step; each column is {'one day' if width == 1 else f'{width} days'} (UTC).")


@contextmanager
def _progress(here: Session, simulation: Simulation, *, shown: bool) -> Iterator[Tell]:
    if not shown or not here.console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=20), TaskProgressColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=here.console, transient=True) as bar:
        task = bar.add_task("contacts joining", total=simulation.days)

        def move(running: Simulation) -> None:
            passed = (running.now - running.start) / timedelta(days=1)
            bar.update(task, completed=passed, description=f"{running.now:%a %d %b}")

        yield move
