"""The rows that a walk reads and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from parcours.domain.contacts.contact import PointChange, StageChange
from parcours.domain.steps.types import Outbound

Reason = Literal["kickoff", "delay", "retry", "decision"]

Verdict = Literal["done", "skipped", "failed", "yes", "no", "cancelled"]


class Claim(NamedTuple):
    """A wait that left its table in this transaction."""

    contact_id: int
    rotation: int
    passage: int
    attempt: int
    reason: Reason
    anchor_at: datetime
    # None: an armed decision without a deadline.
    due_at: datetime | None
    # Why a step postponed the contact, if one did.
    held: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Member:
    """A contact's membership of the campaign; a jump raises the rotation, leaving ends it."""

    rotation: int
    active: bool


class OutcomeRow(NamedTuple):
    """A row of history, its columns in the table's order."""

    contact_id: int
    step_id: int
    rotation: int
    passage: int
    at: datetime
    due_at: datetime | None
    result: Verdict
    detail: Mapping[str, Any] | None


class Wait(NamedTuple):
    """A row of `wait`, its columns in the table's order."""

    contact_id: int
    step_id: int
    campaign_id: int
    rotation: int
    passage: int
    attempt: int
    reason: Reason
    anchor_at: datetime
    # None: never; the table has `infinity` there.
    due_at: datetime | None
    held: Mapping[str, Any] | None = None


class Message(NamedTuple):
    """A row of the outbox; `key` is the idempotency key that goes to the provider."""

    contact_id: int
    key: str
    step_id: int
    rotation: int
    outbound: Outbound


class Failure(NamedTuple):
    """A failed attempt; `raised` is the exception, where the step's own code or the database raised one."""

    contact_id: int
    step_id: int
    attempts: int
    error: str
    raised: BaseException | None = None


@dataclass(slots=True)
class Plan:
    """What a unit of work writes, besides the contacts themselves, which carry their changes."""

    outcomes: list[OutcomeRow] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    # What steps made of points and stages, in the order of the walk.
    points: list[PointChange] = field(default_factory=list)
    stages: list[StageChange] = field(default_factory=list)
    # Contact to new rotation: the membership and every open wait of the contact move to it.
    rotations: dict[int, int] = field(default_factory=dict)
    # Campaign key to contacts, in the order of the walk.
    joins: dict[str, list[int]] = field(default_factory=dict)
    leaves: dict[str, list[int]] = field(default_factory=dict)
    # Company key to points added and fields set.
    company_points: Counter[str] = field(default_factory=Counter)
    company_fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Contacts to be deleted once everything else is written.
    erased: list[int] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """Return what happened, in the words of the command: results, and `scheduled` for new delays and retries.

        `erased`, when there are any, are contacts that exist no more.
        """
        counted: Counter[str] = Counter(outcome.result for outcome in self.outcomes)
        counted["scheduled"] = sum(wait.reason in ("delay", "retry") for wait in self.waits)
        if self.erased:
            counted["erased"] = len(self.erased)
        return counted
