"""The campaign builder: a draft as a tree, a panel beside it, and what applying it would do.

Every `+`, card and menu item is a link or a form that gives a whole page; the script asks for the same pages, and puts
in what differs. Each operation is kept at once, and the campaign is untouched until the draft is applied.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import available_timezones

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, contacts, drafts, emails, forms, scores, segments, stages, sweeps, templates
from parcours.db.tables.campaigns import Found
from parcours.db.tables.drafts import StoredDraft
from parcours.db.tables.outbox import StepName
from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.check import DATE_NAMES
from parcours.domain.campaign_file.edit import EditError, StepPlace
from parcours.domain.campaign_file.model import FORMAT, CampaignFile
from parcours.domain.contacts.contact import ATTRIBUTES
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.events.table import EVENT_TYPES
from parcours.domain.keys import slug
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import Kind, RefersTo, StepType
from parcours.domain.time.zones import zone_of
from parcours.producers.files.campaigns import CampaignFileError, value_of, write
from parcours.producers.files.comments import with_notes
from parcours.services import apply_campaign, campaign_changes, campaign_plan, draft_check
from parcours.services import drafts as service
from parcours.services.campaign_plan import CampaignPlan
from parcours.services.drafts import OvertakenError
from parcours.web.context import Site
from parcours.web.i18n import labels, step_words
from parcours.web.i18n.language import _, _n
from parcours.web.i18n.sentences import told
from parcours.web.pages import (
    FormOf,
    SiteOf,
    VisitorOf,
    draft_rules,
    draft_trees,
    pages_router,
    panels,
    rule_form,
    samples,
    setting_rows,
)
from parcours.web.pages.campaign_form import CATCH_UP, PRIORITY, REENTRY, choices_of, plan_lines
from parcours.web.pages.draft_trees import Drawing
from parcours.web.pages.panels import PanelChoice, PanelWidget
from parcours.web.pages.plan_words import removed_step
from parcours.web.pages.rendering import redirect, render, sentence
from parcours.web.pages.samples import Sample
from parcours.web.pages.step_titles import names_of, quoted
from parcours.web.security.access import FormBody, Visitor

router = pages_router()

# Things that a picker offers; whoever has more writes the key.
MOST_CHOICES = 500
MOST_FOUND = 50
# Of a tree without a map.
MOST_UNMAPPED = 60
SETTINGS = ("name", "description", "category", "timezone", "reentry", "priority")
LENGTHS = ("cooldown", "grace")
ENTRY = ("most", "rate")
# Choices that are shown at once; of more, one searches.
MANY = 12
OFTEN_USED = ("email.send", "contact.tags", "contact.points", "email.open", "email.click", "contact.field")
BRANCH_ORDER = ("then", "yes", "no")
STEP_NAMES = ("name", "note", "at", "hour", "between", "days", "late", "on_failure")
# What has the focus after a change of a panel: what had it before.
SAME = "same"
_OF_A_ROW = re.compile(r"(exit\.\d|sources\.(events|dates)\.\d|goal(\.|$)|entry\.(most|rate)$)")
_ID = re.compile(r"[a-z][\w-]{0,100}")
# What problems of a text call it.
_YAML = Path("campaign.yaml")


@dataclass(frozen=True)
class Bench:
    """A draft that is worked on: where its pages are, and the campaign that it changes, if there is one."""

    base: str
    draft: StoredDraft
    found: Found | None
    who: str
    # The step whose branch is looked at alone.
    only: str | None = None

    @property
    def file(self) -> dict[str, Any]:
        return self.draft.file

    @property
    def name(self) -> str:
        return str(self.file.get("name") or self.file.get("campaign") or _("New campaign"))

    def url(self, **asked: object) -> str:
        """Return the address of the builder with something open, and with the branch that is looked at alone."""
        named = {"only": self.only, **asked}
        return f"{self.base}?{urlencode({name: value for name, value in named.items() if value is not None})}"

    def new(self, what: str, pick: str, step: str | None = None) -> str:
        """Return the address of the form of a new thing, which comes back with it chosen at `pick`."""
        back = f"{self.base}?{'settings=1' if step is None else f'step={step}'}&pick={pick}"
        path, end = ("/forms", "#new") if what == "forms" else (f"/{what}/+new", "")
        return f"{path}?{urlencode({'back': back})}{end}"


def bench_of(conn: Connection, visitor: Visitor, *, key: str | None, draft_id: int | None) -> Bench:
    """Return the bench of a campaign's key or of a draft. Without a draft yet, it shows the campaign as it is."""
    if key is not None:
        found = campaigns.find(conn, key)
        known = drafts.of_campaign(conn, found.id, visitor.who)
        draft = None if known is None else drafts.read(conn, known, visitor.who)
        if draft is None:
            now, file = database_now(conn), service.data_of(conn, found)
            draft = StoredDraft(0, found.id, visitor.who, found.version, 1, 1, now, file, False, False)
        return Bench(f"/campaigns/{quote(found.key)}/build", draft, found, visitor.who)
    draft = None if draft_id is None or not 0 < draft_id < 2**63 else drafts.read(conn, draft_id, visitor.who)
    if draft is None:
        raise NotFoundError("draft", str(draft_id))
    if draft.campaign_id is not None:
        row = campaigns.listing(conn, [draft.campaign_id])
        if not row:
            raise NotFoundError("draft", str(draft_id))
        return bench_of(conn, visitor, key=row[0].key, draft_id=None)
    return Bench(f"/drafts/{draft.id}", draft, None, visitor.who)


# Pages.


@router.get("/campaigns/{key}/build")
def show(request: Request, key: str, site: SiteOf, who: VisitorOf) -> Response:
    with site.engine.connect() as conn:
        return _page(request, conn, site, bench_of(conn, who, key=key, draft_id=None))


@router.get("/drafts/{draft_id}")
def show_draft(request: Request, draft_id: int, site: SiteOf, who: VisitorOf) -> Response:
    with site.engine.connect() as conn:
        bench = bench_of(conn, who, key=None, draft_id=draft_id)
        if bench.found is not None:
            return redirect(request, bench.base)
        return _page(request, conn, site, bench)


@router.post("/campaigns/{key}/build")
def operate(request: Request, key: str, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    return _operate(request, site, who, form, key=key)


@router.post("/drafts/{draft_id}")
def operate_draft(request: Request, draft_id: int, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    return _operate(request, site, who, form, draft_id=draft_id)


@router.get("/campaigns/{key}/build/review")
def review(request: Request, key: str, site: SiteOf, who: VisitorOf) -> Response:
    with site.engine.connect() as conn:
        return _review(request, conn, site, bench_of(conn, who, key=key, draft_id=None))


@router.get("/drafts/{draft_id}/review")
def review_draft(request: Request, draft_id: int, site: SiteOf, who: VisitorOf) -> Response:
    with site.engine.connect() as conn:
        return _review(request, conn, site, bench_of(conn, who, key=None, draft_id=draft_id))


@router.post("/campaigns/{key}/build/review")
def apply(request: Request, key: str, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    return _apply(request, site, who, form, key=key)


@router.post("/drafts/{draft_id}/review")
def apply_draft(request: Request, draft_id: int, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    return _apply(request, site, who, form, draft_id=draft_id)


def _page(
    request: Request,
    conn: Connection,
    site: Site,
    bench: Bench,
    *,
    refused: Mapping[str, Any] | None = None,
) -> Response:
    """Return the builder; with a panel whose text was `refused`, which is kept in it."""
    visitor: Visitor = request.state.visitor
    edits = visitor.may_edit
    asked = {} if refused is not None else dict(request.query_params)
    if not edits:
        asked = {name: text for name, text in asked.items() if name not in ("add", "moving")}
    data = bench.file
    checked = draft_trees.checked(conn, data, site.zone)
    known = _known(conn, bench)
    steps = set(edit.keys(data))
    moving = asked.get("moving") if asked.get("moving") in steps else None
    chosen = asked.get("step") if asked.get("step") in steps else None
    bench = replace(bench, only=_alone(data, asked.get("only") or bench.only, chosen))
    only = bench.only
    by_step: dict[str, list[draft_check.DraftProblem]] = {}
    for each in checked.problems:
        if each.step is not None:
            by_step.setdefault(each.step, []).append(each)
    names = _names(known)
    drawing = Drawing(site.zone, names, by_step, moving)
    panel: dict[str, Any] = {"panel": None}
    if refused is not None:
        panel = dict(refused)
    elif "add" in asked:
        panel = _adding(data, asked)
    elif "settings" in asked:
        panel = _settings(conn, bench, site, known, checked)
    elif "yaml" in asked:
        panel = {"panel": "yaml", "yaml": write(service.without_choices(data)), "yaml_problems": []}
    elif "help" in asked:
        panel = {"panel": "help"}
    elif chosen is not None:
        panel = _step(request, conn, site, bench, chosen, known, checked, drawing, rule_form.field_kinds(conn))
        panel["fields"] = [_with_rule(conn, each, edit.find(data, chosen).step, checked) for each in panel["fields"]]
    wanted = asked.get("q", "").strip()
    nodes = drawing.nodes(data, only=only)
    planned = None if checked.file is None else campaign_plan.plan(conn, checked.file, zone=site.zone)
    shown = [node for root in nodes for node in root.walk()]
    titles = {node.key: node.title for node in shown}
    for key in drawing.steps.keys() - titles.keys():
        titles[key] = draft_trees.title_of(drawing.steps[key], names, drawing.steps)
    called = titles | _before(conn, bench, names, titles)
    values = {
        "bench": bench,
        "edits": edits,
        "shown": shown,
        "most_unmapped": MOST_UNMAPPED,
        "nodes": nodes,
        "only": only,
        "trail": [] if only is None else [each["step"] for each in edit.find(data, only).above],
        "titles": {key: titles[key] for key in drawing.steps},
        "moving": moving,
        "chosen": chosen,
        "count": len(steps),
        "checked": checked,
        "wanted": wanted,
        "matches": _matches(drawing, data, wanted) if wanted else [],
        "effects": [] if planned is None else _effects(planned, bench, called),
        "choices": [] if planned is None else list(choices_of(planned, called)),
        "made": service.choices(data),
        "planned": planned,
        "others": [] if bench.found is None else drafts.others(conn, bench.found.id, bench.who),
        "stale": bench.found is not None and bench.draft.base_version != bench.found.version,
        "focus": "panel-title" if refused is not None else "moving-title" if moving else _focus(asked, chosen),
        "anew": _anew(asked),
        "words": labels,
        "start": drawing.spot(StepPlace(None, edit.ROOT, 0), around=len(nodes) == 1, others=len(nodes)),
        "end": drawing.spot(StepPlace(None, edit.ROOT, len(nodes))),
        **panel,
    }
    return render(request, "build/page.html", 200 if refused is None else 422, **values)


def _alone(data: Mapping[str, Any], only: str | None, chosen: str | None) -> str | None:
    """Return the step whose branch is looked at alone: none when what is chosen stands elsewhere."""
    try:
        branch = edit.keys({edit.ROOT: [edit.find(data, only).step]}) if only else []
    except EditError:
        return None
    return only if branch and (chosen is None or chosen in branch) else None


def _focus(asked: Mapping[str, str], chosen: str | None) -> str:
    """Return the id of what should have the focus."""
    wanted = asked.get("focus", "")
    if wanted == "card" and chosen is not None:
        return f"card-{chosen}"
    if wanted not in ("", "card", "panel"):
        return wanted if wanted != SAME and _ID.fullmatch(wanted) else ""
    return "panel-title" if {"add", "settings", "yaml", "help", "step"} & set(asked) else ""


def _anew(asked: Mapping[str, str]) -> str:
    """Return what tells a panel from one that had other fields; the script keeps one of the same as it is."""
    text = asked.get("anew", "")
    return text if text.isascii() and text.isdigit() and len(text) < 7 else ""


def _with_rule(
    conn: Connection, widget: PanelWidget, step: Mapping[str, Any], checked: draft_check.CheckedDraft
) -> PanelWidget:
    """Return a field with what the rule editor shows in it, if it is a rule."""
    if widget.kind != "rule":
        return widget
    given = step.get("with")
    data = given.get(widget.name) if isinstance(given, Mapping) else None
    problems = draft_rules.problems(checked.at(step["step"]), f"with.{widget.name}")
    return replace(widget, rule=draft_rules.view(conn, data, problems, widget.id))


def _matches(drawing: Drawing, data: Mapping[str, Any], wanted: str) -> list[draft_trees.DraftNode]:
    text = wanted.casefold()
    every = [node for root in drawing.nodes(data) for node in root.walk()]
    found = [each for each in every if text in f"{each.title} {each.words} {each.key} {each.type}".casefold()]
    return found[:MOST_FOUND]


def _known(conn: Connection, bench: Bench) -> dict[RefersTo, list[PanelChoice]]:
    """Return what steps may refer to, by its names."""
    made: dict[RefersTo, list[PanelChoice]] = {
        RefersTo.SEGMENT: [PanelChoice(each.key, each.name) for each in segments.listed(conn, most=1)],
        RefersTo.FORM: [PanelChoice(each.key, each.name) for each in forms.listed(conn)],
        RefersTo.EMAIL: [PanelChoice(*each) for each in emails.titles(conn).items()],
        RefersTo.STAGE: [PanelChoice(each.key, each.name) for each in stages.listed(conn)],
        RefersTo.POINT_GROUP: [PanelChoice(each.key, each.name) for each in scores.groups(conn)],
        RefersTo.CAMPAIGN: [PanelChoice(row.key, row.name) for row in campaigns.listing(conn)],
    }
    by_kind = {"sms": RefersTo.SMS, "push": RefersTo.PUSH, "message": RefersTo.MESSAGE}
    for template in templates.listed(conn):
        made.setdefault(by_kind[template.kind], []).append(PanelChoice(template.key, template.name))
    steps = {each.step["step"]: each.step for each in edit.walk(bench.file)}
    names = _names(made)
    made[RefersTo.STEP] = [PanelChoice(key, draft_trees.title_of(step, names, steps)) for key, step in steps.items()]
    return {what: choices[:MOST_CHOICES] for what, choices in made.items()}


def _names(known: Mapping[RefersTo, list[PanelChoice]]) -> dict[RefersTo, dict[str, str]]:
    return {what: {each.value: each.label for each in choices} for what, choices in known.items()}


def _before(
    conn: Connection, bench: Bench, names: Mapping[RefersTo, Mapping[str, str]], titles: Mapping[str, str]
) -> dict[str, str]:
    """Return what steps of the campaign are called that the draft has no more, by key."""
    if bench.found is None or not bench.draft.id:
        return {}
    steps = {each.step["step"]: each.step for each in edit.walk(service.data_of(conn, bench.found))}
    return {key: draft_trees.title_of(step, names, steps) for key, step in steps.items() if key not in titles}


def _effects(planned: CampaignPlan, bench: Bench, titles: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what applying would do, in sentences; where contacts wait at a removed step, with where they may go."""
    lines: list[dict[str, Any]] = []
    for key, waiting in planned.removed.items():
        if waiting:
            to = planned.redirected.get(key, "")
            text = _n("{n} contact waits at {key}, which is removed.", "{n} contacts wait at {key}, which is removed.",
                      waiting, key=quoted(titles, key))  # fmt: skip
            if key in planned.becomes:
                text = removed_step(planned, key, titles)[1]
            lines.append({"kind": "removed", "text": text, "redirect": key, "to": to})
    said = {each["text"] for each in lines} | {removed_step(planned, each["redirect"], titles)[1] for each in lines}
    for kind, line in plan_lines(planned, titles=titles):
        if line not in said:
            lines.append({"kind": kind, "text": line, "redirect": None, "to": ""})
    return lines


def _adding(data: Mapping[str, Any], asked: Mapping[str, str]) -> dict[str, Any]:
    place, around = _place(asked)
    try:
        offers = edit.allowed(data, place, around=around)
    except EditError as error:
        return {"panel": "problem", "problem": str(error)}
    groups = []
    for kind, label in (
        (Kind.ACTION, _("Actions")),
        (Kind.DECISION, _("Decisions")),
        (Kind.CONDITION, _("Conditions")),
    ):
        of_kind = [
            (each, step_words.type_name(kind.value, each.type.name), _first(each.type))
            for each in offers
            if each.type.kind is kind
        ]
        groups.append((kind.value, label, sorted(of_kind, key=_often_used)))
    return {"panel": "add", "groups": groups, "place": place, "around": around, "paste": True}


def _often_used(offered: tuple[edit.Offer, str, str]) -> tuple[bool, int, str]:
    """Return where an offer stands: those that fit first, and among them what most campaigns use."""
    offer, name, _about = offered
    rank = OFTEN_USED.index(offer.type.name) if offer.type.name in OFTEN_USED else len(OFTEN_USED)
    return offer.why_not is not None, rank, name


def _first(found: StepType) -> str:
    return told(found.description.split("\n\n")[0].replace("\n", " "))


def _place(given: Mapping[str, str]) -> tuple[StepPlace, bool]:
    parent = given.get("parent") or None
    nth = given.get("nth", "0")
    branch = given.get("branch", "") if parent is not None else edit.ROOT
    number = int(nth) if nth.isascii() and nth.isdigit() and len(nth) < 6 else 0
    return StepPlace(parent, branch, number), given.get("around") == "1"


def _step(
    request: Request,
    conn: Connection,
    site: Site,
    bench: Bench,
    key: str,
    known: dict[RefersTo, list[PanelChoice]],
    checked: draft_check.CheckedDraft,
    drawing: Drawing,
    kinds: Mapping[str, str],
) -> dict[str, Any]:
    found = edit.find(bench.file, key)
    step, problems = found.step, checked.at(key)
    kind = edit.kind_of(step) or Kind.ACTION
    given = step.get("with") if isinstance(step.get("with"), dict) else {}
    try:
        type_ = step_type(kind, str(step.get(kind.value)))
        fields = panels.widgets(type_, given or {}, known, problems, kinds)
    except CampaignError:
        type_, fields = None, []
    new = {RefersTo.EMAIL: ("emails", _("New email")), RefersTo.SEGMENT: ("segments", _("New segment")),
           RefersTo.FORM: ("forms", _("New form"))}  # fmt: skip
    for n, each in enumerate(fields):
        made = new.get(type_.refers_to[each.name]) if type_ is not None and each.name in type_.refers_to else None
        if made is not None and each.kind in ("pick", "picks"):
            fields[n] = replace(each, new=made[1], new_url=bench.new(made[0], f"with.{each.name}", key))
    shown = {each.name for each in fields if each.errors}
    sample = samples.sample_of(conn, samples.wanted_by(request), site.zone, bench.draft.campaign_id)
    date = step["at"] if isinstance(step.get("at"), Mapping) else {}
    return {
        "panel": "step",
        "step": {**dict.fromkeys(STEP_NAMES), **step},
        "key": key,
        "kind": kind.value,
        "type_name": step_words.type_name(kind.value, str(step.get(kind.value) or "")),
        "about": "" if type_ is None else _first(type_),
        **_for_sample(bench, step, kind, given or {}, fields, sample, site, database_now(conn)),
        "raw": None if type_ is not None else write(given or {}),
        "loose": [
            each.sentence
            for each in problems
            if not (each.field.startswith("with.") and each.field.split(".")[1] in shown)
        ],
        "mode": panels.mode_of(step),
        "after": panels.length_of(step.get("after")),
        "date": {**dict.fromkeys(DATE_NAMES), **date},
        "offset": panels.length_of(date.get("before") or date.get("after")),
        "within": panels.length_of(step.get("within")),
        "look_back": panels.length_of(step.get("look_back")),
        "units": [(unit, _(text)) for unit, text in panels.UNITS],
        "days": [(day, _(text)) for day, text in panels.DAYS],
        "inserts": samples.inserts(conn, bench.file, sample) if any(each.liquid for each in fields) else [],
        "preview": f"{bench.base}/preview",
        "has_below": any(step.get(branch) for branch in BRANCH_ORDER),
        "adds": []
        if type_ is not None and type_.last
        else [
            (branch, bench.url(add=1, parent=key, branch=branch, nth=0, around="1" if step.get(branch) else ""))
            for branch in edit.branches_of(step)
        ],
        "beside": bench.url(
            add=1, parent=found.place.parent or "", branch=found.place.branch, nth=found.place.nth + 1, around=""
        ),
    }


def _for_sample(
    bench: Bench,
    step: Mapping[str, Any],
    kind: Kind,
    given: Mapping[str, Any],
    fields: list[PanelWidget],
    sample: Sample,
    site: Site,
    now: datetime,
) -> dict[str, Any]:
    """Return what a step says and when it is due, in general and for one contact."""
    key = str(step["step"])
    about = StepName(0, key, 0, str(bench.file.get("campaign") or ""), bench.name)
    zone = zone_of(str(bench.file.get("timezone") or ""), site.zone)
    return {
        "fields": samples.filled_in(fields, given, about, str(step.get("name") or key), sample),
        "sample": sample,
        "timing": draft_trees.timing_words(step, zone),
        "due": samples.due_for(step, kind.value, sample, zone, now),
    }


@router.post("/campaigns/{key}/build/preview")
def preview(request: Request, key: str, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    """What a step says and when it is due for a contact, while somebody types; nothing is kept but the contact."""
    return _preview(request, site, who, form, key=key)


@router.post("/drafts/{draft_id}/preview")
def preview_draft(request: Request, draft_id: int, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    return _preview(request, site, who, form, draft_id=draft_id)


def _preview(
    request: Request, site: Site, who: Visitor, form: FormBody, *, key: str | None = None, draft_id: int | None = None
) -> Response:
    with site.engine.connect() as conn:
        bench = bench_of(conn, who, key=key, draft_id=draft_id)
        try:
            step = edit.find(bench.file, form.text("step")).step
        except EditError:
            # It got a name and with that another key meanwhile, or is gone; its new panel says it all.
            return Response(status_code=204)
        kind = edit.kind_of(step) or Kind.ACTION
        before = step.get("with") if isinstance(step.get("with"), dict) else {}
        given: dict[str, Any] = {}
        fields: list[PanelWidget] = []
        with suppress(CampaignError):
            type_ = step_type(kind, str(step.get(kind.value)))
            given = panels.properties_of(type_, before or {}, form)
            fields = panels.widgets(type_, given, {}, ())
        written = {**step, "name": form.text("name").strip() or None, **panels.timing_from(form, kind.value)}
        sample = samples.sample_of(conn, samples.wanted_by(request, form), site.zone, bench.draft.campaign_id)
        values = _for_sample(bench, written, kind, given, fields, sample, site, database_now(conn))
    answer = render(request, "build/live.html", kind=kind.value, **values)
    samples.remember(request, answer, form)
    return answer


def _settings(
    conn: Connection,
    bench: Bench,
    site: Site,
    known: dict[RefersTo, list[PanelChoice]],
    checked: draft_check.CheckedDraft,
) -> dict[str, Any]:
    data = bench.file
    sources = data.get("sources") if isinstance(data.get("sources"), dict) else {}
    assert isinstance(sources, dict)
    lines = segments.listed(conn, most=segments.COUNTED)
    usable = [each for each in lines if each.public and each.published]
    picked = [str(each) for each in sources.get("segments") or ()]
    picked_forms = [str(each) for each in sources.get("forms") or ()]
    campaign_forms = [each for each in forms.listed(conn) if not each.standalone]
    errors: dict[str, list[str]] = {}
    problems = checked.at(None)
    for each in problems:
        # What is wrong with an entry of a list stands there.
        if not _OF_A_ROW.match(each.field):
            errors.setdefault(each.field.split(".")[0] or "campaign", []).append(each.sentence)
    choices: list[rule_form.RuleChoices] = []

    def rule(given: Any, wrong: list[Any], name: str) -> rule_form.RuleView:
        # Asked for once, and only where there is a rule.
        if not choices:
            choices.append(draft_rules.choices_of(conn))
        return draft_rules.view(conn, given, wrong, name, choices[0])

    lists = {"events": sources.get("events"), "dates": sources.get("dates"), "exit": data.get("exit")}
    catch_up = data.get("catch_up", "run")
    goal = data.get("goal")
    entry = data["entry"] if isinstance(data.get("entry"), Mapping) else {}
    goal_kind = setting_rows.goal_kind(goal)
    return {
        "panel": "settings",
        "settings": {name: str(data.get(name) or "") for name in (*SETTINGS, "campaign", "note")},
        "moments": {name: str(data.get(name) or "")[:16] for name in ("publish_from", "publish_until")},
        "segments": usable,
        "picked": picked,
        "lost": [key for key in picked if key not in {each.key for each in usable}],
        "forms": campaign_forms,
        "picked_forms": picked_forms,
        "lost_forms": [key for key in picked_forms if key not in {each.key for each in campaign_forms}],
        "existing": sources.get("existing", True) is not False,
        "goal": None if goal is None else setting_rows.row("goal", 0, goal_kind, goal, "goal", problems, rule),
        "goal_kind": goal_kind,
        "rows": {name: setting_rows.rows(name, each, problems, rule) for name, each in lists.items()},
        "entry": entry,
        "entry_fits": data.get("entry") is None or (bool(entry) and set(entry) <= {"most", "rate"}),
        "entry_errors": {name: [each.sentence for each in problems if each.field == f"entry.{name}"] for name in ENTRY},
        "lengths": {name: panels.length_of(data.get(name)) for name in LENGTHS},
        "rate": panels.rate_of(data.get("rate")),
        "entry_rate": panels.rate_of(entry.get("rate")),
        "units": [(unit, _(text)) for unit, text in panels.UNITS],
        "periods": [(unit, _(text)) for unit, text in panels.PERIODS],
        "all_segments": known[RefersTo.SEGMENT],
        "operators": [(each, _(text)) for each, text in rule_form.OPERATOR_LABELS.items()],
        "event_types": sorted(EVENT_TYPES),
        "fields": sorted({*ATTRIBUTES, *contacts.field_names(conn)}),
        "many": len(usable) > MANY,
        "many_forms": len(campaign_forms) > MANY,
        "control": "" if data.get("control") is None else str(data["control"]),
        "exit_on_leave": data.get("exit_on_leave", True) is not False,
        "catch_up_now": "skip" if isinstance(catch_up, dict) else str(catch_up),
        "catch_up_skip": panels.length_of(catch_up.get("skip") if isinstance(catch_up, dict) else None),
        "written": {
            "entry": write(data["entry"]).strip() if data.get("entry") else "",
            **{name: write(each).strip() if each else "" for name, each in lists.items()},
        },
        "errors": errors,
        "counted": segments.COUNTED,
        "categories": campaigns.categories(conn),
        "timezones": sorted(available_timezones()),
        "reentry": [(key, _(text)) for key, text in REENTRY],
        "catch_up": [(key, _(text)) for key, text in CATCH_UP],
        "priority": [(key, _(text)) for key, text in PRIORITY],
    }


# Operations.


def _operate(
    request: Request,
    site: Site,
    who: Visitor,
    form: FormBody,
    *,
    key: str | None = None,
    draft_id: int | None = None,
) -> Response:
    does = form.text("do")
    with site.engine.begin() as conn:
        bench = replace(bench_of(conn, who, key=key, draft_id=draft_id), only=form.text("only") or None)
        now = database_now(conn)
        if does == "discard":
            drafts.delete(conn, bench.draft.id, who.who)
            return redirect(request, "/drafts", flash=_("The draft was deleted."))
        if bench.draft.id == 0 and bench.found is not None:
            made = service.begin(conn, bench.found, who.who, now=now)
            bench = replace(bench, draft=made)
        seen = form.text("revision")
        revision = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 10 else 0
        here = form.text("step") or None
        try:
            if does == "undo":
                _draft, said = service.step_back(conn, bench.draft, revision, now=now)
                return _back(request, bench, here, _("Undone: {what}", what=said))
            if does == "redo":
                _draft, said = service.step_forward(conn, bench.draft, revision, now=now)
                return _back(request, bench, here, _("Done again: {what}", what=said))
            if does == "rebase" and bench.found is not None:
                drafts.rebase(conn, bench.draft, bench.found.version, now=now)
                return redirect(request, f"{bench.base}/review")
            work = _Work(conn, bench, form)
            change = work.change(does)
            changed = service.change(conn, bench.draft, revision, change, said=work.said, now=now)
        except (EditError, OvertakenError) as error:
            if does == "yaml":
                # What somebody wrote stays where it is, with what is wrong.
                refused = {"panel": "yaml", "yaml": form.text("text"), "yaml_problems": [str(error)]}
                again = bench_of(conn, who, key=key, draft_id=draft_id)
                return _page(request, conn, site, again, refused=refused)
            return redirect(request, bench.url(step=here, focus="card"), flash=sentence(str(error)), kind="error")
        if work.address is not None:
            return redirect(request, work.address, flash=work.said, kind="said")
    said = f"{work.said}. {_where(changed.file, work)}" if does in ("move", "up", "down") else work.said
    answer = _back(request, bench, work.shows, said, focus=work.focus, anew=work.anew)
    samples.remember(request, answer, form)
    return answer


def _where(data: Mapping[str, Any], work: _Work) -> str:
    """Return where a step stands now, for whoever does not see it."""
    found = edit.find(data, work.key)
    if not found.above:
        return _("It is now at the beginning.")
    name = work.title(found.above[-1]["step"])
    if found.place.branch == "yes":
        return _("It is now below “{name}”, if yes.", name=name)
    if found.place.branch == "no":
        return _("It is now below “{name}”, if no.", name=name)
    return _("It is now below “{name}”.", name=name)


def _back(
    request: Request, bench: Bench, step: str | None, said: str, focus: str = "card", anew: str | None = None
) -> Response:
    return redirect(request, bench.url(step=step, focus=focus, anew=anew), flash=said, kind="said")


@router.post("/campaigns/{key}/build/count")
def count(request: Request, key: str, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    """How many contacts match a rule of the form, now."""
    with site.engine.connect() as conn:
        bench_of(conn, who, key=key, draft_id=None)
        return draft_rules.count(request, conn, site, form)


@router.post("/drafts/{draft_id}/count")
def count_draft(request: Request, draft_id: int, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    with site.engine.connect() as conn:
        bench_of(conn, who, key=None, draft_id=draft_id)
        return draft_rules.count(request, conn, site, form)


class _Work:
    """One operation that a form asks for: what it does to the file, what it is called, and what to show then."""

    def __init__(self, conn: Connection, bench: Bench, form: FormBody) -> None:
        self.conn = conn
        self.bench = bench
        self.form = form
        self.key = form.text("step")
        self.said = ""
        self.shows: str | None = self.key or None
        self.focus = "card"
        self.address: str | None = None
        self.anew: str | None = _anew({"anew": form.text("anew")}) or None

    def draw_anew(self) -> None:
        """Have the panel drawn anew, because its fields are others than before."""
        self.anew = str((int(self.anew or "0") + 1) % 1_000_000)

    def change(self, does: str) -> service.Change:
        """Return the change. Raises EditError for an operation that there is none of."""
        known: dict[str, Callable[[], service.Change]] = {
            "insert": self.insert,
            "set": self.set,
            "settings": self.settings,
            "remove": lambda: self.remove(lift=False),
            "lift": lambda: self.remove(lift=True),
            "move": self.move,
            "copy": self.copy,
            "up": lambda: self.shift(up=True),
            "down": lambda: self.shift(up=False),
            "rename": self.rename,
            "yaml": self.yaml,
            "redirect": self.redirect,
            "choose": self.choose,
        }
        if does not in known:
            raise EditError("the page asked for something that there is not; reload it")
        return known[does]()

    def title(self, key: str) -> str:
        """Return what a step is called."""
        steps = {each.step["step"]: each.step for each in edit.walk(self.bench.file)}
        if key not in steps:
            return key
        return self.title_now(steps[key], steps)

    def title_now(self, step: Mapping[str, Any], steps: Mapping[str, Mapping[str, Any]]) -> str:
        """Return what a step is called as it is given, by the names of what it refers to."""
        names = names_of(self.conn, draft_trees.references(step))
        return draft_trees.title_of(step, names, steps)

    def insert(self) -> service.Change:
        kind, _sign, name = self.form.text("type").partition(" ")
        place, around = _place(_texts(self.form))
        try:
            found = step_type(Kind(kind), name)
        except (CampaignError, ValueError):
            raise EditError("there is no such type of step; reload the page") from None
        offer = next((each for each in edit.allowed(self.bench.file, place, around=around, types=[found])), None)
        if offer is not None and offer.why_not is not None:
            raise EditError(offer.why_not)
        key = edit.fresh_key(found.name.replace(".", "-"), edit.keys(self.bench.file))
        step: dict[str, Any] = {"step": key, kind: found.name}
        if kind == "decision":
            # Without a deadline, nobody could go on when nothing happens.
            step["within"] = "3 days"
        self.said = _("Added: {what}", what=step_words.type_name(kind, found.name))
        self.shows, self.focus = key, "panel"
        return lambda data: edit.insert(data, place, step, around=around)

    def set(self) -> service.Change:
        key, form = self.key, self.form
        step = edit.find(self.bench.file, key).step
        kind = edit.kind_of(step) or Kind.ACTION
        given = step.get("with") if isinstance(step.get("with"), dict) else {}
        values: dict[str, Any] = {"name": form.text("name").strip() or None, **panels.timing_from(form, kind.value)}
        if "note" in form:
            values["note"] = _note(form)
        focus = SAME
        try:
            found = step_type(kind, str(step[kind.value]))
            values["with"] = panels.properties_of(found, given or {}, form) or None
            pressed = draft_rules.pressed(form)
            kinds = rule_form.field_kinds(self.conn) if found.rule_of or "operator" in (given or {}) else {}
            now = panels.shape(found, values["with"] or {}, kinds)
            if pressed is not None or panels.shape(found, given or {}, kinds) != now:
                self.draw_anew()
            focus = pressed or SAME
        except CampaignError:
            values["with"] = value_of(form.text("raw")) if form.text("raw").strip() else None
        if kind is Kind.ACTION:
            values["on_failure"] = "continue" if form.text("on_failure") == "continue" else None
        fresh = key
        name = values["name"]
        if name and not step.get("name") and not self.is_live(key) and slug(str(name)):
            # A name says more than a type; nobody waits at the key yet.
            others = [each for each in edit.keys(self.bench.file) if each != key]
            fresh = edit.fresh_key(slug(str(name)), others)
        steps = {each.step["step"]: each.step for each in edit.walk(self.bench.file)}
        self.said = _("Changed: {what}", what=self.title_now({**step, **values}, steps))
        self.shows, self.focus = fresh, focus
        return lambda data: edit.rename(edit.change(data, key, values), key, fresh)

    def is_live(self, key: str) -> bool:
        return key in self.live()

    def live(self) -> list[str]:
        """Return the keys of the campaign as it runs, at which contacts may wait."""
        found = self.bench.found
        return [] if found is None else edit.keys(service.data_of(self.conn, found))

    def remove(self, *, lift: bool) -> service.Change:
        found = edit.find(self.bench.file, self.key)
        self.said = _("Deleted: {what}", what=self.title(self.key))
        self.shows = found.place.parent
        return lambda data: edit.remove(data, self.key, lift=lift)

    def move(self) -> service.Change:
        place, around = _place(_texts(self.form))
        self.may_stand(place, around=around)
        self.said = _("Moved: {what}", what=self.title(self.key))
        return lambda data: edit.move(data, self.key, place, around=around)

    def copy(self) -> service.Change:
        around = False
        if self.form.text("branch"):
            place, around = _place(_texts(self.form))
            self.may_stand(place, around=around)
        else:
            own = edit.find(self.bench.file, self.key).place
            place = own._replace(nth=own.nth + 1)
        changed, self.shows = edit.copy(self.bench.file, self.key, place, around=around)
        self.said = _("Copied: {what}", what=self.title(self.key))
        return lambda data: changed

    def may_stand(self, place: StepPlace, *, around: bool) -> None:
        """Raise EditError where a step of this type may not stand."""
        step = edit.find(self.bench.file, self.key).step
        kind = edit.kind_of(step)
        try:
            types = [] if kind is None else [step_type(kind, str(step[kind.value]))]
        except CampaignError:
            return
        for offer in edit.allowed(self.bench.file, place, around=around, types=types):
            if offer.why_not is not None:
                raise EditError(offer.why_not)

    def shift(self, *, up: bool) -> service.Change:
        what = self.title(self.key)
        self.said = _("Moved up: {what}", what=what) if up else _("Moved down: {what}", what=what)
        return lambda data: edit.shifted(data, self.key, up=up)

    def rename(self) -> service.Change:
        to = self.form.text("key").strip()
        self.said = _("Key changed: {key}", key=to)
        self.shows, self.focus = to, "panel"
        live = self.live()
        return lambda data: edit.rename(data, self.key, to, live=live)

    def settings(self) -> service.Change:
        form = self.form
        before = self.bench.file
        values: dict[str, Any] = {name: form.text(name).strip() or None for name in SETTINGS}
        values |= {name: panels.written_length(form, name) for name in LENGTHS}
        values["rate"] = panels.written_rate(form, "rate")
        values["reentry"] = None if values["reentry"] == "never" else values["reentry"]
        values["priority"] = None if values["priority"] == "normal" else values["priority"]
        values["exit_on_leave"] = None if "exit_on_leave" in form else False
        catch_up = form.text("catch_up")
        values["catch_up"] = {"skip": panels.written_length(form, "catch_up_skip")} if catch_up == "skip" else None
        if catch_up == "shift":
            values["catch_up"] = "shift"
        for name in ("publish_from", "publish_until"):
            was = str(before.get(name) or "")
            text = form.text(name).strip()
            # A date that is shown as it is keeps its seconds and offset.
            values[name] = was if was and text == was[:16] else text or None
        if "note" in form:
            values["note"] = _note(form)
        values["goal"] = setting_rows.goal(form, before.get("goal"))
        if "control" in form:
            values["control"] = value_of(form.text("control").strip()) if form.text("control").strip() else None
        values["exit"] = setting_rows.read(form, "exit", before.get("exit"))
        values["entry"] = self.entry()
        given = before["sources"] if isinstance(before.get("sources"), dict) else {}
        sources: dict[str, Any] = {
            "segments": self.picked("segments", lambda: [(row.key, row.name) for row in segments.listed(self.conn)]),
            "forms": self.picked("forms", lambda: [(row.key, row.name) for row in forms.listed(self.conn)]),
            **{name: setting_rows.read(form, name, given.get(name)) for name in ("events", "dates")},
        }
        values["sources"] = {name: value for name, value in sources.items() if value}
        if "existing" not in form:
            values["sources"]["existing"] = False
        if self.bench.found is None and form.text("campaign").strip():
            values["campaign"] = form.text("campaign").strip()
        self.said = _("Settings changed.")
        after = edit.change(before, None, values)
        focus = draft_rules.pressed(form)
        if focus is None:
            focus = setting_rows.pressed(form, after)
        more = any(form.text(f"{name}-more").strip() for name in ("segments", "forms"))
        if focus is not None or more or self.settings_shape(before) != self.settings_shape(after):
            self.draw_anew()
        self.address = self.bench.url(settings=1, focus=focus or SAME, anew=self.anew)
        return lambda data: edit.change(data, None, values)

    def settings_shape(self, data: Mapping[str, Any]) -> object:
        return setting_rows.shape(
            data, rule_form.field_kinds(self.conn) if "rule" in str(data.get("exit")) + str(data.get("goal")) else {}
        )

    def picked(self, name: str, known: Callable[[], list[tuple[str, str]]]) -> list[str]:
        """Return the keys that are ticked, and the one that was searched for, by its key or its name."""
        found, more = self.form.all(name), self.form.text(f"{name}-more").strip()
        if more:
            named = [key for key, called in known() if more.casefold() in (key.casefold(), called.casefold())]
            found = [*found, more if more in named or not named else named[0]]
        return list(dict.fromkeys(found))

    def entry(self) -> Any:
        """Return the limits of entry; what the form says nothing of stays."""
        form, before = self.form, self.bench.file.get("entry")
        if "entry" in form:
            return value_of(form.text("entry")) if form.text("entry").strip() else None
        if "entry_most" not in form:
            return before
        most = form.text("entry_most").strip()
        made: dict[str, Any] = {
            "most": int(most) if most.isascii() and most.isdigit() and len(most) < 19 else most or None
        }
        made["rate"] = panels.written_rate(form, "entry_rate")
        return {name: value for name, value in made.items() if value is not None}

    def yaml(self) -> service.Change:
        # Only a whole that can be drawn is kept: one entry to undo for each.
        text = self.form.text("text").replace("\r\n", "\n")
        try:
            data = edit.normalised(with_notes(_YAML, text))
        except CampaignFileError as error:
            first = error.problems[0]
            line = _("Line {n}", n=first.line) if first.line else ""
            raise EditError(f"{line}: {told(first.sentence)}" if line else told(first.sentence)) from None
        if self.bench.found is not None or not data.get("campaign"):
            data["campaign"] = self.bench.file.get("campaign")
        data.pop("published", None)
        if data.get("format") in range(1, FORMAT + 1):
            # Made again from what is used when it is applied.
            del data["format"]
        data = service.with_choices(data, service.choices(self.bench.file))
        data[edit.ROOT] = data.pop(edit.ROOT)
        self.said = _("YAML accepted.")
        self.address = self.bench.url(yaml=1)
        return lambda _before: data

    def choose(self) -> service.Change:
        """Keep what is chosen for contacts inside until the draft is applied."""
        name = self.form.text("choice")
        if name not in service.CHOICES:
            raise EditError("the page asked for something that there is not; reload it")
        made = {**service.choices(self.bench.file), name: name in self.form}
        self.said = _("Changed what happens to active contacts.")
        return lambda data: service.with_choices(data, made)

    def redirect(self) -> service.Change:
        removed, to = self.form.text("from"), self.form.text("to")
        known = dict(self.bench.file.get("redirect") or {})
        known.pop(removed, None)
        if to:
            known[removed] = to
        self.said = _("Changed where contacts of a removed step go.")
        if self.form.text("back") == "review":
            self.address = f"{self.bench.base}/review"
        return lambda data: edit.change(data, None, {"redirect": known or None})


def _note(form: FormBody) -> str | None:
    return form.text("note").replace("\r\n", "\n").strip() or None


def _texts(form: FormBody) -> dict[str, str]:
    return {name: form.text(name) for name in ("parent", "branch", "nth", "around")}


# Applying.


def _review(
    request: Request, conn: Connection, site: Site, bench: Bench, *, changed: bool = False, status: int = 200
) -> Response:
    checked = draft_trees.checked(conn, bench.file, site.zone)
    names = _names(_known(conn, bench))
    steps = {each.step["step"]: each.step for each in edit.walk(bench.file)}
    titles = {key: draft_trees.title_of(step, names, steps) for key, step in steps.items()}
    values: dict[str, Any] = {"bench": bench, "checked": checked, "changed": changed, "titles": titles, "words": labels}
    if bench.found is not None and bench.draft.base_version != bench.found.version:
        return render(
            request, "build/stale.html", 409 if changed else status, **values, **_meanwhile(conn, site, bench)
        )
    if _is_taken(conn, bench):
        values["taken"] = str(bench.file.get("campaign"))
        return render(
            request, "build/review.html", 409, **values, planned=None, lines=[], choices=[], moves=[], seen=""
        )
    if checked.file is None:
        return render(
            request, "build/review.html", status, **values, planned=None, lines=[], choices=[], moves=[], seen=""
        )
    planned = campaign_plan.plan(conn, checked.file, zone=site.zone)
    rows = [] if bench.found is None else campaigns.listing(conn, [bench.found.id])
    called = titles | _before(conn, bench, names, titles)
    return render(
        request,
        "build/review.html",
        status,
        **values,
        planned=planned,
        lines=list(plan_lines(planned, comes_back=bench.found is None, titles=called)),
        choices=list(choices_of(planned, called)),
        made=service.choices(bench.file),
        moves=[each for each in _effects(planned, bench, called) if each["redirect"]],
        seen=planned.digest,
        published=bool(rows and rows[0].published),
    )


_NO_PLAN: dict[str, Any] = {"planned": None, "lines": [], "choices": [], "moves": [], "seen": ""}


def _is_taken(conn: Connection, bench: Bench) -> bool:
    """Return whether the key of a new campaign is another one's."""
    if bench.found is not None:
        return False
    key = str(bench.file.get("campaign") or "")
    there = campaigns.stored(conn, key) if key else None
    return there is not None and there.version > 0 and not there.deleted and there.key == key


def _meanwhile(conn: Connection, site: Site, bench: Bench) -> dict[str, Any]:
    """Return what others changed since the draft was begun, and what the draft changes, as differences of trees."""
    assert bench.found is not None
    found = bench.found
    present = service.data_of(conn, found)
    base = service.data_of(conn, found._replace(version=max(1, bench.draft.base_version)))
    theirs = draft_trees.difference(base, present)
    mine = draft_trees.difference(present, bench.file)
    names = _names(_known(conn, bench))
    last = next(iter(campaigns.activity(conn, found.id, limit=1)), None)
    return {
        "theirs": theirs,
        "their_nodes": Drawing(site.zone, names, marks=theirs.marks).nodes(present),
        "mine": mine,
        "my_nodes": Drawing(site.zone, names, marks=mine.marks).nodes(bench.file),
        "last": last,
    }


def _apply(
    request: Request,
    site: Site,
    who: Visitor,
    form: FormBody,
    *,
    key: str | None = None,
    draft_id: int | None = None,
) -> Response:
    """Do what the review said, if it still says so."""
    with site.engine.connect() as conn, conn.begin() as transaction:
        bench = bench_of(conn, who, key=key, draft_id=draft_id)
        now = database_now(conn)
        checked = draft_trees.checked(conn, bench.file, site.zone)
        if checked.file is None:
            transaction.rollback()
            return _review(request, conn, site, bench, changed=True, status=409)
        campaign_changes.hold(conn, checked.file.campaign, now=now)
        bench = bench_of(conn, who, key=key, draft_id=draft_id)
        stale = bench.found is not None and bench.draft.base_version != bench.found.version
        planned = campaign_plan.plan(conn, checked.file, zone=site.zone)
        if stale or _is_taken(conn, bench) or form.text("seen") != planned.digest:
            transaction.rollback()
            with site.engine.connect() as again:
                return _review(request, again, site, bench_of(again, who, key=key, draft_id=draft_id), changed=True)
        if "published" in form:
            planned = campaign_plan.plan(conn, _switched_on(checked.file), zone=site.zone)
        campaign_id = apply_campaign.apply(
            conn,
            planned,
            backfill="backfill" in form,
            reschedule="reschedule" in form,
            who=who.who,
            now=now,
            zone=site.zone,
        )
        drafts.delete(conn, bench.draft.id, who.who)
        if campaigns.listing(conn, [campaign_id])[0].published:
            # Who is in its segments already comes in; nobody has to run a command for that.
            sweeps.ask(conn, "update", Scope(campaign_ids=(campaign_id,)), at=now)
    name = checked.file.name
    said = _("“{name}” was created.", name=name) if bench.found is None else _("“{name}” was changed.", name=name)
    return redirect(request, f"/campaigns/{quote(checked.file.campaign)}", flash=said)


def _switched_on(file: CampaignFile) -> CampaignFile:
    return campaign_changes.with_published(file, True)
