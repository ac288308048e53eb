"""Segments by rule, runs that events begin and dates of contacts, each with the others."""

from __future__ import annotations

from datetime import timedelta

import pytest

from parcours.db.clock import now as database_now
from parcours.db.partitions import ensure_partitions
from parcours.domain.events.parsing import ContactEvent
from parcours.domain.steps.properties import Json
from parcours.workers import events
from tests.workers.worlds import START, World, at, event

CART = {"type": "cart.updated", "key": "cart_id"}
PAID = {"event": "order.paid", "key": "cart_id"}
TAGGED: Json = {"condition": "contact.tags", "with": {"tags": ["customer"]}}
BLUE: Json = {"condition": "contact.field", "with": {"field": "colour", "operator": "=", "value": "blue"}}
IN_CARTS: Json = {"condition": "contact.campaigns", "with": {"campaigns": ["c"]}}
REMIND = "- {step: remind, action: contact.points, with: {points: 1}, after: 10 days}"
BIRTHDAY = {"field": "birthday", "every": "year", "hour": "09:00"}


def cart(key: str, cart_id: str, day: int = 1) -> ContactEvent:
    return event("cart.updated", key, at(day), cart_id=cart_id)


def test_who_comes_into_an_exit_segment_by_its_rule_is_out_at_once_in_all_runs(world: World) -> None:
    world.contacts("ann", "ben")
    world.by_rule("customers", TAGGED)
    world.campaign(REMIND, segments=(), events=[CART], exit=[{"segment": "customers"}])
    world.tell(cart("ann", "a"), cart("ann", "b"), cart("ben", "a"))
    world.tell(event("contact.changed", "ann", at(2), tags=["customer"]))
    assert world.members() == {"ann": "exit 2", "ben": "in 1"}
    assert world.waits("ann") == []
    world.tell(cart("ann", "c", 3))
    assert world.waits("ann") == [], "who is in an exit segment does not enter"
    world.tell(event("contact.changed", "ann", at(4), tags={"remove": ["customer"]}), cart("ann", "d", 4))
    assert world.standing("ann") == ["remind"]
    world.check()


def test_a_new_rule_of_an_exit_segment_lets_everybody_out_whom_it_holds(world: World) -> None:
    names = world.crowd(30)
    world.segment("customers")
    world.campaign(REMIND, segments=(), events=[CART], exit=[{"segment": "customers"}])
    world.tell(*(cart(name, "a") for name in names))
    world.tell(*(event("contact.changed", name, at(2), tags=["customer"]) for name in names[:20]))
    assert set(world.members().values()) == {"in 1"}
    world.by_rule("customers", TAGGED, at(3))
    assert world.members() == {name: "exit 1" if name in names[:20] else "in 1" for name in names}
    world.check()


def test_an_update_asks_the_rule_of_an_exit_segment_as_well(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.by_rule(
        "customers", {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
    )
    world.campaign(REMIND, exit=[{"segment": "customers"}])
    world.update()
    # As if it had been lost.
    world.write("UPDATE contact SET fields = jsonb_build_object('country', 'FR') WHERE key = 'ann'")
    world.update(at(2))
    assert world.members() == {"ann": "exit 1", "ben": "in 1"}


def test_rules_follow_runs_that_begin_and_end(world: World) -> None:
    world.contacts("ann")
    world.campaign(REMIND, segments=(), events=[CART], exit=[PAID], reentry="always")
    world.by_rule("members", IN_CARTS)
    world.tell(cart("ann", "a"))
    assert world.inside("members") == {"ann"}
    world.tell(cart("ann", "b"), event("order.paid", "ann", at(2), cart_id="a"))
    assert world.inside("members") == {"ann"}, "one of two runs goes on"
    world.tell(event("order.paid", "ann", at(3), cart_id="b"))
    assert world.inside("members") == set()
    world.tell(cart("ann", "b", 4))
    assert world.inside("members") == {"ann"}


def test_rules_follow_who_enters_by_a_date(world: World) -> None:
    world.contacts("ann", birthday="1990-06-03")
    world.campaign(REMIND, segments=(), dates=[BIRTHDAY])
    world.by_rule("members", IN_CARTS)
    world.update(at(2))
    assert world.inside("members") == set()
    world.run(at(3))
    assert world.members() == {"ann": "in 1"}
    assert world.inside("members") == {"ann"}


def test_rules_follow_the_runs_that_come_with_a_merged_contact(world: World) -> None:
    world.contacts("ann", "ben")
    world.campaign(REMIND, segments=(), events=[CART])
    world.by_rule("members", IN_CARTS)
    world.tell(cart("ben", "a"))
    assert world.inside("members") == {"ben"}
    world.tell(event("contact.merged", "ann", at(2), **{"from": "ben"}))
    assert world.inside("members") == {"ann"}
    world.check()


def test_a_date_begins_the_run_without_a_key_beside_those_of_events(world: World) -> None:
    world.contacts("ann", birthday="1990-06-03")
    world.campaign(REMIND, segments=(), events=[CART], dates=[BIRTHDAY])
    world.tell(cart("ann", "a"))
    assert world.update(at(3)) == {"added": 1}
    assert len(world.waits("ann")) == 2
    world.run(at(20))
    assert world.update(at(365 + 3)) == {"restarted": 1}
    assert [wait.due_at for wait in world.waits("ann")] == [at(365 + 13)]
    world.check()


def test_whoever_enters_each_year_does_so_though_a_limit_held_them_back(world: World) -> None:
    world.contacts("ann", "ben", birthday="1990-06-03")
    world.campaign(REMIND, segments=(), dates=[BIRTHDAY], entry={"rate": "1 per day"}, reentry="never")
    for year in (0, 1):
        entered = sum((world.update(at(365 * year + day)) for day in (3, 4, 5)), start=world.update(at(365 * year + 2)))
        assert entered.total() == 2
        world.run(at(365 * year + 20))
    assert world.members() == {"ann": "in 2", "ben": "in 2"}
    world.check()


def test_who_is_in_an_exit_segment_by_rule_does_not_enter_by_a_date(world: World) -> None:
    world.contacts("ann", "ben", birthday="1990-06-03")
    world.by_rule("customers", TAGGED)
    world.campaign(REMIND, segments=(), dates=[BIRTHDAY], exit=[{"segment": "customers"}])
    world.tell(event("contact.changed", "ann", START + timedelta(hours=1), tags=["customer"]))
    world.update(at(3))
    assert world.members() == {"ben": "in 1"}


def test_update_lets_in_by_a_segment_who_is_only_in_by_events(world: World) -> None:
    world.contacts("ann", "ben")
    steps = "- {step: later, action: contact.points, with: {points: 1}, after: 30 days}"
    world.campaign(steps, events=[{"type": "cart.updated", "key": "cart"}])
    world.tell(event("cart.updated", "ann", at(1), cart="a"), event("cart.updated", "ben", at(1), cart="b"))
    world.enter("everyone", "ann", when=at(2))
    world.update(at(2))
    runs = world.read(
        "SELECT contact.key AS who, run.key FROM run JOIN contact ON contact.id = contact_id ORDER BY 1, 2"
    )
    assert [(row.who, row.key) for row in runs] == [("ann", ""), ("ann", "a"), ("ben", "b")]
    assert world.update(at(3)) == {}
    world.check()


def test_nobody_is_mailed_twice_when_a_list_becomes_a_rule(world: World) -> None:
    world.email("hello")
    world.contacts("ann", "ben", country="FR", segment="readers")
    world.contacts("kim", country="US", segment="readers")
    world.contacts("eve", country="FR")
    world.campaign("- {step: a, action: email.send, with: {email: hello, again: always}}", segments=["readers"])
    world.run()
    world.by_rule(
        "readers", {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
    )
    world.run(at(2))
    assert world.members() == {"ann": "in 1", "ben": "in 1", "kim": "segment 1", "eve": "in 1"}
    assert sorted(world.outbox()) == ["ann hello", "ben hello", "eve hello", "kim hello"]


def _blue_by_event(world: World) -> None:
    """Ann becomes blue by an event, which a worker acts on."""
    world.contacts("ann", "ben")
    world.by_rule("blue", BLUE)
    world.campaign("- {step: point, action: contact.points, with: {points: 1}}", segments=["blue"])
    with world.engine.connect() as conn:
        now = database_now(conn)
    ensure_partitions(world.engine, now)
    world.accept(event("contact.changed", "ann", now, fields={"colour": "blue"}), now=now)
    assert events.act_once(world.engine, zone=world.zone).events == 1


def test_the_first_step_of_who_enters_by_an_event_waits_for_no_tick(world: World) -> None:
    _blue_by_event(world)
    assert [(done.contact, done.step) for done in world.passed()] == [("ann", "point")]
    world.check()


def test_where_the_inbox_is_behind_first_steps_are_left_to_workers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BEHIND_SECONDS", -1.0)
    _blue_by_event(world)
    assert world.passed() == []
    assert [wait.step for wait in world.waits()] == ["point"]
