"""Making and changing an email: its versions side by side, with a live preview, checks and a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns, contacts, emails
from parcours.db.tables.emails import FILLED_IN, Email
from parcours.domain.errors import CampaignError
from parcours.domain.keys import KEY_LENGTH, checked_key, slug
from parcours.domain.messages.templates import RenderError, one_line, placeholder
from parcours.domain.messages.templates import render as filled_in
from parcours.domain.steps.types import RefersTo
from parcours.services import email_templates, removal
from parcours.services.email_templates import VersionName
from parcours.web.context import Site
from parcours.web.i18n import labels
from parcours.web.i18n.language import _, as_typed, marked
from parcours.web.i18n.sentences import told
from parcours.web.pages import FOR_EDITORS, FormOf, SiteOf, VisitorOf, draft_choice, pages_router, samples
from parcours.web.pages.emails import (
    MOST_CAMPAIGNS,
    PREVIEW_HEADERS,
    AskedTest,
    note_of,
    preview_of,
    show_page,
    version_name,
)
from parcours.web.pages.rendering import ask_for_good, redirect, render
from parcours.web.pages.samples import sample_for_email
from parcours.web.pages.used import used_page
from parcours.web.paging import address
from parcours.web.security.access import FormBody, Visitor
from parcours.workers.delivery import html as html_text

router = pages_router()

_HELLO = marked("Hello {{ contact.first_name | default: 'there' }},")
MOST_VERSIONS = 60
MOST_PLACEHOLDERS = 40
# What can be put into an email besides what any text of a campaign may say.
PLACEHOLDERS = {
    "unsubscribe_url": marked("Link to unsubscribe"),
    "open_url": marked("Address of the tracking image"),
}


def new_html() -> str:
    """Return what a new email begins with, in the language of who writes it."""
    return f'<p>{_(_HELLO)}</p>\n<p></p>\n<p><a href="{{{{ unsubscribe_url }}}}">{_("Unsubscribe")}</a></p>\n'


@dataclass
class VersionDraft:
    """What stands in the form for one version; of the main one, both names are empty."""

    variant: str = ""
    locale: str = ""
    weight: str = ""
    subject: str = ""
    html: str = ""
    text: str = ""

    @property
    def is_main(self) -> bool:
        return not (self.variant or self.locale)

    def content(self) -> dict[str, str]:
        return {name: value for name in ("subject", "html", "text") if (value := getattr(self, name)).strip()}


@dataclass
class EmailDraft:
    """What stands in the form of an email, right or wrong."""

    key: str = ""
    sender: str = ""
    category: str = ""
    published: bool = True
    tracking: bool = True
    versions: list[VersionDraft] = field(default_factory=lambda: [VersionDraft(html=new_html())])
    winner_by: str = ""
    winner_after: str = ""

    @classmethod
    def of_email(cls, email: Email) -> EmailDraft:
        found = []
        weights = {each.name: as_typed(each.weight) for each in email.variants}
        for each in email_templates.versions(email):
            own = {name: getattr(each.own, name) or "" for name in ("subject", "html", "text")}
            weight = weights.get(each.name.variant or "", "") if each.name.locale is None else ""
            found.append(VersionDraft(each.name.variant or "", each.name.locale or "", weight, **own))
        made = cls(email.key, email.sender or "", email.category or "", email.published, email.tracking, found)
        if email.winner is not None:
            made.winner_by, made.winner_after = email.winner.by, labels.typed_interval(email.winner.after)
        return made

    @classmethod
    def of_form(cls, form: FormBody, key: str | None) -> EmailDraft:
        names = ("variant", "locale", "weight", "subject", "html", "text")
        columns = [form.all(f"v_{name}")[:MOST_VERSIONS] for name in names]
        found = [
            VersionDraft(*(value.replace("\r\n", "\n") if n > 2 else value.strip() for n, value in enumerate(row)))
            for row in zip(*columns, strict=False)
        ]
        draft = cls(
            key or form.text("key").strip(),
            form.text("sender").strip(),
            form.text("category").strip(),
            "unpublished" not in form,
            "untracked" not in form,
            found or [VersionDraft()],
            form.text("winner_by").strip(),
            form.text("winner_after").strip(),
        )
        draft.key = draft.key or key_of_subject(draft.versions[0].subject)
        return draft

    def data(self) -> dict[str, Any]:
        """Return the email as a file has it."""
        main = next((each for each in self.versions if each.is_main), VersionDraft())
        variants: dict[str, dict[str, Any]] = {}
        translations: dict[str, Any] = {}
        for each in self.versions:
            if each.variant and not each.locale:
                weight: Any = each.weight.replace(",", ".")
                variants[each.variant] = {"name": each.variant, "weight": weight, **each.content(), "translations": {}}
            elif each.locale and not each.variant:
                translations[each.locale] = each.content()
        for each in self.versions:
            if each.variant in variants and each.locale and each.content():
                variants[each.variant]["translations"][each.locale] = each.content()
        return {
            **main.content(),
            "from": self.sender or None,
            "category": self.category or None,
            "published": self.published,
            "tracking": self.tracking,
            "variants": list(variants.values()),
            "translations": translations,
            # Whoever removes the last variant means to remove this too.
            "winner": {"after": self.winner_after, "by": self.winner_by} if self.winner_by and variants else None,
        }

    def act(self, do: str, form: FormBody) -> str | None:
        """Add or remove a version; return why that cannot be."""
        kind, _sign, rest = do.partition(":")
        known = {(each.variant, each.locale) for each in self.versions}
        if kind == "remove" and rest.isascii() and rest.isdigit() and 0 < int(rest) < len(self.versions):
            gone = self.versions.pop(int(rest))
            if not gone.locale:
                self.versions = [each for each in self.versions if each.variant != gone.variant or each.is_main]
            elif not gone.variant:
                self.versions = [each for each in self.versions if each.locale != gone.locale]
        elif kind == "add":
            new = (form.text("new_variant").strip(), form.text("new_locale").strip())
            if not any(new) or new in known or len(known) >= MOST_VERSIONS:
                return _("Enter the name of a new variant, or a new language such as fr.")
            if all(new):
                for name in ((new[0], ""), ("", new[1])):
                    if name not in known:
                        self.versions.append(VersionDraft(*name, weight="50" if name[0] else ""))
            self.versions.append(VersionDraft(*new, weight="" if new[1] else "50"))
        return None


def key_of_subject(subject: str) -> str:
    """Return a key made of the words of a subject; of its placeholders only if there is nothing else."""
    return slug(FILLED_IN.sub(" ", subject)) or slug(subject)


@router.get("/emails/+new", dependencies=FOR_EDITORS)
def ask_new(request: Request, site: SiteOf) -> Response:
    """The form of a new email."""
    return _form(request, site, EmailDraft(), None, back=draft_choice.place(request.query_params.get("back", "")))


@router.post("/emails/+new")
def create(request: Request, site: SiteOf, found: VisitorOf, form: FormOf) -> Response:
    """Make an email."""
    return _save(request, site, found, form, None)


@router.post("/emails/+preview")
def preview(request: Request, site: SiteOf, form: FormOf) -> Response:
    """One version of the form, filled in for a contact; for the frame of the form. Nothing is stored."""
    draft = EmailDraft.of_form(form, None)
    place = form.text("shown_version", "0")
    number = int(place) if place.isascii() and place.isdigit() and len(place) < 4 else 0
    version = draft.versions[min(number, len(draft.versions) - 1)]
    main = draft.versions[0]
    has_body = bool(version.html.strip() or version.text.strip())
    body = version if has_body else main
    with site.engine.connect() as conn:
        values = preview_of(sample_for_email(conn, form.text("preview_contact").strip(), site.zone))
    try:
        subject = one_line(filled_in(version.subject.strip() or main.subject, values))
        page = filled_in(body.html, values, html=True) if body.html.strip() else None
        text = filled_in(body.text, values) if body.text.strip() else html_text.text_of(page or "")
    except RenderError as error:
        # The words of the error may hold what the template does, which is somebody's HTML.
        broken = bytes(render(request, "emails/broken.html", error=told(str(error))).body).decode()
        return HTMLResponse(broken, headers=PREVIEW_HEADERS)
    as_text = form.text("view") == "text" or page is None
    shown = bytes(render(request, "emails/preview.html", subject=subject, text=text).body).decode() if as_text else page
    if not as_text and subject:
        # Above what is an email, and so no part of it.
        shown = bytes(render(request, "emails/subject.html", subject=subject).body).decode() + (shown or "")
    return HTMLResponse(shown or "", headers=PREVIEW_HEADERS)


@router.get("/emails/{key:path}/edit", dependencies=FOR_EDITORS)
def ask_edit(request: Request, site: SiteOf, key: str) -> Response:
    """The form of an email as it is."""
    with site.engine.connect() as conn:
        email = email_templates.find(conn, key)
    return _form(request, site, EmailDraft.of_email(email), key)


@router.post("/emails/{key:path}/edit")
def edit(request: Request, site: SiteOf, key: str, found: VisitorOf, form: FormOf) -> Response:
    """Change an email."""
    with site.engine.connect() as conn:
        email_templates.find(conn, key)
    return _save(request, site, found, form, key)


@router.get("/emails/{key:path}/delete", dependencies=FOR_EDITORS)
def ask_delete(request: Request, site: SiteOf, key: str, who: VisitorOf) -> Response:
    """Say what deleting an email means, or what uses it."""
    with site.engine.connect() as conn:
        email = email_templates.find(conn, key)
        used = removal.users_of(conn, RefersTo.EMAIL, key)
    own = address("emails", key)
    if used:
        return used_page(request, used, who, name=email.title, listed=("/emails", _("Emails")), back=own)
    return ask_for_good(
        request,
        own,
        "delete",
        question=_("Delete the email “{name}”?", name=email.title),
        consequences=[
            _("Its texts, variants and translations are deleted. Its figures and the sent messages stay."),
            _("This cannot be undone."),
        ],
        label=_("Delete"),
    )


@router.post("/emails/{key:path}/delete")
def delete(request: Request, site: SiteOf, key: str) -> Response:
    """Delete an email that nothing uses."""
    with site.engine.begin() as conn:
        email = email_templates.find(conn, key)
        try:
            removal.delete_email(conn, key)
        except CampaignError:
            return redirect(request, f"{address('emails', key)}/delete")
    return redirect(request, "/emails", flash=_("The email “{name}” was deleted.", name=email.title))


@router.post("/emails/{key:path}/test")
def test(request: Request, site: SiteOf, key: str, form: FormOf) -> Response:
    """Send a stored email to an address."""
    own = address("emails", key)
    with site.engine.connect() as conn:
        email = email_templates.find(conn, key)
    to, contact = form.text("to").strip(), form.text("contact").strip() or None
    variant, _sign, locale = form.text("version").rpartition("|")
    version = VersionName(variant or None, locale or None) if variant or locale else None
    try:
        email_templates.send_test(site.engine, site.settings, email, to, contact=contact, version=version)
    except CampaignError as error:
        asked = AskedTest(to, contact or "", form.text("version"), _sentence(str(error)))
        return show_page(request, site, key, asked)
    return redirect(request, own, flash=_("The test email was sent to {address}.", address=to))


def _save(request: Request, site: Site, who: Visitor, form: FormBody, key: str | None) -> Response:
    draft = EmailDraft.of_form(form, key)
    back = draft_choice.place(form.text("back"))
    if form.text("do"):
        why = draft.act(form.text("do"), form)
        return _form(request, site, draft, key, [why] if why else [], wrong=False, back=back)
    errors: list[str] = []
    try:
        draft.key = checked_key("email", draft.key)
    except CampaignError:
        errors = [_("Enter a subject, and a key of at most {n} characters.", n=KEY_LENGTH)]
    email, problems = email_templates.read(draft.data(), draft.key) if not errors else (None, errors)
    if email is None:
        return _form(request, site, draft, key, [told(each) for each in problems], back=back)
    with site.engine.begin() as conn:
        if key is None and emails.listed(conn, [email.key]):
            said = _("An email with this key already exists. Choose another key.")
            return _form(request, site, draft, key, [said], back=back)
        now = database_now(conn)
        emails.save(conn, email, now=now)
        if back and key is None:
            back = draft_choice.choose(conn, back, email.key, who, now=now)
    return redirect(request, back or address("emails", email.key), flash=_("The email was saved."))


def _form(
    request: Request,
    site: Site,
    draft: EmailDraft,
    key: str | None,
    errors: Sequence[str] = (),
    *,
    wrong: bool = True,
    back: str = "",
) -> Response:
    found, _problems = email_templates.read(draft.data(), draft.key or "x")
    with site.engine.connect() as conn:
        notes = [] if found is None else email_templates.looked_over(conn, found)
        fields = contacts.field_names(conn)
        sample = sample_for_email(conn, "", site.zone)
        found_inserts = samples.inserts(conn, _data_for(conn, request, back), sample)
    own = None if key is None else address("emails", key)
    return render(
        request,
        "emails/form.html",
        400 if errors and wrong else 200,
        draft=draft,
        key=key,
        title=emails.title_of(draft.versions[0].subject, key or ""),
        inserts=[
            *found_inserts,
            (_("Email"), [(f"{{{{ {each} }}}}", _(said)) for each, said in PLACEHOLDERS.items()]),
        ],
        sample=sample,
        action=f"{own}/edit" if own else "/emails/+new",
        back=back.partition("&pick=")[0] or own or "/emails",
        step=back,
        errors=errors,
        notes=notes,
        note_of=note_of,
        placeholders=[placeholder(each) for each in fields[:MOST_PLACEHOLDERS]],
        version_name=version_name,
        has_variants=any(each.variant for each in draft.versions),
        winner_by=[("", _("No winner: the shares stay")), *((by, _(text)) for by, text in labels.WINNER_BY.items())],
    )


def _data_for(conn: Connection, request: Request, back: str) -> Mapping[str, Any]:
    """Return the draft for which an email is written, with the events of all campaigns: any may come to send it."""
    draft = draft_choice.data_at(conn, back, request.state.visitor)
    sources = draft.get("sources")
    own = sources.get("events") if isinstance(sources, Mapping) else None
    events = [*(own if isinstance(own, list) else []), *campaigns.event_sources(conn, limit=MOST_CAMPAIGNS)]
    return {**draft, "sources": {"events": events}}


def _sentence(text: str) -> str:
    said = told(text)
    return f"{said[:1].upper()}{said[1:]}" + ("" if said.endswith((".", "!", "?")) else ".")
