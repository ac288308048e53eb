"""What a campaign would do in the month ahead, as a picture; and what would happen to one contact in it.

Both run the real engine in a temporary schema. Nothing is sent, and nothing is changed.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db.reads.learnt import LearntAnswer
from parcours.db.tables import campaigns, forms, segments
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.contacts.names import full_name
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.time.zones import zone_of
from parcours.services import forecast
from parcours.services.forecast import Forecast, ForecastAsked
from parcours.services.simulation import DATES, Simulation, sources
from parcours.web.context import Site
from parcours.web.i18n import labels
from parcours.web.i18n.language import _, marked
from parcours.web.pages import FormOf, SiteOf, charts, pages_router
from parcours.web.pages.charts import Chart, Range
from parcours.web.pages.overview import Opened, opened
from parcours.web.pages.rendering import render

router = pages_router()

DAYS = 28
# Somebody waits for the answer: so many contacts are simulated at most, and so long.
MOST_CONTACTS = 2_000
MOST_SECONDS = 30.0
A_DAY = 10
LINES = {
    "added": marked("Contacts added"),
    "emails_sent": marked("Emails"),
    "page_views": marked("Other messages"),
}
# Simulations of this process, one after the other: each of them keeps a processor busy.
_busy = threading.Lock()


@router.get("/campaigns/{key}/ahead")
def ask(request: Request, site: SiteOf, key: str) -> Response:
    """How many contacts are to come by each source."""
    with site.engine.connect() as conn:
        about = opened(conn, site, key)
    file = _file(site, about)
    return _page(request, site, about, file, dict.fromkeys(_sources(file), str(A_DAY)), {})


@router.post("/campaigns/{key}/ahead")
def show(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """The month ahead: the picture, its figures, what binds, and which answers were taken."""
    with site.engine.connect() as conn:
        about = opened(conn, site, key)
        file = _file(site, about)
        learnt = forecast.learn(conn, about.found.key, site.zone, now=about.now, times=False)
    given = {source: form.text(f"source-{nth}", "0").strip() for nth, source in enumerate(_sources(file))}
    wrong: dict[str, list[str]] = {}
    for nth, number in enumerate(given.values()):
        if not number.isdecimal() or len(number) > 4:
            wrong[f"source-{nth}"] = [_("Enter a whole number of contacts per day.")]
    a_day = {} if wrong else {source: float(number) for source, number in given.items() if int(number)}
    come = math.ceil(sum(a_day.values()) * DAYS)
    if not wrong and not 0 < come <= MOST_CONTACTS:
        most = MOST_CONTACTS // DAYS
        wrong["source-0"] = [_("Enter at least one contact per day, and at most {most} in total.", most=most)]
    if wrong:
        return _page(request, site, about, file, given, wrong, status=422)
    by_date = a_day.pop(DATES, 0)
    asked = _asked(site, about, file, learnt, arrivals=a_day, over=0 if a_day or not by_date else DAYS)
    try:
        with _alone():
            found = forecast.forecast(site.engine, asked, forecast.generated(come, asked), _patience())
    except _BusyError as error:
        return _page(request, site, about, file, given, {"source-0": [str(error)]}, status=503)
    chart, shown = _chart(found, asked.start)
    return _page(
        request,
        site,
        about,
        file,
        given,
        {},
        found=found,
        chart=chart,
        shown=shown,
        taken=[
            (about.titles[step.step], asked.answers.get(step.step), learnt.get(step.step))
            for step in file.walk()
            if step.kind == "decision"
        ],
    )


@router.get("/campaigns/{key}/try")
def ask_whom(request: Request, site: SiteOf, key: str) -> Response:
    """Which contact is to be walked through."""
    with site.engine.connect() as conn:
        about = opened(conn, site, key)
    return render(request, "overview/try.html", about=about, wanted="", errors=[], walk=None, words=labels)


@router.post("/campaigns/{key}/try")
def walk(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """What would happen to a contact, and when, if it entered the campaign now."""
    wanted = form.text("contact").strip()
    with site.engine.connect() as conn:
        about = opened(conn, site, key)
        file = _file(site, about)
        learnt = forecast.learn(conn, about.found.key, site.zone, now=about.now, times=False)
    values: dict[str, Any] = {"about": about, "wanted": wanted, "words": labels, "walk": None}
    try:
        with _alone():
            found = forecast.walk(site.engine, _asked(site, about, file, learnt), wanted)
    except NotFoundError:
        errors = [_("No contact has the key {key}.", key=wanted)]
        return render(request, "overview/try.html", 422, errors=errors, **values)
    except _BusyError as error:
        return render(request, "overview/try.html", 503, errors=[str(error)], **values)
    zone = zone_of(found.contact.timezone, site.zone)
    person = full_name(found.contact.fields) or found.contact.key
    values |= {"walk": found, "zone": zone, "names": about.titles, "person_name": person}
    return render(request, "overview/try.html", errors=[], **values)


def _file(site: Site, about: Opened) -> CampaignFile:
    """Return the campaign as a file. Raises UnreadableCampaignError."""
    if about.unreadable is not None:
        raise about.unreadable
    with site.engine.connect() as conn:
        return campaigns.definition(conn, about.found.id, about.found.version)


def _called(conn: Connection, file: CampaignFile) -> dict[str, str]:
    """Return what people call the sources of a campaign; one that is not there any more keeps its key."""
    return forms.names(conn, file.sources.forms) | segments.names(conn, file.sources.segments)


def _sources(file: CampaignFile) -> list[str]:
    return sources(file) or [DATES]


def _asked(
    site: Site, about: Opened, file: CampaignFile, learnt: Mapping[str, LearntAnswer], **more: Any
) -> ForecastAsked:
    start = about.now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    known = site.settings
    rates = {"email": known.email_per_second, "sms": known.sms_per_second, "push": known.push_per_second}
    return ForecastAsked(
        file,
        site.zone,
        start,
        DAYS,
        known.batch_size,
        answers={step: each.percent for step, each in learnt.items()},
        per_second={channel: rate for channel, rate in rates.items() if rate is not None},
        **more,
    )


class _BusyError(CampaignError):
    """A simulation cannot be had at the moment; the message says what to do."""


@contextmanager
def _alone() -> Iterator[None]:
    if not _busy.acquire(blocking=False):
        raise _BusyError(_("Another simulation is running. Try again in a moment."))
    try:
        yield
    finally:
        _busy.release()


def _patience() -> Any:
    """Return what is told how a simulation goes on, and ends one that takes too long."""
    until = time.monotonic() + MOST_SECONDS

    def tell(_simulation: Simulation) -> None:
        if time.monotonic() > until:
            raise _BusyError(_("The simulation takes too long. Enter fewer contacts."))

    return tell


def _chart(found: Forecast, start: datetime) -> tuple[Chart, Range]:
    """Return the picture: contacts and messages by day (UTC)."""
    # Of the first day, what is left of it; of the last one, as much as is missing then.
    last = (start + timedelta(days=DAYS) - timedelta(microseconds=1)).date()
    shown = Range("days", start.date(), last, "day")
    counted: dict[datetime, dict[str, int]] = {}

    def count(day: date, name: str, n: int) -> None:
        of_day = counted.setdefault(datetime.combine(day, time_of_day(), tzinfo=UTC), {})
        of_day[name] = of_day.get(name, 0) + n

    for day, _source, n in found.arrived:
        count(day, "added", n)
    for day, channel, n in found.messages:
        count(day, "emails_sent" if channel == "email" else "page_views", n)
    return charts.draw(counted.items(), tuple(LINES), shown, now=start), shown


def _held(found: Forecast) -> list[tuple[str, str, int]]:
    """Return how many messages each rule of each channel's policy held back."""
    counts: dict[tuple[str, str], int] = {}
    for each in found.held:
        counts[each.channel, each.rule] = counts.get((each.channel, each.rule), 0) + each.n
    return [(channel, rule, n) for (channel, rule), n in sorted(counts.items())]


def _page(
    request: Request,
    site: Site,
    about: Opened,
    file: CampaignFile,
    given: Mapping[str, str],
    wrong: Mapping[str, list[str]],
    *,
    status: int = 200,
    found: Forecast | None = None,
    **more: Any,
) -> Response:
    values = {"chart": None, "shown": None, "taken": [], **more}
    with site.engine.connect() as conn:
        called = _called(conn, file)
    return render(
        request,
        "overview/ahead.html",
        status,
        about=about,
        given=given,
        called=called,
        wrong=wrong,
        days=DAYS,
        dates=DATES,
        found=found,
        lines=LINES,
        held=_held,
        names=about.titles,
        words=labels,
        **values,
    )
