"""Two who touch the same contact, or the same campaign, at the same moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy import event as listening

from parcours.db import merge_locks
from parcours.db.checks import invariants
from parcours.db.tables import campaigns, erasure, segments, sweeps, waits
from parcours.db.tables.membership import Chunk
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.errors import CampaignError
from parcours.services import apply_campaign, campaign_changes, campaign_plan, removal
from parcours.workers.membership import reconcile
from parcours.workers.sweeps import finish_if_done, run_sweep
from tests.workers.worlds import START, World, at, event

POINT = "- {step: point, action: contact.points, with: {points: 1}}"
LATER = "- {step: later, action: contact.points, with: {points: 1}, after: 3 days}"
# How long a test waits for what is sure to come, however slow the machine.
LONG = 600


@contextmanager
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def until_somebody_waits(world: World) -> None:
    """Return when a connection to this database waits for a lock."""
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline:
        if world.read("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"):
            return
        time.sleep(0.01)
    raise AssertionError("nobody waits for anything")


@contextmanager
def after_statement(world: World, part: str, do: Callable[[], object]) -> Iterator[None]:
    """Do something once, right after a statement with some words in it was answered."""
    left = [do]

    def listen(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if part in statement and left:
            left.pop()()

    listening.listen(world.engine, "after_cursor_execute", listen)
    try:
        yield
    finally:
        listening.remove(world.engine, "after_cursor_execute", listen)
    assert not left, f"no statement with {part!r} was sent"


def erase(conn: Connection, world: World, *keys: str) -> None:
    erasure.erase(conn, dict.fromkeys(world.ids(conn, *keys), START))


def violations(world: World) -> list[str]:
    return [each.name for each in invariants.run(world.engine) if each.violations]


# Erasing and merging beside joining.


@pytest.mark.parametrize("steps", [POINT, LATER], ids=["at once", "by timezone"])
def test_who_is_being_erased_does_not_join(world: World, steps: str) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(steps)
    with world.engine.begin() as conn:
        erase(conn, world, "ann")
        assert world.update() == {"added": 1}
    assert world.members() == {"ben": "in 1"}
    assert violations(world) == []


def test_who_is_just_joining_is_erased_with_all_that_they_have(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(POINT)
    with beside() as threads:
        with world.engine.begin() as conn:
            campaign, _ = campaigns.enter(conn, world.found(conn).id, world.zone)
            done = reconcile(conn, campaign, Chunk(0, 2**31), now=START, zone=world.zone)
            assert done["added"] == 1
            told = threads.submit(world.tell, event("contact.deleted", "ann", at(2)))
            # Whoever is to erase them leaves them alone for now, and waits for nobody.
            assert world.act(at(2)) == {}
        told.result(LONG)
    world.act(at(2))
    assert world.read("SELECT FROM contact") == []
    assert world.read("SELECT FROM wait") == []
    assert violations(world) == []


def test_who_is_being_erased_becomes_no_member_of_a_segment(world: World) -> None:
    world.contacts("ann", "ben")
    world.segment("everyone")
    with beside() as threads:
        with world.engine.begin() as conn:
            found = segments.find(conn, "everyone")
            assert found is not None
            ids = world.ids(conn, "ann", "ben")
            erase(conn, world, "ann")

            def add() -> list[int]:
                with world.engine.begin() as other:
                    return segments.add_members(other, found.id, ids, manual=True, now=START)

            added = threads.submit(add)
            until_somebody_waits(world)
        assert added.result(LONG) == [ids[1]]
    assert len(world.read("SELECT FROM segment_member")) == 1


def test_a_survivor_may_join_the_campaign_of_the_other_at_the_same_moment(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(LATER)
    world.update(contacts=["ben"])
    world.accept(event("contact.merged", "ann", at(2), **{"from": "ben"}), now=at(2))
    with world.engine.begin() as conn:
        campaign, _ = campaigns.enter(conn, world.found(conn).id, world.zone)
        assert reconcile(conn, campaign, Chunk(0, 2**31), now=START, zone=world.zone)["added"] == 1
        assert world.act(at(2)) == {}
    world.act(at(2))
    assert world.members() == {"ann": "in 1"}
    assert world.standing("ann") == ["later"]
    assert violations(world) == []


def test_who_is_being_erased_is_not_sent_on_from_a_step_that_is_dropped(world: World) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(LATER)
    world.update()
    with beside() as threads:
        with world.engine.begin() as conn:
            erase(conn, world, "ann")
            new = "- {step: other, action: contact.points, with: {points: 1}, after: 5 days}"
            applied = threads.submit(world.campaign, new, redirect={"later": "other"})
            applied.result(LONG)
        assert world.standing("ben") == ["other"]
    assert violations(world) == []


# Waits of nobody.


@pytest.fixture
def nobody(world: World) -> World:
    """A world in which somebody is due at a step, and another who is no contact any more."""
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(POINT)
    world.update()
    world.write("DELETE FROM contact WHERE key = 'ben'")
    return world


def test_a_trigger_cleans_up_a_wait_of_nobody_and_ends(nobody: World) -> None:
    assert nobody.trigger() == {"done": 1}
    assert nobody.read("SELECT FROM wait") == []
    assert violations(nobody) == []


def test_a_sweep_for_the_queues_ends_at_a_wait_of_nobody(nobody: World) -> None:
    nobody.trigger(contacts=["ann"])
    with nobody.engine.begin() as conn:
        sweep_id = sweeps.ask(conn, "trigger", EVERYTHING, at=START)
    orders = [order for order, _ in run_sweep(nobody.engine, sweep_id, 0, zone=nobody.zone)]
    assert orders
    # What a worker does with the orders.
    nobody.trigger()
    assert run_sweep(nobody.engine, sweep_id, 1, zone=nobody.zone) == []
    with nobody.engine.begin() as conn:
        sweep = sweeps.find(conn, sweep_id)
        assert sweep is not None
        assert finish_if_done(conn, sweep)


def test_an_update_cleans_up_a_member_of_nobody(nobody: World) -> None:
    nobody.trigger(contacts=["ann"])
    nobody.write("DELETE FROM membership WHERE contact_id NOT IN (SELECT id FROM contact)")
    nobody.write("UPDATE campaign_count SET n = 1 WHERE what = 'added'")
    nobody.write("UPDATE campaign_hour_count SET n = 1 WHERE what = 'added'")
    nobody.update()
    assert len(nobody.read("SELECT FROM segment_member")) == 1
    assert nobody.read("SELECT FROM wait") == []


def test_a_wait_at_a_dropped_step_does_not_keep_a_trigger_from_ending(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(POINT)
    world.update()
    world.write("UPDATE step SET removed_at = now()")
    with world.engine.connect() as conn:
        assert waits.due_steps(conn, now=START) == []
    assert world.trigger() == {}
    world.write("UPDATE step SET removed_at = NULL")


# An update beside others.


def test_who_an_event_has_just_put_back_does_not_leave(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(LATER, reentry="never")
    world.update()
    world.leave("everyone", "ann", when=at(2))
    back = event("segment.contact_added", "ann", at(2, "10:00"), segment="everyone")
    with after_statement(world, "membership.departure IS NULL", lambda: world.tell(back)):
        assert world.update(at(2, "11:00")) == {}
    assert world.members() == {"ann": "in 1"}
    assert world.standing("ann") == ["later"]


def test_who_has_just_left_does_not_come_back(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(LATER, reentry="after_exit")
    world.update()
    world.tell(event("segment.contact_removed", "ann", at(2), segment="everyone"))
    world.enter("everyone", "ann", when=at(3))
    gone = event("segment.contact_removed", "ann", at(4), segment="everyone")
    with after_statement(world, "membership.departure IN", lambda: world.tell(gone)):
        assert world.update(at(4, "11:00")) == {}
    assert world.members() == {"ann": "segment 1"}


def test_an_update_takes_contacts_in_the_order_of_ids_as_an_import_does(world: World) -> None:
    world.contacts("leaver", "returner", segment="everyone")
    world.campaign(LATER, reentry="after_exit")
    world.update()
    world.tell(event("segment.contact_removed", "returner", at(2), segment="everyone"))
    world.enter("everyone", "returner", when=at(3))
    world.leave("everyone", "leaver", when=at(3))
    with beside() as threads:
        with world.engine.begin() as conn:
            lock = text("SELECT FROM contact WHERE key = :key FOR NO KEY UPDATE NOWAIT")
            conn.execute(lock, {"key": "leaver"})
            updated = threads.submit(world.update, at(4))
            until_somebody_waits(world)
            # Who waits for the first has not taken the second.
            conn.execute(lock, {"key": "returner"})
        assert updated.result(LONG) == {"restarted": 1, "removed": 1}


# Two who apply.


def test_who_applies_second_is_told_in_a_sentence(world: World) -> None:
    first = world.campaign(POINT)
    file = first.file.model_copy(update={"name": "Changed"})
    with world.engine.connect() as conn:
        planned = campaign_plan.plan(conn, file, zone=world.zone)
    for _ in range(2):
        with world.engine.connect() as conn:
            again = campaign_plan.plan(conn, file, zone=world.zone)
        if again.unchanged:
            break
        with world.engine.begin() as conn:
            apply_campaign.apply(conn, again, backfill=False, reschedule=False, who="other", now=START, zone=world.zone)
    with (
        world.engine.begin() as conn,
        pytest.raises(CampaignError, match="changed by someone else at the same time"),
    ):
        apply_campaign.apply(conn, planned, backfill=False, reschedule=False, who="test", now=START, zone=world.zone)


def test_two_who_make_the_same_campaign_at_once(world: World) -> None:
    planned = world.campaign(POINT)
    world.clear()
    with world.engine.connect() as conn:
        world.segment("everyone")
        planned = campaign_plan.plan(conn, planned.file, zone=world.zone)

    def apply() -> int:
        with world.engine.begin() as conn:
            return apply_campaign.apply(
                conn, planned, backfill=False, reschedule=False, who="test", now=START, zone=world.zone
            )

    with beside() as threads:
        both = [threads.submit(apply) for _ in range(2)]
        errors = [each.exception(LONG) for each in both]
    assert sorted(type(each).__name__ for each in errors) == ["NoneType", "OutdatedPlanError"]


def test_a_merge_waits_for_a_version_that_is_being_applied_with_no_contact_in_its_hands(world: World) -> None:
    world.contacts("ann", "ben")
    with beside() as threads:
        with world.engine.begin() as conn:
            merge_locks.shut_out_merges(conn)

            def shut_out() -> None:
                with world.engine.begin() as other:
                    merge_locks.shut_out_imports(other)

            waiting = threads.submit(shut_out)
            until_somebody_waits(world)
        waiting.result(LONG)


# Deleting what a campaign names beside storing that campaign.


def applied_in(conn: Connection, world: World, file: CampaignFile) -> None:
    planned = campaign_plan.plan(conn, file, zone=world.zone)
    apply_campaign.apply(conn, planned, backfill=False, reschedule=False, who="ann", now=START, zone=world.zone)


REMOVALS: dict[str, Callable[[Connection, str], None]] = {
    "everyone": removal.delete_segment,
    "signup": removal.delete_form,
    "hello": removal.delete_email,
}


@pytest.fixture
def naming(world: World) -> CampaignFile:
    """A campaign that names a segment, a form and an email, and is not stored yet."""
    world.segment("everyone")
    world.email("hello")
    world.campaign("- {action: email.send, with: {email: hello}}", forms=("signup",), key="first")
    with world.engine.begin() as conn:
        found = campaigns.find(conn, "first")
        file = campaigns.read_version(conn, found.key, found.id, found.version).file
        campaign_changes.delete(conn, found, who="ann", now=START)
    return file.model_copy(update={"campaign": "second"})


@pytest.mark.parametrize("key", REMOVALS)
def test_what_a_campaign_names_is_not_deleted_while_that_is_stored(
    world: World, naming: CampaignFile, key: str
) -> None:
    def delete() -> None:
        with world.engine.begin() as conn:
            REMOVALS[key](conn, key)

    with beside() as threads:
        with world.engine.begin() as conn:
            applied_in(conn, world, naming)
            told = threads.submit(delete)
            until_somebody_waits(world)
        with pytest.raises(CampaignError, match="it is used by campaigns second"):
            told.result(LONG)


@pytest.mark.parametrize("key", ["everyone", "signup"])
def test_a_campaign_that_names_what_is_just_deleted_is_not_stored(world: World, naming: CampaignFile, key: str) -> None:
    def store() -> None:
        with world.engine.begin() as conn:
            applied_in(conn, world, naming)

    with beside() as threads:
        with world.engine.begin() as conn:
            REMOVALS[key](conn, key)
            told = threads.submit(store)
            until_somebody_waits(world)
        with pytest.raises(CampaignError, match=rf"deleted at the same time: {key}; nothing was applied"):
            told.result(LONG)
    assert (
        world.read("SELECT FROM campaign_version JOIN campaign ON campaign.id = campaign_id WHERE key = 'second'") == []
    )
