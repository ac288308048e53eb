"""Small worlds for the tests of step types: one campaign, one step, a few contacts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from parcours.domain.campaign import Campaign, Step
from parcours.domain.contacts.contact import Contact
from parcours.domain.steps.batch import Batch, Fact, Knowledge, Standing
from parcours.domain.steps.types import Properties, StepType

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOBODY = Knowledge()


def contact(contact_id: int = 1, **known: Any) -> Contact:
    return Contact(id=contact_id, key=f"contact-{contact_id}", **known)


def properties(step_type: StepType, given: Mapping[str, Any]) -> Properties:
    return step_type.properties.model_validate(dict(given))


def campaign_of(step_type: StepType, given: Mapping[str, Any]) -> tuple[Campaign, Step]:
    """Return the campaign `welcome` of one step, 7, whose key is `here`."""
    step = Step(7, "here", "Here", step_type, properties(step_type, given))
    return Campaign(1, "welcome", 1, {7: step}), step


def run(
    step_type: StepType,
    given: Mapping[str, Any],
    *contacts: Contact,
    world: Knowledge = NOBODY,
    now: datetime = NOW,
    zone: str = "UTC",
) -> list[Any]:
    """Return what an action or a condition answers for each contact."""
    campaign, step = campaign_of(step_type, given)
    batch = Batch(step.properties, list(contacts), now, campaign, step, world, ZoneInfo(zone))
    results = list(step_type.run(batch))
    assert len(results) == len(contacts)
    return results


def takes(
    step_type: StepType,
    given: Mapping[str, Any],
    data: Mapping[str, Any],
    *,
    email: str | None = None,
    event: str | None = None,
) -> bool:
    """Return whether a decision takes a fact with this data; of the one type it looks at unless `event` says."""
    campaign, step = campaign_of(step_type, given)
    if event is None:
        (event,) = step.events
    if not step.looks_at(event):
        return False
    answer = step_type.run(step.properties, Fact(event, data, NOW), Standing(campaign, step, email))
    assert isinstance(answer, bool)
    return answer
