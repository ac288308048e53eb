"""The options of `update` and `trigger`, and what many sweeps at once come to."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from parcours.db.scope import Scope
from parcours.db.tables import sweeps
from parcours.domain.jobs import Order, RunSweep
from parcours.ops.settings import Settings
from parcours.producers.broker import make_broker
from parcours.workers.actors import Workshop
from parcours.workers.sweeps import run_sweep
from tests.workers.worlds import START, World, at

ALL_SORTS = """
    - {step: kick, action: contact.points, with: {points: 1}}
    - {step: slow, action: contact.points, with: {points: 10}, after: 1 day}
    - step: hit
      decision: page.hit
      no: [{step: missed, action: contact.points, with: {points: 100}, after: 1 day}]
"""
POINT = "- {step: a, action: contact.points, with: {points: 1}}"


@pytest.fixture
def crowd(world: World) -> World:
    """Twenty contacts in the segment, and a campaign that gives each a point."""
    world.crowd(20, segment="everyone")
    world.campaign(POINT)
    return world


@pytest.mark.parametrize(
    ("reasons", "log"),
    [
        (("kickoff",), ["kick done"]),
        (("delay", "retry"), ["slow done"]),
        (("decision",), ["hit no", "missed done"]),
        (("kickoff", "decision"), ["hit no", "kick done", "missed done"]),
    ],
)
def test_a_sweep_may_do_one_kind_of_work_only(world: World, reasons: Any, log: list[str]) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(ALL_SORTS)
    world.update()
    world.trigger(at(2), reasons=reasons)
    assert sorted(world.log()) == log
    world.trigger(at(2))
    assert world.points() == [111]


def test_a_tick_that_looks_after_a_sweep_does_not_leave_one_more_who_looks_for_ever(crowd: World) -> None:
    crowd.update()
    with crowd.engine.begin() as conn:
        sweep_id = sweeps.ask(conn, "trigger", Scope(), at=at(1))

    def looks(look: int) -> list[Order]:
        return [order for order, _ in run_sweep(crowd.engine, sweep_id, look, zone=crowd.zone)]

    started = looks(0)
    assert RunSweep(sweep_id, 1) in started
    assert RunSweep(sweep_id, 2) in looks(1)
    # What tick asks for, and a message that came twice.
    assert looks(0) == [order for order in started if not isinstance(order, RunSweep)] != []


def test_only_the_contacts_that_were_named(crowd: World) -> None:
    assert crowd.update(contacts=["c1", "c3", "c5"]) == {"added": 3}
    assert crowd.trigger(contacts=["c1"]) == {"done": 1}
    assert crowd.trigger(contacts=["c1", "c3", "c20"]) == {"done": 1}
    assert set(crowd.members()) == {"c1", "c3", "c5"}
    assert [wait.contact for wait in crowd.waits()] == ["c5"]


def test_only_a_range_of_contacts_ends_included(crowd: World) -> None:
    assert crowd.update(min_id="c5", max_id="c9") == {"added": 5}
    crowd.update()
    assert crowd.trigger(min_id="c18") == {"done": 3}
    assert crowd.trigger(max_id="c2") == {"done": 2}
    assert crowd.trigger(min_id="c10", max_id="c10") == {"done": 1}
    assert crowd.points() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_threads_share_all_contacts_and_none_is_in_two(crowd: World, threads: int) -> None:
    shares = range(1, threads + 1)
    added = [crowd.update(thread=share, threads=threads)["added"] for share in shares]
    assert sum(added) == len(crowd.members()) == 20
    assert max(added) - min(added) <= 1
    ids = {key: crowd.contact_id(key) for key in crowd.members()}
    for share in shares:
        before = {wait.contact for wait in crowd.waits()}
        assert crowd.trigger(thread=share, threads=threads) == {"done": added[share - 1]}
        mine = before - {wait.contact for wait in crowd.waits()}
        assert mine == {key for key, id_ in ids.items() if (id_ + share - 1) % threads == 0}
    assert crowd.points() == [1] * 20


def test_threads_share_leavers_and_returners_too(world: World) -> None:
    keys = world.crowd(10, segment="everyone")
    world.campaign(POINT, reentry="after_exit")
    world.run()
    world.leave("everyone", *keys)
    assert sum(world.update(at(2), thread=n, threads=3)["removed"] for n in (1, 2, 3)) == 10
    world.enter("everyone", *keys)
    assert sum(world.update(at(3), thread=n, threads=3)["restarted"] for n in (1, 2, 3)) == 10


def test_a_limit_of_contacts_is_kept_exactly_in_each_campaign(world: World) -> None:
    world.crowd(20, segment="everyone")
    for key in ("a", "b"):
        world.campaign(POINT, key=key)
    assert world.update(campaign_limit=7) == {"added": 14}
    assert world.update(campaign_limit=7, batch_limit=3) == {"added": 14}
    assert world.trigger(campaign_limit=5) == {"done": 10}
    assert world.trigger(campaign_limit=5, batch=2) == {"done": 10}
    assert world.trigger(campaign_limit=5, batch_limit=3) == {"done": 8}


def test_a_limit_counts_who_leaves_as_well(world: World) -> None:
    keys = world.crowd(10, segment="everyone")
    world.campaign(POINT)
    world.update()
    world.leave("everyone", *keys)
    world.crowd(3, segment="everyone", prefix="new")
    assert world.update(at(2), campaign_limit=5) == {"added": 3, "removed": 2}
    assert world.update(at(2), batch_limit=3) == {"removed": 8}


@pytest.mark.parametrize("batch", [1, 3, 10, 1000])
def test_the_size_of_a_batch_changes_nothing(crowd: World, batch: int) -> None:
    assert crowd.update(batch_limit=batch) == {"added": 20}
    assert crowd.trigger(batch_limit=batch) == {"done": 20}
    assert crowd.points() == [1] * 20


def test_the_oldest_due_goes_first(world: World) -> None:
    world.contacts("old", "young")
    world.campaign(POINT)
    for key, clock in (("young", "10:00"), ("old", "09:00")):
        world.enter("everyone", key)
        world.update(at(1, clock))
    world.trigger(at(2), campaign_limit=1)
    assert world.log() == ["a done"]
    assert world.points("old", "young") == [1, 0]


def test_of_those_who_are_due_together_the_lowest_ids_go_first(crowd: World) -> None:
    crowd.update()
    # Those with the lowest ids stand last in the table, and so in the index of what is due.
    for minutes in ("1 minute", "-1 minute"):
        crowd.write(
            "UPDATE wait SET due_at = due_at + CAST(:by AS interval) "
            "WHERE contact_id IN (SELECT id FROM contact ORDER BY id LIMIT 7)",
            by=minutes,
        )
    for done in (3, 6, 9):
        crowd.trigger(campaign_limit=3)
        assert crowd.points() == [1] * done + [0] * (20 - done)


@pytest.mark.parametrize("kind", ["trigger", "update"])
def test_a_cap_is_kept_when_several_workers_work_for_the_same_sweep(
    world: World, redis_url: str, kind: sweeps.Kind
) -> None:
    world.crowd(40, segment="everyone")
    world.campaign(POINT)
    if kind == "trigger":
        world.update()
    with world.engine.begin() as conn:
        sweep_id = sweeps.ask(conn, kind, Scope(campaign_limit=10, batch_limit=5), at=START)
    run_sweep(world.engine, sweep_id, 0, zone=world.zone)
    broker = make_broker(redis_url)
    workshop = Workshop(world.engine, broker, Settings())
    together = threading.Barrier(4)

    def work() -> None:
        together.wait(600)
        if kind == "trigger":
            workshop.execute_due(world.step_id("a"), sweep_id)
        else:
            workshop.sync_members(sweep_id)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    broker.close()
    moved = sum(world.points()) if kind == "trigger" else len(world.members())
    assert moved == 10


def test_one_campaign_only_and_all_but_one(world: World) -> None:
    world.crowd(2, segment="everyone")
    for key in ("a", "b", "c"):
        world.campaign(POINT, key=key)
    assert world.update(campaigns=["a"]) == {"added": 2}
    assert world.update(excluded=["b"]) == {"added": 2}
    assert world.members(campaign="b") == {}
    world.update()
    assert world.trigger(campaigns=["c"]) == {"done": 2}
    assert world.trigger(excluded=["a"]) == {"done": 2}
    assert (world.log(campaign="a"), len(world.waits(campaign="a"))) == ([], 2)


def test_a_second_sweep_of_the_same_instant_finds_nothing(crowd: World) -> None:
    crowd.run()
    assert (crowd.update(), crowd.trigger()) == ({}, {})


def test_ten_updates_and_ten_triggers_at_once_are_as_good_as_one_each(world: World) -> None:
    world.crowd(300, segment="everyone", country="US")
    world.campaign(
        """
        - step: us
          condition: contact.field
          with: {field: country, operator: "=", value: US}
          yes:
            - step: point
              action: contact.points
              with: {points: 1}
              then: [{step: later, action: contact.points, with: {points: 1}, after: 1 day}]
        """
    )
    with ThreadPoolExecutor(8) as pool:
        updates = [pool.submit(world.update) for _ in range(10)]
        triggers = [pool.submit(world.trigger, START, batch=25) for _ in range(10)]
        assert sum(each.result()["added"] for each in updates) == 300
        for each in triggers:
            each.result()
    world.trigger()
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(world.trigger, at(2), batch=25) for _ in range(10)]
        assert sum(each.result()["done"] for each in done) == 300
    assert world.tally() == {"us yes": 300, "point done": 300, "later done": 300}
    assert world.points() == [2] * 300


def test_a_submission_beside_an_update_is_one_membership(world: World) -> None:
    keys = world.crowd(60, segment="everyone")
    world.campaign(POINT, forms=["signup"])
    with ThreadPoolExecutor(6) as pool:
        submissions = [pool.submit(world.submit, "signup", key) for key in keys]
        updates = [pool.submit(world.update, batch_limit=7) for _ in range(4)]
        for each in (*submissions, *updates):
            each.result()
    world.trigger()
    assert world.points() == [1] * 60
