"""Periods that end or begin now, as the conditions that look at time take them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import cached_property
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, model_validator

from parcours.domain.contacts.touched import TIME, TIMEZONE, Reads
from parcours.domain.operators import after
from parcours.domain.steps.types import Look, Need, Properties
from parcours.domain.time.intervals import Interval, parse_interval


def _interval(text: str) -> str:
    parse_interval(text)
    return text.strip()


# An interval as people write it, such as `90 days`.
Span = Annotated[str, AfterValidator(_interval)]


class Lately(Properties):
    """Base of the properties of conditions on what happened at some time."""

    within: Span | None = Field(
        default=None, description="Interval such as 90 days: only what happened within it, up to now, counts."
    )
    older_than: Span | None = Field(
        default=None, description="Interval such as 90 days: only what is longer ago counts."
    )

    @model_validator(mode="after")
    def _leaves_something(self) -> Lately:
        # Both are counted from the same instant, so that the longer one reaches further.
        if self._within is not None and self._older is not None and _length(self._older) >= _length(self._within):
            raise ValueError(
                f"older_than must be shorter than within, but {self.older_than} is not shorter than {self.within}"
            )
        return self

    @cached_property
    def _within(self) -> Interval | None:
        return None if self.within is None else parse_interval(self.within)

    @cached_property
    def _older(self) -> Interval | None:
        return None if self.older_than is None else parse_interval(self.older_than)

    @property
    def ends_or_begins_now(self) -> bool:
        """Whether a period is asked for at all."""
        return self.within is not None or self.older_than is not None

    def covers(self, at: datetime, now: datetime, zone: ZoneInfo) -> bool:
        """Return whether something that happened at an instant counts, for a contact of a timezone."""
        if self._within is not None and now >= after(at, self._within, zone):
            return False
        return self._older is None or now >= after(at, self._older, zone)

    def turns(self, ats: Iterable[datetime], now: datetime, zone: ZoneInfo) -> list[datetime]:
        """Return the instants after now, in order, at which something that happened begins or stops to count."""
        intervals = [each for each in (self._within, self._older) if each is not None]
        return sorted(turn for at in ats for each in intervals if (turn := after(at, each, zone)) > now)

    def first_turn(self, ats: Iterable[datetime], now: datetime, zone: ZoneInfo) -> datetime | None:
        """Return when the answer may change next where one of what happened is enough; None: never."""
        return self.turn_at([1], ats, now, zone)

    def turn_at(self, counts: Iterable[int], ats: Iterable[datetime], now: datetime, zone: ZoneInfo) -> datetime | None:
        """Return when it may change next whether so many of what happened count; None: never."""
        every = list(ats)
        turns = self.turns(every, now, zone)
        if self.older_than is None:
            # One by one, what counts gets less: the answer changes with the one that leaves a count too low.
            return min((turns[-count] for count in counts if count <= len(turns)), default=None)
        if self.within is None:
            # One by one, it gets more.
            before = len(every) - len(turns)
            more = [count - before for count in counts]
            return min((turns[each - 1] for each in more if 0 < each <= len(turns)), default=None)
        return min(turns, default=None)

    def in_words(self) -> str:
        """Return the period as the end of a sentence, with a space before it; nothing where there is none."""
        within = f" within the last {self.within}" if self.within is not None else ""
        return within + (f" longer ago than {self.older_than}" if self.older_than is not None else "")

    def reads_of_period(self) -> Reads:
        """Return what the period adds to what is read."""
        return frozenset([TIME, TIMEZONE]) if self.ends_or_begins_now else frozenset()

    def look(self, need: Need, *, types: frozenset[str] = frozenset(), most: int | None = None) -> Look:
        """Return what has to be loaded of the history."""
        # What is older than something is not among the latest.
        look = Look(need, types, within=self._within, every=self.older_than is not None)
        return look if most is None or look.every else look._replace(most=most)


def _length(interval: Interval) -> float:
    return (interval.months * 30 + interval.days) * 86_400.0 + interval.exact.total_seconds()
