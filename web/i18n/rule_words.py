"""Rules in the reader's language, by the names that people have for fields and for what a rule refers to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from parcours.domain.segments import judging
from parcours.domain.segments import rule as rules
from parcours.domain.segments.rule import Condition, Rule
from parcours.domain.steps.types import Properties, RefersTo, StepType
from parcours.web.i18n.conditions import condition
from parcours.web.i18n.field_words import field_name, value_text
from parcours.web.i18n.language import _

Names = Mapping[RefersTo, Mapping[str, str]]
NO_NAMES: Names = {}
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
    return condition(judging.words(replace(asked, properties=properties)))


def _called(properties: Any) -> dict[str, Any]:
    """Return the fields that a condition asks about, and what it compares them with, as people call them."""
    field, value = getattr(properties, "field", None), getattr(properties, "value", None)
    if not isinstance(field, str):
        return {}
    called: dict[str, Any] = {"field": field_name(field)}
    if isinstance(value, Mapping) and isinstance(value.get("field"), str):
        called["value"] = {**value, "field": field_name(value["field"])}
    elif isinstance(value, bool):
        called["value"] = value_text(value)
    return called


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
