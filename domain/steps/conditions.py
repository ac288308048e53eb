"""Conditions on what is known of a contact."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Literal

from pydantic import AliasChoices, Field, model_validator

from domain import operators
from domain.decide import zone_of
from domain.steps.properties import Json, Name, WholeNumber
from domain.steps.registry import Batch, Need, Properties, condition


class FieldTest(Properties):
    field: Name = Field(
        description="Name of a custom field, or one of key, email, timezone, points, stage, owner, "
        "last_active_at and tags."
    )
    operator: str = Field(description="One of " + ", ".join(operators.OPERATORS) + "; also >, >=, < and <=.")
    value: Json = Field(
        default=None,
        description="What to compare with: a list for in and !in, `anniversary` or a duration such as +P0D "
        "for date, nothing for empty and !empty.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> FieldTest:
        operators.check(self.operator, self.value)
        return self


@condition("contact.field", properties=FieldTest, needs=[Need.FIELDS, Need.TAGS], reference="lead.field_value")
def field(batch: Batch[FieldTest]) -> list[bool]:
    """The value of a field passes a test; the case of letters does not matter, and days are the contact's.

    A contact without a value satisfies empty, !=, !in, !like and !regexp, and nothing else.
    """
    name, sign, value = batch.properties.field, batch.properties.operator, batch.properties.value
    if name == "tags":
        passes = operators.test_tags(sign, value)
        return [passes(contact.tags) for contact in batch.contacts]
    # One compiled test a timezone that occurs.
    tests: dict[str | None, operators.Test] = {}
    answers = []
    for contact in batch.contacts:
        zone = contact.timezone
        test = tests.get(zone)
        if test is None:
            test = tests[zone] = operators.test(sign, value, zone_of(zone, batch.zone))
        answers.append(test(contact.value(name), batch.now))
    return answers


class HasTags(Properties):
    tags: list[Name] = Field(description="Names of tags; one of them is enough, an empty list is never satisfied.")


@condition("contact.tags", properties=HasTags, needs=[Need.TAGS], reference="lead.tags")
def has_tags(batch: Batch[HasTags]) -> list[bool]:
    """The contact has at least one of the tags, written just so."""
    disjoint = frozenset(batch.properties.tags).isdisjoint
    return [not disjoint(contact.tags) for contact in batch.contacts]


class InSegments(Properties):
    segments: list[Name] = Field(
        description="Keys of segments; one of them is enough, an empty list is never satisfied."
    )


@condition("contact.segments", properties=InSegments, needs=[Need.SEGMENTS], reference="lead.segments")
def in_segments(batch: Batch[InSegments]) -> list[bool]:
    """The contact is an active member of at least one of the segments, published or not."""
    disjoint = frozenset(batch.properties.segments).isdisjoint
    return [not disjoint(contact.segments) for contact in batch.contacts]


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "gt": operator.gt,
    ">": operator.gt,
    "gte": operator.ge,
    ">=": operator.ge,
    "lt": operator.lt,
    "<": operator.lt,
    "lte": operator.le,
    "<=": operator.le,
}


class PointsTest(Properties):
    operator: Literal["=", "!=", "gt", "gte", "lt", "lte", ">", ">=", "<", "<="] = Field(
        description="How to compare the contact's points with the number given."
    )
    points: WholeNumber = Field(
        validation_alias=AliasChoices("points", "score", "value"),
        description="The number to compare with; `score` and `value` are other names for it.",
    )


@condition("contact.points", properties=PointsTest, reference="lead.points")
def points(batch: Batch[PointsTest]) -> list[bool]:
    """The contact's points compare as asked with a number."""
    compare, number = _COMPARE[batch.properties.operator], batch.properties.points
    return [compare(contact.points, number) for contact in batch.contacts]
