"""Dates as people's programs write them, read into ISO 8601."""

from __future__ import annotations

import re
from datetime import date, time

from parcours.producers.files.headers import folded
from parcours.producers.files.options import Order

_TIME = r"(?:[T ,]+(?P<time>.+))?"
_NUMBERS = re.compile(
    rf"(?P<a>\d{{1,4}})(?P<sep>[./ -])\s?(?P<b>\d{{1,2}})(?P=sep)\s?(?P<c>\d{{4}}|\d{{2}})\.?{_TIME}", re.ASCII
)
_DAY_FIRST = re.compile(
    rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th|er)?\.?[ -](?P<name>[^\W\d_]+)\.?,?[ -](?P<year>\d{{4}}){_TIME}"
)
_NAME_FIRST = re.compile(rf"(?P<name>[^\W\d_]+)\.? (?P<day>\d{{1,2}})(?:st|nd|rd|th)?,? (?P<year>\d{{4}}){_TIME}")
_CLOCK = re.compile(
    r"(\d{1,2})[:h](\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*(?:([AaPp])\.?\s?[Mm]\.?|Uhr|(Z|UTC|GMT|[+-]\d{2}:?\d{2}))?",
    re.ASCII,
)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?", re.ASCII)
_WITHOUT_YEAR = re.compile(r"\d{1,2}/\d{1,2}|\d{1,2}\.\d{1,2}\.|--\d{2}-?\d{2}", re.ASCII)
# Longer is no date.
_LONGEST = 50

_MONTHS = (
    "january jan janvier janv januar jän jänner jan",
    "february feb février févr fév februar",
    "march mar mars märz mrz mär",
    "april apr avril avr",
    "may mai",
    "june jun juin juni",
    "july jul juillet juil juli",
    "august aug août aou",
    "september sep sept septembre",
    "october oct octobre oktober okt",
    "november nov novembre",
    "december dec décembre déc dezember dez",
)
_MONTH_OF = {folded(name): month for month, names in enumerate(_MONTHS, 1) for name in names.split()}
_EVERY: frozenset[Order] = frozenset(("DMY", "MDY", "YMD"))
_NONE: frozenset[Order] = frozenset()


def is_iso(text: str) -> bool:
    """Return whether a text is a date, or a date and time, in ISO 8601 already."""
    return _ISO.fullmatch(text) is not None


def has_no_year(text: str) -> bool:
    """Return whether a text is a day and a month alone, as a birthday often is."""
    return _WITHOUT_YEAR.fullmatch(text) is not None


def orders(text: str) -> frozenset[Order]:
    """Return in which orders of day, month and year a text is a date; none when it is no date at all."""
    if len(text) > _LONGEST:
        return _NONE
    if not _NUMBERS.fullmatch(text):
        return _EVERY if read(text, "DMY") is not None else _NONE
    return frozenset(order for order in _EVERY if read(text, order) is not None)


def read(text: str, order: Order) -> str | None:
    """Return a date, or date and time, in ISO 8601; None for what is none in this order.

    A year of two digits is of 1969 to 2068, as POSIX has it. What is ISO 8601 already stays as it is.
    """
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    if is_iso(text):
        try:
            date.fromisoformat(text[:10])
        except ValueError:
            return None
        return text
    if (found := _NUMBERS.fullmatch(text)) is not None:
        a, b, c = found["a"], found["b"], found["c"]
        if len(a) == 4:
            year, month, day = a, b, c
        elif len(a) == 3 or (order == "YMD" and len(c) == 4):
            return None
        else:
            year, month, day = {"DMY": (c, b, a), "MDY": (c, a, b), "YMD": (a, b, c)}[order]
        number = int(month)
    elif (found := _DAY_FIRST.fullmatch(text) or _NAME_FIRST.fullmatch(text)) is not None:
        year, day, number = found["year"], found["day"], _MONTH_OF.get(folded(found["name"]), 0)
    else:
        return None
    try:
        day_ = date(_year(year), number, int(day))
    except ValueError:
        return None
    if found["time"] is None:
        return day_.isoformat()
    clock = _clock(found["time"].strip())
    return None if clock is None else f"{day_.isoformat()} {clock}"


def _year(text: str) -> int:
    year = int(text)
    return year if len(text) > 2 else year + (2000 if year < 69 else 1900)


def _clock(text: str) -> str | None:
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    hour, minute, second, half, offset = int(found[1]), int(found[2]), int(found[3] or 0), found[4], found[5]
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half.lower() == "p" else 0)
    try:
        clock = time(hour, minute, second).isoformat()
    except ValueError:
        return None
    if offset in ("Z", "UTC", "GMT"):
        return clock + "Z"
    return clock if offset is None else f"{clock}{offset[:3]}:{offset[-2:]}"
