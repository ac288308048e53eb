"""What the function of a step type is given: contacts, facts, and what else may be asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from parcours.domain.contacts.contact import Contact
from parcours.domain.messages.policy import Policy
from parcours.domain.steps.types import P
from parcours.domain.time.zones import zone_of

if TYPE_CHECKING:
    from parcours.domain.campaign import Campaign, Step


@dataclass(frozen=True, slots=True)
class EmailFacts:
    """The data of an email template that steps can read."""

    key: str
    published: bool
    category: str | None = None


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """The data of another template that steps can read. `channels`, of a marketing message: template by channel."""

    key: str
    published: bool
    channels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StageFacts:
    """The data of a stage that steps can read. A stage without a weight has no order."""

    key: str
    weight: int | None
    published: bool


class Company(NamedTuple):
    """The data of a company that steps can read. `name` is for display and need not be unique."""

    key: str
    name: str
    points: int = 0
    fields: Mapping[str, Any] = {}


class Submission(NamedTuple):
    """One submission of a form by a contact."""

    form: str
    fields: Mapping[str, Any]
    # Unknown only where somebody makes one up.
    at: datetime | None = None


class Mailing(NamedTuple):
    """What became of an email to a contact: it was sent, opened, clicked or bounced; `email` is its key, if known."""

    activity: Literal["sent", "opened", "clicked", "bounced"]
    email: str | None
    at: datetime


class Visit(NamedTuple):
    """A page view of a contact. `url` is the address of the page, `page` its key, if known."""

    url: str | None
    page: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Data for the steps of a batch that is not part of a contact. See `Need` for what is loaded."""

    emails: Mapping[str, EmailFacts] = field(default_factory=dict)
    stages: Mapping[str, StageFacts] = field(default_factory=dict)
    # What contacts did lately, oldest first; only for a decision that looks back.
    past: Mapping[int, list[Fact]] = field(default_factory=dict)
    # (contact id, run, step id, type, time) of facts that answered a decision before in the same membership.
    answered: Set[tuple[int, int | None, int, str, str]] = frozenset()
    # (contact id, step id) to how often the contact passed that step within the last day.
    recent_passes: dict[tuple[int, int], int] = field(default_factory=dict)
    # Contact id to the keys of the campaigns it is in, and since when, as the batch began.
    campaigns: Mapping[int, Mapping[str, datetime]] = field(default_factory=dict)
    # Of each contact that has any, by contact id. Devices have a type, a brand and an os.
    devices: Mapping[int, Sequence[Mapping[str, str | None]]] = field(default_factory=dict)
    # The oldest first.
    submissions: Mapping[int, Sequence[Submission]] = field(default_factory=dict)
    visits: Mapping[int, Sequence[Visit]] = field(default_factory=dict)
    # What contacts did, latest first, and emails that were sent to them; as far as the conditions look.
    events: Mapping[int, Sequence[Fact]] = field(default_factory=dict)
    mailings: Mapping[int, Sequence[Mailing]] = field(default_factory=dict)
    # By kind (sms, push or message) and key.
    templates: Mapping[tuple[str, str], TemplateFacts] = field(default_factory=dict)
    # By channel.
    policies: Mapping[str, Policy] = field(default_factory=dict)
    # By key, the oldest first. Changed by the walk, so that steps below see what those above did.
    companies: dict[str, Company] = field(default_factory=dict)
    # (contact id, step id, passage) of steps that moved and that a contact passed, or stands at, already.
    already_passed: Set[tuple[int, int, int]] = frozenset()
    # Of the campaigns that steps of this one let contacts into, by key: why this process cannot read them.
    set_aside: Mapping[str, str] = field(default_factory=dict)
    # Returns who has addresses, (contact id, key) by address in small letters, once nobody else can give them away;
    # None: contacts may share addresses. Asked only when a step changed some, which nobody knows before.
    holders: Callable[[Collection[str]], Mapping[str, Sequence[tuple[int, str]]]] | None = None


@dataclass(frozen=True, slots=True)
class Batch(Generic[P]):
    """The input of an action or condition: contacts at one step, in no particular order."""

    properties: P
    contacts: list[Contact]
    now: datetime
    campaign: Campaign
    step: Step
    world: Knowledge
    # The timezone of contacts who have none.
    zone: ZoneInfo


T = TypeVar("T")


def by_zone(batch: Batch[Any], make: Callable[[ZoneInfo], T]) -> Callable[[Contact], T]:
    """Return a function that gives each contact what is made of its timezone, once for all contacts of that."""
    made: dict[str | None, T] = {}

    def of(contact: Contact) -> T:
        if contact.timezone not in made:
            made[contact.timezone] = make(zone_of(contact.timezone, batch.zone))
        return made[contact.timezone]

    return of


@dataclass(frozen=True, slots=True)
class Fact:
    """An event of a contact, as a decision receives it."""

    type: str
    data: Mapping[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """The place of a decision: its campaign and step, and the key of the nearest email above it, if any."""

    campaign: Campaign
    step: Step
    email: str | None
    # The key of the run that stands there; None: of a campaign in which runs have none.
    run_key: str | None = None
