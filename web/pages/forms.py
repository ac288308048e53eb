"""Forms: what contacts submit, and how a web page gets one."""

from __future__ import annotations

from fastapi import Request, Response

from parcours.db.clock import now as database_now
from parcours.db.reads import listings
from parcours.db.reads.listings import FIRST, SubmissionPlace
from parcours.db.tables import campaigns, forms
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.keys import KEY_LENGTH, checked_key, slug
from parcours.producers import form_fields
from parcours.web.context import Site
from parcours.web.i18n.language import _
from parcours.web.pages import FormOf, SiteOf, VisitorOf, draft_choice, pages_router
from parcours.web.pages.contacts import A_PAGE, LATEST, text_of
from parcours.web.pages.rendering import redirect, render
from parcours.web.paging import address, instant_of, next_address, written

router = pages_router()


@router.get("/forms")
def show_all(request: Request, site: SiteOf) -> Response:
    """All forms, with the campaigns that they feed."""
    asked = request.query_params
    # Some event may name a form that is not there.
    key = asked.get("key", "")[:KEY_LENGTH]
    return _list(request, site, {"key": key, "name": "", "draft": draft_choice.place(asked.get("back", ""))})


@router.post("/forms")
def create(request: Request, site: SiteOf, who: VisitorOf, form: FormOf) -> Response:
    """Make a form."""
    given = {name: form.text(name).strip() for name in ("key", "name")}
    given["draft"] = draft_choice.place(form.text("draft"))
    if len(given["name"]) > KEY_LENGTH:
        return _list(request, site, given, name_error=_("Enter at most {n} characters.", n=KEY_LENGTH))
    try:
        key = checked_key("form", given["key"] or slug(given["name"]))
    except CampaignError:
        return _list(request, site, given, _("Enter a key of at most {n} characters.", n=KEY_LENGTH))
    with site.engine.begin() as conn:
        made = forms.create(conn, key, given["name"] or key, "standalone" in form)
        back = draft_choice.choose(conn, given["draft"], key, who, now=database_now(conn)) if made else ""
    if not made:
        return _list(request, site, given, _("A form with this key already exists. Choose another key."))
    return redirect(
        request, back or address("forms", key), flash=_("Form {key} was created.", key=given["name"] or key)
    )


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
        names = {row.key: row.name for row in campaigns.listing(conn)} if line.campaigns else {}
        lost = form_fields.lost(conn, found, [(row.contact, row.fields) for row in rows])
    public = site.settings.public_url or str(request.base_url)
    return render(
        request,
        "forms/show.html",
        form=found,
        line=line,
        rows=[(row, [each.field for each in of_row]) for row, of_row in zip(rows, lost, strict=True)],
        mapping="\n".join(f"{field}={attribute or ''}" for field, attribute in sorted(found.mapping.items())),
        next=next_address(address("forms", key), written(older)),
        own=address("forms", key),
        target=public.rstrip("/") + address("forms", key),
        begun="before" in request.query_params,
        names=names,
        text_of=text_of,
    )


@router.post("/forms/{key:path}/mapping")
def map_fields(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """Say what the fields become of the contact."""
    own = address("forms", key)
    lines = [line for line in form.text("mapping").splitlines() if line.strip()]
    try:
        mapping = form_fields.checked_mapping(map(form_fields.mapped_pair, lines))
    except CampaignError:
        said = _(
            "Enter one field per line, for example tel=phone. Forms cannot set the key, points, tags or last activity."
        )
        return redirect(request, own, flash=said, kind="error")
    with site.engine.begin() as conn:
        if forms.find(conn, key) is None:
            raise NotFoundError("form", key)
        forms.place(conn, key, redirect=None, allowed_origins=None, mapping=mapping)
    return redirect(request, own, flash=_("The field mapping was saved."))


def _list(
    request: Request, site: Site, given: dict[str, str], error: str | None = None, *, name_error: str | None = None
) -> Response:
    with site.engine.connect() as conn:
        lines = forms.listed(conn)
        names = {row.key: row.name for row in campaigns.listing(conn)}
    status = 400 if error or name_error else 200
    return render(
        request, "forms/list.html", status, lines=lines, names=names, given=given, error=error, name_error=name_error
    )
