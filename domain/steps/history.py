"""Conditions on what a contact did before, and on what it was seen with."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, model_validator

from parcours.domain import operators
from parcours.domain.steps.batch import Batch
from parcours.domain.steps.decisions import PageDevice, is_device, is_page, visited
from parcours.domain.steps.properties import Json, Moment, Name, Patterns, check_test
from parcours.domain.steps.registry import condition
from parcours.domain.steps.types import Failed, Need, Properties, RefersTo
from parcours.domain.time.zones import zone_of


@condition("contact.device", properties=PageDevice, needs=[Need.DEVICES], reference="lead.device")
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

    @model_validator(mode="after")
    def _makes_sense(self, info: ValidationInfo) -> FormFieldTest:
        check_test(self.operator, self.value, info)
        return self


@condition(
    "form.field",
    properties=FormFieldTest,
    needs=[Need.SUBMISSIONS],
    refers_to={"form": RefersTo.FORM},
    reference="form.field_value",
)
def form_field(batch: Batch[FormFieldTest]) -> list[bool | Failed]:
    """True if a form field passes the test in any of the contact's submissions.

    False, whatever the operator, for contacts who never submitted the form, and for all contacts after the form is
    deleted. Case is ignored, and days are in the contact's timezone. The step fails for a contact when the regular
    expression takes too long.
    """
    asked = batch.properties
    tests: dict[str | None, operators.Test] = {}
    answers: list[bool | Failed] = []
    for contact in batch.contacts:
        test = tests.get(contact.timezone)
        if test is None:
            zone = zone_of(contact.timezone, batch.zone)
            test = tests[contact.timezone] = operators.test(asked.operator, asked.value, zone)
        past = batch.world.submissions.get(contact.id, ())
        found = (each.fields.get(asked.field) for each in past if each.form == asked.form)
        try:
            answers.append(any(test(value, batch.now) for value in found))
        except operators.TooSlowError as error:
            answers.append(Failed(str(error)))
    return answers


class PageVisited(Properties):
    url: Patterns = Field(default=[], description="URL patterns, written as for the decision page.hit.")
    page: Patterns = Field(default=[], description="Page keys; * and ? are wildcards.")
    since: Moment | None = Field(
        default=None,
        description="Earliest date, or date and time; without an offset, in the contact's timezone. Makes the search "
        "faster.",
    )
    until: Moment | None = Field(default=None, description="Latest date (inclusive), or date and time (exclusive).")


@condition("page.visited", properties=PageVisited, needs=[Need.VISITS], reference="lead.pageHit")
def page_visited(batch: Batch[PageVisited]) -> list[bool]:
    """True if the contact visited a page that matches one of the rules (url or page), in the period if one is given.

    Without rules, any page matches. An event is added to the history after all its effects: a visit that leads directly
    to this step is not included yet. The duration of visits is not recorded.
    """
    asked = batch.properties
    periods = {zone: _period(asked, zone_of(zone, batch.zone)) for zone in {each.timezone for each in batch.contacts}}
    answers = []
    for contact in batch.contacts:
        since, until = periods[contact.timezone]
        answers.append(
            any(
                (since is None or visit.at >= since)
                and (until is None or visit.at < until)
                and (not (asked.url or asked.page) or visited(asked.url, visit.url) or is_page(asked.page, visit.page))
                for visit in batch.world.visits.get(contact.id, ())
            )
        )
    return answers


def _period(asked: PageVisited, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    since = None if asked.since is None else operators.instant(asked.since, zone)
    return since, None if asked.until is None else operators.end(asked.until, zone)
