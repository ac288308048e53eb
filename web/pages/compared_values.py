"""What a test compares with, as a form has it: which field it gets, what stands in it, and what somebody wrote."""

from __future__ import annotations

import re
from typing import Any

from parcours.domain import operators
from parcours.producers.files.campaigns import value_of, write
from parcours.web.i18n.language import _, marked, typed_number
from parcours.web.pages import comma_lists

WITHOUT_VALUE = frozenset({"empty", "!empty"})
WITH_LIST = frozenset({"in", "!in"})
# What is compared so as a number, whatever is in the field.
ORDERING = frozenset({"gt", "gte", "lt", "lte"})
COMPARING = frozenset({"=", "!=", *ORDERING})
WITH_INTERVAL = frozenset({"within", "older_than", "in_next"})
LIST_HELP = marked("An entry that contains a comma is written in quotation marks.")
# What a day may be besides a date.
DAYS = (
    ("anniversary", marked("the same day each year")),
    ("+P0D", marked("today")),
    ("-P1D", marked("yesterday")),
    ("+P1D", marked("tomorrow")),
)
BOOLEANS = (("true", marked("yes")), ("false", marked("no")))
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def value_kind(operator: str, kind: str, value: Any) -> str:
    """Return the widget for the value of a test, by its operator and what is in the field.

    It is hidden, list, interval, day, number, boolean, date or text; text where another could not show the value.
    """
    if operator in WITHOUT_VALUE:
        return "hidden"
    if operator in WITH_LIST:
        return "list"
    if operator in WITH_INTERVAL:
        return "interval"
    if operator == "date":
        return "day"
    if kind == "boolean" and operator in ("=", "!=") and (value is None or isinstance(value, bool)):
        return "boolean"
    if operator not in COMPARING:
        return "text"
    if kind == "number" and (value is None or (isinstance(value, int | float) and not isinstance(value, bool))):
        return "number"
    return "date" if kind == "date" and (value is None or _DAY.fullmatch(str(value))) else "text"


def day_shown(value: str) -> str:
    """Return what the field of a day shows: a day that goes by today in words, and a date as it is."""
    return _(dict(DAYS)[value]) if value in dict(DAYS) else value


def day_typed(text: str) -> str:
    """Return the day that somebody chose or typed in such a field, as files have it."""
    return next((key for key, label in DAYS if text.casefold() == _(label).casefold()), text)


def line_of(value: Any) -> str:
    """Return a value as YAML of one line, from which `value_of` has it again; a text that needs none, as it is."""
    if isinstance(value, str) and value_of(value) == value:
        return value
    flow = isinstance(value, list | tuple) and all(map(is_scalar, value))
    return f"[{', '.join(map(line_of, value))}]" if flow else block_of(value)


def block_of(value: Any) -> str:
    """Return a value as YAML, without the end that a scalar on its own gets."""
    return write(value).removesuffix("\n").removesuffix("\n...")


def is_scalar(value: Any) -> bool:
    """Return whether a value is a text, a number, or yes or no."""
    return isinstance(value, str | int | float)


def shown(operator: str, value: Any) -> str:
    """Return what a field shows of the value that an operator compares with."""
    if value is None:
        return ""
    if operator in WITH_LIST and isinstance(value, list | tuple):
        return comma_lists.written(map(line_of, value))
    if operator in WITH_INTERVAL and isinstance(value, str):
        return value
    return day_shown(line_of(value)) if operator == "date" else line_of(value)


def typed(operator: str, text: str) -> Any:
    """Return the value that somebody wrote for an operator, with what it is: a number, yes or no, a list, or text."""
    text = text.strip()
    if operator in WITH_LIST and not text.startswith("["):
        return [value_of(each) for each in comma_lists.read(text)]
    if operator in WITH_INTERVAL:
        return text
    if operator == "date":
        return value_of(day_typed(text))
    number = typed_number(text) if operators.named(operator) in ORDERING else None
    return value_of(text) if number is None else number
