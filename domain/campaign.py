"""A campaign's tree, immutable for each version, as the engine walks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal
from zoneinfo import ZoneInfo

from parcours.domain.entry import EntryLimit, EventExit, EventSource
from parcours.domain.errors import UnknownStepError
from parcours.domain.goal import Draw, Goal
from parcours.domain.retries import STEP_ATTEMPTS
from parcours.domain.steps.types import Kind, Need, Properties, RefersTo, StepType, event_pattern
from parcours.domain.time.dates import ContactDate
from parcours.domain.time.intervals import Interval
from parcours.domain.time.schedule import Timing
from parcours.domain.time.text import shown

Branch = Literal["yes", "no"]
Priority = Literal["high", "normal", "low"]
State = Literal["running", "paused", "scheduled", "ended", "category_off", "deleted", "unreadable"]

NOT_PUBLISHED = "it is not published"
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True)
class Step:
    """One node of the tree."""

    id: int
    key: str
    name: str
    type: StepType
    properties: Properties
    timing: Timing = field(default_factory=Timing)
    parent: int | None = None
    branch: Branch | None = None
    # Decisions only: how long to wait for the fact, and how old a fact may be that came before.
    within: Interval | None = None
    look_back: Interval | None = None
    max_attempts: int = STEP_ATTEMPTS
    on_failure: Literal["stop", "continue"] = "stop"
    # What becomes of an action whose time, by a date of the contact, had passed when the contact came to it.
    late: Literal["skip", "run"] = "skip"
    # It stood elsewhere in an earlier version: who passed it there may come to it again.
    moved: bool = False

    @property
    def kind(self) -> Kind:
        return self.type.kind

    @cached_property
    def needs(self) -> frozenset[Need]:
        """What this step wants loaded of its contacts."""
        needs = self.type.needs_of(self.properties)
        return needs if self.timing.date is None else needs | {Need.FIELDS}

    @cached_property
    def events(self) -> frozenset[str]:
        """The event types that this decision looks at; `*` in one is anything."""
        return self.type.events_of(self.properties)

    @property
    def rule(self) -> Any:
        """The rule (`segments.rule.Rule`) that this decision waits for; None: it waits for an event, or is none."""
        return None if self.type.rule_of is None else self.type.rule_of(self.properties)

    @property
    def asks_on_arrival(self) -> bool:
        """Whether this decision may be answered by what was before the contact came to it."""
        return self.look_back is not None or self.type.rule_of is not None

    def keys_of(self, what: RefersTo) -> list[str]:
        """Return the keys of the emails, companies, … that this step refers to."""
        return [key for _, each, key in self.type.references(vars(self.properties)) if each is what]

    @cached_property
    def joined(self) -> list[str]:
        """The keys of the campaigns that this action lets contacts into; `this` is the one that has the step."""
        named = None if self.type.joins is None else getattr(self.properties, self.type.joins, None)
        return [named] if isinstance(named, str) else list(named or ())

    def looks_at(self, event_type: str) -> bool:
        """Return whether this decision looks at events of a type."""
        if not callable(self.type.events):
            return event_type in self.type.events
        return any(event_pattern(each).match(event_type) for each in self.events)


@dataclass(frozen=True)
class Campaign:
    """One version of a campaign: what the workers need of it, and nothing of who is in it."""

    id: int
    key: str
    version: int
    steps: Mapping[int, Step]
    name: str = ""
    reentry: Literal["never", "after_exit", "always"] = "never"
    cooldown: Interval | None = None
    exit_on_leave: bool = True
    # How long somebody who left every source segment may be out before they leave the campaign.
    grace: Interval | None = None
    # What happens to work that fell due in a pause; an interval: what is older is skipped.
    catch_up: Literal["run", "shift"] | Interval = "run"
    # Whose messages go first, and get a slot that becomes free.
    priority: Priority = "normal"
    # How many of its messages leave in a second, all channels together; None: as many as can.
    per_second: float | None = None
    # What lets contacts in and out besides segments, forms and steps.
    event_sources: tuple[EventSource, ...] = ()
    event_exits: tuple[EventExit, ...] = ()
    # Keys of segments whose members are out.
    segment_exits: tuple[str, ...] = ()
    # Rules (`segments.rule.Rule`): of whom one is true, is out.
    rule_exits: tuple[Any, ...] = ()
    entry: EntryLimit | None = None
    # By which dates contacts enter.
    dates: tuple[ContactDate, ...] = ()
    # What counts as a conversion, and who is left alone to compare with.
    goal: Goal | None = None
    control: Draw | None = None

    @property
    def watches(self) -> bool:
        """Whether it is counted who comes in, and reaches the goal."""
        return self.goal is not None or self.control is not None

    def step(self, step_id: int) -> Step:
        """Return a step of this version. Raises UnknownStepError."""
        try:
            return self.steps[step_id]
        except KeyError:
            raise UnknownStepError(self.id, step_id) from None

    @cached_property
    def joined(self) -> list[str]:
        """The keys of other campaigns that steps let contacts into."""
        named = dict.fromkeys(key for step in self.steps.values() for key in step.joined)
        return [key for key in named if key not in (self.key, "this")]

    @cached_property
    def by_key(self) -> dict[str, Step]:
        return {step.key: step for step in self.steps.values()}

    @cached_property
    def _children(self) -> dict[tuple[int | None, Branch | None], tuple[Step, ...]]:
        found: dict[tuple[int | None, Branch | None], list[Step]] = {}
        for step in self.steps.values():
            found.setdefault((step.parent, step.branch), []).append(step)
        return {place: tuple(steps) for place, steps in found.items()}

    @property
    def roots(self) -> tuple[Step, ...]:
        """The steps where every member starts, in the order of the file."""
        return self._children.get((None, None), ())

    def children(self, step: Step, branch: Branch | None = None) -> tuple[Step, ...]:
        """Return the steps below: of an action (branch None), or of one branch of a decision or condition."""
        return self._children.get((step.id, branch), ())

    def below(self, step: Step) -> Iterator[Step]:
        """Yield a step and everything below it, depth first."""
        yield step
        for branch in (None, "yes", "no"):
            for child in self.children(step, branch):
                yield from self.below(child)

    def needs(self, step: Step) -> frozenset[Need]:
        """Return what a batch that starts at a step may have to know of its contacts.

        A jump may lead anywhere, so below one the whole tree counts.
        """
        known = self._needs
        if step.id not in known:
            reached = list(self.below(step))
            if any(below.type.jumps for below in reached):
                reached = list(self.steps.values())
            known[step.id] = frozenset(need for below in reached for need in below.needs)
        return known[step.id]

    @cached_property
    def _needs(self) -> dict[int, frozenset[Need]]:
        return {}

    def sender_upstream(self, step: Step, channel: str) -> Step | None:
        """Return the nearest step above that may send the contact a message on a channel, or None.

        Source: Mautic 5 only looks at the direct parent, so that "opens email" below a
        condition can never be true there.
        """
        parent = step.parent
        while parent is not None:
            found = self.steps[parent]
            if channel in found.type.sends:
                return found
            parent = found.parent
        return None

    def email_upstream(self, step: Step) -> str | None:
        """Return the template key of the nearest email sent above a step; None where no step names one."""
        sender = self.sender_upstream(step, "email")
        return None if sender is None else next(iter(sender.keys_of(RefersTo.EMAIL)), None)

    def texts_upstream(self, step: Step) -> bool:
        """Return whether a step above may send the contact a text message."""
        return self.sender_upstream(step, "sms") is not None


@dataclass(frozen=True, slots=True)
class StopRule:
    """When a campaign stops itself: so many contacts of a step, and such a share of them, failed within a while.

    A broken step does not burn through everybody, one bad contact stops nobody.
    """

    at_least: int = 100
    share: float = 0.35
    within: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class Status:
    """Whether a campaign runs, as its row says now; read again at every batch."""

    published: bool
    publish_from: datetime | None = None
    publish_until: datetime | None = None
    category_published: bool = True
    deleted: bool = False
    # Why this process cannot read its present version.
    unreadable: str | None = None

    def state(self, now: datetime) -> State:
        """Return whether the campaign runs, and if not, why. The one definition of running."""
        if self.deleted:
            return "deleted"
        if self.unreadable is not None:
            return "unreadable"
        if not self.published:
            return "paused"
        if self.publish_from is not None and now < self.publish_from:
            return "scheduled"
        if self.publish_until is not None and now >= self.publish_until:
            return "ended"
        return "running" if self.category_published else "category_off"

    def why_not(self, now: datetime, zone: ZoneInfo = _UTC) -> str | None:
        """Return why the campaign does not run, or None when it does; its dates are shown in a timezone."""
        match self.state(now):
            case "deleted":
                return "it is deleted"
            case "unreadable":
                return self.unreadable
            case "paused":
                return NOT_PUBLISHED
            case "scheduled" if self.publish_from is not None:
                return f"it starts on {shown(self.publish_from, zone)}"
            case "ended" if self.publish_until is not None:
                return f"it ended on {shown(self.publish_until, zone)}"
            case "category_off":
                return "its category is switched off"
        return None
