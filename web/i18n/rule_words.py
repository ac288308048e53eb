"""Rules in the reader's language, by the names that people have for fields and for what a rule refers to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from parcours.domain.segments import judging
from parcours.domain.segments import rule as rules
from parcours.domain.segments.rule import Condition, Rule
from parcours.domain.steps.types import Properties, RefersTo, StepType
from parcours.domain.steps.words import tested
from parcours.web.i18n import labels
from parcours.web.i18n.conditions import condition
from parcours.web.i18n.field_words import field_name, value_text, with_dates
from parcours.web.i18n.language import _

Names = Mapping[RefersTo, Mapping[str, str]]
NO_NAMES: Names = {}
# What the engine has words of its own for, by the property.
_WORDS: dict[str, Callable[[Any], str]] = {
    "channels": lambda given: labels.word(labels.CHANNELS, given),
    "points": value_text,
    "reason": lambda given: labels.word(labels.REFUSALS, given),
    "type": lambda given: _("“{name}”", name=_(labels.EVENT_TYPES[given])) if given in labels.EVENT_TYPES else given,
}
# More than people read of a rule.
_MOST = 500


def named(found: StepType, properties: Properties, names: Names) -> Properties:
    """Return properties with what people call the things that they refer to, where that is known."""
    called: dict[str, Any] = {}
    for name, what in found.refers_to.items():
        value, known = getattr(properties, name), names.get(what, {})
        if isinstance(value, list):
            called[name] = [known.get(each, each) if isinstance(each, str) else each for each in value]
        elif isinstance(value, str):
            called[name] = known.get(value, value)
    return properties.model_copy(update=called)


def said(asked: Condition, names: Names = NO_NAMES) -> str:
    """Return a condition in words."""
    properties = named(asked.type, asked.properties, names)
    properties = properties.model_copy(update=_called(properties))
    return with_dates(condition(judging.words(replace(asked, properties=properties))))


def _called(properties: Any) -> dict[str, Any]:
    """Return the words of a condition's properties: fields as people call them, numbers as they write them."""
    called: dict[str, Any] = {}
    field, value = getattr(properties, "field", None), getattr(properties, "value", None)
    if isinstance(field, str):
        called["field"] = field_name(field)
    if value is not None:
        called["value"] = _compared(value, field if isinstance(field, str) else "")
    for name, word in _WORDS.items():
        given = getattr(properties, name, None)
        if isinstance(given, str | int | float):
            called[name] = word(given)
        elif isinstance(given, list):
            called[name] = [word(each) if isinstance(each, str) else each for each in given]
    where = getattr(properties, "where", None)
    if isinstance(where, list):
        called["where"] = [each.model_copy(update=_called(each)) for each in where]
    return called


def test_said(field: str, operator: Any, value: Any) -> str:
    """Return a test of a field, or of a property of an event, in words."""
    called = field_name(field)
    try:
        return with_dates(condition(tested(called, operator, _compared(value, field))))
    # One that a file has wrong.
    except ValueError:
        return f"{called} {operator} {value_text(value, field)}".rstrip()


def _compared(value: Any, field: str) -> Any:
    """Return what a field is compared with in words; days and lengths of time are put in words with the sentence."""
    if isinstance(value, Mapping):
        return {**value, "field": field_name(value["field"])} if isinstance(value.get("field"), str) else value
    if isinstance(value, list):
        return [_compared(each, field) for each in value]
    return value_text(value, field) if isinstance(value, bool | int | float) else value


def in_short(rule: Rule, names: Names = NO_NAMES) -> str:
    """Return a rule in one line, no longer than people read."""
    line = _short(rule, names, outermost=True)
    return line if len(line) <= _MOST else f"{line[:_MOST].rstrip()}…"


def _short(rule: Rule, names: Names, *, outermost: bool = False) -> str:
    match rule:
        case Condition():
            return said(rule, names)
        case rules.Not(one):
            return _("not ({rule})", rule=_short(one, names, outermost=True))
        case rules.All(several):
            line = _(" and ").join(_short(each, names) for each in several)
        case rules.Any(several):
            line = _(" or ").join(_short(each, names) for each in several)
    return line if outermost or len(several) == 1 else f"({line})"
