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
from parcours.domain.steps.words import listed

_NO_COMPANY = Skipped("the contact has no company")


class AddContact(Properties):
    company: Name = Field(description="Key of the company.")
    primary: bool = Field(default=False, description="Whether to make it the contact's primary company.")


@action(
    "company.add_contact",
    properties=AddContact,
    needs=[Need.COMPANIES],
    refers_to={"company": RefersTo.COMPANY},
    reference="lead.addtocompany",
    summary=lambda asked: f"add to the company {asked.company}",
)
def add_contact(batch: Batch[AddContact]) -> list[Result]:
    """Adds the contact to a company.

    Skipped when the company does not exist. It becomes the primary company of contacts without one.
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
        description="Number of points to add to each company; a negative number subtracts. Not 0. `score` is an alias.",
    )


@action(
    "company.points",
    properties=AddPoints,
    needs=[Need.COMPANIES],
    reference="lead.scorecontactscompanies",
    summary=lambda asked: f"{asked.points:+,} points for the company",
)
def add_points(batch: Batch[AddPoints]) -> list[Result]:
    """Adds points to all companies of the contact, once per contact.

    Skipped when the contact has no company. Totals are limited to the range of a 32-bit integer.
    """
    points = batch.properties.points
    return [
        Done(effects=tuple(ChangeCompany(key, points) for key in sorted(contact.companies)))
        if contact.companies
        else _NO_COMPANY
        for contact in batch.contacts
    ]


_OWN = {
    "key": "steps cannot change a company's key; use a field with another name",
    "points": "to change a company's points, use the action company.points",
}


class CompanyUpdate(Properties):
    fields: dict[Name, Json] = Field(
        description="Values by field name, at least one. `name` is a built-in attribute; other texts can contain "
        "Liquid. A blank value does not change the field."
    )

    @field_validator("fields")
    @classmethod
    def _can_be_set(cls, fields: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        if not fields:
            raise ValueError("give at least one field and its value")
        if is_applied(info):
            templated.check({name: value for name, value in fields.items() if name != "name"})
        for name in fields:
            if name in _OWN:
                raise ValueError(_OWN[name])
        called = fields.get("name")
        if called is not None and (not isinstance(called, str) or len(called.strip()) > MAX_KEY):
            raise ValueError(f"the name of a company must be a text of at most {MAX_KEY} characters")
        if called is not None and is_applied(info):
            no_template(called, info)
        return fields

    @property
    def company_name(self) -> str | None:
        """What has to be known before the batch begins."""
        return str(self.fields.get("name") or "").strip() or None


def _what_update_needs(asked: CompanyUpdate) -> frozenset[Need]:
    return frozenset([Need.COMPANIES]) | templated.needs(asked.fields)


@action(
    "company.update",
    properties=CompanyUpdate,
    needs=_what_update_needs,
    reference="lead.updatecompany",
    summary=lambda asked: f"set fields of the company: {listed(asked.fields)}",
)
def update(batch: Batch[CompanyUpdate]) -> list[Result]:
    """Sets fields of the contact's primary company.

    If `name` differs from the company's name, the company with that name is found or created, becomes the contact's
    primary company, and gets the fields. Skipped when the contact has no primary company and `name` is not set.
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
            results.append(Skipped("the contact has no primary company"))
            continue
        fields = {name: value for name, value in fields.items() if not is_blank(value)}
        effects: tuple[Effect, ...] = (ChangeCompany(contact.company, fields=fields),) if fields else ()
        results.append(Done(effects=effects) if effects else DONE)
    return results


def _by_name(companies: Mapping[str, Company], called: str) -> str:
    """Return the key of the oldest company of a name; one that is to be made has its name as its key."""
    return next((company.key for company in companies.values() if company.name == called), called)
