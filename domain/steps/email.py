"""Sending an email, and waiting for it to be opened, clicked or answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from domain.operators import wildcard
from domain.steps.properties import Name, Patterns, WholeNumber, without_scheme
from domain.steps.registry import (
    Batch,
    Done,
    Fact,
    Need,
    NoProperties,
    Outbound,
    Properties,
    Result,
    Skipped,
    Standing,
    action,
    decision,
)


class SendEmail(Properties):
    email: Name = Field(description="Key of the email template.")
    email_type: Literal["marketing", "transactional"] = Field(
        default="marketing",
        description="A marketing email goes to a contact once, and never against do-not-contact; "
        "a transactional one always goes.",
    )
    priority: Literal["normal", "high"] = Field(default="normal", description="Which emails go first.")
    attempts: Annotated[WholeNumber, Field(ge=1)] = Field(
        default=3, description="How often to try to deliver it before giving up."
    )


@action(
    "email.send",
    properties=SendEmail,
    needs=[Need.EMAILS, Need.DO_NOT_CONTACT, Need.RECEIVED],
    reference="email.send",
)
def send(batch: Batch[SendEmail]) -> list[Result]:
    """Sends an email to the contact.

    Skipped when the template does not exist or is not published, when the contact has no address,
    and, for marketing emails, when it must not be contacted by email or was already sent this one.
    """
    properties = batch.properties
    template = properties.email
    facts = batch.world.emails.get(template)
    if facts is None or not facts.published:
        state = "does not exist" if facts is None else "is not published"
        return [Skipped(f"the email {template!r} {state}")] * len(batch.contacts)
    payload = {
        "email_type": properties.email_type,
        "priority": properties.priority,
        "attempts": properties.attempts,
    }
    marketing = properties.email_type == "marketing"
    no_address = Skipped("it has no email address")
    again = Skipped(f"it was already sent the email {template!r}")
    this = frozenset([template])
    results: list[Result] = []
    # Nothing in here may raise: `received` is not put back when a batch is tried contact by contact.
    for contact in batch.contacts:
        address = contact.email
        if not address or address.isspace():
            results.append(no_address)
            continue
        if marketing:
            reason = contact.do_not_contact.get("email")
            if reason is not None:
                results.append(Skipped(f"it must not be contacted by email: {reason}"))
                continue
            if template in contact.received:
                results.append(again)
                continue
        contact.received = contact.received | this
        results.append(Done(effects=(Outbound("email", template, address, payload),)))
    return results


@decision("email.open", properties=NoProperties, events=["email.opened"], reference="email.open")
def opened(properties: NoProperties, fact: Fact, standing: Standing) -> bool:
    """The contact opens the nearest email that was sent above this step. A click counts as an opening."""
    return _is_about(fact, standing)


class Clicked(Properties):
    urls: Patterns = Field(
        default=[],
        description="Texts, one of which the address clicked contains; * stands for anything and ? for one "
        "character. Case, http, https and a slash at the end do not matter; none: any link.",
    )

    @field_validator("urls")
    @classmethod
    def _says_something(cls, urls: list[str]) -> list[str]:
        for url in urls:
            if not without_scheme(url):
                raise ValueError(f"{url!r} is part of any address; say more of it, or leave urls out")
        return urls


@decision("email.click", properties=Clicked, events=["email.clicked"], reference="email.click")
def clicked(properties: Clicked, fact: Fact, standing: Standing) -> bool:
    """The contact clicks a link in the nearest email that was sent above this step: one of those listed, or any."""
    if not _is_about(fact, standing):
        return False
    if not properties.urls:
        return True
    url = fact.data.get("url")
    if not isinstance(url, str) or not url:
        return False
    address = without_scheme(url)
    return any(wildcard(f"*{without_scheme(part)}*").match(address) for part in properties.urls)


@decision("email.reply", properties=NoProperties, events=["email.replied"], reference="email.reply")
def replied(properties: NoProperties, fact: Fact, standing: Standing) -> bool:
    """The contact answers the nearest email that was sent above this step."""
    return _is_about(fact, standing)


def _is_about(fact: Fact, standing: Standing) -> bool:
    email = fact.data.get("email")
    return email is not None and email == standing.email
