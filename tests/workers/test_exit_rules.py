"""Exits by rule: who is out when one becomes true, by change or by time, and who does not get in while it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from parcours.db.reads import batch
from parcours.db.tables import companies
from parcours.db.tables import rules as rule_table
from parcours.db.tables.membership import Chunk
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.contacts.contact import Contact
from parcours.producers.files.campaigns import CampaignFileError
from parcours.services import rule_check, segment_rules
from parcours.workers import membership, rebuilding, rules, sweeps
from tests.workers.test_rules import install_condition
from tests.workers.worlds import World, at, event

CUSTOMER = {"condition": "contact.tags", "with": {"tags": ["customer"]}}
PAID_LATELY = {"condition": "event.count", "with": {"type": "order.paid", "at_least": 1, "within": "7 days"}}
LATER = "- {step: later, action: contact.points, with: {points: 1}, after: 30 days}"


def tag(world: World, key: str, when: int = 2, tag: str = "customer", *, remove: bool = False) -> None:
    world.tell(event("contact.changed", key, at(when), tags={"remove" if remove else "add": [tag]}))


def tick(world: World, when: datetime) -> None:
    world.time_passes(when)
    membership.grace_over_all(world.engine, now=when, zone=world.zone)


def why(world: World, key: str) -> list[str]:
    rows = world.read(
        "SELECT outcome.detail ->> 'reason' AS reason FROM outcome JOIN contact ON contact.id = contact_id "
        "WHERE key = :key AND result = 'cancelled'",
        key=key,
    )
    return [row.reason for row in rows]


def test_a_change_that_makes_it_true_ends_it_at_once_with_the_reason(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(LATER, exit=[{"rule": CUSTOMER}])
    world.run()
    tag(world, "ann")
    assert world.members() == {"ann": "exit 1", "ben": "in 1"}
    assert world.waits("ann") == []
    assert why(world, "ann") == ["the contact left the campaign: exit rule: the contact has the tag customer"]
    world.check()


def test_time_alone_makes_it_true(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.tell(event("order.paid", "ann", at(1)))
    world.tell(event("order.paid", "ben", at(1)))
    world.campaign(LATER, exit=[{"rule": {"not": PAID_LATELY}}])
    world.run(at(2))
    world.time_passes(at(2))
    world.tell(event("order.paid", "ben", at(6)))
    world.time_passes(at(7))
    assert world.members() == {"ann": "in 1", "ben": "in 1"}
    world.time_passes(at(9))
    assert world.members() == {"ann": "exit 1", "ben": "in 1"}
    world.time_passes(at(14))
    assert world.members()["ben"] == "exit 1"
    assert world.read("SELECT * FROM membership WHERE exit_due_at IS NOT NULL") == []


@pytest.mark.parametrize("way", ["update", "event", "limit"])
def test_nobody_gets_in_while_it_is_true(world: World, way: str) -> None:
    given: dict[str, Any] = {"exit": [{"rule": CUSTOMER}]}
    given |= {"entry": {"rate": "100 per hour"}} if way == "limit" else {}
    given |= {"events": [{"type": "cart.updated"}]} if way == "event" else {}
    world.contacts("ann", "ben", segment="everyone")
    tag(world, "ann", 1)
    world.campaign(LATER, **given)
    if way == "event":
        world.tell(event("cart.updated", "ann", at(2)), event("cart.updated", "ben", at(2)))
    else:
        world.update(at(2))
    assert world.members() == {"ben": "in 1"}
    tag(world, "ann", 3, remove=True)
    world.update(at(3))
    assert world.members() == {"ann": "in 1", "ben": "in 1"}
    world.check()


def test_a_person_may_add_somebody_of_whom_it_is_true(world: World) -> None:
    world.contacts("ann", segment="everyone")
    tag(world, "ann", 1)
    world.campaign(LATER, exit=[{"rule": CUSTOMER}])
    world.add("ann", at(2))
    world.update(at(2))
    assert world.members() == {"ann": "in 1"}


def test_runs_end_together(world: World) -> None:
    world.contacts("ann")
    world.campaign(LATER, segments=[], events=[{"type": "cart.updated", "key": "cart"}], exit=[{"rule": CUSTOMER}])
    world.tell(event("cart.updated", "ann", at(1), cart="a"), event("cart.updated", "ann", at(1), cart="b"))
    tag(world, "ann")
    assert world.members() == {"ann": "exit 2"}
    world.check()


def test_a_paused_campaign_lets_out_too(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(LATER, exit=[{"rule": CUSTOMER}])
    world.run()
    world.pause(at(2))
    tag(world, "ann", 3)
    assert world.members() == {"ann": "exit 1"}


def test_a_new_exit_is_asked_of_all_members(world: World) -> None:
    keys = world.crowd(20, segment="everyone")
    world.campaign(LATER)
    world.run()
    for key in keys[:5]:
        tag(world, key)
    plan = world.campaign(LATER, exit=[{"rule": CUSTOMER}], when=at(3))
    assert "  - 5 contacts leave, because a new exit rule is true for them" in plan.lines()
    assert set(world.members().values()) == {"in 1"}
    world.time_passes(at(3))
    assert [key for key, state in world.members().items() if state == "exit 1"] == keys[:5]
    world.check()


def test_update_lets_out_whom_nobody_asked(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(LATER, exit=[{"rule": CUSTOMER}])
    world.run()
    world.time_passes(at(1))
    world.write("INSERT INTO contact_tag (contact_id, tag) SELECT id, 'customer' FROM contact WHERE key = 'ann'")
    world.contacts("eve", segment="everyone")
    world.update(at(2))
    assert world.members() == {"ann": "exit 1", "ben": "in 1", "eve": "in 1"}


def test_update_asks_exit_rules_where_nothing_else_is_to_do(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(LATER, exit=[{"rule": CUSTOMER}])
    world.run()
    world.time_passes(at(1))
    world.write("INSERT INTO contact_tag (contact_id, tag) SELECT id, 'customer' FROM contact WHERE key = 'ann'")
    world.update(at(2))
    assert world.members() == {"ann": "exit 1", "ben": "in 1"}


def test_update_works_only_on_ranges_in_which_an_exit_rule_lets_a_member_out(world: World) -> None:
    world.crowd(9, segment="everyone")
    world.contacts("elsewhere")
    world.campaign(LATER, exit=[{"rule": CUSTOMER}])
    world.run()
    world.time_passes(at(1))

    def looked_at() -> list[Chunk]:
        with world.engine.connect() as conn:
            found = world.found(conn)
            return sweeps._chunks(conn, found.id, EVERYTHING, now=at(2), zone=world.zone, width=2)

    assert looked_at() == []
    tagged = "INSERT INTO contact_tag (contact_id, tag) SELECT id, 'customer' FROM contact WHERE key = :key"
    world.write(tagged, key="elsewhere")
    assert looked_at() == []
    world.write(tagged, key="c4")
    (row,) = world.read("SELECT id FROM contact WHERE key = 'c4'")
    assert [chunk.first_id <= row.id <= chunk.last_id for chunk in looked_at()] == [True]
    assert world.update(at(2)) == {"removed": 1}
    assert looked_at() == []


@pytest.mark.parametrize("way", ["update", "segment", "limit"])
def test_whom_it_kept_out_comes_in_when_time_alone_makes_it_false(world: World, way: str) -> None:
    world.contacts("ann", "ben", segment=None if way == "segment" else "everyone")
    world.tell(event("order.paid", "ann", at(1)))
    given: dict[str, Any] = {"entry": {"rate": "100 per hour"}} if way == "limit" else {}
    world.campaign(LATER, exit=[{"rule": PAID_LATELY}], **given)
    if way == "segment":
        world.tell(*(event("segment.contact_added", key, at(2), segment="everyone") for key in ("ann", "ben")))
    else:
        world.update(at(2))
    assert world.members() == {"ben": "in 1"}
    tick(world, at(7))
    assert world.members() == {"ben": "in 1"}
    tick(world, at(9))
    assert world.members() == {"ann": "in 1", "ben": "in 1"}
    assert world.read("SELECT * FROM leaving") == []
    world.check()


def test_who_came_into_a_source_while_an_exit_was_true_comes_back_when_time_makes_it_false(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(LATER, exit=[{"rule": PAID_LATELY}], reentry="after_exit")
    world.run()
    world.tell(event("order.paid", "ann", at(2)))
    world.leave("everyone", "ann", when=at(3))
    world.enter("everyone", "ann", when=at(3))
    assert world.members() == {"ann": "exit 1"}
    # A second order holds it longer.
    world.tell(event("order.paid", "ann", at(6)))
    tick(world, at(10))
    assert world.members() == {"ann": "exit 1"}
    tick(world, at(14))
    assert world.members() == {"ann": "in 2"}


def test_who_may_come_back_does_when_it_is_no_longer_true(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(LATER, exit=[{"rule": CUSTOMER}], reentry="after_exit")
    world.run()
    tag(world, "ann")
    world.leave("everyone", "ann", when=at(3))
    world.enter("everyone", "ann", when=at(3))
    world.update(at(3))
    assert world.members() == {"ann": "exit 1"}
    tag(world, "ann", 4, remove=True)
    world.update(at(4))
    assert world.members() == {"ann": "in 2"}


def test_a_rule_that_fails_lets_nobody_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(contact: Contact) -> bool:
        if contact.fields.get("mood") == "bad":
            raise RuntimeError("no idea")
        return contact.fields.get("mood") == "good"

    install_condition(monkeypatch, "test.mood", answer)
    world.contacts("ann", segment="everyone", mood="bad")
    world.campaign(LATER, exit=[{"rule": {"condition": "test.mood"}}])
    world.run()
    world.time_passes(at(1))
    assert world.members() == {"ann": "in 1"}
    world.tell(event("contact.changed", "ann", at(1, "12:00"), fields={"mood": "good"}))
    assert world.members() == {"ann": "exit 1"}


def test_an_exit_segment_by_rule_lets_out_by_change_and_by_time(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.tell(event("order.paid", "ann", at(1)))
    world.by_rule("customers", CUSTOMER)
    world.by_rule("silent", {"not": PAID_LATELY}, at(1))
    world.campaign(LATER, exit=[{"segment": "customers"}, {"segment": "silent"}])
    world.run(at(1))
    # Ben never paid.
    assert world.members() == {"ann": "in 1"}
    world.time_passes(at(9))
    assert world.members() == {"ann": "exit 1"}


def test_what_an_exit_rule_may_not_ask_is_told(world: World) -> None:
    for rule, sentence in (
        ({"condition": "contact.field", "with": {"field": "entry.x", "operator": "=", "value": 1}}, "'entry' is known"),
        ({"condition": "contact.campaigns", "with": {"campaigns": ["this"]}}, "cannot ask for the campaign itself"),
        ({"condition": "contact.pints"}, "unknown condition"),
    ):
        with pytest.raises(CampaignFileError, match=sentence):
            world.campaign(LATER, exit=[{"rule": rule}])
    with pytest.raises(CampaignFileError, match="an exit needs one of 'event', 'segment' and 'rule'"):
        world.campaign(LATER, exit=[{"rule": CUSTOMER, "segment": "x"}])


def test_an_exit_segment_whose_rule_changes_lets_those_out_whom_a_person_added_before(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.contacts("eve")
    tag(world, "ann", 1)
    tag(world, "eve", 1)
    world.by_rule("customers", {"condition": "contact.tags", "with": {"tags": ["nobody"]}})
    world.campaign(LATER, exit=[{"segment": "customers"}])
    world.add("eve", at(1))
    world.run(at(1))
    world.by_rule("customers", CUSTOMER, at(2))
    assert world.members() == {"ann": "exit 1", "eve": "exit 1", "ben": "in 1"}
    # Whom a person adds afterwards stays.
    world.add("eve", at(3))
    world.update(at(3))
    assert world.members()["eve"] == "in 2"


def exit_by(world: World, rule: object) -> None:
    world.campaign(LATER, exit=[{"rule": rule}], when=at(2))


BERLIN = {"condition": "contact.field", "with": {"field": "company.city", "operator": "=", "value": "Berlin"}}


@pytest.fixture
def employed(world: World) -> World:
    """A member, in a company."""
    world.contacts("ann", segment="everyone")
    world.tell(event("contact.changed", "ann", at(1), company="acme"))
    world.campaign(LATER)
    world.run(at(1))
    return world


def test_whoever_changed_a_company_before_an_exit_was_stored_and_commits_later_is_heard(employed: World) -> None:
    world = employed
    with world.engine.begin() as conn:
        companies.save(conn, "acme", name=None, fields={"city": "Berlin"})
        rules.follow(conn, now=at(2), zone=world.zone)
        exit_by(world, BERLIN)
        world.time_passes(at(2))
        assert world.members() == {"ann": "in 1"}
    world.time_passes(at(2))
    assert world.members() == {"ann": "exit 1"}


def test_whoever_changes_a_company_while_an_exit_is_stored_is_heard(employed: World) -> None:
    world = employed
    with world.engine.begin() as storing:
        rule_table.begin_to_change(storing)
        with world.engine.begin() as conn:
            companies.save(conn, "acme", name=None, fields={"city": "Berlin"})
    assert len(world.read("SELECT FROM unjudged_company")) == 1


def test_a_transaction_that_ends_with_what_others_share_holds_rules_as_they_are(employed: World) -> None:
    world = employed
    with world.engine.begin() as conn:
        companies.save(conn, "acme", name=None, fields={"city": "Berlin"})
        rule_table.leave_rest(conn)
        with world.engine.connect() as other:
            other.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(OperationalError, match="lock timeout"):
                rule_table.begin_to_change(other)


def test_who_is_asked_about_what_was_left_is_asked_the_exit_that_came_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(LATER)
    world.campaign(LATER, key="other", segments=("nobody",), exit=[{"rule": CUSTOMER}])
    world.run(at(1))
    world.write("INSERT INTO unjudged (contact_id) SELECT id FROM contact")
    lock_free = rule_table.lock_free

    def late(conn: Connection, contact_ids: Collection[int]) -> list[int]:
        """Between the look for whom to ask and their locks."""
        monkeypatch.setattr(rule_table, "lock_free", lock_free)
        exit_by(world, CUSTOMER)
        # Somebody else asks the new exit, and what is left meanwhile, by who cannot ask, is asked here.
        world.write("UPDATE membership SET exit_due_at = NULL")
        world.write("INSERT INTO contact_tag (contact_id, tag) SELECT id, 'customer' FROM contact")
        return lock_free(conn, contact_ids)

    monkeypatch.setattr(rule_table, "lock_free", late)
    world.time_passes(at(2))
    assert world.members() == {"ann": "exit 1"}


def test_who_comes_into_a_segment_by_its_rule_is_asked_the_exit_that_came_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.contacts("ann", segment="everyone", country="FR")
    world.campaign(LATER)
    world.run(at(1))
    with world.engine.begin() as conn:
        french = {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
        segment_id = segment_rules.put(conn, "french", french, now=at(1))
    lock = batch.lock

    def late(conn: Connection, contact_ids: Iterable[int]) -> list[int]:
        """Between what the range says and the locks of who is to move."""
        monkeypatch.setattr(batch, "lock", lock)
        exit_by(world, {"condition": "contact.segments", "with": {"segments": ["french"]}})
        # Somebody else asks the new exit before.
        world.write("UPDATE membership SET exit_due_at = NULL")
        return lock(conn, contact_ids)

    monkeypatch.setattr(batch, "lock", late)
    assert rebuilding.work_all(world.engine, [segment_id], now=at(2), zone=world.zone)
    assert world.inside("french") == {"ann"}
    assert world.members() == {"ann": "exit 1"}


def violated(world: World) -> dict[str, list[dict[str, Any]]]:
    found = [each for full in (True, False) for each in rule_check.run(world.engine, full=full, zone=world.zone)]
    return {each.name: each.examples for each in found if each.violations}


def test_the_check_finds_members_whom_an_exit_should_have_let_out(world: World) -> None:
    world.contacts("ann", "ben", "cleo", "dan", segment="everyone")
    world.contacts("eve")
    world.campaign(LATER, exit=[{"rule": CUSTOMER}])
    world.run()
    world.add("eve", at(1))
    world.time_passes(at(1))
    assert violated(world) == {}
    world.write("INSERT INTO contact_tag (contact_id, tag) SELECT id, 'customer' FROM contact WHERE key <> 'dan'")
    # Those who are still to be asked, and whom a person added, are in their place.
    world.write("INSERT INTO unjudged (contact_id, what) SELECT id, 'tags.customer' FROM contact WHERE key = 'ben'")
    world.write(
        "UPDATE membership SET exit_due_at = :now FROM contact WHERE contact.id = contact_id AND key = 'cleo'",
        now=at(1),
    )
    assert violated(world) == {"members_of_exit_rules": [{"campaign": "c", "contact": "ann"}]}
    world.time_passes(at(1))
    assert world.members() == {"ann": "in 1", "ben": "exit 1", "cleo": "exit 1", "dan": "in 1", "eve": "in 1"}


def test_the_check_leaves_out_those_whose_company_changed_just_now(employed: World) -> None:
    world = employed
    exit_by(world, BERLIN)
    world.by_rule("berlin", BERLIN, at(2))
    world.time_passes(at(2))
    with world.engine.begin() as conn:
        companies.save(conn, "acme", name=None, fields={"city": "Berlin"})
    assert violated(world) == {}
    world.time_passes(at(2))
    assert world.members() == {"ann": "exit 1"}
    assert world.inside("berlin") == {"ann"}
