"""What lets contacts into a campaign and out of it, besides segments and forms: events, exits and limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from parcours.domain.events.matching import PropertyTest, names_run, passes
from parcours.domain.events.reading import Entry, Happening, key_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NoKeyError(Exception):
    """An event that a source takes does not hold the key that the source asks for."""


@dataclass(frozen=True)
class EventSource:
    """Events that begin a run: of a type, with tests on the data; `key` is where in the data the key stands."""

    type: str
    where: Sequence[PropertyTest] = ()
    key: str | None = None

    def takes(self, fact: Happening) -> bool:
        """Return whether an event begins a run."""
        return fact.type == self.type and passes(self.where, fact)

    def entry(self, fact: Happening) -> Entry:
        """Return the run that an event begins. Raises NoKeyError."""
        if self.key is None:
            return Entry("", fact.data)
        key = key_of(fact.data, self.key)
        if key is None:
            raise NoKeyError
        return Entry(key, fact.data)


@dataclass(frozen=True)
class EventExit:
    """Events that end runs: that of the key in the data, or all runs of the contact where `key` is None."""

    type: str
    where: Sequence[PropertyTest] = ()
    key: str | None = None

    def ends(self, fact: Happening) -> bool:
        """Return whether an event ends runs; without the key that is asked for, it is none that could."""
        return names_run(fact, self.type, self.where, self.key)

    def key_in(self, fact: Happening) -> str | None:
        """Return the key of the run that an event ends; None: all of them."""
        return None if self.key is None else key_of(fact.data, self.key)

    def reason(self, fact: Happening) -> str:
        """Return in words why a run ended."""
        key = self.key_in(fact)
        return f"event {self.type}" if key is None else f"event {self.type} with {self.key} {key}"


@dataclass(frozen=True)
class EntryLimit:
    """How many may begin in a campaign: at most so many ever, and in each period; None: any number.

    Periods are counted from midnight UTC of the first of January 1970: hours and days are those of the clock in UTC.
    """

    most: int | None = None
    rate: int | None = None
    period: timedelta | None = None

    def period_of(self, now: datetime) -> datetime:
        """Return when the period began that an instant is in."""
        return _EPOCH if self.period is None else _EPOCH + (now - _EPOCH) // self.period * self.period

    def next_period(self, now: datetime) -> datetime | None:
        """Return when the next period begins; None where there are none."""
        return None if self.period is None else self.period_of(now) + self.period
