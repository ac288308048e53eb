"""What the pages say, in the reader's language: sentences, dates and numbers.

English is the key of a sentence and what stands in the code; `LANGUAGE.toml` has the others, with plain spaces: those
that no line is broken at are put in when it is read.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from parcours.domain.contacts import identity
from parcours.web.i18n.typography import spaced

LANGUAGES = {"en": "English", "fr": "Français"}
DEFAULT = "en"

_MONTHS = {
    "en": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    "fr": ["janv.", "févr.", "mars", "avr.", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc."],
}
_THOUSANDS = {"en": ",", "fr": "\N{NARROW NO-BREAK SPACE}"}
_DECIMAL = {"en": ".", "fr": ","}
# A number as the engine writes it in its sentences.
_WRITTEN = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d{1,15})(?:\.\d{1,9})?")


@dataclass(frozen=True, slots=True)
class Reader:
    """How to speak to who reads the answer.

    `chosen` is the timezone that they chose, if they did. One that is not known here is `lost`, and `zone` the
    installation's.
    """

    language: str = DEFAULT
    zone: tzinfo = UTC
    chosen: str | None = None
    lost: bool = False


@dataclass(slots=True)
class _Answered:
    """Whom a request is answered: one place for all threads that work at it, as we learn who it is."""

    reader: Reader


_answered: ContextVar[_Answered] = ContextVar("answered")
_ANYBODY = Reader()


@contextmanager
def speaking(reader: Reader) -> Iterator[None]:
    """Speak to this reader within the block."""
    token = _answered.set(_Answered(reader))
    try:
        yield
    finally:
        _answered.reset(token)


def reader() -> Reader:
    """Return whom the present request is answered."""
    found = _answered.get(None)
    return _ANYBODY if found is None else found.reader


def show_times_in(chosen: str | None, installation: ZoneInfo) -> None:
    """Show the times of the present answer in the timezone that its reader chose, otherwise in the installation's."""
    found = _answered.get(None)
    if found is None:
        return
    name = identity.known_timezone(chosen) if chosen else None
    zone = installation if name is None else ZoneInfo(name)
    found.reader = replace(found.reader, zone=zone, chosen=chosen or None, lost=bool(chosen) and name is None)


def _(text: str, **values: object) -> str:
    """Return a text in the reader's language, its `{names}` filled in; what has no translation stays English."""
    found = catalogue(reader().language).get(text, text)
    return found.format(**values) if values else found


def _n(one: str, many: str, n: int, **values: object) -> str:
    """Return `one` or `many` as the reader's language counts, with `{n}` as the number."""
    alone = n in (0, 1) if reader().language == "fr" else n == 1
    return _(one if alone else many, n=number(n), **values)


def marked(text: str) -> str:
    """Return a text as it is, marked as one that `_` gets later."""
    return text


@cache
def catalogue(language: str) -> dict[str, str]:
    """Return the translations of a language by their English."""
    if language == DEFAULT:
        return {}
    return translations(language, f"{language}.toml")


def translations(language: str, file: str) -> dict[str, str]:
    """Return what a file beside this one translates to a language, by its English."""
    found = tomllib.loads(Path(__file__).with_name(file).read_text(encoding="utf-8"))
    return {text: spaced(language, translation) for text, translation in found.items()}


def chosen(cookie: str | None, accept: str) -> str:
    """Return the language that a reader chose, else the one their browser likes best."""
    return cookie if cookie in LANGUAGES else preferred(accept)


def preferred(accept: str) -> str:
    """Return the language of ours that an Accept-Language header likes best; English when it likes none.

    Source: RFC 9110, section 12.5.4.
    """
    best, liked = DEFAULT, 0.0
    for each in accept.split(",")[:20]:
        tag, _sign, quality = each.partition(";")
        name = tag.strip().split("-")[0].lower()
        try:
            liking = float(quality.strip().removeprefix("q=")) if quality else 1.0
        except ValueError:
            continue
        if name in LANGUAGES and liking > liked:
            best, liked = name, liking
    return best


def number(value: float) -> str:
    """Return a number with its thousands apart; fractions have one digit."""
    language = reader().language
    return _marked_as(language, f"{value:,}" if isinstance(value, int) else f"{value:,.1f}")


def exact(value: float) -> str:
    """Return a number with its thousands apart and all its digits; what is whole has no fraction."""
    language = reader().language
    whole = isinstance(value, int) or (abs(value) < 2**53 and value.is_integer())
    return _marked_as(language, f"{int(value):,}" if whole else f"{value:,}")


def in_digits(text: str) -> str:
    """Return a number that the engine wrote, as the reader's language has it; any other text as it is."""
    return _marked_as(reader().language, text) if _WRITTEN.fullmatch(text) else text


def _marked_as(language: str, digits: str) -> str:
    """Return a number in English with the marks of another language."""
    return digits.replace(",", "\0").replace(".", _DECIMAL[language]).replace("\0", _THOUSANDS[language])


_TYPED = {"fr": re.compile(r"-?(?:\d{1,3}(?:[ \u00a0\u202f]\d{3})+|\d{1,15})(?:,\d{1,9})?")}


def typed_number(text: str) -> float | None:
    """Return the number that somebody typed as their language writes it; None where it is none, or as files have it."""
    pattern = _TYPED.get(reader().language)
    if pattern is None or not pattern.fullmatch(text):
        return None
    plain = re.sub(r"[ \u00a0\u202f]", "", text).replace(",", ".")
    return float(plain) if "." in plain else int(plain)


def as_typed(value: float) -> str:
    """Return a number as the reader types it into a field, with all its digits; else as files have it."""
    plain = json.dumps(int(value) if abs(value) < 2**53 and value == int(value) else value)
    typed = plain.replace(".", _DECIMAL[reader().language])
    return typed if typed_number(typed) == value else plain


def percent(share: float) -> str:
    """Return a share of one as a percentage: with one digit near nothing and all, and neither unless it is."""
    space = _THOUSANDS["fr"] if reader().language == "fr" else ""
    value = share * 100
    close = round(value, 1)
    if 0 < value < 10 or 99 < value < 100:
        sign, close = ("<", 0.1) if close == 0 else (">", 99.9) if close >= 100 else ("", close)
        return f"{sign}{space if sign else ''}{number(int(close) if close == int(close) else close)}{space}%"
    return f"{round(value)}{space}%"


def day(value: date | datetime) -> str:
    """Return a day; an instant's is that of the reader's timezone."""
    if isinstance(value, datetime):
        value = value.astimezone(reader().zone)
    language = reader().language
    first = "1er" if language == "fr" and value.day == 1 else str(value.day)
    return f"{first} {_MONTHS[language][value.month - 1]} {value.year}"


def instant(value: datetime) -> str:
    """Return day and time to the minute, in the reader's timezone."""
    local = value.astimezone(reader().zone)
    joint = " à " if reader().language == "fr" else ", "
    return f"{day(local)}{joint}{local:%H:%M}"


def planned(value: datetime) -> str:
    """Return an instant that somebody set, which may have been in another timezone than the reader's.

    Who chose a timezone is told that this is it.
    """
    about = reader()
    return f"{instant(value)} ({about.zone})" if about.chosen and not about.lost else instant(value)
