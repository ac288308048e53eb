"""Small worlds for step types: one campaign, one step, a few contacts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from domain.campaign import Campaign, Step
from domain.contact import Contact
from domain.steps.registry import Batch, Fact, Properties, Standing, StepType, World

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def a_contact(number: int = 1, **more: Any) -> Contact:
    return Contact(id=number, key=f"c{number}", **more)


def a_batch(
    type_: StepType,
    properties: dict[str, Any],
    *contacts: Contact,
    world: World | None = None,
    now: datetime = NOW,
    zone: str = "UTC",
) -> Batch[Properties]:
    """Return a batch at the one step, key `here`, of the campaign `welcome`."""
    checked = type_.properties.model_validate(properties)
    step = Step(id=7, key="here", name="Here", type=type_, properties=checked)
    campaign = Campaign(id=1, key="welcome", version=1, steps={step.id: step})
    return Batch(checked, list(contacts), now, campaign, step, world or World(), ZoneInfo(zone))


def run(type_: StepType, properties: dict[str, Any], *contacts: Contact, **more: Any) -> list[Any]:
    """Run an action or a condition on contacts; return what it says of each."""
    return list(type_.run(a_batch(type_, properties, *contacts, **more)))


def decide(
    type_: StepType, properties: dict[str, Any], data: dict[str, Any], *, email: str | None = None
) -> bool:
    """Return whether a decision takes a fact with this data for the one it waits for."""
    batch = a_batch(type_, properties)
    (event,) = type_.events
    fact = Fact(event, data, NOW)
    taken: bool = type_.run(batch.properties, fact, Standing(batch.campaign, batch.step, email))
    return taken


def refusal(type_: StepType, properties: dict[str, Any]) -> str:
    """Return what is said of properties that are wrong."""
    with pytest.raises(ValidationError) as caught:
        type_.properties.model_validate(properties)
    return "; ".join(error["msg"] for error in caught.value.errors())


def tags_of(contacts: Iterable[Contact]) -> list[set[str]]:
    return [set(contact.tags) for contact in contacts]
