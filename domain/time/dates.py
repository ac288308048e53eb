"""Dates of a contact, such as a birthday or the day of a webinar: when a step or an entry that goes by one is due.

A date is the value of a custom field: `2026-12-24`, or with a time, which is the contact's own unless it has an
offset. What cannot be read is no date. Nothing here raises, whatever the value.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from parcours.domain.time.intervals import Interval, format_interval, parse_interval

Every = Literal["year", "month", "week"]

# What is due by a date is not late before this has passed: the contact may only just have come.
LATE = timedelta(minutes=15)

# Near the end of the calendar a change of timezone would leave it.
_LAST_YEAR = 9000

AT_ONCE = Interval()

_WEEK = timedelta(days=7)

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.,+Zz-]{2,40})?")


@dataclass(frozen=True, slots=True)
class ContactDate:
    """An instant counted from the date in a custom field: so long after it, or before it.

    `hour` is the time of that day, in place of the date's own; a date without a time has midnight. With `every`
    the date comes again: each year, month (on the last day of a shorter one) or week.
    """

    field: str
    offset: Interval = AT_ONCE
    before: bool = False
    hour: time | None = None
    every: Every | None = None

    @property
    def name(self) -> str:
        """What tells it from other dates of a campaign, also where its hour changes: `7 days before birthday`."""
        counted = "" if self.offset == AT_ONCE else f"{format_interval(self.offset)} {self._side} "
        return f"{counted}{self.field}" + (f", every {self.every}" if self.every else "")

    def __str__(self) -> str:
        return self.name + (f", at {self.hour:%H:%M}" if self.hour is not None else "")

    def to_data(self) -> dict[str, Any]:
        """Return it as plain data, for `of_data`."""
        return {
            "field": self.field,
            "offset": format_interval(self.offset),
            "before": self.before,
            "hour": None if self.hour is None else f"{self.hour:%H:%M}",
            "every": self.every,
        }

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> ContactDate:
        """Return what `to_data` wrote."""
        hour = None if data["hour"] is None else time.fromisoformat(data["hour"])
        return cls(data["field"], parse_interval(data["offset"]), data["before"], hour, data["every"])

    @property
    def _side(self) -> str:
        return "before" if self.before else "after"


class Coming(NamedTuple):
    """When a contact next enters by a date, and what is remembered of it so that they do so once.

    `turn` is the year, month or week of a date that comes again, else the date itself. They are in the order of
    time as texts.
    """

    due_at: datetime
    turn: str


def moment(value: Any) -> date | None:
    """Return the date, or the date and time, that a field holds; None if it is none."""
    if not isinstance(value, str) or len(value) > 60:
        return None
    text = value.strip()
    if not _DATE.fullmatch(text):
        return None
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError:
        return None


def due_at(by: ContactDate, value: Any, zone: ZoneInfo) -> datetime | None:
    """Return the instant, in UTC, that a contact's date gives; None without a date, or beyond the calendar.

    `zone` is the contact's timezone. Months and days before or after move the clock on its wall, hours and
    minutes the instant. A local time that clocks skip is right after the gap.
    """
    found = moment(value)
    if found is None:
        return None
    try:
        if isinstance(found, datetime) and found.tzinfo is not None:
            if not (by.offset.months or by.offset.days or by.hour):
                return _within_calendar(found.astimezone(UTC) + _exact(by))
            found = found.astimezone(zone)
        return _within_calendar(_moved(by, found, found, zone))
    except (ValueError, OverflowError):
        return None


def coming(by: ContactDate, value: Any, zone: ZoneInfo, *, since: datetime, last: str | None) -> Coming | None:
    """Return when a contact enters by a date, no earlier than an instant; None: never, as things are.

    `last` is the turn in which they entered last: no turn up to it comes again, however the date is corrected
    within it. The 29th of February is the 28th in other years, as the last days of long months are in shorter ones.
    A date that comes again begins with itself.
    """
    if by.every is None:
        due = due_at(by, value, zone)
        found = moment(value)
        if due is None or found is None or due < since or found.isoformat() == last:
            return None
        return Coming(due, found.isoformat())
    found = moment(value)
    if found is None:
        return None
    try:
        if isinstance(found, datetime) and found.tzinfo is not None:
            found = found.astimezone(zone)
        for day, turn in _days(by, found, since.astimezone(zone)):
            due = _within_calendar(_moved(by, found, day, zone))
            if due is None:
                return None
            if due >= since and (last is None or turn > last):
                return Coming(due, turn)
    except (ValueError, OverflowError):
        return None
    return None


def is_late(due: datetime, at: datetime) -> bool:
    """Return whether what a date gives had passed when somebody came there, by more than a moment."""
    return due < at - LATE


def months_later(day: date, months: int) -> date:
    """Return the same day of a month so many later, or earlier; the last one of a shorter month.

    Raises ValueError beyond the calendar.
    """
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return day.replace(year=year, month=month, day=min(day.day, calendar.monthrange(year, month)[1]))


def _days(by: ContactDate, first: date, since: datetime) -> Iterator[tuple[date, str]]:
    """Yield the days on which a date comes again, those long before an instant left out, each with its turn."""
    begin = _day_of(first)
    # The day on which something due at that instant would fall, and some days more for zones and clock changes.
    around = _day_of(since)
    months = by.offset.months if by.before else -by.offset.months
    days = by.offset.days + by.offset.exact // timedelta(days=1)
    near = max(months_later(around, months) + timedelta(days=(days if by.before else -days) - 3), begin)
    if by.every == "week":
        nth = max((near - begin) // _WEEK, 0)
        while True:
            day = begin + nth * _WEEK
            year, week, _ = day.isocalendar()
            yield day, f"{year:04}-W{week:02}"
            nth += 1
    each = 12 if by.every == "year" else 1
    nth = max(((near.year - begin.year) * 12 + near.month - begin.month) // each - 1, 0)
    while True:
        day = months_later(begin, nth * each)
        yield day, f"{day.year:04}" if by.every == "year" else f"{day.year:04}-{day.month:02}"
        nth += 1


def _moved(by: ContactDate, value: date, day: date, zone: ZoneInfo) -> datetime:
    """Return the instant that is counted from a day, with the time of the value or of the rule."""
    clock = value.time() if isinstance(value, datetime) else time()
    sign = -1 if by.before else 1
    moved = months_later(_day_of(day), sign * by.offset.months) + timedelta(days=sign * by.offset.days)
    wall = datetime.combine(moved, by.hour if by.hour is not None else clock)
    fold = value.fold if isinstance(value, datetime) and by.hour is None else 0
    instant = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if fold and instant.astimezone(zone).replace(tzinfo=None) != wall:
        # In a gap, fold=1 moves back by the gap and fold=0 forward.
        instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return instant + _exact(by)


def _exact(by: ContactDate) -> timedelta:
    return -by.offset.exact if by.before else by.offset.exact


def _day_of(value: date) -> date:
    return value.date() if isinstance(value, datetime) else value


def _within_calendar(due: datetime) -> datetime | None:
    return due if 1 < due.year <= _LAST_YEAR else None
