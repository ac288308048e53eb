"""Tick: one of several leads, nothing that comes back by itself ends it, and every kind of work has its hint."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from dramatiq.broker import Broker
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import ConnectionClosed
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from parcours.db.clock import now as database_now
from parcours.db.engine import connect
from parcours.db.scope import Scope
from parcours.db.tables import sweeps, waits
from parcours.domain.jobs import Deliver, Order
from parcours.domain.walk.rows import Wait
from parcours.producers import tick
from parcours.producers.broker import make_broker
from parcours.producers.tick import LEADER_LOCK, Tick, sql
from tests.db.rows import campaign, contacts
from tests.web.conftest import eventually

LEADERS = """
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND objid = :lock AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@pytest.fixture
def broker() -> Iterator[StubBroker]:
    made = make_broker(None)
    assert isinstance(made, StubBroker)
    yield made
    made.close()


@pytest.fixture
def step(engine: Engine) -> int:
    """A step at which somebody is due."""
    with engine.begin() as conn:
        now = database_now(conn)
        contacts(conn, [1])
        campaign_id, (step_id,) = campaign(conn, "a")
        waits.arm(conn, [Wait(1, step_id, campaign_id, 1, 1, 0, "delay", now, now - timedelta(hours=1))])
    return step_id


class Rounds(threading.Event):
    """Lets a tick run so many rounds, without a pause between them."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.left = rounds

    def wait(self, timeout: float | None = None) -> bool:
        self.left -= 1
        if not self.left:
            self.set()
        return self.is_set()


def orders(broker: StubBroker) -> int:
    return sum(queue.qsize() for queue in broker.queues.values())


def leaders(engine: Engine) -> list[int]:
    with engine.connect() as conn:
        return list(conn.execute(text(LEADERS), {"lock": LEADER_LOCK}).scalars())


def test_one_of_two_leads_until_it_gives_up(engine: Engine, step: int, broker: StubBroker) -> None:
    first, second = Tick(engine, broker), Tick(engine, broker)
    assert (first.run_once(), second.run_once()) == (1, 0)
    assert len(leaders(engine)) == 1
    assert orders(broker) == 1
    first.close()
    first.close()
    assert leaders(engine) == []
    assert second.run_once() == 1
    assert first.run_once() == 0
    second.close()


def test_who_gives_up_the_lead_leaves_it_to_the_next_at_once(engine: Engine, broker: StubBroker) -> None:
    ticking = Tick(engine, broker)
    with engine.connect() as other:
        for _ in range(30):
            ticking.run_once()
            assert not other.execute(sql["lead"], {"lock": LEADER_LOCK}).scalar_one()
            ticking.close()
            assert other.execute(sql["lead"], {"lock": LEADER_LOCK}).scalar_one()
            assert other.execute(sql["give_up"], {"lock": LEADER_LOCK}).scalar_one()


def test_another_leads_as_soon_as_the_leaders_session_is_gone(engine: Engine, step: int, broker: StubBroker) -> None:
    first, second = Tick(engine, broker), Tick(engine, broker)
    first.run_once()
    (leader,) = leaders(engine)
    with engine.connect() as conn:
        conn.execute(text("SELECT pg_terminate_backend(:pid, 60000)"), {"pid": leader})
    assert second.run_once() == 1
    with pytest.raises(OperationalError):
        first.run_once()
    first.close()
    assert first.run_once() == 0
    second.close()


class Failing(Tick):
    """A tick whose first rounds fail."""

    def __init__(self, engine: Engine, broker: Broker, *errors: BaseException) -> None:
        super().__init__(engine, broker)
        self.errors = list(errors)

    def run_once(self) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return super().run_once()


def test_whatever_comes_back_by_itself_is_waited_for(engine: Engine, step: int, broker: StubBroker) -> None:
    from psycopg.errors import DeadlockDetected, ReadOnlySqlTransaction

    errors = (
        ConnectionClosed(ConnectionError("broker")),  # type: ignore[no-untyped-call]
        ConnectionRefusedError("broker"),
        OperationalError("SELECT", {}, DeadlockDetected("deadlock")),
        # What a standby says, where another server was promoted.
        InternalError("SELECT", {}, ReadOnlySqlTransaction("read-only")),
        PoolTimeoutError("no connection was free"),
    )
    Failing(engine, broker, *errors).run(Rounds(len(errors) + 1))
    assert orders(broker) == 1
    # Who stops gives up the lead, once the server has seen the session end.
    eventually(lambda: not leaders(engine))


def test_a_pool_that_others_have_emptied_is_waited_for(engine: Engine, step: int, broker: StubBroker) -> None:
    small = connect(engine.url.render_as_string(hide_password=False), pool_size=1)
    small.pool._timeout = 0.01  # type: ignore[attr-defined]
    held: list[Connection] = [small.connect() for _ in range(2)]

    class Freed(Rounds):
        def wait(self, timeout: float | None = None) -> bool:
            if held:
                assert orders(broker) == 0
            while held:
                held.pop().close()
            return super().wait()

    Tick(small, broker).run(Freed(2))
    small.dispose()
    assert orders(broker) == 1


def test_a_defect_is_not_waited_for(engine: Engine, broker: StubBroker) -> None:
    with engine.begin() as conn:
        conn.execute(text("ALTER TABLE sweep RENAME COLUMN finished_at TO ended_at"))
    ticking = Tick(engine, broker)
    with pytest.raises(ProgrammingError):
        ticking.run(Rounds(1))
    ticking.close()


def test_a_sweep_that_nobody_looks_after_is_asked_for_again_and_not_every_second(
    engine: Engine, broker: StubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.begin() as conn:
        now = database_now(conn)
        ids = [sweeps.ask(conn, "update", Scope(), at=now) for _ in range(3)]
        # The last one was asked for just now, however slow the machine is.
        conn.execute(
            text("UPDATE sweep SET asked_at = now() + CASE WHEN id = :id THEN 1 ELSE -1 END * interval '1 minute'"),
            {"id": ids[2]},
        )
        sweeps.finish(conn, ids[0])
    ticking = Tick(engine, broker)
    assert [ticking.run_once() for _ in range(3)] == [1, 0, 0]
    monkeypatch.setattr(tick, "HINT_SECONDS", 0.0)
    assert [ticking.run_once() for _ in range(3)] == [0, 0, 0], "the one that was asked for is still on its queue"
    broker.flush_all()
    assert [ticking.run_once() for _ in range(3)] == [1, 0, 0]
    assert broker.queues["sweeps"].qsize() == 1
    ticking.close()


def test_a_channel_has_one_hint_however_many_lanes_it_has(engine: Engine, broker: StubBroker) -> None:
    with engine.begin() as conn:
        contacts(conn, [1])
        campaign(conn, "a")
        for n, channel in enumerate(["email", "email", "sms"]):
            conn.execute(
                text(
                    "INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, priority, due_at, "
                    "created_at) SELECT 1, :key, campaign_id, id, 1, :channel, :n, now(), now() FROM step"
                ),
                {"key": str(n), "channel": channel, "n": n},
            )
    published: list[Order] = []
    ticking = Tick(engine, broker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tick, "publish", lambda _, order: published.append(order))
        assert ticking.run_once() == 2
        assert ticking.run_once() == 0
    assert published == [Deliver("email"), Deliver("sms")]
    ticking.close()


def test_partitions_are_there_before_anything_is_done(engine: Engine, broker: StubBroker) -> None:
    ticking = Tick(engine, broker)
    ticking.run_once()
    with engine.connect() as conn:
        now = database_now(conn)
        assert conn.execute(text("SELECT to_regclass(:name)"), {"name": f"{now:outcome_%Y_%m}"}).scalar_one()
    ticking.close()
