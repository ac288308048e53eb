"""Segments by rule: who is in them follows what changes, what time brings, and the rule itself."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection, text

from parcours.db import touched
from parcours.db.scope import Scope
from parcours.db.tables import companies, outbox, rebuilds
from parcours.db.tables import rules as rule_table
from parcours.db.tables import sweeps as sweep_table
from parcours.db.tables.rebuilds import RebuildPart
from parcours.domain.contacts.contact import Contact
from parcours.domain.events.parsing import ContactEvent
from parcours.domain.jobs import RebuildSegments
from parcours.domain.messages.settle import MessageRow
from parcours.domain.steps import registry
from parcours.domain.steps.batch import Batch
from parcours.domain.steps.registry import condition
from parcours.domain.steps.types import Need, NoProperties
from parcours.ops.settings import Settings
from parcours.producers.broker import make_broker
from parcours.services import campaign_changes, manual_changes, rule_check, segment_rules
from parcours.workers import executor, rebuilding, sweeps
from parcours.workers.actors import Workshop
from tests.workers.worlds import START, World, at, event, statements_counted

FRENCH = {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
TAGGED = {"condition": "contact.tags", "with": {"tags": ["vip"]}}
POINT = "- {step: a, action: contact.points, with: {points: 60}}"


class _Point(NamedTuple):
    """An entry point that is not installed."""

    made: Any
    value: str = "tests"

    def load(self) -> Any:
        return self.made


def install_condition(patch: pytest.MonkeyPatch, name: str, answer: Callable[[Contact], bool]) -> None:
    """Make a condition type known, as another package's would be."""

    def run(batch: Batch[NoProperties]) -> list[bool]:
        """Says what the test says."""
        return [answer(contact) for contact in batch.contacts]

    made = condition(name, properties=NoProperties, needs=[Need.FIELDS])(run)
    points = {**registry._entry_points(), f"condition.{name}": _Point(made)}
    patch.setattr(registry, "_entry_points", lambda: points)
    registry.step_type.cache_clear()


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
    world.campaign(POINT, segments=["french"])
    world.update(at(3))
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


# What cannot be told.


def test_a_rule_that_fails_for_somebody_leaves_them_and_lets_others_move(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_condition(monkeypatch, "test.choosy", lambda contact: contact.fields["size"] > 10)
    world.contacts("ann", size=20)
    world.contacts("ben")
    world.by_rule("large", {"condition": "test.choosy"})
    assert world.inside("large") == {"ann"}
    with world.engine.connect() as conn:
        assert "KeyError" in rule_table.set_aside(conn)["large"]
    world.tell(event("contact.changed", "ben", fields={"size": 5}), event("contact.changed", "ann", fields={"size": 7}))
    assert world.inside("large") == set()
    # A condition that says nothing of time is asked once a day.
    world.time_passes(at(2))
    assert {row.due_at for row in world.read("SELECT due_at FROM segment_due")} == {at(3)}


def test_a_rule_that_cannot_be_read_is_set_aside_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        install_condition(patch, "test.choosy", lambda contact: True)
        world.contacts("ann", country="US")
        world.by_rule("chosen", {"condition": "test.choosy"})
    registry.step_type.cache_clear()
    world.by_rule("french", FRENCH)
    with world.engine.connect() as conn:
        assert "test.choosy" in rule_table.set_aside(conn)["chosen"]
    world.tell(event("contact.changed", "ann", fields={"country": "FR"}))
    assert (world.inside("french"), world.inside("chosen")) == ({"ann"}, {"ann"})
    world.time_passes(at(9))
    world.update(at(9))


def test_rules_and_campaigns_that_go_round_end_with_an_alarm(world: World) -> None:
    world.contacts("ann", country="FR")
    world.segment("loop")
    world.campaign(POINT, segments=["loop"], reentry="after_exit")
    world.by_rule("loop", {"all": [FRENCH, {"not": {"condition": "contact.campaigns", "with": {"campaigns": ["c"]}}}]})
    world.time_passes(START)
    with world.engine.connect() as conn:
        assert "depends on a campaign" in rule_table.set_aside(conn)["loop"]


# What it costs.


def test_who_changes_nothing_that_a_rule_reads_pays_one_small_read(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign("- {step: a, action: contact.points, with: {points: 1}}")
    world.update()
    step = world.step_id("a")

    def statements(key: str) -> int:
        with statements_counted(world.engine) as sent, world.engine.begin() as conn:
            scope = Scope(contact_ids=(world.contact_id(key),))
            assert executor.execute_due(conn, step, now=START, limit=10, zone=world.zone, scope=scope).claimed == 1
        return len(sent)

    without = statements("ann")
    world.by_rule("french", FRENCH)
    with world.engine.connect() as conn:
        rule_table.book(conn)
    assert statements("ben") == without


def test_waiting_for_time_costs_a_look_for_each_rule_and_none_for_each_contact(world: World) -> None:
    world.crowd(50)
    world.by_rule("new", {"condition": "contact.created", "with": {"within": "30 days"}}, START)
    plans = world.read(
        "EXPLAIN SELECT due_at FROM segment_due WHERE segment_id = 1 AND due_at <= now() ORDER BY due_at LIMIT 1"
    )
    assert world.read("SELECT count(*) AS n FROM segment_due")[0].n == 50
    with statements_counted(world.engine) as sent, world.engine.connect() as conn:
        assert rule_table.oldest_due(conn, now=START) is None
    assert len(sent) <= 3
    assert plans


def test_members_are_lost_neither_by_a_rebuild_nor_by_who_changes_them_meanwhile(world: World) -> None:
    world.contacts("ann", country="US")
    with world.engine.begin() as before:
        # This one has begun and knows no rule.
        before.execute(text("UPDATE contact SET fields = '{\"country\": \"FR\"}' WHERE key = 'ann'"))
        touched.note(before, "fields", [world.contact_id("ann")])
        rule_table.leave_rest(before)
        with world.engine.begin() as conn:
            segment_rules.put(conn, "french", FRENCH, now=START)
        assert not rebuilding.work(world.engine, now=START, zone=world.zone)
    while rebuilding.work(world.engine, now=START, zone=world.zone):
        pass
    assert world.inside("french") == {"ann"}


def test_a_range_that_is_taken_is_asked_the_rule_as_it_is_then(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.contacts("ann", country="US")
    with world.engine.begin() as conn:
        segment_id = segment_rules.put(conn, "some", FRENCH, now=START)
    take = rebuilds.take

    def late(conn: Connection, segment_ids: Collection[int]) -> RebuildPart | None:
        """Somebody changes the rule after this one has read it, and before it has a range."""
        monkeypatch.setattr(rebuilds, "take", take)
        with world.engine.begin() as other:
            segment_rules.put(other, "some", {"not": FRENCH}, now=START)
        with world.engine.begin() as other:
            rebuilds.settle(other)
        return take(conn, segment_ids)

    monkeypatch.setattr(rebuilds, "take", late)
    assert rebuilding.work_all(world.engine, [segment_id], now=START, zone=world.zone)
    assert world.inside("some") == {"ann"}


def test_a_merge_leaves_the_survivor_where_the_rule_wants_them(world: World) -> None:
    world.contacts("ann", country="US")
    world.contacts("old", city="Paris")
    world.by_rule(
        "parisian", {"condition": "contact.field", "with": {"field": "city", "operator": "=", "value": "Paris"}}
    )
    world.by_rule(
        "american", {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "US"}}
    )
    world.tell(ContactEvent("test", "1", "contact.merged", "ann", START, {"from": "old"}))
    assert (world.inside("parisian"), world.inside("american")) == ({"ann"}, {"ann"})


def test_what_a_company_is_counts_for_its_contacts(world: World) -> None:
    world.contacts("ann")
    world.by_rule(
        "berlin", {"condition": "contact.field", "with": {"field": "company.city", "operator": "=", "value": "Berlin"}}
    )
    world.tell(event("contact.changed", "ann", company="acme"))
    with world.engine.begin() as conn:
        companies.save(conn, "acme", name=None, fields={"city": "Berlin"})
    world.time_passes(START)
    assert world.inside("berlin") == {"ann"}
    with world.engine.begin() as conn:
        companies.save(conn, "acme", name=None, fields={"city": "Bonn"})
    world.time_passes(START)
    assert world.inside("berlin") == set()


def test_a_large_change_lets_campaigns_follow_range_by_range(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # So that these are many.
    monkeypatch.setattr(rebuilding, "AT_ONCE", 50)
    world.crowd(300, country="FR")
    world.segment("french")
    world.campaign(POINT, segments=["french"])
    world.by_rule("french", FRENCH)
    assert len(world.members()) == 300
    assert world.read("SELECT * FROM rebuild") == world.read("SELECT * FROM rebuild_chunk") == []


def test_the_check_finds_who_is_in_the_wrong_segment(world: World) -> None:
    world.contacts("ann", "ben", country="FR")
    world.by_rule("french", FRENCH)
    (checked,) = rule_check.run(world.engine, full=True, zone=world.zone)
    assert checked.violations == 0
    world.write("UPDATE contact SET fields = '{}' WHERE key = 'ann'")
    for full in (True, False):
        (checked,) = rule_check.run(world.engine, full=full, zone=world.zone)
        assert (checked.violations, checked.examples) == (1, [{"segment": "french", "contact": "ann"}])


def test_a_campaign_asked_for_by_a_rule_is_followed(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign("- {step: a, action: contact.points, with: {points: 1}}")
    world.by_rule("members", {"condition": "contact.campaigns", "with": {"campaigns": ["c"]}})
    assert world.inside("members") == set()
    world.update()
    world.time_passes(START)
    assert world.inside("members") == {"ann", "ben"}
    with world.engine.begin() as conn:
        manual_changes.remove(
            conn, world.found(conn).id, world.ids(conn, "ann"), who="test", now=at(2), zone=world.zone
        )
    assert world.inside("members") == {"ben"}


def test_workers_do_what_tick_asks_for(world: World) -> None:
    """The orders of tick, as workers take them from the queue."""
    world.contacts("ann", country="FR")
    with world.engine.begin() as conn:
        segment_rules.put(conn, "french", FRENCH, now=START)
    broker = make_broker(None)
    workshop = Workshop(world.engine, broker, Settings())
    workshop.rebuild_segments()
    assert world.inside("french") == {"ann"}
    world.accept(event("contact.changed", "ben", fields={"country": "FR"}))
    with world.engine.begin() as conn:
        contacts_left = rule_table.contacts_left(conn, limit=10)
    assert contacts_left == world.read("SELECT array_agg(id) AS ids FROM contact WHERE key = 'ben'")[0].ids
    workshop.act_on_events()
    assert world.inside("french") == {"ann", "ben"}
    world.write("INSERT INTO unjudged (contact_id) SELECT id FROM contact WHERE key = 'ann'")
    world.write("UPDATE contact SET fields = '{}' WHERE key = 'ann'")
    workshop.follow_rules()
    assert world.inside("french") == {"ben"}


def test_a_queued_update_waits_for_the_rules(world: World) -> None:
    world.contacts("ann", "ben", country="FR")
    world.by_rule("french", FRENCH)
    world.campaign(POINT, segments=["french"])
    world.write("UPDATE contact SET fields = '{}' WHERE key = 'ann'")
    with world.engine.begin() as conn:
        sweep = sweep_table.ask(conn, "update", Scope(), at=START)
    orders = [order for order, _ in sweeps.run_sweep(world.engine, sweep, 0, zone=world.zone)]
    assert RebuildSegments(0) in orders
    while rebuilding.work(world.engine, now=START, zone=world.zone):
        pass
    while sweeps.sync_members(world.engine, sweep, zone=world.zone) >= 0:
        pass
    assert sweeps.run_sweep(world.engine, sweep, 1, zone=world.zone) == []
    assert (world.inside("french"), world.members()) == ({"ben"}, {"ben": "in 1"})


def test_a_deleted_campaign_has_nobody_in_it_for_rules(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign("- {step: a, action: contact.points, with: {points: 1}}")
    world.update()
    world.by_rule("members", {"condition": "contact.campaigns", "with": {"campaigns": ["c"]}})
    assert world.inside("members") == {"ann"}
    with world.engine.begin() as conn:
        campaign_changes.delete(conn, world.found(conn), who="test", now=at(2))
    rebuilding.work_all(world.engine, world.rules_there(), now=at(2), zone=world.zone)
    assert world.inside("members") == set()


def test_an_email_that_was_sent_counts_for_rules(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.by_rule("mailed", {"condition": "email.activity", "with": {"activity": "sent", "emails": ["hello"]}})
    world.email("hello")
    world.campaign("- {step: a, action: email.send, with: {email: hello}}")
    world.run()
    assert world.inside("mailed") == set()
    key, due = world.read("SELECT key, due_at FROM message ORDER BY id LIMIT 1")[0]
    world.write("UPDATE message SET state = 'sending' WHERE key = :key", key=key)
    row = MessageRow(key, due, "sent", "email", "hello", "a@example.com", None, 1, due, None, None, None, False)
    with world.engine.begin() as conn:
        assert outbox.record(conn, [row], now=START)
    world.time_passes(START)
    assert len(world.inside("mailed")) == 1


def test_a_range_that_sql_cannot_fill_is_filled_in_python_and_the_alarm_ends_with_the_next_update(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.contacts("ann", country="FR")
    world.segment("french")
    world.campaign(POINT, segments=["french"])

    def broken(*_: object, **__: object) -> None:
        raise ValueError("this is no SQL")

    with monkeypatch.context() as patch:
        patch.setattr("parcours.db.reads.rules.judged", broken)
        world.by_rule("french", FRENCH)
        assert world.inside("french") == {"ann"}
        patch.setattr("parcours.db.reads.batch.load_rules", broken)
        world.by_rule("french", {"not": FRENCH})
        assert world.inside("french") == {"ann"}
    with world.engine.connect() as conn:
        assert rule_table.set_aside(conn) == {"french": "this is no SQL"}
    world.update(at(2))
    assert world.inside("french") == set()
    with world.engine.connect() as conn:
        assert rule_table.set_aside(conn) == {}
