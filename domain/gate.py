"""What may come in: text that can be stored, values of bounded depth and size, times that can be true.

Every way in asks here (events, forms, REST, imports, files, providers' reports), and so do answers that come back
from providers. `check` refuses with a sentence; `clean` keeps what must be kept, such as a dead letter or an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

# Levels of objects and lists; far below what Python's and PostgreSQL's own readers stand.
MAX_DEPTH = 60
# Characters of one name in an object, and of one text; the whole is bounded by whoever takes it in.
MAX_NAME = 255
MAX_TEXT = 262_144
# Digits of a whole number; what is longer is an identifier and belongs into a text.
MAX_DIGITS = 100
# Clocks differ by so much. What claims to have happened later than that counts as now.
SKEW = timedelta(minutes=5)
# What happened before is a mistake, and its local time may not be a date that can be shown.
FIRST_YEAR = 1900

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


# What half of an emoji is called.
INCOMPLETE = "an incomplete character (a lone surrogate)"


class GateError(ValueError):
    """A value that cannot be taken in; the message is one sentence that says why."""


def check(value: object, what: str, *, levels: int = MAX_DEPTH) -> None:
    """Raise GateError when a JSON-like value cannot be stored and read again.

    `what` names the value in the sentence, `levels` says how deep it may be. Never recurses, so that no depth is
    too deep to be refused.
    """
    level: list[object] = [value]
    depth = 0
    while level:
        below: list[object] = []
        for each in level:
            if isinstance(each, str):
                check_text(each, what)
            elif isinstance(each, Mapping):
                for name in each:
                    _check_name(name, what)
                below.extend(each.values())
            elif isinstance(each, list | tuple):
                below.extend(each)
            else:
                _check_number(each, what)
        level = below
        depth += 1
        if depth >= levels and any(isinstance(each, Mapping | list | tuple) for each in level):
            raise GateError(f"{what} is nested more than {levels} levels deep; reduce the nesting")


def check_text(text: str, what: str, *, most: int = MAX_TEXT) -> None:
    """Raise GateError when a text cannot be stored or is longer than `most` characters."""
    if len(text) > most:
        raise GateError(f"{what} is longer than {most} characters; shorten it")
    if "\0" in text:
        raise GateError(f"{what} contains a NUL character; remove it")
    if not text.isascii() and _UNSTORABLE.search(text):
        raise GateError(f"{what} contains {INCOMPLETE}; send valid UTF-8 text")


def is_incomplete(text: str) -> bool:
    """Return whether a text has half of a character that UTF-16 writes in two parts."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def joined(text: str) -> str:
    """Return a text with JSON's pairs of surrogate escapes made one character each."""
    if not is_incomplete(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def clean(text: str) -> str:
    """Return a text with what cannot be stored (NUL, lone surrogates) replaced by U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub(_REPLACEMENT, text)


def clean_json(value: Any, _depth: int = 0) -> Any:
    """Return a JSON-like value with every text cleaned; what is nested too deeply becomes a text that says so."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping | list | tuple) and _depth >= MAX_DEPTH:
        return "(nested too deeply to store)"
    if isinstance(value, Mapping):
        return {clean(str(name)): clean_json(inner, _depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(inner, _depth + 1) for inner in value]
    return value


def happened_at(at: datetime, now: datetime) -> datetime:
    """Return when something happened, in UTC: what claims to be later than `now` and the skew counts as now.

    Raises GateError for a time without an offset or before 1900.
    """
    if at.tzinfo is None:
        raise GateError("a time needs an offset; write it like 2026-12-01T09:00:00Z")
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        at = datetime.max.replace(tzinfo=UTC) if at.year > FIRST_YEAR else datetime.min.replace(tzinfo=UTC)
    if at.year < FIRST_YEAR:
        raise GateError(f"the year is before {FIRST_YEAR}; correct it")
    return min(at, now.astimezone(UTC)) if at > now + SKEW else at


def _check_name(name: object, what: str) -> None:
    check_text(str(name), f"a name in {what}", most=MAX_NAME)


def _check_number(value: object, what: str) -> None:
    if isinstance(value, float) and not float("-inf") < value < float("inf"):
        raise GateError(f"{what} contains {value}, which is not valid JSON; omit it or send a number")
    # A comparison, since writing so many digits out is what Python refuses.
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**MAX_DIGITS:
        raise GateError(f"{what} contains a number of more than {MAX_DIGITS} digits; send it as text")


def why_not_json(error: ValueError | RecursionError) -> str:
    """Return why Python's reader could not read a text as JSON, without words about Python."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "the body is not UTF-8 text"
    if "int_max_str_digits" in str(error):
        return "a number has too many digits; send it as text"
    return (str(error).splitlines() or [""])[0][:200]
