"""The campaign builder: a draft as a tree, a panel beside it, and what applying it would do.

Every `+`, card and menu item is a link or a form that gives a whole page; the script asks for the same pages, and puts
in what differs. Each operation is kept at once, and the campaign is untouched until the draft is applied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.tables import drafts
from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.edit import EditError, StepPlace
from parcours.domain.steps.types import RefersTo
from parcours.producers.files.campaigns import write
from parcours.services import campaign_plan, draft_check
from parcours.services import drafts as service
from parcours.services.drafts import OvertakenError
from parcours.web.context import Site
from parcours.web.i18n import labels
from parcours.web.i18n.language import _
from parcours.web.pages import (
    FormOf,
    SiteOf,
    VisitorOf,
    draft_panels,
    draft_review,
    draft_rules,
    draft_trees,
    pages_router,
    samples,
)
from parcours.web.pages.campaign_form import choices_of
from parcours.web.pages.draft_bench import SAME, AddressOf, Bench, anew_of, bench_at
from parcours.web.pages.draft_operations import DraftOperation
from parcours.web.pages.draft_trees import Drawing
from parcours.web.pages.panels import PanelChoice
from parcours.web.pages.rendering import redirect, render, sentence
from parcours.web.security.access import Visitor

router = pages_router()

MOST_FOUND = 50
# Of what applying does; the review has all.
MOST_EFFECTS = 8
# Of a tree without a map.
MOST_UNMAPPED = 60
_ID = re.compile(r"[a-z][\w-]{0,100}")


@router.get("/campaigns/{key}/build")
@router.get("/drafts/{draft_id}")
def show(request: Request, address: AddressOf, site: SiteOf, who: VisitorOf) -> Response:
    with site.engine.connect() as conn:
        bench = bench_at(conn, who, address)
        if (address.key is None) is not (bench.found is None):
            return redirect(request, bench.base)
        return _page(request, conn, site, bench)


def _page(
    request: Request,
    conn: Connection,
    site: Site,
    bench: Bench,
    *,
    refused: Mapping[str, Any] | None = None,
    typed: TypedPanel | None = None,
) -> Response:
    """Return the builder; with a panel whose text was `refused`, or was `typed` and not kept, which stays in it."""
    visitor: Visitor = request.state.visitor
    edits = visitor.may_edit
    asked = dict(request.query_params) if refused is None and typed is None else {}
    if typed is not None:
        asked = {"settings": "1"} if typed.step is None else {"step": typed.step}
        asked |= {} if typed.key is None else {"focus": "key"}
    if not edits:
        asked = {name: text for name, text in asked.items() if name not in ("add", "moving")}
    data = bench.file
    checked = draft_trees.checked(conn, data, site.zone)
    known = draft_panels.known_names(conn)
    steps = set(edit.keys(data))
    moving = asked.get("moving") if asked.get("moving") in steps else None
    chosen = asked.get("step") if asked.get("step") in steps else None
    bench = replace(bench, only=_alone(data, asked.get("only") or bench.only, chosen))
    only = bench.only
    by_step: dict[str, list[draft_check.DraftProblem]] = {}
    for each in checked.problems:
        if each.step is not None:
            by_step.setdefault(each.step, []).append(each)
    drawing = Drawing(site.zone, draft_panels.names_in(known), by_step, moving)
    nodes = drawing.nodes(data, only=only)
    shown = [node for root in nodes for node in root.walk()]
    titles = {node.key: node.title for node in shown}
    titles = {
        key: titles[key] if key in titles else draft_trees.title_of(step, drawing.called)
        for key, step in drawing.steps.items()
    }
    steps_known = [PanelChoice(*each) for each in titles.items()]
    known[RefersTo.STEP] = steps_known[: draft_panels.MOST_CHOICES]
    names = draft_panels.names_in(known)
    panel: dict[str, Any] = {"panel": None}
    written, wrong = bench, checked
    if typed is not None:
        written = replace(bench, draft=bench.draft._replace(file=typed.file))
        wrong = draft_trees.checked(conn, typed.file, site.zone)
    if refused is not None:
        panel = dict(refused)
    elif "add" in asked:
        panel = draft_panels.adding(data, asked)
    elif "settings" in asked:
        panel = draft_panels.of_settings(conn, written, site, known, wrong)
    elif "yaml" in asked:
        panel = {"panel": "yaml", "yaml": write(service.without_choices(data)), "yaml_problems": []}
    elif "help" in asked:
        panel = {"panel": "help"}
    elif chosen is not None:
        panel = draft_panels.of_step(request, conn, site, written, chosen, known, wrong)
    wanted = asked.get("q", "").strip()
    planned = None if checked.file is None else campaign_plan.plan(conn, checked.file, zone=site.zone)
    called = titles if planned is None else titles | draft_review.before(conn, bench, names, titles, planned)
    effects = [] if planned is None else list(islice(draft_review.effects(planned, called, names), MOST_EFFECTS + 1))
    values = {
        "bench": bench,
        "edits": edits,
        "shown": shown,
        "most_unmapped": MOST_UNMAPPED,
        "nodes": nodes,
        "only": only,
        "trail": [] if only is None else [each["step"] for each in edit.find(data, only).above],
        "titles": titles,
        "moving": moving,
        "chosen": chosen,
        "count": len(steps),
        "checked": checked,
        "wanted": wanted,
        "matches": _matches(drawing, data, wanted) if wanted else [],
        "effects": effects,
        "most_effects": MOST_EFFECTS,
        "choices": [] if planned is None else list(choices_of(planned, called)),
        "made": service.choices(data),
        "planned": planned,
        "others": [] if bench.found is None else drafts.others(conn, bench.found.id, bench.who),
        "stale": bench.found is not None and bench.draft.base_version != bench.found.version,
        "focus": "panel-title" if refused is not None else "moving-title" if moving else _focus(asked, chosen),
        "anew": anew_of(asked),
        "words": labels,
        "start": drawing.spot(StepPlace(None, edit.ROOT, 0), around=len(nodes) == 1, others=len(nodes)),
        "end": drawing.spot(StepPlace(None, edit.ROOT, len(nodes))),
        "unsaved": None if typed is None else typed.why,
        "typed_key": None if typed is None else typed.key,
        **panel,
    }
    return render(request, "build/page.html", 200 if refused is None and typed is None else 422, **values)


class TypedPanel(NamedTuple):
    """What somebody typed in the panel of a step, or of the settings, and why it is not kept in the draft."""

    step: str | None
    # The draft as it would be with it.
    file: dict[str, Any]
    why: str
    # The key that the step should have got.
    key: str | None = None


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


def _matches(drawing: Drawing, data: Mapping[str, Any], wanted: str) -> list[draft_trees.DraftNode]:
    text = wanted.casefold()
    every = [node for root in drawing.nodes(data) for node in root.walk()]
    found = [each for each in every if text in f"{each.title} {each.words} {each.key} {each.type}".casefold()]
    return found[:MOST_FOUND]


@router.post("/campaigns/{key}/build")
@router.post("/drafts/{draft_id}")
def operate(request: Request, address: AddressOf, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    does = form.text("do")
    with site.engine.begin() as conn:
        bench = replace(bench_at(conn, who, address), only=form.text("only") or None)
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
        work = None
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
            work = DraftOperation(conn, bench, form, site.zone)
            change = work.change(does)
            changed = service.change(conn, bench.draft, revision, change, said=work.said, now=now)
        except (EditError, OvertakenError) as error:
            if does == "yaml":
                # What somebody wrote stays where it is, with what is wrong.
                refused = {"panel": "yaml", "yaml": form.text("text"), "yaml_problems": [str(error)]}
                again = bench_at(conn, who, address)
                return _page(request, conn, site, again, refused=refused)
            if does == "set" and here not in edit.keys(bench.file):
                # Deleted in another tab: there is no panel to show what was typed in, but it is not lost.
                lost = {"panel": "gone", "problem": str(error), "typed": draft_panels.typed_in(form)}
                return _page(request, conn, site, bench, refused=lost)
            if does == "rename" and here in edit.keys(bench.file):
                typed = TypedPanel(here, bench.file, str(error), form.text("key"))
                return _page(request, conn, site, bench, typed=typed)
            if work is not None and work.typed is not None:
                typed = TypedPanel(here if does == "set" else None, work.typed, str(error))
                return _page(request, conn, site, bench, typed=typed)
            return redirect(request, bench.url(step=here, focus="card"), flash=sentence(str(error)), kind="error")
        if work.address is not None:
            return redirect(request, work.address, flash=work.said, kind="said")
    said = f"{work.said}. {_where(changed.file, work)}" if does in ("move", "up", "down") else work.said
    answer = _back(request, bench, work.shows, said, focus=work.focus, anew=work.anew)
    samples.remember(request, answer, form)
    return answer


def _where(data: Mapping[str, Any], work: DraftOperation) -> str:
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
@router.post("/drafts/{draft_id}/count")
def count(request: Request, address: AddressOf, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    """How many contacts match a rule of the form, now."""
    with site.engine.connect() as conn:
        bench_at(conn, who, address)
        return draft_rules.count(request, conn, site, form)
