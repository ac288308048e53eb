"""A campaign that is changed while contacts are in it."""

from __future__ import annotations

import pytest

from tests.workers.worlds import World, at

POINT = "action: contact.points, with: {points: 1}"


@pytest.fixture
def ann(world: World) -> World:
    """A world with Ann in the segment."""
    world.contacts("ann", segment="everyone")
    return world


def test_removing_a_step_cancels_who_waits_there_and_says_how_many(world: World) -> None:
    world.crowd(5, segment="everyone")
    world.campaign(f"[{{step: keep, {POINT}, after: 1 day}}, {{step: drop, {POINT}, after: 1 day}}]")
    world.update()
    plan = world.campaign(f"- {{step: keep, {POINT}, after: 1 day}}", when=at(1, "12:00"))
    assert plan.removed == {"drop": 5}
    assert "  - step drop; 5 contacts wait there and are cancelled" in plan.lines()
    assert world.tally() == {"drop cancelled": 5}
    world.trigger(at(2))
    assert world.tally() == {"drop cancelled": 5, "keep done": 5}
    assert world.passed()[0].detail == {"reason": "the step was removed from the campaign"}


def test_a_step_that_comes_back_under_its_key_keeps_its_history(ann: World) -> None:
    both = f"[{{step: keep, {POINT}}}, {{step: drop, {POINT}}}]"
    ann.campaign(both)
    ann.run()
    step_id = ann.step_id("drop")
    ann.campaign(f"- {{step: keep, {POINT}}}")
    assert ann.log() == ["keep done", "drop done"]
    ann.campaign(both)
    assert ann.step_id("drop") == step_id
    ann.run(at(2))
    assert ann.points() == [2]


@pytest.mark.parametrize(("delay", "due"), [("1 day", at(2)), ("5 days", at(6))])
def test_reschedule_moves_waits_both_ways_and_the_default_keeps_them(ann: World, delay: str, due: object) -> None:
    ann.campaign(f"- {{step: a, {POINT}, after: 3 days}}")
    ann.update()
    changed = f"- {{step: a, {POINT}, after: {delay}}}"
    plan = ann.campaign(changed, when=at(1, "12:00"))
    assert (plan.retimed, plan.changed) == ({"a": 1}, ["a"])
    assert ann.due("ann", "a") == at(4)
    ann.campaign(f"- {{step: a, {POINT}, after: 3 days}}")
    ann.campaign(changed, when=at(1, "13:00"), reschedule=True)
    assert ann.due("ann", "a") == due


def test_reschedule_makes_an_overdue_wait_run_with_the_next_sweep(ann: World) -> None:
    ann.campaign(f"- {{step: a, {POINT}, after: 10 days}}")
    ann.update()
    ann.campaign(f"- {{step: a, {POINT}, after: 1 day}}", when=at(4), reschedule=True)
    ann.trigger(at(4))
    assert ann.log() == ["a done"]


def test_reschedule_moves_the_deadline_of_a_decision_with_its_no_branch(ann: World) -> None:
    def hit(delay: str) -> str:
        return f"- {{step: hit, decision: page.hit, no: [{{step: a, {POINT}, after: {delay}}}]}}"

    ann.campaign(hit("1 day"))
    ann.update()
    ann.campaign(hit("3 days"), when=at(1, "12:00"), reschedule=True)
    assert ann.due("ann", "hit") == at(4)
    ann.trigger(at(3))
    assert ann.log() == []


def test_reschedule_leaves_retries_alone(ann: World) -> None:
    ann.campaign(f"- {{step: a, {POINT}, after: 1 day}}")
    ann.update()
    ann.write("UPDATE wait SET reason = 'retry', due_at = :due", due=at(3))
    ann.campaign(f"- {{step: a, {POINT}, after: 9 days}}", when=at(2), reschedule=True)
    assert ann.due("ann", "a") == at(3)


def test_a_root_that_is_added_later_starts_for_new_members_only(world: World) -> None:
    world.contacts("old", segment="everyone")
    world.campaign(f"- {{step: a, {POINT}}}")
    world.run()
    plan = world.campaign(f"[{{step: a, {POINT}}}, {{step: b, {POINT}}}]", when=at(2))
    assert (plan.new_roots, plan.members) == (["b"], 1)
    world.contacts("new", segment="everyone")
    world.run(at(2))
    assert world.points("old", "new") == [1, 2]


def test_backfill_starts_it_for_those_who_are_in_too(world: World) -> None:
    world.contacts("ann", "left", segment="everyone")
    world.contacts("paris", timezone="Europe/Paris", segment="everyone")
    world.campaign(f"- {{step: a, {POINT}}}")
    world.run()
    world.leave("everyone", "left")
    world.update()
    world.campaign(
        f"""
        - {{step: a, {POINT}}}
        - {{step: b, {POINT}}}
        - {{step: c, {POINT}, after: 1 day, hour: "20:00"}}
        - {{step: d, decision: page.hit}}
        """,
        when=at(2),
        backfill=True,
    )
    assert world.due("ann", "c") == at(3, "20:00")
    assert world.due("paris", "c") == at(3, "18:00")
    assert world.due("ann", "d") is None
    world.run(at(2))
    assert world.points("ann", "left", "paris") == [2, 1, 2]


def test_a_decision_added_below_a_step_is_only_for_those_who_pass_the_step_afterwards(world: World) -> None:
    world.contacts("old", segment="everyone")
    world.campaign(f"- {{step: a, {POINT}}}")
    world.run()
    world.campaign(
        f"""
        - step: a
          action: contact.points
          with: {{points: 1}}
          then: [{{step: hit, decision: page.hit, no: [{{step: b, {POINT}, after: 1 day}}]}}]
        """
    )
    world.contacts("new", segment="everyone")
    world.run(at(20))
    world.run(at(21))
    assert (world.log("old"), world.log("new")) == (["a done"], ["a done", "hit no", "b done"])


def test_who_waits_goes_on_in_the_new_version(ann: World) -> None:
    ann.campaign(f"- {{step: a, {POINT}, after: 1 day}}")
    ann.update()
    seven = "action: contact.points, with: {points: 7}"
    ann.campaign(f"- {{step: a, {seven}, after: 1 day, then: [{{step: b, {POINT}}}]}}")
    ann.trigger(at(2))
    assert (ann.points(), ann.log()) == ([8], ["a done", "b done"])


def test_a_step_that_becomes_another_kind_cancels_who_waits_there(ann: World) -> None:
    ann.campaign(f"- {{step: a, {POINT}, after: 1 day}}")
    ann.update()
    plan = ann.campaign("- {step: a, condition: contact.tags, with: {tags: [x]}, after: 1 day}")
    assert plan.removed == {"a": 1}
    ann.trigger(at(2))
    assert ann.log() == ["a cancelled"]


def test_a_branch_that_disappears_is_not_followed(ann: World) -> None:
    ann.campaign(f"- {{step: hit, decision: page.hit, no: [{{step: b, {POINT}, after: 1 day}}]}}")
    ann.update()
    ann.campaign("- {step: hit, decision: page.hit}")
    ann.run(at(5))
    assert ann.points() == [0]
    assert ann.waits() == []


def test_a_segment_that_is_no_source_any_more_lets_its_members_go(world: World) -> None:
    world.contacts("one", segment="first")
    world.contacts("two", segment="second")
    steps = f"- {{step: a, {POINT}, after: 9 days}}"
    world.campaign(steps, segments=["first", "second"])
    world.update()
    world.campaign(steps, segments=["second"])
    assert world.update(at(2)) == {"removed": 1}
    assert world.members() == {"one": "segment 1", "two": "in 1"}


def test_the_last_segment_that_is_no_source_any_more_lets_its_members_go(world: World) -> None:
    world.contacts("one", segment="first")
    steps = f"- {{step: a, {POINT}, after: 9 days}}"
    world.campaign(steps, segments=["first"], forms=["signup"])
    world.update()
    world.campaign(steps, segments=[], forms=["signup"])
    assert world.update(at(2)) == {"removed": 1}


def test_applying_the_same_file_again_changes_nothing(ann: World) -> None:
    steps = f"- {{step: a, {POINT}, after: 1 day}}"
    ann.campaign(steps)
    ann.update()
    plan = ann.campaign(steps, when=at(1, "12:00"))
    assert (plan.unchanged, plan.lines()) == (True, ["c: nothing changes"])
    assert ann.due("ann", "a") == at(2)
