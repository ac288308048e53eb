"""When a step is due: intervals, dates, hours, windows and weekdays in the contact's own time."""

from __future__ import annotations

import calendar
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from difflib import get_close_matches
from zoneinfo import ZoneInfo

from parcours.domain.time.dates import ContactDate
from parcours.domain.time.intervals import ONE_SECOND, Interval

# Weekdays as datetime.weekday() counts them.
WEEKDAYS = {"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}

_ONE_DAY = timedelta(days=1)

_HOUR = re.compile(r"([0-9]{1,2}):([0-9]{2})")


@dataclass(frozen=True, slots=True)
class Timing:
    """When a step wants to run, counted from when the contact reached it.

    Nothing set: at once. `after` and `at` exclude each other; `hour` and `between` too. A `date` of the contact
    stands alone: the contact is looked at when it comes, and whenever the date changes.
    """

    after: Interval | None = None
    at: datetime | None = None
    hour: time | None = None
    between: tuple[time, time] | None = None
    days: frozenset[int] = frozenset()
    date: ContactDate | None = None


def parse_hour(text: object) -> time:
    """Return the time of day of `09:00`, from 00:00 to 23:59. Raises ValueError with a sentence."""
    if isinstance(text, int) and not isinstance(text, bool) and 0 <= text < 24 * 60:
        # YAML reads 10:30 without quotes as a number in base 60; one below 24 was written as an hour alone.
        hours, minutes = (text, 0) if text < 24 else divmod(text, 60)
        raise ValueError(f'{text} is not an hour: put it in quotes, like "{hours:02}:{minutes:02}"')
    found = _HOUR.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is not None:
        hour, minute = int(found[1]), int(found[2])
        if hour < 24 and minute < 60:
            return time(hour, minute)
        if (hour, minute) == (24, 0):
            raise ValueError("24:00 can only end a window: write '00:00' for midnight")
    raise ValueError(f"{text!r} is not an hour: write hours and minutes, from '00:00' to '23:59'")


def parse_window(value: object) -> tuple[time, time]:
    """Return the start and end of `["09:00", "18:00"]`. Raises ValueError with a sentence.

    A window that ends before it starts crosses midnight. `24:00` as the end is midnight, so
    it comes back as 00:00.
    """
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f'{value!r} is not a window: write its start and its end, like ["09:00", "18:00"]')
    first, last = value
    start = parse_hour(first)
    end = time(0) if isinstance(last, str) and last.strip() == "24:00" else parse_hour(last)
    if start == end:
        raise ValueError(
            f"the window from {first} to {last} starts where it ends: "
            "write two different hours, or leave the window out for the whole day"
        )
    return start, end


def parse_days(value: object) -> frozenset[int]:
    """Return the weekdays of `["mon", "fri"]` as datetime.weekday() counts them.

    Raises ValueError with a sentence.
    """
    names = ", ".join(WEEKDAYS)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{value!r} is not a list of days: write a list of {names}, like [mon, fri]")
    if not value:
        raise ValueError(f"the list of days is empty: name at least one of {names}, or leave it out")
    days = set()
    for item in value:
        name = item.strip().lower() if isinstance(item, str) else ""
        if name not in WEEKDAYS:
            near = [name[:3]] if name[:3] in WEEKDAYS else get_close_matches(name, WEEKDAYS, 1)
            hint = f"did you mean '{near[0]}', of {names}?" if near else f"write one of {names}"
            raise ValueError(f"{item!r} is not a day: {hint}")
        days.add(WEEKDAYS[name])
    return frozenset(days)


# What the engine asks.


def add(interval: Interval, since: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant, in UTC, an interval after another.

    Months and days move the contact's wall clock, so "1 day" lands on the same local time
    even across a clock change; a month later is the same day, or the last of the month. A
    local time that does not exist moves forward by the gap. The exact duration then moves
    the instant.

    Source: RFC 5545, section 3.3.6 (nominal and exact durations).

    Raises ValueError if `since` has no timezone.
    """
    since = _utc(since)
    if interval.months or interval.days:
        local = since.astimezone(zone)
        wall = local.replace(tzinfo=None)
        if interval.months:
            wall = _months_later(wall, interval.months)
        # Adding a timedelta drops `fold`; without it the second 02:30 of an autumn night
        # would become the first, an hour early.
        since = _instant(wall + timedelta(days=interval.days), zone, fold=local.fold)
    return since + interval.exact if interval.exact else since


def due_at(timing: Timing, *, since: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant, in UTC, at which a step is due: never before `since`.

    A date in the past is due at once. The hour, window or weekdays are sought from the end
    of the interval on, in the contact's timezone. An hour that a clock change skips is due
    right after the gap; one that it repeats, at its first passage still ahead. A window
    includes its start and excludes its end.

    Raises ValueError if `since` or `at` has no timezone.
    """
    since = _utc(since)
    if timing.at is not None:
        return max(_utc(timing.at), since)
    if timing.after is not None:
        since = add(timing.after, since, zone)
    if timing.hour is not None:
        return _first_hour(timing.hour, timing.days, since, zone)
    if timing.between is not None:
        return _first_open(timing.between, timing.days, since, zone)
    if timing.days:
        return _first_allowed_day(timing.days, since, zone)
    return since


def postponed_until(timing: Timing, *, now: datetime, zone: ZoneInfo) -> datetime | None:
    """Return when to come back, in UTC, if a window or weekday forbids `now`, else None.

    An hour that has just passed forbids nothing: the worker is late, not the contact.

    Raises ValueError if `now` has no timezone.
    """
    now = _utc(now)
    if timing.at is not None:
        return None
    if timing.hour is not None:
        if not timing.days or now.astimezone(zone).weekday() in timing.days:
            return None
        return _first_hour(timing.hour, timing.days, now, zone)
    if timing.between is not None:
        allowed = _first_open(timing.between, timing.days, now, zone)
    elif timing.days:
        allowed = _first_allowed_day(timing.days, now, zone)
    else:
        return None
    return allowed if allowed > now else None


def deadline(
    within: Interval | None, children: Iterable[Timing], *, since: datetime, zone: ZoneInfo
) -> datetime | None:
    """Return when a decision reached at `since` closes, in UTC; None if it stays open for ever.

    That is `within` later or, when the decision does not say, when the first of its "no"
    children is due.
    """
    if within is not None:
        return add(within, since, zone)
    return min((due_at(child, since=since, zone=zone) for child in children), default=None)


def goes_by_clock(timing: Timing) -> bool:
    """Return whether a step waits for a time or a day of the contact's own clock."""
    return timing.at is None and (timing.hour is not None or timing.between is not None or bool(timing.days))


def due_ahead(timing: Timing, *, since: datetime, now: datetime, zone: ZoneInfo) -> datetime:
    """Return when a step reached at `since`, and not due at `now` yet, is due in another timezone, in UTC.

    A time of day that has passed there already is the next one: not at once, at an hour that nobody chose.
    """
    due = due_at(timing, since=since, zone=zone)
    return due if due > now else due_at(replace(timing, after=None, at=None), since=now, zone=zone)


def depends_on_zone(timing: Timing) -> bool:
    """Return whether contacts of different timezones, arriving together, may be due at different instants."""
    if timing.at is not None:
        return False
    if timing.hour is not None or timing.between is not None or timing.days:
        return True
    return timing.after is not None and bool(timing.after.months or timing.after.days)


# Local times. A wall is a naive datetime: what a clock on the contact's wall shows.


def _utc(moment: datetime) -> datetime:
    # Datetimes that share a timezone compare by their walls, blind to a repeated hour; in
    # UTC they do not.
    if moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None:
        written = moment.isoformat()
        raise ValueError(f"{written} has no timezone: give it one, like {written}+00:00")
    return moment.astimezone(UTC)


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def _instant(wall: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    found = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    if fold and _wall(found, zone) != wall:
        # In a gap, fold=1 moves back by the gap and fold=0 forward.
        return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return found


def _months_later(wall: datetime, months: int) -> datetime:
    years, month = divmod(wall.month - 1 + months, 12)
    year, month = wall.year + years, month + 1
    return wall.replace(year=year, month=month, day=min(wall.day, calendar.monthrange(year, month)[1]))


def _first_hour(hour: time, days: frozenset[int], since: datetime, zone: ZoneInfo) -> datetime:
    def next_wall(wall: datetime) -> datetime:
        return _next_hour(wall, hour, days)

    def skipped(before: datetime, after: datetime) -> bool:
        wanted = next_wall(before)
        midnight = datetime.combine(wanted, time())
        # A day of which nothing is left (a country that crosses the date line) is not made
        # up for: the day after has that hour too.
        whole_day = before <= midnight and midnight + _ONE_DAY <= after
        return wanted < after and not whole_day and (not days or after.weekday() in days)

    # A gap that ends at this very instant may have swallowed the hour.
    before = _wall(since - timedelta.resolution, zone) + timedelta.resolution
    after = _wall(since, zone)
    if before < after and skipped(before, after):
        return since
    return _first(next_wall, since, zone, skipped)


def _first_open(window: tuple[time, time], days: frozenset[int], since: datetime, zone: ZoneInfo) -> datetime:
    return _first(lambda wall: _next_open(wall, window, days), since, zone)


def _first_allowed_day(days: frozenset[int], since: datetime, zone: ZoneInfo) -> datetime:
    local = since.astimezone(zone)
    if local.weekday() in days:
        return since
    wall = local.replace(tzinfo=None)
    # Two weeks: a clock change may skip that time of the only allowed day of this one.
    for later in range(1, 15):
        candidate = wall + timedelta(days=later)
        if candidate.weekday() in days:
            found = _instant(candidate, zone, fold=local.fold)
            if _wall(found, zone).weekday() in days:
                return found
    raise _no_weekday(days)


def _first(
    next_wall: Callable[[datetime], datetime],
    since: datetime,
    zone: ZoneInfo,
    skipped: Callable[[datetime, datetime], bool] | None = None,
) -> datetime:
    """Return the first instant, not before `since`, that shows a wanted wall.

    `next_wall` gives the first wanted wall from another on. Between two clock changes the
    wall runs evenly, so the search goes from one change to the next; `skipped` says whether
    the gap between two walls swallowed a wanted one, which then counts as shown at its end.
    """
    while True:
        wall = _wall(since, zone)
        wanted = next_wall(wall)
        if wanted == wall:
            return since
        found = since + (wanted - wall)
        if _wall(found, zone) == wanted:
            return found
        change = _next_change(since, found, zone)
        if skipped is not None and skipped(wall + (change - since), _wall(change, zone)):
            return change
        since = change


def _next_change(since: datetime, until: datetime, zone: ZoneInfo) -> datetime:
    """Return when the clocks change, knowing that they do after `since` and not after `until`."""
    # Clocks change on whole seconds.
    start = since.replace(microsecond=0)
    start_wall = _wall(start, zone)

    def changed(seconds: int) -> bool:
        elapsed = timedelta(seconds=seconds)
        return _wall(start + elapsed, zone) - start_wall != elapsed

    seconds = range(math.ceil((until - start) / ONE_SECOND))
    return start + timedelta(seconds=bisect_left(seconds, True, key=changed))


def _next_hour(wall: datetime, hour: time, days: frozenset[int]) -> datetime:
    wanted = datetime.combine(wall, hour)
    if wanted < wall:
        wanted += _ONE_DAY
    if not days:
        return wanted
    for _ in range(7):
        if wanted.weekday() in days:
            return wanted
        wanted += _ONE_DAY
    raise _no_weekday(days)


def _next_open(wall: datetime, window: tuple[time, time], days: frozenset[int]) -> datetime:
    start, end = window
    # The eighth day is today's weekday again, for when today's window is over.
    for _ in range(8):
        if not days or wall.weekday() in days:
            clock = wall.time()
            # A window across midnight is two portions of a day: until its end, and from its start on.
            if (start <= clock < end) if start < end else (clock < end or clock >= start):
                return wall
            if clock < start:
                return datetime.combine(wall, start)
        wall = datetime.combine(wall, time()) + _ONE_DAY
    raise _no_weekday(days)


def _no_weekday(days: frozenset[int]) -> ValueError:
    return ValueError(f"{sorted(days)} names no weekday: they go from 0 (Monday) to 6 (Sunday)")
