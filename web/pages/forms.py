"""Forms: what contacts submit, and how a web page gets one."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from fastapi import Request, Response
from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.reads import listings
from parcours.db.reads.listings import FIRST, SubmissionPlace
from parcours.db.tables import campaigns, forms
from parcours.db.tables.forms import Form
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.gate import clean
from parcours.domain.keys import KEY_LENGTH, checked_key, slug
from parcours.domain.steps.types import RefersTo
from parcours.domain.urls import origin_of
from parcours.producers import form_fields
from parcours.services import removal
from parcours.web.context import Site
from parcours.web.i18n.language import _
from parcours.web.pages import FOR_EDITORS, FormOf, SiteOf, VisitorOf, draft_choice, pages_router
from parcours.web.pages.contacts import A_PAGE, LATEST, text_of
from parcours.web.pages.rendering import ask_for_good, base_address, redirect, render
from parcours.web.pages.used import used_page
from parcours.web.paging import address, instant_of, next_address, page_of, written

router = pages_router()

# Sites whose pages may submit a form, and characters of an address.
MOST_SITES = 50
MOST_ADDRESS = 2_000


@dataclass(frozen=True)
class FormSettings:
    """What a page asks of a form."""

    name: str
    published: bool
    redirect: str
    # One a line.
    sites: str
    names_contact: bool

    @classmethod
    def of(cls, form: Form) -> FormSettings:
        sites = "\n".join(form.allowed_origins)
        return cls(form.name, form.published, form.redirect or "", sites, form.names_contact)

    @property
    def origins(self) -> list[str | None]:
        """The origins of its sites, in their order; None for what is no address of a site."""
        return [_origin(line.strip()) for line in self.sites.splitlines() if line.strip()]

    @property
    def errors(self) -> dict[str, str]:
        """What is wrong with it, by field."""
        wrong = {}
        if not self.name or len(self.name) > KEY_LENGTH:
            wrong["name"] = _("Enter a name of at most {n} characters.", n=KEY_LENGTH)
        if self.redirect and (origin_of(self.redirect) is None or len(self.redirect) > MOST_ADDRESS):
            wrong["redirect"] = _("Enter an address that begins with https://, such as https://example.com/thanks.")
        if None in self.origins or len(self.origins) > MOST_SITES:
            wrong["sites"] = _("Enter one site per line, such as https://example.com, and at most {n}.", n=MOST_SITES)
        return wrong


def _origin(line: str) -> str | None:
    origin = origin_of(line) if len(line) <= MOST_ADDRESS else None
    return origin if origin is None or urlsplit(line).path in ("", "/") else None


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


@router.get("/forms/{key:path}/delete", dependencies=FOR_EDITORS)
def ask_delete(request: Request, site: SiteOf, key: str, who: VisitorOf) -> Response:
    """Say what deleting a form means, or what uses it."""
    with site.engine.connect() as conn:
        found = _found(conn, key)
        used = removal.users_of(conn, RefersTo.FORM, key)
    own = address("forms", key)
    if used:
        return used_page(request, used, who, name=found.name, listed=("/forms", _("Forms")), back=own)
    return ask_for_good(
        request,
        own,
        "delete",
        question=_("Delete the form “{name}”?", name=found.name),
        consequences=[
            _("Its submissions are deleted. The contacts and their history stay."),
            _("Web pages that contain the form can no longer send it."),
            _("This cannot be undone."),
        ],
        label=_("Delete"),
    )


@router.post("/forms/{key:path}/delete")
def delete(request: Request, site: SiteOf, key: str) -> Response:
    """Delete a form that nothing uses."""
    with site.engine.begin() as conn:
        found = _found(conn, key)
        try:
            removal.delete_form(conn, key)
        except CampaignError:
            return redirect(request, f"{address('forms', key)}/delete")
    return redirect(request, "/forms", flash=_("The form “{name}” was deleted.", name=found.name))


@router.get("/forms/{key:path}")
def show(request: Request, site: SiteOf, key: str) -> Response:
    """A form: how to embed it, and what was submitted lately."""
    return _show(request, site, key)


def _show(request: Request, site: Site, key: str, given: FormSettings | None = None) -> Response:
    """Return the page of a form, with settings that were `given` and are wrong."""
    place = SubmissionPlace(*(instant_of(request) or (LATEST, FIRST)))
    with site.engine.connect() as conn:
        found = _found(conn, key)
        rows, older = listings.submissions(conn, found.id, place, limit=A_PAGE)
        (line,) = forms.listed(conn, key=key)
        names = {row.key: row.name for row in campaigns.listing(conn)} if line.campaigns else {}
        lost = form_fields.lost(conn, found, [(row.contact, row.fields) for row in rows])
    return render(
        request,
        "forms/show.html",
        400 if given else 200,
        form=found,
        line=line,
        settings=given or FormSettings.of(found),
        errors=given.errors if given else {},
        rows=[(row, [each.field for each in of_row]) for row, of_row in zip(rows, lost, strict=True)],
        mapping="\n".join(f"{field}={attribute or ''}" for field, attribute in sorted(found.mapping.items())),
        next=next_address(address("forms", key), written(older)),
        own=address("forms", key),
        target=base_address(request) + address("forms", key),
        begun="before" in request.query_params,
        names=names,
        text_of=text_of,
    )


@router.post("/forms/{key:path}/settings")
def set_up(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """Write what a form is called, whether it takes submissions, from where, and where they lead."""
    name, leads, sites = form.text("name").strip(), form.text("redirect").strip(), form.text("sites")
    given = FormSettings(name, "published" in form, leads, sites, "names_contact" in form)
    if given.errors:
        return _show(request, site, key, given)
    with site.engine.begin() as conn:
        _found(conn, key)
        forms.set_up(
            conn,
            key,
            name=given.name,
            published=given.published,
            redirect=given.redirect or None,
            allowed_origins=list(dict.fromkeys(filter(None, given.origins))),
            names_contact=given.names_contact,
        )
    return redirect(request, address("forms", key), flash=_("The form was saved."))


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
        _found(conn, key)
        forms.place(conn, key, redirect=None, allowed_origins=None, mapping=mapping)
    return redirect(request, own, flash=_("The field mapping was saved."))


def _found(conn: Connection, key: str) -> Form:
    found = forms.find(conn, key)
    if found is None:
        raise NotFoundError("form", key)
    return found


def _list(
    request: Request, site: Site, given: dict[str, str], error: str | None = None, *, name_error: str | None = None
) -> Response:
    search, page = request.query_params.get("q", "").strip(), page_of(request)
    with site.engine.connect() as conn:
        lines = forms.listed(conn, search=clean(search), limit=A_PAGE + 1, offset=(page - 1) * A_PAGE)
        names = {row.key: row.name for row in campaigns.listing(conn)}

    def at(number: int) -> str:
        return "/forms?" + urlencode({**({"q": search} if search else {}), "page": number})

    return render(
        request,
        "forms/list.html",
        400 if error or name_error else 200,
        lines=lines[:A_PAGE],
        names=names,
        given=given,
        error=error,
        name_error=name_error,
        search=search,
        previous=at(page - 1) if page > 1 else None,
        next=at(page + 1) if len(lines) > A_PAGE else None,
    )
