"""Conditions on what a contact did, and how often: events, emails and forms."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from parcours.domain.contacts import touched
from parcours.domain.contacts.touched import Reads
from parcours.domain.events.matching import PropertyTest, passes
from parcours.domain.events.table import ABOUT_THE_CONTACT, EVENT_TYPES
from parcours.domain.steps.batch import Batch, Fact
from parcours.domain.steps.period import Lately
from parcours.domain.steps.properties import Name, WholeNumber
from parcours.domain.steps.registry import condition
from parcours.domain.steps.types import MOST_LOOKED_AT, Look, Need, RefersTo, event_pattern
from parcours.domain.steps.words import one_of, tested, times
from parcours.domain.time.text import iso
from parcours.domain.time.zones import zone_of


class EventCount(Lately):
    type: Name = Field(description="Event type, such as order.paid; * matches any characters.")
    at_least: WholeNumber | None = Field(
        default=None, ge=1, le=MOST_LOOKED_AT, description="Minimum number of events; 1 if no number is given."
    )
    at_most: WholeNumber | None = Field(default=None, ge=0, le=MOST_LOOKED_AT, description="Maximum number of events.")
    exactly: WholeNumber | None = Field(default=None, ge=0, le=MOST_LOOKED_AT, description="Exact number of events.")
    where: list[PropertyTest] = Field(
        default=[],
        description="Tests of the event's properties, as in the decision event.happened; only events that pass all of "
        "them count.",
    )

    @field_validator("type")
    @classmethod
    def _is_what_contacts_do(cls, type_: str) -> str:
        if type_ in ABOUT_THE_CONTACT:
            raise ValueError(f"{type_} describes the contact, not an action of the contact, and cannot be counted")
        return type_

    @model_validator(mode="after")
    def _counts_one_way(self) -> EventCount:
        if self.exactly is not None and (self.at_least is not None or self.at_most is not None):
            raise ValueError("use either 'exactly', or 'at_least' and 'at_most'")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(
                f"at_least must not be greater than at_most, but {self.at_least} is greater than {self.at_most}"
            )
        return self

    @property
    def bounds(self) -> tuple[int, int | None]:
        """How often at least, and at most if that is asked."""
        if self.exactly is not None:
            return self.exactly, self.exactly
        if self.at_least is None and self.at_most is None:
            return 1, None
        return self.at_least or 0, self.at_most

    @property
    def types(self) -> frozenset[str]:
        """The types of event that count; a click counts as an opening too."""
        matches = event_pattern(self.type).match
        return frozenset([self.type]) | {
            name for name, each in EVENT_TYPES.items() if each.counts_as is not None and matches(each.counts_as)
        }


def _reads_events(asked: EventCount) -> Reads:
    types = asked.types
    any_type = any("*" in each for each in types)
    events = frozenset([touched.EVENTS]) if any_type else touched.of(touched.EVENTS, types)
    return events | asked.reads_of_period()


def _looks_at_events(asked: EventCount) -> tuple[Look, ...]:
    least, most = asked.bounds
    # Without tests, more than the highest count that matters need not be known.
    enough = None if asked.where else max(least, most or 0) + 1
    return (asked.look(Need.EVENTS, types=asked.types, most=enough),)


def _counted(batch: Batch[EventCount], contact_id: int) -> Iterator[Fact]:
    """Yield the events that count, whenever they happened."""
    asked = batch.properties
    matches = event_pattern(asked.type).match
    for fact in batch.world.events.get(contact_id, ()):
        if matches(fact.type) and passes(asked.where, fact):
            yield fact


def _count_flips(batch: Batch[EventCount]) -> list[datetime | None]:
    asked, found = batch.properties, []
    least, most = asked.bounds
    # The counts at which the answer changes.
    thresholds = [each for each in (least, None if most is None else most + 1) if each]
    for contact in batch.contacts:
        zone = zone_of(contact.timezone, batch.zone)
        ats = (fact.at for fact in _counted(batch, contact.id))
        found.append(asked.turn_at(thresholds, ats, batch.now, zone))
    return found


def _shows_count(batch: Batch[EventCount]) -> list[Any]:
    found: list[Any] = []
    for contact in batch.contacts:
        ats = _ats_that_count(batch, contact.id, contact.timezone)
        found.append({"count": len(ats), "latest": iso(max(ats, default=None))})
    return found


def _says_count(asked: EventCount) -> str:
    tests = " and ".join(tested(each.field, each.operator, each.value) for each in asked.where)
    where = f" where {tests}" if tests else ""
    return f"the event {asked.type}{where} {times(*asked.bounds)}{asked.in_words()}"


def _ats_that_count(batch: Batch[EventCount], contact_id: int, timezone: str | None) -> list[datetime]:
    zone = zone_of(timezone, batch.zone)
    return [fact.at for fact in _counted(batch, contact_id) if batch.properties.covers(fact.at, batch.now, zone)]


@condition(
    "event.count",
    properties=EventCount,
    needs=[Need.EVENTS],
    reads=_reads_events,
    looks=_looks_at_events,
    flips=_count_flips,
    shows=_shows_count,
    says=_says_count,
)
def event_count(batch: Batch[EventCount]) -> list[bool]:
    """True if the contact has the number of events asked for, in the period if one is given.

    Events caused by machines do not count. In tests of dates, days are in UTC and "now" is the time of the event, as in
    event.happened. If there are tests or older_than, only the latest 1,000 events of the contact and type are read. An
    event that leads directly to this step is not counted yet.
    """
    least, most = batch.properties.bounds
    answers = []
    for contact in batch.contacts:
        count = len(_ats_that_count(batch, contact.id, contact.timezone))
        answers.append(least <= count and (most is None or count <= most))
    return answers


def _some(keys: list[str], what: str) -> str:
    return one_of(what, f"{what}s", keys) if keys else f"any {what}"


class EmailActivity(Lately):
    activity: Literal["sent", "opened", "clicked", "bounced"] = Field(
        description="What happened to the email. A click counts as an opening too."
    )
    emails: list[Name] = Field(
        default=[], description="Email keys; one match is enough. Without keys, any email matches."
    )


def _reads_emails(asked: EmailActivity) -> Reads:
    return frozenset([touched.EMAILS]) | asked.reads_of_period()


def _mailed(batch: Batch[EmailActivity], contact_id: int) -> Iterator[datetime]:
    asked = batch.properties
    for each in batch.world.mailings.get(contact_id, ()):
        if each.activity == asked.activity and (not asked.emails or each.email in asked.emails):
            yield each.at


def _mail_flips(batch: Batch[EmailActivity]) -> list[datetime | None]:
    return [
        batch.properties.first_turn(_mailed(batch, each.id), batch.now, zone_of(each.timezone, batch.zone))
        for each in batch.contacts
    ]


def _says_activity(asked: EmailActivity) -> str:
    happened = asked.activity if asked.activity == "bounced" else f"was {asked.activity}"
    return f"{_some(asked.emails, 'email')} {happened}{asked.in_words()}"


@condition(
    "email.activity",
    properties=EmailActivity,
    needs=[Need.MAILINGS],
    refers_to={"emails": RefersTo.EMAIL},
    reads=_reads_emails,
    looks=lambda asked: (asked.look(Need.MAILINGS),),
    flips=_mail_flips,
    says=_says_activity,
    shows=lambda batch: [{"latest": iso(max(_mailed(batch, each.id), default=None))} for each in batch.contacts],
)
def email_activity(batch: Batch[EmailActivity]) -> list[bool]:
    """True if an email to the contact was sent, opened, clicked or bounced, in the period if one is given.

    Emails sent by Parcours count, and events that name an email by its key. Openings by machines do not count.
    """
    asked = batch.properties
    return [
        any(asked.covers(at, batch.now, zone_of(each.timezone, batch.zone)) for at in _mailed(batch, each.id))
        for each in batch.contacts
    ]


class FormSent(Lately):
    forms: list[Name] = Field(default=[], description="Form keys; one match is enough. Without keys, any form matches.")


def _reads_forms(asked: FormSent) -> Reads:
    forms = touched.of(touched.SUBMISSIONS, asked.forms) if asked.forms else frozenset([touched.SUBMISSIONS])
    return forms | asked.reads_of_period()


def _submitted(batch: Batch[FormSent], contact_id: int) -> list[datetime]:
    forms = batch.properties.forms
    # Without a time it was made up just now.
    return [
        each.at or batch.now for each in batch.world.submissions.get(contact_id, ()) if not forms or each.form in forms
    ]


@condition(
    "form.submitted",
    properties=FormSent,
    needs=[Need.SUBMISSIONS],
    refers_to={"forms": RefersTo.FORM},
    reads=_reads_forms,
    flips=lambda batch: [
        batch.properties.first_turn(_submitted(batch, each.id), batch.now, zone_of(each.timezone, batch.zone))
        for each in batch.contacts
    ],
    says=lambda asked: f"{_some(asked.forms, 'form')} was submitted{asked.in_words()}",
    shows=lambda batch: [{"latest": iso(max(_submitted(batch, each.id), default=None))} for each in batch.contacts],
)
def form_submitted(batch: Batch[FormSent]) -> list[bool]:
    """True if the contact submitted one of the forms, in the period if one is given.

    Submissions of deleted forms do not count. Only the latest 1,000 submissions of the contact are read.
    """
    asked = batch.properties
    return [
        any(asked.covers(at, batch.now, zone_of(each.timezone, batch.zone)) for at in _submitted(batch, each.id))
        for each in batch.contacts
    ]
