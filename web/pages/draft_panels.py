"""The panel beside a draft: of a step, of a new one, and of the settings; and what it says while somebody types."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns, contacts, emails, forms, scores, segments, stages, templates, waits
from parcours.db.tables.outbox import StepName
from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.check import DATE_NAMES
from parcours.domain.campaign_file.edit import EditError
from parcours.domain.contacts import identity
from parcours.domain.contacts.contact import ATTRIBUTES
from parcours.domain.errors import CampaignError
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import Kind, RefersTo, StepType
from parcours.domain.time.zones import zone_of
from parcours.producers.files.campaigns import write
from parcours.services import draft_check
from parcours.web.context import Site
from parcours.web.i18n import labels, step_words
from parcours.web.i18n.language import _
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
from parcours.web.pages.campaign_form import CATCH_UP, PRIORITY, REENTRY
from parcours.web.pages.draft_bench import LENGTHS, SETTINGS, AddressOf, Bench, bench_at, place_of
from parcours.web.pages.panels import PanelChoice, PanelWidget
from parcours.web.pages.rendering import render
from parcours.web.pages.samples import Sample
from parcours.web.security.access import FormBody

router = pages_router()

# Things that a picker offers; whoever has more writes the key.
MOST_CHOICES = 500
# Contacts who wait at the chosen step, and members of a segment, are counted up to here.
MOST_COUNTED = 10_000
ENTRY = ("most", "rate")
# Choices that are shown at once; of more, one searches.
MANY = 12
OFTEN_USED = ("email.send", "contact.tags", "contact.points", "email.open", "email.click", "contact.field")
BRANCH_ORDER = ("then", "yes", "no")
STEP_NAMES = ("name", "note", "at", "hour", "between", "days", "late", "on_failure")
_OF_A_ROW = re.compile(r"(exit\.\d|sources\.(events|dates)\.\d|goal(\.|$)|entry\.(most|rate)$)")


def known_names(conn: Connection) -> dict[RefersTo, list[PanelChoice]]:
    """Return what steps may refer to besides steps, by its names."""
    made: dict[RefersTo, list[PanelChoice]] = {
        RefersTo.SEGMENT: [PanelChoice(*each) for each in segments.titles(conn).items()],
        RefersTo.FORM: [PanelChoice(each.key, each.name) for each in forms.listed(conn)],
        RefersTo.EMAIL: [PanelChoice(*each) for each in emails.titles(conn).items()],
        RefersTo.STAGE: [PanelChoice(each.key, each.name) for each in stages.listed(conn)],
        RefersTo.POINT_GROUP: [PanelChoice(each.key, each.name) for each in scores.groups(conn)],
        RefersTo.CAMPAIGN: [PanelChoice(row.key, row.name) for row in campaigns.listing(conn)],
    }
    by_kind = {"sms": RefersTo.SMS, "push": RefersTo.PUSH, "message": RefersTo.MESSAGE}
    for template in templates.listed(conn):
        made.setdefault(by_kind[template.kind], []).append(PanelChoice(template.key, template.name))
    return {what: choices[:MOST_CHOICES] for what, choices in made.items()}


def names_in(known: Mapping[RefersTo, list[PanelChoice]]) -> dict[RefersTo, Mapping[str, str]]:
    """Return what things are called, by key."""
    return {what: {each.value: each.label for each in choices} for what, choices in known.items()}


def adding(data: Mapping[str, Any], asked: Mapping[str, str]) -> dict[str, Any]:
    place, around = place_of(asked)
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


def _waiting(conn: Connection, bench: Bench, key: str) -> int:
    """Return how many contacts wait at a step of the campaign as it runs, counted up to `MOST_COUNTED`."""
    steps = [] if bench.found is None else campaigns.steps(conn, bench.found.id)
    ids = [each.id for each in steps if each.key == key and each.removed_at is None]
    return waits.count_up_to(conn, ids, MOST_COUNTED).get(ids[0], 0) if ids else 0


def of_step(
    request: Request,
    conn: Connection,
    site: Site,
    bench: Bench,
    key: str,
    known: dict[RefersTo, list[PanelChoice]],
    checked: draft_check.CheckedDraft,
) -> dict[str, Any]:
    found = edit.find(bench.file, key)
    step, problems = found.step, checked.at(key)
    kind = edit.kind_of(step) or Kind.ACTION
    given = step.get("with") if isinstance(step.get("with"), dict) else {}
    kinds = rule_form.field_kinds(conn)
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
    live = _for_sample(bench, step, kind, given or {}, fields, sample, site, database_now(conn))
    live["fields"] = [_with_rule(conn, each, step, checked) for each in live["fields"]]
    return {
        "panel": "step",
        "step": {**dict.fromkeys(STEP_NAMES), **step},
        "key": key,
        "kind": kind.value,
        "type_name": step_words.type_name(kind.value, str(step.get(kind.value) or "")),
        "about": "" if type_ is None else _first(type_),
        **live,
        "raw": None if type_ is not None else write(given or {}),
        "waiting": _waiting(conn, bench, key),
        "most_waiting": MOST_COUNTED,
        "loose": [
            each.sentence
            for each in problems
            if not (each.field.startswith("with.") and each.field.split(".")[1] in shown)
        ],
        "date_fields": _date_fields(conn, kinds),
        "mode": panels.mode_of(step),
        "after": panels.length_of(step.get("after")),
        "date": {**dict.fromkeys(DATE_NAMES), **date},
        "offset": panels.length_of(date.get("before") or date.get("after")),
        "within": panels.length_of(step.get("within")),
        "look_back": panels.length_of(step.get("look_back")),
        "units": [(unit, _(text)) for unit, text in panels.UNITS],
        "days": [(day, _(text)) for day, text in panels.DAYS],
        "operators": step_words.operators() if any(each.tests for each in fields) else (),
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
        "zone": zone.key,
        "timing": draft_trees.timing_words(step, zone),
        "due": samples.due_for(step, kind.value, sample, zone, now),
    }


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


def _date_fields(conn: Connection, kinds: Mapping[str, str]) -> list[str]:
    """Return the fields of contacts that a step may go by, first those that hold dates by `kinds`."""
    return sorted({*ATTRIBUTES, *contacts.field_names(conn)}, key=lambda name: (kinds.get(name) != "date", name))


def _listed(given: object) -> list[str]:
    """Return the keys of a list, or the one key that stands there instead; what else may be there is no list."""
    return (
        [str(each) for each in given] if isinstance(given, list | tuple) else [given] if isinstance(given, str) else []
    )


def of_settings(
    conn: Connection,
    bench: Bench,
    site: Site,
    known: dict[RefersTo, list[PanelChoice]],
    checked: draft_check.CheckedDraft,
) -> dict[str, Any]:
    data = bench.file
    sources = data.get("sources") if isinstance(data.get("sources"), dict) else {}
    assert isinstance(sources, dict)
    picked = _listed(sources.get("segments"))
    sourced = segments.titles(conn, sources=True)
    # Of many, those that are chosen are shown, and their members counted.
    shown = [key for key in sourced if len(sourced) <= MANY or key in picked]
    lines = segments.listed(conn, most=MOST_COUNTED, counted=shown)
    usable = [each for each in lines if each.public and each.published]
    picked_forms = _listed(sources.get("forms"))
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
    zone = zone_of(str(data.get("timezone") or ""), site.zone)
    return {
        "panel": "settings",
        "settings": {name: str(data.get(name) or "") for name in (*SETTINGS, "campaign", "note")},
        "moments": {name: panels.moment_of(data.get(name), zone) for name in ("publish_from", "publish_until")},
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
        "operators": step_words.operators(),
        "event_types": [(name, labels.word(labels.EVENT_TYPES, name)) for name in sorted(labels.EVENT_TYPES)],
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
        "counted": MOST_COUNTED,
        "categories": campaigns.categories(conn),
        "timezones": identity.timezones(),
        "zone": zone.key,
        "reentry": [(key, _(text)) for key, text in REENTRY],
        "catch_up": [(key, _(text)) for key, text in CATCH_UP],
        "priority": [(key, _(text)) for key, text in PRIORITY],
    }


# Of the fields of a step's panel: texts that somebody may have thought about, not what was chosen from a list.
_TYPED = re.compile(r"name|note|raw|with-[^.]*|with-.*\.with\.value")
# Fields that were chosen, and what says which fields there are.
_NOT_TYPED = ("-more", "-unit", "_part", "_do", "_as", "-tests", "-parts", "-operator")


def typed_in(form: FormBody) -> list[tuple[str, str]]:
    """Return what was typed in the panel of a step that is gone, by what its fields are called."""
    own = {"name": _("Name"), "note": _("Note"), "raw": _("Properties, as YAML")}
    found = []
    for name in dict.fromkeys(name for name, _text in form.pairs()):
        if _TYPED.fullmatch(name) and not name.endswith(_NOT_TYPED):
            text = "\n".join(each.strip() for each in form.all(name)).strip()
            known = re.sub(r"(-\d+-(field|value)|_yaml)$", "", name.removeprefix("with-")).rpartition(".")[2]
            label = own.get(name) or step_words.property_name("", "", known)
            found += [(label, text)] if text else []
    return found


@router.post("/campaigns/{key}/build/preview")
@router.post("/drafts/{draft_id}/preview")
def preview(request: Request, address: AddressOf, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    """What a step says and when it is due for a contact, while somebody types; nothing is kept but the contact."""
    with site.engine.connect() as conn:
        bench = bench_at(conn, who, address)
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
