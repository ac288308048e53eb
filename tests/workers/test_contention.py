"""Many workers at the same contacts: they skip each other, and never wait in a circle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from sqlalchemy import text

from parcours.ops.settings import Settings
from parcours.producers.broker import make_broker
from parcours.workers import actors
from parcours.workers.actors import Workshop, register
from parcours.workers.executor import execute_due
from tests.workers.worlds import START, UTC_ZONE, World, event

THREADS = 12
ROOTS = ("one", "two", "three", "four")
CROWD = 1200


@pytest.fixture
def due(world: World) -> World:
    """A world in which everybody begins at four root steps."""
    keys = world.crowd(CROWD)
    world.enter("everyone", *keys)
    world.segment("other")
    world.campaign("\n".join(f"- {{step: {key}, action: contact.points, with: {{points: 1}}}}" for key in ROOTS))
    world.update()
    return world


def test_twelve_threads_at_four_roots_never_deadlock(due: World) -> None:
    steps = [due.step_id(key) for key in ROOTS]
    before = due.read("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0].deadlocks

    def work(number: int) -> int:
        done, nothing = 0, 0
        while nothing < 40:
            with due.engine.begin() as conn:
                # Each begins at another root, so that siblings meet.
                step_id = steps[(number + done + nothing) % len(steps)]
                batch = execute_due(conn, step_id, now=START, limit=7, zone=UTC_ZONE)
            done, nothing = done + 1, 0 if batch.claimed else nothing + 1
        return done

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    due.trigger()
    assert due.tally() == {f"{key} done": CROWD for key in ROOTS}
    after = due.read("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0].deadlocks
    assert after == before
    due.check()


def test_a_claim_does_not_lock_the_waits_of_a_contact_that_it_skips(due: World) -> None:
    first = due.read("SELECT id FROM contact ORDER BY id LIMIT 1")[0].id
    with due.engine.connect() as holder, due.engine.connect() as claimer:
        holder.exec_driver_sql(f"SELECT FROM contact WHERE id = {first} FOR NO KEY UPDATE")
        batch = execute_due(claimer, due.step_id("one"), now=START, limit=CROWD, zone=UTC_ZONE)
        assert batch.claimed == CROWD - 1
        holder.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
        holder.exec_driver_sql(f"DELETE FROM wait WHERE contact_id = {first}")
        claimer.rollback()
        holder.rollback()


def test_who_is_in_other_hands_for_a_moment_waits_no_longer_than_that(
    due: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is due is of one contact, whom another transaction holds until the worker looks again."""
    with due.engine.begin() as conn:
        first = conn.execute(text("SELECT min(id) FROM contact")).scalar_one()
        conn.execute(text("DELETE FROM wait WHERE contact_id <> :id"), {"id": first})
    looked: list[float] = []
    broker = make_broker(None)
    register(workshop := Workshop(due.engine, broker, Settings()))
    with due.engine.connect() as holder:
        holder.execute(text("SELECT FROM contact WHERE id = :id FOR NO KEY UPDATE"), {"id": first})

        def time_passes(seconds: float) -> None:
            looked.append(seconds)
            holder.rollback()

        monkeypatch.setattr("time.sleep", time_passes)
        workshop.execute_due(due.step_id("one"))
    assert len(looked) == 1
    assert due.waits() == []


def test_who_is_in_other_hands_for_long_is_left_to_the_next_hint(due: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[float] = []
    monkeypatch.setattr("time.sleep", looked.append)
    broker = make_broker(None)
    register(workshop := Workshop(due.engine, broker, Settings()))
    with due.engine.connect() as holder:
        holder.execute(text("SELECT FROM contact FOR NO KEY UPDATE"))
        workshop.execute_due(due.step_id("one"))
        holder.rollback()
    assert len(looked) == actors.LOOKS
    assert len(due.waits()) == CROWD * len(ROOTS)


def test_two_transactions_count_in_slots_of_their_own(due: World) -> None:
    with due.engine.connect() as one, due.engine.connect() as other:
        slots = [conn.exec_driver_sql("SELECT counter_slot()").scalar_one() for conn in (one, other)]
        assert len(set(slots)) == 2
        one.rollback()
        assert one.exec_driver_sql("SELECT counter_slot()").scalar_one() not in slots[1:]
        one.rollback()
        other.rollback()


def test_looks_at_an_inbox_in_other_hands_come_to_an_end(world: World) -> None:
    """A flood of one contact's events is in one hand at a time: the others must not look for as long as it lasts."""
    world.contacts("ann")
    world.accept(event("page.hit", "ann", url="/"))
    broker = make_broker(None)
    assert isinstance(broker, StubBroker)
    workshop = Workshop(world.engine, broker, Settings())

    def published() -> list[int]:
        return [
            dramatiq.Message.decode(broker.queues[name].get_nowait()).kwargs["look"]
            for name in ("decisions", "decisions.DQ")
            for _ in range(broker.queues[name].qsize())
        ]

    with world.engine.connect() as holder:
        holder.exec_driver_sql("SELECT FROM contact FOR NO KEY UPDATE")
        look, looks = 0, 0
        workshop.act_on_events(look)
        while found := published():
            (look,) = found
            looks += 1
            workshop.act_on_events(look)
    assert looks == actors.INBOX_LOOKS
    workshop.act_on_events()
    assert published() == []
    assert world.read("SELECT FROM inbox") == []
