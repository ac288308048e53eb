"""Tests of an event's data, as a form has them: a property, a comparison and a value each, and an empty one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parcours.domain import operators
from parcours.web.i18n.language import _
from parcours.web.pages import compared_values
from parcours.web.security.access import FormBody

# What a test says.
TESTED = frozenset({"field", "operator", "value"})
MOST_TESTS = 20
# Properties that websites and shops report with what happened, to choose from; others are typed.
REPORTED = ("cart_id", "order_id", "total", "currency", "url")


@dataclass(frozen=True)
class EventTest:
    """A test as three fields; `kind` is the one of its value."""

    field: str = ""
    operator: str = "="
    value: str = ""
    kind: str = "text"

    @property
    def days(self) -> Sequence[str]:
        """What its value may be besides what is typed."""
        return [_(label) for _key, label in compared_values.DAYS] if self.kind == "day" else ()


def can_show(data: Any) -> bool:
    """Return whether the fields show all that some data says, so that nothing is lost when it comes back."""
    return data is None or (isinstance(data, list) and len(data) <= MOST_TESTS and all(map(_is_shown, data)))


def shown(data: Any) -> tuple[EventTest, ...]:
    """Return the tests of a list that can be shown, and an empty one to fill in."""
    return (*map(_shown, data or ()), EventTest())


def is_written(form: FormBody, name: str) -> bool:
    """Return whether a form has the fields of tests."""
    return f"{name}-tests" in form


def read(form: FormBody, name: str, before: Any) -> list[dict[str, Any]] | None:
    """Return the tests of a form, None for none; as they were written before, when the form says the same."""
    rows = (f"{name}-{n}" for n in range(MOST_TESTS + 1))
    tests = [_read(*(form.text(f"{row}-{part}") for part in ("field", "operator", "value"))) for row in rows]
    made = [each for each in tests if each["field"]]
    return before if plain(made) == plain(before) else made or None


def shape(data: Any) -> object:
    """Return which fields the tests have, whatever is written in them."""
    return [each.kind for each in shown(data)] if can_show(data) else "yaml"


def plain(data: Any) -> Any:
    """Return tests with each operator by its one name, to compare them."""
    return [_plain(each) for each in data] if isinstance(data, list) else data or []


def _plain(test: Any) -> Any:
    if not isinstance(test, Mapping):
        return test
    given = {name: value for name, value in test.items() if name != "value" or value is not None}
    return {**given, "operator": operators.named(test["operator"])} if isinstance(test.get("operator"), str) else given


def _is_shown(test: Any) -> bool:
    if not isinstance(test, Mapping) or not isinstance(test.get("field"), str):
        return False
    operator = test.get("operator")
    if not isinstance(operator, str) or operators.named(operator) not in operators.OPERATORS:
        return False
    made = _shown(test)
    # A field of one line has no place for a second one.
    whole = not any(end in f"{made.field}{made.value}" for end in "\n\r")
    return whole and made.field != "" and _read(made.field, made.operator, made.value) == _plain(test)


def _shown(test: Mapping[str, Any]) -> EventTest:
    operator, value = operators.named(test["operator"]), test.get("value")
    kind = compared_values.value_kind(operator, "", value)
    return EventTest(test["field"], operator, compared_values.shown(operator, value), kind)


def _read(field: str, operator: str, text: str) -> dict[str, Any]:
    text = text.strip()
    made: dict[str, Any] = {"field": field.strip(), "operator": operator or "="}
    if operator in compared_values.WITHOUT_VALUE or (not text and operator not in compared_values.WITH_LIST):
        return made
    value = compared_values.typed(operator, text)
    several = isinstance(value, list) and all(map(compared_values.is_scalar, value))
    return {**made, "value": value if several or compared_values.is_scalar(value) else text}
