"""`parcours simulate`."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from parcours.cli.explain import RULES
from parcours.cli.instants import given as given_instant
from parcours.cli.overview import print_overview
from parcours.cli.rejected_rows import RejectFile
from parcours.cli.session import Session, session
from parcours.db.clock import now as database_now
from parcours.db.reads.learnt import LearntAnswer
from parcours.db.tables.contacts import Incoming
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.time.text import iso
from parcours.domain.time.zones import zone_of
from parcours.producers.files import campaigns
from parcours.producers.files.contacts import contacts as contacts_of
from parcours.producers.files.rows import RejectedRow
from parcours.services import forecast
from parcours.services.forecast import Forecast, ForecastAsked, WalkEntry
from parcours.services.overview_json import figures_json
from parcours.services.simulation import DATES, Simulation, Tell, sources

app = typer.Typer()

# So many periods stand side by side in the table.
COLUMNS = 7
MOST_A_DAY = 100_000


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
    learn: Annotated[
        bool, typer.Option("--learn", help="Answer decisions as the contacts of this campaign did so far.")
    ] = False,
    arrivals: Annotated[
        list[str] | None,
        typer.Option(
            "--arrivals",
            metavar="SOURCE=N",
            help="Number of contacts per day that join by this segment, form or event type; repeatable. Replaces "
            "--contacts and --over.",
        ),
    ] = None,
    contact: Annotated[
        str | None,
        typer.Option("--contact", metavar="KEY", help="Walk one of your contacts through the campaign instead."),
    ] = None,
    now: Annotated[str | None, typer.Option("--now", metavar="ISO", help="Start time (default: now).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON with the values of every day.")] = False,
) -> None:
    """Run a campaign with generated or given contacts in simulated time, and show the volume per step and day.

    Uses a temporary database schema: nothing is sent, and your data is not changed. Segments, forms, emails and
    policies come from your database; missing ones are assumed to be published. Shows where frequency caps, quiet hours,
    limits and rates hold messages back.
    """
    here = session()
    _refuse_with_contact(contact, learn=learn, arrivals=bool(arrivals), given=given is not None)
    campaign_file = campaigns.read(file, default_zone=here.zone)
    answers = _answers(answer or [], campaign_file)
    a_day = _arrivals(arrivals or [], campaign_file)
    began = time.monotonic()
    with here.engine.connect() as conn:
        present = database_now(conn)
        start = _start(present, given_instant(now))
        learnt = forecast.learn(conn, campaign_file.campaign, here.zone, now=present) if learn else {}
    asked = ForecastAsked(
        campaign_file,
        here.zone,
        start,
        days,
        here.settings.batch_size,
        seed,
        {**{step: each.percent for step, each in learnt.items()}, **answers},
        {step: each.seconds for step, each in learnt.items()},
        over,
        a_day,
        _rates(here),
    )
    if contact is not None:
        _print_walk(here, asked, contact, as_json=as_json)
        return
    number = math.ceil(sum(a_day.values()) * days) if a_day else number
    load = forecast.generated(number, asked) if given is None else _given(given, start)
    with _progress(here, asked, shown=not as_json) as tell:
        found = forecast.forecast(here.engine, asked, load, tell)
    figures, volume, messages = found.figures, found.volume, found.messages
    if as_json:
        here.print_json(
            {
                "campaign": campaign_file.campaign,
                "start": iso(start),
                "days": days,
                "seed": seed,
                "taken_for_published": found.missing,
                **{name: value for name, value in figures_json(figures).items() if name != "activity"},
                "volume": _by_day(volume),
                "messages": [{"day": day.isoformat(), "channel": channel, "n": n} for day, channel, n in messages],
                **forecast.forecast_json(found),
                "learnt": {
                    step: {"yes": each.yes, "no": each.no, "percent": round(each.percent, 1)}
                    for step, each in learnt.items()
                },
            }
        )
        return
    for each in found.missing:
        here.say(f"note: there is no {each} yet; it is assumed to be published")
    for line in _learnt_lines(learnt, campaign_file, answers) if learn else ():
        here.say(line)
    print_overview(
        here,
        f"{campaign_file.campaign}: {_counted(found.came, 'contact')}, {_counted(days, 'day')} from {here.time(start)}",
        figures,
    )
    _print_volume(here, campaign_file, volume, start, days)
    for line in _summary_lines(found):
        here.say(line)
    here.say(f"Simulated in {time.monotonic() - began:.0f} s. Nothing was sent or stored.")


def _refuse_with_contact(contact: str | None, *, learn: bool, arrivals: bool, given: bool) -> None:
    """Refuse options about many contacts beside the one that is walked through. Raises typer.BadParameter."""
    named = [("--learn", learn), ("--arrivals", arrivals), ("--contacts-file", given)]
    without = [option for option, is_given in named if is_given]
    if contact is not None and without:
        raise typer.BadParameter(
            f"--contact walks one contact through, so {' and '.join(without)} would have no effect; leave "
            f"{'it' if len(without) == 1 else 'them'} out, and choose answers with --answer STEP=100 or STEP=0"
        )


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _summary_lines(found: Forecast) -> Iterator[str]:
    """Yield who came, how many messages there were, and where something held them back."""
    for source in sorted({source for _, source, _ in found.arrived}):
        by_day = {day: n for day, each, n in found.arrived if each == source}
        busiest = max(by_day, key=lambda day: (by_day[day], day))
        name = "dates of contacts" if source == DATES else source
        yield f"by {name}: {_counted(sum(by_day.values()), 'contact')}, busiest day {busiest}: {by_day[busiest]:,}"
    for channel in sorted({channel for _, channel, _ in found.messages}):
        by_day = {day: n for day, each, n in found.messages if each == channel}
        busiest = max(by_day, key=lambda day: (by_day[day], day))
        yield f"{channel}: {_counted(sum(by_day.values()), 'message')}, busiest day {busiest}: {by_day[busiest]:,}"
    for channel, rule in sorted({(each.channel, each.rule) for each in found.held}):
        n = sum(each.n for each in found.held if (each.channel, each.rule) == (channel, rule))
        yield f"{channel}: {RULES.get(rule, rule)} holds back {_counted(n, 'message')}"
    if found.at_the_door:
        are = "is" if found.at_the_door == 1 else "are"
        yield f"{_counted(found.at_the_door, 'contact')} {are} still held back by the campaign's limit"
    for rate in found.rates:
        whose = "the provider takes" if rate.whose == "provider" else "the campaign's rate is"
        yield (
            f"{rate.channel}: {rate.due:,} messages are due in the hour from {rate.hour:%Y-%m-%d %H:%M} UTC; {whose} "
            f"{rate.an_hour:,.0f} an hour, so they take {rate.hours:.1f} hours"
        )


def _learnt_lines(
    learnt: Mapping[str, LearntAnswer], file: CampaignFile, answers: Mapping[str, float]
) -> Iterator[str]:
    for step in (each.step for each in file.walk() if each.kind == "decision"):
        if step in answers:
            yield f"{step}: {answers[step]:g} % yes, as given"
        elif step in learnt:
            found = learnt[step]
            middle = f", half of them within {_length(found.seconds[len(found.seconds) // 2])}" if found.seconds else ""
            yield f"{step}: {found.percent:.1f} % yes, learnt from {_counted(found.yes + found.no, 'contact')}{middle}"
        else:
            yield f"{step}: no contact has answered it yet; the default of its type is used"


def _length(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _print_walk(here: Session, asked: ForecastAsked, contact: str, *, as_json: bool) -> None:
    found = forecast.walk(here.engine, asked, contact)
    zone = zone_of(found.contact.timezone, here.zone)
    if as_json:
        here.print_json(
            {
                "campaign": asked.file.campaign,
                "contact": found.contact.key,
                "assumed": {step: "yes" if answer else "no" for step, answer in found.assumed.items()},
                "entries": [{**each.__dict__, "at": iso(each.at)} for each in found.entries],
                "waits": [{"step": step, "due_at": iso(due)} for step, due in found.waits],
            }
        )
        return
    here.say(
        f"{found.contact.key} in {asked.file.campaign}, if it enters on {asked.start.astimezone(zone):%Y-%m-%d %H:%M}; "
        f"times in {zone.key}:"
    )
    for each in found.entries:
        here.say(f"  {each.at.astimezone(zone):%a %Y-%m-%d %H:%M}  {_in_words(each)}")
    for step, due in found.waits:
        until = "until the event happens" if due is None else f"until {due.astimezone(zone):%a %Y-%m-%d %H:%M}"
        here.say(f"  Then it waits at {step} {until}.")
    if not found.entries:
        here.say("  It does not enter within this time.")
    for step, answer in found.assumed.items():
        other = f"--answer {step}={0 if answer else 100}"
        here.say(f"Assumed at {step}: {'yes' if answer else 'no'}. Use {other} to see the other path.")
    here.say("Nothing was sent or stored.")


def _in_words(each: WalkEntry) -> str:
    why = each.detail.get("reason") or each.detail.get("error")
    because = f" ({why})" if why else ""
    if each.what == "joined":
        return "joins the campaign"
    if each.what == "left":
        return f"leaves the campaign{because}"
    name = each.name or each.step
    match each.result:
        case "done":
            return f"{name}: done by {each.type}"
        case "yes" | "no":
            return f"{name}: {each.result}"
    return f"{name}: {each.result}{because}"


def _rates(here: Session) -> dict[str, float]:
    known = here.settings
    rates = {
        "email": known.email_per_second,
        "sms": known.sms_per_second,
        "push": known.push_per_second,
        "webhook": known.webhook_per_second,
    }
    return {channel: rate for channel, rate in rates.items() if rate is not None}


def _arrivals(given: Sequence[str], file: CampaignFile) -> dict[str, float]:
    known = sources(file)
    found = {}
    for each in given:
        source, _, number = each.partition("=")
        try:
            found[source] = float(number)
        except ValueError:
            raise typer.BadParameter(f"--arrivals {each!r} is not of the form SOURCE=N") from None
        if source not in known:
            named = ", ".join(known) or "none"
            raise typer.BadParameter(f"--arrivals {each!r}: the campaign has no source {source!r}; it has {named}")
        if not 0 < found[source] <= MOST_A_DAY:
            raise typer.BadParameter(f"--arrivals {each!r}: give a number of contacts per day, up to {MOST_A_DAY:,}")
    return found


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


def _given(path: Path, start: datetime) -> Callable[[Engine], int]:
    """Return what loads the contacts of a file; rows that cannot be used are told."""

    def load(engine: Engine) -> int:
        with RejectFile(path) as rejects:

            def usable() -> Iterator[Incoming]:
                for row in contacts_of(path):
                    if isinstance(row, RejectedRow):
                        rejects.add(row)
                    else:
                        yield row

            came = forecast.loaded(engine, usable(), start)
        if rejects.count:
            session().warn(f"note: {rejects.count:,} rows of {path} were rejected; see {rejects.path}")
        return came

    return load


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
def _progress(here: Session, asked: ForecastAsked, *, shown: bool) -> Iterator[Tell]:
    if not shown or not here.console.is_terminal:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=20), TaskProgressColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=here.console, transient=True) as bar:
        task = bar.add_task("contacts joining", total=asked.days)

        def move(running: Simulation) -> None:
            passed = (running.now - running.start) / timedelta(days=1)
            bar.update(task, completed=passed, description=f"{running.now:%a %d %b}")

        yield move
