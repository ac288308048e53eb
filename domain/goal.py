"""What a campaign is for, and whom it leaves alone to see whether it helps: goals and control groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from parcours.domain.events.matching import PropertyTest, names_run
from parcours.domain.events.reading import Happening, key_of, property_of
from parcours.domain.time import schedule
from parcours.domain.time.intervals import Interval

# Percent of entrants; who leaves alone more than half learns nothing sooner.
MOST_CONTROL = 50

# Of one conversion, to either side of nothing. What is smaller than the last decimal is rounded.
MOST_VALUE = Decimal(10) ** 12
DECIMALS = Decimal("0.000001")
_LONGEST = 60

_SALT = b"parcours control 1"


class Draw(NamedTuple):
    """How a control group is drawn: those the first 8 bytes of the SHA-256 of `prefix` and id of whom are `below`."""

    prefix: bytes
    below: bytes


def draw(campaign: str, percent: float | Fraction) -> Draw:
    """Return how so many percent of contacts, at most half, are drawn: the same ones whenever it is asked for.

    Who is among so many percent is among more as well. Campaigns with other keys draw independently.
    """
    below = int(Fraction(str(percent)) * 2**64 / 100)
    return Draw(b"\0".join([_SALT, campaign.encode(), b""]), below.to_bytes(8))


@dataclass(frozen=True)
class Goal:
    """What counts as a conversion: an event, or that a rule becomes true, where `type` is None.

    `key`: where in the data the key of the run stands; None: the run that began last. `value`: where the value stands.
    """

    type: str | None
    where: Sequence[PropertyTest] = ()
    key: str | None = None
    within: Interval | None = None
    value: str | None = None

    def is_reached_by(self, fact: Happening) -> bool:
        """Return whether an event is a conversion; without the key that is asked for, it is none."""
        return names_run(fact, self.type, self.where, self.key)

    def key_in(self, fact: Happening) -> str | None:
        """Return the key of the run that an event is about; None: the one that began last."""
        return None if self.key is None else key_of(fact.data, self.key)

    def value_in(self, fact: Happening) -> Decimal | None:
        """Return what a conversion is worth, as far as the event says so in a number that can be added up."""
        return None if self.value is None else amount(property_of(fact.data, self.value))

    def until(self, began_at: datetime, zone: ZoneInfo) -> datetime | None:
        """Return when the goal can be reached no more by who began at an instant; None: never."""
        if self.within is None:
            return None
        try:
            return schedule.add(self.within, began_at, zone)
        except (OverflowError, ValueError):
            return None


def amount(value: Any) -> Decimal | None:
    """Return a number of an event exactly, rounded to six decimals; None for what is none or too large."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    if isinstance(value, int) and abs(value) > MOST_VALUE:
        return None
    written = str(value).strip()
    if len(written) > _LONGEST or "_" in written or not written.isascii():
        return None
    try:
        found = Decimal(written)
    except InvalidOperation:
        return None
    return found.quantize(DECIMALS) if found.is_finite() and abs(found) <= MOST_VALUE else None


class Tried(NamedTuple):
    """How many were watched, how many reached the goal, and what that was worth."""

    entered: int = 0
    reached: int = 0
    value: Decimal = Decimal(0)

    @property
    def rate(self) -> float | None:
        """The share of those watched that reached the goal; None where nobody was."""
        return self.reached / self.entered if self.entered else None


def of_branches(outcomes: Sequence[tuple[int, int | None, int, str]]) -> Mapping[tuple[int, int | None, str], None]:
    """Return the branches that contacts took, by (contact, run, part), each once, in their order.

    `outcomes`: contact, run, step and result.
    """
    return {
        (contact_id, run, f"{step_id}:{result}"): None
        for contact_id, run, step_id, result in outcomes
        if result in ("yes", "no")
    }
