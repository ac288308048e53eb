"""When a marketing message may go: caps, quiet hours and pauses, and the next slot that all of them leave free.

A message counts from when it goes until its period is over. So a cap of 2 a week says that there are
never more than two messages whose week is not over; when the older one's is, a slot is free.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple, cast, get_args
from zoneinfo import ZoneInfo

from parcours.domain.time import schedule
from parcours.domain.time.intervals import Interval
from parcours.domain.time.schedule import WEEKDAYS, Timing, parse_days, parse_window

Period = Literal["day", "week", "month"]
# What becomes of a message that is held back: it waits in the outbox, it is left out, or the contact waits
# at the step.
Over = Literal["queue", "skip", "next_slot"]
Blocker = Literal["paused", "cap", "quiet_hours"]

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
        return Limits(replace(self.policy, cap=None), replace(self.rule, cap=None), zone=self.zone).hold(now)

    def _blocker(self, at: datetime) -> Blocker | None:
        if self._after_pause(at) != at:
            return "paused"
        if not self._has_room(at):
            return "cap"
        return None if self._after_quiet_hours(at) == at else "quiet_hours"

    def _free(self, at: datetime) -> datetime | None:
        """Return the first instant from another on that nothing forbids; None: there is none."""
        while True:
            after = self._after_pause(at)
            if after is None:
                return None
            after = self._after_quiet_hours(after)
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


def parse_policy(value: Mapping[str, Any]) -> Policy:
    """Return the policy of a mapping of `cap`, `quiet_hours` and `over`. Raises ValueError with a sentence."""
    cap, quiet_hours, over = (value.get(name) for name in ("cap", "quiet_hours", "over"))
    if cap is None and quiet_hours is None:
        raise ValueError(
            "the policy has no effect; add a cap or quiet_hours, or delete it with `parcours policies delete`"
        )
    return Policy(
        None if cap is None else parse_cap(cap),
        None if quiet_hours is None else parse_quiet_hours(quiet_hours),
        "next_slot" if over is None else parse_over(over),
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
