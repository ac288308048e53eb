"""The operators of field conditions: what may be asked of a value, and the answer.

A test is compiled once a batch, for one timezone, and then asked for each contact.

Values are JSON. Numbers and numeric text compare as numbers, ISO dates and times as instants,
other text without regard to case. A value that is a list (a multiselect) passes when one of its
items does. What has no value passes only `empty` and the operators that start with `!`, except
`!empty`. None of the tests raises, whatever the value, but for a regular expression that takes too long.
"""

from __future__ import annotations

import difflib
import fnmatch
import operator as op
import re
from calendar import isleap, monthrange
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, NoReturn, cast
from zoneinfo import ZoneInfo

import regex

from parcours.domain.time.intervals import Interval, format_interval, parse_interval
from parcours.domain.time.schedule import add

# A value and the present instant (UTC) to the answer.
Test = Callable[[Any, datetime], bool]

OPERATORS = (
    "=",
    "!=",
    "gt",
    "gte",
    "lt",
    "lte",
    "empty",
    "!empty",
    "like",
    "!like",
    "regexp",
    "!regexp",
    "startsWith",
    "endsWith",
    "contains",
    "in",
    "!in",
    "date",
    "within",
    "older_than",
    "in_next",
)
_SIGNS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_LISTS = (list, tuple, set, frozenset)
_UTC = ZoneInfo("UTC")


class TooSlowError(Exception):
    """A regular expression takes too long for a value; the message says what to do."""

    def __init__(self, pattern: str) -> None:
        super().__init__(
            f"the regular expression {pattern[:100]!r} takes too long; avoid nested repetitions and "
            "alternatives inside repetitions"
        )


def check(operator: str, value: Any) -> None:
    """Raise ValueError, with one sentence, if a value cannot be tested so."""
    test(operator, value, _UTC)


def test(operator: str, value: Any, zone: ZoneInfo) -> Test:
    """Return the compiled test of an operator and the value to compare with.

    `zone` is where days begin and what times without an offset are meant in. Raises ValueError
    as `check` does. The test of a regular expression may raise TooSlowError.
    """
    name = known(operator)
    if not name.startswith("!"):
        return _positive(name, name, value, zone)
    positive = _positive(name[1:], name, value, zone)
    return lambda actual, now: not positive(actual, now)


def refuse_expression(operator: str, value: Any) -> None:
    """Raise ValueError, with what to write instead, for a value that looks worked out and would be taken as text.

    Such are templates, which no operator fills in, and times counted from now, such as `today`, `-P30D` or
    `-1 hour`, in whatever compares. The operators on text look for just what is written.
    """
    name = known(operator)
    for each in _several(name, value) if name in ("in", "!in") else [value]:
        if not isinstance(each, str):
            continue
        if TEMPLATE.search(each):
            other = _OTHER_FIELD.fullmatch(each) if name in _OTHERS else None
            instead = f"{{field: {other[1]}}}, which compares two fields" if other else "the value itself"
            raise ValueError(f"{each!r} is a template, but templates are not supported here; write {instead}")
        relative = _relative(each, bare=name in _ORDER) if name in _COMPARING else None
        if relative is not None:
            instead = _instead(name.removeprefix("!"), relative)
            raise ValueError(f"the operator {operator!r} compares {each!r} as text; {instead}")


def _positive(name: str, written: str, value: Any, zone: ZoneInfo) -> Test:
    """Return the test of an operator without its `!`; errors call it as it was written."""
    if name == "empty":
        return lambda actual, now: _is_empty(actual)
    if name == "date":
        return _on_the_day(the_day(value), zone)
    if name == "in":
        return _for_any(_equal([item for each in _several(written, value) for item in _accepted(each, zone)], zone))
    one = _single(written, value)
    if name in _PERIODS:
        return _in_period(name, one, zone)
    if name == "=":
        return _for_any(_equal(_accepted(one, zone), zone))
    if name in _ORDER:
        return _for_any(_ordered(name, one, zone))
    return _for_any(_text_test(name, one))


_OTHERS = ("=", "!=", "gt", "gte", "lt", "lte")


def check_other(operator: str, value: Mapping[str, Any]) -> None:
    """Raise ValueError, with one sentence, unless a mapping names another field that `operator` can compare with."""
    if value.keys() != {"field"} or not isinstance(value["field"], str) or not value["field"].strip():
        raise ValueError("to compare with another field, write {field: NAME}, such as {field: billing_country}")
    if known(operator) not in _OTHERS:
        raise ValueError(f"the operator {operator!r} cannot compare two fields; use {', '.join(_OTHERS)}")


def compare(operator: str, actual: Any, other: Any, zone: ZoneInfo, now: datetime) -> bool:
    """Return whether two values compare as asked; of a list, one of its items is enough.

    Without a value on either side only `!=` passes, as in all tests.
    """
    name = known(operator)
    positive = name.removeprefix("!")
    none: tuple[type, ...] = (*_LISTS, dict, bool) if positive in _ORDER else (*_LISTS, dict)
    values = [each for each in (other if isinstance(other, _LISTS) else [other]) if not _is_empty(each)]
    found = any(_positive(positive, name, each, zone)(actual, now) for each in values if not isinstance(each, none))
    return found != name.startswith("!")


def test_tags(operator: str, value: Any) -> Callable[[Collection[str]], bool]:
    """Return the compiled test of the field `tags`: whether a contact has the tag, written just so.

    Ordered comparisons, regular expressions, `startsWith`, `endsWith` and the tests of dates never match.
    Raises ValueError as `check` does.
    """
    name = known(operator)
    check(name, value)
    if name in ("empty", "!empty"):
        return bool if name == "!empty" else lambda tags: not tags
    if name in ("=", "like", "contains", "in", "!=", "!like", "!in"):
        values = _several(name, value) if name in ("in", "!in") else [value]
        wanted = frozenset(_text(each) for each in values)
        disjoint = wanted.isdisjoint
        return disjoint if name.startswith("!") else lambda tags: not disjoint(tags)
    return lambda tags: False


def named(operator: object) -> str:
    """Return an operator by its own name as `known`, and one that there is not as it is written."""
    text = str(operator)
    return _SIGNS.get(text, text)


# What is wrong, in a sentence.


def known(operator: str) -> str:
    """Return an operator by its own name, such as `gte` for `>=`. Raises ValueError for one that there is not."""
    name = _SIGNS.get(operator, operator)
    if name not in OPERATORS:
        near = difflib.get_close_matches(str(operator), [*OPERATORS, *_SIGNS], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known operators are {', '.join(OPERATORS)}"
        raise ValueError(f"unknown operator {operator!r}; {hint}")
    return name


def _no_value(name: str) -> NoReturn:
    raise ValueError(f"the operator {name!r} needs a value; use 'empty' to test for no value")


def _single(name: str, value: Any) -> Any:
    if value is None or value == "":
        _no_value(name)
    if isinstance(value, (*_LISTS, dict)):
        raise ValueError(f"the operator {name!r} takes one value, not several; use 'in' for a list")
    if name in _ORDER and isinstance(value, bool):
        raise ValueError(f"the operator {name!r} needs a number, a date or a text, not true or false")
    return value


def _several(name: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split("|" if "|" in value else ",")]
    elif not isinstance(value, _LISTS):
        value = [value]
    found = [item for item in value if item is not None and item != ""]
    if not found:
        raise ValueError(f"the operator {name!r} needs a list of at least one value")
    if any(isinstance(item, (*_LISTS, dict)) for item in found):
        raise ValueError(f"the operator {name!r} needs a list of texts, numbers, true or false")
    return found


# Expressions: what looks as if it were worked out for each contact, or each day.

# Of Liquid, and of Mautic.
TEMPLATE = re.compile(r"\{\{.*\}\}|\{%.*%\}|\{(?:contactfield|leadfield|ownerfield)=", re.DOTALL | re.IGNORECASE)
_OTHER_FIELD = re.compile(r"\s*\{\{\s*contact\.([\w.]+)\s*\}\}\s*")
_COMPARING = frozenset({"=", "!=", "in", "!in", "gt", "gte", "lt", "lte"})
_DAYS_AWAY = {"now": 0, "today": 0, "midnight": 0, "noon": 0, "yesterday": -1, "tomorrow": 1}
_COUNT = r"([0-9]{1,6})\s*(minute|hour|day|week|month|year)s?"
_OFFSET = re.compile(rf"(?:(?:{'|'.join(_DAYS_AWAY)})(?:\(\))?\s*)?([+-])\s*{_COUNT}(?:\s+ago)?")
_AGO = re.compile(rf"{_COUNT}\s+ago")
_AHEAD = re.compile(rf"in\s+{_COUNT}")
_SIGNED = re.compile(r"([+-]?)\s*(p[0-9t].*)")
_SOME_DAY = re.compile(
    r"(?:this|last|next|previous|first|first day of|last day of|monday|tuesday|wednesday|thursday|friday|saturday|"
    r"sunday)[ _-](?:day|week|weekend|month|quarter|year|this|last|next|previous|monday|tuesday|wednesday|thursday|"
    r"friday|saturday|sunday).*"
)


class _Relative(NamedTuple):
    """A time counted from now: before (-1), after (1) or at it (0); without an interval nobody can say how far."""

    sign: int
    interval: Interval | None


def _relative(text: str, *, bare: bool) -> _Relative | None:
    """Return the time that a text counts from now, or None; `bare`: also of an interval by itself."""
    said = text.strip().casefold()
    word = said.removesuffix("()")
    if word in _DAYS_AWAY:
        away = _DAYS_AWAY[word]
        return _Relative(away, Interval(days=abs(away)))
    if _SOME_DAY.fullmatch(said):
        return _Relative(0, None)
    if found := _SIGNED.fullmatch(said):
        sign, rest = found[1], found[2]
    elif found := _OFFSET.fullmatch(said):
        # "-1 day ago" is what some write for a day ago.
        sign, rest = found[1], f"{found[2]} {found[3]}"
    elif found := _AGO.fullmatch(said):
        sign, rest = "-", f"{found[1]} {found[2]}"
    elif found := _AHEAD.fullmatch(said):
        sign, rest = "+", f"{found[1]} {found[2]}"
    else:
        sign, rest = "", said
    try:
        interval = parse_interval(rest)
    except ValueError:
        return None
    return _Relative(-1 if sign == "-" else 1, interval) if sign or bare else None


def ago(text: str) -> str | None:
    """Return the interval, such as `30 days`, of a text that means a time so long ago, or None."""
    relative = _relative(text, bare=False)
    if relative is None or relative.sign >= 0 or relative.interval is None:
        return None
    return format_interval(relative.interval)


def _instead(name: str, relative: _Relative) -> str:
    """Return what to write for a time counted from now."""
    written = None if relative.interval is None else format_interval(relative.interval)
    if written is not None and relative.sign < 0 and name in ("gt", "gte"):
        return f"use the operator within with the value {written!r}"
    if written is not None and relative.sign < 0 and name in ("lt", "lte"):
        return f"use the operator older_than with the value {written!r}"
    if written is not None and relative.sign > 0 and name in ("lt", "lte"):
        return f"use the operator in_next with the value {written!r}"
    day = _as_duration(relative)
    if day is not None and name in ("=", "in"):
        return f"use the operator date with the value {day}, or the operator like to compare text"
    return (
        "write a day such as 2026-12-24, or use the operator within, older_than or in_next with an interval "
        "such as '30 days'"
    )


def _as_duration(relative: _Relative) -> str | None:
    """Return a time counted from now as the operator `date` takes it; None if it is no number of days."""
    interval = relative.interval
    if interval is None or interval.exact:
        return None
    sign = "-" if relative.sign < 0 else "+"
    months = f"{interval.months}M" if interval.months else ""
    return f"{sign}P{months}{interval.days}D" if interval.days or not months else f"{sign}P{months}"


# Equality. Each value has one key; what is compared with it accepts a set of keys.

# Not the bools themselves, since those equal 1 and 0 everywhere.
_TRUE, _FALSE = ("bool", True), ("bool", False)
_BOOLS = {"true": _TRUE, "yes": _TRUE, "false": _FALSE, "no": _FALSE}
# A longer text of digits is no number that anybody counts with, and slow to read.
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})(?:[eE][+-]?[0-9]{1,5})?\s*", re.ASCII)
_DATE = re.compile(r"\s*[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

_Key = str | int | float | datetime | tuple[str, bool] | None


def _key(value: Any, zone: ZoneInfo) -> _Key:
    """Return what a value is compared by, or None if it has no value to compare."""
    if isinstance(value, str):
        if not value:
            return None
        if value[0] > "9":
            # Most texts: neither a number nor a date begins with a letter.
            return value.casefold()
        if _NUMBER.fullmatch(value):
            # Long identifiers would lose their last digits as floats.
            return int(value) if value.strip().lstrip("+-").isdigit() else float(value)
        moment = _moment(value)
        instant = None if moment is None else _instant(moment, zone)
        return value.casefold() if instant is None else instant
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, int | float):
        return value if value == value else "nan"  # noqa: PLR0124
    if isinstance(value, date):
        return _instant(value, zone)
    return None


def _accepted(value: Any, zone: ZoneInfo) -> set[_Key]:
    """Return the keys that equal a value: its own, and what true and false are also written as."""
    own = _key(value, zone)
    if own in (_TRUE, _FALSE):
        yes = own == _TRUE
        return {own, int(yes), *(("true", "yes") if yes else ("false", "no"))}
    if own in (0, 1):
        return {own, _TRUE if own else _FALSE}
    if isinstance(own, str) and own in _BOOLS:
        return {own, _BOOLS[own]}
    return {own}


def _equal(accepted: Collection[_Key], zone: ZoneInfo) -> Callable[[Any], bool]:
    keys = frozenset(accepted) - {None}
    return lambda actual: _key(actual, zone) in keys


def _for_any(one: Callable[[Any], bool]) -> Test:
    def passes(actual: Any, now: datetime) -> bool:
        if not isinstance(actual, str) and isinstance(actual, _LISTS):
            return any(one(item) for item in actual)
        return one(actual)

    return passes


def _is_empty(actual: Any) -> bool:
    return actual is None or actual == "" or (isinstance(actual, _LISTS) and not actual)


# Order.

_ORDER: dict[str, Callable[[Any, Any], bool]] = {"gt": op.gt, "gte": op.ge, "lt": op.lt, "lte": op.le}


def _ordered(name: str, value: Any, zone: ZoneInfo) -> Callable[[Any], bool]:
    """Return the test of one value; what is not of the bound's kind (number, time, text) never passes."""
    compare = _ORDER[name]
    bound = _key(value, zone)
    if isinstance(bound, str):
        return lambda actual: isinstance(actual, str) and actual != "" and compare(actual.casefold(), bound)
    kind: tuple[type, ...] = (datetime,) if isinstance(bound, datetime) else (int, float)

    def passes(actual: Any) -> bool:
        key = _key(actual, zone)
        return isinstance(key, kind) and compare(key, bound)

    return passes


# Text.


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, date):
        return value.isoformat()
    return None


def _text_test(name: str, value: Any) -> Callable[[Any], bool]:
    wanted = _text(value)
    if wanted is None:
        raise ValueError(f"the operator {name!r} needs a text")
    if name == "regexp":
        return _Searched(wanted)
    wanted = wanted.casefold()
    test_text: Callable[[str], Any]
    match name:
        case "like":
            test_text = re.compile(fnmatch.translate(_from_sql(wanted))).match
        case "startsWith":
            test_text = lambda text: text.startswith(wanted)  # noqa: E731
        case "endsWith":
            test_text = lambda text: text.endswith(wanted)  # noqa: E731
        case _:
            test_text = lambda text: wanted in text  # noqa: E731

    def passes(actual: Any) -> bool:
        text = _text(actual)
        return text is not None and bool(test_text(text.casefold()))

    return passes


# Compiling a longer one takes a while as well.
_LONGEST_PATTERN = 1_000
# Of the processor's time. It is looked at every so many tries only, so that a search may take three times as long.
_SEARCH_SECONDS = 0.05
# What a search that was too slow counts for; one that was not takes back 1. From so much debt on, only one
# value in so many is searched, until one is quick: many slow values cannot keep a worker busy either.
_SLOW, _DEBT, _ONE_IN = 10, 100, 100


class _Searched:
    """The test of a regular expression, with a limit to what it costs: for one value, and for many."""

    def __init__(self, pattern: str) -> None:
        if len(pattern) > _LONGEST_PATTERN:
            raise ValueError(
                f"the regular expression has {len(pattern):,} characters; the maximum is {_LONGEST_PATTERN:,}"
            )
        try:
            self._search = regex.compile(pattern, regex.IGNORECASE).search
        except Exception as error:
            # A pattern is what somebody typed: the package answers nonsense with errors of many types.
            said = str(error) if isinstance(error, regex.error) else "it is too deep or too large"
            raise ValueError(f"{pattern!r} is not a regular expression: {said}") from None
        self._pattern = pattern
        self._debt = 0
        self._passed_over = 0

    def __call__(self, actual: Any) -> bool:
        text = _text(actual)
        if text is None:
            return False
        if self._debt >= _DEBT and self._passed_over < _ONE_IN:
            self._passed_over += 1
            raise TooSlowError(self._pattern)
        self._passed_over = 0
        try:
            found = self._search(text, timeout=_SEARCH_SECONDS) is not None
        except (TimeoutError, MemoryError):
            self._debt += _SLOW
            raise TooSlowError(self._pattern) from None
        if self._debt:
            self._debt = 0 if self._debt >= _DEBT else self._debt - 1
        return found


@lru_cache(maxsize=4096)
def wildcard(pattern: str) -> re.Pattern[str]:
    """Return a pattern for `match` on a whole, case-folded text; `*` is anything and `?` one character."""
    # The expressions that fnmatch makes do not backtrack over the stars, so that a long
    # address from outside cannot keep a worker busy.
    return re.compile(fnmatch.translate(pattern.casefold().replace("[", "[[]")))


def _from_sql(pattern: str) -> str:
    """Return a LIKE pattern in the wildcards of fnmatch; a backslash makes % and _ plain."""
    found = []
    characters = iter(pattern)
    for character in characters:
        if character == "%":
            found.append("*")
        elif character == "_":
            found.append("?")
        else:
            plain = next(characters, "\\") if character == "\\" else character
            found.append(f"[{plain}]" if plain in "*?[" else plain)
    return "".join(found)


# Time.


def is_moment(text: str) -> bool:
    """Return whether a text is a date, or a date and time, that can be compared with others."""
    return instant(text, _UTC) is not None


def instant(text: str, zone: ZoneInfo) -> datetime | None:
    """Return the instant of a date, which begins at midnight, or of a date and time; None if it is none."""
    moment = _moment(text)
    return None if moment is None else _instant(moment, zone)


def end(text: str, zone: ZoneInfo) -> datetime | None:
    """Return the instant before which a period ends: a date counts until its midnight, a time is meant exactly."""
    moment = _moment(text)
    if moment is None or isinstance(moment, datetime):
        return None if moment is None else _instant(moment, zone)
    try:
        return _instant(moment + timedelta(days=1), zone)
    except OverflowError:
        # The last day of the calendar ends with it.
        return None


_DURATION = re.compile(r"([+-])P(?=[0-9])(?:([0-9]{1,4})Y)?(?:([0-9]{1,5})M)?(?:([0-9]{1,5})W)?(?:([0-9]{1,6})D)?")


def _moment(text: str) -> date | None:
    """Return the date, or the date and time, that a text is in ISO 8601, or None."""
    if not _DATE.match(text):
        return None
    text = text.strip()
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError:
        return None


def _instant(moment: date, zone: ZoneInfo) -> datetime:
    """Return a moment in UTC; a date begins at midnight, and what has no offset is meant in the zone.

    What UTC cannot say, within a day of the years 1 and 9999, is the first or the last instant there is.
    """
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=zone)
    elif moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return EVER if moment.year == 1 else NEVER


def _day(value: Any, zone: ZoneInfo) -> date | None:
    """Return the calendar day of a value, an instant's as seen in the zone."""
    moment = _moment(value) if isinstance(value, str) else value
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            return moment.date()
        try:
            return moment.astimezone(zone).date()
        except OverflowError:
            return None
    return moment if isinstance(moment, date) else None


def _today(now: datetime, zone: ZoneInfo) -> date:
    try:
        return now.astimezone(zone).date()
    except OverflowError:
        # Within a day of the years 1 and 9999.
        return now.date()


def the_day(value: Any) -> date | tuple[int, int] | None:
    """Return a fixed day, the months and days of a signed duration, or None for an anniversary."""
    if value is None or value == "":
        _no_value("date")
    if value == "anniversary":
        return None
    fixed = _moment(value) if isinstance(value, str) else None
    if fixed is not None and not isinstance(fixed, datetime):
        return fixed
    found = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        relative = _relative(value, bare=True) if isinstance(value, str) else None
        instead = None if relative is None else _as_duration(relative)
        raise ValueError(
            f"the operator 'date' needs anniversary, a day such as 2026-12-24, or a signed duration in days, weeks, "
            f"months or years such as +P0D, -P1D or +P1M, not {value!r}" + (f"; write {instead}" if instead else "")
        )
    sign = -1 if found[1] == "-" else 1
    years, months, weeks, days = (int(part or 0) for part in found.groups()[1:])
    return sign * (12 * years + months), sign * (7 * weeks + days)


def moved(day: date, months: int, days: int) -> date | None:
    """Return the day some months away, or the last of that month, then days; None beyond the calendar."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    try:
        last = monthrange(year, month + 1)[1]
        return date(year, month + 1, min(day.day, last)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None


def _on_the_day(asked: date | tuple[int, int] | None, zone: ZoneInfo) -> Test:
    # `now` is the same for a whole batch.
    @lru_cache(maxsize=1)
    def wanted(now: datetime) -> date | None:
        if isinstance(asked, date):
            return asked
        today = _today(now, zone)
        return today if asked is None else moved(today, *asked)

    def same_day(actual: Any, now: datetime) -> bool:
        day = _day(actual, zone)
        return day is not None and day == wanted(now)

    def anniversary(actual: Any, now: datetime) -> bool:
        day, today = _day(actual, zone), wanted(now)
        if day is None or today is None:
            return False
        if (day.month, day.day) == (2, 29) and not isleap(today.year):
            return (today.month, today.day) == (2, 28)
        return (day.month, day.day) == (today.month, today.day)

    return _of_any(anniversary if asked is None else same_day)


_PERIODS = ("within", "older_than", "in_next")

# Before and after every instant that a calendar has.
EVER, NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_INSTANT = timedelta.resolution

# The instant from which a test passes, and the one from which it does not any more.
_Bounds = Callable[[date], tuple[datetime, datetime] | None]


def _in_period(name: str, value: Any, zone: ZoneInfo) -> Test:
    """Return the test of a period that begins or ends now.

    A date without a time is compared by days, as long as the interval is made of days or longer: what is due
    today is due within the next 7 days, all day long. The interval is counted from the value, so that what is older
    than a month is so for good, also where months differ in length and where clocks change.
    """
    bounds = _bounds(name, parse_interval(value), zone)

    def one(actual: Any, now: datetime) -> bool:
        moment = _moment(actual) if isinstance(actual, str) else actual
        found = bounds(moment) if isinstance(moment, date) else None
        return found is not None and found[0] <= now < found[1]

    return _of_any(one)


def _bounds(name: str, interval: Interval, zone: ZoneInfo) -> _Bounds:
    back = Interval(-interval.months, -interval.days, -interval.exact)

    def by_day(day: date) -> tuple[datetime, datetime] | None:
        if name == "in_next":
            return _midnight(moved(day, back.months, back.days), zone, EVER), _midnight(_next(day), zone, NEVER)
        after = moved(day, interval.months, interval.days)
        over = _midnight(None if after is None else _next(after), zone, NEVER)
        return (over, NEVER) if name == "older_than" else (_midnight(day, zone, EVER), over)

    def by_instant(at: datetime) -> tuple[datetime, datetime]:
        if name == "in_next":
            return before(at, interval, zone), at + _INSTANT
        over = after(at, interval, zone)
        return (over, NEVER) if name == "older_than" else (at, over)

    def bounds(moment: date) -> tuple[datetime, datetime] | None:
        if not isinstance(moment, datetime) and not interval.exact:
            return by_day(moment)
        return by_instant(_instant(moment, zone))

    return bounds


def after(at: datetime, interval: Interval, zone: ZoneInfo) -> datetime:
    """Return the first instant at which another one is longer ago than an interval; the last there is if none is."""
    try:
        return add(interval, at, zone) + _INSTANT
    except (OverflowError, ValueError):
        return NEVER


def before(at: datetime, interval: Interval, zone: ZoneInfo) -> datetime:
    """Return the instant an interval before another one, or the first there is."""
    try:
        return add(Interval(-interval.months, -interval.days, -interval.exact), at, zone)
    except (OverflowError, ValueError):
        return EVER


def _midnight(day: date | None, zone: ZoneInfo, otherwise: datetime) -> datetime:
    return otherwise if day is None else _instant(day, zone)


def _next(day: date) -> date | None:
    return moved(day, 0, 1)


def _of_any(one: Test) -> Test:
    return lambda actual, now: (
        any(one(item, now) for item in actual) if isinstance(actual, _LISTS) else one(actual, now)
    )


# When the answer changes.

# A value and the present instant (UTC) to the earliest instant after it at which the answer of a test may change by
# time alone; None: never.
Flip = Callable[[Any, datetime], datetime | None]


def goes_by_time(operator: str, value: Any) -> bool:
    """Return whether the answer of a test may change by time alone."""
    name = known(operator)
    return name in _PERIODS or (name == "date" and not isinstance(the_day(value), date))


def goes_by_zone(operator: str, value: Any) -> bool:
    """Return whether the answer of a test may depend on the timezone of the contact."""
    name = known(operator).removeprefix("!")
    if name in ("date", *_PERIODS) or isinstance(value, Mapping):
        return True
    if name not in ("=", "in", *_ORDER):
        return False
    # What is compared with anything but a time is never compared as a time.
    several = _several(name, value) if name == "in" else [value]
    return any(isinstance(_key(each, _UTC), datetime) or _is_moment(each) for each in several)


def _is_moment(value: Any) -> bool:
    return isinstance(value, date) or (isinstance(value, str) and _moment(value) is not None)


def flips(operator: str, value: Any, zone: ZoneInfo) -> Flip:
    """Return, of a test, when its answer may change by time alone: as exactly as can be told, and never too late.

    Raises ValueError as `check` does.
    """
    if not goes_by_time(operator, value):
        return lambda actual, now: None
    name = known(operator)
    one = _period_flip(_bounds(name, parse_interval(value), zone)) if name in _PERIODS else _day_flip(value, zone)

    def flip(actual: Any, now: datetime) -> datetime | None:
        if not isinstance(actual, _LISTS):
            return one(actual, now)
        return min((at for item in actual if (at := one(item, now)) is not None), default=None)

    return flip


def _period_flip(bounds: _Bounds) -> Flip:
    def flip(actual: Any, now: datetime) -> datetime | None:
        moment = _moment(actual) if isinstance(actual, str) else actual
        found = bounds(moment) if isinstance(moment, date) else None
        # Each is an instant later than the one before it, or nothing is between them.
        return None if found is None else next((at for at in sorted(found) if now < at < NEVER), None)

    return flip


# Where months differ in length, several days may be a month away from the same one.
_MONTHS_DIFFER = timedelta(days=4)


def _day_flip(value: Any, zone: ZoneInfo) -> Flip:
    asked = the_day(value)

    def flip(actual: Any, now: datetime) -> datetime | None:
        day, today = _day(actual, zone), _today(now, zone)
        if day is None:
            return None
        wanted = _anniversary(day, today) if asked is None else _asked_on(day, today, *cast(tuple[int, int], asked))
        at = None if wanted is None else _instant(wanted, zone)
        # A day that began already: nothing changes before the next one begins.
        return at if at is None or at > now else now + timedelta(hours=1)

    return flip


def _anniversary(day: date, today: date) -> date | None:
    """Return the next day after today on which the answer of an anniversary changes."""
    for year in (today.year, today.year + 1):
        try:
            leaps = (day.month, day.day) != (2, 29) or isleap(year)
            found = date(year, day.month, day.day) if leaps else date(year, 2, 28)
        except ValueError:
            return None
        if found >= today:
            return found if found > today else _next(today)
    return None


def _asked_on(day: date, today: date, months: int, days: int) -> date | None:
    """Return the next day after today on which a day may come to be, or stop to be, so far away."""
    without_days = moved(day, 0, -days)
    around = None if without_days is None else moved(without_days, -months, 0)
    if around is None:
        return None
    try:
        first, last = (around - _MONTHS_DIFFER, around + _MONTHS_DIFFER) if months else (around, around)
    except OverflowError:
        first = last = around
    if today < first:
        return first
    return _next(today) if today <= last else None
