"""A contact as a batch sees it: loaded once, changed in memory by the steps, written back once."""

from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any

from domain.policy import Rule


@dataclass(slots=True)
class Contact:
    """One person, with the facts that the steps ahead asked for (see `Need`).

    Steps change the attributes in place. Sets and dicts are replaced, never mutated, so that what
    was loaded can be compared with what there is at the end.
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
    tags: frozenset[str] = frozenset()
    # Keys of the segments that the contact is an active member of.
    segments: frozenset[str] = frozenset()
    # Channel to reason.
    do_not_contact: dict[str, str] = field(default_factory=dict)
    # Channel to the comment that a step gave its entry; those in the database are not loaded.
    refusal_comments: dict[str, str] = field(default_factory=dict)
    # Keys of the email templates that were written to the outbox for the contact, ever.
    received: frozenset[str] = frozenset()
    # Keys of the contact's companies, and of its primary one.
    companies: frozenset[str] = frozenset()
    company: str | None = None
    # Channel to what the contact wants of it.
    rules: dict[str, Rule] = field(default_factory=dict)
    # Channel to when its marketing messages go or went, as far back as a cap may ask.
    sent: dict[str, tuple[datetime, ...]] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        """Return what a field condition or a template means by a name: an attribute, else a custom field."""
        if name in _ATTRIBUTES:
            return getattr(self, name)
        return self.fields.get(name)

    def state(self) -> tuple[Any, ...]:
        """Return everything that a step may have changed, to be compared before and after.

        The columns of the contact's own row come first, then the custom fields.
        """
        return _state(self)

    def restore(self, state: tuple[Any, ...]) -> None:
        """Put back what `state` returned."""
        for name, value in zip(_CHANGEABLE, state, strict=True):
            setattr(self, name, value)


_CHANGEABLE = (
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
    "companies",
    "company",
)
# Every step asks this of every contact, so that a step that breaks can be undone.
_state = attrgetter(*_CHANGEABLE)
_ATTRIBUTES = frozenset({"key", "email", "timezone", "points", "stage", "owner", "last_active_at", "tags"})
