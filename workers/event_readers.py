"""How `consume` takes messages from the events queue: from Redis, or from RabbitMQ and others through kombu.

What is taken stays with the broker until `done`; what is not done when a process ends goes to another.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from kombu import Connection

from parcours.producers import event_queue

# Messages in hand at most, and the bytes of their bodies after which no more are taken.
PREFETCH = 100
MOST_BYTES = 4_000_000
# RabbitMQ: how long the first message waits for company.
GATHER_SECONDS = 0.01
# After that, it waits only for what comes at once, and so long at most.
AT_ONCE_SECONDS = 0.002
BACKLOG_SECONDS = 0.1
# How often an idle consumer looks up.
IDLE_SECONDS = 0.5

COMPRESSED = "the message is compressed; send it as plain JSON in UTF-8"


@dataclass(frozen=True, slots=True)
class Received:
    """The body of a message, and why it cannot be read when that is known already."""

    body: bytes
    problem: str | None = None


class EventReader(Protocol):
    """Takes messages. `take` returns none when none came within IDLE_SECONDS."""

    def take(self) -> list[Received]: ...

    def done(self) -> None:
        """Let go of what was taken, for good."""

    def give_back(self) -> None:
        """Put what was taken back into the queue, in its order."""

    def keep_alive(self) -> None:
        """Show the broker that we live; to be called every few seconds while a batch is worked on."""


@contextmanager
def reading(conn: Connection) -> Iterator[EventReader]:
    """Yield a reader of the events queue; what it has not done when it ends goes back."""
    if event_queue.is_redis(conn):
        yield from _closing(RedisReader(conn), conn)
    else:
        yield from _closing(KombuReader(conn), conn)


def _closing(reader: RedisReader | KombuReader, conn: Connection) -> Iterator[EventReader]:
    try:
        yield reader
    except event_queue.away(conn):
        # There is nobody to give anything back to: the broker, or another consumer, sees to it.
        raise
    except BaseException:
        reader.close()
        raise
    else:
        reader.close()


class RedisReader:
    """Takes messages of kombu's and plain JSON from Redis.

    kombu itself takes a message off its list before it notes it down, and loses it to a kill, or a stop, in
    between. So a message is moved to a list of this reader's own, in one command. Every reader says every few
    seconds that it lives; the list of one that does not any more is put back by any other.
    """

    def __init__(self, conn: Any) -> None:
        self._channel: Any = conn.channel()
        self._redis: Any = self._channel.client
        # The highest priority first, as kombu has it; publishers that name none use the first list.
        queue, mark = event_queue.QUEUE.name, self._channel.sep
        self._lists = [f"{queue}{mark}{step}" if step else queue for step in self._channel.priority_steps]
        self._name = str(uuid4())
        self._taken = event_queue.taken_by(self._name)
        self._seen_at = 0.0

    def take(self) -> list[Received]:
        self.keep_alive()
        found = self._move(1)
        if not found:
            wait = IDLE_SECONDS
            first = self._redis.blmove(self._lists[0], self._taken, wait, "RIGHT", "LEFT")
            if first is None:
                return []
            found = [first]
        # Doubled while there are more: a big message is not joined by a hundred others before its size is known.
        size = sum(map(len, found))
        while len(found) < PREFETCH and size < MOST_BYTES:
            more = self._move(min(len(found), PREFETCH - len(found)))
            if not more:
                break
            found += more
            size += sum(map(len, more))
        return [unpacked(raw) for raw in found]

    def done(self) -> None:
        self._redis.delete(self._taken)

    def give_back(self) -> None:
        _put_back(self._redis, self._taken)

    def keep_alive(self) -> None:
        event_queue.declare(self._channel)
        if time.monotonic() - self._seen_at < event_queue.DECLARE_SECONDS:
            return
        with self._redis.pipeline() as pipeline:
            self._say_alive(pipeline)
            pipeline.execute()
        self._seen_at = time.monotonic()
        for name in map(bytes.decode, self._redis.smembers(event_queue.CONSUMERS)):
            if not self._redis.exists(event_queue.alive_sign(name)):
                self._inherit(name)

    def close(self) -> None:
        self.give_back()
        with self._redis.pipeline() as pipeline:
            pipeline.srem(event_queue.CONSUMERS, self._name)
            pipeline.delete(event_queue.alive_sign(self._name))
            pipeline.execute()

    def _move(self, most: int) -> list[bytes]:
        """Move messages to our own list; return them, oldest first."""
        # In one transaction with our name: whoever has a list in Redis is known there.
        with self._redis.pipeline() as pipeline:
            self._say_alive(pipeline)
            for each in self._lists:
                for _ in range(most if each == self._lists[0] else 1):
                    pipeline.lmove(each, self._taken, "RIGHT", "LEFT")
            _, _, *found = pipeline.execute()
        return [each for each in found if each is not None]

    def _say_alive(self, pipeline: Any) -> None:
        pipeline.sadd(event_queue.CONSUMERS, self._name)
        pipeline.set(event_queue.alive_sign(self._name), 1, ex=event_queue.VISIBILITY_SECONDS)

    def _inherit(self, name: str) -> None:
        """Put back what a consumer that has died had in hand."""
        _put_back(self._redis, event_queue.taken_by(name))
        with self._redis.pipeline() as pipeline:
            pipeline.srem(event_queue.CONSUMERS, name)
            pipeline.llen(event_queue.taken_by(name))
            if pipeline.execute()[1]:
                # It lives after all, and has taken something since.
                self._redis.sadd(event_queue.CONSUMERS, name)


def _put_back(client: Any, taken: str) -> None:
    # The newest leaves first and ends behind the others, so that the oldest is next.
    while client.lmove(taken, event_queue.QUEUE.name, "LEFT", "RIGHT") is not None:
        pass


def unpacked(raw: bytes) -> Received:
    """Return the body of a message as it stands in Redis: in kombu's envelope, or plain JSON."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        # Whoever decodes the body says what is wrong with it.
        return Received(raw)
    if not isinstance(value, dict) or not isinstance(value.get("properties"), dict) or "body" not in value:
        return Received(raw)
    headers = value.get("headers")
    body = value["body"]
    if isinstance(headers, dict) and headers.get("compression"):
        return Received(_bytes(body), COMPRESSED)
    if not isinstance(body, str):
        return Received(raw, 'the "body" of the message is not text')
    if value["properties"].get("body_encoding") != "base64":
        return Received(_bytes(body))
    try:
        return Received(base64.b64decode(body, validate=True))
    except (ValueError, binascii.Error):
        return Received(_bytes(body), 'the "body" of the message is not base64, but its properties say so')


def _bytes(text: Any) -> bytes:
    return str(text).encode("utf-8", errors="surrogatepass")


class KombuReader:
    """Takes messages through kombu: from RabbitMQ, and whatever else it knows."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self._batch: list[Any] = []
        self._channel: Any = conn.channel()
        self._channel.basic_qos(0, PREFETCH, False)
        self._channel.Message = _never_unpacked(self._channel.Message)
        self._consumer = conn.Consumer(
            [event_queue.QUEUE],
            channel=self._channel,
            on_message=self._batch.append,
            on_decode_error=lambda message, _: self._batch.append(message),
            accept=None,
            auto_declare=True,
        )
        self._consumer.consume()

    def take(self) -> list[Received]:
        self.keep_alive()
        self._gather()
        return [
            Received(_raw(each.body), COMPRESSED if each.headers.get("compression") else None) for each in self._batch
        ]

    def done(self) -> None:
        for message in self._batch:
            message.ack()
        self._batch.clear()

    def give_back(self) -> None:
        for message in self._batch:
            message.requeue()
        self._batch.clear()

    def keep_alive(self) -> None:
        event_queue.keep_alive(self._conn, self._channel)

    def close(self) -> None:
        self.give_back()
        # Before the connection: what came meanwhile, and nobody has looked at, is put back with the channel.
        self._channel.close()

    def _gather(self) -> None:
        """Take what is there: wait for the first message, then shortly for company.

        Both waits are counted from the first message on. Counted anew with each, a steady trickle would
        hold the first back until the batch is full; with the short one alone, a queue that has grown would
        be taken in such small batches that it grows on.
        """
        first_at = None
        while len(self._batch) < PREFETCH and sum(len(each.body or b"") for each in self._batch) < MOST_BYTES:
            wait = IDLE_SECONDS
            if first_at is not None:
                waited = time.monotonic() - first_at
                if waited > BACKLOG_SECONDS:
                    return
                wait = max(GATHER_SECONDS - waited, AT_ONCE_SECONDS)
            try:
                self._conn.drain_events(timeout=wait)
            except TimeoutError:
                return
            if first_at is None and self._batch:
                first_at = time.monotonic()


def _never_unpacked(kind: Any) -> Any:
    """Return a class of messages that unpacks none: a small one can be huge when it is unpacked."""

    class AsItCame(kind):  # type: ignore[misc]
        def __init__(self, raw: Any = None, *, payload: Any = None, **more: Any) -> None:
            raw = payload if raw is None else raw
            headers = raw.get("headers") if isinstance(raw, dict) else raw.headers
            packed = headers.pop("compression", None) if isinstance(headers, dict) else None
            super().__init__(raw, **more)
            if packed:
                self.headers["compression"] = packed

    return AsItCame


def _raw(body: Any) -> bytes:
    return bytes(body) if isinstance(body, bytes | bytearray | memoryview) else _bytes(body)
