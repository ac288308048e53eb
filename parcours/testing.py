"""Everything that tests of step types, providers and campaigns need.

`run_action`, `run_condition` and `run_decision` call one step type without a database. `sandbox` runs whole campaigns
with the real engine on a real PostgreSQL, in simulated time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from parcours.db.reads.sandbox import Outcome
from parcours.domain.campaign import Campaign, Step
from parcours.domain.campaign_file.sentences import a
from parcours.domain.contacts.contact import Contact
from parcours.domain.steps.batch import Batch, Fact, Knowledge, Standing
from parcours.domain.steps.types import Failed, Kind, Result, StepType
from parcours.services.sandbox import START, Sandbox, SentMessage, sandbox, server
from parcours.services.scenarios import ScenarioResult, run_scenarios
from parcours.workers.delivery.provider import Provider, Setup

__all__ = [
    "START",
    "Contact",
    "Knowledge",
    "Outcome",
    "Sandbox",
    "ScenarioResult",
    "SentMessage",
    "check_scenarios",
    "run_action",
    "run_condition",
    "run_decision",
    "run_scenarios",
    "sandbox",
    "server",
    "setup",
]

_UTC = ZoneInfo("UTC")


# One step type.


def run_action(
    step_type: StepType,
    contacts: Sequence[Contact],
    properties: Mapping[str, Any] | None = None,
    *,
    world: Knowledge | None = None,
    now: datetime = START,
) -> list[Result]:
    """Return the results of an action, which changes the contacts in place. `world` holds the other data it needs.

    Raises AssertionError if the type is not an action or does not return one result per contact.
    """
    return _run(Kind.ACTION, step_type, contacts, properties, world, now)


def run_condition(
    step_type: StepType,
    contacts: Sequence[Contact],
    properties: Mapping[str, Any] | None = None,
    *,
    world: Knowledge | None = None,
    now: datetime = START,
) -> list[bool | Failed]:
    """Return the answers of a condition for contacts; see `run_action`."""
    return _run(Kind.CONDITION, step_type, contacts, properties, world, now)


def run_decision(
    step_type: StepType,
    event_type: str,
    data: Mapping[str, Any] | None = None,
    properties: Mapping[str, Any] | None = None,
    *,
    email: str | None = None,
    now: datetime = START,
) -> bool:
    """Return whether an event answers a decision with yes. `email` is the key of the email sent before it."""
    assert step_type.kind is Kind.DECISION, f"{step_type.name} is not a decision"
    campaign, step = _placed(step_type, properties)
    if not step.looks_at(event_type):
        return False
    answer = step_type.run(step.properties, Fact(event_type, data or {}, now), Standing(campaign, step, email))
    assert isinstance(answer, bool), f"{step_type.name} returned {type(answer).__name__}; a decision must return a bool"
    return answer


def _run(
    kind: Kind,
    step_type: StepType,
    contacts: Sequence[Contact],
    properties: Mapping[str, Any] | None,
    world: Knowledge | None,
    now: datetime,
) -> list[Any]:
    assert step_type.kind is kind, f"{step_type.name} is {a(step_type.kind)}, not {a(kind)}"
    campaign, step = _placed(step_type, properties)
    batch = Batch(step.properties, list(contacts), now, campaign, step, world or Knowledge(), _UTC)
    results = list(step_type.run(batch))
    assert len(results) == len(contacts), f"{step_type.name} returned {len(results)} results for {len(contacts)}"
    allowed: Any = Result if kind is Kind.ACTION else bool | Failed
    for each in results:
        assert isinstance(each, allowed), f"{step_type.name} returned {type(each).__name__}"
    return results


def _placed(step_type: StepType, properties: Mapping[str, Any] | None) -> tuple[Campaign, Step]:
    step = Step(1, "step", "Step", step_type, step_type.properties.model_validate(dict(properties or {})))
    return Campaign(1, "campaign", 1, {1: step}), step


# A provider.


def setup(provider: type[Provider[Any]], channel: str, home: Path | None = None, **options: Any) -> Setup:
    """Return a setup to create a provider with these options. Raises ValueError if an option is invalid."""
    return Setup(
        channel=channel,
        options=provider.options(**options),
        home=home or Path(tempfile.gettempdir()),
        host="parcours.example",
        mail_from="parcours@parcours.example",
        inbound_url="https://parcours.example/inbound/providers/test",
    )


# Whole campaigns.


def check_scenarios(*files: Path, database_url: str | None = None, default_timezone: str = "UTC") -> None:
    """Run scenario files. Raises AssertionError, which says what was expected, what came and the contact's path.

    Otherwise as `run_scenarios`.
    """
    failed = [each for each in run_scenarios(files, database_url, default_timezone=default_timezone) if not each.passed]
    assert not failed, "\n".join(line for each in failed for line in each.lines())
