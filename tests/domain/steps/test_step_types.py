"""What holds for all step types, and some hard cases of single ones."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parcours.domain import operators
from parcours.domain.steps import actions, conditions, decisions, email
from parcours.domain.steps.batch import EmailFacts, Knowledge, StageFacts
from parcours.domain.steps.registry import all_types, step_type
from parcours.domain.steps.types import Skipped, StepType
from tests.domain.worlds import NOW, contact, run, takes

PARIS = ZoneInfo("Europe/Paris")


def refusal(type_: StepType, given_: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        type_.properties.model_validate(given_)
    return "; ".join(error["msg"] for error in caught.value.errors())


def test_every_type_is_found_by_its_name_and_says_what_it_does() -> None:
    for each in all_types():
        assert step_type(each.kind, each.name) is each
        assert each.description
        for name, facts in each.properties.model_json_schema().get("properties", {}).items():
            assert facts.get("description"), f"{each.name}: {name}"


def test_unknown_properties_are_refused() -> None:
    for each in all_types():
        assert "Extra inputs are not permitted" in refusal(each, {"no_such": 1})


@pytest.mark.parametrize("zone", ["Europe/Pariss", "Europe", "../etc/passwd", "x" * 5000, "\0"])
def test_a_timezone_must_be_a_real_one(zone: str) -> None:
    assert "unknown timezone" in refusal(actions.update, {"fields": {"timezone": zone}})


def test_a_stage_without_weight_can_always_be_entered() -> None:
    stages = {key: StageFacts(key, weight, True) for key, weight in (("odd", None), ("fan", 30))}
    someone = contact(stage="fan")
    run(actions.change_stage, {"stage": "odd"}, someone, world=Knowledge(stages=stages))
    assert someone.stage == "odd"


def test_an_address_of_nothing_but_blanks_is_none() -> None:
    world = Knowledge(emails={"hello": EmailFacts("hello", True)})
    (result,) = run(email.send, {"email": "hello"}, contact(email=" "), world=world)
    assert isinstance(result, Skipped)
    assert "no email address" in result.reason


def test_the_referrer_may_be_spelt_as_http_does() -> None:
    assert takes(decisions.page_hit, {"referer": "a.com"}, {"referrer": "https://a.com/"})


@pytest.mark.parametrize(("operator", "value"), [("!=", ""), ("!like", None), ("!in", [])])
def test_an_error_names_the_operator_as_it_was_written(operator: str, value: Any) -> None:
    sentence = refusal(conditions.field, {"field": "x", "operator": operator, "value": value})
    assert f"the operator {operator!r} needs a" in sentence


# Values that look like another kind's hurt more than any others.
tricky: st.SearchStrategy[Any] = st.sampled_from(
    [
        "", " ", "0", "01", "1.0", "1e999", "true", "Yes", "nan", "2026-02-28", "2026-02-30",
        "2026-03-29T02:30", "0001-01-01", "9999-12-31T23:59:59-12:00", "ß", "SS", "İ", "[", "%", "\\", "a|b",
        "-P9999Y", "9" * 5000, 0, 1, 1.0, True, False, None,
        float("nan"), float("inf"), 2**53 + 1, [], {}, [[]], [None, ""],
    ]
)  # fmt: skip
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | tricky


def compiled(operator: str, value: Any) -> operators.Test | None:
    try:
        return operators.test(operator, value, PARIS)
    except ValueError:
        return None


@given(st.sampled_from(["=", "like", "in", "empty", "regexp"]), values, values | st.lists(values, max_size=3))
def test_an_operator_with_a_bang_is_the_negation(operator: str, value: Any, actual: Any) -> None:
    positive, negative = compiled(operator, value), compiled(f"!{operator}", value)
    assert (positive is None) == (negative is None)
    if positive is not None and negative is not None:
        assert negative(actual, NOW) is not positive(actual, NOW)


@given(values, values)
def test_equality_has_no_direction(one: Any, other: Any) -> None:
    there, back = compiled("=", one), compiled("=", other)
    if there is not None and back is not None:
        assert there(other, NOW) is back(one, NOW)


@given(st.text(min_size=1, max_size=10), st.text(min_size=1, max_size=3))
def test_a_text_starts_ends_and_is_contained_as_like_says(text: str, part: str) -> None:
    escaped = part.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    patterns = {"startsWith": f"{escaped}%", "endsWith": f"%{escaped}", "contains": f"%{escaped}%"}
    for operator, pattern in patterns.items():
        like, other = compiled("like", pattern), compiled(operator, part)
        assert like is not None
        assert other is not None
        assert other(text, NOW) is like(text, NOW)
