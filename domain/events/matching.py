"""Tests on the data of events: for decisions, and for what begins and ends runs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, model_validator

from parcours.domain import operators
from parcours.domain.events.reading import Happening, key_of, property_of
from parcours.domain.steps.properties import Json, Name, check_test
from parcours.domain.steps.types import Properties

_UTC = ZoneInfo("UTC")


class PropertyTest(Properties):
    field: Name = Field(
        description="Property in the event's data. Dots select nested properties, also in each item of a list."
    )
    operator: str = Field(description="One of " + ", ".join(operators.OPERATORS) + "; also >, >=, < and <=.")
    value: Json = Field(default=None, description="Value to compare with, as in the condition contact.field.")

    @model_validator(mode="after")
    def _makes_sense(self, info: ValidationInfo) -> PropertyTest:
        check_test(self.operator, self.value, info)
        return self

    @cached_property
    def test(self) -> operators.Test:
        return operators.test(self.operator, self.value, _UTC)


def passes(tests: Iterable[PropertyTest], fact: Happening) -> bool:
    """Return whether an event's data passes all tests; a test that takes too long is not passed."""
    try:
        return all(each.test(property_of(fact.data, each.field), fact.at) for each in tests)
    except operators.TooSlowError:
        return False


def names_run(fact: Happening, type_: str | None, where: Iterable[PropertyTest], key: str | None) -> bool:
    """Return whether an event of a type passes tests and holds the key of a run where one is asked for."""
    return fact.type == type_ and passes(where, fact) and (key is None or key_of(fact.data, key) is not None)
