"""Cron alone, tick alone and both let the same contacts in and out at the same moments."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Literal

import pytest

from parcours.db.tables import entrants
from parcours.domain.jobs import EndGraces, Order, ReleaseEntrants, RunSweep, SyncMembers
from parcours.producers import tick
from parcours.producers.broker import make_broker
from parcours.producers.tick import Tick
from parcours.workers import membership
from parcours.workers.sweeps import run_sweep, sync_members
from tests.workers.worlds import World, at, event

STEPS = "- {step: a, action: contact.points, with: {points: 1}, after: 9 days}"
By = Literal["cron", "tick", "both"]
WAYS: tuple[By, ...] = ("cron", "tick", "both")


class Clock:
    """A tick and a crontab at one simulated time; what tick orders is done at once, in this process."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.now = at(1)
        self.orders: list[Order] = []
        self.tick = Tick(world.engine, make_broker(None))
        monkeypatch.setattr(tick, "publish", lambda _, order: self.orders.append(order))
        monkeypatch.setattr(tick, "database_now", lambda _: self.now)

    def settle(self, by: By, *, tick_first: bool = False) -> None:
        """Let cron, tick or both do what is due now, until there is nothing left of it."""
        steps: list[Callable[[], object]] = []
        if by != "tick":
            steps.append(lambda: self.world.update(self.now))
        if by != "cron":
            steps.insert(0 if tick_first else len(steps), self._tick)
        for step in steps:
            step()

    def _tick(self) -> None:
        for _ in range(20):
            # Tick leaves a sweep that is younger than a second to whoever asked for it.
            self.world.write("UPDATE sweep SET asked_at = asked_at - interval '1 minute'")
            self.tick.run_once()
            found, self.orders[:] = list(self.orders), []
            ours = [order for order in found if self._is_ours(order)]
            for order in ours:
                self._do(order)
            if not ours:
                return
        raise AssertionError("tick does not come to an end")

    def _is_ours(self, order: Order) -> bool:
        return isinstance(order, RunSweep | EndGraces | ReleaseEntrants)

    def _do(self, order: Order) -> None:
        engine, zone = self.world.engine, self.world.zone
        match order:
            case RunSweep():
                for below, _delay in run_sweep(engine, order.sweep_id, order.round, zone=zone):
                    self._do(below)
            case SyncMembers():
                sync_members(engine, order.sweep_id, zone=zone)
            case EndGraces():
                membership.grace_over_all(engine, now=self.now, zone=zone)
            case ReleaseEntrants():
                with engine.connect() as conn:
                    due = entrants.due(conn, now=self.now)
                for campaign_id in due:
                    with engine.begin() as conn:
                        membership.release(conn, campaign_id, now=self.now, zone=zone, ask=True)


@pytest.fixture
def clock(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock(world, monkeypatch)
    yield made
    made.tick.close()


def rows(world: World) -> list[tuple[Any, ...]]:
    """Return every membership and every wait of the campaign, with all their times."""
    found = world.read(
        "SELECT contact.key, rotation::text, arrival::text, departure::text, added_at, left_at "
        "FROM membership JOIN contact ON contact.id = contact_id "
        "UNION ALL SELECT contact.key, rotation::text, reason::text, NULL, anchor_at, due_at "
        "FROM wait JOIN contact ON contact.id = contact_id ORDER BY 1, 2, 3"
    )
    return [tuple(row) for row in found]


def moved(world: World, way: Literal["added", "removed"], segment: str, key: str, now: datetime) -> None:
    world.tell(event(f"segment.contact_{way}", key, now, segment=segment))


@pytest.mark.parametrize("by", WAYS)
def test_who_enters_again_during_the_cooldown_is_let_in_when_it_is_over(world: World, clock: Clock, by: By) -> None:
    world.contacts("ann", "ben", segment="everyone")
    world.campaign(STEPS, reentry="after_exit", cooldown="3 days")
    clock.settle(by)
    moved(world, "removed", "everyone", "ann", at(2))
    moved(world, "removed", "everyone", "ben", at(2))
    moved(world, "added", "everyone", "ann", at(3))
    moved(world, "added", "everyone", "ben", at(3))
    moved(world, "removed", "everyone", "ben", at(4))
    clock.now = at(5, "08:59")
    clock.settle(by)
    assert world.members() == {"ann": "segment 1", "ben": "segment 1"}
    clock.now = at(5)
    clock.settle(by)
    assert world.members() == {"ann": "in 2", "ben": "segment 1"}


@pytest.mark.parametrize("by", WAYS)
def test_a_cooldown_that_became_shorter_lets_in_sooner(world: World, clock: Clock, by: By) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(STEPS, reentry="after_exit", cooldown="9 days")
    clock.settle(by)
    moved(world, "removed", "everyone", "ann", at(2))
    moved(world, "added", "everyone", "ann", at(3))
    clock.now = at(4)
    world.campaign(STEPS, reentry="after_exit", cooldown="3 days", when=clock.now)
    clock.settle(by)
    clock.now = at(6)
    clock.settle(by)
    assert world.members() == {"ann": "in 2"}


def test_nobody_who_waits_for_a_cooldown_is_read_before_it_is_over(world: World, clock: Clock) -> None:
    world.crowd(5, segment="everyone")
    world.campaign(STEPS, reentry="after_exit", cooldown="9 days")
    clock.settle("tick")
    for key in ("c1", "c2"):
        moved(world, "removed", "everyone", key, at(2))
        moved(world, "added", "everyone", key, at(3))
    assert world.read("SELECT count(*) AS n FROM leaving")[0].n == 2
    clock.now = at(4)
    clock.tick.run_once()
    assert EndGraces() not in clock.orders
    clock.now = at(11)
    clock.tick.run_once()
    assert EndGraces() in clock.orders


@pytest.mark.parametrize("by", WAYS)
def test_who_leaves_an_exit_segment_is_let_in_by_a_source_that_holds_them(world: World, clock: Clock, by: By) -> None:
    world.contacts("ann", "ben", "cem", segment="out")
    world.enter("everyone", "ann", "ben")
    world.campaign(STEPS, exit=[{"segment": "out"}])
    clock.settle(by)
    assert world.members() == {}
    clock.now = at(2)
    for key in ("ann", "cem"):
        moved(world, "removed", "out", key, at(2))
    clock.settle(by)
    assert world.members() == {"ann": "in 1"}


@pytest.mark.parametrize("by", WAYS)
def test_whom_a_rule_kept_out_is_let_in_when_it_is_true_no_more(world: World, clock: Clock, by: By) -> None:
    world.contacts("ann", "ben", segment="everyone", country="FR")
    world.contacts("cem", country="FR")
    rule = {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
    world.campaign(STEPS, exit=[{"rule": rule}])
    clock.settle(by)
    assert world.members() == {}
    for key in ("ann", "cem"):
        world.tell(event("contact.changed", key, at(2), fields={"country": "BE"}))
    clock.now = at(2)
    world.time_passes(clock.now)
    clock.settle(by)
    assert world.members() == {"ann": "in 1"}


@pytest.mark.parametrize("seed", range(6))
def test_cron_alone_tick_alone_and_both_agree_row_by_row(world: World, clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    people = [f"c{n}" for n in range(1, 7)]
    segments = ["one", "two", "out"]
    settings: dict[str, Any] = {
        "reentry": chance.choice(["after_exit", "always", "never"]),
        "exit": chance.choice([[], [{"segment": "out"}]]),
        "exit_on_leave": chance.random() < 0.8,
    }
    if chance.random() < 0.8:
        settings["cooldown"] = chance.choice(["1 day", "5 hours"])
    if chance.random() < 0.5:
        settings["grace"] = "7 hours"
    if chance.random() < 0.4:
        settings["entry"] = {"rate": "2 per hour"}
    # What happens hour by hour, the same in each way.
    story = [
        [
            (chance.choice(["added", "removed"]), chance.choice(segments), chance.choice(people))
            for _ in range(chance.choice([0, 0, 1, 2]))
        ]
        for _ in range(60)
    ]
    pauses = {hour: chance.random() < 0.6 for hour in chance.sample(range(60), 4)}
    orders = [chance.random() < 0.5 for _ in story]
    found: dict[str, Any] = {}
    for by in WAYS:
        world.write("TRUNCATE contact, segment, campaign, membership, segment_member, wait, realign CASCADE")
        for segment in segments:
            world.segment(segment)
        world.contacts(*people)
        clock.now = at(1)
        world.campaign(STEPS, segments=["one", "two"], when=clock.now, **settings)
        seen = []
        for hour, (acts, first) in enumerate(zip(story, orders, strict=True)):
            clock.now = at(1) + timedelta(hours=hour)
            if hour in pauses:
                world.publish(pauses[hour], clock.now)
            for way, segment, key in acts:
                moved(world, "added" if way == "added" else "removed", segment, key, clock.now)
            clock.settle(by, tick_first=first)
            seen.append((hour, rows(world)))
        found[by] = seen
    for by in ("tick", "both"):
        for (hour, one), (_, other) in zip(found["cron"], found[by], strict=True):
            assert one == other, (by, hour, settings, set(one) ^ set(other))
