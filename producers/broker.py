"""The broker, and the one way to put an order on its queues."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from urllib.parse import urlsplit

import dramatiq
from dramatiq.broker import Broker
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import AgeLimit, Callbacks, Middleware, Retries, ShutdownNotifications, TimeLimit
from pika.exceptions import AMQPError
from redis.exceptions import RedisError

from domain.errors import CampaignError
from domain.orders import QUEUES, Order

# What a broker that is away, or comes back, raises when something is published.
AWAY = (RedisError, AMQPError, ConnectionClosed, OSError)

# A hint that waited this long has been overtaken by ticks.
MAX_AGE_MS = 3_600_000


class BrokerAwayError(CampaignError):
    """A broker does not answer; it may later."""


def make_broker(url: str | None, *, extra: Iterable[Middleware] = ()) -> Broker:
    """Return a broker for a URL, with our queues declared; without a URL, one inside this process.

    Raises CampaignError for a URL that is neither Redis nor RabbitMQ.
    """
    middleware: list[Middleware] = [
        AgeLimit(max_age=MAX_AGE_MS),
        TimeLimit(time_limit=600_000),
        ShutdownNotifications(),
        Callbacks(),
        Retries(max_retries=10, min_backoff=200, max_backoff=60_000),
        *extra,
    ]
    broker: Broker
    scheme = urlsplit(url).scheme if url else None
    if url is None:
        broker = StubBroker(middleware=middleware)
    elif scheme in ("redis", "rediss", "unix"):
        from dramatiq.brokers.redis import RedisBroker

        # By default a killed worker's messages come back after one command in a thousand and a
        # minute without a heartbeat, and only those of the command's queue. Ours looks at every
        # command and believes a worker dead after 3 s, so its work is redone within 10 s. One
        # believed dead by mistake costs a hint done twice.
        broker = RedisBroker(  # type: ignore[no-untyped-call]
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


def check_broker(url: str) -> None:
    """Raise BrokerAwayError when a broker cannot be reached with this URL, CampaignError when it never will."""
    broker = make_broker(url)
    try:
        if hasattr(broker, "client"):
            broker.client.ping()
        elif hasattr(broker, "connection"):
            assert broker.connection
    except AWAY as error:
        raise BrokerAwayError(
            f"the broker does not answer ({type(error).__name__}); start it, or check PARCOURS_BROKER_URL"
        ) from error
    finally:
        broker.close()


def queue_depths(url: str) -> dict[str, int]:
    """Return how many messages each queue holds, delayed ones included."""
    broker = make_broker(url)
    try:
        if hasattr(broker, "client"):
            return {
                queue: int(broker.client.hlen(f"{broker.namespace}:{queue}.msgs"))  # type: ignore[attr-defined]
                + int(broker.client.hlen(f"{broker.namespace}:{queue}.DQ.msgs"))  # type: ignore[attr-defined]
                for queue in QUEUES
            }
        return {queue: sum(broker.get_queue_message_counts(queue)[:2]) for queue in QUEUES}  # type: ignore[attr-defined]
    finally:
        broker.close()
