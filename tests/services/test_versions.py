"""A campaign that is changed while contacts are in it."""

from __future__ import annotations

import pytest

from parcours.db.reads import overview
from parcours.db.tables import campaigns
from parcours.services import apply_campaign
from tests.workers.worlds import World, at

START_TEXT = "2026-06-01T09:00:00Z"
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
    assert "  - step drop; 5 contacts wait there; their waits are cancelled" in plan.lines()
    assert world.tally() == {"drop cancelled": 5}
    world.trigger(at(2))
    assert world.tally() == {"drop cancelled": 5, "keep done": 5}
    reason = "the step was removed from the campaign"
    assert world.passed()[0].detail == {"reason": reason, "kind": "action", "since": START_TEXT}


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


def test_reschedule_after_an_apply_without_it_moves_those_who_came_before(ann: World) -> None:
    ann.campaign(f"- {{step: a, {POINT}, after: 3 days}}")
    ann.run()
    longer = f"- {{step: a, {POINT}, after: 5 days}}"
    ann.campaign(longer, when=at(2))
    assert ann.due("ann", "a") == at(4)
    # The same file again, as somebody does who thinks of it afterwards.
    plan = ann.campaign(longer, when=at(2, "12:00"))
    assert "whose timing changed before; --reschedule moves it" in "\n".join(plan.lines())
    plan = ann.campaign(longer, when=at(2, "13:00"), reschedule=True)
    assert ann.due("ann", "a") == at(6)
    assert ann.audit()[-1] == "test: rescheduled"
    assert ann.campaign(longer, when=at(2, "14:00"), reschedule=True).lines() == ["c: no changes"]


def test_who_came_since_the_timing_changed_is_not_among_those_who_are_rescheduled(ann: World) -> None:
    ann.campaign(f"- {{step: a, {POINT}, after: 3 days}}")
    ann.run()
    longer = f"- {{step: a, {POINT}, after: 5 days}}"
    ann.campaign(longer, when=at(2))
    ann.contacts("bob", segment="everyone")
    ann.run(at(3))
    plan = ann.campaign(longer, when=at(3, "12:00"), reschedule=True, description="Another version.")
    assert plan.retimed == {"a": 1}
    assert (ann.due("ann", "a"), ann.due("bob", "a")) == (at(6), at(8))


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


def test_who_waits_at_a_removed_step_goes_on_where_the_file_says(world: World) -> None:
    world.crowd(5, segment="everyone")
    world.contacts("paris", segment="everyone", timezone="Europe/Paris")
    world.campaign(f"[{{step: keep, {POINT}, after: 9 days}}, {{step: old, {POINT}, after: 1 day}}]")
    world.update()
    plan = world.campaign(
        f"""
        - {{step: keep, {POINT}, after: 9 days}}
        - {{step: new, {POINT}, after: 2 days, hour: "20:00"}}
        """,
        redirect={"old": "new"},
        when=at(1, "12:00"),
    )
    assert (plan.removed, plan.redirected, plan.cancels) == ({"old": 6}, {"old": "new"}, 0)
    assert "  - step old; 6 contacts wait there and go to new" in plan.lines()
    # From when they joined, by the timing of the step that they wait at now.
    assert (world.due("c1", "new"), world.due("paris", "new")) == (at(3, "20:00"), at(3, "18:00"))
    assert world.tally() == {"old cancelled": 6}
    reason = "the step was removed from the campaign"
    assert world.passed()[0].detail == {"reason": reason, "kind": "action", "redirected_to": "new", "since": START_TEXT}
    world.trigger(at(10))
    assert world.tally() == {"old cancelled": 6, "keep done": 6, "new done": 6}


def test_who_is_sent_on_to_a_decision_has_its_deadline_and_the_time_already_waited_counts(ann: World) -> None:
    ann.campaign(f"- {{step: old, {POINT}, after: 9 days}}")
    ann.update()
    hit = f"- {{step: hit, decision: page.hit, yes: [{{step: y, {POINT}}}], no: [{{step: n, {POINT}, after: 5 days}}]}}"
    ann.campaign(hit, redirect={"old": "hit"}, when=at(3))
    assert [(wait.step, wait.reason, wait.due_at) for wait in ann.waits()] == [("hit", "decision", at(6))]
    ann.happens("ann", "page.hit", at(4), url="u")
    assert ann.log() == ["old cancelled", "hit yes", "y done"]


def test_what_is_overdue_at_the_new_step_runs_with_the_next_sweep(ann: World) -> None:
    ann.campaign(f"- {{step: old, {POINT}, after: 9 days}}")
    ann.update()
    ann.campaign(f"- {{step: new, {POINT}, after: 1 day}}", redirect={"old": "new"}, when=at(5))
    ann.trigger(at(5))
    assert ann.log() == ["old cancelled", "new done"]


def test_who_waits_at_the_new_step_already_keeps_that_wait(ann: World) -> None:
    new = f"{{step: new, {POINT}, after: 9 days, then: [{{step: below, {POINT}}}]}}"
    ann.campaign(f"[{new}, {{step: old, {POINT}, after: 1 day}}, {{step: older, {POINT}, after: 2 days}}]")
    ann.update()
    ann.write("UPDATE wait SET anchor_at = anchor_at - interval '1 day' WHERE step_id = :id", id=ann.step_id("old"))
    ann.campaign(f"- {new}", redirect={"old": "new", "older": "new"}, when=at(1, "12:00"))
    assert [(wait.step, wait.due_at, wait.rotation) for wait in ann.waits()] == [("new", at(10), 1)]
    assert ann.log() == ["old cancelled", "older cancelled"]
    ann.trigger(at(10))
    assert ann.log()[2:] == ["new done", "below done"]


def test_who_passed_the_new_step_before_passes_it_again_in_a_new_rotation(ann: World) -> None:
    ann.email("hello")
    send = "step: send, action: email.send, with: {email: hello, email_type: transactional}"
    ann.campaign(f"- {{{send}, then: [{{step: old, {POINT}, after: 1 day}}, {{step: other, {POINT}, after: 9 days}}]}}")
    ann.run()
    ann.campaign(
        f"- {{{send}, then: [{{step: other, {POINT}, after: 9 days}}]}}", redirect={"old": "send"}, when=at(1, "12:00")
    )
    assert {(wait.step, wait.rotation) for wait in ann.waits()} == {("send", 2), ("other", 2)}
    ann.trigger(at(10))
    assert ann.log() == ["send done", "old cancelled", "send done", "other done"]
    assert (ann.members(), ann.outbox()) == ({"ann": "in 2"}, ["ann hello", "ann hello"])


def test_a_step_that_becomes_another_kind_may_lead_to_itself(ann: World) -> None:
    ann.campaign(f"[{{step: a, {POINT}, after: 1 day}}, {{step: b, {POINT}, after: 1 day}}]")
    ann.update()
    tagged = "condition: contact.tags, with: {tags: [x]}, after: 2 days"
    plan = ann.campaign(
        f"[{{step: a, {tagged}}}, {{step: b, {tagged}}}]", redirect={"a": "a", "b": "a"}, when=at(1, "12:00")
    )
    assert plan.redirected == {"a": "a", "b": "a"}
    assert [(wait.step, wait.due_at) for wait in ann.waits()] == [("a", at(3))]
    ann.trigger(at(3))
    assert ann.log() == ["a cancelled", "b cancelled", "a no"]


def test_a_retry_at_a_removed_step_begins_anew_at_the_new_one(ann: World) -> None:
    ann.campaign(f"- {{step: old, {POINT}}}")
    ann.update()
    ann.write("UPDATE wait SET reason = 'retry', attempt = 3, due_at = :due", due=at(5))
    ann.campaign(f"- {{step: new, {POINT}, after: 1 day}}", redirect={"old": "new"}, when=at(1, "12:00"))
    assert ann.read("SELECT attempt FROM wait")[0].attempt == 0
    assert [(wait.step, wait.reason, wait.due_at) for wait in ann.waits()] == [("new", "delay", at(2))]


def test_many_are_sent_on_in_bounded_statements(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply_campaign, "AT_ONCE", 3)
    world.crowd(10, segment="everyone")
    world.campaign(f"[{{step: a, {POINT}, after: 1 day}}, {{step: b, {POINT}, after: 1 day}}]")
    world.update()
    tagged = "condition: contact.tags, with: {tags: [x]}, after: 2 days"
    world.campaign(f"- {{step: a, {tagged}}}", redirect={"a": "a", "b": "a"}, when=at(1, "12:00"))
    assert sorted(wait.contact for wait in world.waits()) == sorted(f"c{n}" for n in range(1, 11))
    assert world.tally() == {"a cancelled": 10, "b cancelled": 10}


def test_redirect_is_no_part_of_the_version_and_the_file_may_be_applied_again(ann: World) -> None:
    ann.campaign(f"- {{step: old, {POINT}, after: 1 day}}")
    ann.update()
    new = f"- {{step: new, {POINT}, after: 1 day}}"
    ann.campaign(new, redirect={"old": "new"}, when=at(1, "12:00"))
    (row,) = ann.read("SELECT definition FROM campaign_version ORDER BY version DESC LIMIT 1")
    assert "redirect" not in row.definition
    assert ann.campaign(new, redirect={"old": "new"}).unchanged
    assert ann.campaign(f"{new}\n- {{step: other, {POINT}}}", redirect={"old": "other"}).redirected == {}


def test_a_step_that_moves_keeps_its_waits(ann: World) -> None:
    below = f"{{step: b, {POINT}, after: 1 day, then: [{{step: c, {POINT}}}]}}"
    ann.campaign(f"[{{step: a, {POINT}, after: 9 days}}, {below}]")
    ann.update()
    plan = ann.campaign(f"- {{step: a, {POINT}, after: 9 days, then: [{below}]}}", when=at(1, "12:00"))
    assert plan.removed == {}
    assert ann.standing("ann") == ["b", "a"]
    ann.trigger(at(2))
    assert ann.log() == ["b done", "c done"]
    # And a wait below a parent survives the step's becoming a root.
    ann.campaign(f"[{{step: c, {POINT}, after: 3 days}}, {{step: a, {POINT}, after: 9 days}}]", when=at(3))
    assert ann.standing("ann") == ["a"]


MOVES = {
    # The step was passed where it stood before.
    "passed": (f"- {{step: b, {POINT}, then: [{{step: c, {POINT}}}]}}", False),
    # It is waited for where it stood before, and would be due at once where it stands now.
    "waited for": (f"- {{step: b, {POINT}, after: 12 days, then: [{{step: c, {POINT}}}]}}", True),
}


@pytest.mark.parametrize("move", MOVES)
def test_nobody_passes_a_step_twice_because_it_moved(ann: World, move: str) -> None:
    step, waits = MOVES[move]
    ann.campaign(f"- {{step: a, {POINT}, after: 9 days}}\n{step}")
    ann.run()
    moved = f"{{step: b, {POINT}, then: [{{step: c, {POINT}}}, {{step: d, {POINT}}}]}}"
    plan = ann.campaign(f"- {{step: a, {POINT}, after: 9 days, then: [{moved}]}}", when=at(2))
    assert plan.moved == ["b", "c"]
    moves = "step b moves with 1 step below it"
    assert f"  > {moves}: waiting contacts stay, and no contact runs a step twice in one rotation" in plan.lines()
    ann.contacts("ben", segment="everyone")
    ann.run(at(2))
    ann.trigger(at(10))
    assert ann.log("ann") == (["a done"] if waits else ["b done", "c done", "a done"])
    ann.trigger(at(20))
    assert sorted(ann.log("ann")) == ["a done", "b done", "c done"] + ["d done"] * waits
    # For new members it is a step as any other.
    assert ann.log("ben") == ["a done", "b done", "c done", "d done"]


def test_a_member_who_is_to_begin_at_a_step_that_moved_passes_it_once(ann: World) -> None:
    ann.campaign(f"[{{step: a, {POINT}}}, {{step: b, {POINT}}}]")
    ann.update()
    ann.campaign(f"- {{step: a, {POINT}, then: [{{step: b, {POINT}}}]}}", when=at(1, "10:00"))
    ann.trigger(at(2))
    assert sorted(ann.log()) == ["a done", "b done"]


def test_a_step_that_comes_back_elsewhere_and_one_of_another_kind_are_passed_once(ann: World) -> None:
    a, tagged = f"step: a, {POINT}, after: 9 days", "condition: contact.tags, with: {tags: [x]}"
    ann.campaign(f"[{{{a}}}, {{step: b, {POINT}}}, {{step: k, {POINT}, after: 8 days}}]")
    ann.run()
    ann.campaign(f"[{{{a}}}, {{step: k, {tagged}}}]", when=at(2))
    ann.campaign(f"- {{{a}, then: [{{step: b, {POINT}}}, {{step: k, {tagged}}}]}}", when=at(3))
    ann.trigger(at(20))
    assert ann.log() == ["b done", "k cancelled", "a done"]


def test_backfill_leaves_out_who_passed_the_step_where_it_stood_before(ann: World) -> None:
    ann.campaign(f"- {{step: a, {POINT}, then: [{{step: b, {POINT}}}]}}")
    ann.run()
    ann.campaign(f"[{{step: a, {POINT}}}, {{step: b, {POINT}}}]", when=at(2), backfill=True)
    ann.run(at(2))
    assert ann.points() == [2]


def test_a_new_rotation_passes_a_step_that_moved_again(ann: World) -> None:
    ann.campaign(f"[{{step: a, {POINT}}}, {{step: b, {POINT}}}]", reentry="always")
    ann.run()
    ann.campaign(f"- {{step: a, {POINT}, then: [{{step: b, {POINT}}}]}}", reentry="always", when=at(2))
    ann.add("ann", at(3))
    ann.trigger(at(3))
    assert ann.points() == [4]


def test_history_of_a_removed_step_stays_in_the_log_and_the_figures(ann: World) -> None:
    ann.campaign(f"[{{step: keep, {POINT}}}, {{step: drop, {POINT}}}, {{step: unseen, {POINT}, after: 1 day}}]")
    ann.trigger()
    ann.run()
    ann.campaign(f"- {{step: keep, {POINT}}}")
    assert ann.log() == ["keep done", "drop done", "unseen cancelled"]
    with ann.engine.connect() as conn:
        found = ann.found(conn)
        figures = overview.of(conn, campaigns.load(conn, found.id, found.version, ann.zone))
    assert [each.step for each in figures.steps] == ["keep"]
    assert [(each.step, each.reached, each.results["done"]) for each in figures.removed] == [
        ("drop", 1, 1),
        ("unseen", 1, 0),
    ]


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
    assert (plan.unchanged, plan.lines()) == (True, ["c: no changes"])
    assert ann.due("ann", "a") == at(2)
