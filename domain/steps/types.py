"""What a step type is: its kind, what it wants loaded, its results and their effects."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict

P = TypeVar("P", bound="Properties")


class Kind(StrEnum):
    """The kind of a step."""

    ACTION = "action"
    DECISION = "decision"
    CONDITION = "condition"


class Need(StrEnum):
    """Data that a step type needs besides the contact's own row. Each costs one statement per batch."""

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


class RefersTo(StrEnum):
    """What the keys in a property name: objects outside of the campaign, or one of its steps.

    References are checked when a campaign is applied. Missing stages and point groups are then created.
    """

    SEGMENT = "segments"
    FORM = "forms"
    EMAIL = "emails"
    SMS = "sms"
    PUSH = "push"
    MESSAGE = "message"
    STAGE = "stages"
    POINT_GROUP = "point_groups"
    COMPANY = "companies"
    # `this` is the campaign itself.
    CAMPAIGN = "campaigns"
    # A type that refers to a step of its campaign jumps there.
    STEP = "steps"


class Properties(BaseModel):
    """Base class of the properties of a step type, the `with:` of a campaign file. Unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class NoProperties(Properties):
    """For step types without properties."""


@dataclass(frozen=True, slots=True)
class Outbound:
    """An effect: adds a message to the outbox.

    `address` is the contact's address now; an email is sent to the address that the contact has at the time of
    sending. An email without an address goes to the recipients in its payload. `payload` is what the channel needs
    besides the template; it must be JSON. Messages that are not `marketing` ignore refusals and policies, and are sent
    first. Among marketing messages, a higher `priority` is sent first. No message is sent before `not_before`; `held`
    names the rule of the policy that holds it back until then.
    """

    channel: str
    template: str | None = None
    address: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    marketing: bool = True
    priority: int = 0
    not_before: datetime | None = None
    held: str | None = None


@dataclass(frozen=True, slots=True)
class Join:
    """An effect: adds the contact to a campaign, like a manual addition. The step's own campaign restarts."""

    campaign: str


@dataclass(frozen=True, slots=True)
class Leave:
    """An effect: removes the contact from a campaign."""

    campaign: str


@dataclass(frozen=True, slots=True)
class Jump:
    """An effect: starts a new rotation at another step of the same campaign."""

    to: str


@dataclass(frozen=True, slots=True)
class Erase:
    """An effect: permanently erases the contact with all its data."""


@dataclass(frozen=True, slots=True)
class ChangeCompany:
    """An effect: adds points to a company, by key, and sets fields."""

    company: str
    points: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)


Effect = Outbound | Join | Leave | Jump | Erase | ChangeCompany


@dataclass(frozen=True, slots=True)
class Done:
    """The action succeeded. The steps below follow."""

    detail: Mapping[str, Any] | None = None
    effects: tuple[Effect, ...] = ()


@dataclass(frozen=True, slots=True)
class Skipped:
    """The action does not apply to this contact, permanently. The steps below follow."""

    reason: str
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The action failed. It is retried unless `retry` is false. `after` overrides the delay until then."""

    error: str
    retry: bool = True
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Postponed:
    """Not now: the contact waits at the step until `until`, in the future, and the step runs again.

    No outcome is written yet. The later outcome contains this detail, and the time since which the contact was held.
    """

    until: datetime
    detail: Mapping[str, Any]


Result = Done | Skipped | Failed | Postponed

DONE = Done()


@dataclass(frozen=True)
class StepType:
    """A step type. The decorators create it."""

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
    # Property to what its value, a key or a list of keys, refers to.
    refers_to: Mapping[str, RefersTo] = field(default_factory=dict)
    # Channels on which an action may send the contact a message.
    sends: frozenset[str] = frozenset()
    # A decision about the nearest message above it on this channel; without one there its file is refused.
    about: str | None = None
    # The property of an action that names campaigns which the contact joins.
    joins: str | None = None
    # Property to another: all steps of a campaign with the same value of the first have the same of the second.
    alike: Mapping[str, str] = field(default_factory=dict)
    # How many of a hundred contacts do in a simulation what a decision waits for, unless somebody says.
    likely: float = 15
    # Mautic's key for the same thing.
    reference: str | None = None

    @property
    def jumps(self) -> str | None:
        """The property that names the step to jump to, or None when this type does not jump."""
        return next((name for name, what in self.refers_to.items() if what is RefersTo.STEP), None)

    def references(self, given: Mapping[str, Any]) -> Iterator[tuple[str, RefersTo, str]]:
        """Yield the references in the given properties: the property as written, what it names, and the key."""
        for name, what in self.refers_to.items():
            for written in self._spellings(name):
                value = given.get(written) or ()
                for key in value if isinstance(value, list | tuple) else (value,):
                    yield written, what, str(key)

    def _spellings(self, name: str) -> list[str]:
        alias = self.properties.model_fields[name].validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        return list(dict.fromkeys([name, *(each for each in choices if isinstance(each, str))]))

    def needs_of(self, properties: Properties) -> frozenset[Need]:
        """Return the data that a step with these properties needs."""
        return self.needs(properties) if callable(self.needs) else self.needs

    def may_look_at(self, event_type: str) -> bool:
        """Return whether decisions of this type can receive events of a type."""
        return callable(self.events) or event_type in self.events

    def events_of(self, properties: Properties) -> frozenset[str]:
        """Return the event types that a decision with these properties receives; `*` matches any text."""
        return self.events(properties) if callable(self.events) else self.events


@lru_cache(maxsize=4096)
def event_pattern(event_type: str) -> re.Pattern[str]:
    """Return a pattern for `match` on a whole event type; `*` is anything, all else is itself."""
    return re.compile(fnmatch.translate(event_type.replace("[", "[[]").replace("?", "[?]")))
