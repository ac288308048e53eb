"""A contact as a batch sees it: loaded once, changed in memory by the steps, written back once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn

from parcours.domain.events.reading import property_of
from parcours.domain.events.utm import NAMES as UTM_NAMES
from parcours.domain.messages.policy import Rule


class _Nothing(dict[Any, Any]):
    """What most contacts have none of, shared by all of them: a batch makes thousands, with ten of it each."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("replace a dict of a contact instead of changing it")

    __setitem__ = setdefault = update = __ior__ = _refuse
    # What can be a default of a dataclass has one.
    __hash__ = object.__hash__  # type: ignore[assignment]


NOTHING = _Nothing()


@dataclass(slots=True)
class Contact:
    """A contact, with the data that the steps of the batch need (see `Need`).

    Steps change the attributes in place. Replace sets and dicts instead of changing them, so that changes are found.
    """

    id: int
    key: str
    email: str | None = None
    timezone: str | None = None
    points: int = 0
    stage: str | None = None
    owner: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    last_active_at: datetime | None = None
    created_at: datetime | None = None
    tags: frozenset[str] = frozenset()
    # Keys of the segments that the contact is an active member of.
    segments: frozenset[str] = frozenset()
    # Channel to reason.
    do_not_contact: dict[str, str] = NOTHING
    # Channel to the comment that a step gave its entry; those in the database are not loaded.
    refusal_comments: dict[str, str] = NOTHING
    # Channels that a step refused by hand, also where the contact's own word goes before that.
    refused_by_hand: frozenset[str] = frozenset()
    # Keys of the email templates that were written to the outbox for the contact, ever.
    received: frozenset[str] = frozenset()
    # When each of them went last, or is to go.
    received_at: dict[str, datetime] = NOTHING
    # Keys of the contact's companies, and of its primary one.
    companies: frozenset[str] = frozenset()
    company: str | None = None
    # Channel to what the contact wants of it.
    rules: dict[str, Rule] = NOTHING
    # Channel to when its marketing messages go or went, as far back as a cap may ask.
    sent: dict[str, tuple[datetime, ...]] = NOTHING
    # Custom field, of those that policies name, to the country that it holds.
    countries: dict[str, Any] = NOTHING
    # Key of a point group to the points in it.
    scores: dict[str, int] = NOTHING
    # Where the latest visit or submission that said so came from, by name of the parameter.
    utm: dict[str, str] = NOTHING
    # The data of the event that began the run in which the contact is at a step.
    entry: Mapping[str, Any] = NOTHING

    def value(self, name: str) -> Any:
        """Return the value of a name in field conditions: of an attribute, a UTM parameter or a custom field.

        `entry.NAME` is a property of the event that began the run.
        """
        if name in ATTRIBUTES:
            return getattr(self, name)
        if name in UTM_NAMES:
            return self.utm.get(name)
        if name.startswith(ENTRY):
            return property_of(self.entry, name.removeprefix(ENTRY))
        return self.fields.get(name)

    def state(self) -> tuple[Any, ...]:
        """Return everything that a step may change, to compare before and after.

        The columns of the contact's own row come first, then the custom fields.
        """
        return _state(self)

    def restore(self, state: tuple[Any, ...]) -> None:
        """Restore what `state` returned."""
        for name, value in zip(CHANGEABLE, state, strict=True):
            setattr(self, name, value)


# In the order of `Contact.state`.
CHANGEABLE = (
    "email",
    "timezone",
    "points",
    "stage",
    "owner",
    "fields",
    "tags",
    "segments",
    "do_not_contact",
    "received",
    "refusal_comments",
    "sent",
    "scores",
    "companies",
    "company",
    "refused_by_hand",
    "received_at",
)
# How many of them are columns of the contact's own row.
COLUMNS = 5
# Every step asks this of every contact, so that a step that breaks can be undone.
_state = attrgetter(*CHANGEABLE)

# What a name begins with that means the data of the event that began the run.
ENTRY = "entry."
ATTRIBUTES = frozenset({"key", "email", "timezone", "points", "stage", "owner", "last_active_at", "tags"})


class PointChange(NamedTuple):
    """By how much a step changed a contact's points, in a group if there is one, and to what."""

    contact_id: int
    step_id: int
    group: str | None
    change: int
    points: int


class StageChange(NamedTuple):
    """From which stage to which a step moved a contact; None: no stage."""

    contact_id: int
    step_id: int
    before: str | None
    after: str | None


# Its place in what `state` returns.
EMAIL = CHANGEABLE.index("email")
_POINTS, _STAGE, _SCORES = (CHANGEABLE.index(name) for name in ("points", "stage", "scores"))


def states(contacts: Iterable[Contact]) -> list[tuple[Any, ...]]:
    """Return what `state` says of each of many contacts."""
    return list(map(_state, contacts))


def scored(
    step_id: int, contacts: Sequence[Contact], before: Sequence[tuple[Any, ...]]
) -> tuple[list[PointChange], list[StageChange]]:
    """Return what a step made of the points and stages of contacts; `before` is what `state` said of each."""
    points: list[PointChange] = []
    stages: list[StageChange] = []
    # Every action asks this of every contact, and for most of them the answer is nothing.
    for contact, was in zip(contacts, before, strict=True):
        if contact.points != was[_POINTS]:
            change = contact.points - was[_POINTS]
            points.append(PointChange(contact.id, step_id, None, change, contact.points))
        if contact.stage != was[_STAGE]:
            stages.append(StageChange(contact.id, step_id, was[_STAGE], contact.stage))
        if contact.scores is not was[_SCORES]:
            points += [
                PointChange(contact.id, step_id, group, score - was[_SCORES].get(group, 0), score)
                for group, score in contact.scores.items()
                if was[_SCORES].get(group, 0) != score
            ]
    return points, stages
