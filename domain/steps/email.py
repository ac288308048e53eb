"""Sending an email, and waiting for it to be opened, clicked or answered."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from parcours.domain.contacts.contact import Contact
from parcours.domain.operators import wildcard
from parcours.domain.retries import MESSAGE_ATTEMPTS
from parcours.domain.steps import sending
from parcours.domain.steps.batch import Batch, EmailFacts, Fact, Standing
from parcours.domain.steps.properties import Address, Attempts, Name, Patterns, without_scheme
from parcours.domain.steps.registry import action, decision
from parcours.domain.steps.types import Done, Need, NoProperties, Outbound, Properties, RefersTo, Result, Skipped
from parcours.domain.time import schedule
from parcours.domain.time.intervals import Interval, parse_interval
from parcours.domain.time.zones import zone_of

ALWAYS = "always"


class SendEmail(Properties):
    email: Name = Field(description="Key of the email template.")
    email_type: Literal["marketing", "transactional"] = Field(
        default="marketing",
        description="A marketing email goes to a contact once, never against do-not-contact, and within its "
        "policies; a transactional one always goes, and before the others.",
    )
    priority: Literal["normal", "high"] = Field(default="normal", description="Which emails go first.")
    again: str | None = Field(
        default=None,
        description="When a marketing email may go to a contact again: `always`, or after so long since the last "
        "time, such as `after 300 days`. Otherwise it goes once.",
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
)
def send(batch: Batch[SendEmail]) -> list[Result]:
    """Sends an email to the contact.

    Skipped when the template does not exist or is not published, when the contact has no address or
    does not want emails of the template's category (do not contact on `email:CATEGORY`), and, for
    marketing emails, when it must not be contacted by email or was already sent this one (unless `again`
    says that it may come more than once). A policy or
    the contact's own rule may hold a marketing email back: it is skipped, goes later while the steps
    below follow at once (`queue`: "opened within 3 days" then begins before the email leaves), or the
    contact waits here until it may go.
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
    this = frozenset([template])
    results: list[Result] = []
    for contact in batch.contacts:
        reason = unreachable(contact, template, facts, marketing=marketing, again=_may_go_again(batch, contact))
        if reason is not None:
            results.append(Skipped(reason))
            continue
        outbound = Outbound("email", template, contact.email, payload, marketing, rank)
        result = sending.send(batch, contact, outbound)
        if isinstance(result, Done):
            contact.received = contact.received | this
            contact.received_at = {**contact.received_at, template: batch.now}
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
        return "it has no email address"
    if facts is not None and facts.category is not None:
        reason = contact.do_not_contact.get(category_channel(facts.category))
        if reason is not None:
            return f"it does not want emails of the category {facts.category!r}: {reason}"
    if marketing:
        reason = sending.refusal(contact, "email")
        if reason is not None:
            return reason
        if template in contact.received and not again:
            return f"it was already sent the email {template!r}"
    return None


def category_channel(category: str) -> str:
    """Return the channel under which a contact refuses emails of a category; channels have small letters."""
    return f"email:{category.lower()}"


class SendEmailToUser(Properties):
    email: Name = Field(description="Key of the email template.")
    to: list[Address] = Field(default=[], description="Addresses, or Liquid such as {{ contact.owner }}.")
    cc: list[Address] = Field(default=[], description="Who gets a copy.")
    bcc: list[Address] = Field(default=[], description="Who gets a copy that the others do not see.")
    to_owner: bool = Field(default=False, description="Whether the contact's owner gets it.")
    attempts: Attempts = MESSAGE_ATTEMPTS

    @model_validator(mode="after")
    def _goes_to_somebody(self) -> SendEmailToUser:
        if not (self.to or self.cc or self.bcc or self.to_owner):
            raise ValueError("name at least one address in to, cc or bcc, or set to_owner")
        return self


@action(
    "email.send_to_user",
    properties=SendEmailToUser,
    needs=[Need.EMAILS],
    refers_to={"email": RefersTo.EMAIL},
    reference="email.send.to.user",
)
def send_to_user(batch: Batch[SendEmailToUser]) -> list[Result]:
    """Sends colleagues an email, with what is known of the contact.

    Skipped when the template does not exist or is not published, and when it would go to the contact's
    owner alone and there is none. It is not for the contact, so do-not-contact and policies do not
    bind it. An address that Liquid leaves empty or broken is left out when the email goes.
    """
    properties = batch.properties
    missing = sending.not_sendable("email", properties.email, batch.world.emails.get(properties.email))
    if missing is not None:
        return [Skipped(missing)] * len(batch.contacts)
    payload: dict[str, Any] = {name: getattr(properties, name) for name in ("to", "cc", "bcc")}
    payload |= {"to_owner": properties.to_owner, "attempts": properties.attempts}
    others = properties.to or properties.cc or properties.bcc
    outbound = Outbound("email", properties.email, None, payload, marketing=False, priority=sending.rank(batch))
    nobody = Skipped("it has no owner, and the email goes to nobody else")
    done = Done(effects=(outbound,))
    return [done if others or (contact.owner or "").strip() else nobody for contact in batch.contacts]


@decision(
    "email.open", properties=NoProperties, events=["email.opened"], about="email", likely=35, reference="email.open"
)
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


@decision("email.click", properties=Clicked, events=["email.clicked"], about="email", likely=8, reference="email.click")
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


@decision(
    "email.reply", properties=NoProperties, events=["email.replied"], about="email", likely=2, reference="email.reply"
)
def replied(properties: NoProperties, fact: Fact, standing: Standing) -> bool:
    """The contact answers the nearest email that was sent above this step."""
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
