"""Email templates: a list, and one as it looks, as it is written and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from parcours.db.reads import email_figures
from parcours.db.reads.email_figures import EmailFigures
from parcours.db.tables import emails
from parcours.db.tables.emails import Email
from parcours.domain.errors import NotFoundError
from parcours.domain.messages.content import Content
from parcours.domain.messages.templates import RenderError, one_line, render
from parcours.services import email_templates
from parcours.services.email_templates import EmailNote, VersionName
from parcours.web.context import Site
from parcours.web.i18n import labels
from parcours.web.i18n.language import _
from parcours.web.i18n.sentences import told
from parcours.web.pages import SiteOf, pages_router
from parcours.web.pages.kept_titles import titles_of
from parcours.web.pages.rendering import render as page
from parcours.web.pages.rendering import sentence
from parcours.web.pages.samples import Sample, sample_for_email
from parcours.web.paging import address
from parcours.workers.delivery.render import preview_values

router = pages_router()

# Campaigns of which the steps are called by their names; the keys of others say enough.
MOST_CAMPAIGNS = 20
# Versions that a page shows side by side.
MOST_BESIDE = 12
# What somebody wrote into a template is shown in a frame that runs nothing, asks nobody and belongs to no site.
PREVIEW_POLICY = "; ".join(
    (
        "sandbox",
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "img-src data: https:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    )
)
PREVIEW_HEADERS = {"Content-Security-Policy": PREVIEW_POLICY, "X-Frame-Options": "SAMEORIGIN"}


@router.get("/emails")
def show_all(request: Request, site: SiteOf) -> Response:
    """All email templates."""
    with site.engine.connect() as conn:
        found = emails.listed(conn)
        figures = email_figures.totals(conn, [each.key for each in found])
        deleted = email_figures.deleted(conn)
    return page(request, "emails/list.html", emails=found, figures=figures, zero=EmailFigures(), deleted=deleted)


@router.get("/emails/{key:path}/preview")
def preview(request: Request, site: SiteOf, key: str) -> Response:
    """The HTML alone, filled in; for the frame of the page below."""
    with site.engine.connect() as conn:
        email = _email(conn, key)
        values = preview_of(sample_for_email(conn, request.query_params.get("contact", ""), site.zone))
    content = _version(email, request.query_params.get("version", ""))
    try:
        if content.html is None:
            subject, text = one_line(render(content.subject or "", values)), render(content.text or "", values)
            body = bytes(page(request, "emails/preview.html", subject=subject, text=text).body).decode()
        else:
            body = render(content.html, values, html=True)
    except RenderError as error:
        # The words of the error may hold what the template does, which is somebody's HTML.
        body = bytes(page(request, "emails/broken.html", error=told(str(error))).body).decode()
    return HTMLResponse(body, headers=PREVIEW_HEADERS)


@router.get("/emails/{key:path}")
def show(request: Request, site: SiteOf, key: str) -> Response:
    """A template, filled in for a contact that one may choose, and its source."""
    return show_page(request, site, key)


class AskedTest(NamedTuple):
    """What somebody asked of a test email, and why it did not go."""

    to: str
    contact: str
    version: str
    why: str


def show_page(request: Request, site: Site, key: str, asked: AskedTest | None = None) -> Response:
    """Return the page of an email, with a test email that was asked for and did not go."""
    wanted = request.query_params.get("contact", "").strip()
    error = None
    with site.engine.connect() as conn:
        try:
            email = _email(conn, key)
        except NotFoundError:
            return _deleted(request, conn, key)
        sample = sample_for_email(conn, wanted, site.zone)
        values = preview_of(sample)
        total = email_figures.totals(conn, [key]).get(key, EmailFigures())
        parts = email_figures.parts(conn, key)
        links = email_figures.links(conn, key)
        tests = email_figures.tests(conn, key)
        notes = email_templates.looked_over(conn, email)
        steps = _step_titles(conn, [*parts, *tests])
    if sample.is_unknown:
        error = _("No contact has the key {key}.", key=wanted)
    filled = {}
    for name in ("subject", "text"):
        source = getattr(email, name)
        try:
            filled[name] = None if source is None else render(source, values)
        except RenderError as problem:
            filled[name], error = source, told(str(problem))
    own = address("emails", key)
    return page(
        request,
        "emails/show.html",
        422 if asked else 200,
        email=email,
        asked=asked,
        total=total,
        parts=parts,
        links=links,
        steps=steps,
        tests=[(each, email.winner and email.winner.ends_at(each.started_at)) for each in tests],
        winner=None
        if email.winner is None
        else (labels.WINNER_BY[email.winner.by], labels.interval(email.winner.after)),
        notes=notes,
        note_of=note_of,
        versions=[each.name for each in email_templates.versions(email)],
        words=labels.EMAIL_FIGURES,
        subject=one_line(filled["subject"] or ""),
        text=filled["text"],
        sample=sample,
        error=error,
        beside=_beside(email, values, own, wanted),
        preview=f"{own}/preview" + (f"?{urlencode({'contact': wanted})}" if wanted else ""),
        address=own,
    )


def _deleted(request: Request, conn: Connection, key: str) -> Response:
    """What became of the messages of an email that was deleted. Raises NotFoundError where there were none."""
    total = email_figures.totals(conn, [key]).get(key)
    if total is None:
        raise NotFoundError("email", key)
    parts = email_figures.parts(conn, key)
    return page(
        request,
        "emails/deleted.html",
        key=key,
        total=total,
        parts=parts,
        links=email_figures.links(conn, key),
        steps=_step_titles(conn, parts),
        words=labels.EMAIL_FIGURES,
    )


def _version(email: Email, wanted: str) -> Content:
    """Return what a version says, by the names of its variant and its locale: `short|fr`; else the main one."""
    found = {
        f"{each.name.variant or ''}|{each.name.locale or ''}": each.content for each in email_templates.versions(email)
    }
    return found.get(wanted, found["|"])


def _beside(email: Email, values: dict[str, Any], own: str, wanted: str) -> list[dict[str, str]]:
    """Return the versions of an email, to be shown side by side, with their subjects for a contact."""
    made = []
    for each in email_templates.versions(email)[:MOST_BESIDE]:
        variant, locale = each.name
        try:
            subject = one_line(render(each.content.subject or "", values))
        except RenderError as error:
            subject = told(str(error))
        asked = {"version": f"{variant or ''}|{locale or ''}", **({"contact": wanted} if wanted else {})}
        name = ", ".join(part for part in each.name if part) or _("Main version")
        made.append({"name": name, "subject": subject, "url": f"{own}/preview?{urlencode(asked)}"})
    return made


def _step_titles(
    conn: Connection, shown: Sequence[email_figures.EmailFiguresOf | email_figures.WinnerTest]
) -> dict[tuple[str | None, str | None], str]:
    """Return what steps are called, by the keys of their campaign and their own; beyond some campaigns, nothing."""
    keys: dict[str, set[str]] = {}
    for each in shown:
        if each.campaign and each.step:
            keys.setdefault(each.campaign, set()).add(each.step)
    return {
        (campaign, step): title
        for campaign in list(keys)[:MOST_CAMPAIGNS]
        for step, title in titles_of(conn, campaign, keys[campaign]).items()
    }


def _email(conn: Connection, key: str) -> Email:
    found = emails.listed(conn, [key])
    if not found:
        raise NotFoundError("email", key)
    return found[0]


def preview_of(sample: Sample) -> dict[str, Any]:
    """Return what a template may say: of a contact, or of nobody."""
    return {**preview_values(sample.recipient, sample.entry), "unsubscribe_url": "#", "open_url": ""}


def note_of(note: EmailNote) -> str:
    """Return what to look at in an email, with its version where there are several."""
    said = sentence(note.sentence)
    if note.version is None or note.version == VersionName(None, None):
        return said
    return f"{version_name(note.version.variant, note.version.locale)}{_(': ')}{said}"


def version_name(variant: str | None, locale: str | None) -> str:
    """Return what a version is called."""
    if variant and locale:
        return _("Variant {variant}, in {locale}", variant=variant, locale=locale)
    if variant:
        return _("Variant {variant}", variant=variant)
    return _("Translation {locale}", locale=locale) if locale else _("Main version")
