"""Values of fields that are templates: checked when the file is applied, filled in for each contact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from parcours.domain import operators
from parcours.domain.contacts.contact import Contact
from parcours.domain.messages import templates
from parcours.domain.steps.batch import Batch, Company
from parcours.domain.steps.types import Need

NAMES: templates.Names = {name: below for name, below in templates.NAMES.items() if name != "message"}


def check(fields: Mapping[str, Any]) -> None:
    """Raise ValueError, with one sentence, if a text among values cannot be filled in."""
    for name, value in fields.items():
        for text in texts_in(value):
            if not templates.is_fixed(text):
                templates.checked(text, NAMES)
            elif operators.TEMPLATE.search(text):
                raise ValueError(f"{name}: {text!r} is not valid Liquid; write {{{{ contact.NAME }}}} for a field")


def needs(fields: Mapping[str, Any]) -> frozenset[Need]:
    """Return what the templates among values want loaded of a contact."""
    said = " ".join(text for value in fields.values() for text in texts_in(value) if not templates.is_fixed(text))
    found = {Need.FIELDS} if said else set()
    # Whoever says `contact` alone, or asks for a name that is made up on the way, may mean any of them.
    for word, need in (("tags", Need.TAGS), ("company", Need.COMPANIES)):
        if word in said:
            found.add(need)
    return frozenset(found)


def is_template(value: Any) -> bool:
    """Return whether a text in a value is to be filled in."""
    return any(not templates.is_fixed(text) for text in texts_in(value))


def fill_in(fields: Mapping[str, Any], batch: Batch[Any], contact: Contact) -> dict[str, Any]:
    """Return values with every text filled in for a contact at a step. Raises RenderError."""
    company = batch.world.companies.get(contact.company or "")
    known = {
        "contact": templates.contact_values(contact, None if company is None else _company(company)),
        "campaign": {"key": batch.campaign.key, "name": batch.campaign.name},
        "step": {"key": batch.step.key, "name": batch.step.name},
        "entry": contact.entry,
    }
    return {name: templates.render_all(value, known) for name, value in fields.items()}


def _company(company: Company) -> dict[str, Any]:
    return {**company.fields, "key": company.key, "name": company.name, "points": company.points}


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_in(each)
