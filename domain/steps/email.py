"""Sending an email, and waiting for it to be opened, clicked or answered."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from parcours.domain.contacts.contact import Contact
from parcours.domain.operators import wildcard
from parcours.domain.retries import MESSAGE_ATTEMPTS
from parcours.domain.steps import sending
from parcours.domain.steps.batch import Batch, EmailFacts, Fact, Standing
from parcours.domain.steps.properties import ADVANCED, Address, Attempts, Name, Patterns, without_scheme
from parcours.domain.steps.registry import action, decision
from parcours.domain.steps.types import Done, Need, NoProperties, Outbound, Properties, RefersTo, Result, Skipped
from parcours.domain.steps.words import listed
from parcours.domain.time import schedule
from parcours.domain.time.intervals import Interval, parse_interval
from parcours.domain.time.zones import zone_of

ALWAYS = "always"


class SendEmail(Properties):
    email: Name = Field(description="Key of the email template.")
    email_type: Literal["marketing", "transactional"] = Field(
        default="marketing",
        description="A marketing email is sent to a contact only once, and respects do-not-contact entries and "
        "policies. A transactional email is always sent, before marketing emails.",
    )
    priority: Literal["normal", "high"] = Field(
        default="normal", description="Priority: high is sent before normal.", json_schema_extra=ADVANCED
    )
    again: str | None = Field(
        default=None,
        description="When a contact may receive this marketing email again: `always`, or some time after the last "
        "one, such as `after 300 days`. By default, a contact receives it once.",
        json_schema_extra=ADVANCED,
    )
    attempts: Attempts = MESSAGE_ATTEMPTS

    @field_validator("again")
    @classmethod
    def _can_be_read(cls, again: str | None) -> str | None:
        if again is not None and again != ALWAYS:
            _interval_of(again)
        return again

    @model_validator(mode="after")
    def _is_about_marketing(self) -> SendEmail:
        if self.again is not None and self.email_type == "transactional":
            raise ValueError("a transactional email goes every time; leave 'again' out")
        return self


def _interval_of(again: str) -> Interval:
    """Return how long after the last time an email may go again. Raises ValueError with a sentence."""
    word, _, length = again.strip().partition(" ")
    if word != "after":
        raise ValueError(f"'again' is always, or such as 'after 300 days', not {again!r}")
    return parse_interval(length)


@action(
    "email.send",
    properties=SendEmail,
    needs=[Need.EMAILS, Need.DO_NOT_CONTACT, Need.RECEIVED, Need.POLICIES],
    refers_to={"email": RefersTo.EMAIL},
    sends=["email"],
    reference="email.send",
    summary=lambda asked: f"send “{asked.email}”",
)
def send(batch: Batch[SendEmail]) -> list[Result]:
    """Sends an email to the contact.

    Skipped when the template does not exist or is not published, when the contact has no address or refused the
    template's category (do not contact on `email:CATEGORY`), and, for marketing emails, when the contact is marked as
    do not contact for email or already received this email
    (unless `again` allows it). A policy or the contact's preferences can hold back a
    marketing email. It is then skipped (`skip`); or sent later while the following steps continue at once (`queue`),
    so that "opened within 3 days" starts before the email is sent; or the contact waits here until it can be sent
    (`next_slot`).
    """
    properties = batch.properties
    template = properties.email
    facts = batch.world.emails.get(template)
    missing = sending.not_sendable("email", template, facts)
    if missing is not None:
        return [Skipped(missing)] * len(batch.contacts)
    marketing = properties.email_type == "marketing"
    payload: dict[str, Any] = {
        "email_type": properties.email_type,
        "priority": properties.priority,
        "attempts": properties.attempts,
    }
    if properties.again is not None:
        # What went before is no reason to withdraw it; the same from a contact that is merged meanwhile is one.
        payload["again_since"] = batch.now.isoformat()
    rank = sending.rank(batch, high=properties.priority == "high")
    this, at = frozenset([template]), {template: batch.now}
    results: list[Result] = []
    for contact in batch.contacts:
        again = properties.again is not None and _may_go_again(batch, contact)
        reason = unreachable(contact, template, facts, marketing=marketing, again=again)
        if reason is not None:
            results.append(Skipped(reason))
            continue
        outbound = Outbound("email", template, contact.email, payload, marketing, rank)
        result = sending.send(batch, contact, outbound)
        if isinstance(result, Done):
            contact.received = contact.received | this
            # Most received nothing before, and share it.
            contact.received_at = {**contact.received_at, **at} if contact.received_at else at
        results.append(result)
    return results


def _may_go_again(batch: Batch[SendEmail], contact: Contact) -> bool:
    """Return whether a contact that was sent the email before may be sent it once more."""
    again, last = batch.properties.again, contact.received_at.get(batch.properties.email)
    if again is None or again == ALWAYS or last is None:
        return again is not None
    zone = zone_of(contact.timezone, batch.zone)
    return schedule.add(_interval_of(again), last, zone) <= batch.now


def unreachable(
    contact: Contact, template: str, facts: EmailFacts | None, *, marketing: bool = True, again: bool = False
) -> str | None:
    """Return why a contact cannot be sent an email of a template, or None. `again`: also one that it had before."""
    if not contact.email or contact.email.isspace():
        return "the contact has no email address"
    if facts is not None and facts.category is not None:
        reason = contact.do_not_contact.get(category_channel(facts.category))
        if reason is not None:
            return f"the contact refused emails of the category {facts.category!r}: {reason}"
    if marketing:
        reason = sending.refusal(contact, "email")
        if reason is not None:
            return reason
        if template in contact.received and not again:
            return f"the contact already received the email {template!r}"
    return None


def category_channel(category: str) -> str:
    """Return the channel under which a contact refuses emails of a category; channels have small letters."""
    return f"email:{category.lower()}"


class SendEmailToUser(Properties):
    email: Name = Field(description="Key of the email template.")
    to: list[Address] = Field(default=[], description="Email addresses, or Liquid such as {{ contact.owner }}.")
    cc: list[Address] = Field(default=[], description="Addresses that receive a copy (Cc).")
    bcc: list[Address] = Field(default=[], description="Addresses that receive a blind copy (Bcc).")
    to_owner: bool = Field(default=False, description="Whether to send it to the contact's owner.")
    attempts: Attempts = MESSAGE_ATTEMPTS

    @model_validator(mode="after")
    def _goes_to_somebody(self) -> SendEmailToUser:
        if not (self.to or self.cc or self.bcc or self.to_owner):
            raise ValueError("give at least one address in to, cc or bcc, or set to_owner")
        return self


@action(
    "email.send_to_user",
    properties=SendEmailToUser,
    needs=[Need.EMAILS],
    refers_to={"email": RefersTo.EMAIL},
    reference="email.send.to.user",
    summary=lambda asked: f"send “{asked.email}” to colleagues",
)
def send_to_user(batch: Batch[SendEmailToUser]) -> list[Result]:
    """Sends an email about the contact to colleagues.

    Skipped when the template does not exist or is not published, and when the owner is the only recipient but the
    contact has no owner. Do-not-contact entries and policies do not apply. Addresses that Liquid renders empty or
    invalid are omitted.
    """
    properties = batch.properties
    missing = sending.not_sendable("email", properties.email, batch.world.emails.get(properties.email))
    if missing is not None:
        return [Skipped(missing)] * len(batch.contacts)
    payload: dict[str, Any] = {name: getattr(properties, name) for name in ("to", "cc", "bcc")}
    payload |= {"to_owner": properties.to_owner, "attempts": properties.attempts}
    others = properties.to or properties.cc or properties.bcc
    outbound = Outbound("email", properties.email, None, payload, marketing=False, priority=sending.rank(batch))
    nobody = Skipped("the contact has no owner, and there is no other recipient")
    done = Done(effects=(outbound,))
    return [done if others or (contact.owner or "").strip() else nobody for contact in batch.contacts]


@decision(
    "email.open",
    properties=NoProperties,
    events=["email.opened"],
    about="email",
    likely=35,
    reference="email.open",
    summary=lambda asked: "opens the email",
)
def opened(properties: NoProperties, fact: Fact, standing: Standing) -> bool:
    """Waits until the contact opens the nearest email sent above this step. A click counts as an open."""
    return _is_about(fact, standing)


class Clicked(Properties):
    urls: Patterns = Field(
        default=[],
        description="Texts that the clicked URL contains; one match is enough. * matches anything and ? matches one "
        "character. Case, http, https and a trailing slash are ignored. Default: any link.",
    )

    @field_validator("urls")
    @classmethod
    def _says_something(cls, urls: list[str]) -> list[str]:
        for url in urls:
            if not without_scheme(url):
                raise ValueError(f"{url!r} matches every URL; give a longer text, or omit urls")
        return urls


@decision(
    "email.click",
    properties=Clicked,
    events=["email.clicked"],
    about="email",
    likely=8,
    reference="email.click",
    summary=lambda asked: f"clicks a link to {listed(asked.urls)}" if asked.urls else "clicks a link in the email",
)
def clicked(properties: Clicked, fact: Fact, standing: Standing) -> bool:
    """Waits until the contact clicks a link, or one of the given links, in the nearest email sent above this step."""
    if not _is_about(fact, standing):
        return False
    if not properties.urls:
        return True
    url = fact.data.get("url")
    if not isinstance(url, str) or not url:
        return False
    address = without_scheme(url)
    return any(wildcard(f"*{without_scheme(part)}*").match(address) for part in properties.urls)


@decision(
    "email.reply",
    properties=NoProperties,
    events=["email.replied"],
    about="email",
    likely=2,
    reference="email.reply",
    summary=lambda asked: "replies to the email",
)
def replied(properties: NoProperties, fact: Fact, standing: Standing) -> bool:
    """Waits until the contact replies to the nearest email sent above this step."""
    return _is_about(fact, standing)


def _is_about(fact: Fact, standing: Standing) -> bool:
    email, message = fact.data.get("email"), fact.data.get("message")
    if email is not None and email == standing.email:
        return True
    # Which email a marketing message was depends on its template, so the message itself tells.
    sender = standing.campaign.sender_upstream(standing.step, "email")
    if sender is None or standing.email is not None or not isinstance(message, str):
        return False
    return message.startswith(f"{standing.campaign.id}-{sender.id}-")
