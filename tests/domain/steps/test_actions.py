from datetime import date
from typing import Any

import pytest
from pydantic import ValidationError

from parcours.domain.steps import actions, campaign
from parcours.domain.steps.batch import Knowledge, StageFacts
from parcours.domain.steps.types import DONE, Done, Failed, Join, Jump, Leave, Need, Skipped, StepType
from tests.domain.worlds import contact, properties, run


@pytest.mark.parametrize(
    ("step_type", "given", "sentence"),
    [
        (actions.change_points, {"points": 0}, "adding 0 points has no effect"),
        (actions.change_points, {"points": True}, "a whole number is needed"),
        (actions.change_points, {"points": 2**31}, "less than or equal"),
        (actions.change_tags, {}, "give at least one tag"),
        (actions.change_tags, {"add": ["-"]}, "must be followed by the name"),
        (actions.change_tags, {"add": [" "]}, "at least 1 character"),
        (actions.change_segments, {"add": []}, "give at least one segment"),
        (actions.update, {"fields": {}}, "give at least one field"),
        (actions.update, {"fields": {"points": 1}}, "contact.points"),
        (actions.update, {"fields": {"stage": "lead"}}, "contact.stage"),
        (actions.update, {"fields": {"tags": ["a"]}}, "contact.tags"),
        (actions.update, {"fields": {"key": "a"}}, "cannot change a contact"),
        (actions.update, {"fields": {"timezone": "Europe/Pari"}}, "did you mean 'Europe/Paris'"),
        (actions.update, {"fields": {"timezone": "Europe"}}, "unknown timezone"),
        (actions.update, {"fields": {"timezone": "../etc"}}, "unknown timezone"),
        (actions.update, {"fields": {"email": "nobody"}}, "not an email address"),
        (actions.update, {"fields": {"owner": 3}}, "owner must be a text"),
        (actions.update, {"fields": {"size": float("nan")}}, "can be stored"),
        (actions.change_stage, {}, "Field required"),
        (campaign.change, {"add": []}, "give at least one campaign"),
        (campaign.jump, {"to": ""}, "at least 1 character"),
    ],
)
def test_properties_that_make_no_sense_are_refused_with_a_sentence(
    step_type: StepType, given: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        properties(step_type, given)


def test_points_are_added_and_taken_away() -> None:
    ada, bob = contact(1, points=3), contact(2)
    assert run(actions.change_points, {"points": -5}, ada, bob) == [DONE, DONE]
    assert (ada.points, bob.points) == (-2, -5)


def test_points_of_a_group_begin_at_0_and_leave_the_contacts_own_alone() -> None:
    ada, bob = contact(1, points=3, scores={"wine": 2, "tea": 1}), contact(2)
    assert run(actions.change_points, {"points": 5, "group": "wine"}, ada, bob) == [DONE, DONE]
    assert (ada.points, ada.scores) == (3, {"wine": 7, "tea": 1})
    assert (bob.points, bob.scores) == (0, {"wine": 5})


def test_points_beyond_what_a_column_holds_are_skipped_for_that_contact_only() -> None:
    rich, poor = contact(1, points=2**31 - 1), contact(2)
    results = run(actions.change_points, {"points": 1}, rich, poor)
    assert isinstance(results[0], Skipped)
    assert results[1] == DONE
    assert (rich.points, poor.points) == (2**31 - 1, 1)


def test_tags_are_added_and_removed_and_a_minus_removes() -> None:
    before = frozenset({"old", "cold", "kept"})
    ada = contact(tags=before)
    assert run(actions.change_tags, {"add": ["new", "-cold"], "remove": ["old", "never-there"]}, ada) == [DONE]
    assert ada.tags == {"new", "kept"}
    assert before == {"old", "cold", "kept"}


def test_an_update_replaces_the_fields_and_never_mutates_them() -> None:
    fields = {"city": "Rome", "size": 4}
    ada = contact(fields=fields)
    given = {"city": "Paris", "day": date(2026, 12, 24), "size": "", "name": None}
    assert run(actions.update, {"fields": given}, ada) == [DONE]
    assert ada.fields == {"city": "Paris", "size": 4, "day": "2026-12-24"}
    assert fields == {"city": "Rome", "size": 4}


def test_an_update_sets_attributes_and_blanks_do_not_erase_them() -> None:
    ada = contact(email="ada@example.com", owner="sam")
    fields = ada.fields
    run(actions.update, {"fields": {"email": " ", "owner": "kim", "timezone": "Asia/Tokyo"}}, ada)
    assert (ada.email, ada.owner, ada.timezone) == ("ada@example.com", "kim", "Asia/Tokyo")
    assert ada.fields is fields


def test_an_update_keeps_false_and_zero() -> None:
    ada = contact(fields={"consent": True, "visits": 3})
    run(actions.update, {"fields": {"consent": False, "visits": 0}}, ada)
    assert ada.fields == {"consent": False, "visits": 0}


def test_segments_are_added_and_removed() -> None:
    before = frozenset({"leads"})
    ada = contact(segments=before)
    assert run(actions.change_segments, {"add": ["customers"], "remove": ["leads"]}, ada) == [DONE]
    assert ada.segments == {"customers"}
    assert before == {"leads"}


STAGES = Knowledge(
    stages={
        stage.key: stage
        for stage in (
            StageFacts("lead", 1, True),
            StageFacts("buyer", 5, True),
            StageFacts("peer", 5, True),
            StageFacts("vague", None, True),
            StageFacts("hidden", 9, False),
        )
    }
)


@pytest.mark.parametrize("stage", ["nowhere", "hidden"])
def test_a_stage_that_cannot_be_had_is_skipped_for_all(stage: str) -> None:
    ada, bob = contact(1), contact(2, stage="lead")
    results = run(actions.change_stage, {"stage": stage}, ada, bob, world=STAGES)
    assert all(isinstance(result, Skipped) for result in results)
    assert (ada.stage, bob.stage) == (None, "lead")


@pytest.mark.parametrize(
    ("present", "to", "moves"),
    [
        (None, "lead", True),
        ("lead", "buyer", True),
        ("peer", "buyer", True),
        ("buyer", "vague", True),
        ("vague", "lead", True),
        ("forgotten", "lead", True),
        ("buyer", "buyer", False),
        ("buyer", "lead", False),
        ("hidden", "lead", False),
    ],
)
def test_a_contact_moves_to_a_stage_but_not_backwards(present: str | None, to: str, moves: bool) -> None:
    ada = contact(stage=present)
    (result,) = run(actions.change_stage, {"stage": to}, ada, world=STAGES)
    assert isinstance(result, Skipped) is not moves
    assert ada.stage == (to if moves else present)


def test_campaigns_are_joined_first_and_left_then() -> None:
    (result,) = run(campaign.change, {"remove": ["old", "this"], "add": ["this", "next", "welcome"]}, contact())
    assert result.effects == (Join("welcome"), Join("next"), Leave("old"), Leave("welcome"))


def test_the_effects_of_changing_campaigns_are_made_once_a_batch() -> None:
    first, second = run(campaign.change, {"remove": ["this"]}, contact(1), contact(2))
    assert first is second


PASSED = Knowledge(recent_passes={(1, 7): 99, (2, 7): 100, (3, 8): 100})


@pytest.mark.parametrize(
    ("step_type", "given"), [(campaign.jump, {"to": "here"}), (campaign.change, {"add": ["this"]})]
)
def test_who_passed_a_hundred_times_within_a_day_is_sent_round_no_more(
    step_type: StepType, given: dict[str, Any]
) -> None:
    results = run(step_type, given, contact(1), contact(2), contact(3), world=PASSED)
    assert results[1] == Skipped("the contact passed here more than 100 times within a day")
    assert results[0].effects == results[2].effects != ()


def test_leaving_is_not_counted() -> None:
    (result,) = run(campaign.change, {"remove": ["this"]}, contact(2), world=PASSED)
    assert result.effects == (Leave("welcome"),)


def test_a_jump_leads_to_a_step_and_nothing_may_follow_it() -> None:
    (result,) = run(campaign.jump, {"to": "here"}, contact())
    assert result.effects == (Jump("here"),)
    assert campaign.jump.last


def test_a_jump_to_a_step_that_is_gone_is_skipped() -> None:
    results = run(campaign.jump, {"to": "gone"}, contact(1), contact(2))
    assert [type(result) for result in results] == [Skipped, Skipped]


def test_actions_say_what_they_need() -> None:
    points = actions.change_points
    assert points.needs_of(properties(points, {"points": 1})) == set()
    assert points.needs_of(properties(points, {"points": 1, "group": "wine"})) == {Need.SCORES}
    found: list[object] = [
        actions.change_tags.needs,
        actions.update.needs_of(properties(actions.update, {"fields": {"a": 1}})),
        actions.change_segments.needs,
        actions.change_stage.needs,
        campaign.change.needs,
        campaign.jump.needs,
    ]
    passes = {Need.RECENT_PASSES}
    assert found == [{Need.TAGS}, {Need.FIELDS}, {Need.SEGMENTS}, {Need.STAGES}, passes, passes]


def test_an_update_fills_in_its_texts_for_each_contact() -> None:
    ada = contact(1, fields={"first_name": "Ada", "old": 1}, tags=frozenset({"b", "a"}))
    bob = contact(2, fields={"greeting": "Hi"})
    fields = {
        "greeting": "{% if contact.first_name %}Dear {{ contact.first_name }}{% endif %}",
        "seen": ["{{ contact.tags | join: ' ' }} in {{ campaign.key }}", 3],
    }
    assert run(actions.update, {"fields": fields}, ada, bob) == [DONE, DONE]
    assert ada.fields == {"first_name": "Ada", "old": 1, "greeting": "Dear Ada", "seen": ["a b in welcome", 3]}
    # What comes to nothing leaves what is there.
    assert bob.fields == {"greeting": "Hi", "seen": [" in welcome", 3]}
    needed = actions.update.needs_of(properties(actions.update, {"fields": fields}))
    assert needed == {Need.FIELDS, Need.TAGS}


def test_an_update_that_makes_no_address_or_timezone_changes_nothing() -> None:
    people = [
        contact(1, fields={"work": "ada@example.com", "zone": "asia/tokyo"}),
        contact(2, email="old@example.com", fields={"work": "nobody", "zone": "Asia/Tokyo"}),
        contact(3, fields={"work": "eve@example.com", "zone": "Asia/Nowhere"}),
    ]
    fields = {"email": "{{ contact.work }}", "timezone": "{{ contact.zone }}", "seen": "yes"}
    results = run(actions.update, {"fields": fields}, *people)
    assert [type(result) for result in results] == [Done, Skipped, Skipped]
    assert [each.email for each in people] == ["ada@example.com", "old@example.com", None]
    assert people[0].timezone == "Asia/Tokyo"
    assert ["seen" in each.fields for each in people] == [True, False, False]


def test_an_update_that_cannot_be_filled_in_fails_for_that_contact_alone() -> None:
    ada, bob = contact(1, fields={"n": 0}), contact(2, fields={"n": 2})
    failed, done = run(actions.update, {"fields": {"share": "{{ 4 | divided_by: contact.n }}"}}, ada, bob)
    assert isinstance(failed, Failed)
    assert not failed.retry
    assert done == DONE
    assert bob.fields["share"] == "2"
