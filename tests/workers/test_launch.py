"""A campaign that changed is aligned by cron alone, by tick alone or by both, with one result; who applies at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import Engine

from parcours.db.clock import now as database_now
from parcours.domain.jobs import Order, RunSweep, SyncMembers
from parcours.producers import tick
from parcours.producers.broker import make_broker
from parcours.producers.tick import Tick
from parcours.services import apply_campaign, campaign_plan
from parcours.services.apply_campaign import OutdatedPlanError
from parcours.workers.sweeps import run_sweep, sync_members
from tests.workers.worlds import World

STEPS = "- {step: a, action: contact.points, with: {points: 1}, after: 9 days}"
By = Literal["cron", "tick", "both"]


class Ticking:
    """A tick whose orders for sweeps are done in this process; the others are nobody's concern here."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.orders: list[Order] = []
        self.tick = Tick(world.engine, make_broker(None))
        monkeypatch.setattr(tick, "publish", lambda _, order: self.orders.append(order))

    def settle(self) -> int:
        """Let tick look until it asks for no sweep any more; return how many it asked for."""
        asked = 0
        while True:
            self.tick.run_once()
            found = [order for order in self.orders if isinstance(order, RunSweep)]
            self.orders.clear()
            if not found:
                return asked
            asked += len(found)
            for order in found:
                self._do(order)

    def _do(self, order: Order) -> None:
        engine, zone = self.world.engine, self.world.zone
        if isinstance(order, RunSweep):
            for below, _delay in run_sweep(engine, order.sweep_id, order.round, zone=zone):
                self._do(below)
        elif isinstance(order, SyncMembers):
            sync_members(engine, order.sweep_id, zone=zone)


@pytest.fixture
def ticking(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ticking]:
    made = Ticking(world, monkeypatch)
    yield made
    made.tick.close()


def moment(world: World) -> datetime:
    with world.engine.connect() as conn:
        return database_now(conn)


BY_HAND = {
    "published": "UPDATE campaign SET published = true",
    "paused": "UPDATE campaign SET published = false",
    "begun": "UPDATE campaign SET publish_from = now() - interval '1 minute'",
    "yet to begin": "UPDATE campaign SET publish_from = now() + interval '9 days'",
    "a source more": "INSERT INTO campaign_source SELECT campaign.id, 'segment', segment.id FROM campaign, segment "
    "WHERE segment.key = 'two' ON CONFLICT DO NOTHING",
    "a source less": "DELETE FROM campaign_source WHERE source_id = (SELECT id FROM segment WHERE key = 'two')",
    "category on": "UPDATE category SET published = true",
    "category off": "UPDATE category SET published = false",
    "segment on": "UPDATE segment SET published = true",
    "segment off": "UPDATE segment SET published = false WHERE key = 'two'",
}


def settle(world: World, ticking: Ticking, by: By, tick_first: bool) -> None:
    steps: list[Callable[[], object]] = []
    if by != "tick":
        steps.append(lambda: world.update(moment(world)))
    if by != "cron":
        steps.insert(0 if tick_first else len(steps), ticking.settle)
    for step in steps:
        step()


@pytest.mark.parametrize("seed", range(3))
def test_cron_alone_tick_alone_or_both_give_the_same_result(world: World, ticking: Ticking, seed: int) -> None:
    chance = random.Random(seed)
    changes = [chance.choice(list(BY_HAND)) for _ in range(8)] + ["published", "begun", "category on", "segment on"]
    orders = [chance.random() < 0.5 for _ in changes]
    found = {}
    ways: tuple[By, ...] = ("cron", "tick", "both")
    for by in ways:
        world.write("TRUNCATE contact, segment, category, campaign, membership, segment_member, wait, realign CASCADE")
        world.crowd(3, segment="one")
        world.crowd(3, segment="two", prefix="d")
        world.campaign(STEPS, segments=["one", "two"], category="k", when=moment(world))
        settle(world, ticking, by, False)
        seen = []
        for change, first in zip(changes, orders, strict=True):
            world.write(BY_HAND[change])
            settle(world, ticking, by, first)
            seen.append((change, sorted(world.members().items())))
        found[by] = seen
    assert found["tick"] == found["cron"]
    assert found["both"] == found["cron"]


def test_a_launch_is_one_sweep_and_a_campaign_that_is_aligned_none(world: World, ticking: Ticking) -> None:
    world.crowd(3, segment="everyone")
    world.campaign(STEPS, published=False, when=moment(world))
    assert ticking.settle() == 0
    world.publish(now=moment(world))
    assert ticking.settle() == 1
    assert len(world.members()) == 3
    assert ticking.settle() == 0
    world.campaign(STEPS, description="more", when=moment(world))
    world.update(moment(world))
    assert ticking.settle() == 0


def test_an_update_of_some_contacts_leaves_the_rest_to_tick(world: World, ticking: Ticking) -> None:
    world.crowd(3, segment="everyone")
    world.campaign(STEPS, when=moment(world))
    with world.engine.connect() as conn:
        (first,) = world.ids(conn, "c1")
    world.update(moment(world), contact_ids=(first,))
    assert ticking.settle() == 1
    assert len(world.members()) == 3


def test_two_people_and_a_pipeline_apply_at_once_and_one_wins(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path)
    file = world.campaign(STEPS).file
    plans = []
    with engine.connect() as conn:
        for who in ("ann", "ben", "pipeline"):
            changed = file.model_copy(update={"description": who})
            plans.append((who, campaign_plan.plan(conn, changed, zone=world.zone)))
    ready = threading.Barrier(len(plans))
    ended: dict[str, str] = {}

    def apply(who: str, planned: campaign_plan.CampaignPlan) -> None:
        ready.wait()
        try:
            with engine.begin() as conn:
                apply_campaign.apply(
                    conn,
                    planned,
                    backfill=False,
                    reschedule=False,
                    who=who,
                    now=moment(world),
                    zone=world.zone,
                    message=f"by {who}",
                )
            ended[who] = "applied"
        except OutdatedPlanError as error:
            ended[who] = str(error)

    threads = [threading.Thread(target=apply, args=each) for each in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [who for who, end in ended.items() if end == "applied"]
    said = "c was changed by someone else at the same time; nothing was applied; check the plan and apply again"
    assert sorted(set(ended.values())) == ["applied", said]
    rows = world.read("SELECT version, who, message, definition ->> 'description' AS text FROM campaign_version")
    assert [(row.version, row.who, row.message, row.text) for row in rows if row.version > 1] == [
        (2, winner, f"by {winner}", winner)
    ]
