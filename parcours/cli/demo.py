"""`parcours demo`: four weeks of a sample campaign in simulated time.

The engine is the real one: membership, waits, steps and decisions are done by the functions that the
workers call, with an instant of the simulation as `now`. Made up are the contacts; and emails are
filled in and counted, and handed to nobody.
"""

from __future__ import annotations

import heapq
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Connection, Engine, event

from parcours.cli.overview import print_overview
from parcours.cli.session import Session, session
from parcours.db import embedded, schema
from parcours.db.embedded import EmbeddedServerError
from parcours.db.engine import connect
from parcours.db.partitions import ensure_partitions
from parcours.db.reads import batch, email_figures, overview
from parcours.db.reads.overview import Overview
from parcours.db.scope import Scope
from parcours.db.statements import statements
from parcours.db.tables import campaigns, contacts, emails, events, forms, outcomes, segments, stages
from parcours.domain.errors import CampaignError
from parcours.domain.steps.batch import Fact
from parcours.ops.tokens import Tokens
from parcours.producers.files import campaigns as campaign_files
from parcours.producers.files import emails as email_files
from parcours.services import apply_campaign, campaign_plan, sample
from parcours.services.sample.contacts import Act, Person, people
from parcours.workers import decisions
from parcours.workers.delivery.channels import nowhere
from parcours.workers.delivery.deliver import deliver_inline
from parcours.workers.delivery.render import Links
from parcours.workers.forms import submit
from parcours.workers.sweeps import trigger_inline, update_inline

sql = statements(__file__)

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer()

SAMPLE = Path(sample.__file__).parent
CAMPAIGN = "welcome"
# Where `parcours up` shows it, unless told otherwise.
# All days, since those of the simulation may be long past.
PAGE = f"http://127.0.0.1:8080/campaigns/{CAMPAIGN}?range=all"
# A Monday. Always the same one, so that every run gives the same figures; America and Europe change
# to summer time within the four weeks.
START = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(hours=1)
# What contacts do is reported every other hour, as by a web site that collects it; this halves the work.
REPORT = timedelta(hours=2)

Tell = Callable[["DemoRun"], None]


@app.command()
def demo(
    number: Annotated[int, typer.Option("--contacts", min=1, max=100_000, hidden=True)] = 4000,
    days: Annotated[int, typer.Option("--days", min=1, max=365, hidden=True)] = 28,
    seed: Annotated[int, typer.Option("--seed", hidden=True)] = 1,
) -> None:
    """Run four weeks of a sample campaign in simulated time.

    Each run creates a new database in the folder `demo` of the home folder; your own database is not touched.
    """
    here = session()
    home = here.settings.home / "demo"
    started = time.monotonic()
    here.say(f"The demo uses its own PostgreSQL in {home}. Your data is not touched.")
    engine = connect(_start(home))
    _hurry(engine)
    # Before anything that ends with the server stopped.
    _check_alone(engine, home)
    try:
        _wipe(engine)
        schema.upgrade(engine)
        here.say(
            f"{number:,} generated contacts, {days} days of simulated time from {START:%A %d %B %Y}. The engine is "
            "real. Emails are rendered and counted, but not sent."
        )
        simulation = DemoRun(engine, here.zone, here.settings.batch_size, people(number, seed), days)
        with _progress(here, days) as tell:
            simulation.run(tell)
        title, figures = _figures(engine, here.zone)
        someone = _someone(engine)
    finally:
        engine.dispose()
        # It would be there again with the next command, and should not be left behind unasked.
        embedded.stop(home)
    here.say("")
    print_overview(here, title, figures)
    took = time.monotonic() - started
    here.say("")
    here.say(f"Simulated {days} days in {took:.0f} seconds.")
    _say_what_next(here, home, someone)


def _start(home: Path) -> str:
    try:
        return embedded.start(home)
    except EmbeddedServerError as error:
        raise CampaignError(
            f"the demo's PostgreSQL did not start in {home}; see {home / 'postgres' / 'log'}"
        ) from error


def _check_alone(engine: Engine, home: Path) -> None:
    """Raise CampaignError when somebody else is at work in the demo's database."""
    with engine.connect() as conn:
        others = conn.execute(sql["others"]).scalar_one()
    if others:
        engine.dispose()
        raise CampaignError(
            f"another process, such as `parcours up`, is using the demo in {home}; stop it and try again"
        )


def _wipe(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(sql["drop"])
        conn.execute(sql["create"])


def _hurry(engine: Engine) -> None:
    """Let commits not wait for the disk, since a power cut costs a demo nothing, and keep plans of statements."""

    @event.listens_for(engine, "connect")
    def no_waiting(connection: Any, _: Any) -> None:
        connection.execute(sql["no_waiting"].text)
        connection.commit()
        # Batches are small here, so that planning is most of a statement's cost.
        connection.prepare_threshold = 3


@dataclass
class DemoRun:
    """Contacts, a campaign and a clock that goes in hours."""

    engine: Engine
    zone: ZoneInfo
    batch_size: int
    persons: list[Person]
    days: int
    now: datetime = START
    # What happened so far, for whoever watches.
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, tell: Tell) -> None:
        """Load the sample, then run it to its end; `tell` is called after each hour in which something happened."""
        load(self.engine, self.persons, self.zone)
        self._by_key = {person.key: person for person in self.persons}
        with self.engine.connect() as conn:
            self._ids = contacts.named(conn, list(self._by_key))
        self._keys = {id_: key for key, id_ in self._ids.items()}
        # What contacts are going to do. The number keeps the order of what falls on the same instant.
        self._plans: list[tuple[datetime, int, Act]] = []
        self._planned = 0
        for person in self.persons:
            self._plan(person.comes_and_goes(START))
        end = START + timedelta(days=self.days)
        while (following := self._next()) is not None and following <= end:
            self.now = following
            self._hour()
            tell(self)
        self.now = end
        tell(self)

    def _hour(self) -> None:
        """One hour, as a crontab would have it: contacts act, then `update`, `trigger`, and the mail goes out."""
        ensure_partitions(self.engine, self.now)
        acts = []
        while self._plans and self._plans[0][0] <= self.now:
            acts.append(heapq.heappop(self._plans)[2])
        if acts:
            self._act(acts)
        everything = Scope()
        # Once a day also for who may come back now that the cooldown is over.
        if self.now.hour == 0 or any(act.what in ("joins", "leaves") for act in acts):
            for counts in update_inline(self.engine, everything, now=self.now, zone=self.zone).values():
                self.counts += counts
        trigger_inline(self.engine, everything, now=self.now, zone=self.zone, batch_size=self.batch_size)
        sent = deliver(self.engine, now=self.now, zone=self.zone)
        self.counts["emails_sent"] += len(sent)
        for contact_id, template in sent:
            self._plan(self._by_key[self._keys[contact_id]].answers(template, self.now))

    def _next(self) -> datetime | None:
        """Return the next full hour at which somebody acts or something is due."""
        with self.engine.connect() as conn:
            due = conn.execute(sql["next_due"]).scalar_one()
        instants = [at for at in (due, self._plans[0][0] if self._plans else None) if at is not None]
        if not instants:
            return None
        return max(_up(min(instants), STEP), self.now + STEP)

    def _plan(self, acts: Iterable[Act]) -> None:
        for act in acts:
            self._planned += 1
            heapq.heappush(self._plans, (_up(act.at, REPORT), self._planned, act))

    def _act(self, acts: list[Act]) -> None:
        """Do what contacts did within the hour, set-wise: what an event from outside will do one by one."""

        def who(what: str, about: str = "") -> list[int]:
            return [self._ids[act.key] for act in acts if act.what == what and (not about or act.about == about)]

        now = self.now
        with self.engine.begin() as conn:
            newsletter = segments.find(conn, "newsletter")
            assert newsletter is not None
            segments.add_members(conn, newsletter.id, who("joins"), manual=False, now=now)
            segments.remove_members(conn, newsletter.id, who("leaves"), manual=False, now=now)
        for key in ("signup", "order"):
            submitting = who("submits", key)
            if submitting:
                with self.engine.begin() as conn:
                    form = forms.find(conn, key)
                    assert form is not None
                    submissions = {id_: forms.StoredSubmission(now, {}) for id_ in submitting}
                    self.counts += submit(conn, form, submissions, now=now, zone=self.zone).counts
        happened: dict[int, list[Fact]] = {}
        for act in acts:
            if act.what == "opens":
                happened.setdefault(self._ids[act.key], []).append(Fact("email.opened", {"email": act.about}, act.at))
            elif act.what == "visits":
                happened.setdefault(self._ids[act.key], []).append(Fact("page.hit", {"url": act.about}, act.at))
        if happened:
            with self.engine.begin() as conn:
                present = batch.lock(conn, happened)
                self._mark_messages(conn, acts)
                decisions.react(conn, {id_: happened[id_] for id_ in present}, now=now, zone=self.zone)
                # All visits of the demo come from a link in one of the campaign's emails.
                campaign_id = campaigns.find(conn, CAMPAIGN).id
                views = len(who("visits"))
                outcomes.count_campaign(conn, Counter({(campaign_id, now, "page_views"): views}))

    def _mark_messages(self, conn: Connection, acts: Iterable[Act]) -> None:
        read = [(act, "opened", act.about) for act in acts if act.what == "opens"]
        read += [(act, "clicked", act.email) for act in acts if act.what == "visits" and act.email]
        keys = events.messages_meant(conn, [(self._ids[act.key], email, act.at) for act, _, email in read])
        found = [(key, *read[nth]) for nth, key in keys.items()]
        events.mark_messages(conn, [(key, what, act.at) for key, act, what, _ in found])
        email_figures.note_events(conn, [(key, act.about) for key, act, what, _ in found if what == "clicked"], [])


def _up(at: datetime, grid: timedelta) -> datetime:
    """Return an instant rounded up to the simulation's clock."""
    return START - (START - at) // grid * grid


def load(engine: Engine, persons: list[Person], zone: ZoneInfo) -> None:
    """Load the sample: contacts, a segment that nobody is in yet, forms, stages, emails, the campaign."""
    with engine.begin() as conn:
        contacts.stage(conn, (person.incoming(line) for line, person in enumerate(persons, 2)))
        contacts.merge(conn, now=START)
        segments.save(conn, "newsletter", name="Newsletter", public=True, published=True)
        forms.create(conn, "signup", "Sign up on the web site", standalone=False)
        forms.create(conn, "order", "Order", standalone=True)
        for weight, key in enumerate(("engaged", "customer"), 1):
            stages.save(conn, key, name=key.capitalize(), weight=weight * 10, published=True)
        templates, wrong = email_files.read([SAMPLE / "emails.yaml"])
        if wrong:
            raise CampaignError("\n".join(map(str, wrong)))
        for template in templates:
            emails.save(conn, template, now=START)
        file = campaign_files.read(SAMPLE / "welcome.yaml", default_zone=zone)
        planned = campaign_plan.plan(conn, file, zone=zone)
        apply_campaign.apply(conn, planned, backfill=False, reschedule=False, who="demo", now=START, zone=zone)
    with engine.begin() as conn:
        contacts.analyze(conn)


def deliver(engine: Engine, *, now: datetime, zone: ZoneInfo) -> list[tuple[int, str]]:
    """Deliver what is due as workers do, but to nowhere; return (contact id, template).

    No mail leaves this machine.
    """
    keys: list[str] = []
    delivery = nowhere(Links(Tokens("demo"), "https://www.example.com"), keys)
    deliver_inline(engine, delivery, Scope(), now=now, zone=zone)
    if not keys:
        return []
    with engine.connect() as conn:
        sent = conn.execute(sql["sent"], {"keys": keys}).all()
    # The order of the rows is the server's, and the figures must not depend on it.
    return sorted((row.contact_id, row.template) for row in sent)


def _figures(engine: Engine, zone: ZoneInfo) -> tuple[str, Overview]:
    with engine.connect() as conn:
        found = campaigns.find(conn, CAMPAIGN)
        return f"{found.name} ({found.key})", overview.of(conn, campaigns.load(conn, found.id, found.version, zone))


def _someone(engine: Engine) -> str:
    """Return the key of the contact with most to tell."""
    with engine.connect() as conn:
        return str(conn.execute(sql["someone"]).scalar_one())


@contextmanager
def _progress(here: Session, days: int) -> Iterator[Tell]:
    """Show how far the simulation is: a bar on a terminal, elsewhere a line a week."""

    def summary(simulation: DemoRun) -> str:
        counts = simulation.counts
        joined = counts["added"] + counts["restarted"]
        return f"{simulation.now:%a %d %b}: {joined:,} joined, {counts['emails_sent']:,} emails"

    if not here.console.is_terminal:
        weeks = 0

        def line(simulation: DemoRun) -> None:
            nonlocal weeks
            passed = (simulation.now - START) // timedelta(days=7)
            if passed > weeks:
                weeks = passed
                here.say(f"After week {weeks}, {summary(simulation)}")

        yield line
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=20), TaskProgressColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=here.console, transient=True) as bar:
        task = bar.add_task("loading contacts and campaign", total=days)

        def move(simulation: DemoRun) -> None:
            passed = (simulation.now - START) / timedelta(days=1)
            bar.update(task, completed=passed, description=summary(simulation))

        yield move


def _say_what_next(here: Session, home: Path, someone: str) -> None:
    setting = f"PARCOURS_HOME={shlex.quote(str(home))}"
    if here.settings.database_url is not None:
        # A configured database goes before the home's own.
        setting = f"env -u PARCOURS_DATABASE_URL {setting}"
    called = Path(sys.argv[0])
    # `make demo` runs the one of a virtual environment that the shell may know nothing of.
    command = str(called) if called.name == "parcours" and shutil.which("parcours") is None else "parcours"
    here.say("")
    here.say("The database is kept until the next demo. To explore it:")
    for arguments, about in (
        (f"overview {CAMPAIGN}", "the statistics"),
        (f"contacts show {someone}", "a contact"),
        (f"explain {CAMPAIGN} {someone}", "its place in the campaign"),
        (f"log {CAMPAIGN} --step opened", "a step"),
        (f"campaigns export {CAMPAIGN}", "its file"),
        ("up", f"in a browser, at {PAGE}"),
        ("db stop", "stop it"),
    ):
        here.say(f"  {setting} {command} {arguments:25} # {about}")
    here.say("These commands restart the demo's database server; the last one stops it.")
    here.say(f"The campaign file, with comments: {SAMPLE / 'welcome.yaml'}")
    here.say("`up` also continues the campaign in real time.")
