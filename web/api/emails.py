"""Email templates."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, Request, Response
from pydantic import BaseModel, Field

from parcours.db.clock import now as database_now
from parcours.db.tables import emails
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.services import email_templates, removal
from parcours.services.email_figures_json import figures_json
from parcours.services.email_templates import VersionName, email_json
from parcours.web.api.common import (
    JSON_TYPES,
    Cursor,
    Given,
    Limit,
    Listed,
    Manager,
    Raw,
    Reader,
    SiteOf,
    api_router,
    body,
    checked_json,
    documented,
    page_by_key,
    refused_as_conflict,
    unusable,
)
from parcours.web.paging import address
from parcours.web.problems import PROBLEM, ProblemError
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


class WinnerResource(BaseModel):
    """How the winner of the variants is chosen, for each step: after a time from the first email on, by a rate."""

    after: str = Field(examples=["4 hours"])
    by: Literal["opened", "clicked"] = Field(examples=["clicked"])


class EmailResource(EmailText):
    """An email template. `from` is null if the installation's sender is used."""

    key: str = Field(examples=["welcome-1"])
    sender: str | None = Field(alias="from", examples=["Ann <ann@example.com>"])
    category: str | None = Field(examples=["news"])
    published: bool = Field(examples=[True])
    tracking: bool = Field(examples=[True])
    variants: list[EmailVariant]
    translations: dict[str, EmailText]
    winner: WinnerResource | None = Field(None, description="Which version gets all further sends.")


class EmailCounts(BaseModel):
    """Numbers of messages. Opened, clicked and bounced count each message once."""

    sent: int = Field(examples=[120])
    delivered: int = Field(examples=[118], description="Sent and not bounced.")
    opened: int = Field(examples=[60])
    clicked: int = Field(examples=[12])
    bounced: int = Field(examples=[2])
    unsubscribed: int = Field(examples=[1])
    failed: int = Field(examples=[0])


class FiguresOf(EmailCounts):
    """The figures of one step and variant; null for the main version."""

    campaign: str | None = Field(examples=["welcome"])
    step: str | None = Field(examples=["hello"])
    variant: str | None = Field(examples=["short"])


class Link(BaseModel):
    """A link, without its query, and how often it was followed."""

    url: str = Field(examples=["https://example.com/offer"])
    clicks: int = Field(examples=[12])


class WinnerOf(BaseModel):
    """The test of the variants in one step. `decided_at` is null while there is no winner."""

    campaign: str | None = Field(examples=["welcome"])
    step: str | None = Field(examples=["hello"])
    started_at: datetime = Field(description="When the first email went out.")
    ends_at: datetime | None = Field(description="From when on the winner is chosen.")
    decided_at: datetime | None
    variant: str | None = Field(examples=["short"], description="The winner; null is the main version.")


class EmailFiguresResource(BaseModel):
    """Figures of an email."""

    email: str = Field(examples=["welcome-1"])
    total: EmailCounts
    parts: list[FiguresOf]
    winners: list[WinnerOf]
    links: list[Link]


class TestGiven(Given):
    """Where to send a test, and for whom it is filled in."""

    to: str = Field(examples=["ada@example.com"])
    contact: str | None = Field(None, examples=["ann"], description="Contact for the placeholders. Default: nobody.")
    variant: str | None = Field(None, examples=["short"])
    locale: str | None = Field(None, examples=["fr"])


class TestSent(BaseModel):
    """How the test was sent."""

    to: str = Field(examples=["ada@example.com"])
    result: str = Field(examples=["the test email was sent to ada@example.com"])


def _given(request: Request, raw: Raw) -> Any:
    check_content_type(request, JSON_TYPES)
    return checked_json(raw)


@router.get("/emails", summary="List email templates")
def list_emails(site: SiteOf, _who: Reader, limit: Limit = 50, cursor: Cursor = None) -> Listed[EmailResource]:
    """By key."""
    with site.engine.connect() as conn:
        rows, more = page_by_key(emails.listed(conn), limit, "emails", cursor)
    return Listed(items=list(map(_email, rows)), next=more)


# Before what has any key in this place.
@router.get("/emails/{email:path}/figures", summary="Get the figures of an email")
def get_figures(site: SiteOf, _who: Reader, email: str) -> EmailFiguresResource:
    """Sent, delivered, opened, clicked, bounced, unsubscribed and failed: in total, by step and variant, and links.

    The figures of an email stay when it is deleted.
    """
    with site.engine.connect() as conn:
        return EmailFiguresResource.model_validate(figures_json(conn, email))


@router.post(
    "/emails/{email:path}/test",
    summary="Send a test email",
    responses={409: {"content": {PROBLEM: {}}, "description": "The provider did not accept the email."}},
    openapi_extra=documented(TestGiven),
)
def send_test(
    site: SiteOf, _who: Manager, email: str, given: Annotated[TestGiven, Depends(body(TestGiven))]
) -> TestSent:
    """Nothing is counted. The subject begins with [Test]."""
    with site.engine.connect() as conn:
        found = email_templates.find(conn, email)
    named = given.variant is not None or given.locale is not None
    version = VersionName(given.variant, given.locale) if named else None
    try:
        said = email_templates.send_test(
            site.engine, site.settings, found, given.to.strip(), contact=given.contact, version=version
        )
    except NotFoundError:
        raise
    except CampaignError as error:
        raise ProblemError(409, str(error)) from None
    return TestSent(to=given.to.strip(), result=said)


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
    read, problems = email_templates.read(given, email)
    if read is None:
        raise unusable([("", each) for each in problems])
    with site.engine.begin() as conn:
        stored = emails.save(conn, read, now=database_now(conn))
        (found,) = emails.listed(conn, [read.key])
    if stored == "created":
        response.status_code = 201
        response.headers["Location"] = address("api", "emails", found.key)
    return _email(found)


@router.delete(
    "/emails/{email:path}",
    status_code=204,
    summary="Delete an email template",
    responses={
        409: {
            "content": {PROBLEM: {}},
            "description": "Campaigns, drafts, rules or messages use the email, or may, or it is still to be sent.",
        }
    },
)
def delete_email(site: SiteOf, _who: Manager, email: str) -> None:
    """Only if nothing uses it. Its figures and the messages that were sent stay."""
    with refused_as_conflict(), site.engine.begin() as conn:
        removal.delete_email(conn, email)


def _email(email: emails.Email) -> EmailResource:
    return EmailResource.model_validate(email_json(email))
