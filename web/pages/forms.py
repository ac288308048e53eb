"""Forms: what contacts submit, and how a web page gets one."""

from __future__ import annotations

from fastapi import Request, Response

from db import forms, listings
from db.listings import FIRST, SubmissionPlace
from domain.errors import CampaignError, NotFoundError
from producers.keys import KEY_LENGTH, checked_key
from web.language import _
from web.pages import FormOf, SiteOf, pages_router
from web.pages.contacts import A_PAGE, LATEST, text_of
from web.pages.rendering import redirect, render
from web.places import address, instant_of, next_address, written
from web.site import Site

router = pages_router()


@router.get("/forms")
def show_all(request: Request, site: SiteOf) -> Response:
    """All forms, with the campaigns that they feed."""
    return _list(request, site)


@router.post("/forms")
def create(request: Request, site: SiteOf, form: FormOf) -> Response:
    """Make a form."""
    given = {name: form.text(name).strip() for name in ("key", "name")}
    try:
        key = checked_key("form", given["key"])
    except CampaignError:
        return _list(request, site, given, _("Write a key of at most {n} characters.", n=KEY_LENGTH))
    with site.engine.begin() as conn:
        made = forms.create(conn, key, given["name"] or key, "standalone" in form)
    if not made:
        return _list(request, site, given, _("There is a form with this key already; choose another."))
    return redirect(request, address("forms", key), flash=_("The form {key} is there.", key=key))


@router.get("/forms/{key:path}")
def show(request: Request, site: SiteOf, key: str) -> Response:
    """A form: how to embed it, and what was submitted lately."""
    place = SubmissionPlace(*(instant_of(request) or (LATEST, FIRST)))
    with site.engine.connect() as conn:
        found = forms.find(conn, key)
        if found is None:
            raise NotFoundError("form", key)
        rows, older = listings.submissions(conn, found.id, place, limit=A_PAGE)
        (line,) = forms.listed(conn, key=key)
    public = site.settings.public_url or str(request.base_url)
    return render(
        request,
        "forms/show.html",
        form=found,
        line=line,
        rows=rows,
        next=next_address(address("forms", key), written(older)),
        target=public.rstrip("/") + address("forms", key),
        begun="before" in request.query_params,
        text_of=text_of,
    )


def _list(request: Request, site: Site, given: dict[str, str] | None = None, error: str | None = None) -> Response:
    with site.engine.connect() as conn:
        lines = forms.listed(conn)
    status = 400 if error else 200
    return render(request, "forms/list.html", status, lines=lines, given=given or {"key": "", "name": ""}, error=error)
