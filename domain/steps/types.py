"""What a step type is: its kind, what it wants loaded, its results and their effects."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict

from parcours.domain.contacts.touched import EVERYTHING, TIME, Reads
from parcours.domain.time.intervals import Interval

P = TypeVar("P", bound="Properties")

# Of one contact's history, so many of the latest entries are looked at by one condition.
MOST_LOOKED_AT = 1_000


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
    # What contacts did, and emails sent to them: only as far as the `looks` of the conditions go.
    EVENTS = "events"
    MAILINGS = "mailings"


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

    # Properties whose defaults were others once, and those: what a definition means that was stored before and does not
    # name them. Their present defaults are written into what is stored.
    meant_before: ClassVar[Mapping[str, Any]] = {}


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


class Look(NamedTuple):
    """What a condition wants loaded of the history of contacts: `need` is EVENTS, MAILINGS or VISITS.

    `types` are event types, `*` in one is anything. It looks back an interval from now, or to an instant; neither:
    to the beginning. The latest `most` of each contact are enough. `every`: each visit of a page counts, and not only
    the latest.
    """

    need: Need
    types: frozenset[str] = frozenset()
    within: Interval | None = None
    since: datetime | None = None
    most: int = MOST_LOOKED_AT
    every: bool = False


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
    # The property of a decision that names where in an event's data the key of the run stands.
    run_key: str | None = None
    # Of a decision that waits until a rule is true, and for no event: the `segments.rule.Rule` in its properties, which
    # is made of step types itself.
    rule_of: Callable[[Any], Any] | None = None
    # How many of a hundred contacts do in a simulation what a decision waits for, unless somebody says.
    likely: float = 15
    # Mautic's key for the same thing.
    reference: str | None = None
    # Conditions only. Which changes of a contact can change the answer: tokens of `contacts.touched`, or a function of
    # the properties; `time` among them when it may change by time alone. None: any change, and time.
    reads: Reads | Callable[[Any], Reads] | None = None
    # For a batch, the earliest instant after its `now` at which the answer for each contact may change by time alone;
    # None: never. May be early, never late. Without it, what reads time is asked again once a day.
    flips: Callable[[Any], Sequence[datetime | None]] | None = None
    # What has to be loaded of the history of contacts.
    looks: Callable[[Any], tuple[Look, ...]] | None = None
    # For a batch, what each contact has of what is asked for, as JSON: for people who ask why.
    shows: Callable[[Any], Sequence[Any]] | None = None
    # A condition with its properties in words, such as "the contact has the tag vip".
    says: Callable[[Any], str] | None = None
    # What a step with these properties does, in words, such as "send “welcome”"; a condition that has none is said as
    # `says` has it.
    summary: Callable[[Any], str] | None = None
    # Why the condition only makes sense at a step of a campaign, as the end of a sentence.
    only_in_campaigns: str | None = None

    @property
    def jumps(self) -> str | None:
        """The property that names the step to jump to, or None when this type does not jump."""
        return next((name for name, what in self.refers_to.items() if what is RefersTo.STEP), None)

    def in_words(self, properties: Properties) -> str | None:
        """Return what a step with these properties does, in words; None for a type that does not say."""
        return words_from(self.summary or self.says, properties)

    def references(self, given: Mapping[str, Any]) -> Iterator[tuple[str, RefersTo, str]]:
        """Yield the references in the given properties: the property as written, what it names, and the key.

        What a rule in the properties names is left out.
        """
        for name, what in self.refers_to.items():
            for written in self.spellings(name):
                value = given.get(written) or ()
                for key in value if isinstance(value, list | tuple) else (value,):
                    yield written, what, str(key)

    def spellings(self, name: str) -> list[str]:
        """Return the names under which a file may state a property; the first is its own."""
        # A package may say more in its schema than its class has.
        known = self.properties.model_fields.get(name)
        alias = None if known is None else known.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        return list(dict.fromkeys([name, *(each for each in choices if isinstance(each, str))]))

    def needs_of(self, properties: Properties) -> frozenset[Need]:
        """Return the data that a step with these properties needs."""
        return self.needs(properties) if callable(self.needs) else self.needs

    def reads_of(self, properties: Properties) -> Reads:
        """Return which changes of a contact can change the answer of a condition with these properties."""
        if self.reads is None:
            return _ANYTHING
        return self.reads(properties) if callable(self.reads) else self.reads

    def goes_by_time(self, properties: Properties) -> bool:
        """Return whether the answer of a condition with these properties may change by time alone."""
        return TIME in self.reads_of(properties)

    def looks_of(self, properties: Properties) -> tuple[Look, ...]:
        """Return what a condition with these properties wants loaded of the history of contacts."""
        if self.looks is not None:
            return self.looks(properties)
        # All that there is, for a type that does not say.
        anything = frozenset(["*"])
        return tuple(Look(need, anything, every=True) for need in _HISTORY if need in self.needs_of(properties))

    def may_look_at(self, event_type: str) -> bool:
        """Return whether decisions of this type can receive events of a type."""
        return callable(self.events) or event_type in self.events

    def events_of(self, properties: Properties) -> frozenset[str]:
        """Return the event types that a decision with these properties receives; `*` matches any text."""
        return self.events(properties) if callable(self.events) else self.events


# More than anybody reads of what a step does.
_MOST_WORDS = 2_000


def words_from(say: Callable[[Any], str] | None, properties: Properties) -> str | None:
    """Return what a type says of its properties; None where it does not, or its code, of another package, fails."""
    try:
        words: object = None if say is None else say(properties)
    except (Exception, SystemExit):
        return None
    return words[:_MOST_WORDS] if isinstance(words, str) else None


# What is loaded only as far as somebody looks.
_HISTORY = (Need.EVENTS, Need.MAILINGS, Need.VISITS)
_ANYTHING: Reads = frozenset([EVERYTHING, TIME])


@lru_cache(maxsize=4096)
def event_pattern(event_type: str) -> re.Pattern[str]:
    """Return a pattern for `match` on a whole event type; `*` is anything, all else is itself."""
    return re.compile(fnmatch.translate(event_type.replace("[", "[[]").replace("?", "[?]")))
