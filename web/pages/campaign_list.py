"""The campaigns: found, switched on and off, copied and deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from sqlalchemy import Connection, Row

from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns
from parcours.db.tables.campaigns import Found
from parcours.domain.campaign import State, Status
from parcours.domain.campaign_file.model import CampaignFile, SkipFile
from parcours.domain.errors import CampaignError, UnreadableCampaignError
from parcours.domain.time.intervals import parse_interval
from parcours.services import campaign_changes
from parcours.services.launch import launch
from parcours.web.context import Site
from parcours.web.i18n.field_words import field_name
from parcours.web.i18n.labels import EVENT_TYPES, interval, word
from parcours.web.i18n.language import _, _n, marked, planned
from parcours.web.i18n.sentences import told
from parcours.web.pages import FOR_EDITORS, FormOf, SiteOf, VisitorOf, pages_router
from parcours.web.pages.plan_words import effect_line
from parcours.web.pages.rendering import redirect, render

router = pages_router()

PER_PAGE = 25
# What a state is called, and the tone of its badge.
STATES: dict[State, tuple[str, str]] = {
    "running": (marked("Running"), "good"),
    "paused": (marked("Paused"), "calm"),
    "scheduled": (marked("Scheduled"), "info"),
    "ended": (marked("Ended"), "calm"),
    "category_off": (marked("Category off"), "warn"),
    "unreadable": (marked("Unreadable"), "bad"),
}
DEFAULT_SORT = "-changed"


@dataclass(frozen=True)
class ListedCampaign:
    """A campaign in the list."""

    id: int
    key: str
    name: str
    description: str
    category: str | None
    published: bool
    state: State
    reason: str | None
    created_at: datetime
    changed_at: datetime
    # (segment or form, key)
    sources: list[tuple[str, str]]

    @property
    def tone(self) -> str:
        return STATES[self.state][1]

    @property
    def state_name(self) -> str:
        return _(STATES[self.state][0])


SORTS: dict[str, Callable[[ListedCampaign], Any]] = {
    "name": lambda line: (line.name.casefold(), line.id),
    "changed": lambda line: (line.changed_at, line.id),
    "created": lambda line: (line.created_at, line.id),
    "state": lambda line: (list(STATES).index(line.state), line.name.casefold()),
}


@dataclass(frozen=True)
class Wanted:
    """What a visitor asked the list for; every part of it is in the address."""

    text: str = ""
    state: str = ""
    category: str = ""
    source: str = ""
    sort: str = DEFAULT_SORT
    page: int = 1

    @classmethod
    def of(cls, request: Request) -> Wanted:
        given = request.query_params
        sort, page = given.get("sort", ""), given.get("page", "1")
        return cls(
            given.get("q", "").strip(),
            given.get("state", ""),
            given.get("category", ""),
            given.get("source", ""),
            sort if sort.removeprefix("-") in SORTS else DEFAULT_SORT,
            int(page) if page.isascii() and page.isdigit() and 0 < len(page) < 7 and int(page) else 1,
        )

    def url(self, **changed: Any) -> str:
        parts = {
            "q": self.text, "state": self.state, "category": self.category, "source": self.source,
            "sort": "" if self.sort == DEFAULT_SORT else self.sort, "page": "" if self.page == 1 else self.page,
        }  # fmt: skip
        query = urlencode({name: value for name, value in {**parts, **changed}.items() if value})
        return "/campaigns" + (f"?{query}" if query else "")

    @property
    def by_state(self) -> bool:
        """Whether the state of every campaign has to be known to answer."""
        return bool(self.state) or self.sort.removeprefix("-") == "state"

    def sorted_url(self, sort: str) -> str:
        return self.url(sort="" if sort == DEFAULT_SORT else sort, page="")

    def matches(self, line: ListedCampaign) -> bool:
        text = self.text.casefold()
        found = any(text in each.casefold() for each in (line.key, line.name, line.description))
        return (
            found
            and self.state in ("", line.state)
            and self.category in ("", line.category or "-")
            and (not self.source or self.source in [f"{kind}:{key}" for kind, key in line.sources])
        )


@router.get("/campaigns")
def show(request: Request, site: SiteOf) -> Response:
    wanted = Wanted.of(request)
    with site.engine.connect() as conn:
        rows = campaigns.listing(conn)
        lines = _lines(conn, rows, readable_too=wanted.by_state)
        found = sorted(filter(wanted.matches, lines), key=SORTS[wanted.sort.removeprefix("-")])
        if wanted.sort.startswith("-"):
            found.reverse()
        first = (wanted.page - 1) * PER_PAGE
        here = found[first : first + PER_PAGE]
        if not wanted.by_state:
            shown = {row.id: row for row in rows}
            here = _lines(conn, [shown[line.id] for line in here], readable_too=True)
        inside = campaigns.inside(conn, [line.id for line in here])
        source_names = {(each.kind, each.key): _source_name(each) for each in campaigns.every_source(conn)}
    return render(
        request,
        "campaigns/list.html",
        wanted=wanted,
        lines=here,
        inside=inside,
        total=len(found),
        first=first,
        there_are_any=bool(lines),
        states=STATES,
        categories=sorted({line.category for line in lines if line.category}),
        uncategorised=any(line.category is None for line in lines),
        sources=sorted({source for line in lines for source in line.sources}),
        source_names=source_names,
        has_more=first + PER_PAGE < len(found),
    )


def _source_name(source: campaigns.SourceOf) -> str:
    if source.kind == "event":
        return word(EVENT_TYPES, source.key)
    return field_name(source.key) if source.kind == "date" else str(source.name)


def _lines(conn: Connection, rows: Sequence[Row[Any]], *, readable_too: bool) -> list[ListedCampaign]:
    """Return campaigns of `campaigns.listing` as people read them.

    Whether they can be read costs a look at each definition, the first time, and is asked only where it shows.
    """
    now = database_now(conn)
    sources: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for source in campaigns.every_source(conn):
        sources[source.campaign_id].append((source.kind, source.key))
    unreadable = campaigns.unreadable(conn, rows) if readable_too else {}
    return [line_of(row, sources[row.id], now, unreadable.get(row.id)) for row in rows]


def line_of(
    row: Any, sources: list[tuple[str, str]], now: datetime, unreadable: UnreadableCampaignError | None
) -> ListedCampaign:
    """Return a row of `campaigns.listing` as people read it."""
    status = campaigns.status_of(row, unreadable)
    return ListedCampaign(
        row.id,
        row.key,
        row.name,
        row.description,
        row.category,
        row.published,
        status.state(now),
        reason_of(status, now)
        if unreadable is None
        else _("The campaign cannot be read: {why}", why=told(unreadable.why)),
        row.created_at,
        row.changed_at,
        sources,
    )


def reason_of(status: Status, now: datetime) -> str | None:
    """Return why a campaign does not run, in the reader's language; None when it does."""
    match status.state(now):
        case "paused":
            return _("The campaign is switched off.")
        case "scheduled" if status.publish_from:
            return _("The campaign starts on {date}.", date=planned(status.publish_from))
        case "ended" if status.publish_until:
            return _("The campaign ended on {date}.", date=planned(status.publish_until))
        case "category_off":
            return _("The campaign’s category is switched off.")
    return None


def _ask(
    request: Request,
    found: Found,
    does: str,
    question: str,
    consequences: list[str],
    label: str,
    *,
    dangerous: bool = False,
    status: int = 200,
    **more: Any,
) -> Response:
    """Return the page that asks whether something is to be done to a campaign, and says what follows from it."""
    return render(
        request,
        "confirm.html",
        status,
        question=question,
        consequences=consequences,
        action=f"/campaigns/{found.key}/{does}",
        label=label,
        back="/campaigns",
        dangerous=dangerous,
        **more,
    )


# Switching on and off.


@router.get("/campaigns/{key}/publish", dependencies=FOR_EDITORS)
def ask_to_publish(request: Request, key: str, site: SiteOf) -> Response:
    with site.engine.connect() as conn:
        found = campaigns.find(conn, key)
        consequences = what_publishing_does(conn, found, site)
    return _ask(request, found, "publish", _("Switch on “{name}”?", name=found.name), consequences, _("Switch on"))


@router.get("/campaigns/{key}/pause", dependencies=FOR_EDITORS)
def ask_to_pause(request: Request, key: str, site: SiteOf) -> Response:
    with site.engine.connect() as conn:
        found = campaigns.find(conn, key)
        consequences = what_pausing_does(conn, found, site)
    return _ask(request, found, "pause", _("Pause “{name}”?", name=found.name), consequences, _("Pause"))


def what_publishing_does(conn: Connection, found: Found, site: Site) -> list[str]:
    """Return in sentences what happens once a campaign is switched on."""
    now = database_now(conn)
    row = campaigns.listing(conn, [found.id])[0]
    if row.published:
        return [_("The campaign is already switched on.")]
    version = campaigns.read_version(conn, found.key, found.id, found.version)
    sentences = [_people_inside(conn, found)]
    if version.unreadable is not None:
        return [
            *sentences,
            _("The campaign cannot be read: {why}", why=told(version.unreadable.why)),
            _("No steps run."),
        ]
    overdue = campaigns.overdue(conn, found.id, now=now)
    if overdue.waits:
        sentences += [_overdue(overdue.waits), catch_up(version.file)]
    on = Status(True, row.publish_from, row.publish_until, row.category_published)
    reason = reason_of(on, now)
    _moves, effects = launch(conn, found, now=now, zone=site.zone)
    sentences += [effect_line(each)[1] for each in effects if each.what != "later"]
    sentences.append(reason or _("Contacts start to join, and due steps run."))
    if reason:
        sentences.append(_("Until then, no steps run.") if on.state(now) == "scheduled" else _("No steps run."))
    return sentences


def what_pausing_does(conn: Connection, found: Found, site: Site) -> list[str]:
    """Return in sentences what happens once a campaign is paused."""
    after = catch_up(campaigns.read_version(conn, found.key, found.id, found.version).file)
    return [
        _people_inside(conn, found),
        _("Contacts keep their place, and no one joins. Steps in progress are completed."),
        f"{_('When the campaign is switched on again:')} {after[0].lower()}{after[1:]}",
    ]


def catch_up(file: CampaignFile) -> str:
    """Return in a sentence what becomes of work whose time passes during a pause."""
    if isinstance(file.catch_up, SkipFile):
        return _(
            "Steps overdue by more than {time} are skipped; the others run immediately.",
            time=interval(parse_interval(file.catch_up.skip)),
        )
    if file.catch_up == "shift":
        return _("All waits are extended by the length of the pause.")
    return _("Overdue steps run immediately.")


def _people_inside(conn: Connection, found: Found) -> str:
    return _n("{n} active contact.", "{n} active contacts.", campaigns.inside(conn, [found.id]).get(found.id, 0))


def _overdue(n: int) -> str:
    return _n("{n} wait is overdue.", "{n} waits are overdue.", n)


@router.post("/campaigns/{key}/publish")
def publish(request: Request, key: str, site: SiteOf, who: VisitorOf) -> Response:
    found, done = _switch(key, True, site, who.who)
    said = _("“{name}” was switched on.", name=found.name)
    if done.why_not:
        said = f"{said} {_('It is not running: {why}.', why=told(done.why_not))}"
    return redirect(request, "/campaigns", flash=said, kind="warning" if done.why_not else "done")


@router.post("/campaigns/{key}/pause")
def pause(request: Request, key: str, site: SiteOf, who: VisitorOf) -> Response:
    found, _done = _switch(key, False, site, who.who)
    said = _("“{name}” was paused. Contacts keep their place.", name=found.name)
    return redirect(request, "/campaigns", flash=said)


def _switch(key: str, published: bool, site: Site, who: str) -> tuple[Found, campaign_changes.Switched]:
    with site.engine.begin() as conn:
        found = campaigns.find(conn, key)
        return found, campaign_changes.switch_and_log(conn, found, published, who=who, now=database_now(conn))


# Copying and deleting.


@router.get("/campaigns/{key}/clone", dependencies=FOR_EDITORS)
def ask_to_clone(request: Request, key: str, site: SiteOf) -> Response:
    with site.engine.connect() as conn:
        found = campaigns.find(conn, key)
        taken = {row.key for row in campaigns.listing(conn)}
    free = next(each for n in range(1, len(taken) + 2) if (each := f"{found.key}-{n + 1}") not in taken)
    return _clone_page(request, found, free, _("{name} (copy)", name=found.name), {})


@router.post("/campaigns/{key}/clone")
def clone(request: Request, key: str, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    new_key, name = form.text("key").strip(), form.text("name").strip()
    with site.engine.begin() as conn:
        found = campaigns.find(conn, key)
        now = database_now(conn)
        try:
            campaign_changes.clone(conn, found, new_key, who=who.who, now=now, zone=site.zone, name=name or None)
        except CampaignError as error:
            return _clone_page(request, found, new_key, name, {"key": [str(error)]}, status=422)
    return redirect(
        request,
        f"/campaigns/{new_key}/edit",
        flash=_("This is a copy of “{name}”. It is switched off.", name=found.name),
    )


def _clone_page(
    request: Request, found: Found, key: str, name: str, errors: dict[str, list[str]], status: int = 200
) -> Response:
    fields = [
        {"name": "name", "label": _("Name"), "value": name, "errors": errors.get("name", []), "help": None},
        {
            "name": "key",
            "label": _("Key"),
            "value": key,
            "errors": errors.get("key", []),
            "help": _("Lowercase letters, digits and hyphens. The key cannot be changed later."),
        },
    ]
    question = _("Copy “{name}”?", name=found.name)
    consequences = [_("The copy has the same steps, settings and sources, but no contacts. It is switched off.")]
    return _ask(request, found, "clone", question, consequences, _("Copy"), status=status, fields=fields)


@router.get("/campaigns/{key}/delete", dependencies=FOR_EDITORS)
def ask_to_delete(request: Request, key: str, site: SiteOf) -> Response:
    with site.engine.connect() as conn:
        found = campaigns.find(conn, key)
        consequences = [
            _people_inside(conn, found),
            _("Their steps no longer run, and no one joins."),
            _("The campaign’s history is kept in the database."),
        ]
    question = _("Delete “{name}”?", name=found.name)
    return _ask(request, found, "delete", question, consequences, _("Delete"), dangerous=True)


@router.post("/campaigns/{key}/delete")
def delete(request: Request, key: str, site: SiteOf, who: VisitorOf) -> Response:
    with site.engine.begin() as conn:
        found = campaigns.find(conn, key)
        campaign_changes.delete(conn, found, who=who.who, now=database_now(conn))
    return redirect(request, "/campaigns", flash=_("“{name}” was deleted.", name=found.name))
