"""What the engine said in English, in the reader's language: problems of files, reasons of results, types of steps.

The engine writes whole sentences, to a log, a database or a terminal, and does not know who reads them. So the
pages know them by their templates: `LANGUAGE.sentences.toml` has them, with a translation of each. A sentence that
no template fits, such as one of another package or of a provider, stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from parcours.web.i18n.language import DEFAULT, in_digits, instant, reader, translations
from parcours.web.i18n.typography import spaced

_NAME = re.compile(r"\{([A-Za-z][A-Za-z0-9]*)\}")
_BETWEEN = re.compile(r"(, | or | and )")
_JOINTS = {"fr": {", ": ", ", " or ": " ou ", " and ": " et "}}
_CLAUSE = "; "
_CLAUSES = {"fr": " ; "}
# An instant as `domain.time.text.shown` writes it, for terminals.
_SHOWN = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (UTC|[A-Z][A-Za-z_]+(?:/[A-Za-z0-9_+-]+)+)")
# What is filled in may be a sentence with something filled in, and no deeper.
_DEPTH = 4


@dataclass(frozen=True, slots=True)
class SentencePattern:
    """A sentence with names to fill in, and what it is in another language."""

    pieces: tuple[str, ...]
    names: tuple[str, ...]
    translation: str

    @property
    def weight(self) -> int:
        """How much of a sentence is certain, so that the more particular template comes first."""
        return sum(map(len, self.pieces))

    def read(self, text: str) -> dict[str, str] | None:
        """Return what is filled in for each name, or None where the text is another one.

        Looks for piece after piece and never goes back, since what is filled in may be anything.
        """
        first, *others = self.pieces
        if not text.startswith(first) or not text.endswith(self.pieces[-1]):
            return None
        found = []
        place, end = len(first), len(text) - len(self.pieces[-1])
        for piece in others[:-1]:
            at = text.find(piece, place, end)
            if at < 0:
                return None
            found.append(text[place:at])
            place = at + len(piece)
        if place > end:
            return None
        return dict(zip(self.names, [*found, text[place:end]], strict=True))

    def filled(self, values: Mapping[str, str]) -> str:
        """Return the translation with its names filled in."""
        return _NAME.sub(lambda found: values.get(found[1], found[0]), self.translation)


def told(text: str) -> str:
    """Return a sentence of the engine in the reader's language; English where there is no translation.

    Instants in it are written as pages write them, in the reader's timezone.
    """
    language = reader().language
    said = text if language == DEFAULT else _told(text, language, _DEPTH) or in_digits(text)
    return _SHOWN.sub(_as_on_pages, said)


def _as_on_pages(found: re.Match[str]) -> str:
    try:
        at = datetime.fromisoformat(found[1]).replace(tzinfo=ZoneInfo(found[2]))
        return instant(at)
    # Something else that looks like it, or the ends of the calendar.
    except (ValueError, OverflowError, ZoneInfoNotFoundError):
        return found[0]


def _told(text: str, language: str, depth: int) -> str | None:
    if depth == 0:
        return None
    exact, templates = catalogue(language)
    if text in exact:
        return exact[text]
    for each in templates:
        values = each.read(text)
        if values is not None:
            return each.filled({name: _filled(name, value, language, depth - 1) for name, value in values.items()})
    return _in_clauses(text, language, depth - 1)


def _in_clauses(text: str, language: str, depth: int) -> str | None:
    """Return a sentence of which a clause, such as a hint at its end, can be translated."""
    clauses = text.split(_CLAUSE)
    if len(clauses) == 1:
        return None
    found = [_told(each, language, depth) for each in clauses]
    if not any(found):
        return None
    return spaced(language, _CLAUSES[language]).join(said or each for said, each in zip(found, clauses, strict=True))


def _filled(name: str, value: str, language: str, depth: int) -> str:
    """Return what stands in a sentence: a name or value as somebody wrote it, or words of the engine.

    What a sentence ends with may have a hint behind it.
    """
    if not name[0].isupper():
        return _in_clauses(value, language, depth) or in_digits(value)
    said = _told(value, language, depth)
    if said is None and name == "Choices":
        joints = _JOINTS[language]
        said = "".join(
            joints[each] if each in joints else _told(each, language, depth) or each for each in _BETWEEN.split(value)
        )
    return said or value


@cache
def catalogue(language: str, of: str = "sentences") -> tuple[dict[str, str], tuple[SentencePattern, ...]]:
    """Return the sentences without names by their English, and the others as templates."""
    exact, templates = {}, []
    for text, translation in sentences(language, of).items():
        names = tuple(_NAME.findall(text))
        if names:
            templates.append(SentencePattern(tuple(_NAME.split(text)[::2]), names, translation))
        else:
            exact[text] = translation
    return exact, tuple(sorted(templates, key=lambda each: -each.weight))


def sentences(language: str, of: str = "sentences") -> dict[str, str]:
    """Return the translations of the engine's sentences, or of conditions, by their English."""
    return translations(language, f"{language}.{of}.toml")
