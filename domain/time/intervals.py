"""Intervals such as "2 days" or "P2D": reading and writing them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches

_UNITS = ("minute", "hour", "day", "week", "month", "year")

# What people write for a unit, in lower case; campaigns are also made by people who think in French.
_UNIT_OF = {
    **{unit: unit for unit in _UNITS},
    **{f"{unit}s": unit for unit in _UNITS},
    **dict.fromkeys(("heure", "heures"), "hour"),
    **dict.fromkeys(("jour", "jours"), "day"),
    **dict.fromkeys(("semaine", "semaines"), "week"),
    "mois": "month",
    **dict.fromkeys(("an", "ans", "année", "années", "annee", "annees"), "year"),
}

_ONE_HOUR = timedelta(hours=1)

_ONE_MINUTE = timedelta(minutes=1)

ONE_SECOND = timedelta(seconds=1)

_NO_TIME = timedelta(0)

# Far longer than any campaign, and short enough that adding it to a date never leaves the calendar.
_LONGEST_YEARS = 100

_WORDS = re.compile(r"([0-9]+)\s*([a-zé\u0301]+)", re.IGNORECASE)

_ISO = re.compile(
    r"P(?=[0-9T])"
    r"(?:(?P<years>[0-9]+)Y)?(?:(?P<months>[0-9]+)M)?(?:(?P<weeks>[0-9]+)W)?(?:(?P<days>[0-9]+)D)?"
    r"(?:T(?=[0-9])(?:(?P<hours>[0-9]+)H)?(?:(?P<minutes>[0-9]+)M)?(?:(?P<seconds>[0-9]+)S)?)?",
    re.IGNORECASE,
)

_ISO_MISPLACED = re.compile(r"P(?:T|[0-9]+[YMWDHS])+", re.IGNORECASE)

_ISO_PIECE = re.compile(r"(T)|([0-9]+)([YMWDHS])", re.IGNORECASE)

_MINUS = re.compile(r"(^|[PT])-\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Interval:
    """A length of time: calendar months, then calendar days, then an exact duration."""

    months: int = 0
    days: int = 0
    exact: timedelta = timedelta(0)


# What people write.


def parse_interval(text: object) -> Interval:
    """Return the interval of `3 days`, `90 minutes`, `3 jours` or ISO 8601 `P1DT2H`.

    Minutes and hours are exact; days and weeks follow the calendar, and so do months and
    years. At most 100 years.

    Raises ValueError with a sentence.
    """
    if not isinstance(text, str):
        raise ValueError(_not_an_interval(text))
    stripped = text.strip()
    # int() refuses thousands of digits with a message of its own.
    interval = None if len(stripped) > 100 else (_from_words(stripped) or _from_iso(stripped))
    if interval is None:
        raise ValueError(_not_an_interval(text))
    return interval


def format_interval(interval: Interval) -> str:
    """Return the text people would write for an interval: `3 days`, or ISO 8601 when parts are mixed.

    parse_interval() gives an equal interval back. Raises ValueError for fractions of a
    second and for negative parts, which nobody can write.
    """
    months, days, exact = interval.months, interval.days, interval.exact
    if exact % ONE_SECOND or min(months, days) < 0 or exact < _NO_TIME:
        raise ValueError(f"{interval!r} cannot be written as an interval: use whole, non-negative seconds")
    if months and not days and not exact:
        return _counted(months, "month") if months % 12 else _counted(months // 12, "year")
    if days and not months and not exact:
        return _counted(days, "day") if days % 7 else _counted(days // 7, "week")
    if not months and not days and not exact % _ONE_MINUTE:
        if exact and not exact % _ONE_HOUR:
            return _counted(exact // _ONE_HOUR, "hour")
        return _counted(exact // _ONE_MINUTE, "minute")
    hours, rest = divmod(exact, _ONE_HOUR)
    minutes, rest = divmod(rest, _ONE_MINUTE)
    date_part = _iso_pieces((months // 12, "Y"), (months % 12, "M"), (days, "D"))
    time_part = _iso_pieces((hours, "H"), (minutes, "M"), (rest // ONE_SECOND, "S"))
    return f"P{date_part}T{time_part}" if time_part else f"P{date_part}"


# Intervals as text.


def _from_words(text: str) -> Interval | None:
    found = _WORDS.fullmatch(text)
    if found is None:
        return None
    unit = _UNIT_OF.get(unicodedata.normalize("NFC", found[2]).lower())
    return None if unit is None else _interval({f"{unit}s": int(found[1])})


def _from_iso(text: str) -> Interval | None:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    return _interval({unit: int(count) for unit, count in found.groupdict(default="0").items()})


def _interval(counts: dict[str, int]) -> Interval | None:
    def count(unit: str) -> int:
        return counts.get(unit, 0)

    months = count("years") * 12 + count("months")
    days = count("weeks") * 7 + count("days")
    seconds = count("hours") * 3600 + count("minutes") * 60 + count("seconds")
    if months / 12 + (days + seconds / 86_400) / 365.25 > _LONGEST_YEARS:
        return None
    return Interval(months, days, timedelta(seconds=seconds))


def _not_an_interval(text: object) -> str:
    if isinstance(text, str) and len(text) <= 100:
        meant = _meant(text.strip())
        if meant is not None:
            return f"{text!r} is not an interval: {meant}"
    shown = f"{text[:40]}…" if isinstance(text, str) and len(text) > 100 else text
    return (
        f"{shown!r} is not an interval: write a whole number and a unit, like '3 days' "
        "(minutes, hours, days, weeks, months or years), or ISO 8601, like 'P1DT2H', up to 100 years"
    )


def _meant(text: str) -> str | None:
    """Return what to write instead, for the mistakes whose intention shows."""
    positive = _MINUS.sub(r"\1", text)
    if _from_words(positive) or _from_iso(positive):
        return f"it cannot be negative; write '{positive}'"
    words = _WORDS.fullmatch(text)
    if words is not None:
        count, word = int(words[1]), words[2].lower()
        if "seconds".startswith(word) or word == "secs":
            minutes = _counted(max(1, -(-count // 60)), "minute")
            return f"the smallest unit is the minute, so write '{minutes}'"
        near = [unit for unit in _UNITS if unit.startswith(word)]
        near = near or get_close_matches(word.removesuffix("s"), _UNITS, 1)
        if len(near) == 1 and _from_words(nearest := _counted(count, near[0])):
            return f"did you mean '{nearest}'?"
    if _ISO_MISPLACED.fullmatch(text):
        moved = _rearranged(text)
        if _from_iso(moved):
            return f"units of days or longer go before the T, hours or shorter after it, so write '{moved}'"
    return None


def _rearranged(text: str) -> str:
    date_part: dict[str, str] = {}
    time_part: dict[str, str] = {}
    after_t = False
    for mark, count, unit in _ISO_PIECE.findall(text.upper()):
        after_t = after_t or bool(mark)
        if unit:
            in_time = unit in "HS" or (unit == "M" and after_t)
            part = time_part if in_time else date_part
            if unit in part:
                return text
            part[unit] = count + unit
    ordered_date = "".join(date_part.get(unit, "") for unit in "YMWD")
    ordered_time = "".join(time_part.get(unit, "") for unit in "HMS")
    return f"P{ordered_date}T{ordered_time}" if ordered_time else f"P{ordered_date}"


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _iso_pieces(*pieces: tuple[int, str]) -> str:
    return "".join(f"{count}{unit}" for count, unit in pieces if count)
