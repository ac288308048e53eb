"""A plan tells whom each setting lets in and out, and the update that follows does just that."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from parcours.db.reads import alignment
from parcours.db.tables import waits
from parcours.services import campaign_plan
from parcours.services.campaign_plan import CampaignPlan
from parcours.services.draft_check import check_draft
from parcours.web.pages.plan_words import step_change
from tests.workers.worlds import UTC_ZONE, World, at

STEPS = "- {step: a, action: contact.points, with: {points: 1}, after: 9 days}"


def lines(plan: CampaignPlan) -> list[str]:
    return [line.strip() for line in plan.lines()[1:]]


@pytest.fixture
def two(world: World) -> World:
    """A campaign that two segments feed: three contacts are in the first alone, one in both, one in the second."""
    world.crowd(4, segment="first")
    world.contacts("late", segment="second")
    world.enter("second", "c4")
    world.campaign(STEPS, segments=["first", "second"])
    world.update()
    return world


def test_a_source_that_is_taken_out_says_how_many_leave(two: World) -> None:
    plan = two.campaign(STEPS, segments=["second"])
    assert lines(plan) == [
        "~ sources.segments: - first",
        "- 3 contacts leave, because they are in none of the segments",
    ]
    assert plan.to_json()["people"] == {"joins": 0, "returns": 0, "leaves": 3, "exits": 0, "complete": True, "stays": 0}
    assert two.update(at(1, "10:00")) == {"removed": 3}


def test_with_a_grace_period_or_without_leaving_it_says_so(two: World) -> None:
    plan = two.campaign(STEPS, segments=["second"], grace="2 days")
    assert "- 3 contacts are in none of the segments and leave after the grace period (2 days)" in lines(plan), (
        plan.lines()
    )
    plan = two.campaign(STEPS, segments=["second"], exit_on_leave=False)
    assert "3 contacts are in none of the segments and stay, because exit_on_leave is off" in lines(plan)
    assert two.update(at(1, "10:00")) == {}


def test_a_source_that_comes_says_how_many_join_or_wait_to(two: World) -> None:
    two.contacts("x", "y", segment="third")
    plan = two.campaign(STEPS, segments=["first", "second", "third"], published=False)
    assert "+ 2 contacts join" in lines(plan)
    assert lines(plan)[-1] == "contacts join and leave once the campaign runs"
    assert two.update(at(1, "10:00")) == {}
    plan = two.campaign(STEPS, segments=["first", "second", "third"])
    assert lines(plan) == ["publishes it", "+ 2 contacts join"]
    assert two.update(at(1, "11:00")) == {"added": 2}


def test_a_grace_period_that_goes_says_who_leaves_at_once(two: World) -> None:
    two.campaign(STEPS, segments=["second"], grace="9 days")
    assert two.update(at(1, "10:00")) == {}
    plan = two.campaign(STEPS, segments=["second"])
    assert lines(plan) == [
        "~ grace: 9 days → none",
        "- 3 contacts leave, because they are in none of the segments",
    ]
    assert two.update(at(1, "11:00")) == {"removed": 3}


def test_a_source_that_returns_says_how_many_in_their_grace_period_stay(two: World) -> None:
    both: dict[str, Any] = {"grace": "9 days", "exit_on_leave": True}
    two.campaign(STEPS, segments=["second"], **both)
    assert two.update(at(1, "10:00")) == {}
    # One of the three would have come back by no source.
    two.leave("first", "c1")
    plan = two.campaign(STEPS, segments=["first", "second"], when=at(1, "11:00"), **both)
    assert lines(plan) == [
        "~ sources.segments: + first",
        "- 1 contact is in none of the segments and leaves after the grace period (9 days)",
        "2 contacts in their grace period are in one of the segments again and stay",
    ]
    assert plan.to_json()["people"]["stays"] == 2
    # Nothing is left of it: who leaves the segment again has the whole period before them.
    assert [row.key for row in two.read("SELECT key FROM leaving JOIN contact ON contact.id = contact_id")] == ["c1"]
    assert two.update(at(1, "12:00")) == {}
    assert two.update(at(12, "10:00")) == {"removed": 1}
    # Of members who are no longer in a grace period nothing is said.
    plan = two.campaign(STEPS, segments=["second"], **both)
    assert not any("stay" in line for line in lines(plan))


def test_a_limit_of_entries_says_how_many_it_refuses_and_that_others_come_later(two: World) -> None:
    two.contacts("x", "y", "z", segment="third")
    plan = two.campaign(STEPS, segments=["first", "second", "third"], entry={"most": 2, "rate": "1 per day"})
    assert lines(plan) == [
        "~ sources.segments: + third",
        "+ limit: 2 entries at most, 1 per day at most",
        "5 contacts inside do not count towards the new limit",
        "+ 2 contacts join",
        "1 contact of the segments does not join, because the entry limit (2) is reached",
        "they join as the limit allows (1 per day)",
    ]
    assert two.update(at(1, "10:00")) == {"added": 1}
    two.contacts("w", segment="fourth")
    plan = two.campaign(STEPS, segments=["first", "second", "third", "fourth"], entry={"most": 1})
    assert lines(plan)[-1] == "3 contacts of the segments do not join, because the entry limit (1) is reached"
    assert not any("+ 3" in line for line in lines(plan))


def test_only_new_entries_of_a_segment_join_where_the_file_says_so(two: World) -> None:
    two.contacts("x", segment="third")
    plan = two.campaign(STEPS, segments=["first", "second", "third"], existing=False)
    assert plan.moves is not None
    assert plan.moves.joins == 0
    assert two.update(at(1, "10:00")) == {}


def test_an_exit_segment_says_how_many_leave_and_reentry_how_many_come_back(two: World) -> None:
    two.enter("bought", "c1", "c2")
    plan = two.campaign(STEPS, segments=["first", "second"], exit=[{"segment": "bought"}])
    assert "- 2 contacts leave, because they are in an exit segment" in lines(plan)
    assert two.update(at(1, "10:00")) == {"removed": 2}
    two.leave("first", "c3")
    two.update(at(1, "11:00"))
    two.enter("first", "c3")
    out: dict[str, Any] = {"exit": [{"segment": "bought"}], "when": at(1, "12:00")}
    plan = two.campaign(STEPS, segments=["first", "second"], reentry="after_exit", **out)
    assert lines(plan) == ["~ reentry: never → after_exit", "+ 1 contact who left comes back"]
    assert two.update(at(1, "12:00")) == {"restarted": 1}


def test_dates_of_publishing_and_the_category_say_what_stops_and_starts(two: World) -> None:
    both: dict[str, Any] = {"segments": ["first", "second"]}
    plan = two.campaign(STEPS, publish_until="2026-01-01T00:00:00Z", **both)
    assert lines(plan)[-1].startswith("- the campaign stops: it ended on 2026-01-01")
    assert lines(plan)[-1].endswith("5 contacts inside keep their places")
    assert "+ the campaign starts; 5 contacts inside continue" in lines(two.campaign(STEPS, **both))
    two.write("INSERT INTO category (key, name, published) VALUES ('off', 'off', false)")
    assert lines(two.campaign(STEPS, category="off", **both)) == [
        "~ category: none → off",
        "- the campaign stops: its category is switched off; 5 contacts inside keep their places",
    ]


def test_another_timezone_says_whose_waits_it_moves(two: World) -> None:
    given: dict[str, Any] = {"segments": ["first", "second"]}
    steps = "- {step: a, action: contact.points, with: {points: 1}, at: 2026-06-10T09:00}"
    two.campaign(steps, timezone="Europe/Paris", **given)
    two.campaign(steps, timezone="Europe/Paris", reschedule=True, **given)
    plan = two.campaign(steps, timezone="America/New_York", **given)
    assert lines(plan) == [
        "~ timezone: Europe/Paris → America/New_York",
        "~ step a: at 2026-06-10T09:00:00+02:00 → 2026-06-10T09:00:00-04:00",
        "5 contacts wait at a, whose timing changes; --reschedule moves them",
    ]
    assert two.due("c1", "a") == at(10, "07:00")
    two.campaign(steps, timezone="America/New_York", reschedule=True, **given)
    assert two.due("c1", "a") == at(10, "13:00")


def test_a_form_that_is_no_source_any_more_keeps_whom_it_let_in(two: World) -> None:
    both: dict[str, Any] = {"segments": ["first", "second"]}
    two.campaign(STEPS, forms=["signup"], **both)
    plan = two.campaign(STEPS, **both)
    assert "- no contact joins by form signup any more; contacts who did stay" in lines(plan)


def test_a_limit_of_entries_that_goes_lets_in_who_was_held_back(two: World) -> None:
    two.campaign(STEPS, forms=["signup"], segments=["first"], entry={"rate": "1 per day"})
    two.contacts("x", "y", "z")
    for key in ("x", "y", "z"):
        two.submit("signup", key, at(1, "10:00"))
    plan = two.campaign(STEPS, forms=["signup"], segments=["first"])
    assert "+ 2 contacts held back by the entry limit join" in lines(plan)


def test_a_step_says_what_changed_in_it_and_who_waits_there(two: World) -> None:
    both: dict[str, Any] = {"segments": ["first", "second"]}
    plan = two.campaign(STEPS.replace("points: 1", "points: 5"), **both)
    assert lines(plan) == ["~ step a: points 1 → 5; 5 contacts wait there"]
    plan = two.campaign(STEPS.replace("points: 1", "points: 5").replace("9 days", "2 days"), **both)
    assert lines(plan) == [
        "~ step a: after 9 days → 2 days",
        "5 contacts wait at a, whose timing changes; --reschedule moves them",
    ]


def test_a_step_at_which_very_many_wait_says_that_they_are_more_than_were_counted(
    two: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_plan, "MOST_WAITING", 3)
    both: dict[str, Any] = {"segments": ["first", "second"]}
    plan = two.campaign(STEPS.replace("points: 1", "points: 5"), **both)
    assert lines(plan) == ["~ step a: points 1 → 5; more than 3 contacts wait there"]
    assert (plan.to_json()["waiting"], plan.to_json()["crowded"]) == ({"a": 3}, ["a"])
    assert step_change(plan, "a").endswith(" More than 3 contacts wait there.")
    # Whom a change moves is counted to the last.
    plan = two.campaign(STEPS.replace("9 days", "2 days"), **both)
    assert lines(plan)[-1] == "5 contacts wait at a, whose timing changes; --reschedule moves them"


def test_a_count_looks_at_so_many_and_says_that_there_may_be_more(two: World, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = two.campaign(STEPS, segments=["second"])
    with two.engine.connect() as conn:
        found = two.found(conn)
        moved = alignment.movement(
            conn,
            found.id,
            segment_ids=[],
            published_ids=[],
            exit_ids=[],
            after=None,
            returning=False,
            left_before=at(1),
            most=2,
        )
    assert (moved.leaves, moved.complete) == (2, False)
    assert plan.moves is not None
    assert plan.moves.complete


@pytest.mark.parametrize("seed", range(6))
def test_the_update_moves_whom_the_plan_counted(world: World, seed: int) -> None:
    chance = random.Random(seed)
    people = world.crowd(12)
    segments = ["one", "two", "out"]
    settings: dict[str, Any] = {}
    for segment in segments:
        world.segment(segment)
    for hour in range(8, 14):
        for key in people:
            for segment in segments:
                (world.enter if chance.random() < 0.4 else world.leave)(segment, key, when=at(hour))
        settings = {
            "segments": chance.sample(["one", "two"], chance.choice([1, 2])),
            "reentry": chance.choice(["never", "after_exit"]),
            "exit": chance.choice([[], [{"segment": "out"}]]),
            "exit_on_leave": chance.random() < 0.8,
            "cooldown": chance.choice([None, "36 hours"]),
            "description": str(hour),
        }
        settings = {name: value for name, value in settings.items() if value is not None}
        plan = world.campaign(STEPS, when=at(hour), **settings)
        if plan.moves is None:
            world.update(at(hour))
            continue
        done = world.update(at(hour))
        leaves = plan.moves.leaves if settings["exit_on_leave"] else 0
        assert (done["added"], done["restarted"], done["removed"]) == (
            plan.moves.joins,
            plan.moves.returns,
            leaves + plan.moves.exits,
        ), (hour, settings, plan.lines())


def test_a_new_campaign_says_how_many_join(world: World) -> None:
    world.crowd(3, segment="everyone")
    plan = world.campaign(STEPS)
    assert lines(plan) == ["1 step", "publishes it", "+ 3 contacts join"]


def test_the_digest_is_of_what_the_plan_does_and_not_of_how_many_it_touches(two: World) -> None:
    def planned(**settings: Any) -> campaign_plan.CampaignPlan:
        with two.engine.connect() as conn:
            file = two.campaign(STEPS, segments=["first", "second"]).file
            return campaign_plan.plan(conn, file.model_copy(update=settings), zone=two.zone)

    before = planned(reentry="always")
    two.contacts("more", segment="first")
    assert planned(reentry="always").digest == before.digest
    others = [
        planned(priority="high"),
        planned(description="x"),
        planned(redirect={"a": "a"}),
        planned(published=False),
    ]
    assert len({before.digest, *(each.digest for each in others)}) == 5


def test_an_exit_that_is_the_campaigns_own_source_is_told(two: World) -> None:
    plan = two.campaign(STEPS, segments=["first", "second"], exit=[{"segment": "first"}])
    said = "segment 'first' is a source and an exit: contacts who enter by it leave at once; remove it from one"
    assert said in plan.warnings
    assert "- 4 contacts leave, because they are in an exit segment" in lines(plan)
    assert two.update(at(1, "10:00")) == {"removed": 4}


def test_a_new_exit_rule_says_how_many_leave(two: World) -> None:
    two.write("UPDATE contact SET fields = '{\"country\": \"FR\"}' WHERE key IN ('c1', 'c2', 'late')")
    two.contacts("outside", country="FR")
    two.remove("c1", at(1, "09:30"))
    two.add("late", at(1, "09:30"))
    rule = {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
    plan = two.campaign(STEPS, segments=["first", "second"], exit=[{"rule": rule}], when=at(1, "10:00"))
    assert "- 2 contacts leave, because a new exit rule is true for them" in lines(plan)
    assert plan.leaves == 2
    two.time_passes(at(1, "10:00"))
    assert sum(state == "exit 1" for state in two.members().values()) == 2


def test_an_empty_list_of_which_one_is_enough_is_noted_in_a_file_and_an_error_in_a_draft(world: World) -> None:
    steps = "- {step: tagged, condition: contact.tags, with: {tags: []}}"
    plan = world.campaign(steps)
    assert plan.warnings == ["step tagged: 'tags' is empty, so the answer is always no; give at least one"]
    draft = {"campaign": "c", "steps": [{"step": "tagged", "condition": "contact.tags", "with": {"tags": []}}]}
    with world.engine.connect() as conn:
        said = check_draft(conn, draft, UTC_ZONE).at("tagged")
    assert said == [("tagged", "with.tags", "give at least one; with an empty list the answer is always no")]


def test_who_waits_is_counted_only_where_something_changes(two: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    count, up_to = waits.count_at, waits.count_up_to

    def count_at(conn: Connection, step_ids: Sequence[int]) -> dict[int, int]:
        asked.extend(step_ids)
        return count(conn, step_ids)

    def count_up_to(conn: Connection, step_ids: Sequence[int], limit: int) -> dict[int, int]:
        asked.extend(step_ids)
        return up_to(conn, step_ids, limit)

    monkeypatch.setattr(waits, "count_at", count_at)
    monkeypatch.setattr(waits, "count_up_to", count_up_to)
    two.campaign(STEPS, segments=["first", "second"], priority="high")
    assert asked == []
    changed = two.campaign(STEPS.replace("points: 1", "points: 2"), segments=["first", "second"])
    assert asked == [two.step_id("a")]
    assert changed.waiting == {"a": 5}
