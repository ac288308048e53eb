"""Drafts: what somebody has not applied yet, and the beginning of a new campaign."""

from __future__ import annotations

from fastapi import Request, Response

from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns, drafts
from parcours.domain.campaign_file.edit import EditError, fresh_key
from parcours.domain.errors import NotFoundError
from parcours.domain.keys import slug
from parcours.services import drafts as service
from parcours.web.i18n.language import _
from parcours.web.pages import FOR_EDITORS, FormOf, SiteOf, VisitorOf, pages_router
from parcours.web.pages.campaign_templates import TEMPLATES, file_of
from parcours.web.pages.draft_bench import MOST_OF_NAME
from parcours.web.pages.rendering import ask_for_good, redirect, render, sentence

router = pages_router()


@router.get("/drafts")
def listed(request: Request, site: SiteOf, who: VisitorOf) -> Response:
    with site.engine.connect() as conn:
        return render(request, "drafts/list.html", drafts=drafts.listed(conn, who.who))


@router.get("/drafts/+new", dependencies=FOR_EDITORS)
def new(request: Request) -> Response:
    return render(request, "drafts/new.html", templates=TEMPLATES, name="", chosen="welcome", errors={})


@router.post("/drafts")
def begin(request: Request, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    """Begin a campaign with a name and a template, and go on in the builder."""
    name, chosen = form.text("name").strip(), form.text("template")
    template = next((each for each in TEMPLATES if each.key == chosen), TEMPLATES[0])
    errors = {}
    if not name:
        errors["name"] = [_("enter a name")]
    elif len(name) > MOST_OF_NAME:
        errors["name"] = [_("the name is longer than {n} characters; shorten it", n=MOST_OF_NAME)]
    if not errors:
        with site.engine.begin() as conn:
            taken = {row.key for row in campaigns.listing(conn)}
            key = fresh_key(slug(name) or "campaign", taken)
            try:
                made = service.begin_new(conn, file_of(template, key=key, name=name), who.who, now=database_now(conn))
                return redirect(request, f"/drafts/{made}?settings=1")
            except EditError as error:
                errors["name"] = [sentence(str(error))]
    return render(request, "drafts/new.html", 422, templates=TEMPLATES, name=name, chosen=chosen, errors=errors)


@router.get("/drafts/{draft_id}/delete", dependencies=FOR_EDITORS)
def ask_delete(request: Request, draft_id: int, site: SiteOf, who: VisitorOf) -> Response:
    """Say what deleting a draft means."""
    with site.engine.connect() as conn:
        draft = drafts.read(conn, draft_id, who.who) if 0 < draft_id < 2**63 else None
    if draft is None:
        raise NotFoundError("draft", str(draft_id))
    name = str(draft.file.get("name") or draft.file.get("campaign") or _("New campaign"))
    consequences = [_("All changes in it are lost; this cannot be undone.")]
    if draft.campaign_id is not None:
        consequences.append(_("The campaign stays as it is."))
    return ask_for_good(
        request,
        f"/drafts/{draft_id}",
        "delete",
        question=_("Delete the draft “{name}”?", name=name),
        consequences=consequences,
        label=_("Delete"),
    )


@router.post("/drafts/{draft_id}/delete")
def delete(request: Request, draft_id: int, site: SiteOf, who: VisitorOf) -> Response:
    with site.engine.begin() as conn:
        gone = 0 < draft_id < 2**63 and drafts.delete(conn, draft_id, who.who)
    said = _("The draft was deleted.") if gone else _("The draft was gone already.")
    return redirect(request, "/drafts", flash=said)
