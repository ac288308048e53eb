"""The broker, and the one way to put an order on its queues."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import dramatiq
from dramatiq.broker import Broker
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    Middleware,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)

from parcours.domain.errors import CampaignError
from parcours.domain.jobs import QUEUES, Order
from parcours.producers.orders import TolerantEncoder, read_orders_only

# A hint that waited this long has been overtaken by ticks.
MAX_AGE_MS = 3_600_000
# Of each queue inside this process.
MOST_DEAD = 100


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
        AgeLimit(max_age=MAX_AGE_MS),
        TimeLimit(time_limit=600_000),
        ShutdownNotifications(),
        Callbacks(),
        Retries(max_retries=10, min_backoff=200, max_backoff=60_000),
        *extra,
    ]
    dramatiq.set_encoder(TolerantEncoder())
    broker: Broker
    scheme = urlsplit(url).scheme if url else None
    if url is None:
        broker = StubBroker(middleware=middleware)
        # Nobody reads what failed for good, and a process may run for months.
        broker.dead_letters_by_queue = defaultdict(lambda: deque(maxlen=MOST_DEAD))  # type: ignore[arg-type,return-value]
    elif scheme in ("redis", "rediss", "unix"):
        from parcours.producers.redis_queues import CleanRedisBroker

        # By default a killed worker's messages come back after one command in a thousand and a
        # minute without a heartbeat, and only those of the command's queue. Ours looks at every
        # command and believes a worker dead after 3 s, so its work is redone within 10 s. One
        # believed dead by mistake costs a hint done twice.
        broker = CleanRedisBroker(  # type: ignore[no-untyped-call]
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
    read_orders_only(broker)
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
        redis: Any = broker
        return sum(int(redis.client.hlen(f"{redis.namespace}:{name}.msgs")) for name in names)
    if isinstance(broker, StubBroker):
        return sum(broker.queues[name].qsize() for name in names if name in broker.queues)
    rabbitmq: Any = broker
    try:
        return sum(rabbitmq.get_queue_message_counts(queue)[:2])
    except away(broker):
        # As publishing does, which nobody may come to otherwise: the next one connects anew.
        del rabbitmq.connection
        raise
