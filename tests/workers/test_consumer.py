"""Messages of every form from the events queue: the good ones stored, the others dead letters, and nothing lost."""

from __future__ import annotations

import base64
import gzip
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
import redis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from parcours.db.tables import events as inbox_table
from parcours.ops.settings import Settings
from parcours.producers import event_queue
from parcours.services.diagnosis import _events
from parcours.workers import consumer, intake
from parcours.workers.consumer import Consumer
from parcours.workers.event_readers import RedisReader, unpacked
from tests.workers.worlds import START, World

# Events that are published before they are stored.
AHEAD = 300


def cloud(id_: str | None = None, type_: str = "order.paid", subject: str = "ann", **more: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": id_ or str(uuid4()), "source": "s", "type": type_, "subject": subject, **more}


def eventually(true: Callable[[], bool], *, within: float = 600) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(params=["redis", "rabbitmq"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_url")
    with event_queue.connection(found) as conn:
        queue: Any = event_queue.QUEUE(conn.default_channel)
        queue.declare()
        queue.purge()
    return found


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    """An empty Redis."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@contextmanager
def consuming(world: World, url: str, **settings: Any) -> Iterator[Consumer]:
    """A consumer in a thread, stopped at the end; it must not have died."""
    stop = threading.Event()
    made = Consumer(world.engine, url, Settings(**settings))
    thread = threading.Thread(target=made.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield made
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join(600)
    assert not thread.is_alive(), "it does not hear that it should stop"


def known(world: World) -> set[str]:
    """Return the ids of the events that were ever stored."""
    return {row.id for row in world.read("SELECT id FROM event_key")}


def dead(world: World) -> list[str]:
    return [row.reason for row in world.read("SELECT reason FROM dead_letter ORDER BY id")]


def inbox(world: World) -> int:
    return len(world.read("SELECT FROM inbox"))


def put(url: str, body: Any, **more: Any) -> None:
    """Publish a body as kombu does, whatever it is."""
    with event_queue.connection(url) as conn:
        conn.Producer().publish(
            body if isinstance(body, str | bytes) else json.dumps(body),
            exchange=event_queue.EXCHANGE,
            routing_key="x",
            content_type="application/json",
            content_encoding="utf-8",
            declare=[event_queue.QUEUE],
            **more,
        )


def nested(levels: int, leaf: Any = "é") -> str:
    return "[" * levels + json.dumps(leaf, ensure_ascii=False) + "]" * levels


BAD: dict[str, tuple[Any, str]] = {
    "half an emoji in the data": ([cloud(data={"name": "\ud83d"})], '"data" contains an incomplete character'),
    "half an emoji in the id": ([cloud("\ud83d")], '"id" contains an incomplete character'),
    "half an emoji in the key": (
        [cloud(subject="x\udc00")],
        '"subject" (the key of the contact) contains an incomplete',
    ),
    "half an emoji as a name": ([{**cloud(), "\ud83d": 1, "specversion": "\ud83d"}], '"specversion" must be "1.0"'),
    "half an emoji alone": ('"\\ud83d"', "an event must be a JSON object"),
    "a NUL": ([cloud(data={"a": "\0"})], '"data" contains a NUL character'),
    "a word": ("hello", "the message is not JSON in UTF-8"),
    "no text at all": (b"\xff\xfe\x00", "the message is not JSON in UTF-8"),
    "a number of many digits": ("1" * 5000, "the message is not JSON in UTF-8"),
    "an object that is no event": ({"a": 1}, '"specversion" must be "1.0"'),
    "lists in lists, 200 deep": (nested(200), "an event must be a JSON object"),
    "lists in lists, 935 deep": (nested(935), "an event must be a JSON object"),
    "lists in lists, 985 deep": (nested(985), ""),
    "lists in lists, 999 deep": (nested(999), ""),
    "lists in lists without end": (nested(100_000), "it is nested too deeply"),
    "deep data": (json.dumps([cloud(data={"a": 0})]).replace("0}", nested(940) + "}"), "more than 60 levels deep"),
    "a year without a date": ([cloud(time="0001-01-01T00:00:00+14:00")], "the year is before 1900"),
    "too many events": (
        [1] * (consumer.MOST_EVENTS + 1),
        "10,001 events; send at most 10,000 per message",
    ),
}


def test_no_message_stops_those_around_it(world: World, url: str) -> None:
    world.segment("vip")
    with consuming(world, url):
        good = []
        for body, _ in BAD.values():
            good.append(cloud(type_="segment.created", data={"segment": 7}))
            put(url, good[-1:])
            put(url, body)
        packed = json.dumps([cloud()]).encode()
        put(url, packed, headers={"compression": "no-such-thing"})
        put(url, gzip.compress(packed), headers={"compression": "application/x-gzip"})
        good.append(cloud(type_="segment.contact_added", data={"segment": "vip"}))
        put(url, good[-1:])
        eventually(lambda: known(world) >= {each["id"] for each in good})
        eventually(lambda: len(dead(world)) == len(BAD) + 2)
        eventually(lambda: inbox(world) == 0)
    assert known(world) == {each["id"] for each in good}
    reasons = "\n".join(dead(world))
    for _, sentence in BAD.values():
        assert sentence in reasons
    assert reasons.count("the message is compressed; send it as plain JSON") == 2
    assert event_queue.depth(url) == 0


def test_redis_takes_plain_json_without_an_envelope(world: World, client: Any, redis_url: str) -> None:
    one, *more = (cloud(str(number)) for number in range(6))
    queue = event_queue.QUEUE.name
    with consuming(world, redis_url):
        client.lpush(queue, json.dumps(more[:3]))
        client.lpush(queue, json.dumps(one))
        client.lpush(queue, "hello")
        client.lpush(queue, json.dumps({"body": json.dumps(more[3:]), "properties": {}}))
        client.lpush(queue, json.dumps({"body": "%%%", "properties": {"body_encoding": "base64"}}))
        client.lpush(queue, json.dumps({"body": 7, "properties": {}}))
        client.lpush(queue, json.dumps({"body": "x", "properties": []}))
        client.lpush(queue, b"\xff\xfe")
        eventually(lambda: len(known(world)) == 6)
        eventually(lambda: len(dead(world)) == 5)
    assert known(world) == {str(number) for number in range(6)}
    assert "the message is not JSON in UTF-8" in dead(world)[0]
    # Nothing of ours is left.
    assert client.keys("parcours.events*") == []


def test_every_priority_of_kombus_is_looked_at(world: World, client: Any, redis_url: str) -> None:
    for number in range(10):
        put(redis_url, [cloud(str(number))], priority=number)
    with consuming(world, redis_url):
        eventually(lambda: len(known(world)) == 10)


# Nothing is lost.


def test_repeated_stops_lose_nothing(world: World, url: str) -> None:
    published: list[str] = []
    enough = threading.Event()

    def publish() -> None:
        with event_queue.publisher(url) as send:
            while not enough.is_set():
                # Always more than one read takes, and never so many that a slow machine does not catch up.
                if len(published) >= len(known(world)) + AHEAD:
                    time.sleep(0.01)
                    continue
                batch = [cloud() for _ in range(3)]
                send(batch)
                published.extend(each["id"] for each in batch)

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    try:
        for _ in range(20):
            before = len(known(world))
            with consuming(world, url):
                eventually(lambda before=before: len(known(world)) > before)  # type: ignore[misc]
    finally:
        enough.set()
        thread.join(600)
    with consuming(world, url):
        eventually(lambda: len(known(world)) >= len(published))
    assert known(world) == set(published)


def test_a_stop_without_a_database_puts_the_messages_back_in_their_order(
    world: World, client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise DBAPIError("", {}, Exception(), connection_invalidated=True)

    for number in range(5):
        client.lpush(event_queue.QUEUE.name, json.dumps(cloud(str(number))))
    with monkeypatch.context() as patched:
        patched.setattr(intake, "accept", away)
        with consuming(world, redis_url) as made:
            eventually(lambda: made.trouble is not None)
            assert "cannot reach the database" in str(made.trouble)
    assert [json.loads(each)["id"] for each in client.lrange(event_queue.QUEUE.name, 0, -1)] == list("43210")
    with consuming(world, redis_url):
        eventually(lambda: known(world) == set("01234"))


def test_what_a_dead_consumer_held_is_taken_by_another(world: World, client: Any, redis_url: str) -> None:
    for number in range(5):
        client.lpush(event_queue.QUEUE.name, json.dumps(cloud(str(number))))
    with event_queue.consuming(redis_url) as conn:
        victim = RedisReader(conn)
        # Whoever is killed now says nothing more.
        assert len(victim.take()) == 5
        assert client.llen(event_queue.QUEUE.name) == 0
        client.delete(event_queue.alive_sign(victim._name))
        with consuming(world, redis_url):
            eventually(lambda: known(world) == set("01234"))
        # One that was only slow lets go of what is no longer its own, and goes on.
        victim.done()
        client.lpush(event_queue.QUEUE.name, json.dumps(cloud("5")))
        assert len(victim.take()) == 1
        assert client.sismember(event_queue.CONSUMERS, victim._name)
        victim.close()
    assert client.llen(event_queue.QUEUE.name) == 1


def test_a_killed_consumer_loses_nothing(world: World, client: Any, redis_url: str, tmp_path: Any) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "PARCOURS_DATABASE_URL": world.engine.url.render_as_string(hide_password=False),
        "PARCOURS_BROKER_URL": redis_url,
        "PARCOURS_HOME": str(tmp_path),
    }
    published: list[str] = []
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "parcours", "consume"], env=environment, stderr=subprocess.DEVNULL
        )
        try:
            before = len(known(world))
            with event_queue.publisher(redis_url) as send:
                end = time.monotonic() + 600
                # In the middle of it: some are stored, and more wait.
                while (stored := len(known(world))) < before + 20:
                    assert time.monotonic() < end
                    if len(published) >= stored + AHEAD:
                        time.sleep(0.01)
                        continue
                    batch = [cloud() for _ in range(2)]
                    send(batch)
                    published.extend(each["id"] for each in batch)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(600)
    with consuming(world, redis_url):
        eventually(lambda: known(world) == set(published))


def test_our_publisher_loses_nothing_to_a_redis_that_forgets_everything(
    world: World, client: Any, redis_url: str
) -> None:
    with event_queue.publisher(redis_url) as send:
        send([cloud("1")])
        client.flushall()
        send([cloud("2")])
    with consuming(world, redis_url):
        eventually(lambda: known(world) == {"2"})


def test_the_doctor_says_that_nobody_takes_events(world: World, url: str) -> None:
    put(url, "hello")
    found = _events(url)
    assert (found.state, found.says) == ("warning", "1 messages are in the queue and no process reads them")
    with consuming(world, url):
        eventually(lambda: event_queue.consumers(url) == 1)
        eventually(lambda: dead(world) != [])
        assert _events(url).state == "ok"
    assert event_queue.consumers(url) == 0


# Defects.


def test_a_defect_in_storing_costs_one_event_and_not_the_consumer(
    world: World, client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_ever = inbox_table.store

    def store(conn: Any, new: Any, **more: Any) -> None:
        if any(event.type == "cursed" for _, event in new):
            raise KeyError("segment")
        if any(event.type == "refused" for _, event in new):
            conn.execute(text("SELECT CAST('x' AS int)"))
        as_ever(conn, new, **more)

    monkeypatch.setattr(inbox_table, "store", store)
    batch = [cloud(str(n), {13: "cursed", 57: "refused"}.get(n, "fine"), f"c{n}") for n in range(100)]
    client.lpush(event_queue.QUEUE.name, json.dumps(batch))
    with consuming(world, redis_url):
        eventually(lambda: len(known(world)) == 98)
        eventually(lambda: inbox(world) == 0)
    unexpected, refused = dead(world)
    assert "unexpected error (KeyError)" in unexpected
    assert "parcours dead-letters replay" in unexpected
    assert "the database cannot store it (invalid input syntax" in refused
    # What was held against nobody: their contacts were not made either.
    assert "c13" not in {row.key for row in world.read("SELECT key FROM contact")}


def test_a_database_that_is_not_as_expected_makes_no_dead_letters(
    world: World, client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.lpush(event_queue.QUEUE.name, json.dumps(cloud("1")))
    with monkeypatch.context() as patched:
        patched.setattr(intake, "_accept", lambda conn, *_, **__: conn.execute(text("SELECT no_such_column")))
        with consuming(world, redis_url) as made:
            eventually(lambda: made.trouble is not None)
            assert "see the log for details" in str(made.trouble)
    assert (dead(world), known(world)) == ([], set())
    with consuming(world, redis_url) as made:
        eventually(lambda: known(world) == {"1"})
        eventually(lambda: made.trouble is None)


def test_a_dead_letter_of_any_size_and_text_is_kept(world: World) -> None:
    letters = [("why \ud83d\0", "\0\udc00" + "x" * 2_000_000), ("r" * 10_000, "")]
    with world.engine.begin() as conn:
        inbox_table.add_dead_letters(conn, letters, origin="event", now=START)
    first, second = world.read("SELECT reason, body FROM dead_letter ORDER BY id")
    assert first.reason == "why �� (only the first 1,000,000 characters of the body are kept)"
    assert (len(first.body), first.body[:3]) == (1_000_000, "��x")
    assert len(second.reason) == 2_000


def test_an_envelope_is_opened_and_its_compression_is_not() -> None:
    body = base64.b64encode(b"[1]").decode()
    envelope = {"body": body, "headers": {}, "properties": {"body_encoding": "base64"}}
    assert unpacked(json.dumps(envelope).encode()).body == b"[1]"
    envelope["headers"] = {"compression": "application/x-gzip"}
    assert "compressed" in str(unpacked(json.dumps(envelope).encode()).problem)
