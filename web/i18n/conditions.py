"""Conditions of rules, which the engine puts in words in English, in the reader's language."""

from __future__ import annotations

from parcours.domain.time.intervals import parse_interval
from parcours.web.i18n import labels
from parcours.web.i18n.language import DEFAULT, _, reader
from parcours.web.i18n.sentences import SentencePattern, catalogue

# What is filled in may be a condition with something filled in, and so on, no deeper.
DEPTH = 4


def condition(text: str) -> str:
    """Return a condition of a rule, which the engine put in words, in the reader's language."""
    language = reader().language
    return text if language == DEFAULT else _condition(text, language, DEPTH)


def _condition(text: str, language: str, depth: int) -> str:
    """Return a condition in another language, and as it is where no template fits."""
    exact, templates = catalogue(language, "conditions")
    if text in exact or depth == 0:
        return exact.get(text, text)
    for each in sorted(templates, key=lambda each: _is_period(each) and not _ends_a_test(text), reverse=True):
        values = each.read(text)
        if values is not None and all(values.values()):
            return each.filled({name: _filled(name, said, language, depth - 1) for name, said in values.items()})
    return text


def _is_period(pattern: SentencePattern) -> bool:
    """Return whether a template is of a period, which stands behind any condition."""
    return pattern.names[0] == "Words" or pattern.names == ("Type", "interval")


def _ends_a_test(text: str) -> bool:
    """Return whether what looks like a period is the test of a field."""
    return " is within the last " in text or " is longer ago than " in text


def _tests(text: str, language: str, depth: int) -> str:
    """Return tests of the data of an event; what one compares with may hold an "and" of its own."""
    said = ""
    for each in text.split(" and "):
        other = _condition(each, language, depth)
        joint = _(" and ") if other != each else " and "
        said += f"{joint}{other}" if said else other
    return said


def _filled(name: str, said: str, language: str, depth: int) -> str:
    if name == "Type":
        type_, where, tests = said.partition(" where ")
        return f"{type_}{_(' where ')}{_tests(tests, language, depth)}" if where else said
    if name == "interval":
        try:
            return labels.interval(parse_interval(said))
        except ValueError:
            return said
    return _condition(said, language, depth) if name[0].isupper() else said
