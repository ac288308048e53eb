"""What applying a draft would do, and applying it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, takewhile
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, drafts, segments, sweeps
from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.steps.types import RefersTo
from parcours.services import campaign_changes, campaign_plan
from parcours.services import drafts as service
from parcours.services.campaign_plan import CampaignPlan
from parcours.web.context import Site
from parcours.web.i18n import labels
from parcours.web.i18n.language import _, _n
from parcours.web.pages import FormOf, SiteOf, VisitorOf, draft_panels, draft_trees, pages_router
from parcours.web.pages.campaign_form import apply_reviewed, choices_of, plan_lines
from parcours.web.pages.draft_bench import AddressOf, Bench, bench_at
from parcours.web.pages.draft_trees import Drawing
from parcours.web.pages.plan_words import NO_NAMES, effect_line, removed_step
from parcours.web.pages.rendering import redirect, render
from parcours.web.pages.step_titles import Names, quoted

router = pages_router()

_NO_PLAN: dict[str, Any] = {"planned": None, "lines": [], "choices": [], "moves": [], "seen": "", "empty": []}


@router.get("/campaigns/{key}/build/review")
@router.get("/drafts/{draft_id}/review")
def review(request: Request, address: AddressOf, site: SiteOf, who: VisitorOf) -> Response:
    with site.engine.connect() as conn:
        return _review(request, conn, site, bench_at(conn, who, address))


def before(
    conn: Connection,
    bench: Bench,
    names: Mapping[RefersTo, Mapping[str, str]],
    titles: Mapping[str, str],
    planned: CampaignPlan,
) -> dict[str, str]:
    """Return what steps of the campaign are called that the draft has no more, by key."""
    if bench.found is None or not bench.draft.id or planned.removed.keys() <= titles.keys():
        return {}
    steps = {each.step["step"]: each.step for each in edit.walk(service.data_of(conn, bench.found))}
    called = draft_trees.with_steps(names, steps)
    return {key: draft_trees.title_of(step, called) for key, step in steps.items() if key not in titles}


def effects(planned: CampaignPlan, titles: Mapping[str, str], names: Names = NO_NAMES) -> Iterator[dict[str, Any]]:
    """Yield what applying would do, in sentences; where contacts wait at a removed step, with where they may go."""
    said = set()
    for key, waiting in planned.removed.items():
        if waiting:
            to = planned.redirected.get(key, "")
            text = _n("{n} contact waits at {key}, which is removed.", "{n} contacts wait at {key}, which is removed.",
                      waiting, key=quoted(titles, key))  # fmt: skip
            if key in planned.becomes:
                text = removed_step(planned, key, titles)[1]
            said |= {text, removed_step(planned, key, titles)[1]}
            yield {"kind": "removed", "text": text, "redirect": key, "to": to, "title": titles.get(key, key)}
    # Who comes and goes is read first: little else is in view on a phone, or beside a long list of steps.
    told = chain(map(effect_line, planned.effects), plan_lines(planned, titles=titles, names=names))
    for kind, line in told:
        if line not in said:
            said.add(line)
            yield {"kind": kind, "text": line, "redirect": None, "to": "", "title": ""}


def _review(
    request: Request, conn: Connection, site: Site, bench: Bench, *, changed: bool = False, status: int = 200
) -> Response:
    checked = draft_trees.checked(conn, bench.file, site.zone)
    names = draft_panels.names_in(draft_panels.known_names(conn))
    steps = {each.step["step"]: each.step for each in edit.walk(bench.file)}
    called = draft_trees.with_steps(names, steps)
    titles = {key: draft_trees.title_of(step, called) for key, step in steps.items()}
    values: dict[str, Any] = {"bench": bench, "checked": checked, "changed": changed, "titles": titles, "words": labels}
    if bench.found is not None and bench.draft.base_version != bench.found.version:
        return render(
            request, "build/stale.html", 409 if changed else status, **values, **_meanwhile(conn, site, bench)
        )
    if _is_taken(conn, bench):
        values["taken"] = str(bench.file.get("campaign"))
        return render(request, "build/review.html", 409, **values, **_NO_PLAN)
    if checked.file is None:
        return render(request, "build/review.html", status, **values, **_NO_PLAN)
    planned = campaign_plan.plan(conn, checked.file, zone=site.zone)
    rows = [] if bench.found is None else campaigns.listing(conn, [bench.found.id])
    all_titles = titles | before(conn, bench, names, titles, planned)
    return render(
        request,
        "build/review.html",
        status,
        **values,
        planned=planned,
        empty=_empty_sources(conn, checked.file),
        lines=list(plan_lines(planned, comes_back=bench.found is None, titles=all_titles, names=called)),
        choices=list(choices_of(planned, all_titles)),
        made=service.choices(bench.file),
        moves=list(takewhile(lambda each: each["redirect"], effects(planned, all_titles, called))),
        seen=planned.digest,
        published=bool(rows and rows[0].published),
    )


def _empty_sources(conn: Connection, file: CampaignFile) -> list[segments.SegmentLine]:
    """Return the source segments in which nobody is, so that nobody enters by them now."""
    keys = file.sources.segments
    return [line for line in segments.listed(conn, most=1, counted=keys) if line.key in keys and not line.members]


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
    names = draft_panels.names_in(draft_panels.known_names(conn))
    theirs = draft_trees.difference(base, present, names)
    mine = draft_trees.difference(present, bench.file, names)
    last = next(iter(campaigns.activity(conn, found.id, limit=1)), None)
    return {
        "theirs": theirs,
        "their_nodes": Drawing(site.zone, names, marks=theirs.marks).nodes(present),
        "mine": mine,
        "my_nodes": Drawing(site.zone, names, marks=mine.marks).nodes(bench.file),
        "last": last,
    }


@router.post("/campaigns/{key}/build/review")
@router.post("/drafts/{draft_id}/review")
def apply(request: Request, address: AddressOf, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    """Do what the review said, if it still says so."""
    with site.engine.connect() as conn, conn.begin() as transaction:
        bench = bench_at(conn, who, address)
        now = database_now(conn)
        checked = draft_trees.checked(conn, bench.file, site.zone)
        if checked.file is None:
            transaction.rollback()
            with site.engine.connect() as again:
                return _review(request, again, site, bench, changed=True, status=409)
        campaign_changes.hold(conn, checked.file.campaign, now=now)
        bench = bench_at(conn, who, address)
        stale = bench.found is not None and bench.draft.base_version != bench.found.version
        planned = campaign_plan.plan(conn, checked.file, zone=site.zone)
        if stale or _is_taken(conn, bench) or form.text("seen") != planned.digest:
            transaction.rollback()
            with site.engine.connect() as again:
                return _review(request, again, site, bench_at(again, who, address), changed=True)
        if "published" in form:
            planned = campaign_plan.plan(conn, _switched_on(checked.file), zone=site.zone)
        campaign_id = apply_reviewed(conn, site, planned, form, who.who, now)
        if campaign_id is None:
            transaction.rollback()
            with site.engine.connect() as again:
                return _review(request, again, site, bench_at(again, who, address), changed=True)
        drafts.delete(conn, bench.draft.id, who.who)
        if campaigns.listing(conn, [campaign_id])[0].published:
            # Who is in its segments already comes in; nobody has to run a command for that.
            sweeps.ask(conn, "update", Scope(campaign_ids=(campaign_id,)), at=now)
    name = checked.file.name
    said = _("“{name}” was created.", name=name) if bench.found is None else _("“{name}” was changed.", name=name)
    return redirect(request, f"/campaigns/{quote(checked.file.campaign)}", flash=said)


def _switched_on(file: CampaignFile) -> CampaignFile:
    return campaign_changes.with_published(file, True)
