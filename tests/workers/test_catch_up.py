"""What fell due while the campaign did not run: it runs, it is skipped, or it moves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from parcours.db.tables import campaigns, waits
from parcours.domain.steps.types import Done, Failed
from parcours.domain.walk.catch_up import Shift
from parcours.domain.walk.walk import TOO_LATE
from tests.workers.worlds import START, Moody, World, at

STEPS = """
    - {step: now, action: contact.points, with: {points: 1}}
    - step: later
      action: contact.points
      with: {points: 10}
      after: 1 day
      then: [{step: below, action: contact.points, with: {points: 1000}, after: 2 days}]
    - step: hit
      decision: page.hit
      within: 2 days
      no: [{step: missed, action: contact.points, with: {points: 100}}]
"""
SKIP = {"skip": "1 day"}


@pytest.fixture
def ann(world: World) -> World:
    """A world with Ann in the segment."""
    world.contacts("ann", segment="everyone")
    return world


def paused(ann: World, *, catch_up: Any, until: int = 6) -> World:
    """Ann's campaign, paused from noon of day 1."""
    ann.campaign(STEPS, catch_up=catch_up)
    ann.run()
    ann.pause(at(1, "12:00"))
    ann.publish(now=at(until, "12:00"))
    return ann


# Run.


def test_unless_said_otherwise_all_that_is_overdue_runs(ann: World) -> None:
    paused(ann, catch_up=None).run(at(6, "12:00"))
    assert ann.log() == ["now done", "later done", "hit no", "missed done"]


# Skip.


def test_an_action_that_fell_due_too_long_ago_in_a_pause_is_skipped_and_what_is_below_follows(ann: World) -> None:
    paused(ann, catch_up=SKIP).run(at(6, "12:00"))
    # The decision closes all the same, and what is below it counts from now.
    assert ann.log() == ["now done", "later skipped", "hit no", "missed done"]
    (skipped,) = [row for row in ann.passed() if row.result == "skipped"]
    assert skipped.detail == {"reason": TOO_LATE, "was_due_at": at(2).isoformat()}
    assert ann.due("ann", "below") == at(8, "12:00")
    ann.run(at(8, "12:00"))
    assert ann.points("ann") == [1101]


def test_what_fell_due_in_a_pause_but_is_younger_runs(ann: World) -> None:
    paused(ann, catch_up={"skip": "5 days"}).run(at(6, "12:00"))
    assert "later done" in ann.log()


def test_what_nobody_swept_in_time_is_not_skipped(ann: World) -> None:
    ann.campaign(STEPS, catch_up=SKIP)
    ann.run()
    ann.trigger(at(9))
    assert ann.log() == ["now done", "later done", "hit no", "missed done"]


def test_what_was_due_before_the_pause_and_not_done_is_not_skipped(ann: World) -> None:
    ann.campaign(STEPS, catch_up=SKIP)
    ann.run()
    ann.pause(at(2, "09:01"))
    ann.publish(now=at(6))
    ann.run(at(6))
    assert "later done" in ann.log()


def test_a_second_pause_does_not_make_the_first_one_forgotten(ann: World) -> None:
    paused(ann, catch_up=SKIP)
    ann.pause(at(6, "12:01"))
    ann.publish(now=at(6, "12:02"))
    ann.run(at(6, "12:02"))
    assert "later skipped" in ann.log()


def test_a_no_child_whose_own_time_went_by_in_the_pause_is_skipped(ann: World) -> None:
    ann.campaign(
        """
        - step: hit
          decision: page.hit
          no: [{step: missed, action: contact.points, with: {points: 100}, after: 2 days}]
        """,
        catch_up=SKIP,
    )
    ann.run()
    ann.pause()
    ann.publish(now=at(6))
    ann.run(at(6))
    assert ann.log() == ["hit no", "missed skipped"]


def test_a_condition_is_asked_however_late(ann: World) -> None:
    ann.campaign(
        """
        - step: rich
          condition: contact.points
          with: {operator: ">=", score: 5}
          after: 1 day
          no: [{step: poor, action: contact.tags, with: {add: [poor]}}]
        """,
        catch_up=SKIP,
    )
    ann.run()
    ann.pause()
    ann.publish(now=at(6))
    ann.run(at(6))
    assert ann.log() == ["rich no", "poor done"]


def test_who_is_added_by_hand_in_a_pause_begins_when_it_is_over(ann: World) -> None:
    ann.campaign(STEPS, catch_up=SKIP)
    ann.pause()
    ann.add("ann", at(2))
    ann.publish(now=at(6))
    ann.run(at(6))
    assert "now done" in ann.log()


def test_those_who_are_too_late_are_passed_over_together(world: World, moody: Moody) -> None:
    world.crowd(20, segment="everyone")
    world.campaign(
        """
        - step: late
          action: contact.points
          with: {points: 1}
          after: 1 day
          then: [{step: a, action: test.moody}]
        """,
        catch_up=SKIP,
    )
    world.run()
    world.pause()
    world.publish(now=at(6))
    assert world.trigger(at(6)) == {"skipped": 20, "done": 20}
    assert len(moody.met) == 20


# Shift.


def test_a_pause_moves_all_that_was_still_to_come_by_its_length(ann: World) -> None:
    paused(ann, catch_up="shift")
    assert {wait.step: wait.due_at for wait in ann.waits()} == {"later": at(7), "hit": at(8)}
    ann.run(at(6, "12:00"))
    assert ann.log() == ["now done"]
    ann.run(at(7))
    assert ann.due("ann", "below") == at(9)
    ann.run(at(8))
    assert ann.log() == ["now done", "later done", "hit no", "missed done"]


def test_the_anchors_move_too_so_that_a_no_branch_counts_from_them(ann: World) -> None:
    ann.campaign(
        """
        - step: hit
          decision: page.hit
          no:
            - {step: soon, action: contact.points, with: {points: 1}, after: 2 days}
            - {step: late, action: contact.points, with: {points: 1}, after: 4 days}
        """,
        catch_up="shift",
    )
    ann.run()
    ann.pause(at(2))
    ann.publish(now=at(12))
    assert ann.due("ann", "hit") == at(13)
    ann.run(at(13))
    assert ann.log() == ["hit no", "soon done"]
    assert ann.due("ann", "late") == at(15)


def test_what_was_due_before_the_pause_does_not_move_and_what_has_no_due_time_neither(ann: World) -> None:
    ann.campaign(
        STEPS + "    - {step: ever, decision: page.hit, yes: [{action: contact.tags, with: {add: [x]}}]}\n",
        catch_up="shift",
    )
    ann.run()
    ann.pause(at(2, "09:01"))
    ann.publish(now=at(6, "09:01"))
    assert {wait.step: wait.due_at for wait in ann.waits()} == {"later": at(2), "hit": at(7), "ever": None}


@pytest.mark.parametrize("catch_up", ["run", SKIP])
def test_nothing_moves_where_the_campaign_does_not_say_so(ann: World, catch_up: Any) -> None:
    paused(ann, catch_up=catch_up)
    assert ann.due("ann", "later") == at(2)


def test_nothing_moves_when_the_campaign_was_never_paused(ann: World) -> None:
    ann.campaign(STEPS, catch_up="shift", published=False)
    ann.publish(now=at(3))
    ann.run(at(3))
    ann.campaign(STEPS, catch_up="shift", published=True, name="Another", when=at(9))
    ann.publish(now=at(9))
    assert ann.due("ann", "later") == at(4)


def test_applying_a_file_pauses_and_resumes_as_the_commands_do(ann: World) -> None:
    ann.campaign(STEPS, catch_up="shift")
    ann.run()
    ann.campaign(STEPS, catch_up="shift", published=False, when=at(1, "12:00"))
    ann.campaign(STEPS, catch_up="shift", published=True, name="Another", when=at(3, "12:00"))
    assert ann.due("ann", "later") == at(4)


def test_who_is_added_by_hand_in_a_pause_counts_from_its_end(ann: World) -> None:
    ann.campaign(STEPS, catch_up="shift")
    ann.pause()
    ann.add("ann", at(4))
    ann.publish(now=at(6))
    assert ann.due("ann", "now") == at(6)
    assert ann.due("ann", "later") == at(7)


def test_the_time_between_the_end_of_a_window_and_a_new_one_is_a_pause(ann: World) -> None:
    ann.campaign(STEPS, catch_up="shift", publish_until="2026-06-01T12:00:00Z")
    ann.run()
    ann.campaign(STEPS, catch_up="shift", publish_from="2026-06-11T12:00:00Z", when=at(5))
    assert ann.due("ann", "later") == at(12)
    # Another beginning moves them on, and none moves them back.
    ann.campaign(STEPS, catch_up="shift", publish_from="2026-06-21T12:00:00Z", when=at(6))
    assert ann.due("ann", "later") == at(22)
    ann.pause(at(7))
    assert ann.due("ann", "later") == at(2)
    ann.campaign(STEPS, catch_up="shift", when=at(8, "12:00"))
    assert ann.due("ann", "later") == at(9)


def test_what_fell_due_after_the_window_is_skipped_in_the_next(ann: World) -> None:
    ann.campaign(STEPS, catch_up=SKIP, publish_until="2026-06-01T12:00:00Z")
    ann.run()
    ann.campaign(STEPS, catch_up=SKIP, when=at(9))
    ann.run(at(9))
    assert "later skipped" in ann.log()


def test_publishing_after_the_window_does_not_end_the_pause(ann: World) -> None:
    ann.campaign(STEPS, catch_up="shift", publish_until="2026-06-01T12:00:00Z")
    ann.run()
    ann.pause(at(2))
    ann.publish(now=at(3))
    assert ann.due("ann", "later") == at(2)
    ann.campaign(STEPS, catch_up="shift", when=at(11, "12:00"))
    assert ann.due("ann", "later") == at(12)


def test_what_waits_when_a_campaign_stops_itself_moves_when_it_is_published(world: World, moody: Moody) -> None:
    keys = world.crowd(150, segment="everyone")
    moody.moods = dict.fromkeys(keys[:100], Failed("it is broken"))
    world.campaign(
        """
        - step: a
          action: test.moody
          then: [{step: later, action: contact.points, with: {points: 1}, after: 1 day}]
        """,
        catch_up="shift",
    )
    world.run()
    (row,) = world.read("SELECT published FROM campaign")
    assert not row.published
    moody.otherwise, moody.moods = Done(), {}
    before = {(wait.contact, wait.step): wait.due_at for wait in world.waits()}
    assert len(before) == 150
    world.publish(now=START + timedelta(days=4))
    after = {(wait.contact, wait.step): wait.due_at for wait in world.waits()}
    assert after == {place: due and due + timedelta(days=4) for place, due in before.items()}


def test_a_deleted_campaign_that_comes_back_was_paused(ann: World) -> None:
    ann.campaign(STEPS, catch_up="shift")
    ann.run()
    with ann.engine.begin() as conn:
        campaigns.delete(conn, ann.found(conn, "c").id, now=at(1, "12:00"))
    ann.campaign(STEPS, catch_up="shift", when=at(4, "12:00"))
    assert ann.due("ann", "later") == at(5)


def test_many_waits_move_in_several_statements_each_once(world: World) -> None:
    world.crowd(10, segment="everyone")
    world.campaign(STEPS, catch_up="shift")
    world.run()
    with world.engine.begin() as conn:
        waits.shift(conn, world.found(conn, "c").id, Shift(START, at(2)), limit=3)
    assert {wait.due_at for wait in world.waits() if wait.step == "later"} == {at(3)}
    assert {wait.due_at for wait in world.waits() if wait.step == "hit"} == {at(4)}
