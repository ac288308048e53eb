"""Many workers at the same contacts: they skip each other, and never wait in a circle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from parcours.workers.executor import execute_due
from tests.workers.worlds import START, UTC_ZONE, World

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


def test_two_transactions_count_in_slots_of_their_own(due: World) -> None:
    with due.engine.connect() as one, due.engine.connect() as other:
        slots = [conn.exec_driver_sql("SELECT counter_slot()").scalar_one() for conn in (one, other)]
        assert len(set(slots)) == 2
        one.rollback()
        assert one.exec_driver_sql("SELECT counter_slot()").scalar_one() not in slots[1:]
        one.rollback()
        other.rollback()
