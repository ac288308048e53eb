"""How often a tick asks for the same work."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import ConnectionClosed
from sqlalchemy import text

from parcours.db.clock import now as database_now
from parcours.db.scope import Scope
from parcours.db.tables import installation, sweeps
from parcours.db.tables.installation import WorkerSeen
from parcours.domain.jobs import QUEUES, ExecuteDue
from parcours.producers import tick
from parcours.producers.broker import depth, make_broker, publish
from parcours.producers.tick import Tick
from parcours.services import segment_rules
from tests.workers.worlds import START, World, event

STEPS = "- {step: a, action: contact.points, with: {points: 1}}"


@pytest.fixture(autouse=True)
def _a_hint_stands_however_slow_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "HINT_SECONDS", 3600.0)


@pytest.fixture
def due(world: World) -> World:
    """A world in which two contacts are due at a step, as of the server's clock."""
    world.contacts("ann", "bob", segment="everyone")
    with world.engine.connect() as conn:
        now = database_now(conn)
    world.campaign(STEPS, when=now - timedelta(hours=1))
    world.update(now - timedelta(minutes=1))
    return world


def hints(broker: StubBroker) -> int:
    return int(broker.queues["executor"].qsize())


def test_a_step_has_one_hint_while_no_worker_runs(due: World) -> None:
    broker = make_broker(None)
    assert isinstance(broker, StubBroker)
    ticking = Tick(due.engine, broker)
    assert [ticking.run_once() for _ in range(50)] == [1] + [0] * 49
    assert hints(broker) == 1
    ticking.close()


@pytest.mark.parametrize("kind", ["inside the process", "redis", "rabbitmq"])
def test_a_step_has_one_hint_however_long_no_worker_runs(
    due: World, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick, "HINT_SECONDS", 0.0)
    broker = make_broker(None if kind == "inside the process" else request.getfixturevalue(f"{kind}_url"))
    for queue in QUEUES:
        with contextlib.suppress(ConnectionClosed):
            broker.flush(queue)
    with due.engine.begin() as conn:
        sweeps.ask(conn, "trigger", Scope(), at=START)
        conn.execute(text("UPDATE sweep SET asked_at = now() - interval '1 minute'"))
    ticking = Tick(due.engine, broker)
    assert [ticking.run_once() for _ in range(30)] == [2] + [0] * 29
    assert {queue: depth(broker, queue) for queue in QUEUES if depth(broker, queue)} == {"executor": 1, "sweeps": 1}
    # Somebody took it from the queue, and did nothing.
    broker.flush("executor")
    assert [ticking.run_once() for _ in range(3)] == [1, 0, 0]
    # Workers ignore one that is so old.
    monkeypatch.setattr(tick, "EXPIRED_SECONDS", 0.0)
    assert ticking.run_once() == 2
    ticking.close()
    for queue in QUEUES:
        broker.flush(queue)
    broker.close()


def test_a_hint_that_a_worker_spent_is_given_again_on_a_queue_that_has_become_longer(
    due: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = make_broker(None)
    ticking = Tick(due.engine, broker)
    assert ticking.run_once() == 1
    monkeypatch.setattr(tick, "HINT_SECONDS", 0.0)
    publish(broker, ExecuteDue(1))
    assert ticking.run_once() == 0
    with due.engine.begin() as conn:
        now = database_now(conn)
        installation.beat(conn, WorkerSeen("silent:1", now, now - timedelta(minutes=2), 1, ("executor",)))
        installation.beat(conn, WorkerSeen("other:1", now, now, 1, ("sweeps",)))
    assert ticking.run_once() == 0
    with due.engine.begin() as conn:
        installation.beat(conn, WorkerSeen("worker:1", now, now, 1, ("executor",)))
    assert ticking.run_once() == 1
    ticking.close()


def test_a_step_where_somebody_was_done_gets_a_new_hint_at_once(due: World) -> None:
    broker = make_broker(None)
    assert isinstance(broker, StubBroker)
    ticking = Tick(due.engine, broker)
    ticking.run_once()
    due.write("UPDATE wait SET due_at = due_at + interval '1 second'")
    assert ticking.run_once() == 1
    assert hints(broker) == 2
    ticking.close()


def test_a_hint_that_a_broker_lost_is_sent_again_after_a_while(due: World, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = make_broker(None)
    assert isinstance(broker, StubBroker)
    ticking = Tick(due.engine, broker)
    ticking.run_once()
    broker.flush_all()
    assert ticking.run_once() == 0
    monkeypatch.setattr(tick, "HINT_SECONDS", 0.0)
    assert ticking.run_once() == 1
    assert hints(broker) == 1
    ticking.close()


def test_waiting_events_graces_and_timezones_have_one_hint_each_while_no_worker_runs(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.campaign(STEPS)
    world.accept(event("page.hit", "ann", url="/"), event("page.hit", "bob", url="/"))
    world.write(
        "INSERT INTO leaving (contact_id, campaign_id, due_at) SELECT contact.id, campaign.id, :at "
        "FROM contact, campaign",
        at=START,
    )
    world.write("INSERT INTO rezoned (contact_id) SELECT id FROM contact")
    broker = make_broker(None)
    ticking = Tick(world.engine, broker)
    assert [ticking.run_once() for _ in range(50)] == [4] + [0] * 49
    # Somebody acted on the oldest: there is work that no hint is out for.
    world.write("DELETE FROM inbox WHERE seq = (SELECT min(seq) FROM inbox)")
    assert ticking.run_once() == 1
    ticking.close()


def test_rules_that_are_due_and_those_asked_of_everybody_have_hints(world: World) -> None:
    world.contacts("ann", "bob")
    world.by_rule("new", {"condition": "contact.created", "with": {"within": "30 days"}})
    broker = make_broker(None)
    ticking = Tick(world.engine, broker)
    assert ticking.run_once() == 0
    world.write("UPDATE segment_due SET due_at = now() - interval '1 minute'")
    assert [ticking.run_once() for _ in range(20)] == [1] + [0] * 19
    with world.engine.begin() as conn:
        segment_rules.put(conn, "others", {"condition": "contact.tags", "with": {"tags": ["a"]}}, now=START)
    # As many hands as there are ranges.
    assert [ticking.run_once() for _ in range(20)] == [1] + [0] * 19
    ticking.close()
