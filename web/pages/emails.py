"""Email templates: a list, and one as it looks and as it is written. Nothing is changed or sent here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from sqlalchemy import Connection

from db import contacts, emails
from db.emails import Email
from domain.errors import NotFoundError
from domain.templates import RenderError, one_line, render
from web.language import _
from web.pages import SiteOf, pages_router
from web.pages.rendering import render as page

router = pages_router()

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


@router.get("/emails")
def show_all(request: Request, site: SiteOf) -> Response:
    """All email templates."""
    with site.engine.connect() as conn:
        found = emails.listed(conn)
    return page(request, "emails/list.html", emails=found)


@router.get("/emails/{key:path}/preview")
def preview(request: Request, site: SiteOf, key: str) -> Response:
    """The HTML alone, filled in; for the frame of the page below."""
    with site.engine.connect() as conn:
        email = _email(conn, key)
        values = _values(conn, request.query_params.get("contact", ""))
    try:
        body = render(email.html or "", values, html=True)
    except RenderError as error:
        # The words of the error may hold what the template does, which is somebody's HTML.
        body = bytes(page(request, "emails/broken.html", error=str(error)).body).decode()
    headers = {"Content-Security-Policy": PREVIEW_POLICY, "X-Frame-Options": "SAMEORIGIN"}
    return HTMLResponse(body, headers=headers)


@router.get("/emails/{key:path}")
def show(request: Request, site: SiteOf, key: str) -> Response:
    """A template, filled in for a contact that one may choose, and its source."""
    wanted = request.query_params.get("contact", "").strip()
    error = None
    with site.engine.connect() as conn:
        email = _email(conn, key)
        values = _values(conn, wanted)
    if wanted and values["contact"].get("key") != wanted:
        error = _("There is no contact {key}.", key=wanted)
    filled = {}
    for name in ("subject", "text"):
        source = getattr(email, name)
        try:
            filled[name] = None if source is None else render(source, values)
        except RenderError as problem:
            filled[name], error = source, str(problem)
    address = f"/emails/{quote(key, safe='')}"
    return page(
        request,
        "emails/show.html",
        email=email,
        subject=one_line(filled["subject"] or ""),
        text=filled["text"],
        wanted=wanted,
        error=error,
        preview=f"{address}/preview" + (f"?{urlencode({'contact': wanted})}" if wanted else ""),
        address=address,
    )


def _email(conn: Connection, key: str) -> Email:
    found = next((each for each in emails.listed(conn) if each.key == key), None)
    if found is None:
        raise NotFoundError("email", key)
    return found


def _values(conn: Connection, key: str) -> Mapping[str, Any]:
    """Return what the template may say: of a contact, or of nobody."""
    found = contacts.show(conn, key) if key else None
    contact: dict[str, Any] = {}
    if found is not None:
        names = ("key", "email", "timezone", "points", "stage", "owner", "tags")
        contact = {**found.fields, **{name: getattr(found, name) for name in names}}
    nothing = {"key": "preview", "name": "preview"}
    return {
        "contact": contact,
        "campaign": nothing,
        "step": nothing,
        "message": nothing,
        "unsubscribe_url": "#",
        "open_url": "",
    }
