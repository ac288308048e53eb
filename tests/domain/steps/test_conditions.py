from typing import Any

import pytest
from pydantic import ValidationError

from parcours.domain.steps import conditions
from parcours.domain.steps.properties import APPLYING, APPLYING_RULE, empty_choices
from parcours.domain.steps.types import Failed, Need, StepType
from tests.domain.worlds import NOW, contact, properties, run


@pytest.mark.parametrize(
    ("step_type", "given", "sentence"),
    [
        (conditions.field, {"field": "a", "operator": "equals", "value": 1}, "unknown operator"),
        (conditions.field, {"field": "a", "operator": "="}, "needs a value"),
        (conditions.field, {"field": "", "operator": "empty"}, "at least 1 character"),
        (conditions.field, {"field": "company.", "operator": "empty"}, "which field of the company"),
        (conditions.field, {"field": "a", "operator": "regexp", "value": "("}, "not a regular expression"),
        (conditions.points, {"operator": "like", "points": 1}, "Input should be"),
        (conditions.points, {"operator": "="}, "Field required"),
        (conditions.points, {"operator": "=", "points": True}, "a whole number"),
        (conditions.has_tags, {}, "Field required"),
    ],
)
def test_properties_that_make_no_sense_are_refused_with_a_sentence(
    step_type: StepType, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        properties(step_type, given)


def test_a_field_is_a_custom_field_or_an_attribute() -> None:
    ada = contact(1, email="Ada@Example.com", fields={"country": "us"}, last_active_at=NOW)
    bob = contact(2)
    country = {"field": "country", "operator": "=", "value": "US"}
    address = {"field": "email", "operator": "endsWith", "value": "@example.com"}
    active = {"field": "last_active_at", "operator": "date", "value": "+P0D"}
    for given in (country, address, active):
        assert run(conditions.field, given, ada, bob) == [True, False]


def test_a_value_that_yaml_read_as_a_date_is_compared_as_one() -> None:
    given = {"field": "born", "operator": "lt", "value": NOW.date()}
    assert run(conditions.field, given, contact(fields={"born": "2026-03-01"})) == [True]


def test_days_are_those_of_the_contacts_own_timezone_else_of_the_default() -> None:
    late = {"seen": "2026-03-02T23:30:00+00:00"}
    contacts = [
        contact(1, fields=late),
        contact(2, fields=late, timezone="Asia/Tokyo"),
        contact(3, fields=late, timezone="Europe/London"),
        contact(4, fields=late, timezone="Nowhere/Land"),
    ]
    given = {"field": "seen", "operator": "date", "value": "+P0D"}
    assert run(conditions.field, given, *contacts) == [True, False, True, True]
    assert run(conditions.field, given, *contacts, zone="Europe/Paris") == [False, False, True, False]


def test_the_field_tags_asks_for_a_tag() -> None:
    ada, bob = contact(1, tags=frozenset({"vip"})), contact(2)
    assert run(conditions.field, {"field": "tags", "operator": "=", "value": "vip"}, ada, bob) == [
        True,
        False,
    ]
    assert run(conditions.field, {"field": "tags", "operator": "!in", "value": ["vip"]}, ada, bob) == [
        False,
        True,
    ]


def test_one_of_the_tags_is_enough() -> None:
    contacts = [contact(1, tags=frozenset({"a", "x"})), contact(2, tags=frozenset({"x"})), contact(3)]
    assert run(conditions.has_tags, {"tags": ["a", "b"]}, *contacts) == [True, False, False]
    assert run(conditions.has_tags, {"tags": []}, *contacts) == [False, False, False]


def test_one_of_the_segments_is_enough() -> None:
    contacts = [contact(1, segments=frozenset({"a", "x"})), contact(2, segments=frozenset({"x"})), contact(3)]
    assert run(conditions.in_segments, {"segments": ["a", "b"]}, *contacts) == [True, False, False]
    assert run(conditions.in_segments, {"segments": []}, *contacts) == [False, False, False]


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("=", [False, True, False]),
        ("!=", [True, False, True]),
        ("gt", [False, False, True]),
        (">", [False, False, True]),
        ("gte", [False, True, True]),
        (">=", [False, True, True]),
        ("lt", [True, False, False]),
        ("<", [True, False, False]),
        ("lte", [True, True, False]),
        ("<=", [True, True, False]),
    ],
)
@pytest.mark.parametrize("name", ["points", "score", "value"])
def test_points_are_compared_with_a_number(operator: str, expected: list[bool], name: str) -> None:
    contacts = [contact(1, points=9), contact(2, points=10), contact(3, points=11)]
    assert run(conditions.points, {"operator": operator, name: 10}, *contacts) == expected


@pytest.mark.parametrize("operator", ["=", "!=", "gt", "gte", "lt", "lte"])
def test_who_never_had_points_in_a_group_does_not_satisfy_it_whatever_is_asked(operator: str) -> None:
    given = {"operator": operator, "points": 0, "group": "wine"}
    assert run(conditions.points, given, contact(points=5), contact(2, scores={"tea": 5})) == [False, False]


def test_the_points_of_a_group_are_compared_and_not_the_contacts_own() -> None:
    given = {"operator": "gte", "points": 5, "group": "wine"}
    people = [contact(1, scores={"wine": 5}), contact(2, points=9, scores={"wine": 4, "tea": 9})]
    assert run(conditions.points, given, *people) == [True, False]


def test_a_utm_field_is_where_the_contact_came_from_last_and_no_custom_field() -> None:
    given = {"field": "utm_source", "operator": "=", "value": "Spring"}
    people = [contact(1, utm={"utm_source": "spring"}), contact(2, fields={"utm_source": "spring"})]
    assert run(conditions.field, given, *people) == [True, False]
    assert run(conditions.field, {"field": "utm_term", "operator": "empty"}, *people) == [True, True]


# It doubles its tries with each letter.
SLOW = "(a|a)*$"


def test_a_contact_whose_value_is_too_much_for_a_regular_expression_fails_and_no_other() -> None:
    people = [contact(1, fields={"a": "a" * 60 + "!"}), contact(2, fields={"a": "aa"}), contact(3)]
    slow, *others = run(conditions.field, {"field": "a", "operator": "regexp", "value": "^" + SLOW}, *people)
    assert isinstance(slow, Failed)
    assert "takes too long" in slow.error
    assert others == [True, False]


@pytest.mark.parametrize(
    ("step_type", "given", "needs"),
    [
        (conditions.field, {"field": "country", "operator": "empty"}, {Need.FIELDS}),
        (conditions.field, {"field": "email", "operator": "empty"}, set()),
        (conditions.field, {"field": "tags", "operator": "empty"}, {Need.TAGS}),
        (conditions.field, {"field": "utm_term", "operator": "empty"}, {Need.UTM}),
        (conditions.has_tags, {"tags": []}, {Need.TAGS}),
        (conditions.in_segments, {"segments": []}, {Need.SEGMENTS}),
        (conditions.points, {"operator": "=", "points": 1}, set()),
        (conditions.points, {"operator": "=", "points": 1, "group": "wine"}, {Need.SCORES}),
    ],
)
def test_conditions_say_what_they_need(step_type: StepType, given: dict[str, Any], needs: set[Need]) -> None:
    assert step_type.needs_of(properties(step_type, given)) == needs


def test_two_fields_of_a_contact_are_compared() -> None:
    ada = contact(1, fields={"billing": "FR", "shipping": "fr"})
    bob = contact(2, fields={"billing": "FR"})
    given = {"field": "billing", "operator": "=", "value": {"field": "shipping"}}
    assert run(conditions.field, given, ada, bob) == [True, False]
    assert run(conditions.field, {**given, "operator": "!="}, ada, bob) == [False, True]
    assert conditions.field.needs_of(properties(conditions.field, {**given, "value": {"field": "tags"}})) == {
        Need.FIELDS,
        Need.TAGS,
    }


@pytest.mark.parametrize(
    ("step_type", "name"),
    [
        (conditions.has_tags, "tags"),
        (conditions.in_segments, "segments"),
        (conditions.in_stage, "stages"),
        (conditions.has_owner, "owners"),
        (conditions.in_campaigns, "campaigns"),
    ],
)
def test_a_rule_that_asks_for_one_of_nothing_is_refused_and_a_step_or_what_is_stored_is_not(
    step_type: StepType, name: str
) -> None:
    with pytest.raises(ValueError, match="give at least one; with an empty list the answer is always no"):
        step_type.properties.model_validate({name: []}, context=APPLYING_RULE)
    assert step_type.properties.model_validate({name: []}, context=APPLYING).model_dump()[name] == []
    assert empty_choices(step_type.properties, {name: []}) == [name]
    assert empty_choices(step_type.properties, {name: ["a"]}) == []
    assert step_type.properties.model_validate({name: []}).model_dump()[name] == []
