"""The overview of a campaign: its figures, its tree with who stands where, its contacts, what failed, its history.

Every tab has its own address, which gives the whole page; HTMX asks for the part that changes. `live` is
that part again while contacts move, and a script puts in what differs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from fastapi import Request, Response
from sqlalchemy import Connection, Row

from parcours.db.clock import now as database_now
from parcours.db.reads import failures, listings, overview
from parcours.db.reads.listings import Asked, At, State
from parcours.db.reads.overview import ActivityPlace, StepFigures
from parcours.db.tables import campaigns
from parcours.db.tables.campaigns import Found
from parcours.domain.campaign import Campaign, Step
from parcours.domain.errors import CampaignError, NotFoundError, UnreadableCampaignError
from parcours.domain.steps.types import Kind, RefersTo
from parcours.domain.time.zones import zone_of
from parcours.services.goal_figures import goal_figures
from parcours.services.send_again import send_again
from parcours.services.try_again import try_again
from parcours.web.context import Site
from parcours.web.i18n import labels
from parcours.web.i18n.language import _, _n, marked, reader
from parcours.web.i18n.step_words import type_name
from parcours.web.pages import FormOf, SiteOf, VisitorOf, charts, pages_router, trees
from parcours.web.pages.campaign_list import ListedCampaign, line_of
from parcours.web.pages.charts import Range
from parcours.web.pages.kept_titles import titles_of
from parcours.web.pages.overview_insights import insights_of
from parcours.web.pages.rendering import redirect, render, sentence
from parcours.web.pages.step_titles import Names, quoted, titled
from parcours.web.paging import before_of, instant_of, next_address, written
from parcours.web.security.access import FormBody, Visitor

router = pages_router()

Tab = Literal["path", "decisions", "actions", "conditions", "contacts", "failures"]
TABS: Mapping[Tab, str] = {
    "path": marked("Overview"),
    "decisions": marked("Decisions"),
    "actions": marked("Actions"),
    "conditions": marked("Conditions"),
    "contacts": marked("Contacts"),
    "failures": marked("Failures"),
}
KIND_OF: Mapping[Tab, Kind] = {"decisions": Kind.DECISION, "actions": Kind.ACTION, "conditions": Kind.CONDITION}
PRESETS = {
    "1": marked("Today"),
    "7": marked("7 days"),
    "30": marked("30 days"),
    "90": marked("90 days"),
    "all": marked("All"),
}
WRONG_RANGE = {
    "from": marked("The first day is not a date. Use the format 2026-03-31."),
    "to": marked("The last day is not a date. Use the format 2026-03-31."),
    "order": marked("The last day is before the first day. Swap them."),
    "far": marked("Choose days between 2000 and 2199."),
}
SERIES = tuple(labels.SERIES)
CONTACTS_A_PAGE = 50
ACTIVITY_A_PAGE = 12
# Seconds after which a page begins no further batch of contacts.
MOST_SECONDS = 0.1


@dataclass(frozen=True)
class Opened:
    """A campaign, as a page needs it to be."""

    found: Found
    row: Row[Any]
    # Without a step where this process cannot read it.
    campaign: Campaign
    now: datetime
    unreadable: UnreadableCampaignError | None = None
    # What people call the things that its steps refer to.
    names: Names = field(default_factory=dict)
    # What removed steps are called that its activity tells of.
    gone: Mapping[str, str] = field(default_factory=dict)

    @property
    def titles(self) -> dict[str, str]:
        """What its steps are called, by key."""
        return {**self.gone, **{step.key: step.name for step in self.campaign.steps.values()}}

    def telling(self, conn: Connection, activity: Sequence[Row[Any]]) -> Opened:
        """Return the same with the titles of removed steps that entries of its activity name."""
        told = {str(key) for row in activity for name in labels.CHANGES for key in row.detail.get(name) or ()}
        told |= {str(row.detail["step"]) for row in activity if "step" in row.detail}
        gone = told - self.titles.keys()
        return replace(self, gone=titles_of(conn, self.found.key, gone, marked=False)) if gone else self

    def why(self, reason: str | None) -> str:
        """Return a reason in the reader's language, with emails by their subjects."""
        said, titles = labels.why(reason), self.names.get(RefersTo.EMAIL, {})
        return re.sub(r"(e-?mail )'([^']+)'", lambda found: f"{found[1]}{quoted(titles, found[2])}", said)

    @property
    def address(self) -> str:
        return f"/campaigns/{self.found.key}"

    @property
    def line(self) -> ListedCampaign:
        """The campaign as the list of them has it: its state in words."""
        return line_of(self.row, [], self.now, self.unreadable)


def opened(conn: Connection, site: Site, key: str) -> Opened:
    """Return the campaign of a key or an id. Raises NotFoundError."""
    found = campaigns.find(conn, key)
    row = campaigns.listing(conn, [found.id])[0]
    now = database_now(conn)
    try:
        campaign, names = titled(conn, campaigns.load(conn, found.id, found.version, site.zone))
        return Opened(found, row, campaign, now, names=names)
    except UnreadableCampaignError as error:
        return Opened(found, row, Campaign(found.id, found.key, found.version, {}), now, error)


@router.get("/campaigns/{key}")
def show(request: Request, site: SiteOf, key: str) -> Response:
    """The tree and the graph; `new`, if no campaign has that key, leads to the page that makes one."""
    try:
        return _answer(request, site, key, "path")
    except NotFoundError:
        if key != "new":
            raise
    return redirect(request, "/campaigns/+new")


@router.get("/campaigns/{key}/live")
def live(request: Request, site: SiteOf, key: str) -> Response:
    """The parts of a page that change while contacts move."""
    tab = _known(request.query_params.get("tab", "path"))
    # Lists that somebody reads do not move under their eyes.
    return _answer(request, site, key, tab, template="overview/live.html", still=tab in ("contacts", "failures"))


@router.get("/campaigns/{key}/activity")
def activity(request: Request, site: SiteOf, key: str) -> Response:
    """Older entries of the history."""
    asked = instant_of(request)
    place = None if asked is None else ActivityPlace(*asked)
    with site.engine.connect() as conn:
        about = opened(conn, site, key)
        rows, older = overview.activity(conn, about.found.id, place, limit=ACTIVITY_A_PAGE)
        about = about.telling(conn, rows)
    whole = not request.headers.get("hx-request")
    template = "overview/activity.html" if whole else "overview/activity_rows.html"
    return render(request, template, about=about, activity=rows, older=written(older), words=labels)


@router.post("/campaigns/{key}/failures")
def again(request: Request, site: SiteOf, who: VisitorOf, key: str, form: FormOf) -> Response:
    """Send the messages of a step again that failed for one reason, or try the step again for those who failed so."""
    if form.text("what") == "failed":
        return _try_again(request, site, who, key, form)
    with site.engine.begin() as conn:
        about = opened(conn, site, key)
        step = about.campaign.by_key.get(form.text("step"))
        if step is None:
            raise NotFoundError("step", form.text("step"))
        why, now = form.text("why"), database_now(conn)
        n = send_again(conn, about.found.id, step.id, step.key, why, who=who.who, now=now)
    said = _n("{n} message will be sent again.", "{n} messages will be sent again.", n)
    return redirect(request, f"{about.address}/failures", flash=said)


def _try_again(request: Request, site: Site, who: Visitor, key: str, form: FormBody) -> Response:
    with site.engine.connect() as conn:
        about = opened(conn, site, key)
        status = campaigns.enter(conn, about.found.id, site.zone)[1]
    back = f"{about.address}/failures"
    try:
        done = try_again(
            site.engine, key, form.text("step"), form.text("why"), who=who.who, zone=site.zone, seconds=MOST_SECONDS
        )
    except NotFoundError:
        raise
    except CampaignError as error:
        return redirect(request, back, flash=sentence(str(error)), kind="error")
    said = [_n("{n} contact is tried again.", "{n} contacts are tried again.", done.contacts)]
    if done.gone:
        said.append(
            _n(
                "{n} contact has left the campaign or is elsewhere in it by now, and stays as it is.",
                "{n} contacts have left the campaign or are elsewhere in it by now, and stay as they are.",
                done.gone,
            )
        )
    if done.contacts and status.why_not(about.now) is not None:
        said.append(_("The campaign is not running, so no steps run yet."))
    if done.more:
        said.append(_("There are more: try again once more."))
    is_fine = done.contacts and not (done.gone or done.more)
    return redirect(request, back, flash=" ".join(said), kind="done" if is_fine else "warning")


@router.get("/campaigns/{key}/{tab}")
def show_tab(request: Request, site: SiteOf, key: str, tab: str) -> Response:
    """Another tab: figures of decisions, actions or conditions; the contacts; what failed."""
    return _answer(request, site, key, _known(tab))


def _known(tab: str) -> Tab:
    found = next((each for each in TABS if each == tab), None)
    if found is None:
        raise NotFoundError("page of a campaign", tab)
    return found


def _answer(
    request: Request, site: Site, key: str, tab: Tab, *, template: str | None = None, still: bool = False
) -> Response:
    with site.engine.connect() as conn:
        about = opened(conn, site, key)
        if about.unreadable is not None:
            return _unreadable(request, conn, about)
        found = overview.figures(conn, about.campaign, waits_counted=overview.WAITS_COUNTED)
        values: dict[str, Any] = {
            "figures": found,
            "goal": goal_figures(conn, about.campaign),
            "due": overview.due(conn, list(about.campaign.steps), now=about.now),
            **({} if still else _tab(conn, request, site, about, found, tab)),
        }
        rows, older = overview.activity(conn, about.found.id, None, limit=ACTIVITY_A_PAGE)
        about = about.telling(conn, rows)
    if template is None:
        template = "overview/tab.html" if request.headers.get("hx-target") == "tabs" else "overview/page.html"
    return render(
        request,
        template,
        about=about,
        tab=tab,
        tabs=TABS,
        still=still,
        waiting=sum(step.waiting for step in found.steps),
        about_waiting=any(step.about for step in found.steps),
        trouble=sum(step.results["failed"] + step.undelivered for step in found.steps),
        activity=rows,
        older=written(older),
        kept=urlencode(
            {name: request.query_params[name] for name in ("range", "from", "to") if name in request.query_params}
        ),
        words=labels,
        type_name=type_name,
        **values,
    )


def _unreadable(request: Request, conn: Connection, about: Opened) -> Response:
    """Return the page of a campaign that this process cannot read: what is wrong, and what to do."""
    found = about.found
    rows, older = overview.activity(conn, found.id, None, limit=ACTIVITY_A_PAGE)
    return render(
        request,
        "overview/unreadable.html",
        about=about.telling(conn, rows),
        problems=campaigns.read_version(conn, found.key, found.id, found.version).problems(),
        inside=campaigns.inside(conn, [found.id]).get(found.id, 0),
        activity=rows,
        older=written(older),
        words=labels,
    )


def _tab(
    conn: Connection, request: Request, site: Site, about: Opened, found: overview.Figures, tab: Tab
) -> dict[str, Any]:
    by_key = {step.step: step for step in found.steps}
    match tab:
        case "path":
            graph = _graph(conn, request, about)
            left_over = overview.removed(conn, about.campaign, queued_counted=overview.QUEUED_COUNTED)
            gone = [_gone(step) for step in left_over]
            gone_titles = titles_of(conn, about.found.key, [step.step for step in left_over])
            nodes = trees.tree(about.campaign, by_key, came=found.came, names=about.names)
            path = {**graph, "presets": PRESETS, "nodes": nodes, "gone": gone}
            path["gone_titles"] = gone_titles
            emails = about.names.get(RefersTo.EMAIL, {})
            why_not = campaigns.status_of(about.row).why_not(about.now)
            return path | insights_of(conn, about.campaign, found, emails, why_not=why_not, now=about.now)
        case "decisions" | "actions" | "conditions":
            return {"kind": KIND_OF[tab].value, "lines": _lines(about.campaign, by_key, found.came, KIND_OF[tab])}
        case "contacts":
            return _contacts(conn, request, site, about)
        case "failures":
            counted = {what: sum(step.results[what] for step in found.steps) for what in ("failed", "skipped")}
            return {"troubles": failures.of(conn, about.campaign), "counted": counted}


def _graph(conn: Connection, request: Request, about: Opened) -> dict[str, Any]:
    """Return the range that is asked for, its graph, what is wrong with what was asked, and days that have something.

    Days and hours are the reader's where hours are counted; weeks, months and days of before are counted in UTC.
    """
    asked = request.query_params
    zone = reader().zone
    today = about.now.astimezone(zone).date()
    days = overview.days(conn, about.found.id)
    wrong = None
    shown = None
    if "from" in asked or "to" in asked:
        try:
            shown = charts.between(asked.get("from", ""), asked.get("to", ""))
        except ValueError as error:
            wrong = _(WRONG_RANGE[str(error)])
    else:
        shown = charts.preset(asked.get("range", charts.DEFAULT), today=today, begun=days and days.first)
        if "range" not in asked and shown is not None and days is not None and days.last < shown.first:
            # What is long over is looked at as a whole.
            shown = charts.preset("all", today=days.last, begun=days.first)
    if shown is None:
        shown = charts.preset(charts.DEFAULT, today=today, begun=None)
        assert shown is not None
    counts, zone = _counted(conn, about, shown, days, zone)
    counted = ((each.at, {name: getattr(each, name) for name in SERIES}) for each in counts)
    chart = charts.draw(counted, SERIES, shown, now=about.now, zone=zone)
    return {"shown": shown, "chart": chart, "wrong": wrong, "has_something": days if chart.is_empty else None}


def _counted(
    conn: Connection, about: Opened, shown: Range, days: overview.Days | None, zone: tzinfo
) -> tuple[list[overview.Counts], tzinfo]:
    """Return what the buckets of a range brought, and the timezone that they are of."""
    if shown.bucket == "hour" or (
        shown.bucket == "day"
        and str(zone) != "UTC"
        and days is not None
        and days.has_hours_since(charts.midnight(shown.first, zone))
    ):
        bounds = list(charts.buckets(shown.first, shown.last, shown.bucket, zone))
        return overview.series_between(conn, about.found.id, bounds, charts.end_of(shown, zone)), zone
    return overview.series(conn, about.found.id, shown.bucket, shown.first, shown.last), UTC


@dataclass(frozen=True)
class StepLine:
    """A step in a table. `of_parent`: who reached it, in percent of who reached the step above."""

    step: Step
    figures: StepFigures
    parent: Step | None
    of_parent: float | None


def _lines(campaign: Campaign, figures: Mapping[str, StepFigures], entered: int, kind: Kind) -> list[StepLine]:
    lines = []
    for step in campaign.steps.values():
        if step.kind is kind:
            parent = None if step.parent is None else campaign.steps[step.parent]
            came = entered if parent is None else figures[parent.key].reached
            own = figures[step.key]
            lines.append(StepLine(step, own, parent, trees.conversion(own.reached, came)))
    return lines


def _gone(step: StepFigures) -> tuple[StepFigures, tuple[trees.TreePart, ...]]:
    return step, trees.parts(step)


def _contacts(conn: Connection, request: Request, site: Site, about: Opened) -> dict[str, Any]:
    asked = request.query_params
    key = asked.get("step", "")
    step = about.campaign.by_key.get(key)
    step_id, step_name = (None, "") if step is None else (step.id, step.name)
    if key and step is None:
        # A step that is gone still has its history.
        gone = next((each for each in campaigns.steps(conn, about.found.id) if each.key == key), None)
        if gone is None:
            raise NotFoundError("step", key)
        step_id, step_name = gone.id, titles_of(conn, about.found.key, [gone.key]).get(gone.key, gone.key)
    state: State | None = asked["state"] if asked.get("state") in get_args(State) else None  # type: ignore[assignment]
    at: At = asked["at"] if asked.get("at") in get_args(At) else "waiting"  # type: ignore[assignment]
    wanted = Asked(step_id, at, asked.get("why"), state if step_id is None else None)
    search = asked.get("q", "").strip()
    found = listings.search(conn, search)
    page = listings.members(
        conn,
        about.found.id,
        wanted,
        found=found,
        before=before_of(request),
        limit=CONTACTS_A_PAGE,
    )
    given = {"step": key, "at": at if key else "", "why": asked.get("why", ""), "state": state or "", "q": search}
    return {
        "page": page,
        "asked": given,
        "step_name": step_name,
        "steps": about.campaign.steps,
        "kind": None if step is None else step.kind.value,
        "found": found,
        "next": next_address(f"{about.address}/contacts", page.after, **given),
        "begun": "before" in asked,
        "zone_for": lambda name: zone_of(name, site.zone),
        "default_zone": site.zone,
    }
