"""Email templates."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from pydantic import BaseModel, Field

from parcours.db.clock import now as database_now
from parcours.db.tables import emails
from parcours.domain.errors import NotFoundError
from parcours.domain.messages.content import Content
from parcours.producers.files import emails as email_files
from parcours.web.api.common import (
    JSON_TYPES,
    Cursor,
    Limit,
    Listed,
    Manager,
    Raw,
    Reader,
    SiteOf,
    api_router,
    checked_json,
    page_by_key,
    unusable,
)
from parcours.web.paging import address
from parcours.web.security.bodies import check_content_type

router = api_router("emails")

EXAMPLE = {
    "subject": "Welcome, {{ contact.first_name }}",
    "html": '<p>Hello. <a href="{{ unsubscribe_url }}">No more</a></p>',
    "translations": {"fr": {"subject": "Bienvenue"}},
}
EMAIL_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The content of an email file as JSON. The key is in the URL.",
        "content": {JSON_TYPES[0]: {"schema": {"type": "object"}, "example": EXAMPLE}},
    }
}


# What YAML, as which the checks of files read it, refuses or takes for the end of a line where JSON does not.
_UNLIKE_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class EmailText(BaseModel):
    """Subject and bodies, in Liquid. A null value is taken from the main template."""

    subject: str | None = Field(None, examples=["Welcome"])
    html: str | None = Field(None, examples=["<p>Hello</p>"])
    text: str | None = Field(None, examples=[None])


class EmailVariant(EmailText):
    """A variant that a share of the contacts receives instead."""

    name: str = Field(examples=["short"])
    weight: float = Field(examples=[50], description="Percent.")
    translations: dict[str, EmailText]


class EmailResource(EmailText):
    """An email template. `from` is null if the installation's sender is used."""

    key: str = Field(examples=["welcome-1"])
    sender: str | None = Field(alias="from", examples=["Ann <ann@example.com>"])
    category: str | None = Field(examples=["news"])
    published: bool = Field(examples=[True])
    tracking: bool = Field(examples=[True])
    variants: list[EmailVariant]
    translations: dict[str, EmailText]


def _given(request: Request, raw: Raw) -> Any:
    check_content_type(request, JSON_TYPES)
    return checked_json(raw)


@router.get("/emails", summary="List email templates")
def list_emails(site: SiteOf, _who: Reader, limit: Limit = 50, cursor: Cursor = None) -> Listed[EmailResource]:
    """By key."""
    with site.engine.connect() as conn:
        rows, more = page_by_key(emails.listed(conn), limit, "emails", cursor)
    return Listed(items=list(map(_email, rows)), next=more)


@router.get("/emails/{email:path}", summary="Get an email template")
def get_email(site: SiteOf, _who: Reader, email: str) -> EmailResource:
    """Returns the source of the template, not rendered."""
    with site.engine.connect() as conn:
        found = emails.listed(conn, [email])
    if not found:
        raise NotFoundError("email", email)
    return _email(found[0])


@router.put(
    "/emails/{email:path}",
    summary="Create or update an email template",
    responses={201: {"description": "The template is new."}},
    openapi_extra=EMAIL_BODY,
)
def put_email(
    site: SiteOf, _who: Manager, email: str, response: Response, given: Annotated[Any, Depends(_given)]
) -> EmailResource:
    """The body is the complete template, with the same checks as `parcours emails apply`."""
    if not isinstance(given, dict):
        raise unusable([("", "an email is an object: subject, html, …")])
    if given.get("key", email) != email:
        raise unusable([("key", "the URL has a different key")])
    text = _UNLIKE_JSON.sub(_escaped, json.dumps({**given, "key": email}, ensure_ascii=False))
    read, problems = email_files.read_text(text, Path("body.json"))
    if problems or not read:
        raise unusable([("", each.what) for each in problems])
    with site.engine.begin() as conn:
        stored = emails.save(conn, read[0], now=database_now(conn))
        (found,) = emails.listed(conn, [read[0].key])
    if stored == "created":
        response.status_code = 201
        response.headers["Location"] = address("api", "emails", found.key)
    return _email(found)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _email(email: emails.Email) -> EmailResource:
    return EmailResource.model_validate(
        {
            **_said(Content(email.subject, email.html, email.text)),
            "key": email.key,
            "from": email.sender,
            "category": email.category,
            "published": email.published,
            "tracking": email.tracking,
            "variants": [
                {
                    **_said(each.content),
                    "name": each.name,
                    "weight": each.weight,
                    "translations": {locale: _said(content) for locale, content in each.translations.items()},
                }
                for each in email.variants
            ],
            "translations": {locale: _said(content) for locale, content in email.translations.items()},
        }
    )


def _said(content: Content) -> dict[str, Any]:
    return asdict(content)
