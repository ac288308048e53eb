"""What a provider made of a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from parcours.domain.gate import clean

# Characters that are kept of what a provider says.
LONGEST_ERROR = 500


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider accepted the message."""


@dataclass(frozen=True, slots=True)
class _Unsent:
    """It did not leave, for a reason. The reason may be a stranger's words, so it is made fit to be stored here."""

    error: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", clean(self.error)[:LONGEST_ERROR])


@dataclass(frozen=True, slots=True)
class Retry(_Unsent):
    """The message was not sent, and is retried, `after` a time if given.

    `away`: the provider does not respond or cannot work at all; all its messages wait. `patient`: the provider asks to
    send this message later; it is retried for three days, regardless of the number of attempts.
    """

    after: timedelta | None = None
    away: bool = False
    patient: bool = False


@dataclass(frozen=True, slots=True)
class GaveUp(_Unsent):
    """The message can never be sent."""


@dataclass(frozen=True, slots=True)
class Bounced(_Unsent):
    """The address does not exist. Nothing more is sent to it."""


@dataclass(frozen=True, slots=True)
class Cancelled(_Unsent):
    """It must not leave any more; `altogether`: on no other channel either."""

    altogether: bool = False


@dataclass(frozen=True, slots=True)
class Untried:
    """Nobody tried; it goes back as it was, due at an instant or, with None, at once.

    `held`: by which rule of a policy.
    """

    until: datetime | None = None
    held: str | None = None


Result = Sent | Retry | GaveUp | Bounced | Cancelled | Untried


class Claimed(NamedTuple):
    """A message in the hands of a worker, until `leased_until`."""

    key: str
    contact_id: int
    campaign_id: int
    step_id: int
    channel: str
    template: str | None
    address: str | None
    payload: Mapping[str, Any]
    marketing: bool
    attempts: int
    created_at: datetime
    tried_at: datetime
    leased_until: datetime
    # Of the first rendering.
    variant: str | None = None
    locale: str | None = None

    @property
    def to_contact(self) -> bool:
        """Whether the contact is who gets it; an email to users, or a call of a web address, is only about them."""
        return self.channel != "webhook" and not (self.channel == "email" and self.address is None)
