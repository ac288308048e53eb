from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.steps.conditions import field, has_tags, in_segments, points
from tests.domain.worlds import a_contact, refusal, run


def test_a_field_is_a_custom_field_or_an_attribute() -> None:
    contact = a_contact(email="a@example.com", points=7, fields={"country": "US", "email": "shadowed"})
    for name, operator, value in [
        ("country", "=", "us"),
        ("email", "endsWith", "@example.com"),
        ("points", ">=", 7),
        ("nothing", "empty", None),
        ("stage", "!=", "lead"),
    ]:
        assert run(field, {"field": name, "operator": operator, "value": value}, contact) == [True]


def test_each_contact_gets_its_own_answer() -> None:
    contacts = [a_contact(number, fields={"n": number}) for number in range(4)]
    assert run(field, {"field": "n", "operator": "gt", "value": 1}, *contacts) == [False, False, True, True]


def test_days_are_those_of_the_contacts_timezone_or_else_the_default() -> None:
    # At noon in UTC it is past midnight in Auckland, where 11:30 UTC is also of that new day.
    fields = {"at": "2026-11-23T11:30:00Z"}
    contacts = [
        a_contact(1, timezone="Pacific/Auckland", fields=fields),
        a_contact(2, fields=fields),
        a_contact(3, timezone="No/Such", fields={"at": "2026-11-23T10:30:00Z"}),
    ]
    today = {"field": "at", "operator": "date", "value": "+P0D"}
    assert run(field, today, *contacts) == [True, True, True]
    late = a_contact(4, fields={"at": "2026-11-22T23:30:00Z"})
    assert run(field, today, late) == [False]
    assert run(field, today, late, zone="Europe/Paris") == [True]


def test_when_a_contact_was_last_active_is_a_time() -> None:
    contact = a_contact(last_active_at=datetime(2026, 11, 22, 8, tzinfo=UTC))
    yesterday = {"field": "last_active_at", "operator": "date", "value": "-P1D"}
    assert run(field, yesterday, contact, a_contact(2)) == [True, False]


@pytest.mark.parametrize(
    ("operator", "value", "with_tag", "without", "none"),
    [
        ("=", "vip", True, False, False),
        ("like", "vip", True, False, False),
        ("contains", "vip", True, False, False),
        ("in", ["vip", "x"], True, False, False),
        ("!=", "vip", False, True, True),
        ("!like", "vip", False, True, True),
        ("!in", "vip|x", False, True, True),
        ("empty", None, False, False, True),
        ("!empty", None, True, True, False),
        ("=", "vi", False, False, False),
        ("contains", "vi", False, False, False),
        ("gt", "a", False, False, False),
        ("startsWith", "vip", False, False, False),
        ("regexp", "vip", False, False, False),
        ("!regexp", "vip", False, False, False),
        ("date", "+P0D", False, False, False),
    ],
)
def test_tags_as_a_field(operator: str, value: Any, with_tag: bool, without: bool, none: bool) -> None:
    contacts = [a_contact(tags=frozenset(tags)) for tags in (["vip", "b"], ["vip2"], [])]
    properties = {"field": "tags", "operator": operator, "value": value}
    assert run(field, properties, *contacts) == [with_tag, without, none]


@pytest.mark.parametrize(
    ("operator", "value", "says"),
    [
        ("startswith", "a", "did you mean 'startsWith'?"),
        ("=", None, "'=' needs a value"),
        ("!=", "", "'!=' needs a value"),
        ("!in", [], "'!in' needs a list"),
        ("regexp", "(", "not a regular expression"),
        ("date", "tomorrow", "anniversary"),
    ],
)
def test_a_field_condition_that_cannot_work_is_refused(operator: str, value: Any, says: str) -> None:
    assert says in refusal(field, {"field": "x", "operator": operator, "value": value})
    assert says in refusal(field, {"field": "tags", "operator": operator, "value": value})


def test_any_of_the_tags_is_enough_and_names_are_whole() -> None:
    contacts = [a_contact(tags=frozenset(tags)) for tags in (["a", "x"], ["b"], ["ab"], [])]
    assert run(has_tags, {"tags": ["a", "b"]}, *contacts) == [True, True, False, False]


def test_any_of_the_segments_is_enough() -> None:
    contacts = [a_contact(segments=frozenset(keys)) for keys in (["a", "x"], ["b"], [])]
    assert run(in_segments, {"segments": ["a", "c"]}, *contacts) == [True, False, False]


def test_an_empty_list_is_never_satisfied() -> None:
    contact = a_contact(tags=frozenset({"a"}), segments=frozenset({"a"}))
    assert run(has_tags, {"tags": []}, contact) == [False]
    assert run(in_segments, {"segments": []}, contact) == [False]


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
def test_points_compare_under_every_name(operator: str, expected: list[bool], name: str) -> None:
    contacts = [a_contact(points=number) for number in (4, 5, 6)]
    assert run(points, {"operator": operator, name: 5}, *contacts) == expected


def test_points_need_a_number_and_a_known_operator() -> None:
    assert refusal(points, {"operator": "=", "points": True})
    assert refusal(points, {"operator": "="})
    assert refusal(points, {"operator": "like", "points": 1})
