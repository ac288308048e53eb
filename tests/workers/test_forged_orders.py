"""What anybody can write to the queues of a broker: it ends at once, and is told of."""

from __future__ import annotations

from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from structlog.testing import capture_logs

from parcours.domain.jobs import ActOnEvents, Deliver, ExecuteDue, FollowTimezones, RunSweep
from parcours.ops.settings import Settings
from parcours.producers.broker import LONGEST_DELAY_MS, make_broker, publish, why_no_order
from parcours.workers.actors import Workshop, register
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


def test_what_asks_to_wait_for_years_is_looked_at_now(world: World) -> None:
    broker = make_broker(None)
    message = dramatiq.MessageProxy(dramatiq.Message("decisions", "act_on_events", (), {}, {"eta": 10**18}))
    broker.emit_before("delay_message", message)
    assert message.options["eta"] == 0
    assert LONGEST_DELAY_MS > 0
