"""Actions on the companies of a contact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, Field, ValidationInfo, field_validator

from parcours.domain.messages import templates
from parcours.domain.steps import templated
from parcours.domain.steps.batch import Batch, Company
from parcours.domain.steps.properties import MAX_KEY, Json, Name, PointsAdded, is_applied, is_blank, no_template
from parcours.domain.steps.registry import action
from parcours.domain.steps.types import (
    DONE,
    ChangeCompany,
    Done,
    Effect,
    Failed,
    Need,
    Properties,
    RefersTo,
    Result,
    Skipped,
)

_NO_COMPANY = Skipped("it is in no company")


class AddContact(Properties):
    company: Name = Field(description="Key of the company.")
    primary: bool = Field(default=False, description="Whether it becomes the contact's primary company.")


@action(
    "company.add_contact",
    properties=AddContact,
    needs=[Need.COMPANIES],
    refers_to={"company": RefersTo.COMPANY},
    reference="lead.addtocompany",
)
def add_contact(batch: Batch[AddContact]) -> list[Result]:
    """Makes the contact a member of a company. Being one already is no error.

    Skipped when the company does not exist. It becomes the primary one of those who have none.
    """
    key = batch.properties.company
    if key not in batch.world.companies:
        # Source: Mautic 5 passes in silence; here the outcome says so.
        return [Skipped(f"the company {key!r} does not exist")] * len(batch.contacts)
    for contact in batch.contacts:
        if batch.properties.primary or contact.company is None:
            contact.company = key
        contact.companies = contact.companies | {key}
    return [DONE] * len(batch.contacts)


class AddPoints(Properties):
    points: PointsAdded = Field(
        validation_alias=AliasChoices("points", "score"),
        description="How many points to add to each company; a negative number takes points away. Not 0. `score` is "
        "another name for it.",
    )


@action("company.points", properties=AddPoints, needs=[Need.COMPANIES], reference="lead.scorecontactscompanies")
def add_points(batch: Batch[AddPoints]) -> list[Result]:
    """Adds points to all companies of the contact, once for each contact who comes here.

    Skipped when the contact is in no company. A total stays within what a 32-bit whole number holds.
    """
    points = batch.properties.points
    return [
        Done(effects=tuple(ChangeCompany(key, points) for key in sorted(contact.companies)))
        if contact.companies
        else _NO_COMPANY
        for contact in batch.contacts
    ]


_OWN = {
    "key": "a company's key is its identity and no step changes it; use a field of another name",
    "points": "a company's points are changed by the action company.points",
}


class CompanyUpdate(Properties):
    fields: dict[Name, Json] = Field(
        description="Values by field name, at least one; `name` is the company's own. Other texts are Liquid, filled "
        "in for each contact. A blank value leaves the field as it is."
    )

    @field_validator("fields")
    @classmethod
    def _can_be_set(cls, fields: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        if not fields:
            raise ValueError("name at least one field and its value")
        if is_applied(info):
            templated.check({name: value for name, value in fields.items() if name != "name"})
        for name in fields:
            if name in _OWN:
                raise ValueError(_OWN[name])
        called = fields.get("name")
        if called is not None and (not isinstance(called, str) or len(called.strip()) > MAX_KEY):
            raise ValueError(f"the name of a company is a text of at most {MAX_KEY} characters")
        if called is not None and is_applied(info):
            no_template(called, info)
        return fields

    @property
    def company_name(self) -> str | None:
        """What has to be known before the batch begins."""
        return str(self.fields.get("name") or "").strip() or None


def _what_update_needs(asked: CompanyUpdate) -> frozenset[Need]:
    return frozenset([Need.COMPANIES]) | templated.needs(asked.fields)


@action("company.update", properties=CompanyUpdate, needs=_what_update_needs, reference="lead.updatecompany")
def update(batch: Batch[CompanyUpdate]) -> list[Result]:
    """Sets fields of the contact's primary company.

    A name that is not the present one's is another company: it is found by its name or made, becomes the contact's
    primary one, and gets the fields. Skipped without a primary company and without a name.
    """
    called = batch.properties.company_name
    given = {name: value for name, value in batch.properties.fields.items() if name != "name"}
    same = not templated.is_template(given)
    other = None if called is None else _by_name(batch.world.companies, called)
    results: list[Result] = []
    for contact in batch.contacts:
        try:
            fields = given if same else templated.fill_in(given, batch, contact)
        except templates.RenderError as error:
            results.append(Failed(str(error), retry=False))
            continue
        present = batch.world.companies.get(contact.company or "")
        if called is not None and (present is None or present.name != called):
            contact.company = other
            contact.companies = contact.companies | {str(other)}
        if contact.company is None:
            results.append(Skipped("it has no primary company"))
            continue
        fields = {name: value for name, value in fields.items() if not is_blank(value)}
        effects: tuple[Effect, ...] = (ChangeCompany(contact.company, fields=fields),) if fields else ()
        results.append(Done(effects=effects) if effects else DONE)
    return results


def _by_name(companies: Mapping[str, Company], called: str) -> str:
    """Return the key of the oldest company of a name; one that is to be made has its name as its key."""
    return next((company.key for company in companies.values() if company.name == called), called)
