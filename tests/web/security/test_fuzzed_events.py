"""Thousands of odd events over queue and HTTP: the good ones are acted on, the bad ones told, and nothing ends.

The seed is printed; `PARCOURS_TEST_SEED` runs the same events again. `PARCOURS_TEST_FUZZ` divided by four is how
many go each way.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from sqlalchemy import Engine, text

from parcours.ops.settings import Settings
from parcours.producers import event_queue
from parcours.workers.consumer import Consumer
from tests.web.conftest import Client

EACH_WAY = int(os.environ.get("PARCOURS_TEST_FUZZ") or 6_000) // 4
JSON = {"content-type": "application/json"}
TYPES = [
    "contact.changed", "contact.merged", "segment.contact_added", "segment.contact_removed", "segment.created",
    "form.submitted", "email.opened", "email.clicked", "email.bounced", "email.unsubscribed", "email.resubscribed",
    "email.replied", "sms.replied", "page.hit", "device.seen", "asset.downloaded", "order.paid", "contact.created",
]  # fmt: skip
NAMES = [
    "segment", "form", "fields", "email", "timezone", "owner", "stage", "company", "tags", "channels", "url",
    "message", "device", "type", "brand", "os", "kind", "channel", "from", "campaign", "phone", "utm_source", "bot",
]  # fmt: skip


class Odd:
    """Draws events: what JSON can say, where it hurts."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def text(self) -> str:
        chance = self.chance
        return chance.choice(
            [
                "",
                " ",
                "vip",
                "signup",
                "ann",
                "\0",
                "\ud83d",
                "x\udc00y",
                "é" * 300,
                "x" * 9_000,
                "europe/paris",
                "ann@example.com",
                "ant@x,bee@x",
                "localtime",
                "9999-12-31T23:59:59Z",
                "0001-01-01T00:00:00+14:00",
                "{{ contact.email }}",
                "%00",
                "'; --",
                "\u202e",
                "1e999",
                "-1",
                f"c{chance.randrange(40)}",
            ]
        )

    def value(self, depth: int = 0) -> Any:
        draw = self.chance.random()
        if depth < 4 and draw < 0.15:
            return [self.value(depth + 1) for _ in range(self.chance.randrange(4))]
        if depth < 4 and draw < 0.35:
            return {self.name(): self.value(depth + 1) for _ in range(self.chance.randrange(4))}
        if draw < 0.38:
            return self.deep(self.chance.choice([59, 61, 300, 600, 700]))
        return self.chance.choice(
            [None, True, 0, -1, 2**31, 2**63, 10**99, 10**200, 1.5, 1e308, -0.0, *[self.text() for _ in range(8)]]
        )

    def name(self) -> str:
        return self.chance.choice(NAMES) if self.chance.random() < 0.9 else self.text()

    def deep(self, levels: int) -> Any:
        value: Any = self.text()
        for _ in range(levels):
            value = [value] if self.chance.random() < 0.5 else {"a": value}
        return value

    def event(self, id_: str) -> Any:
        chance = self.chance
        event: dict[str, Any] = {
            "specversion": "1.0",
            "id": id_,
            "source": "odd",
            "type": chance.choice(TYPES),
            "subject": f"c{chance.randrange(40)}",
            "data": {self.name(): self.value() for _ in range(chance.randrange(5))},
        }
        if chance.random() < 0.3:
            event["time"] = self.text()
        if chance.random() < 0.2:
            event[chance.choice([*event, self.text()])] = self.value()
        return event if chance.random() < 0.97 else self.value()


def eventually(true: Callable[[], bool], *, within: float = 600) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_odd_events_end_nothing_and_good_ones_are_acted_on(client: Client, engine: Engine, redis_url: str) -> None:
    seed = int(os.environ.get("PARCOURS_TEST_SEED") or random.SystemRandom().randrange(2**32))
    print(f"PARCOURS_TEST_SEED={seed}")  # noqa: T201 - so that a failure can be run again
    odd = Odd(random.Random(seed))
    with redis.Redis.from_url(redis_url) as broker:
        broker.flushall()
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO form (key, name, standalone) VALUES ('signup', 'signup', false)"))
        conn.execute(text("INSERT INTO segment (key, name) VALUES ('vip', 'vip')"))
    settings = Settings(broker_url=redis_url)
    stop = threading.Event()
    consumer = Consumer(engine, redis_url, settings)
    thread = threading.Thread(target=consumer.run, args=(stop,), daemon=True)
    thread.start()
    good = 0
    rejected = 0
    http = client()
    try:
        with event_queue.connection(redis_url) as conn:
            queue: Any = conn.default_channel.client
            for first in range(0, EACH_WAY, 25):
                batch = [odd.event(f"queue-{first + nth}") for nth in range(25)]
                batch.insert(odd.chance.randrange(25), one("queue", first))
                queue.lpush(event_queue.QUEUE.name, json.dumps(batch))
                batch = [odd.event(f"http-{first + nth}") for nth in range(25)]
                batch.insert(odd.chance.randrange(25), one("http", first))
                answer = http.post("/events", content=json.dumps(batch).encode(), headers=JSON)
                assert answer.status_code == 202, answer.text[:500]
                told = answer.json()
                assert told["accepted"] + told["duplicates"] + len(told["rejected"]) == 26
                rejected += len(told["rejected"])
                good += 2
        eventually(lambda: event_queue.depth(redis_url) == 0)
        eventually(lambda: found(engine, "SELECT count(*) FROM event_key WHERE source = 'good'") == good)
        eventually(lambda: found(engine, "SELECT count(*) FROM inbox") == 0)
    finally:
        stop.set()
        thread.join(600)
    assert not thread.is_alive()
    assert consumer.trouble is None
    assert found(engine, "SELECT count(*) FROM event WHERE source = 'good'") == good
    assert rejected > 0
    assert found(engine, "SELECT count(*) FROM dead_letter WHERE origin = 'event'") > 0
    assert found(engine, "SELECT count(*) FROM dead_letter WHERE reason LIKE '%unexpected%'") == 0
    assert found(engine, "SELECT count(*) FROM dead_letter WHERE reason LIKE '%the database cannot%'") == 0


def one(way: str, number: int) -> dict[str, Any]:
    about = {"specversion": "1.0", "id": f"{way}-{number}", "source": "good", "type": "order.paid"}
    return {**about, "subject": f"{way}{number}", "data": {"total": number}}


def found(engine: Engine, statement: str) -> int:
    with engine.connect() as conn:
        return int(conn.execute(text(statement)).scalar_one())
