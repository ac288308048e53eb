"""Why a value was refused, in plain words: what pydantic finds wrong with files, bodies, settings and options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date

from pydantic_core import ErrorDetails

# What pydantic calls an error, and what is asked for instead of its message.
_MUST_BE = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "decimal_parsing": "a number",
    "decimal_type": "a number",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "frozen_set_type": "a list",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": "a mapping",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "set_type": "a list",
    "string_type": "text",
    "tuple_type": "a list",
    **dict.fromkeys(("date_type", "date_parsing", "date_from_datetime_parsing"), "a date such as '2026-12-24'"),
    **dict.fromkeys(
        ("datetime_type", "datetime_parsing", "datetime_from_date_parsing"),
        "a date and time such as '2026-12-24T09:00:00Z'",
    ),
}


def why_invalid(error: ErrorDetails, value: object = None, *, show: bool = True) -> str:
    """Return why a value was refused and what is wanted; `show`: whether the sentence may repeat the value."""
    kind, message, context = error["type"], error["msg"], error.get("ctx", {})
    instead = f", not {shown(value)}" if show else ""
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is unknown; remove it"
    if kind in ("string_too_short", "too_short") and context.get("min_length") == 1:
        return "must not be empty"
    if kind == "string_too_short":
        return f"must have at least {context.get('min_length')} characters"
    if kind == "string_too_long":
        return f"must have at most {context.get('max_length')} characters"
    if kind == "too_short":
        return f"must have at least {context.get('min_length')} items, not {context.get('actual_length')}"
    if kind == "too_long":
        return f"must have at most {context.get('max_length')} items"
    if kind == "value_error":
        return str(context.get("error", message)).removeprefix("Value error, ") or "cannot be used"
    if kind in ("literal_error", "enum"):
        return f"must be {context.get('expected')}{instead}"
    if kind in _MUST_BE:
        return f"must be {_MUST_BE[kind]}{instead}"
    if message.startswith("Input should be "):
        return f"must be {message.removeprefix('Input should be ')}{instead}"
    return message[:1].lower() + message[1:]


def called(value: object) -> str:
    """Return what a value is, in the words of a file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    for types, name in (
        (str, "text"),
        ((int, float), "a number"),
        (Mapping, "a mapping"),
        ((list, tuple), "a list"),
        (date, "a date"),
    ):
        if isinstance(value, types):
            return name
    return f"a {type(value).__name__}"


def shown(value: object) -> str:
    """Return a value as it was written, if it is short enough to help, else what it is."""
    if isinstance(value, str) and len(value) <= 60:
        return repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf"
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return repr(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return "a number with more than 15 digits"
    return called(value)
