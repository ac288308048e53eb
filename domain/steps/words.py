"""Conditions in words, for people who ask why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from parcours.domain import operators
from parcours.domain.time.intervals import Interval, format_interval

_WORDS = {
    "=": "is",
    "!=": "is not",
    "gt": "is more than",
    "gte": "is at least",
    "lt": "is less than",
    "lte": "is at most",
    "empty": "is empty",
    "!empty": "is not empty",
    "like": "is like",
    "!like": "is not like",
    "regexp": "matches",
    "!regexp": "does not match",
    "startsWith": "begins with",
    "endsWith": "ends with",
    "contains": "contains",
    "in": "is one of",
    "!in": "is none of",
    "within": "is within the last",
    "older_than": "is longer ago than",
    "in_next": "is within the next",
    "date": "is on",
}
# Of a day, or of a day and time.
_OF_TIMES = {
    "=": "is on",
    "!=": "is not on",
    "gt": "is after",
    "gte": "is on or after",
    "lt": "is before",
    "lte": "is on or before",
}
_DAYS = {(0, 0): "today", (0, -1): "yesterday", (0, 1): "tomorrow"}
# Characters of a value that are repeated.
_MOST = 200


def tested(what: str, operator: str, value: Any) -> str:
    """Return a test of a value in words, such as `country is one of FR, BE`."""
    name = operators.known(operator)
    if name in ("empty", "!empty"):
        return f"{what} {_WORDS[name]}"
    if name == "date" and value == "anniversary":
        return f"the anniversary of {what} is today"
    if name == "date" and operators.goes_by_time(name, value):
        return f"{what} is {_day_from_today(value)}"
    if isinstance(value, Mapping):
        return f"{what} {_WORDS[name]} what the field {value.get('field')} says"
    said = (
        _OF_TIMES[name] if name in _OF_TIMES and isinstance(value, str) and operators.is_moment(value) else _WORDS[name]
    )
    return f"{what} {said} {_short(value)}"


def _day_from_today(value: Any) -> str:
    """Return the day that a signed duration is, such as `tomorrow` or `3 days before today`."""
    ahead = operators.the_day(value)
    if not isinstance(ahead, tuple):
        return str(value)
    if ahead in _DAYS:
        return _DAYS[ahead]
    months, days = ahead
    interval = format_interval(Interval(abs(months), abs(days)))
    return f"{interval} {'before' if min(ahead) < 0 else 'from'} today"


def _short(value: Any) -> str:
    said = listed(value) if isinstance(value, list | tuple) else str(value)
    return said if len(said) <= _MOST else f"{said[:_MOST]} …"


def listed(values: Iterable[Any]) -> str:
    """Return values as a person lists them, or `nothing`."""
    return ", ".join(map(str, values)) or "nothing"


def one_of(singular: str, plural: str, keys: list[str]) -> str:
    """Return such as `the segment news`, or `one of the segments news, buyers`."""
    return f"the {singular} {keys[0]}" if len(keys) == 1 else f"one of the {plural} {listed(keys)}"


def times(least: int, most: int | None) -> str:
    """Return that something happened so often, in words."""
    if most == 0:
        return "did not happen"
    if most is None:
        return "happened at least " + ("once" if least == 1 else f"{least} times")
    if least == most:
        return "happened " + ("once" if most == 1 else f"{most} times")
    return "happened " + (f"at most {most} times" if least == 0 else f"{least} to {most} times")


def named(singular: str, plural: str, keys: Iterable[str]) -> str:
    """Return such as `the segment news`, or `the segments news, buyers`."""
    found = list(keys)
    return f"the {singular} {found[0]}" if len(found) == 1 else f"the {plural} {listed(found)}"


def in_and_out(singular: str, plural: str, add: Iterable[str], remove: Iterable[str]) -> str:
    """Return such as `add to the segment news; remove from the segment buyers`."""
    into, out = list(add), list(remove)
    parts = [f"add to {named(singular, plural, into)}"] if into else []
    return "; ".join(parts + ([f"remove from {named(singular, plural, out)}"] if out else [])) or "nothing"


def excerpt(text: str | None, most: int = 60) -> str:
    """Return the beginning of a text, on one line."""
    found = " ".join((text or "").split())
    return found if len(found) <= most else f"{found[:most].rstrip()}…"
