"""Who joins, comes back and leaves: every rule, by every way in."""

from __future__ import annotations

from typing import Any

import pytest

from parcours.db.tables import campaigns
from parcours.domain.campaign import Campaign
from parcours.domain.contacts.membership import Arrival
from parcours.workers import membership
from tests.workers.worlds import START, World, at

ONE_STEP = "- {step: point, action: contact.points, with: {points: 1}}"
SLOW = "- {step: later, action: contact.points, with: {points: 1}, after: 10 days}"


@pytest.fixture
def ann(world: World) -> World:
    """A world with Ann, who is in no segment."""
    world.contacts("ann")
    return world


# The table: what a membership was, how the contact comes, and what that makes of it.

STATES = ("none", "active", "exited", "exited by action", "removed by hand")
CELLS = [
    # state, arrival, then what comes of it with reentry never, after_exit and always.
    ("none", "segment", "in 1", "in 1", "in 1"),
    ("none", "form", "in 1", "in 1", "in 1"),
    ("none", "action", "in 1", "in 1", "in 1"),
    ("none", "manual", "in 1", "in 1", "in 1"),
    ("active", "segment", "in 1", "in 1", "in 1"),
    ("active", "form", "in 1", "in 1", "in 2"),
    ("active", "action", "in 1", "in 1", "in 2"),
    ("active", "manual", "in 1", "in 1", "in 2"),
    ("exited", "segment", "segment 1", "in 2", "in 2"),
    ("exited", "form", "segment 1", "in 2", "in 2"),
    ("exited", "action", "in 2", "in 2", "in 2"),
    ("exited", "manual", "in 2", "in 2", "in 2"),
    ("exited by action", "segment", "action 1", "in 2", "in 2"),
    ("exited by action", "form", "action 1", "in 2", "in 2"),
    ("exited by action", "action", "in 2", "in 2", "in 2"),
    ("exited by action", "manual", "in 2", "in 2", "in 2"),
    ("removed by hand", "segment", "manual 1", "manual 1", "manual 1"),
    ("removed by hand", "form", "manual 1", "manual 1", "manual 1"),
    ("removed by hand", "action", "manual 1", "manual 1", "manual 1"),
    ("removed by hand", "manual", "in 2", "in 2", "in 2"),
]


@pytest.mark.parametrize(("state", "arrival", "never", "after_exit", "always"), CELLS)
def test_every_cell_of_the_table_by_the_real_ways_in(
    world: World, *, state: str, arrival: str, never: str, after_exit: str, always: str
) -> None:
    expected = {"never": never, "after_exit": after_exit, "always": always}
    world.contacts(*expected)
    for reentry in expected:
        segment = f"s-{reentry}"
        world.campaign(SLOW, key=reentry, segments=[segment], forms=[f"f-{reentry}"], reentry=reentry)
        for other, what in (("in", "add"), ("out", "remove")):
            world.campaign(
                f"- {{step: change, action: campaign.change, with: {{{what}: [{reentry}]}}}}",
                key=f"{other}-{reentry}",
                segments=[f"{other}-{reentry}"],
            )
        become(world, state, reentry)
    for reentry in expected:
        come(world, arrival, reentry)
    found = {reentry: world.members(campaign=reentry)[reentry] for reentry in expected}
    assert found == expected
    for reentry, then in expected.items():
        # Whoever is in stands at the root in that rotation, and nobody else stands anywhere.
        waits = [(wait.step, wait.rotation) for wait in world.waits(campaign=reentry)]
        assert waits == ([("later", int(then[-1]))] if then.startswith("in") else [])


def become(world: World, state: str, reentry: str) -> None:
    segment = f"s-{reentry}"
    if state == "none":
        return
    world.enter(segment, reentry)
    world.update(campaigns=[reentry])
    assert world.members(campaign=reentry) == {reentry: "in 1"}
    match state:
        case "exited":
            world.leave(segment, reentry)
            world.update(campaigns=[reentry])
        case "exited by action":
            world.enter(f"out-{reentry}", reentry)
            world.run()
            world.leave(segment, reentry)
        case "removed by hand":
            world.remove(reentry, campaign=reentry)
            world.leave(segment, reentry)


def come(world: World, arrival: str, reentry: str) -> None:
    match arrival:
        case "segment":
            world.enter(f"s-{reentry}", reentry)
            world.update(campaigns=[reentry])
        case "form":
            world.submit(f"f-{reentry}", reentry)
        case "action":
            world.enter(f"in-{reentry}", reentry)
            world.update(campaigns=[f"in-{reentry}"])
            world.trigger(campaigns=[f"in-{reentry}"])
        case "manual":
            world.add(reentry, campaign=reentry)


def test_a_member_who_came_by_hand_or_form_is_not_removed_by_the_update(world: World) -> None:
    world.contacts("hand", "form", "segment")
    world.campaign(SLOW, forms=["signup"])
    world.enter("everyone", "hand", "form", "segment")
    world.add("hand")
    world.submit("signup", "form")
    world.update()
    world.leave("everyone", "hand", "form", "segment")
    assert world.update(at(2)) == {"removed": 1}
    assert world.members() == {"hand": "in 1", "form": "in 1", "segment": "segment 1"}


def test_a_standalone_form_lets_nobody_in(ann: World) -> None:
    ann.form("survey", standalone=True)
    ann.campaign(ONE_STEP, forms=["signup"])
    ann.submit("survey", "ann")
    assert ann.members() == {}


def test_a_person_brings_back_whom_a_person_removed_and_the_update_leaves_her_in(ann: World) -> None:
    ann.enter("everyone", "ann")
    ann.campaign(SLOW)
    ann.update()
    ann.remove("ann", at(2))
    ann.update(at(3))
    ann.add("ann", at(4))
    ann.leave("everyone", "ann")
    ann.update(at(5))
    assert ann.members() == {"ann": "in 2"}


def test_a_removal_by_hand_makes_an_exit_final(ann: World) -> None:
    ann.enter("everyone", "ann")
    ann.campaign(SLOW, reentry="always")
    ann.update()
    ann.leave("everyone", "ann")
    ann.update(at(2))
    assert ann.members() == {"ann": "segment 1"}
    ann.remove("ann", at(3))
    ann.enter("everyone", "ann")
    ann.update(at(4))
    assert ann.members() == {"ann": "manual 1"}


def test_who_exited_by_an_action_and_stayed_in_the_segment_comes_back_only_after_really_leaving_it(
    ann: World,
) -> None:
    ann.enter("everyone", "ann")
    ann.campaign(
        """
        - {step: point, action: contact.points, with: {points: 1}}
        - {step: out, action: campaign.change, with: {remove: [this]}}
        """,
        reentry="always",
    )
    ann.run()
    for day in range(2, 5):
        ann.run(at(day))
    assert ann.members() == {"ann": "action 1"}
    ann.leave("everyone", "ann", when=at(5))
    ann.run(at(5))
    assert ann.members() == {"ann": "action 1"}
    ann.enter("everyone", "ann", when=at(6))
    ann.run(at(6))
    assert ann.members() == {"ann": "action 2"}
    assert ann.points("ann") == [2]


def test_two_segments_hold_a_member_until_the_last_is_left(ann: World) -> None:
    ann.enter("one", "ann")
    ann.enter("two", "ann")
    ann.campaign(SLOW, segments=["one", "two"])
    assert ann.update() == {"added": 1}
    ann.leave("one", "ann")
    assert ann.update(at(2)) == {}
    ann.leave("two", "ann")
    assert ann.update(at(3)) == {"removed": 1}


def test_a_segment_switched_off_lets_nobody_in_and_nobody_out(world: World) -> None:
    world.contacts("in", segment="everyone")
    world.campaign(SLOW)
    world.update()
    world.segment("everyone", published=False)
    world.contacts("new", segment="everyone")
    assert world.update(at(2)) == {}
    assert world.members() == {"in": "in 1"}
    world.segment("everyone")
    assert world.update(at(3)) == {"added": 1}


def test_exit_on_leave_false_keeps_who_left_the_segment(ann: World) -> None:
    ann.enter("everyone", "ann")
    ann.campaign(SLOW, exit_on_leave=False)
    ann.update()
    ann.leave("everyone", "ann")
    assert ann.update(at(2)) == {}
    ann.run(at(11))
    assert ann.log() == ["later done"]


def test_the_cooldown_counts_from_the_departure_and_not_for_a_person(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.campaign(SLOW, reentry="after_exit", cooldown="5 days")
    world.update()
    world.leave("everyone", "ann", "bob", when=at(8))
    world.update(at(8))
    world.enter("everyone", "ann", "bob", when=at(9))
    assert world.update(at(13, "08:59")) == {}
    world.add("bob", at(13, "08:59"))
    assert world.update(at(13)) == {"restarted": 1}
    assert world.members() == {"ann": "in 2", "bob": "in 2"}


def test_the_cooldown_of_a_restart_counts_from_the_last_start(ann: World) -> None:
    ann.campaign(SLOW, forms=["signup"], reentry="always", cooldown="1 day")
    for day, clock in ((1, "09:00"), (2, "08:59"), (2, "09:00"), (3, "08:59")):
        ann.submit("signup", "ann", at(day, clock))
    assert ann.members() == {"ann": "in 2"}


def test_a_cooldown_in_days_follows_the_contacts_clock(world: World) -> None:
    # The clocks go back on 25 October 2026, so that day has 25 hours in Paris.
    world.contacts("paris", timezone="Europe/Paris")
    world.contacts("nowhere")
    world.campaign(SLOW, forms=["signup"], reentry="always", cooldown="1 day")
    before, after = at(146, "18:00"), at(147, "18:30")
    for key in ("paris", "nowhere"):
        world.submit("signup", key, before)
        world.submit("signup", key, after)
    assert world.members() == {"paris": "in 1", "nowhere": "in 2"}


def test_leaving_cancels_the_waits_of_every_rotation(ann: World) -> None:
    ann.enter("everyone", "ann")
    ann.campaign(
        """
        - {step: jump, action: campaign.jump, with: {to: target}, after: 1 day}
        - {step: slow, action: contact.points, with: {points: 1}, after: 20 days}
        - step: never
          condition: contact.tags
          with: {tags: [none]}
          after: 30 days
          yes:
            - {step: target, action: contact.points, with: {points: 1}, after: 40 days}
        """,
        reentry="always",
    )
    ann.run()
    ann.run(at(2))
    assert ann.members() == {"ann": "in 2"}
    assert ann.standing("ann") == ["slow", "never", "target"]
    ann.leave("everyone", "ann")
    ann.update(at(3))
    assert ann.waits() == []
    assert ann.log() == ["jump done", "slow cancelled", "never cancelled", "target cancelled"]
    ann.run(at(60))
    assert ann.points("ann") == [0]


def test_a_restart_cancels_what_was_still_waiting(ann: World) -> None:
    ann.campaign(SLOW, forms=["signup"], reentry="always")
    ann.submit("signup", "ann", at(1))
    ann.submit("signup", "ann", at(6))
    assert ann.log() == ["later cancelled"]
    ann.trigger(at(11))
    assert ann.points("ann") == [0]
    ann.trigger(at(16))
    assert [(row.step, row.result, row.rotation) for row in ann.passed()] == [
        ("later", "cancelled", 1),
        ("later", "done", 2),
    ]


def test_the_update_says_what_it_did_and_then_finds_nothing(world: World) -> None:
    world.crowd(30, segment="everyone")
    world.campaign(SLOW, reentry="after_exit")
    assert world.update() == {"added": 30}
    assert world.update() == {}
    world.leave("everyone", *(f"c{n}" for n in range(1, 11)))
    assert world.update(at(2)) == {"removed": 10}
    assert world.update(at(2)) == {}
    world.enter("everyone", *(f"c{n}" for n in range(1, 6)))
    assert world.update(at(3)) == {"restarted": 5}
    assert world.update(at(3)) == {}


def test_an_update_ends_with_a_member_and_one_removed_by_hand_in_the_segment(world: World) -> None:
    world.contacts("in", "out", segment="everyone")
    world.campaign(SLOW, reentry="always")
    world.update()
    world.remove("out", at(2))
    assert world.update(at(3)) == {}
    assert world.members() == {"in": "in 1", "out": "manual 1"}


def test_who_enters_two_campaigns_through_one_segment_is_in_both_and_each_by_itself(ann: World) -> None:
    ann.enter("everyone", "ann")
    ann.campaign(SLOW, key="a")
    ann.campaign(SLOW, key="b")
    assert ann.update() == {"added": 2}
    ann.remove("ann", campaign="a")
    assert (ann.members(campaign="a"), ann.members(campaign="b")) == ({"ann": "manual 1"}, {"ann": "in 1"})
    assert ann.waits(campaign="b") != []


def test_a_contact_that_is_gone_is_let_in_nowhere(world: World) -> None:
    world.campaign(SLOW)
    with world.engine.begin() as conn:
        tree: Campaign = campaigns.enter(conn, world.found(conn).id, world.zone)[0]
        found: Any = membership.arrive(conn, tree, [10**9], Arrival.MANUAL, now=START, zone=world.zone)
    assert found == {}
    assert world.members() == {}
