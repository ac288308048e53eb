"""When a step is due: intervals, dates, hours, windows and weekdays in the contact's own time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

# Weekdays as datetime.weekday() counts them.
WEEKDAYS = {"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}


@dataclass(frozen=True, slots=True)
class Interval:
    """A length of time: calendar months, then calendar days, then an exact duration."""

    months: int = 0
    days: int = 0
    exact: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Timing:
    """When a step wants to run, counted from when the contact reached it.

    Nothing set: at once. `after` and `at` exclude each other; `hour` and `between` too.
    """

    after: Interval | None = None
    at: datetime | None = None
    hour: time | None = None
    between: tuple[time, time] | None = None
    days: frozenset[int] = frozenset()


def parse_interval(text: str) -> Interval:
    """Return the interval of `3 days`, `90 minutes` or ISO 8601 `P1DT2H`. Raises ValueError with a sentence."""
    raise NotImplementedError


def add(interval: Interval, since: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant, in UTC, an interval after another."""
    raise NotImplementedError


def due_at(timing: Timing, *, since: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant, in UTC, at which a step is due."""
    raise NotImplementedError


def postponed_until(timing: Timing, *, now: datetime, zone: ZoneInfo) -> datetime | None:
    """Return when to come back if a window or weekday forbids `now`, else None."""
    raise NotImplementedError


def depends_on_zone(timing: Timing) -> bool:
    """Return whether two contacts in different timezones, who arrive together, may be due at different instants."""
    raise NotImplementedError
