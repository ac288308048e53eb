"""The rows that a walk reads and writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from parcours.domain.contacts.contact import NOTHING, PointChange, StageChange
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
    """A contact's membership of the campaign, or one run of it; a jump raises the rotation, leaving ends it.

    The rotations of a contact's runs are numbered through: that of the membership is the highest.
    """

    rotation: int
    active: bool
    # Of a run: its number, its key ('': none) and the data of the event that began it.
    number: int | None = None
    key: str | None = None
    entry: Mapping[str, Any] = NOTHING
    # The membership that a run is of.
    whole: Member | None = None
    # The runs of a membership, by the rotation in which they were found; without any, it is one run by itself.
    runs: dict[int, Member] = NOTHING

    def at(self, rotation: int) -> Member | None:
        """Return the run that a wait of a rotation is of, or the membership itself where it has no runs."""
        return self.runs.get(rotation) if self.runs else self

    def jump(self) -> int:
        """Begin a new rotation, and return it."""
        whole = self.whole or self
        whole.rotation += 1
        self.rotation = whole.rotation
        return self.rotation

    def end(self) -> None:
        """The contact is out, in all its runs."""
        for each in (self.whole or self).runs.values():
            each.active = False
        self.active = False


class Jumped(NamedTuple):
    """A run, or a membership that is one, that left a rotation for another."""

    contact_id: int
    # None: a membership without runs.
    number: int | None
    before: int
    after: int


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
    # The number of the run; None: the only one.
    run: int | None = None


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


_RESULT, _REASON = attrgetter("result"), attrgetter("reason")


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
    # (contact, rotation in which it was found) to who jumped: the open waits of that rotation move to the new one.
    moved: dict[tuple[int, int], Member] = field(default_factory=dict)
    # Campaign key to contacts, in the order of the walk.
    joins: dict[str, list[int]] = field(default_factory=dict)
    leaves: dict[str, list[int]] = field(default_factory=dict)
    # Runs of this campaign that a step restarts or ends, with their contacts.
    restarted: list[tuple[int, Member]] = field(default_factory=list)
    ended: list[tuple[int, Member]] = field(default_factory=list)
    # Company key to points added and fields set.
    company_points: Counter[str] = field(default_factory=Counter)
    company_fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Contacts to be deleted once everything else is written.
    erased: list[int] = field(default_factory=list)

    def counts(self) -> Counter[str]:
        """Return what happened, in the words of the command: results, and `scheduled` for new delays and retries.

        `erased`, when there are any, are contacts that exist no more.
        """
        counted: Counter[str] = Counter(map(_RESULT, self.outcomes))
        reasons = Counter(map(_REASON, self.waits))
        counted["scheduled"] = reasons["delay"] + reasons["retry"]
        if self.erased:
            counted["erased"] = len(self.erased)
        return counted
