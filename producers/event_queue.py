"""The queue of contact events, through kombu: Redis or RabbitMQ by URL.

A message holds one CloudEvent or a list of them, as JSON. Publishers that are not ours need nothing
but the names below: see "Publish events" in the documentation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError as KombuError

from parcours.domain import gate
from parcours.domain.errors import CampaignError
from parcours.domain.jobs import EVENT_QUEUE

EXCHANGE = Exchange(EVENT_QUEUE, type="topic", durable=True)
QUEUE = Queue(EVENT_QUEUE, EXCHANGE, routing_key="#", durable=True)

# A consumer that dies with messages in hand: on Redis another takes them after so many seconds without a sign
# of life. RabbitMQ gives them to another at once.
VISIBILITY_SECONDS = 10
# On Redis: who consumes, each with a sign of life that expires, and with a list of what it has in hand.
CONSUMERS = "parcours.events:consumers"
# RabbitMQ and we believe each other dead after two of these without a word.
HEARTBEAT_SECONDS = 30
# Redis may lose everything under an open connection (FLUSHALL), and with it that our queue takes what
# the exchange is given. So that is said again this often.
DECLARE_SECONDS = 2.0
# Bytes. Source: AMQP 0-9-1, "short strings".
LONGEST_ROUTING_KEY = 255


def connection(url: str) -> Connection:
    """Return a connection, not yet opened. RabbitMQ confirms what it has stored; an amqp path is the virtual host.

    Raises CampaignError for what is no URL of a queue.
    """
    if url.startswith(("redis", "unix", "sentinel")):
        options: dict[str, Any] = {
            "visibility_timeout": VISIBILITY_SECONDS,
            "socket_keepalive": True,
            "socket_connect_timeout": 10,
            "socket_timeout": 30,
        }
        # Keys of other users of the same database stay apart from ours.
        options["global_keyprefix"] = ""
    else:
        options = {"confirm_publish": True}
    try:
        made = Connection(url, transport_options=options, heartbeat=0)
        # Else one that kombu does not know is found when it is opened.
        made.get_transport_cls()
    except (ValueError, KeyError):
        raise CampaignError(
            "the URL of the events queue (PARCOURS_EVENTS_URL, else PARCOURS_BROKER_URL) cannot be read; write it like "
            "redis://host:6379/0 or amqp://user:password@host:5672/"
        ) from None
    return made


def consuming(url: str) -> Connection:
    """Return a connection for a consumer, which says `keep_alive` more often than its heartbeat."""
    conn = connection(url)
    if conn.transport.supports_heartbeats:
        conn.heartbeat = HEARTBEAT_SECONDS
    return conn


def away(conn: Connection) -> tuple[type[Exception], ...]:
    """Return what a connection raises whose broker is away, comes back, or does not let us in just now."""
    errors = {*conn.connection_errors, *conn.recoverable_connection_errors, KombuError, OSError}
    # In kombu's list for Redis; of ours it would hide mistakes.
    return tuple(errors - {KeyError})


def keep_alive(conn: Connection, channel: Any) -> None:
    """Show the broker that we live, notice when it does not, and see that our queue is still there."""
    if conn.transport.supports_heartbeats:
        conn.heartbeat_check()
    else:
        declare(channel)


def is_redis(conn: Connection) -> bool:
    """Return whether a connection leads to Redis."""
    return bool(conn.transport.driver_type == "redis")


def taken_by(consumer: str) -> str:
    """Return the list, on Redis, of what a consumer has in hand."""
    return f"parcours.events:taken:{consumer}"


def alive_sign(consumer: str) -> str:
    """Return what is in Redis, while it lives, of a consumer."""
    return f"parcours.events:alive:{consumer}"


def declare(channel: Any, *, every: float = DECLARE_SECONDS) -> None:
    """Say again, on Redis, that our queue is bound to the exchange; now and then is enough for who consumes."""
    said_at = getattr(channel, "_parcours_declared_at", None)
    if said_at is None or time.monotonic() - said_at >= every:
        # kombu remembers what this process has bound, and would not say it to Redis again.
        # RabbitMQ keeps bindings itself, and its channels remember none.
        if hasattr(channel, "state"):
            channel.state.queue_bindings_delete(QUEUE.name)
        QUEUE(channel).declare()
        channel._parcours_declared_at = time.monotonic()


def routing_key(event: Any) -> str:
    """Return the key under which an event is published: its type, or as much of it as AMQP has room for."""
    type_ = str(event.get("type", "event")) if isinstance(event, dict) else "event"
    return type_.encode("utf-8", "replace")[:LONGEST_ROUTING_KEY].decode("utf-8", "ignore")


@contextmanager
def publisher(url: str) -> Iterator[Any]:
    """Yield a function that publishes lists of CloudEvents, each list as one message.

    Events of several types share a message; its routing key is the type of the first. Raises
    kombu's OperationalError when the broker is away.
    """
    with connection(url) as conn:
        producer = conn.Producer()

        def publish(events: Iterable[Any]) -> None:
            body = list(events)
            if not body:
                return
            if not conn.transport.supports_heartbeats:
                # Each time: what is published to an exchange that has forgotten its queues is lost without a word.
                declare(producer.channel, every=0)
            producer.publish(
                _written(body),
                exchange=EXCHANGE,
                routing_key=routing_key(body[0]),
                content_type="application/cloudevents-batch+json",
                content_encoding="utf-8",
                delivery_mode="persistent",
                # The queue too: on Redis, what is published before a consumer ever came would be lost.
                declare=[QUEUE],
                retry=True,
                retry_policy={"max_retries": 3, "interval_start": 0, "interval_step": 0.5},
            )

        yield publish


def _written(events: list[Any]) -> bytes:
    try:
        return json.dumps(events, ensure_ascii=False, default=str).encode()
    except (UnicodeEncodeError, RecursionError):
        # Half an emoji, or lists within lists, in an attribute that nobody looks at.
        return json.dumps(gate.clean_json(events), ensure_ascii=False, default=str).encode()


def depth(url: str) -> int:
    """Return how many messages wait in the queue."""
    with connection(url) as conn:
        found = QUEUE(conn.default_channel).queue_declare(passive=False)
        return int(found.message_count)


def consumers(url: str) -> int:
    """Return how many consumers give a sign of life."""
    with connection(url) as conn:
        channel: Any = conn.default_channel
        if not is_redis(conn):
            return int(QUEUE(channel).queue_declare(passive=False).consumer_count)
        names = map(bytes.decode, channel.client.smembers(CONSUMERS))
        return sum(1 for name in names if channel.client.exists(alive_sign(name)))


def decode(body: bytes | memoryview | str) -> list[Any]:
    """Return the events of a message, not yet parsed. Raises ValueError with a sentence when it is not JSON."""
    try:
        text = bytes(body).decode("utf-8-sig") if isinstance(body, bytes | memoryview) else str(body)
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = gate.why_not_json(error)
        raise ValueError(f"the message is not JSON in UTF-8 ({why}); send one CloudEvent or a list of them") from None
    return value if isinstance(value, list) else [value]
