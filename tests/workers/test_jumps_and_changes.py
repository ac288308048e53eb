"""Ways that are not down the tree: jumps, and steps that add to campaigns and remove from them."""

from __future__ import annotations

import pytest

from parcours.producers.files.campaigns import CampaignFileError
from tests.workers.worlds import World, at

POINT = "action: contact.points, with: {points: 1}"
OUT = "{step: out, action: campaign.change, with: {remove: [this]}}"
ROUND = """
    - step: a
      action: contact.points
      with: {points: 1}
      then:
        - step: hit
          decision: page.hit
          yes: [{step: jump, action: campaign.jump, with: {to: a}}]
"""


@pytest.fixture
def ann(world: World) -> World:
    """A world with Ann in the segment."""
    world.contacts("ann", segment="everyone")
    return world


# Jumps.


def test_a_jump_starts_a_rotation_at_its_target_and_not_at_the_roots(ann: World) -> None:
    ann.campaign(
        """
        - {step: root, action: contact.points, with: {points: 10}}
        - {step: jump, action: campaign.jump, with: {to: target}, after: 1 day}
        - step: never
          condition: contact.tags
          with: {tags: [none]}
          yes: [{step: target, action: contact.points, with: {points: 1}}]
        """
    )
    ann.run()
    ann.run(at(2))
    ann.run(at(3))
    assert ann.members() == {"ann": "in 2"}
    assert [(row.step, row.rotation) for row in ann.passed() if row.result == "done"] == [
        ("root", 1),
        ("jump", 1),
        ("target", 2),
    ]
    assert ann.points("ann") == [11]


def test_open_waits_move_with_the_jump_so_that_nothing_is_lost(ann: World) -> None:
    ann.campaign(
        """
        - {step: jump, action: campaign.jump, with: {to: target}, after: 1 day}
        - {step: slow, action: contact.points, with: {points: 1}, after: 5 days}
        - step: hit
          decision: page.hit
          yes: [{step: came, action: contact.points, with: {points: 1}}]
        - step: never
          condition: contact.tags
          with: {tags: [none]}
          yes: [{step: target, action: contact.tags, with: {add: [jumped]}}]
        """
    )
    ann.run()
    ann.trigger(at(2))
    assert [(wait.step, wait.rotation) for wait in ann.waits()] == [("slow", 2), ("hit", 2)]
    ann.happens("ann", "page.hit", at(3))
    ann.trigger(at(6))
    assert [(row.step, row.result) for row in ann.passed() if row.rotation == 2] == [
        ("target", "done"),
        ("hit", "yes"),
        ("came", "done"),
        ("slow", "done"),
    ]


@pytest.mark.parametrize(
    ("timing", "due"),
    [
        ("after: 10 minutes", at(2, "09:10")),
        # Of an hour that is past today, tomorrow's.
        ('hour: "08:00"', at(3, "08:00")),
    ],
)
def test_the_target_of_a_jump_keeps_its_own_timing(ann: World, timing: str, due: object) -> None:
    ann.campaign(
        f"""
        - {{step: jump, action: campaign.jump, with: {{to: target}}, after: 1 day}}
        - step: never
          condition: contact.tags
          with: {{tags: [none]}}
          yes: [{{step: target, {POINT}, {timing}}}]
        """
    )
    ann.run()
    ann.trigger(at(2))
    assert ann.due("ann", "target") == due


def test_a_jump_runs_after_its_siblings(ann: World) -> None:
    ann.campaign(
        """
        - step: root
          action: contact.points
          with: {points: 1}
          then:
            - {step: jump, action: campaign.jump, with: {to: target}}
            - {step: sibling, action: contact.points, with: {points: 1}}
        - step: never
          condition: contact.tags
          with: {tags: [none]}
          yes: [{step: target, action: contact.points, with: {points: 1}}]
        """
    )
    ann.run()
    assert [(row.step, row.rotation) for row in ann.passed() if row.result == "done"] == [
        ("root", 1),
        ("jump", 1),
        ("sibling", 1),
        ("target", 2),
    ]


def test_two_jumps_at_once_are_two_rotations_and_two_passages(ann: World) -> None:
    ann.campaign(
        """
        - {step: one, action: campaign.jump, with: {to: target}, after: 1 day}
        - {step: two, action: campaign.jump, with: {to: target}, after: 1 day}
        - step: never
          condition: contact.tags
          with: {tags: [none]}
          yes: [{step: target, action: contact.points, with: {points: 1}}]
        """
    )
    ann.run()
    ann.trigger(at(2))
    assert ann.members() == {"ann": "in 3"}
    assert ann.points("ann") == [2]


def test_a_contact_walks_a_loop_at_most_a_hundred_times_a_day(ann: World) -> None:
    ann.campaign(ROUND)
    ann.run()
    ann.happens("ann", "page.hit", at(2), times=101)
    assert ann.tally() == {"a done": 101, "hit yes": 101, "jump done": 100, "jump skipped": 1}
    assert ann.members() == {"ann": "in 101"}


def test_the_guard_counts_a_day_back_and_each_contact_by_itself(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parcours.domain.steps.campaign.MOST_PASSES", 2)
    world.contacts("ann", "bob", segment="everyone")
    world.campaign(ROUND)
    world.run()
    world.happens("ann", "page.hit", at(2))
    world.happens("ann", "page.hit", at(2, "10:00"))
    world.happens("bob", "page.hit", at(2, "11:00"))
    # The first pass is more than a day ago, so one more is free.
    world.happens("ann", "page.hit", at(3, "09:30"))
    assert world.tally() == {"a done": 6, "hit yes": 4, "jump done": 4}
    world.happens("ann", "page.hit", at(3, "09:45"))
    assert world.tally()["jump skipped"] == 1


def test_each_pass_of_a_loop_writes_a_message_of_its_own(ann: World) -> None:
    ann.email("hello")
    ann.campaign(
        """
        - step: send
          action: email.send
          with: {email: hello, email_type: transactional}
          then:
            - step: opened
              decision: email.open
              yes: [{step: jump, action: campaign.jump, with: {to: send}}]
        """
    )
    ann.run()
    ann.happens("ann", "email.opened", at(2), times=2, email="hello")
    rows = ann.read("SELECT count(*) AS n, count(DISTINCT key) AS keys FROM message")
    assert tuple(rows[0]) == (3, 3)


def test_a_root_decision_jumps_on_its_no_branch_and_a_second_run_adds_nothing(ann: World) -> None:
    ann.campaign(
        f"""
        - step: hit
          decision: page.hit
          yes: [{{step: target, {POINT}, after: 1 minute}}]
          no: [{{step: jump, action: campaign.jump, with: {{to: target}}, after: 1 minute}}]
        """
    )
    ann.update()
    for _ in range(2):
        ann.run(at(1, "09:01"))
        assert (ann.log(), ann.due("ann", "target")) == (["hit no", "jump done"], at(1, "09:02"))


# Changing campaigns.


def test_roots_that_remove_and_then_give_points_are_one_done(ann: World) -> None:
    ann.campaign(f"[{OUT}, {{step: point, {POINT}}}]")
    ann.run()
    assert ann.log() == ["out done", "point cancelled"]
    assert ann.points("ann") == [0]


def test_roots_that_give_points_and_then_remove_are_two_done(ann: World) -> None:
    ann.campaign(f"[{{step: point, {POINT}}}, {OUT}]")
    ann.run()
    assert ann.log() == ["point done", "out done"]


def test_nothing_below_a_removal_runs_neither_at_once_nor_later(ann: World) -> None:
    ann.campaign(
        f"""
        - step: root
          {POINT.replace(", ", chr(10) + "          ", 1)}
          then:
            - {{step: slow, {POINT}, after: 1 day}}
            - step: out
              action: campaign.change
              with: {{remove: [this]}}
              then: [{{step: now, {POINT}}}, {{step: later, {POINT}, after: 1 day}}]
            - {{step: sibling, {POINT}}}
        """
    )
    ann.run()
    ann.run(at(9))
    assert ann.log() == ["root done", "slow cancelled", "out done"]
    assert ann.waits() == []


def test_removing_from_this_and_adding_to_another_leaves_the_other_as_it_was(ann: World) -> None:
    ann.campaign(f"- {{step: other, {POINT}, after: 10 days}}", key="other", segments=["everyone"])
    ann.campaign("- {step: move, action: campaign.change, with: {add: [other], remove: [this]}}")
    ann.run()
    assert (ann.members(), ann.members(campaign="other")) == ({"ann": "action 1"}, {"ann": "in 1"})
    assert ann.standing("ann", campaign="other") == ["other"]


def test_adding_to_another_campaign_starts_its_roots_and_protects_from_the_update(ann: World) -> None:
    ann.campaign(f"- {{step: other, {POINT}}}", key="other", segments=["elsewhere"])
    ann.campaign("- {step: move, action: campaign.change, with: {add: [other]}}")
    ann.run()
    ann.run(at(2))
    assert ann.members(campaign="other") == {"ann": "in 1"}
    assert ann.log(campaign="other") == ["other done"]


def test_each_campaign_that_is_added_to_decides_by_itself(ann: World) -> None:
    ann.campaign(f"- {{step: a, {POINT}, after: 10 days}}", key="first", segments=["elsewhere"])
    ann.campaign(f"- {{step: a, {POINT}, after: 10 days}}", key="second", segments=["elsewhere"])
    ann.add("ann", campaign="first")
    ann.remove("ann", campaign="first")
    ann.campaign("- {step: move, action: campaign.change, with: {add: [first, second]}}")
    ann.run()
    assert ann.members(campaign="first") == {"ann": "manual 1"}
    assert ann.members(campaign="second") == {"ann": "in 1"}


@pytest.mark.parametrize(("reentry", "rotation"), [("never", 1), ("after_exit", 1), ("always", 2)])
def test_adding_to_this_restarts_only_where_that_is_allowed(ann: World, reentry: str, rotation: int) -> None:
    ann.campaign(
        f"""
        - {{step: point, {POINT}}}
        - {{step: again, action: campaign.change, with: {{add: [this]}}, after: 30 minutes}}
        """,
        reentry=reentry,
    )
    ann.run()
    ann.trigger(at(1, "09:30"))
    ann.trigger(at(1, "09:45"))
    assert ann.members() == {"ann": f"in {rotation}"}
    assert ann.points("ann") == [rotation]
    assert ann.standing("ann") == (["again"] if rotation == 2 else [])


@pytest.mark.parametrize(("after", "allowed"), [(None, False), ("29 minutes", False), ("30 minutes", True)])
def test_a_restart_needs_half_an_hour_of_rest(ann: World, after: str | None, allowed: bool) -> None:
    timing = f", after: {after}" if after else ""
    step = f"- {{step: again, action: campaign.change, with: {{add: [this]}}{timing}}}"
    if allowed:
        ann.campaign(step)
    else:
        with pytest.raises(CampaignFileError, match="in a loop without a pause"):
            ann.campaign(step)


@pytest.mark.parametrize(("after", "allowed"), [(None, False), ("29 minutes", False), ("30 minutes", True)])
def test_a_jump_back_needs_half_an_hour_of_rest_or_a_decision(ann: World, after: str | None, allowed: bool) -> None:
    timing = f", after: {after}" if after else ""
    jump = f"{{step: jump, action: campaign.jump, with: {{to: a}}{timing}}}"
    steps = f"- {{step: a, {POINT}, then: [{jump}]}}"
    if allowed:
        ann.campaign(steps)
    else:
        with pytest.raises(CampaignFileError, match="loop without a pause"):
            ann.campaign(steps)


def test_a_campaign_that_does_not_exist_any_more_stops_nobody(ann: World) -> None:
    ann.campaign("- {step: move, action: campaign.change, with: {add: [gone], remove: [gone]}}")
    ann.run()
    assert ann.log() == ["move done"]


def test_a_step_that_changes_segments_leads_into_another_campaign_at_once(ann: World) -> None:
    ann.segment("second")
    put = "- {step: put, action: contact.segments, with: {add: [second], remove: [everyone]}}"
    ann.campaign(put, key="first")
    ann.campaign(f"- {{step: a, {POINT}}}", key="next", segments=["second"])
    ann.run()
    assert ann.update(at(2)) == {}
    assert ann.members(campaign="next") == {"ann": "in 1"}
    assert ann.members(campaign="first") == {"ann": "segment 1"}


LATER = "{step: p, action: contact.points, with: {points: 1}, after: 3 days}"
BACK = "{step: back, action: campaign.jump, with: {to: a}, after: 1 day}"


@pytest.mark.parametrize("below", [(LATER, BACK), (BACK, LATER)], ids=["delay first", "jump first"])
def test_a_jump_to_a_step_above_one_where_the_contact_still_waits_loses_no_passage(
    ann: World, below: tuple[str, str]
) -> None:
    ann.campaign(f"- {{step: a, action: contact.tags, with: {{add: [x]}}, then: [{', '.join(below)}]}}")
    for day in range(1, 31):
        ann.run(at(day))
    assert ann.tally()["p done"] == ann.points("ann")[0] == 27
    ann.run(at(31))
    assert ann.tally()["p done"] == 28
    assert [wait.step for wait in ann.waits()].count("p") == 3
    ann.check()


def test_passages_that_are_due_at_one_step_together_pass_it_one_after_the_other(ann: World) -> None:
    ann.campaign(f"- {{step: a, action: contact.tags, with: {{add: [x]}}, then: [{LATER}, {BACK}]}}")
    for day in range(1, 5):
        ann.run(at(day, "08:00"))
    ann.write("UPDATE wait SET due_at = :due WHERE step_id = :step", due=at(8), step=ann.step_id("p"))
    before = ann.points("ann")[0]
    waiting = ann.standing("ann").count("p")
    ann.trigger(at(8))
    assert (waiting, ann.points("ann")[0] - before) == (3, 3)
    logged = ann.read("SELECT change, points FROM point_log ORDER BY id DESC LIMIT 3")
    assert [(row.change, row.points) for row in logged] == [(1, 4), (1, 3), (1, 2)]
    ann.check()


def test_a_fact_answers_an_armed_decision_in_each_of_its_passages(ann: World) -> None:
    ann.campaign(
        f"""
        - step: a
          action: contact.tags
          with: {{add: [x]}}
          then:
            - {BACK}
            - {{step: hit, decision: page.hit, yes: [{{step: came, {POINT}}}]}}
        """
    )
    for day in (1, 2, 3):
        ann.run(at(day))
    assert ann.standing("ann").count("hit") == 3
    ann.happens("ann", "page.hit", at(3, "10:00"))
    assert ann.points("ann") == [3]
    assert ann.standing("ann").count("hit") == 0
    ann.check()


def test_the_log_tells_an_outcome_once_where_a_contact_jumped(ann: World) -> None:
    ann.email("hello")
    ann.campaign(
        f"- {{step: a, action: email.send, with: {{email: hello, email_type: transactional}}, then: [{BACK}, {LATER}]}}"
    )
    for day in range(1, 6):
        ann.run(at(day))
    told = [(row.step, row.at) for row in ann.passed() if row.step == "a"]
    assert len(told) == len(set(told)) == 5
    keys = [(row.detail or {})["message"]["key"] for row in ann.passed() if row.step == "a"]
    assert len(set(keys)) == 5
