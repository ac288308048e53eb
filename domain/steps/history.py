"""Conditions on what a contact did before, and on what it was seen with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, model_validator

from parcours.domain import operators
from parcours.domain.contacts import touched
from parcours.domain.contacts.contact import Contact
from parcours.domain.contacts.touched import Reads
from parcours.domain.steps.batch import Batch, by_zone
from parcours.domain.steps.decisions import PageDevice, is_device, is_page, visited
from parcours.domain.steps.period import Lately
from parcours.domain.steps.properties import Json, Moment, Name, Patterns, check_test, reads_of_test
from parcours.domain.steps.registry import condition
from parcours.domain.steps.types import Failed, Look, Need, Properties, RefersTo
from parcours.domain.steps.words import listed, tested
from parcours.domain.time.text import iso
from parcours.domain.time.zones import zone_of

_UTC = ZoneInfo("UTC")


def _device(asked: PageDevice) -> str:
    return "; ".join(map(listed, filter(None, [asked.device_type, asked.device_brand, asked.device_os]))) or "none"


@condition(
    "contact.device",
    properties=PageDevice,
    needs=[Need.DEVICES],
    reads=[touched.DEVICES],
    says=lambda asked: f"the contact was seen with such a device: {_device(asked)}",
    shows=lambda batch: [list(batch.world.devices.get(each.id, ())) for each in batch.contacts],
    reference="lead.device",
)
def has_device(batch: Batch[PageDevice]) -> list[bool]:
    """True if the contact was ever seen with a matching device.

    All given criteria must match the same device; within a criterion, one value is enough. Case is ignored. Without
    criteria, no contact matches.
    """
    asked, devices = batch.properties, batch.world.devices
    if not (asked.device_type or asked.device_brand or asked.device_os):
        return [False] * len(batch.contacts)
    return [any(is_device(asked, each) for each in devices.get(contact.id, ())) for contact in batch.contacts]


class FormFieldTest(Properties):
    form: Name = Field(description="Key of the form.")
    field: Name = Field(description="Name of the form field.")
    operator: str = Field(description="One of " + ", ".join(operators.OPERATORS) + "; also >, >=, < and <=.")
    value: Json = Field(default=None, description="Value to compare with, as in the condition contact.field.")
    which: Literal["latest", "any"] = Field(
        default="latest", description="Test the latest submission of the form, or any of them."
    )

    meant_before: ClassVar[Mapping[str, Any]] = {"which": "any"}

    @model_validator(mode="after")
    def _makes_sense(self, info: ValidationInfo) -> FormFieldTest:
        check_test(self.operator, self.value, info)
        return self


def _asked_values(batch: Batch[FormFieldTest], contact: Contact) -> list[Any]:
    """Return what a contact put into the field, in the submissions that are meant."""
    asked = batch.properties
    past = [each for each in batch.world.submissions.get(contact.id, ()) if each.form == asked.form]
    return [each.fields.get(asked.field) for each in (past[-1:] if asked.which == "latest" else past)]


def _reads_form(asked: FormFieldTest) -> Reads:
    return touched.of(touched.SUBMISSIONS, [asked.form]) | reads_of_test(asked.operator, asked.value)


def _form_flips(batch: Batch[FormFieldTest]) -> list[datetime | None]:
    asked = batch.properties
    flip = by_zone(batch, lambda zone: operators.flips(asked.operator, asked.value, zone))
    # Each value by itself, since one may be a list of its own.
    return [
        min(filter(None, (flip(each)(value, batch.now) for value in _asked_values(batch, each))), default=None)
        for each in batch.contacts
    ]


@condition(
    "form.field",
    properties=FormFieldTest,
    needs=[Need.SUBMISSIONS],
    refers_to={"form": RefersTo.FORM},
    reads=_reads_form,
    flips=_form_flips,
    says=lambda asked: (
        f"in {'the latest' if asked.which == 'latest' else 'any'} submission of the form {asked.form}, "
        + tested(asked.field, asked.operator, asked.value)
    ),
    shows=lambda batch: [_asked_values(batch, each) for each in batch.contacts],
    reference="form.field_value",
)
def form_field(batch: Batch[FormFieldTest]) -> list[bool | Failed]:
    """True if a form field passes the test in the contact's latest submission, or in any of them.

    False, whatever the operator, for contacts who never submitted the form, and for all contacts after the form is
    deleted. Case is ignored, and days are in the contact's timezone. The step fails for a contact when the regular
    expression takes too long.
    """
    asked = batch.properties
    test = by_zone(batch, lambda zone: operators.test(asked.operator, asked.value, zone))
    answers: list[bool | Failed] = []
    for contact in batch.contacts:
        try:
            answers.append(any(test(contact)(value, batch.now) for value in _asked_values(batch, contact)))
        except operators.TooSlowError as error:
            answers.append(Failed(str(error)))
    return answers


class PageVisited(Lately):
    url: Patterns = Field(default=[], description="URL patterns, written as for the decision page.hit.")
    page: Patterns = Field(default=[], description="Page keys; * and ? are wildcards.")
    since: Moment | None = Field(
        default=None,
        description="Earliest date, or date and time; without an offset, in the contact's timezone. Makes the search "
        "faster.",
    )
    until: Moment | None = Field(default=None, description="Latest date (inclusive), or date and time (exclusive).")


def _visits(batch: Batch[PageVisited]) -> Iterator[list[datetime]]:
    """Yield, for each contact, when it visited the pages that are asked for, in the period of dates if there is one."""
    asked = batch.properties
    period = by_zone(batch, lambda zone: _period(asked, zone))
    for contact in batch.contacts:
        since, until = period(contact)
        yield [
            visit.at
            for visit in batch.world.visits.get(contact.id, ())
            if (since is None or visit.at >= since)
            and (until is None or visit.at < until)
            and (not (asked.url or asked.page) or visited(asked.url, visit.url) or is_page(asked.page, visit.page))
        ]


def _reads_visits(asked: PageVisited) -> Reads:
    dates = frozenset() if asked.since is None and asked.until is None else frozenset([touched.TIMEZONE])
    return frozenset([touched.VISITS]) | dates | asked.reads_of_period()


def _looks_at_visits(asked: PageVisited) -> tuple[Look, ...]:
    look = asked.look(Need.VISITS)
    since = None if asked.since is None else operators.instant(asked.since, _UTC)
    return (look._replace(since=since, every=look.every or asked.until is not None),)


def _says_visited(asked: PageVisited) -> str:
    pages = listed([*asked.url, *asked.page]) if asked.url or asked.page else "any page"
    since = f" since {asked.since}" if asked.since else ""
    until = f" until {asked.until}" if asked.until else ""
    return f"the contact visited {pages}{since}{until}{asked.in_words()}"


def _visit_flips(batch: Batch[PageVisited]) -> list[datetime | None]:
    asked = batch.properties
    return [
        asked.first_turn(ats, batch.now, zone_of(each.timezone, batch.zone))
        for each, ats in zip(batch.contacts, _visits(batch), strict=True)
    ]


@condition(
    "page.visited",
    properties=PageVisited,
    needs=[Need.VISITS],
    reads=_reads_visits,
    looks=_looks_at_visits,
    flips=_visit_flips,
    says=_says_visited,
    shows=lambda batch: [{"latest": iso(max(ats, default=None))} for ats in _visits(batch)],
    reference="lead.pageHit",
)
def page_visited(batch: Batch[PageVisited]) -> list[bool]:
    """True if the contact visited a page that matches one of the rules (url or page), in the period if one is given.

    Without rules, any page matches. An event is added to the history after all its effects: a visit that leads directly
    to this step is not included yet. The duration of visits is not recorded.
    """
    asked = batch.properties
    return [
        any(asked.covers(at, batch.now, zone_of(each.timezone, batch.zone)) for at in ats)
        for each, ats in zip(batch.contacts, _visits(batch), strict=True)
    ]


def _period(asked: PageVisited, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    since = None if asked.since is None else operators.instant(asked.since, zone)
    return since, None if asked.until is None else operators.end(asked.until, zone)
