"""Segments by rule: who is in them follows what changes, what time brings, and the rule itself."""

from __future__ import annotations

from tests.workers.worlds import START, World, at, event

FRENCH = {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
TAGGED = {"condition": "contact.tags", "with": {"tags": ["vip"]}}
POINT = "- {step: a, action: contact.points, with: {points: 60}}"


def test_a_new_rule_is_asked_of_everybody(world: World) -> None:
    world.contacts("ann", country="FR")
    world.contacts("ben", country="US")
    world.by_rule("french", FRENCH)
    assert world.inside("french") == {"ann"}


def test_who_changes_comes_in_at_once_and_the_campaign_follows(world: World) -> None:
    world.contacts("ann", country="US")
    world.by_rule("french", FRENCH)
    world.campaign(POINT, segments=["french"])
    world.tell(event("contact.changed", "ann", fields={"country": "FR"}))
    assert world.inside("french") == {"ann"}
    assert world.members() == {"ann": "in 1"}
    world.tell(event("contact.changed", "ann", at(2), fields={"country": "BE"}))
    assert world.inside("french") == set()
    assert world.members() == {"ann": "segment 1"}


def test_a_new_contact_is_asked_about(world: World) -> None:
    world.by_rule("untagged", {"not": TAGGED})
    world.tell(event("page.hit", "ann", url="/"))
    assert world.inside("untagged") == {"ann"}
    assert world.read("SELECT * FROM unjudged") == []


def test_a_step_that_changes_a_contact_lets_it_in(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.by_rule("rich", {"condition": "contact.points", "with": {"operator": "gte", "points": 50}})
    world.by_rule("tagged", TAGGED)
    world.campaign(POINT + "\n- {step: b, action: contact.tags, with: {add: [vip]}}")
    world.run()
    assert world.inside("rich") == world.inside("tagged") == {"ann", "ben"}


def test_segments_that_ask_for_segments_follow_in_their_order(world: World) -> None:
    world.contacts("ann", country="US")
    world.by_rule("a", FRENCH)
    world.by_rule("b", {"not": {"condition": "contact.segments", "with": {"segments": ["a"]}}})
    world.by_rule("c", {"all": [{"condition": "contact.segments", "with": {"segments": ["b"]}}, {"not": TAGGED}]})
    assert world.inside("c") == {"ann"}
    world.tell(event("contact.changed", "ann", fields={"country": "FR"}))
    assert (world.inside("a"), world.inside("b"), world.inside("c")) == ({"ann"}, set(), set())


def test_time_alone_lets_contacts_in_and_out(world: World) -> None:
    lately = {"condition": "event.count", "with": {"type": "order.paid", "at_least": 1, "within": "7 days"}}
    world.contacts("ann", "ben")
    world.by_rule("buyers", lately)
    world.by_rule("others", {"not": lately})
    assert world.inside("others") == {"ann", "ben"}
    world.tell(event("order.paid", "ann", at(1)))
    assert (world.inside("buyers"), world.inside("others")) == ({"ann"}, {"ben"})
    world.time_passes(at(5))
    assert world.inside("buyers") == {"ann"}
    world.time_passes(at(9))
    assert (world.inside("buyers"), world.inside("others")) == (set(), {"ann", "ben"})
    assert world.read("SELECT * FROM segment_due") == []


def test_update_mends_what_was_lost(world: World) -> None:
    world.contacts("ann", "ben", country="FR")
    world.by_rule("french", FRENCH)
    world.campaign(POINT, segments=["french"])
    world.update()
    world.write("UPDATE contact SET fields = '{}' WHERE key = 'ann'")
    assert world.inside("french") == {"ann", "ben"}
    world.update()
    assert world.inside("french") == {"ben"}
    assert world.members() == {"ann": "segment 1", "ben": "in 1"}


def test_what_was_done_by_hand_holds(world: World) -> None:
    world.contacts("ann", "ben", country="FR")
    world.contacts("eve", country="US")
    world.by_rule("french", FRENCH)
    world.tell(event("segment.contact_removed", "ann", at(1, "10:00"), segment="french"))
    world.tell(event("segment.contact_added", "eve", at(1, "10:00"), segment="french"))
    assert world.inside("french") == {"ben", "eve"}
    world.tell(event("contact.changed", "ann", at(2), fields={"colour": "red"}))
    world.tell(event("contact.changed", "ann", at(2), fields={"country": "FR"}))
    world.tell(event("contact.changed", "eve", at(2), fields={"country": "BE"}))
    world.by_rule("french", FRENCH, at(3))
    assert world.inside("french") == {"ben", "eve"}


def test_nothing_is_left_to_do_where_no_rule_reads_what_changed(world: World) -> None:
    world.contacts("ann")
    world.by_rule("french", FRENCH)
    world.tell(event("page.hit", "ann", url="/"))
    assert world.read("SELECT * FROM unjudged") == []


def test_a_mailbox_that_refuses_is_one_of_everybody_who_has_it(world: World) -> None:
    world.contacts("ann", "bob", email="same@example.com")
    world.by_rule("silent", {"condition": "contact.dnc", "with": {"channels": ["email"]}})
    world.tell(event("email.unsubscribed", "ann"))
    assert world.inside("silent") == {"ann"}
    world.time_passes(START)
    assert world.inside("silent") == {"ann", "bob"}
