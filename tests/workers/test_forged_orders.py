"""What anybody can write to the queues of a broker: it ends at once, and is told of."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import dramatiq
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.stub import StubBroker
from structlog.testing import capture_logs

from parcours.domain.jobs import ActOnEvents, Deliver, ExecuteDue, FollowTimezones, RunSweep
from parcours.ops.settings import Settings
from parcours.producers.broker import make_broker, publish, queue_depths
from parcours.producers.orders import why_no_order
from parcours.workers.actors import Workshop, register
from tests import servers
from tests.workers.worlds import World

FORGED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("nobody", {}, {}),
    ("execute_due", {}, {}),
    ("execute_due", {"step_id": "1; DROP TABLE wait"}, {}),
    ("execute_due", {"step_id": 10**30}, {}),
    ("execute_due", {"step_id": True}, {}),
    ("execute_due", {"step_id": -1}, {}),
    ("execute_due", {"step_id": 1, "sweep_id": 1.5}, {}),
    ("execute_due", {"step_id": 1, "more": 1}, {}),
    ("run_sweep", {"sweep_id": 1, "round": 10**9}, {}),
    ("deliver", {"channel": "x" * 10_000}, {}),
    ("deliver", {"channel": ["email"]}, {}),
    ("deliver", {"channel": "nowhere"}, {}),
    ("act_on_events", {}, {"retries": "many"}),
    ("act_on_events", {}, {"retries": -(10**9)}),
    ("act_on_events", {}, {"time_limit": "for ever", "max_retries": 10**18, "pipe_target": {"a": 1}}),
    ("act_on_events", {}, {"eta": 10**18, "on_failure": "nobody", "on_success": ["x"]}),
]


@pytest.mark.parametrize("order", [RunSweep(1), ActOnEvents(), ExecuteDue(1, 2), ExecuteDue(1), Deliver("email")])
def test_our_own_orders_are_orders(order: Any) -> None:
    broker = make_broker(None)
    assert isinstance(broker, StubBroker)
    publish(broker, order)
    message = dramatiq.Message.decode(broker.queues[order.queue].get())
    assert why_no_order(message.actor_name, message.args, message.kwargs) is None


def test_forged_orders_end_at_once_and_the_others_are_done(world: World) -> None:
    broker = make_broker(None)
    assert isinstance(broker, StubBroker)
    register(Workshop(world.engine, broker, Settings()))
    for actor, kwargs, options in FORGED:
        forged: dramatiq.Message[None] = dramatiq.Message(
            queue_name="decisions", actor_name=actor, args=(), kwargs=kwargs, options=options
        )
        broker.queues["decisions"].put(forged.encode())
    for nothing in (b"no message at all", b"\xff\xfe", b"[" * 5_000, b"{}", b'{"queue_name": 1}'):
        broker.queues["decisions"].put(nothing)
    publish(broker, FollowTimezones())
    worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=50)
    with capture_logs() as lines:
        worker.start()
        try:
            for queue in ("decisions", "membership"):
                broker.join(queue, timeout=600_000, fail_fast=False)
            worker.join()
        finally:
            worker.stop()
    refused = [line for line in lines if line["event"] == "order_refused"]
    assert len(refused) >= 16
    assert all(line["why"] for line in refused)


def _parts(**parts: Any) -> bytes:
    made = dramatiq.Message("decisions", "act_on_events", (), {}, {}).asdict() | parts
    return json.dumps(made).encode()


WHOLE = _parts()
YEAR_9999 = 253_402_300_799_999
ABSURD: dict[str, bytes] = {
    "no queue has this name": _parts(queue_name="nowhere"),
    "another queue": _parts(queue_name="sweeps"),
    "a queue of what is delayed": _parts(queue_name="decisions.DQ"),
    "the queue is a number": _parts(queue_name=5),
    "the queue is half an emoji": _parts(queue_name="\ud800"),
    "nobody's task": _parts(actor_name="nobody"),
    "the task of another queue": _parts(actor_name="run_sweep", kwargs={"sweep_id": 1}),
    "the time is a word": _parts(message_timestamp="x"),
    "a time before all times": _parts(message_timestamp=-(10**30)),
    "the arguments are a mapping": _parts(args={}),
    "the arguments are no mapping": _parts(kwargs=[]),
    "the options are a list": _parts(options=[]),
    "tried fewer than no times": _parts(options={"retries": -1}),
    "delayed where nothing is": _parts(options={"eta": YEAR_9999}),
    "delayed, for no queue": _parts(queue_name="nowhere", options={"eta": 5}),
    "delayed by a list": _parts(options={"eta": [1]}),
    "an id of 100,000 letters": _parts(message_id="x" * 100_000),
    "not UTF-8": b"\xff\xfe",
    "no JSON": b"no message",
    "nothing": b"",
    "3,000 deep": b"[" * 3_000 + b"]" * 3_000,
    "900 deep in an option": WHOLE.replace(
        b'"options": {}', b'"options": {"traceback":' + b"[" * 900 + b"]" * 900 + b"}"
    ),
    "50 MB": _parts(options={"traceback": "y" * 50_000_000}),
}


@pytest.fixture(scope="module", params=["in process", "redis", "rabbitmq"])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    if request.param == "in process":
        yield None
        return
    with servers.broker(request.param) as server:
        yield server.url


def _put(broker: Any, queue: str, data: bytes) -> None:
    if isinstance(broker, StubBroker):
        broker.queues[queue].put(data)
    elif hasattr(broker, "client"):
        id_ = str(uuid4())
        broker.client.hset(f"parcours:{queue}.msgs", id_, data)
        broker.client.rpush(f"parcours:{queue}", id_)
    else:
        broker.channel.basic_publish("", queue, data)


def _left(broker: Any, url: str | None) -> int:
    if url is None:
        return sum(queue.unfinished_tasks for queue in broker.queues.values())
    return sum(queue_depths(url).values())


@pytest.mark.parametrize("queue", ["decisions", "decisions.DQ"])
def test_absurd_orders_end_and_every_thread_of_a_worker_goes_on(url: str | None, queue: str) -> None:
    broker = make_broker(url)
    done = threading.Event()

    def act_on_events(look: int) -> None:
        done.set()

    dramatiq.actor(actor_name="act_on_events", queue_name="decisions", broker=broker)(act_on_events)
    if isinstance(broker, RabbitmqBroker):
        broker.declare_queue("decisions", ensure=True)
    for data in ABSURD.values():
        _put(broker, queue, data)
    worker = dramatiq.Worker(broker, queues={"decisions"}, worker_threads=2, worker_timeout=50)
    with capture_logs() as lines:
        worker.start()
        try:
            refused: list[Any] = []
            while len(refused) < len(ABSURD):
                refused = [line for line in lines if line["event"] == "order_refused"]
                assert all(thread.is_alive() for thread in [*worker.workers, *worker.consumers.values()])
                time.sleep(0.01)
            assert not done.is_set()
            publish(broker, ActOnEvents())
            assert done.wait(600)
            assert all(thread.is_alive() for thread in [*worker.workers, *worker.consumers.values()])
        finally:
            worker.stop()
    assert {line["queue"] for line in refused} == {queue}
    assert all("set a password" in line["advice"] for line in refused)
    assert _left(broker, url) == 0, "nothing comes back to the next worker"
    broker.close()
