"""Validation errors as sentences for the author of the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from parcours.domain.campaign_file.model import MOST_ECHO, Path, ProblemsError
from parcours.domain.invalid_values import why_invalid
from parcours.domain.steps.types import Kind

MOST_SENTENCE = 400


def quoted(value: object) -> str:
    """Return a value of a file in quotes, shortened, for a sentence."""
    text = repr(value)
    return text if len(text) <= MOST_ECHO else f"{text[: MOST_ECHO - 20]}…{text[-19:]}"


def near(name: str, known: Iterable[str]) -> list[str]:
    """Return which of the known names was probably meant, if one was. Never compares what is no name any more."""
    if len(name) > MOST_ECHO:
        return []
    return difflib.get_close_matches(name, [each for each in known if len(each) <= MOST_ECHO], n=1)


def short(sentence: str, value: object = None) -> str:
    """Return a sentence about a value of a file, without repeating more of the value than helps."""
    for each in value if isinstance(value, list | tuple) else [value]:
        if isinstance(each, str) and len(each) > MOST_ECHO:
            sentence = sentence.replace(repr(each), quoted(each)).replace(each, quoted(each))
    half = MOST_SENTENCE // 4
    return sentence if len(sentence) <= MOST_SENTENCE else f"{sentence[:half]} … {sentence[-half:]}"


def sentences(error: ValidationError, model: type[BaseModel], data: object) -> list[tuple[Path, str]]:
    """Return where a type's properties are wrong, and how; the choices of a union become one sentence."""
    found: dict[Path, list[str]] = {}
    for each in error.errors(include_url=False):
        raised = each.get("ctx", {}).get("error")
        if isinstance(raised, ProblemsError):
            for problem in raised.problems:
                found.setdefault(problem.path, []).append(problem.sentence)
            continue
        place, value = _walkable(each["loc"], data, missing=each["type"] == "missing")
        sentence = _sentence(each, place, value, model)
        if sentence not in found.setdefault(place, []):
            found[place].append(sentence)
    return [(place, _one_sentence(sentences)) for place, sentences in found.items()]


def _walkable(loc: Path, data: object, *, missing: bool) -> tuple[Path, object]:
    """Return the part of pydantic's location that is in the data, and the value there.

    The location of a union's choice also names the choice, which the file does not have.
    """
    place: list[str | int] = []
    for index, piece in enumerate(loc):
        if (isinstance(data, Mapping) and piece in data) or (
            isinstance(data, list) and isinstance(piece, int) and piece < len(data)
        ):
            data = cast(Any, data)[piece]
        elif missing and index == len(loc) - 1:
            data = None
        else:
            continue
        place.append(piece)
    return tuple(place), data


def _sentence(error: ErrorDetails, place: Path, value: object, model: type[BaseModel]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        known = sorted(_property_names(model, place[:-1]))
        hint = did_you_mean(str(place[-1]), known)
        if not hint:
            hint = f"; known properties are {listed(known, 'and')}" if known else "; none are allowed here"
        return f"unknown property {quoted(place[-1])}{hint}"
    if kind == "missing":
        return f"the property {place[-1]!r} is missing"
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'((?:[^'\\]|\\.)*)'", str(error.get("ctx", {}).get("expected", "")))
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        return f"{why_invalid(error, value)}{hint}"
    return short(why_invalid(error, value), value) if kind == "value_error" else why_invalid(error, value)


def _one_sentence(sentences: list[str]) -> str:
    alike = [re.fullmatch(r"must be (.*), not (.*)", sentence, re.DOTALL) for sentence in sentences]
    if len(sentences) > 1 and all(alike):
        wanted = [found[1] for found in alike if found]
        return f"must be {' or '.join(wanted)}, not {alike[0][2] if alike[0] else ''}"
    return "; or: ".join(sentences)


def _property_names(model: type[BaseModel], place: Path) -> set[str]:
    models = [model]
    for piece in place:
        if isinstance(piece, str):
            models = [
                nested
                for each in models
                for name, info in each.model_fields.items()
                if piece in (name, info.alias)
                for nested in _models_in(info.annotation)
            ]
    return {info.alias or name for each in models for name, info in each.model_fields.items()}


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    found = near(name, known)
    # What is known may be members of an enumeration.
    return f"; did you mean {str(found[0])!r}?" if found else ""


def listed(names: Sequence[str], word: str) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {word} {quoted[-1]}"


def a(kind: Kind | None) -> str:
    return f"an {kind}" if kind is Kind.ACTION else f"a {kind}"
