"""The versions of a campaign: who made them and why, what differs, and going back to one after a review."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns
from parcours.db.tables.campaigns import Found
from parcours.domain.errors import CampaignError
from parcours.services import campaign_changes, campaign_versions, drafts
from parcours.services.campaign_changes import Stamp
from parcours.services.campaign_plan import CampaignPlan
from parcours.services.campaign_versions import rollback_message
from parcours.web.context import Site
from parcours.web.i18n import labels
from parcours.web.i18n.language import _
from parcours.web.i18n.sentences import told
from parcours.web.pages import FormOf, SiteOf, VisitorOf, draft_panels, draft_trees, pages_router
from parcours.web.pages.campaign_form import apply_reviewed, choices_of, lines_of, plan_lines, text_difference
from parcours.web.pages.draft_trees import DraftNode, Drawing
from parcours.web.pages.kept_titles import titles_of
from parcours.web.pages.rendering import redirect, render
from parcours.web.security.access import FormBody

router = pages_router()


@router.get("/campaigns/{key}/versions")
def show_versions(request: Request, key: str, site: SiteOf) -> Response:
    with site.engine.connect() as conn:
        found = campaigns.find(conn, key)
        lines = campaigns.versions(conn, found.id)
    return render(request, "campaigns/versions.html", found=found, lines=lines)


@router.get("/campaigns/{key}/versions/{version}")
def show_version(request: Request, key: str, version: int, site: SiteOf) -> Response:
    """What a version changed; with `yaml` line by line, or with `yaml=present` what the present one has otherwise."""
    by_line = request.query_params.get("yaml")
    with site.engine.connect() as conn:
        found = campaigns.find(conn, key)
        line = campaign_versions.line_of(conn, found, version)
        published = campaigns.listing(conn, [found.id])[0].published
        compared = (version, found.version) if by_line == "present" else (version - 1, version) if by_line else ()
        texts = [lines_of(conn, found, Stamp(each, published)) if each else [] for each in compared]
        made, nodes = (None, None) if by_line else _drawn(conn, site, found._replace(version=version))
    return render(
        request,
        "campaigns/version.html",
        found=found,
        line=line,
        nodes=nodes,
        made=made,
        words=labels,
        by_line=by_line,
        changed=list(text_difference(*texts)) if texts else [],
    )


def _drawn(conn: Connection, site: Site, found: Found) -> tuple[draft_trees.TreeDifference | None, list[DraftNode]]:
    """Return the tree of a version, and what it changed unless it is the first."""
    data = drafts.data_of(conn, found)
    names = draft_panels.names_in(draft_panels.known_names(conn))
    made = None
    if found.version > 1:
        made = draft_trees.difference(drafts.data_of(conn, found._replace(version=found.version - 1)), data, names)
    return made, Drawing(site.zone, names, marks=made.marks if made is not None else {}).nodes(data)


@router.get("/campaigns/{key}/versions/{version}/rollback")
def review_rollback(request: Request, key: str, version: int, site: SiteOf) -> Response:
    return _review(request, site, key, version, FormBody([]))


@router.post("/campaigns/{key}/versions/{version}/rollback")
def roll_back(request: Request, key: str, version: int, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    """Go back if the plan is the one that was shown; else show the new one."""
    with site.engine.connect() as conn, conn.begin() as transaction:
        now = database_now(conn)
        found = campaign_changes.hold(conn, campaigns.find(conn, key).key, now=now)
        try:
            planned = None if found is None else _planned(conn, found, version, site)
        except CampaignError:
            planned = None
        applies = planned is not None and planned.digest == form.text("seen")
        if planned is not None and applies:
            message = rollback_message(version, form.text("message"))
            applies = apply_reviewed(conn, site, planned, form, who.who, now, message) is not None
        if not applies:
            transaction.rollback()
    if planned is None or not applies:
        return _review(request, site, key, version, form, changed=True)
    said = _("“{name}” is back at version {n}.", name=planned.file.name, n=version)
    return redirect(request, f"/campaigns/{quote(planned.file.campaign)}", flash=said)


def _planned(conn: Connection, found: Found, version: int, site: Site) -> CampaignPlan:
    return campaign_versions.plan_rollback(conn, found, version, zone=site.zone, counted=False)


def _review(request: Request, site: Site, key: str, version: int, form: FormBody, *, changed: bool = False) -> Response:
    problem, planned = None, None
    titles: dict[str, str] = {}
    with site.engine.connect() as conn:
        found = campaigns.find(conn, key)
        campaign_versions.line_of(conn, found, version)
        try:
            planned = campaign_versions.plan_rollback(conn, found, version, zone=site.zone)
            titles = titles_of(conn, found.key, planned.steps.keys() | planned.removed.keys(), marked=False)
        except CampaignError as error:
            problem = told(str(error))
    return render(
        request,
        "campaigns/rollback.html",
        found=found,
        version=version,
        planned=planned,
        problem=problem,
        lines=[] if planned is None else list(plan_lines(planned, titles=titles)),
        choices=[] if planned is None else list(choices_of(planned, titles)),
        chosen={name for name in ("backfill", "reschedule") if name in form},
        message=form.text("message"),
        changed=changed,
    )
