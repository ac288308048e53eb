"""Making a campaign and changing one: settings in fields, steps as YAML, the plan before it is applied."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns, forms, segments
from parcours.db.tables.campaigns import Found
from parcours.domain.campaign_file.build import to_data
from parcours.domain.campaign_file.model import CampaignFile, SkipFile
from parcours.domain.contacts import identity
from parcours.domain.keys import slug
from parcours.domain.steps.registry import all_types
from parcours.domain.steps.types import StepType
from parcours.domain.time.zones import zone_of
from parcours.producers.files.campaigns import CampaignFileError, read_text, value_of, write
from parcours.services import apply_campaign, campaign_changes, campaign_plan
from parcours.services.campaign_changes import Stamp, definition_of
from parcours.services.campaign_plan import CampaignPlan
from parcours.web.context import Site, site_of
from parcours.web.i18n.labels import enters_by
from parcours.web.i18n.language import _, _n, marked
from parcours.web.i18n.sentences import told
from parcours.web.pages import FOR_EDITORS, FormOf, SiteOf, VisitorOf, pages_router
from parcours.web.pages.plan_words import (
    NO_NAMES,
    NO_TITLES,
    Titles,
    added_step,
    asked_again,
    effect_line,
    moved_step,
    note,
    removed_step,
    setting_lines,
    step_change,
)
from parcours.web.pages.rendering import redirect, render
from parcours.web.pages.step_titles import Names, quoted
from parcours.web.security.access import FormBody

router = pages_router()

REENTRY = (
    ("never", marked("Never")),
    ("after_exit", marked("After leaving")),
    ("always", marked("Always, even while active")),
)
CATCH_UP = (
    ("run", marked("Run immediately")),
    ("skip", marked("Skip steps that are too old")),
    ("shift", marked("Extend all waits by the length of the pause")),
)
PRIORITY = (
    ("high", marked("High")),
    ("normal", marked("Normal")),
    ("low", marked("Low")),
)
# Where an error of a part of the file is shown.
FIELD_OF = {"campaign": "key", "sources": "sources"}
NEW_STEPS = """\
- step: hello
  action: email.send
  with: {email: welcome}
"""
_LINES_AROUND = 3


class StepProblem(NamedTuple):
    """What is wrong in the text of the steps; lines count from 1, and 0 is all of it."""

    line: int
    place: str
    sentence: str


@dataclass(frozen=True)
class Draft:
    """What stands in the form, as text, right or wrong."""

    name: str = ""
    key: str = ""
    description: str = ""
    category: str = ""
    published: bool = False
    publish_from: str = ""
    publish_until: str = ""
    timezone: str = ""
    reentry: str = "never"
    cooldown: str = ""
    exit_on_leave: bool = True
    grace: str = ""
    catch_up: str = "run"
    catch_up_skip: str = ""
    priority: str = "normal"
    rate: str = ""
    segments: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    dates: str = ""
    steps: str = NEW_STEPS
    # Of the campaign that the form was filled with; None for a new one.
    stamp: Stamp | None = None

    @classmethod
    def of_form(cls, form: FormBody, *, key: str | None) -> Draft:
        """Return what somebody posted; without a `key` the campaign is new, and named by the form."""
        texts = {
            name: form.text(name).strip()
            for name in (
                "name", "category", "publish_from", "publish_until", "timezone", "reentry", "cooldown", "grace",
                "catch_up", "catch_up_skip", "priority", "rate",
            )
        }  # fmt: skip
        return cls(
            **texts,
            key=key or form.text("key").strip() or slug(texts["name"]),
            description=_plain_lines(form.text("description")).strip(),
            published="published" in form,
            exit_on_leave="exit_on_leave" in form,
            segments=tuple(dict.fromkeys(form.all("segments"))),
            forms=tuple(dict.fromkeys(form.all("forms"))),
            dates=_plain_lines(form.text("dates")).strip(),
            steps=_plain_lines(form.text("steps")),
            stamp=Stamp.parse(form.text("stamp")),
        )

    @classmethod
    def of_file(cls, file: CampaignFile, stamp: Stamp, zone: ZoneInfo) -> Draft:
        """Return the form of a campaign as it is."""
        skip = file.catch_up if isinstance(file.catch_up, SkipFile) else None
        return cls(
            name=file.name,
            key=file.campaign,
            description=file.description or "",
            category=file.category or "",
            published=stamp.published,
            publish_from=_local(file.publish_from, file, zone),
            publish_until=_local(file.publish_until, file, zone),
            timezone=file.timezone or "",
            reentry=file.reentry,
            cooldown=file.cooldown or "",
            exit_on_leave=file.exit_on_leave,
            grace=file.grace or "",
            catch_up="skip" if skip else str(file.catch_up),
            catch_up_skip=skip.skip if skip else "",
            priority=file.priority,
            rate=file.rate or "",
            segments=file.sources.segments,
            forms=file.sources.forms,
            dates=write(to_data(file)["sources"]["dates"]).strip() if file.sources.dates else "",
            steps=write(to_data(file)["steps"]),
            stamp=stamp,
        )

    def settings(self, base: CampaignFile | None, zone: ZoneInfo) -> dict[str, Any]:
        """Return all but the steps as data of a campaign file.

        A date that is shown as `base` has it is that of `base`, with its seconds and offset.
        """
        data: dict[str, Any] = {
            "campaign": self.key or None,
            "name": self.name or None,
            "description": self.description or None,
            "category": self.category or None,
            "published": self.published,
            "timezone": self.timezone or None,
            "reentry": self.reentry,
            "cooldown": self.cooldown or None,
            "exit_on_leave": self.exit_on_leave,
            "grace": self.grace or None,
            "catch_up": {"skip": self.catch_up_skip or None} if self.catch_up == "skip" else self.catch_up,
            "priority": self.priority or None,
            "rate": self.rate or None,
            "sources": {
                "segments": list(self.segments),
                "forms": list(self.forms),
                "dates": value_of(self.dates) if self.dates else None,
            },
        }
        if base is not None:
            # What the page does not show stays.
            kept_data = to_data(base)
            data |= {name: kept_data[name] for name in ("entry", "exit") if name in kept_data}
            more = kept_data.get("sources", {})
            data["sources"] |= {name: more[name] for name in ("events", "existing") if name in more}
        for name in ("publish_from", "publish_until"):
            text, before = getattr(self, name), getattr(base, name) if base else None
            kept = base is not None and text == _local(before, base, zone) and self.timezone == (base.timezone or "")
            data[name] = before if kept else text or None
        return data


@dataclass
class CheckedForm:
    """A draft's campaign, or what is wrong with it, by field of the form and by line of the steps."""

    file: CampaignFile | None = None
    fields: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    steps: list[StepProblem] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        return self.file is not None and not self.fields and not self.steps


class PlanChoice(NamedTuple):
    """Something of a plan that the one who applies it decides."""

    name: str
    label: str
    help: str


def _local(moment: datetime | None, file: CampaignFile, zone: ZoneInfo) -> str:
    if moment is None:
        return ""
    own = ZoneInfo(file.timezone) if file.timezone else zone
    return moment.astimezone(own).replace(tzinfo=None).isoformat(timespec="minutes")


def _plain_lines(text: str) -> str:
    # Browsers send the line ends of the internet.
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check(conn: Connection, draft: Draft, base: CampaignFile | None, zone: ZoneInfo) -> CheckedForm:
    """Return what a draft says, or everything that is wrong with it: by itself, then with what it names."""
    checked = CheckedForm()
    around = draft.settings(base, zone)
    if not draft.name:
        checked.fields["name"].append(_("enter a name"))
    try:
        checked.file = read_text(draft.steps, name=Path("steps.yaml"), default_zone=zone, around=around)
        also = campaign_plan.check_references(conn, checked.file)
        if also:
            read_text(draft.steps, name=Path("steps.yaml"), default_zone=zone, around=around, also=also)
    except CampaignFileError as error:
        checked.file = None
        for problem in error.problems:
            part = re.split(r"[.\[]", problem.path, maxsplit=1)[0]
            if part in ("steps", ""):
                place = problem.path.removeprefix("steps")
                checked.steps.append(StepProblem(problem.line or 0, place, problem.sentence))
            elif not (part == "name" and not draft.name):
                shown = FIELD_OF.get(part, part)
                checked.fields[shown].append(problem.sentence)
    return checked


# Pages.


@router.get("/campaigns/+new", dependencies=FOR_EDITORS)
def new(request: Request, site: SiteOf) -> Response:
    with site.engine.connect() as conn:
        return _form(request, conn, Draft(), None, CheckedForm())


@router.get("/campaigns/{key}/edit", dependencies=FOR_EDITORS)
def edit(request: Request, key: str, site: SiteOf) -> Response:
    with site.engine.connect() as conn:
        found = campaigns.find(conn, key)
        version = campaigns.read_version(conn, found.key, found.id, found.version)
        draft = Draft.of_file(version.file, campaign_changes.stamp(conn, found), site.zone)
        if version.unreadable is None:
            return _form(request, conn, draft, found, CheckedForm())
        # As it is stored, with what is wrong in it, to be mended here.
        stored = version.data.get("steps") if isinstance(version.data, dict) else None
        if stored:
            draft = replace(draft, steps=write(stored if isinstance(stored, list) else [stored]))
        return _form(request, conn, draft, found, check(conn, draft, version.file, site.zone))


@router.post("/campaigns/+new")
def create(request: Request, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    return _save(request, site, None, form, who.who)


@router.post("/campaigns/{key}/edit")
def change(request: Request, key: str, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    return _save(request, site, key, form, who.who)


@router.post("/campaigns/+new/check")
def check_while_typing(request: Request, site: SiteOf, form: FormOf) -> Response:
    draft = Draft.of_form(form, key=form.text("of") or None)
    with site.engine.connect() as conn:
        checked = check(conn, draft, None, site.zone)
    return render(request, "campaigns/problems.html", checked=checked)


def _save(request: Request, site: Site, key: str | None, form: FormBody, who: str) -> Response:
    """Show the form again with what is wrong, or the plan; or do what the plan said, if it still says so."""
    does = form.text("do")
    with site.engine.connect() as conn:
        found = None if key is None else campaigns.find(conn, key)
        draft = Draft.of_form(form, key=found.key if found else None)
        if does == "edit":
            return _form(request, conn, draft, found, CheckedForm())
        stale = _stale(conn, draft, found, site.zone)
        if stale is not None:
            return _form(request, conn, stale.draft, stale.found, CheckedForm(), stale=stale, status=409)
        checked = check(conn, draft, _base(conn, found, site.zone), site.zone)
        if checked.file is None or not checked.is_right:
            return _form(request, conn, draft, found, checked, status=422)
        planned = campaign_plan.plan(conn, checked.file, zone=site.zone)
        seen = form.text("seen")
        if does != "apply" or seen != planned.digest:
            return _review(request, draft, planned, form, changed=does == "apply")
    with site.engine.connect() as conn, conn.begin() as transaction:
        now = database_now(conn)
        held = campaign_changes.hold(conn, checked.file.campaign, now=now)
        stale = _stale(conn, draft, held, site.zone)
        planned = campaign_plan.plan(conn, checked.file, zone=site.zone, counted=False)
        # One that was deleted meanwhile would come back unasked.
        overtaken = stale is not None or seen != planned.digest or (found is not None and held is None)
        overtaken = overtaken or apply_reviewed(conn, site, planned, form, who, now, form.text("message")) is None
        if overtaken:
            transaction.rollback()
    if overtaken:
        # Somebody was faster by a moment: it shows as to one who comes later.
        return _save(request, site, key, FormBody([*form.pairs(), ("do", "review")]), who)
    name = checked.file.name
    said = (
        _("“{name}” was created.", name=name) if planned.campaign_id is None else _("“{name}” was changed.", name=name)
    )
    return redirect(request, f"/campaigns/{quote(checked.file.campaign)}", flash=said)


def apply_reviewed(
    conn: Connection,
    site: Site,
    planned: CampaignPlan,
    form: FormBody,
    who: str,
    now: datetime,
    message: str | None = None,
) -> int | None:
    """Do what a review said, with what was chosen in it; return the campaign's id.

    None when what it names went away by a moment: the caller rolls back, and shows the review once more.
    """
    try:
        return apply_campaign.apply(
            conn,
            planned,
            backfill="backfill" in form,
            reschedule="reschedule" in form,
            who=who,
            now=now,
            zone=site.zone,
            message=message,
        )
    except apply_campaign.OutdatedPlanError:
        return None


class Stale(NamedTuple):
    """Somebody changed the campaign since the form was filled: what they changed, and the form to go on with."""

    found: Found | None
    draft: Draft
    sentence: str
    difference: list[tuple[str, str]]
    who: str
    at: datetime | None


def _stale(conn: Connection, draft: Draft, found: Found | None, zone: ZoneInfo) -> Stale | None:
    if found is None:
        there = campaigns.stored(conn, draft.key) if draft.key else None
        # One without a version is being made by us in this transaction.
        taken = there is not None and there.version > 0 and not there.deleted and there.key == draft.key
        if draft.stamp is not None or not taken:
            return None
        sentence = _("A campaign with the key “{key}” already exists. Choose another key.", key=draft.key)
        return Stale(None, draft, sentence, [], "", None)
    current = campaign_changes.stamp(conn, found)
    if draft.stamp == current:
        return None
    before: list[str] = []
    if draft.stamp is not None and 0 < draft.stamp.version <= found.version:
        before = lines_of(conn, found, draft.stamp)
    after = lines_of(conn, found, current)
    last = next(iter(campaigns.activity(conn, found.id, limit=1)), None)
    return Stale(
        found,
        replace(draft, stamp=current),
        _("Someone else changed this campaign while you were editing it."),
        list(text_difference(before, after)),
        "" if last is None else last.who,
        None if last is None else last.at,
    )


def lines_of(conn: Connection, found: Found, stamp: Stamp) -> list[str]:
    """Return the file of a version as lines of YAML."""
    version = campaigns.read_version(conn, found.key, found.id, stamp.version)
    return write(definition_of(version, stamp.published)).splitlines()


def text_difference(before: list[str], after: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (what, line): added, removed, same, or a gap between two places."""
    kinds = {"+": "added", "-": "removed", " ": "same", "@": "gap"}
    for line in list(difflib.unified_diff(before, after, lineterm="", n=_LINES_AROUND))[2:]:
        yield kinds[line[0]], "…" if line[0] == "@" else line[1:]


def _base(conn: Connection, found: Found | None, zone: ZoneInfo) -> CampaignFile | None:
    return None if found is None else campaigns.read_version(conn, found.key, found.id, found.version).file


def _form(
    request: Request,
    conn: Connection,
    draft: Draft,
    found: Found | None,
    checked: CheckedForm,
    *,
    stale: Stale | None = None,
    status: int = 200,
) -> Response:
    counted = segments.counted_of(len(segments.titles(conn)))
    usable = [line for line in segments.listed(conn, most=counted) if line.public and line.published]
    sources = [form for form in forms.listed(conn) if not form.standalone]
    return render(
        request,
        "campaigns/form.html",
        status,
        draft=draft,
        found=found,
        counted=counted,
        checked=checked,
        stale=stale,
        segments=usable,
        # Chosen once, and no source any more: shown, so that it is seen and can be taken out.
        lost_segments=[key for key in draft.segments if key not in {line.key for line in usable}],
        forms=sources,
        lost_forms=[key for key in draft.forms if key not in {form.key for form in sources}],
        categories=campaigns.categories(conn),
        timezones=identity.timezones(),
        zone=zone_of(draft.timezone, site_of(request).zone).key,
        reentry=[(key, _(text)) for key, text in REENTRY],
        catch_up=[(key, _(text)) for key, text in CATCH_UP],
        priority=[(key, _(text)) for key, text in PRIORITY],
        types=_types(),
    )


def _types() -> list[tuple[str, list[tuple[StepType, str]]]]:
    """Return the catalogue by kind, each type with its first sentence."""
    found = defaultdict(list)
    for each in all_types():
        found[each.kind.value].append((each, told(each.description.split("\n\n")[0].replace("\n", " "))))
    labels = {"action": _("Actions"), "decision": _("Decisions"), "condition": _("Conditions")}
    return [(labels[kind], types) for kind, types in found.items()]


def _review(request: Request, draft: Draft, planned: CampaignPlan, form: FormBody, *, changed: bool) -> Response:
    dropped = ("do", "seen", "backfill", "reschedule", "key", "stamp", "message")
    kept = [pair for pair in form.pairs() if pair[0] not in dropped] + [("key", draft.key)]
    kept += [("stamp", str(draft.stamp))] if draft.stamp else []
    return render(
        request,
        "campaigns/review.html",
        draft=draft,
        planned=planned,
        lines=list(plan_lines(planned, comes_back=draft.stamp is None)),
        choices=list(choices_of(planned)),
        message=form.text("message"),
        chosen={name for name in ("backfill", "reschedule") if name in form},
        kept=kept,
        seen=planned.digest,
        changed=changed,
        nothing=planned.changes_nothing,
        action=f"/campaigns/{draft.key}/edit" if planned.campaign_id is not None and draft.stamp else "/campaigns/+new",
    )


def plan_lines(
    planned: CampaignPlan, *, comes_back: bool = False, titles: Titles = NO_TITLES, names: Names = NO_NAMES
) -> Iterator[tuple[str, str]]:
    """Yield what a plan does in sentences, each with its kind: added, changed, removed, note, same, on or off.

    A campaign that `comes_back` was deleted, if it was there at all. `titles` has what steps are called, by key, and
    `names` what the things are called that they refer to.
    """
    if comes_back and planned.campaign_id is not None:
        yield "note", _("A deleted campaign has this key. It will be restored with its history.")
    if planned.campaign_id is None:
        n = len(planned.added)
        yield (
            "added",
            _n("The campaign will be created with {n} step.", "The campaign will be created with {n} steps.", n),
        )
    elif planned.unchanged:
        if planned.changes_nothing:
            yield "same", _("No changes.")
        elif any(n for key, n in planned.retimed.items() if key not in planned.by_date):
            # Asked for in a choice beside it.
            yield "same", _("The steps stay as they are. Some contacts still wait by an earlier time.")
    else:
        yield "changed", _("Version {n} will be created.", n=planned.version)
        for key in planned.added:
            yield "added", added_step(planned, key, titles)
    yield from setting_lines(planned, names)
    for key in planned.changed:
        yield "changed", step_change(planned, key, titles, names)
    for key, below in planned.moved_branches.items():
        yield "changed", moved_step(key, below, titles)
    for key in planned.removed:
        yield removed_step(planned, key, titles)
    for line in asked_again(planned, titles):
        yield "changed", line
    for key in planned.by_date:
        yield "changed", _("Contacts waiting at {key} will be rescheduled to its new date.", key=quoted(titles, key))
    for date, n in planned.dates.items():
        enters = _("Contacts will enter by a date: {date}.", date=enters_by(date))
        having = _n("{n} contact has this date ahead.", "{n} contacts have this date ahead.", n)
        yield "added", f"{enters} {having}"
    for date in planned.dates_removed:
        yield "removed", _("Contacts will no longer enter by a date: {date}.", date=enters_by(date))
    for key in planned.stages:
        yield "added", _("Stage {key} will be created.", key=key)
    for key in planned.point_groups:
        yield "added", _("Point group {key} will be created.", key=key)
    if planned.publishes is not None:
        on = _("The campaign will be switched on: contacts join, and due steps run.")
        off = _("The campaign will be paused. Contacts keep their place.")
        yield ("on", on) if planned.publishes else ("off", off)
    yield from map(effect_line, planned.effects)
    for warning in planned.warnings:
        yield "note", note(warning, titles, names)


def _listed(keys: Iterable[str], titles: Titles) -> str:
    return ", ".join(quoted(titles, key) for key in keys)


def choices_of(planned: CampaignPlan, titles: Titles = NO_TITLES) -> Iterator[PlanChoice]:
    kept = {key: n for key, n in planned.retimed.items() if n and key not in planned.by_date}
    retimed = sum(kept.values())
    if retimed:
        yield PlanChoice(
            "reschedule",
            _n("Reschedule {n} waiting contact", "Reschedule {n} waiting contacts", retimed),
            _("Otherwise, they keep their current due time. Steps: {steps}.", steps=_listed(kept, titles)),
        )
    new_steps = [
        key for key in (*planned.new_roots, *planned.new_below) if planned.restored.get(key, 0) < planned.members
    ]
    if any(key in planned.new_below for key in new_steps):
        yield PlanChoice(
            "backfill",
            _("Start the new steps for contacts who passed the step above"),
            _("Otherwise, only contacts who pass it later run them. Steps: {steps}.", steps=_listed(new_steps, titles)),
        )
    elif new_steps:
        yield PlanChoice(
            "backfill",
            _n(
                "Start the new first steps for {n} active contact",
                "Start the new first steps for {n} active contacts",
                planned.members,
            ),
            _("Otherwise, only contacts who join later run them. Steps: {steps}.", steps=_listed(new_steps, titles)),
        )
