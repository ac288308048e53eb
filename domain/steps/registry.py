"""What a step type is, and how one is found.

A step type is a function with a decorator. An action gets a batch and returns one
`Result` a contact, a condition one bool a contact, a decision tells whether one event
is what it waits for. Another package adds a type by naming such a function in its
`parcours.steps` entry points as KIND.TYPE, for example `action.contact.points`.
"""

from __future__ import annotations

import difflib
import fnmatch
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from domain.contact import Contact
from domain.errors import CampaignError
from domain.policy import Policy

if TYPE_CHECKING:
    from domain.campaign import Campaign, Step

P = TypeVar("P", bound="Properties")


class Kind(StrEnum):
    ACTION = "action"
    DECISION = "decision"
    CONDITION = "condition"


class Need(StrEnum):
    """What a type wants loaded besides the contact's own row; each costs one statement a batch."""

    FIELDS = "fields"
    TAGS = "tags"
    SEGMENTS = "segments"
    DO_NOT_CONTACT = "do_not_contact"
    RECEIVED = "received"
    EMAILS = "emails"
    STAGES = "stages"
    RECENT_PASSES = "recent_passes"
    # Those of the contacts, and those that the steps name.
    COMPANIES = "companies"
    # Points in the groups.
    SCORES = "scores"
    # Where the latest visit or submission that said so came from.
    UTM = "utm"
    CAMPAIGNS = "campaigns"
    DEVICES = "devices"
    SUBMISSIONS = "submissions"
    # No further back than the `since` of the steps' properties, when each has one.
    VISITS = "visits"
    # Templates of other channels than email.
    TEMPLATES = "templates"
    # What may hold marketing messages back: policies, contacts' own rules, and what was sent to them.
    POLICIES = "policies"


class Properties(BaseModel):
    """Base of a type's properties: the `with:` of a campaign file. Unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class NoProperties(Properties):
    """For types that take none."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """An effect: one message for the outbox.

    `address` is where the contact is reached now. When the message goes, the contact is asked again: an
    email goes to its present address. An email without an address goes to whom its payload names.
    `payload` is what the channel needs besides the template; it must be JSON. A message that is not
    `marketing` goes whatever refusals and policies say, and before those that are; among these, one
    of a higher `priority` goes first. None goes before `not_before`.
    """

    channel: str
    template: str | None = None
    address: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    marketing: bool = True
    priority: int = 0
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """An effect: add the contact to a campaign by hand's rules; the own campaign means restart."""

    campaign: str


@dataclass(frozen=True, slots=True)
class Leave:
    """An effect: the contact exits a campaign."""

    campaign: str


@dataclass(frozen=True, slots=True)
class Jump:
    """An effect: a new rotation begins at another step of the same campaign."""

    to: str


@dataclass(frozen=True, slots=True)
class Erase:
    """An effect: the contact is deleted for good, with all that is known of it."""


@dataclass(frozen=True, slots=True)
class ChangeCompany:
    """An effect: a company by key gets points, and fields."""

    company: str
    points: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)


Effect = Outbound | Join | Leave | Jump | Erase | ChangeCompany


@dataclass(frozen=True, slots=True)
class Done:
    """The action did its job; the steps below follow."""

    detail: Mapping[str, Any] | None = None
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """The action could not apply to this contact and never will; the steps below follow."""

    reason: str
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The action did not work. It is tried again unless `retry` is false; `after` overrules the back-off."""

    error: str
    retry: bool = True
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Postponed:
    """Not now: the contact goes on standing at the step until an instant ahead, then the step runs again.

    There is no outcome yet. The one that comes then carries this detail, and since when it was held.
    """

    until: datetime
    detail: Mapping[str, Any]


Result = Done | Skipped | Failed | Postponed
DONE = Done()


@dataclass(frozen=True, slots=True)
class EmailFacts:
    """What a step may know of an email template."""

    key: str
    published: bool
    category: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """What a step may know of a template of another channel; for a marketing message, its template by channel."""

    key: str
    published: bool
    channels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageFacts:
    """What a step may know of a stage; without a weight it has no order."""

    key: str
    weight: int | None
    published: bool


class Company(NamedTuple):
    """A company as steps see it; `name` is what people call it, and not unique."""

    key: str
    name: str
    points: int = 0
    fields: Mapping[str, Any] = {}


class Submission(NamedTuple):
    """What a contact put into a form once."""

    form: str
    fields: Mapping[str, Any]


class Visit(NamedTuple):
    """A page that a contact saw, by address and by key, as far as they are known."""

    url: str | None
    page: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class World:
    """What is not of one contact but may be asked by the steps of a batch."""

    emails: Mapping[str, EmailFacts] = field(default_factory=dict)
    stages: Mapping[str, StageFacts] = field(default_factory=dict)
    # What contacts did lately, oldest first; only for a decision that looks back.
    past: Mapping[int, list[Fact]] = field(default_factory=dict)
    # (contact id, step id, type, time) of facts that answered a decision before in the same membership.
    answered: Set[tuple[int, int, str, str]] = frozenset()
    # (contact id, step id) to how often the contact passed that step within the last day.
    recent_passes: dict[tuple[int, int], int] = field(default_factory=dict)
    # Contact id to the keys of the campaigns it is in, and since when, as the batch began.
    campaigns: Mapping[int, Mapping[str, datetime]] = field(default_factory=dict)
    # Of each contact that has any, by contact id. Devices have a type, a brand and an os.
    devices: Mapping[int, Sequence[Mapping[str, str | None]]] = field(default_factory=dict)
    submissions: Mapping[int, Sequence[Submission]] = field(default_factory=dict)
    visits: Mapping[int, Sequence[Visit]] = field(default_factory=dict)
    # By kind (sms, push or message) and key.
    templates: Mapping[tuple[str, str], TemplateFacts] = field(default_factory=dict)
    # By channel.
    policies: Mapping[str, Policy] = field(default_factory=dict)
    # By key, the oldest first. Changed by the walk, so that steps below see what those above did.
    companies: dict[str, Company] = field(default_factory=dict)
    # (contact id, step id, passage) of steps that moved and that a contact passed, or stands at, already.
    been: Set[tuple[int, int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Batch(Generic[P]):
    """What an action or a condition works on: contacts of one step, in no particular order."""

    properties: P
    contacts: list[Contact]
    now: datetime
    campaign: Campaign
    step: Step
    world: World
    # The timezone of contacts who have none.
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Fact:
    """What a contact did, as a decision sees it: an event's type, data and time."""

    type: str
    data: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an armed decision stands: its step and the step of the nearest email sent upstream, if any."""

    campaign: Campaign
    step: Step
    email: str | None


@dataclass(frozen=True)
class StepType:
    """One entry of the catalogue."""

    name: str
    kind: Kind
    properties: type[Properties]
    run: Callable[..., Any]
    description: str
    # What it wants loaded; a function of its properties when they say.
    needs: frozenset[Need] | Callable[[Any], frozenset[Need]] = frozenset()
    # The event types that a decision of this type looks at; a function of its properties when they say.
    events: frozenset[str] | Callable[[Any], frozenset[str]] = frozenset()
    # Nothing may follow a step of this type.
    last: bool = False
    # The reference engine's key for the same thing.
    reference: str | None = None

    def needs_of(self, properties: Properties) -> frozenset[Need]:
        """Return what a step with these properties wants loaded."""
        return self.needs(properties) if callable(self.needs) else self.needs

    def may_look_at(self, event_type: str) -> bool:
        """Return whether some decision of this type may look at events of a type."""
        return callable(self.events) or event_type in self.events

    def events_of(self, properties: Properties) -> frozenset[str]:
        """Return the event types that a decision with these properties looks at; `*` in one is anything."""
        return self.events(properties) if callable(self.events) else self.events


@lru_cache(maxsize=4096)
def event_pattern(event_type: str) -> re.Pattern[str]:
    """Return a pattern for `match` on a whole event type; `*` is anything, all else is itself."""
    return re.compile(fnmatch.translate(event_type.replace("[", "[[]").replace("?", "[?]")))


class UnknownTypeError(CampaignError):
    """A campaign names a step type that no installed package has."""

    def __init__(self, kind: Kind, name: str) -> None:
        known = sorted(point.removeprefix(f"{kind}.") for point in _entry_points() if point.startswith(f"{kind}."))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`parcours steps list` shows all of them"
        super().__init__(f"unknown {kind} {name!r}; {hint}")
        self.name = name


def action(
    name: str,
    *,
    properties: type[P],
    needs: Iterable[Need] | Callable[[P], frozenset[Need]] = (),
    last: bool = False,
    reference: str | None = None,
) -> Callable[[Callable[[Batch[P]], Iterable[Result]]], StepType]:
    """Make an action type of a function; its docstring is the description that users read.

    What it needs may depend on the properties; `needs` is a function of them then.
    """
    return _decorator(name, Kind.ACTION, properties, needs=needs, last=last, reference=reference)


def condition(
    name: str,
    *,
    properties: type[P],
    needs: Iterable[Need] | Callable[[P], frozenset[Need]] = (),
    reference: str | None = None,
) -> Callable[[Callable[[Batch[P]], Iterable[bool | Failed]]], StepType]:
    """Make a condition type of a function that returns, for each contact, whether it is satisfied.

    Where that cannot be told it is `Failed`. `needs` is as for `action`.
    """
    return _decorator(name, Kind.CONDITION, properties, needs=needs, reference=reference)


def decision(
    name: str,
    *,
    properties: type[P],
    events: Iterable[str] | Callable[[P], frozenset[str]],
    reference: str | None = None,
) -> Callable[[Callable[[P, Fact, Standing], bool]], StepType]:
    """Make a decision type of a function that tells whether one fact is the one waited for.

    `events` are the types of event that it is asked about. Where they depend on the properties it
    is a function of those, and `*` stands for anything in what it returns; steps of such a type
    are found by what it returned when their campaign was applied.
    """
    return _decorator(name, Kind.DECISION, properties, events=events, reference=reference)


def _decorator(name: str, kind: Kind, properties: type[Properties], **more: Any) -> Callable[[Any], StepType]:
    def decorate(function: Callable[..., Any]) -> StepType:
        sets = {
            key: frozenset(value) for key, value in more.items() if key in ("needs", "events") and not callable(value)
        }
        return StepType(
            name=name,
            kind=kind,
            properties=properties,
            run=function,
            description=inspect.cleandoc(function.__doc__ or ""),
            **{**more, **sets},
        )

    return decorate


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="parcours.steps")}


@cache
def step_type(kind: Kind, name: str) -> StepType:
    """Return the type of a name in a campaign file; an action and a condition may share a name.

    Raises UnknownTypeError.
    """
    point = _entry_points().get(f"{kind}.{name}")
    if point is None:
        raise UnknownTypeError(kind, name)
    try:
        found = point.load()
    # Another package's code, which may raise anything.
    except Exception as error:
        why = (str(error).splitlines() or [""])[0][:200]
        raise CampaignError(
            f"the package of the {kind} {name!r} cannot be imported ({type(error).__name__}: {why}); mend or remove it"
        ) from error
    if not isinstance(found, StepType) or (found.kind, found.name) != (kind, name):
        raise CampaignError(
            f"the entry point {point.name!r} ({point.value}) is not a step type of that name; "
            "decorate its function with domain.steps.registry.action, condition or decision"
        )
    return found


def all_types() -> list[StepType]:
    """Return the whole catalogue, by kind and name, without the types whose package cannot be imported."""
    found = []
    for kind, _, name in (point.partition(".") for point in _entry_points()):
        # What is broken is said to whoever uses it, and is no reason for others to stop.
        with suppress(CampaignError):
            found.append(step_type(Kind(kind), name))
    return sorted(found, key=lambda each: (each.kind, each.name))
