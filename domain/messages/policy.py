"""When a marketing message may go: caps, quiet hours, closed days, pauses, and the next slot that they leave free.

A message counts from when it goes until its period is over. So a cap of 2 a week says that there are
never more than two messages whose week is not over; when the older one's is, a slot is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple, cast, get_args
from zlib import crc32
from zoneinfo import ZoneInfo

from parcours.domain.messages.holidays import is_holiday
from parcours.domain.time import schedule
from parcours.domain.time.dates import moment
from parcours.domain.time.intervals import Interval, parse_interval
from parcours.domain.time.schedule import WEEKDAYS, Timing, parse_days, parse_window

Period = Literal["day", "week", "month"]
# What becomes of a message that is held back: it waits in the outbox, it is left out, or the contact waits
# at the step.
Over = Literal["queue", "skip", "next_slot"]
Blocker = Literal["paused", "cap", "quiet_hours", "blackout", "holiday"]
# Those that end with a time of the contact's day.
OF_THE_DAY: frozenset[Blocker] = frozenset({"quiet_hours", "blackout", "holiday"})

PERIODS: Mapping[Period, Interval] = {
    "day": Interval(exact=timedelta(days=1)),
    "week": Interval(exact=timedelta(days=7)),
    "month": Interval(months=1),
}
# No period is longer, whatever the month and the clock changes in it.
LONGEST: Mapping[Period, timedelta] = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=32),
}
_UTC = ZoneInfo("UTC")
_SECOND = timedelta(seconds=1)
# Any day without a clock change.
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_EVERY_DAY = frozenset(WEEKDAYS.values())


class Cap(NamedTuple):
    """At most so many messages a period: a day of 24 hours, a week of 7 such days, a calendar month."""

    number: int
    period: Period


class QuietHours(NamedTuple):
    """A window of the contact's day, its end excluded, on some weekdays; no days: on all.

    Weekdays are those of the clock on the wall: of a window over midnight, Saturday has the hours
    before its end and those from its start on.
    """

    between: tuple[time, time]
    days: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Policy:
    """What binds the marketing messages of a channel, whatever the campaign."""

    cap: Cap | None = None
    quiet_hours: QuietHours | None = None
    over: Over = "next_slot"
    # Days of the contact on which nothing goes.
    blackout: frozenset[date] = frozenset()
    # The custom field that holds the country whose public holidays are such days too.
    holidays: str | None = None
    # Over how long those go who were held back until the same hour.
    spread: Interval | None = None

    def later(self, contact_id: int, held: Blocker) -> timedelta:
        """Return how long after the hour that ends what holds a message back it goes: for a contact always the same."""
        if self.spread is None or held not in OF_THE_DAY:
            return timedelta(0)
        length = schedule.add(self.spread, _EPOCH, _UTC) - _EPOCH
        return length * (crc32(str(contact_id).encode()) / 2**32) // _SECOND * _SECOND


@dataclass(frozen=True, slots=True)
class Rule:
    """What a contact wants of a channel. Its own cap stands in place of the policy's."""

    cap: Cap | None = None
    preferred: bool = False
    # Nothing goes from the one until the other; without a start until then, without an end for ever.
    paused_from: datetime | None = None
    paused_until: datetime | None = None

    @property
    def says_nothing(self) -> bool:
        return self == Rule()


NO_POLICY, NO_RULE = Policy(), Rule()


class Hold(NamedTuple):
    """Why a message may not go now, and when it may; None: never."""

    rule: Blocker
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Limits:
    """All that binds a contact's messages on a channel. `sent` says when those before it go or went."""

    policy: Policy = NO_POLICY
    rule: Rule = NO_RULE
    sent: Sequence[datetime] = ()
    zone: ZoneInfo = _UTC
    # What the contact's field of `policy.holidays` holds.
    country: Any = None

    @property
    def cap(self) -> Cap | None:
        return self.rule.cap or self.policy.cap

    def hold(self, now: datetime, *, later: timedelta = timedelta(0)) -> Hold | None:
        """Return what holds a message back at an instant, and the next free slot in UTC; None: it may go.

        `later` is how long after the slot becomes free it is taken: what matters more comes first.
        """
        now = now.astimezone(UTC)
        blocker = self._blocker(now)
        if blocker is None:
            return None
        slot = self._free(now)
        return Hold(blocker, None if slot is None else self._free(slot + later))

    def late_hold(self, now: datetime) -> Hold | None:
        """Return what holds back a message whose turn had come before: quiet hours and pauses, but no cap.

        It has its place under the cap already; workers that were down must not make up for it at night.
        """
        policy, rule = replace(self.policy, cap=None), replace(self.rule, cap=None)
        return Limits(policy, rule, zone=self.zone, country=self.country).hold(now)

    def _blocker(self, at: datetime) -> Blocker | None:
        if self._after_pause(at) != at:
            return "paused"
        if not self._has_room(at):
            return "cap"
        if self._after_quiet_hours(at) != at:
            return "quiet_hours"
        return self._closed(at)

    def _free(self, at: datetime) -> datetime | None:
        """Return the first instant from another on that nothing forbids; None: there is none."""
        while True:
            after = self._after_pause(at)
            if after is None:
                return None
            after = self._after_closed_days(self._after_quiet_hours(after))
            if self._after_quiet_hours(after) != after:
                at = after
                continue
            if self._has_room(after):
                if after == at:
                    return at
                at = after
            else:
                at = self._next_room(after)

    def _after_pause(self, at: datetime) -> datetime | None:
        start, end = self.rule.paused_from, self.rule.paused_until
        if (start is None and end is None) or (start is not None and at < start) or (end is not None and at >= end):
            return at
        return None if end is None else end.astimezone(UTC)

    def _after_quiet_hours(self, at: datetime) -> datetime:
        quiet = self.policy.quiet_hours
        if quiet is None:
            return at
        inside = Timing(between=quiet.between, days=quiet.days)
        if schedule.due_at(inside, since=at, zone=self.zone) != at:
            return at
        # They end where the window does, or at the midnight before a day that has none.
        start, end = quiet.between
        ends = [schedule.due_at(Timing(between=(end, start)), since=at, zone=self.zone)]
        others = _EVERY_DAY - quiet.days
        if quiet.days and others:
            ends.append(schedule.due_at(Timing(hour=time(0), days=others), since=at, zone=self.zone))
        return min(ends)

    def _closed(self, at: datetime) -> Literal["blackout", "holiday"] | None:
        """Return why nothing goes on the contact's day of an instant."""
        if not self.policy.blackout and self.policy.holidays is None:
            return None
        day = at.astimezone(self.zone).date()
        if day in self.policy.blackout:
            return "blackout"
        return "holiday" if self.policy.holidays is not None and is_holiday(self.country, day) else None

    def _after_closed_days(self, at: datetime) -> datetime:
        midnight = Timing(hour=time(0))
        while self._closed(at) is not None:
            at = schedule.due_at(midnight, since=at + timedelta.resolution, zone=self.zone)
        return at

    def _has_room(self, at: datetime) -> bool:
        """Return whether one message more at an instant leaves the cap kept, then and for as long as it counts."""
        cap = self.cap
        if cap is None or len(self.sent) < cap.number:
            return True
        end = self._end(at, cap)
        # The number of those that count grows only when one goes.
        instants = [at, *(other for other in self.sent if at < other < end)]
        counted = [(other, self._end(other, cap)) for other in self.sent]
        return all(sum(since <= instant < until for since, until in counted) < cap.number for instant in instants)

    def _next_room(self, at: datetime) -> datetime:
        cap = self.cap
        assert cap is not None
        return min(end for other in self.sent if (end := self._end(other, cap)) > at)

    def _end(self, at: datetime, cap: Cap) -> datetime:
        return schedule.add(PERIODS[cap.period], at, self.zone)


# What people write.


def parse_cap(value: object) -> Cap:
    """Return the cap of `{number: 2, period: week}`. Raises ValueError with a sentence."""
    given = _mapping(value, ("number", "period"), "a cap", "{number: 2, period: week}")
    number, period = given.get("number"), given.get("period")
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number < 2**31:
        raise ValueError(f"the number of a cap must be a whole number of at least 1, not {number!r}")
    if period not in get_args(Period):
        raise ValueError(
            f"the period of a cap must be day, week or month, not {period!r}{_near(period, get_args(Period))}"
        )
    return Cap(number, cast(Period, period))


def parse_quiet_hours(value: object) -> QuietHours:
    """Return the hours of `{between: ["21:00", "08:00"], days: [sat, sun]}`. Raises ValueError with a sentence."""
    given = _mapping(value, ("between", "days"), "quiet hours", '{between: ["21:00", "08:00"]}')
    if given.get("between") is None:
        raise ValueError('quiet hours need a time window, such as between: ["21:00", "08:00"]')
    days = given.get("days")
    return QuietHours(parse_window(given["between"]), frozenset() if days is None else parse_days(days))


def parse_over(value: object) -> Over:
    """Return what becomes of a message that is held back. Raises ValueError with a sentence."""
    if value not in get_args(Over):
        raise ValueError(f"'over' must be queue, skip or next_slot, not {value!r}{_near(value, get_args(Over))}")
    return cast(Over, value)


def parse_blackout(value: object) -> frozenset[date]:
    """Return the days of `[2026-12-25, 2027-01-01]`. Raises ValueError with a sentence."""
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f"'blackout' is a list of days such as [2026-12-25, 2027-01-01], not {value!r}")
    found = set()
    for each in value:
        day = moment(each.isoformat() if isinstance(each, date) else each)
        if day is None or isinstance(day, datetime):
            raise ValueError(f"{each!r} is not a day; write it like 2026-12-25")
        found.add(day)
    return frozenset(found)


def parse_holidays(value: object) -> str:
    """Return the custom field of `contact.country`, which holds a country. Raises ValueError with a sentence."""
    field = value.strip().removeprefix("contact.") if isinstance(value, str) else ""
    if not field or not isinstance(value, str) or not value.strip().startswith("contact."):
        raise ValueError(f"'holidays' names the field that holds a contact's country: contact.country, not {value!r}")
    return field


def parse_spread(value: object) -> Interval:
    """Return over how long messages go that were held back until one hour, at most a day. Raises ValueError."""
    spread = parse_interval(value)
    if spread.months or spread.days > 1 or schedule.add(spread, _EPOCH, _UTC) > _EPOCH + timedelta(days=1):
        raise ValueError(f"'spread' is at most 1 day, not {value!r}")
    return spread


def parse_policy(value: Mapping[str, Any]) -> Policy:
    """Return the policy of a mapping of the names in the file. Raises ValueError with a sentence."""
    cap, quiet_hours, over, blackout, holidays, spread = (
        value.get(name) for name in ("cap", "quiet_hours", "over", "blackout", "holidays", "spread")
    )
    if cap is None and quiet_hours is None and blackout is None and holidays is None:
        raise ValueError(
            "the policy has no effect; add a cap, quiet_hours, blackout or holidays, "
            "or delete it with `parcours policies delete`"
        )
    return Policy(
        None if cap is None else parse_cap(cap),
        None if quiet_hours is None else parse_quiet_hours(quiet_hours),
        "next_slot" if over is None else parse_over(over),
        frozenset() if blackout is None else parse_blackout(blackout),
        None if holidays is None else parse_holidays(holidays),
        None if spread is None else parse_spread(spread),
    )


RULE_NAMES = ("number", "period", "preferred", "paused_from", "paused_until")


def parse_rule(value: object) -> Rule:
    """Return a contact's own rule of the names in RULE_NAMES; times are ISO 8601 with an offset.

    Raises ValueError with a sentence.
    """
    given = _mapping(value, RULE_NAMES, "a channel's rule", '{"number": 2, "period": "week"}')
    number, period, preferred = given.get("number"), given.get("period"), given.get("preferred")
    if not isinstance(preferred, bool | None):
        raise ValueError(f"'preferred' must be true or false, not {preferred!r}")
    cap = None if number is None and period is None else parse_cap({"number": number, "period": period})
    start, end = (_instant(given, name) for name in ("paused_from", "paused_until"))
    if start is not None and end is not None and end <= start:
        raise ValueError("'paused_until' must be after 'paused_from'")
    return Rule(cap, bool(preferred), start, end)


def as_data(rule: Rule) -> dict[str, Any]:
    """Return a rule as plain data, what it does not say left out; parse_rule() gives an equal one back."""
    data = {
        "number": rule.cap and rule.cap.number,
        "period": rule.cap and rule.cap.period,
        "preferred": rule.preferred or None,
        "paused_from": rule.paused_from and rule.paused_from.isoformat(),
        "paused_until": rule.paused_until and rule.paused_until.isoformat(),
    }
    return {name: value for name, value in data.items() if value is not None}


def _instant(given: Mapping[str, Any], name: str) -> datetime | None:
    value = given.get(name)
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        at = None
    # Near the ends of the calendar a change of timezone would leave it.
    if at is not None and not 1900 <= at.year <= 9000:
        raise ValueError(
            f"the year of {name!r} must be between 1900 and 9000, not {at.year}; "
            "omit 'paused_until' for a pause without end"
        )
    if at is not None and at.tzinfo is not None:
        return at.astimezone(UTC)
    raise ValueError(f"{name!r} must be a time with an offset, such as 2026-12-24T00:00:00+01:00, not {value!r}")


def _mapping(value: object, known: Sequence[str], what: str, like: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be a mapping such as {like}, not {value!r}")
    for name in value:
        if name not in known:
            hint = _near(name, known) or f"; known properties are {', '.join(known)}"
            raise ValueError(f"{what} has no {name!r}{hint}")
    return value


def _near(word: object, known: Sequence[str]) -> str:
    near = get_close_matches(str(word), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
