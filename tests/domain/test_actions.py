from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from domain.steps.actions import change_points, change_segments, change_stage, change_tags, update
from domain.steps.campaign import change, jump
from domain.steps.registry import (
    DONE,
    Done,
    Join,
    Jump,
    Kind,
    Leave,
    Need,
    Skipped,
    StageFacts,
    World,
    all_types,
    step_type,
)
from tests.domain.worlds import a_contact, refusal, run, tags_of


def reason(result: Any) -> str:
    assert isinstance(result, Skipped)
    return result.reason


# The catalogue.


def test_every_type_is_found_by_its_name_and_says_what_it_does() -> None:
    for each in all_types():
        assert step_type(each.kind, each.name) is each
        assert each.description
        assert each.reference
        for name, facts in each.properties.model_json_schema().get("properties", {}).items():
            assert facts.get("description"), f"{each.name}: {name}"


def test_unknown_properties_are_refused() -> None:
    for each in all_types():
        assert "Extra inputs are not permitted" in refusal(each, {"no_such": 1})


def test_a_jump_is_the_last_of_its_branch() -> None:
    assert step_type(Kind.ACTION, "campaign.jump").last
    assert Need.RECENT_PASSES in jump.needs & change.needs


# Points.


@pytest.mark.parametrize(("points", "total"), [(5, 15), (-25, -15)])
def test_points_are_added_and_taken_away(points: int, total: int) -> None:
    contact = a_contact(points=10)
    assert run(change_points, {"points": points}, contact) == [DONE]
    assert contact.points == total


def test_points_beyond_what_the_column_holds_skip_that_contact_only() -> None:
    rich, poor = a_contact(1, points=2**31 - 5), a_contact(2)
    results = run(change_points, {"points": 10}, rich, poor)
    assert "more than can be kept" in reason(results[0])
    assert results[1] == DONE
    assert (rich.points, poor.points) == (2**31 - 5, 10)


@pytest.mark.parametrize("points", [0, True, 1.5, "many", None, 2**31])
def test_points_that_are_no_whole_number_or_change_nothing_are_refused(points: object) -> None:
    assert refusal(change_points, {"points": points})


# Tags.


def test_tags_are_added_and_removed_and_a_minus_removes() -> None:
    contacts = [a_contact(1, tags=frozenset({"old", "cold", "kept"})), a_contact(2)]
    assert run(change_tags, {"add": ["new", "-old"], "remove": ["cold"]}, *contacts) == [DONE, DONE]
    assert tags_of(contacts) == [{"kept", "new"}, {"new"}]


def test_a_tag_in_both_lists_is_removed() -> None:
    contact = a_contact(tags=frozenset({"a"}))
    run(change_tags, {"add": ["a", "b", "-b"], "remove": ["a"]}, contact)
    assert contact.tags == frozenset()


def test_the_set_of_tags_is_replaced_not_mutated() -> None:
    before = frozenset({"a"})
    contact = a_contact(tags=before)
    run(change_tags, {"add": ["b"]}, contact)
    assert before == {"a"}
    assert isinstance(contact.tags, frozenset)


@pytest.mark.parametrize("wrong", [{}, {"add": []}, {"add": ["-"]}, {"add": [" "]}, {"add": "new"}])
def test_tags_need_names(wrong: dict[str, Any]) -> None:
    assert refusal(change_tags, wrong)


# Update.


def test_update_sets_attributes_and_fields() -> None:
    contact = a_contact(fields={"city": "Paris", "plan": "free"})
    before = contact.fields
    given = {
        "email": " new@example.com ",
        "timezone": "Asia/Tokyo",
        "owner": "ann",
        "plan": "paid",
        "since": date(2026, 1, 2),
        "vip": False,
        "level": 0,
    }
    assert run(update, {"fields": given}, contact) == [DONE]
    assert (contact.email, contact.timezone, contact.owner) == ("new@example.com", "Asia/Tokyo", "ann")
    assert contact.fields == {
        "city": "Paris",
        "plan": "paid",
        "since": "2026-01-02",
        "vip": False,
        "level": 0,
    }
    assert before == {"city": "Paris", "plan": "free"}


def test_blank_values_do_not_erase() -> None:
    contact = a_contact(
        email="a@example.com", timezone="Asia/Tokyo", fields={"city": "Paris", "likes": ["x"]}
    )
    before = contact.state()
    blank: dict[str, Any] = {"email": "", "timezone": None, "city": " ", "likes": []}
    assert run(update, {"fields": blank}, contact) == [DONE]
    assert contact.state() == before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("points", "contact.points"),
        ("stage", "contact.stage"),
        ("tags", "contact.tags"),
        ("key", "identity"),
        ("last_active_at", "no step changes it"),
    ],
)
def test_update_says_which_type_changes_what_it_does_not(name: str, says: str) -> None:
    assert says in refusal(update, {"fields": {name: "1"}})


@pytest.mark.parametrize("zone", ["Europe/Pariss", "Europe", "../etc/passwd", "x" * 5000, "\0"])
def test_a_timezone_must_be_a_real_one(zone: str) -> None:
    assert "unknown timezone" in refusal(update, {"fields": {"timezone": zone}})


def test_an_unknown_timezone_is_answered_with_the_nearest() -> None:
    assert "did you mean Europe/Paris?" in refusal(update, {"fields": {"timezone": "europe/pariss"}})


@pytest.mark.parametrize(
    "fields", [{}, {" ": 1}, {"email": 5}, {"email": "nobody"}, {"x": float("nan")}, {"x": object()}]
)
def test_update_refuses_what_it_cannot_store(fields: dict[str, Any]) -> None:
    assert refusal(update, {"fields": fields})


# Segments.


def test_segments_are_added_and_removed_and_in_doubt_removed() -> None:
    contact = a_contact(segments=frozenset({"leads", "all"}))
    assert run(change_segments, {"add": ["customers", "x"], "remove": ["leads", "x"]}, contact) == [DONE]
    assert contact.segments == {"customers", "all"}


def test_segments_need_a_key() -> None:
    assert "at least one segment" in refusal(change_segments, {"add": []})


# Stages.

STAGES = World(
    stages={
        each.key: each
        for each in (
            StageFacts("lead", 10, True),
            StageFacts("peer", 20, True),
            StageFacts("buyer", 20, True),
            StageFacts("fan", 30, False),
            StageFacts("odd", None, True),
        )
    }
)


@pytest.mark.parametrize("present", [None, "lead", "peer", "odd", "forgotten"])
def test_a_contact_moves_to_a_stage_that_is_not_behind(present: str | None) -> None:
    contact = a_contact(stage=present)
    assert run(change_stage, {"stage": "buyer"}, contact, world=STAGES) == [DONE]
    assert contact.stage == "buyer"


def test_a_contact_does_not_move_backwards_or_to_where_it_is() -> None:
    ahead, there = a_contact(1, stage="fan"), a_contact(2, stage="buyer")
    results = run(change_stage, {"stage": "buyer"}, ahead, there, world=STAGES)
    assert "ahead of" in reason(results[0])
    assert "already" in reason(results[1])
    assert (ahead.stage, there.stage) == ("fan", "buyer")


def test_a_stage_without_weight_can_always_be_entered() -> None:
    assert run(change_stage, {"stage": "odd"}, a_contact(stage="fan"), world=STAGES) == [DONE]


@pytest.mark.parametrize(("stage", "says"), [("gone", "does not exist"), ("fan", "is not published")])
def test_a_stage_that_is_gone_or_unpublished_skips_all(stage: str, says: str) -> None:
    contacts = [a_contact(1), a_contact(2, stage=stage)]
    results = run(change_stage, {"stage": stage}, *contacts, world=STAGES)
    assert [says in reason(result) for result in results] == [True, True]
    assert contacts[0].stage is None


# Campaigns.


def test_change_joins_first_and_then_leaves_and_this_is_the_own_campaign() -> None:
    properties = {"add": ["news", "this", "welcome"], "remove": ["this", "old"]}
    effects = (Join("news"), Join("welcome"), Leave("welcome"), Leave("old"))
    assert run(change, properties, a_contact()) == [Done(effects=effects)]


def test_change_needs_a_campaign() -> None:
    assert "at least one campaign" in refusal(change, {})


def passed(times: int) -> World:
    return World(recent_passes={(1, 7): times, (2, 8): 1000})


def test_who_passed_a_hundred_times_within_a_day_joins_nothing() -> None:
    results = run(change, {"add": ["this"]}, a_contact(1), a_contact(2), world=passed(100))
    assert results == [Skipped("more than 100 passes within a day"), Done(effects=(Join("welcome"),))]


def test_leaving_has_no_limit() -> None:
    assert run(change, {"remove": ["x"]}, a_contact(), world=passed(1000)) == [Done(effects=(Leave("x"),))]


def test_a_jump_goes_to_the_step() -> None:
    assert run(jump, {"to": "here"}, a_contact(), world=passed(99)) == [Done(effects=(Jump("here"),))]


def test_a_jump_to_a_step_that_is_gone_is_skipped() -> None:
    results = run(jump, {"to": "gone"}, a_contact(1), a_contact(2))
    assert ["no step 'gone'" in reason(result) for result in results] == [True, True]


def test_who_passed_a_hundred_times_within_a_day_jumps_no_more() -> None:
    results = run(jump, {"to": "here"}, a_contact(1), a_contact(2), world=passed(100))
    assert results == [Skipped("more than 100 passes within a day"), Done(effects=(Jump("here"),))]
