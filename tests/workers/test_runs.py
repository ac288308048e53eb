"""Events that begin runs: several at once of one contact, each with its own data, its own end and its own history."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import entrants
from parcours.workers import events
from tests.workers.worlds import START, World, at, event

CART = {"type": "cart.updated", "key": "cart_id"}
PAID = {"event": "order.paid", "key": "cart_id"}
REMIND = """
- step: remind
  action: contact.tags
  with: {add: [reminded]}
  after: 1 hour
  then:
    - step: again
      action: contact.tags
      with: {add: [again]}
      after: 1 day
"""


def carts(world: World, steps: str = REMIND, **settings: Any) -> None:
    world.contacts("ann")
    given = {"events": [CART], "exit": [PAID]} | settings
    world.campaign(steps, segments=(), **given)


def runs(world: World, contact: str = "ann") -> dict[str, tuple[int, dict[str, Any], str | None]]:
    """Return the runs of a contact by key: the rotation, the data, and how it ended."""
    rows = world.read(
        "SELECT run.key, rotation, entry, departure::text FROM run JOIN contact ON contact.id = contact_id "
        "WHERE contact.key = :key ORDER BY number",
        key=contact,
    )
    return {row.key: (row.rotation, row.entry, row.departure) for row in rows}


def updated(cart: Any, when: Any = START, who: str = "ann", **more: Any) -> Any:
    return event("cart.updated", who, when, cart_id=cart, **more)


def test_two_carts_are_two_runs_beside_each_other(world: World) -> None:
    carts(world)
    world.tell(updated("a", total=10))
    world.tell(updated("b", at(1, "09:30"), total=20))
    assert [(wait.step, wait.due_at) for wait in world.waits()] == [
        ("remind", at(1, "10:00")),
        ("remind", at(1, "10:30")),
    ]
    assert runs(world) == {
        "a": (1, {"cart_id": "a", "total": 10}, None),
        "b": (2, {"cart_id": "b", "total": 20}, None),
    }
    world.trigger(at(1, "10:00"))
    assert world.standing("ann") == ["remind", "again"]
    world.check()


def test_the_first_steps_of_all_runs_that_begin_together_are_done_at_once(world: World) -> None:
    carts(world, "- {step: remind, action: contact.tags, with: {add: [reminded]}}")
    now = datetime.now(UTC)
    world.accept(updated("a", now), updated("b", now), updated("c", now), now=now)
    assert events.act_once(world.engine, zone=world.zone).events == 3
    assert world.waits() == []
    assert world.tally() == {"remind done": 3}


def test_a_purchase_ends_the_run_of_its_cart_and_no_other(world: World) -> None:
    carts(world)
    world.tell(updated("a"), updated(7))
    counts = world.tell(event("order.paid", "ann", at(1, "09:20"), cart_id="7"))
    assert counts["removed"] == 0
    assert [run[2] for run in runs(world).values()] == [None, "exit"]
    assert len(world.waits()) == 1
    (passed,) = world.passed()
    assert (passed.step, passed.result) == ("remind", "cancelled")
    assert passed.detail == {"reason": "the contact left the campaign: event order.paid with cart_id 7"}
    world.check()
    counts = world.tell(event("order.paid", "ann", at(1, "09:30"), cart_id="a"))
    assert counts["removed"] == 1
    assert world.members() == {"ann": "exit 2"}
    assert world.waits() == []
    world.check()


def test_an_exit_without_a_key_ends_all_runs(world: World) -> None:
    carts(world, exit=[{"event": "account.closed"}])
    world.tell(updated("a"), updated("b"))
    assert world.tell(event("account.closed", "ann", at(1, "09:20")))["removed"] == 1
    assert world.waits() == []
    assert world.members() == {"ann": "exit 2"}
    world.check()


def test_an_exit_whose_tests_do_not_hold_ends_nothing(world: World) -> None:
    carts(world, exit=[{**PAID, "where": [{"field": "total", "operator": "gte", "value": 50}]}])
    world.tell(updated("a"))
    world.tell(event("order.paid", "ann", at(1, "09:20"), cart_id="a", total=49))
    assert len(world.waits()) == 1
    world.tell(event("order.paid", "ann", at(1, "09:25"), cart_id="a", total=50))
    assert world.waits() == []


@pytest.mark.parametrize(
    ("reentry", "due", "kept"),
    [("never", at(1, "10:00"), 10), ("after_exit", at(1, "10:00"), 10), ("always", at(1, "10:30"), 20)],
)
def test_the_same_key_again_restarts_its_run_as_reentry_says(world: World, reentry: str, due: Any, kept: int) -> None:
    carts(world, reentry=reentry)
    world.tell(updated("b"))
    world.tell(updated("a", total=10))
    world.tell(updated("a", at(1, "09:30"), total=20))
    assert runs(world)["a"][1]["total"] == kept
    assert sorted(wait.due_at for wait in world.waits() if wait.due_at) == sorted([at(1, "10:00"), due])
    world.check()


def test_a_run_that_ended_begins_again_only_where_reentry_says_so(world: World) -> None:
    for reentry, expected in (("never", 0), ("after_exit", 1)):
        world.clear()
        carts(world, reentry=reentry)
        world.tell(updated("a"), event("order.paid", "ann", START, cart_id="a"))
        world.tell(updated("a", at(2)))
        assert len(world.waits()) == expected
        world.check()


def test_events_that_fail_the_tests_or_have_no_key_begin_nothing(world: World) -> None:
    carts(world, events=[{**CART, "where": [{"field": "total", "operator": "gte", "value": 50}]}])
    world.tell(
        updated("a", total=49),
        updated("", total=60),
        updated(None, total=60),
        updated(["a"], total=60),
        updated("x" * 300, total=60),
        event("cart.updated", "ann", START, total=60),
    )
    assert world.members() == {}
    assert world.tell(updated("a", total=50))["added"] == 1


def test_without_a_key_there_is_one_run_with_the_data(world: World) -> None:
    carts(world, events=[{"type": "cart.updated"}], exit=[{"event": "order.paid"}])
    world.tell(updated("a", total=1), updated("b", total=2))
    assert runs(world) == {"": (1, {"cart_id": "a", "total": 1}, None)}
    world.check()


def test_the_event_that_begins_a_run_answers_none_of_its_decisions(world: World) -> None:
    carts(
        world,
        """
        - step: more
          decision: event.happened
          with: {type: cart.updated, key: cart_id}
          within: 1 day
          yes: [{step: busy, action: contact.tags, with: {add: [busy]}}]
          no: [{step: idle, action: contact.tags, with: {add: [idle]}}]
        """,
    )
    world.tell(updated("a"))
    assert world.standing("ann") == ["more"]
    world.tell(updated("b", at(1, "09:10")))
    assert world.log() == []
    world.tell(updated("a", at(1, "09:20")))
    assert world.log() == ["more yes", "busy done"]
    world.trigger(at(2, "09:10"))
    assert world.log() == ["more yes", "busy done", "more no", "idle done"]
    world.check()


def test_conditions_ask_for_the_data_of_their_own_run(world: World) -> None:
    carts(
        world,
        """
        - step: big
          condition: contact.field
          with: {field: entry.total, operator: gte, value: 50}
          yes: [{step: vip, action: contact.points, with: {points: 100}}]
          no: [{step: small, action: contact.points, with: {points: 1}}]
        """,
    )
    world.tell(updated("a", total=10), updated("b", total=80), updated("c"))
    world.trigger(at(1, "09:01"))
    assert world.points("ann") == [102]
    rows = world.read(
        "SELECT run.key, result::text FROM outcome JOIN run ON run.number = outcome.run "
        "JOIN step ON step.id = step_id AND step.key = 'big' ORDER BY run.key"
    )
    assert [tuple(row) for row in rows] == [("a", "no"), ("b", "yes"), ("c", "no")]
    world.check()


def test_a_jump_in_one_run_leaves_the_waits_of_the_others(world: World) -> None:
    carts(
        world,
        """
        - step: nudge
          action: contact.points
          with: {points: 1}
          after: 1 hour
          then: [{step: back, action: campaign.jump, with: {to: nudge}}]
        - step: paid
          decision: event.happened
          with: {type: order.paid, key: cart_id}
          yes: [{step: thanks, action: contact.tags, with: {add: [thanked]}}]
        """,
        exit=[],
    )
    world.tell(updated("a"))
    world.tell(updated("b", at(1, "09:30")))
    world.trigger(at(1, "10:00"))
    assert {key: run[0] for key, run in runs(world).items()} == {"a": 3, "b": 2}
    assert sorted((wait.step, wait.rotation) for wait in world.waits()) == [
        ("nudge", 2),
        ("nudge", 3),
        ("paid", 2),
        ("paid", 3),
    ]
    world.check()
    world.tell(event("order.paid", "ann", at(1, "10:10"), cart_id="b"))
    assert sorted((wait.step, wait.rotation) for wait in world.waits()) == [("nudge", 2), ("nudge", 3), ("paid", 3)]
    world.check()


def test_a_step_that_ends_or_restarts_its_campaign_means_its_own_run(world: World) -> None:
    carts(
        world,
        """
        - step: small
          condition: contact.field
          with: {field: entry.total, operator: lt, value: 50}
          yes: [{step: out, action: campaign.change, with: {remove: [this]}}]
          no: [{step: later, action: contact.tags, with: {add: [x]}, after: 1 day}]
        """,
    )
    world.tell(updated("a", total=1), updated("b", total=80))
    world.trigger(at(1, "09:01"))
    assert [run[2] for run in runs(world).values()] == ["action", None]
    assert world.standing("ann") == ["later"]
    assert world.members() == {"ann": "in 2"}
    world.check()


def test_who_was_removed_by_hand_no_new_key_brings_back(world: World) -> None:
    carts(world, reentry="always")
    world.tell(updated("a"), updated("b"))
    world.remove("ann", at(1, "09:05"))
    assert world.waits() == []
    world.tell(updated("c", at(1, "09:06")), updated("a", at(1, "09:06")))
    assert world.members() == {"ann": "manual 2"}
    world.check()
    world.add("ann", at(1, "09:07"))
    assert world.members() == {"ann": "in 3"}
    assert set(runs(world)) == {"a", "b", ""}
    world.check()


def test_a_segment_begins_the_run_without_a_key_beside_those_of_events(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.campaign(REMIND, events=[CART], exit=[PAID])
    world.update()
    world.tell(updated("a", at(1, "09:10")))
    assert runs(world) == {"": (1, {}, None), "a": (2, {"cart_id": "a"}, None)}
    assert world.members() == {"ann": "in 2", "bob": "in 1"}
    world.check()
    world.tell(event("segment.contact_removed", "ann", at(1, "09:20"), segment="everyone"))
    assert [run[2] for run in runs(world).values()] == ["segment", None]
    assert world.members() == {"ann": "in 2", "bob": "in 1"}
    assert world.update(at(1, "09:30")) == {}
    world.check()
    world.tell(event("order.paid", "ann", at(1, "09:40"), cart_id="a"))
    assert world.members() == {"ann": "exit 2", "bob": "in 1"}
    world.check()


def test_an_exit_is_heeded_in_a_pause(world: World) -> None:
    carts(world)
    world.tell(updated("a"))
    world.pause(at(1, "09:10"))
    world.tell(updated("b", at(1, "09:15")), event("order.paid", "ann", at(1, "09:20"), cart_id="a"))
    assert world.waits() == []
    assert set(runs(world)) == {"a"}
    world.check()


def test_a_run_keeps_what_fits_of_its_data(world: World) -> None:
    carts(world)
    world.tell(updated("a", total=5, lines=["x" * 100] * 400, note="y" * 9000))
    assert runs(world)["a"][1] == {"cart_id": "a", "total": 5, "note": "y" * 9000}


def test_erasing_a_contact_erases_the_runs(world: World) -> None:
    carts(world)
    world.tell(updated("a"), updated("b"))
    world.tell(event("contact.deleted", "ann", at(1, "09:20")))
    assert world.read("SELECT * FROM run") == []
    world.check()


def test_a_contact_has_so_many_runs_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parcours.workers.membership.MOST_RUNS", 2)
    carts(world)
    world.tell(updated("a"), updated("b"), updated("c"))
    assert set(runs(world)) == {"a", "b"}
    world.tell(event("order.paid", "ann", at(1, "09:20"), cart_id="a"), updated("d", at(1, "09:21")))
    assert set(runs(world)) == {"a", "b", "d"}


# Segments as exits.


def test_who_comes_into_a_segment_that_is_an_exit_is_out_and_stays_out(world: World) -> None:
    world.segment("customers")
    carts(world, exit=[{"segment": "customers"}], reentry="always")
    world.tell(updated("a"), updated("b"))
    world.tell(event("segment.contact_added", "ann", at(1, "09:10"), segment="customers"))
    assert world.waits() == []
    assert world.members() == {"ann": "exit 2"}
    assert world.passed()[0].detail == {"reason": "the contact left the campaign: it entered segment 'customers'"}
    world.tell(updated("c", at(1, "09:20")))
    assert world.waits() == []
    world.tell(event("segment.contact_removed", "ann", at(1, "09:30"), segment="customers"))
    world.tell(updated("c", at(1, "09:40")))
    assert world.standing("ann") == ["remind"]
    world.check()


def test_an_update_heeds_segments_that_are_exits(world: World) -> None:
    world.contacts("ann", "bob", "eve", segment="everyone")
    world.enter("customers", "bob")
    world.campaign(REMIND, exit=[{"segment": "customers"}])
    assert world.update() == {"added": 2}
    assert world.update() == {}
    world.enter("customers", "eve", when=at(1, "09:10"))
    assert world.update(at(1, "09:20")) == {"removed": 1}
    assert world.members() == {"ann": "in 1", "eve": "exit 1"}
    assert world.update(at(1, "09:30")) == {}
    world.check()


# Who is in a segment already.


def test_without_existing_only_who_enters_later_joins(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.campaign(REMIND, existing=False, published=False)
    world.contacts("eve", segment="everyone")
    world.publish(now=START)
    world.contacts("kim", segment="everyone")
    assert world.update() == {"added": 1}
    assert world.update() == {}
    world.tell(event("segment.contact_added", "ann", at(1, "09:10"), segment="everyone"))
    assert world.members() == {"kim": "in 1"}
    world.pause(at(1, "09:20"))
    world.contacts("sue", segment="everyone")
    world.publish(now=at(1, "09:30"))
    assert world.update(at(1, "09:30")) == {"added": 1}
    world.leave("everyone", "ann", when=at(1, "09:40"))
    world.enter("everyone", "ann", when=at(1, "09:50"))
    assert world.update(at(1, "09:50")) == {"added": 1}
    world.check()
    world.campaign(REMIND, when=at(1, "10:00"))
    assert world.update(at(1, "10:00")) == {"added": 2}
    world.check()


# Limits.


def test_a_rate_lets_so_many_in_by_events_and_the_others_later_in_their_order(world: World) -> None:
    carts(world, entry={"rate": "2 per hour"})
    for nth, cart in enumerate("abcde"):
        world.tell(updated(cart, at(1, f"09:1{nth}"), total=nth))
    assert set(runs(world)) == {"a", "b"}
    assert world.update(at(1, "09:59")) == {}
    assert world.update(at(1, "10:00")) == {"added": 2}
    assert {key: run[1]["total"] for key, run in runs(world).items()} == {"a": 0, "b": 1, "c": 2, "d": 3}
    world.tell(updated("f", at(1, "11:00"), total=9))
    assert len(runs(world)) == 4, "who comes now stands behind who is held back"
    assert world.update(at(1, "11:00")) == {"added": 2}
    assert set(runs(world)) == set("abcdef")
    world.check()


def test_a_purchase_also_ends_a_run_that_is_held_back(world: World) -> None:
    carts(world, entry={"rate": "1 per hour"})
    world.tell(updated("a"), updated("b"), updated("c"))
    world.tell(event("order.paid", "ann", at(1, "09:20"), cart_id="b"))
    world.update(at(2))
    assert set(runs(world)) == {"a", "c"}


def test_an_update_keeps_to_the_limits_and_goes_on_in_the_next_hour(world: World) -> None:
    world.crowd(7, segment="everyone")
    world.campaign(REMIND, entry={"rate": "3 per hour", "most": 5})
    assert world.update() == {"added": 3}
    assert world.update(at(1, "09:30")) == {}
    assert world.update(at(1, "10:00")) == {"added": 2}
    assert world.update(at(1, "11:00")) == {}
    assert len(world.members()) == 5
    world.add("c7", at(1, "11:30"))
    assert len(world.members()) == 6, "a person's word goes before the limit"
    world.check()


def test_restarts_are_no_entrants(world: World) -> None:
    carts(world, entry={"most": 1}, reentry="always")
    world.tell(updated("a"))
    world.tell(updated("a", at(1, "09:20")))
    world.tell(updated("b", at(1, "09:30")))
    assert world.due("ann", "remind") == at(1, "10:20")
    assert set(runs(world)) == {"a"}


# Changes of the campaign while runs are in it.


def test_runs_at_a_step_that_is_dropped_go_on_at_another_each_by_itself(world: World) -> None:
    carts(world)
    world.tell(updated("a"))
    world.trigger(at(1, "10:00"))
    world.tell(updated("b", at(1, "10:00")))
    assert [(wait.step, wait.rotation) for wait in world.waits()] == [("remind", 2), ("again", 1)]
    world.campaign(
        "- {step: remind, action: contact.tags, with: {add: [reminded]}, after: 1 hour}",
        segments=(),
        events=[CART],
        exit=[PAID],
        redirect={"again": "remind"},
        when=at(1, "10:30"),
    )
    # Run a passed the step before, and does so in a new rotation; run b keeps its wait.
    assert sorted((wait.step, wait.rotation) for wait in world.waits()) == [("remind", 2), ("remind", 3)]
    assert {key: run[0] for key, run in runs(world).items()} == {"a": 3, "b": 2}
    world.check()
    world.trigger(at(1, "11:30"))
    assert world.tally() == {"remind done": 3, "again cancelled": 1}
    world.check()


def test_a_new_root_starts_for_every_run_that_is_there(world: World) -> None:
    carts(world)
    world.tell(updated("a"), updated("b"))
    world.tell(event("order.paid", "ann", at(1, "09:10"), cart_id="a"))
    world.tell(updated("c", at(1, "09:20")))
    world.campaign(
        REMIND + "- {step: more, action: contact.tags, with: {add: [more]}, after: 2 hours}",
        segments=(),
        events=[CART],
        exit=[PAID],
        backfill=True,
        when=at(1, "09:30"),
    )
    assert sorted((wait.step, wait.rotation) for wait in world.waits()) == [
        ("more", 2),
        ("more", 3),
        ("remind", 2),
        ("remind", 3),
    ]
    world.check()


# Merging.


def merged(world: World, **settings: Any) -> None:
    world.contacts("ann", "old")
    world.campaign(REMIND, segments=(), events=[CART], exit=[PAID], **settings)


def test_the_runs_of_merged_contacts_go_on_beside_each_other(world: World) -> None:
    merged(world)
    world.tell(updated("a"))
    world.tell(updated("b", at(1, "09:10"), "old", total=5), updated("c", at(1, "09:10"), "old"))
    world.trigger(at(1, "10:00"))
    world.tell(event("contact.merged", "ann", at(1, "10:05"), **{"from": "old"}))
    assert {key: (run[0], run[2]) for key, run in runs(world).items()} == {
        "a": (1, None),
        "b": (2, None),
        "c": (3, None),
    }
    world.check()
    world.trigger(at(1, "10:10"))
    assert world.tally() == {"remind done": 3}
    world.tell(event("order.paid", "ann", at(1, "10:20"), cart_id="b"))
    assert [run[2] for run in runs(world).values()] == [None, "exit", None]
    world.check()


def test_of_two_runs_of_one_key_the_survivor_s_stays(world: World) -> None:
    merged(world)
    world.tell(updated("a", total=1))
    world.tell(updated("a", at(1, "09:10"), "old", total=2), updated("b", at(1, "09:10"), "old"))
    world.tell(event("contact.merged", "ann", at(1, "09:20"), **{"from": "old"}))
    assert {key: run[1].get("total") for key, run in runs(world).items()} == {"a": 1, "b": None}
    assert [wait.due_at for wait in world.waits()] == [at(1, "10:00"), at(1, "10:10")]
    assert world.tally() == {"remind cancelled": 1}
    world.check()


def test_runs_of_a_contact_that_the_survivor_does_not_share_a_campaign_with_come_along(world: World) -> None:
    merged(world)
    world.tell(updated("a", who="old"), updated("b", who="old"))
    world.tell(event("contact.merged", "ann", at(1, "09:20"), **{"from": "old"}))
    assert set(runs(world)) == {"a", "b"}
    assert world.members() == {"ann": "in 2"}
    world.check()


def test_a_merge_brings_nobody_back_whom_a_person_removed(world: World) -> None:
    merged(world)
    world.tell(updated("a"))
    world.remove("ann", at(1, "09:05"))
    world.tell(updated("b", at(1, "09:10"), "old"))
    world.tell(event("contact.merged", "ann", at(1, "09:20"), **{"from": "old"}))
    assert world.members() == {"ann": "manual 2"}
    assert world.waits() == []
    world.check()


def test_a_merge_brings_a_contact_back_that_had_only_exited(world: World) -> None:
    merged(world)
    world.tell(updated("a"), event("order.paid", "ann", START, cart_id="a"))
    world.tell(updated("b", at(1, "09:10"), "old"))
    world.tell(event("contact.merged", "ann", at(1, "09:20"), **{"from": "old"}))
    assert world.members() == {"ann": "in 2"}
    assert [wait.due_at for wait in world.waits()] == [at(1, "10:10")]
    world.check()


# Workers at the same time.


def test_limits_are_kept_to_the_contact_by_workers_at_the_same_time(world: World) -> None:
    keys = world.crowd(40)
    world.campaign(REMIND, segments=(), events=[CART], entry={"rate": "7 per hour", "most": 12})
    for key in keys:
        world.accept(updated("a", who=key))
    ensure_partitions(world.engine, START)

    def work(_: int) -> None:
        for _ in range(30):
            with world.engine.begin() as conn:
                if not events.act(conn, now=START, zone=world.zone, of=random.sample(keys, 5)).events:
                    break

    with ThreadPoolExecutor(3) as workers:
        list(workers.map(work, range(3)))
    world.act(START)
    assert len(world.members()) == 7
    with ThreadPoolExecutor(3) as workers:
        list(workers.map(lambda _: world.update(at(1, "10:00")), range(3)))
    assert len(world.members()) == 12
    world.update(at(1, "11:00"))
    assert len(world.members()) == 12
    assert world.read("SELECT * FROM entrant") == [], "whom the limit refuses for good is not kept"
    world.check()


def test_tick_sees_when_somebody_held_back_may_enter(world: World) -> None:
    carts(world, entry={"rate": "1 per hour"})
    world.tell(updated("a"), updated("b"))
    with world.engine.connect() as conn:
        assert entrants.first_due(conn, now=at(1, "09:59")) is None
        assert entrants.first_due(conn, now=at(1, "10:00")) == at(1, "10:00")
        assert len(entrants.due(conn, now=at(1, "10:00"))) == 1
    world.pause(at(1, "09:59"))
    with world.engine.connect() as conn:
        assert entrants.first_due(conn, now=at(1, "10:00")) is None
