"""The broker, and the one way to put an order on its queues."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

import dramatiq
import structlog
from dramatiq.broker import Broker, MessageProxy
from dramatiq.brokers.stub import StubBroker
from dramatiq.encoder import JSONEncoder
from dramatiq.errors import ConnectionClosed, DecodeError
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    Middleware,
    Retries,
    ShutdownNotifications,
    SkipMessage,
    TimeLimit,
)

from parcours.domain.errors import CampaignError
from parcours.domain.jobs import QUEUES, Order

log = structlog.get_logger()

# What ours are delayed by at most, with room; a message that asks for more is not of ours.
LONGEST_DELAY_MS = 600_000
# What we or dramatiq write beside an order's arguments.
_OPTIONS = frozenset({"retries", "traceback", "requeue_timestamp", "eta", "redis_message_id"})
_MOST = {"step_id": 2**31 - 1, "sweep_id": 2**63 - 1, "round": 100_000, "look": 100}
MOST_CHARACTERS = 40
_ORDERS = {order.actor: order for order in Order.__subclasses__()}
_hints = {order.actor: get_type_hints(order) for order in _ORDERS.values()}

# A hint that waited this long has been overtaken by ticks.
MAX_AGE_MS = 3_600_000


# The parts of a message, and what each is.
_PARTS: dict[str, tuple[type, ...]] = {
    "queue_name": (str,),
    "actor_name": (str,),
    "args": (list, tuple),
    "kwargs": (dict,),
    "options": (dict,),
    "message_id": (str,),
    "message_timestamp": (int,),
}


class TolerantEncoder(JSONEncoder):
    """Reads what is no message as one for no actor: it is put aside, where an error would stop the queue."""

    def decode(self, data: bytes) -> dict[str, Any]:
        found = self.readable(data)
        if found is None:
            log.warning("order_refused", actor="", why="it is not a valid message")
            unreadable = {"queue_name": "", "actor_name": "unreadable", "args": (), "kwargs": {}}
            return {**unreadable, "options": {"redis_message_id": ""}, "message_id": "", "message_timestamp": 0}
        return found

    def readable(self, data: bytes) -> dict[str, Any] | None:
        """Return a message, whatever it asks for; None if it is none."""
        try:
            found = super().decode(data)
        except (DecodeError, ValueError, RecursionError):
            return None
        if (
            isinstance(found, dict)
            and found.keys() == _PARTS.keys()
            and all(isinstance(found[name], types) for name, types in _PARTS.items())
            and isinstance(found["options"].setdefault("redis_message_id", found["message_id"]), str)
        ):
            return found
        return None

    def id_in(self, queue: str, data: bytes) -> str | None:
        """Return the id by which Redis knows a message; None if it is none for an actor of ours and this queue."""
        found = self.readable(data)
        # A message that names another queue cannot be acknowledged on this one.
        if found is None or found["actor_name"] not in _ORDERS:
            return None
        if found["queue_name"].removesuffix(".DQ") != queue.removesuffix(".DQ"):
            return None
        id_: str = found["options"]["redis_message_id"]
        # What a client of Redis cannot write is no id of ours.
        return id_ if id_ and id_.isascii() else None


def why_no_order(actor: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return why what stands on a queue is no order of ours, or None when it is one."""
    order = _ORDERS.get(actor)
    if order is None:
        return "unknown task"
    known = {each.name: each for each in fields(order)}
    if args or not kwargs.keys() <= known.keys():
        return "the arguments are invalid"
    missing = {name for name, each in known.items() if each.default is MISSING} - kwargs.keys()
    if missing:
        return f"{min(missing)} is missing"
    for name, value in kwargs.items():
        if not _fits(name, value, _hints[actor][name]):
            return f"{name} has an invalid value"
    return None


def _fits(name: str, value: object, hint: Any) -> bool:
    allowed = get_args(hint) or (hint,)
    if value is None:
        return type(None) in allowed
    if isinstance(value, bool) or type(value) not in allowed:
        return False
    if isinstance(value, int):
        return 0 <= value <= _MOST[name]
    return isinstance(value, str) and len(value) <= MOST_CHARACTERS


class OrdersOnly(Middleware):
    """End what is no order of ours at once: anybody who reaches the broker can write to its queues."""

    def before_delay_message(self, broker: Broker, message: MessageProxy) -> None:
        latest = int(time.time() * 1000) + LONGEST_DELAY_MS
        if not message.options.get("eta", 0) <= latest:
            message.options["eta"] = 0

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        why = why_no_order(message.actor_name, message.args, message.kwargs)
        retries = message.options.get("retries", 0)
        if why is None and (type(retries) is not int or retries < 0):
            why = "the options are invalid"
        if why is not None:
            log.warning("order_refused", actor=message.actor_name[:MOST_CHARACTERS], why=why)
            raise SkipMessage
        # Options decide how often and how long something is tried, and what is called then.
        for name in message.options.keys() - _OPTIONS:
            del message.options[name]


class BrokerAwayError(CampaignError):
    """A broker does not answer; it may later."""


def make_broker(url: str | None, *, extra: Iterable[Middleware] = ()) -> Broker:
    """Return a broker for a URL, with our queues declared; without a URL, one inside this process.

    Raises CampaignError for a URL that is neither Redis nor RabbitMQ, or that nobody can read.
    """
    try:
        return _broker(url, extra)
    except ValueError:
        # Not with the error's own words, which may hold the password.
        raise CampaignError(
            "PARCOURS_BROKER_URL cannot be read; write it like redis://host:6379/0 or amqp://user:password@host:5672/"
        ) from None


def _broker(url: str | None, extra: Iterable[Middleware]) -> Broker:
    middleware: list[Middleware] = [
        OrdersOnly(),
        AgeLimit(max_age=MAX_AGE_MS),
        TimeLimit(time_limit=600_000),
        ShutdownNotifications(),
        Callbacks(),
        Retries(max_retries=10, min_backoff=200, max_backoff=60_000),
        *extra,
    ]
    encoder = TolerantEncoder()
    dramatiq.set_encoder(encoder)
    broker: Broker
    scheme = urlsplit(url).scheme if url else None
    if url is None:
        broker = StubBroker(middleware=middleware)
    elif scheme in ("redis", "rediss", "unix"):
        from parcours.producers.redis_queues import CleanRedisBroker

        # By default a killed worker's messages come back after one command in a thousand and a
        # minute without a heartbeat, and only those of the command's queue. Ours looks at every
        # command and believes a worker dead after 3 s, so its work is redone within 10 s. One
        # believed dead by mistake costs a hint done twice.
        broker = CleanRedisBroker(
            id_in=encoder.id_in,
            url=url,
            middleware=middleware,
            namespace="parcours",
            maintenance_chance=1_000_000,
            heartbeat_timeout=3_000,
        )
    elif scheme in ("amqp", "amqps"):
        from dramatiq.brokers.rabbitmq import RabbitmqBroker

        broker = RabbitmqBroker(url=url, middleware=middleware, confirm_delivery=True)
    else:
        raise CampaignError(f"PARCOURS_BROKER_URL starts with {scheme or 'nothing'}://; use redis:// or amqp://")
    for queue in QUEUES:
        broker.declare_queue(queue)
    return broker


def publish(broker: Broker, order: Order, *, delay_ms: int = 0) -> None:
    """Put an order on its queue, naming the actor, which need not be known in this process."""
    message: dramatiq.Message[None] = dramatiq.Message(
        queue_name=order.queue, actor_name=order.actor, args=(), kwargs=asdict(order), options={}
    )
    broker.enqueue(message, delay=delay_ms or None)


def away(broker: Broker) -> tuple[type[Exception], ...]:
    """Return what a broker that is away, or comes back, raises when something is published."""
    # Of the library of this broker alone, so that no process loads both.
    if hasattr(broker, "client"):
        from redis.exceptions import RedisError

        return (ConnectionClosed, OSError, RedisError)
    if hasattr(type(broker), "connection"):
        from pika.exceptions import AMQPError

        return (ConnectionClosed, OSError, AMQPError)
    return (ConnectionClosed, OSError)


@contextmanager
def _answering(url: str) -> Iterator[Broker]:
    """Yield a broker for as long as it is asked something. Raises BrokerAwayError when it does not answer."""
    broker = make_broker(url)
    try:
        yield broker
    except away(broker) as error:
        raise BrokerAwayError(
            f"cannot reach the broker ({type(error).__name__}); start it, or check PARCOURS_BROKER_URL"
        ) from error
    finally:
        broker.close()


def check_broker(url: str) -> None:
    """Raise BrokerAwayError when a broker cannot be reached with this URL, CampaignError when it never will."""
    with _answering(url) as broker:
        if hasattr(broker, "client"):
            broker.client.ping()
        elif hasattr(broker, "connection"):
            assert broker.connection


def queue_depths(url: str) -> dict[str, int]:
    """Return how many messages each queue holds, delayed ones included. Raises as `check_broker`."""
    with _answering(url) as broker:
        return {queue: depth(broker, queue) for queue in QUEUES}


def depth(broker: Broker, queue: str) -> int:
    """Return how many messages a queue holds, delayed ones included.

    On Redis, those in the hands of a worker count too.
    """
    names = (queue, f"{queue}.DQ")
    if hasattr(broker, "client"):
        return sum(int(broker.client.hlen(f"{broker.namespace}:{name}.msgs")) for name in names)  # type: ignore[attr-defined]
    if isinstance(broker, StubBroker):
        return sum(broker.queues[name].qsize() for name in names if name in broker.queues)
    return sum(broker.get_queue_message_counts(queue)[:2])  # type: ignore[attr-defined]
