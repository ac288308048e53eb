"""Goals and control groups in campaign files: what they may say, and that nothing is lost on the way."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.campaign_file.build import build, stored, to_data
from parcours.domain.campaign_file.check import check
from parcours.domain.goal import amount
from parcours.services.entry_rules import entry_rules

UTC = ZoneInfo("UTC")
STEPS = [{"step": "hello", "action": "contact.points", "with": {"points": 1}}]


def data(**more: Any) -> dict[str, Any]:
    source = {"type": "cart.updated", "key": "cart_id"}
    return {"campaign": "c", "sources": {"events": [source]}, **more, "steps": STEPS}


@pytest.mark.parametrize(
    "more",
    [
        {"goal": {"event": "order.paid"}},
        {"goal": {"event": "order.paid", "within": "14 days", "value": "order.total", "key": "cart_id"}},
        {"goal": {"event": "order.paid", "where": [{"field": "total", "operator": "gte", "value": 5}]}},
        {"goal": {"rule": {"all": [{"condition": "contact.tags", "with": {"tags": ["a"]}}]}, "within": "P1M"}},
        {"control": 10},
        {"control": 2.5, "goal": {"event": "order.paid"}},
        {"control": 0},
    ],
)
def test_what_is_exported_makes_the_same_file_of_format_2(more: dict[str, Any]) -> None:
    checked = check(data(**more), default_zone=UTC)
    assert checked.problems == []
    assert checked.file is not None
    exported = to_data(checked.file)
    assert exported["format"] == 2
    assert {name: exported[name] for name in more} == more
    assert check(exported, default_zone=UTC).file == checked.file == stored(exported)
    assert build(checked.file, campaign_id=1, version=1, step_ids={"hello": 1}, zone=UTC).watches


def test_a_file_without_them_is_of_format_1() -> None:
    file = check({"campaign": "c", "sources": {"forms": ["f"]}, "steps": STEPS}, default_zone=UTC).file
    assert file is not None
    assert file.format == 1


@pytest.mark.parametrize(
    ("more", "place", "said"),
    [
        ({"goal": "order.paid"}, "goal", "must be a mapping such as {event: order.paid, within: 14 days}"),
        ({"goal": [{"event": "order.paid"}]}, "goal", "a campaign has one goal"),
        ({"goal": {}}, "goal", "needs either 'event'"),
        ({"goal": {"event": "a.b", "rule": {}}}, "goal", "needs either 'event'"),
        ({"goal": {"rule": "yes"}}, "goal.rule", "must be a rule"),
        ({"goal": {"rule": {}, "value": "total"}}, "goal.value", ""),
        ({"goal": {"event": "order.paid", "within": "soon"}}, "goal.within", "interval"),
        ({"goal": {"event": "order.paid", "within": "0 days"}}, "goal.within", ""),
        ({"goal": {"event": "order.paid", "value": "{{ total }}"}}, "goal.value", "not a template"),
        ({"goal": {"event": "order.paid", "value": "\ud800"}}, "goal.value", "cannot be stored"),
        ({"goal": {"event": "order.paid", "where": [{"field": "a", "operator": "?"}]}}, "goal.where[0]", ""),
        ({"control": 51}, "control", "must be a percentage from 0 to 50, not 51"),
        ({"control": -1}, "control", "must be a percentage from 0 to 50"),
        ({"control": "10"}, "control", "write 10 for 10 percent"),
        ({"control": True}, "control", "must be a percentage from 0 to 50"),
        ({"control": float("nan")}, "control", "must be a percentage from 0 to 50"),
        ({"control": 10, "format": 1}, "format", "write 'format: 2'"),
    ],
)
def test_what_is_wrong_is_said_once_with_its_place(more: dict[str, Any], place: str, said: str) -> None:
    (problem,) = check(data(**more), default_zone=UTC).problems
    assert problem.place == place
    assert said in problem.sentence


def test_a_key_needs_a_source_with_a_key() -> None:
    file = {**data(goal={"event": "order.paid", "key": "cart_id"}), "sources": {"forms": ["f"]}}
    (problem,) = check(file, default_zone=UTC).problems
    assert (problem.place, "no event source has a 'key'" in problem.sentence) == ("goal.key", True)


def test_a_plan_tells_them_in_sentences() -> None:
    goal = {"event": "order.paid", "within": "14 days", "value": "total"}
    file = check(data(goal=goal, control=10), default_zone=UTC).file
    assert file is not None
    assert entry_rules(file)[1:] == [
        "goal: event order.paid within 14 days of entering, with the value total; counted for contacts who enter from "
        "now on",
        "control group: 10 percent of contacts who are new from now on; no steps run for them",
    ]


numbers = st.one_of(st.integers(), st.floats(), st.decimals(), st.text(), st.booleans(), st.none())


@given(numbers)
def test_an_amount_is_bounded_and_has_six_decimals_or_there_is_none(value: Any) -> None:
    found = amount(value)
    if found is not None:
        assert abs(found) <= 10**12
        assert found == round(found, 6)


@pytest.mark.parametrize(
    ("value", "found"),
    [(19.99, "19.99"), ("0.01", "0.01"), (0.1 + 0.2, "0.3"), (-5, "-5"), (" 7 ", "7"), ("1e3", "1000"), ("٣", None)],
)
def test_an_amount_is_exact(value: Any, found: str | None) -> None:
    assert amount(value) == (None if found is None else Decimal(found))
