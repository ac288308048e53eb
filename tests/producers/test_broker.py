"""The broker: which one a URL means, what is put on its queues, and what comes back from them."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import dramatiq
import pytest
from dramatiq.broker import Broker, MessageProxy
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import ConnectionClosed
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from parcours.domain.errors import CampaignError
from parcours.domain.jobs import QUEUES, ActOnEvents, Deliver, ExecuteDue, Order, RunSweep, SyncMembers
from parcours.producers import broker as brokers
from parcours.producers.broker import BrokerAwayError, away, check_broker, depth, make_broker, publish, queue_depths
from parcours.producers.orders import MOST_BYTES, MOST_CHARACTERS, TolerantEncoder, why_no_order
from tests import servers

ORDERS = [ActOnEvents(), ExecuteDue(3), ExecuteDue(3, 2**62), RunSweep(1, 7), SyncMembers(1), Deliver("sms")]


def test_a_url_means_its_broker_and_none_means_this_process() -> None:
    kinds: dict[str | None, type[Broker]] = {
        None: StubBroker,
        "redis://h/3": RedisBroker,
        "rediss://h": RedisBroker,
        "unix:///tmp/x.sock": RedisBroker,
        "amqp://h": RabbitmqBroker,
        "amqps://h": RabbitmqBroker,
    }
    for url, kind in kinds.items():
        made = make_broker(url)
        assert isinstance(made, kind)
        assert set(QUEUES) <= made.get_declared_queues()
        made.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@h",
        "nonsense",
        "redis://user:secret@h:port/0",
        "redis://user:secret@[::1",
        "redis://user:secret@h/0?socket_timeout=soon",
        "amqp://user:secret@h:port/",
        "amqp://user:secret@h/?heartbeat=often",
    ],
)
def test_a_url_that_means_no_broker_is_told_in_a_sentence_without_its_password(url: str) -> None:
    for ask in (make_broker, check_broker, queue_depths):
        with pytest.raises(CampaignError) as caught:
            ask(url)
        assert not isinstance(caught.value, BrokerAwayError), "waiting does not mend it"
        assert "PARCOURS_BROKER_URL" in str(caught.value)
        assert "redis://" in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_does_not_answer_is_away(scheme: str) -> None:
    with socket.socket() as taken:
        # Bound, and not listening: nobody else gets the port, and nobody answers.
        taken.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BrokerAwayError, match="start it, or check PARCOURS_BROKER_URL"):
            check_broker(url)
        broker = make_broker(url)
        with pytest.raises(brokers.away(broker)):
            publish(broker, ActOnEvents())
        broker.close()


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_goes_to_its_own_queue_and_comes_out_as_it_was(order: Order) -> None:
    broker = make_broker(None)
    assert isinstance(broker, StubBroker)
    publish(broker, order)
    assert {name: queue.qsize() for name, queue in broker.queues.items() if queue.qsize()} == {order.queue: 1}
    (message,) = [dramatiq.Message.decode(raw) for raw in broker.queues[order.queue].queue]
    assert (message.actor_name, message.kwargs, message.args) == (order.actor, asdict(order), ())
    assert why_no_order(message.actor_name, message.args, message.kwargs) is None
    broker.close()


@pytest.fixture(params=["redis", "rabbitmq"])
def real_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A real broker with empty queues, before and after."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    broker = make_broker(url)
    for queue in QUEUES:
        _empty(broker, queue)
    yield url
    for queue in QUEUES:
        _empty(broker, queue)
    broker.close()


def _empty(broker: Broker, queue: str) -> None:
    # RabbitMQ: there is no such queue yet.
    with contextlib.suppress(ConnectionClosed):
        broker.flush(queue)


def test_what_waits_is_counted_by_queue_what_is_delayed_too(real_url: str) -> None:
    check_broker(real_url)
    broker = make_broker(real_url)
    publish(broker, ExecuteDue(1))
    publish(broker, ExecuteDue(2), delay_ms=500_000)
    publish(broker, Deliver("email"))
    wanted = dict.fromkeys(QUEUES, 0) | {"executor": 2, "delivery": 1}
    assert queue_depths(real_url) == wanted
    broker.close()


def _read_all(broker: Broker) -> None:
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    try:
        broker.join("executor", timeout=600_000)
        worker.join()
    finally:
        worker.stop()


def _forged() -> list[tuple[str, bytes]]:
    """What somebody wrote to a queue, with the id under which it stands in Redis."""
    made: list[tuple[str, bytes]] = [("a", b"no message"), ("b", b"{}"), ("c", b"\xff"), ("\u2028", b"[]")]
    asked: list[tuple[str, dict[str, Any]]] = [
        ("nobody", {"redis_message_id": "m0"}),
        ("execute_due", {"redis_message_id": "m1"}),
        ("nobody", {"redis_message_id": "of another"}),
        ("nobody", {"redis_message_id": ["x"]}),
        ("nobody", {"redis_message_id": "\ud800"}),
        ("nobody", {}),
        ("unreadable", {"redis_message_id": "m6"}),
    ]
    for number, (actor, options) in enumerate(asked):
        message: dramatiq.Message[None] = dramatiq.Message("executor", actor, (), {}, options)
        made.append((f"m{number}", message.encode()))
    # The same twice, under another id.
    elsewhere: dramatiq.Message[None] = dramatiq.Message("sweeps", "execute_due", (), {}, {"redis_message_id": "e"})
    return [*made, ("m0 again", made[4][1]), ("e", elsewhere.encode())]


def _no_task(step_id: int, sweep_id: int | None = None) -> None:
    pass


def test_what_is_no_order_is_read_once_from_redis_and_told_of_in_one_line(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = make_broker(redis_url)
    broker.flush_all()
    dramatiq.actor(actor_name="execute_due", queue_name="executor", broker=broker)(_no_task)
    client = broker.client  # type: ignore[attr-defined]
    for id_, data in _forged():
        client.hset("parcours:executor.msgs", id_, data)
        client.rpush("parcours:executor", id_)
    client.rpush("parcours:executor", "of nothing")
    publish(broker, ExecuteDue(1))
    with capture_logs() as lines:
        _read_all(broker)
    assert queue_depths(redis_url)["executor"] == 0
    assert not client.keys("parcours:__acks__*executor*")
    assert not client.keys("parcours:executor*")
    assert len([line for line in lines if line["event"] == "order_refused"]) >= len(_forged()) - 1
    assert not [each for each in caplog.records if each.exc_info or each.levelname == "ERROR"]
    broker.close()


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=9), inner, max_size=2),
    max_leaves=4,
)


@given(
    st.sampled_from([order.actor for order in ORDERS] + ["nobody"]),
    st.dictionaries(st.sampled_from(["step_id", "sweep_id", "round", "channel", "x"]), values, max_size=3),
)
def test_only_arguments_that_an_order_takes_make_one(actor: str, kwargs: dict[str, Any]) -> None:
    why = why_no_order(actor, (), kwargs)
    classes = {order.actor: type(order) for order in ORDERS}
    if why is None:
        made = classes[actor](**kwargs)
        assert asdict(made).items() >= kwargs.items()
        for name, value in kwargs.items():
            assert value is None or type(value) in (int, str), name
            assert not isinstance(value, int) or 0 <= value < 2**63
    assert why_no_order(actor, (1,), kwargs) is not None


@pytest.mark.parametrize(
    ("actor", "kwargs", "why"),
    [
        ("nobody", {}, "unknown task"),
        ("execute_due", {}, "step_id is missing"),
        ("execute_due", {"step_id": 1, "x": 1}, "the arguments are invalid"),
        ("execute_due", {"step_id": True}, "step_id has an invalid value"),
        ("execute_due", {"step_id": -1}, "step_id has an invalid value"),
        ("execute_due", {"step_id": 2**31}, "step_id has an invalid value"),
        ("execute_due", {"step_id": None}, "step_id has an invalid value"),
        ("execute_due", {"step_id": 1, "sweep_id": None}, None),
        ("deliver", {"channel": "x" * (MOST_CHARACTERS + 1)}, "channel has an invalid value"),
        ("deliver", {"channel": 1}, "channel has an invalid value"),
    ],
)
def test_why_something_is_no_order(actor: str, kwargs: dict[str, Any], why: str | None) -> None:
    assert why_no_order(actor, (), kwargs) == why


def _read(queue: str, data: bytes) -> MessageProxy | None:
    """Return what a worker is given of what stands on a queue, which is then empty."""
    broker = make_broker(None)
    assert isinstance(broker, StubBroker)
    broker.queues[queue].put(data)
    found: MessageProxy | None = next(broker.consume(queue, timeout=1))
    assert found is not None or not broker.queues[queue].unfinished_tasks
    return found


@given(st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_no_message_is_read_and_removed(data: bytes) -> None:
    with capture_logs() as lines:
        assert _read("executor", data) is None
    assert [line["why"] for line in lines] == ["it is not a valid message"]
    assert "set a password" in lines[0]["advice"]


def test_what_is_too_deep_too_long_or_too_long_a_number_is_no_message_either() -> None:
    for data in (b"[" * 100_000, b"1" * 10_000, b'"' + b"x" * MOST_BYTES + b'"'):
        assert TolerantEncoder().readable(data) is None


def _message(**parts: Any) -> bytes:
    made = dramatiq.Message("executor", "execute_due", (), {"step_id": 1}, {}).asdict() | parts
    return json.dumps(made).encode()


def test_nobody_elses_options_come_with_an_order() -> None:
    options = {"retries": 2, "max_retries": 10**9, "on_success": "deliver", "time_limit": 1}
    good = _read("executor", _message(options=options))
    assert good is not None
    assert good.options.keys() - {"redis_message_id"} == {"retries"}


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"kwargs": {"step_id": "1"}}, "step_id has an invalid value"),
        ({"options": {"retries": -1}}, "the options are invalid"),
        ({"options": {"retries": "x"}}, "the options are invalid"),
        ({"options": {"retries": True}}, "the options are invalid"),
        ({"options": {"traceback": ["x"]}}, "the options are invalid"),
        ({"options": {"eta": 5}}, "the options are invalid"),
        ({"options": {"eta": None}}, "the options are invalid"),
        ({"queue_name": "nowhere"}, "it is for another queue"),
        ({"queue_name": "sweeps"}, "it is for another queue"),
        ({"queue_name": "executor.DQ"}, "it is for another queue"),
        ({"actor_name": "act_on_events", "kwargs": {}}, "it is for another queue"),
        ({"actor_name": "nobody"}, "unknown task"),
        ({"message_id": ""}, "it is not a valid message"),
        ({"message_id": "x" * 41}, "it is not a valid message"),
        ({"message_id": "\ud800"}, "it is not a valid message"),
        ({"message_timestamp": True}, "the time is invalid"),
        ({"message_timestamp": -1}, "the time is invalid"),
        ({"message_timestamp": 10**400}, "the time is invalid"),
    ],
)
def test_why_a_message_is_refused(parts: dict[str, Any], why: str) -> None:
    with capture_logs() as lines:
        assert _read("executor", _message(**parts)) is None
    assert [(line["event"], line["queue"], line["why"]) for line in lines] == [("order_refused", "executor", why)]


@pytest.mark.parametrize("eta", [None, "x", True, -1, 1.5, float("inf"), [1]])
def test_a_delay_is_a_time_or_the_message_is_refused(eta: Any) -> None:
    assert _read("executor.DQ", _message(queue_name="executor.DQ", options={"eta": eta})) is None


def test_what_asks_to_wait_for_years_is_looked_at_now() -> None:
    found = _read("executor.DQ", _message(queue_name="executor.DQ", options={"eta": 10**18}))
    assert found is not None
    assert found.options["eta"] == 0


def test_inside_a_process_only_the_newest_failures_are_kept() -> None:
    broker = make_broker(None)
    assert isinstance(broker, StubBroker)
    consumer = broker.consume("executor", timeout=1)
    for _ in range(brokers.MOST_DEAD + 5):
        broker.queues["executor"].put(_message())
        message = next(consumer)
        assert message is not None
        consumer.nack(message)
    assert len(broker.dead_letters) == brokers.MOST_DEAD


def test_how_long_a_queue_is_can_be_asked_again_after_the_connection_was_lost() -> None:
    with servers.broker("rabbitmq") as server:
        broker: Any = make_broker(server.url)
        publish(broker, ActOnEvents())
        assert depth(broker, "decisions") == 1
        broker.channel.close()
        with pytest.raises(away(broker)):
            depth(broker, "decisions")
        assert depth(broker, "decisions") == 1
        broker.close()
