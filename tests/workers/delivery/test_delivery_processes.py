"""Real workers that are killed while they send, and that share what may leave."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.mailbox import MailServer, Receiver
from tests.workers.test_processes import Pool, eventually

MESSAGES = 500
CONNECTIONS = 4


@pytest.fixture
def mails() -> Iterator[MailServer]:
    with MailServer().running() as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as running:
        yield running


def outbox(engine: Engine, channel: str, number: int, payload: str = "{}") -> None:
    """So many messages of a running campaign, each of a contact of its own."""
    with engine.begin() as conn:
        for statement in (
            "INSERT INTO campaign (key, name, published, version, created_at, changed_at) "
            "VALUES ('c', 'C', true, 1, now(), now())",
            "INSERT INTO campaign_version (campaign_id, version, definition, created_at) VALUES (1, 1, CAST("
            """'{"campaign": "c", "sources": {"segments": ["s"]}, "steps": [{"action": "contact.tags", """
            """"with": {"add": ["x"]}, "step": "send"}]}' AS json), now())""",
            "INSERT INTO step (campaign_id, key, kind, type, created_at) "
            "VALUES (1, 'send', 'action', 'contact.tags', now())",
            "INSERT INTO email (key, subject, html) VALUES ('hello', 'Hi {{ contact.key }}', '<p>Hello</p>')",
        ):
            conn.exec_driver_sql(statement)
        conn.execute(
            text(
                "INSERT INTO contact (key, email) SELECT 'c' || n, 'c' || n || '@example.com' "
                "FROM generate_series(1, :n) AS n"
            ),
            {"n": number},
        )
        conn.execute(
            text(
                "INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, template, address, "
                "payload, due_at, created_at) SELECT id, '1-1-' || id || '-1', 1, 1, 1, :channel, "
                "CASE WHEN :channel = 'email' THEN 'hello' END, email, CAST(:payload AS jsonb), now(), now() "
                "FROM contact"
            ),
            {"channel": channel, "payload": payload},
        )


def states(engine: Engine) -> dict[str, int]:
    with engine.connect() as conn:
        rows = conn.execute(text("SELECT state::text AS state, count(*) AS n FROM message GROUP BY state"))
        return {row.state: row.n for row in rows}


@pytest.fixture
def pools(engine: Engine, redis_url: str, tmp_path: Path) -> Iterator[Any]:
    made: list[Pool] = []

    def pool(**settings: str) -> Pool:
        more = {"PARCOURS_DELIVERY_LEASE_SECONDS": "5", "PARCOURS_DELIVERY_CONNECTIONS": str(CONNECTIONS)}
        made.append(Pool(engine, redis_url, tmp_path, **more, **settings))
        return made[-1]

    yield pool
    for each in made:
        each.close()


def test_workers_killed_while_they_send_mail_lose_nothing_and_repeat_one_a_connection(
    engine: Engine, mails: MailServer, pools: Any
) -> None:
    outbox(engine, "email", MESSAGES)
    pool = pools(PARCOURS_SMTP_URL=mails.url, PARCOURS_PUBLIC_URL="https://parcours.example")
    pool.start("tick")
    killed = 0
    for goal in (50, 150, 250):
        victim = pool.start("worker", "--queues", "delivery", "--threads", "2")
        eventually(lambda goal=goal: len(mails.mails) >= goal)  # type: ignore[misc]
        pool.kill(victim)
        killed += 1
    pool.start("worker", "--queues", "delivery", "--threads", "2")
    eventually(lambda: states(engine) == {"sent": MESSAGES})
    got = Counter(str(mail["Message-ID"]) for mail in mails.mails)
    assert set(got) == {f"<1-1-{n}-1@parcours.example>" for n in range(1, MESSAGES + 1)}
    assert sum(got.values()) - MESSAGES <= killed * CONNECTIONS
    with engine.connect() as conn:
        counted = conn.execute(text("SELECT sum(n)::int FROM campaign_count WHERE what = 'emails_sent'"))
        assert counted.scalar_one() == MESSAGES


def test_a_receiver_that_looks_at_the_key_gets_each_webhook_once(
    engine: Engine, receiver: Receiver, pools: Any
) -> None:
    body = json.dumps({"url": f"{receiver.url}/hook", "body": {"who": "{{ contact.key }}"}, "json": True})
    outbox(engine, "webhook", MESSAGES, body)
    pool = pools(PARCOURS_WEBHOOK_ALLOW_PRIVATE="true")
    pool.start("tick")
    for goal in (50, 200):
        victim = pool.start("worker", "--queues", "delivery", "--threads", "2")
        eventually(lambda goal=goal: len(receiver.kept) >= goal)  # type: ignore[misc]
        pool.kill(victim)
    pool.start("worker", "--queues", "delivery", "--threads", "2")
    eventually(lambda: states(engine) == {"sent": MESSAGES})
    assert receiver.kept.keys() == {f"1-1-{n}-1" for n in range(1, MESSAGES + 1)}
    assert len(set(receiver.kept.values())) == MESSAGES


def test_two_workers_keep_one_rate(engine: Engine, mails: MailServer, pools: Any) -> None:
    outbox(engine, "email", 40)
    times: list[float] = []
    mails.meanwhile = lambda mail: times.append(time.monotonic())
    pool = pools(PARCOURS_SMTP_URL=mails.url, PARCOURS_EMAIL_PER_SECOND="10")
    pool.start("tick")
    for _ in range(2):
        pool.start("worker", "--queues", "delivery", "--threads", "2")
    eventually(lambda: states(engine) == {"sent": 40})
    # What a bucket holds and what comes in within the time is the most that can leave in it.
    assert times[-1] - times[0] >= (40 - 10 - 10) / 10


def test_a_mail_server_that_comes_back_gets_everything(engine: Engine, mails: MailServer, pools: Any) -> None:
    outbox(engine, "email", 60)
    mails.answer = "421 away"
    pool = pools(PARCOURS_SMTP_URL=mails.url)
    pool.start("tick")
    pool.start("worker", "--queues", "delivery", "--threads", "2")

    def circuit() -> list[str]:
        with engine.connect() as conn:
            return list(conn.execute(text("SELECT state FROM circuit WHERE opened_until IS NOT NULL")).scalars())

    eventually(lambda: bool(circuit()))
    assert states(engine).get("failed", 0) == 0
    mails.answer = "250 OK"
    # Those that were tried before the circuit opened wait for a minute or so; all others follow the probe.
    eventually(lambda: states(engine).get("sent", 0) >= 60 - 8)
    assert circuit() == []


def test_workers_that_are_killed_choose_one_winner_and_send_nothing_else(
    engine: Engine, mails: MailServer, pools: Any
) -> None:
    outbox(engine, "email", MESSAGES)
    with engine.begin() as conn:
        for statement in (
            """UPDATE email SET winner = '{"after": "1 minute", "by": "opened"}', variants = '[{"name": "b", """
            """"weight": 50, "content": {"subject": "Bee", "html": null, "text": null}, "translations": {}}]'""",
            "INSERT INTO variant_test (template, campaign_id, step_id, round, started_at, figures_before) "
            "VALUES ('hello', 1, 1, 0, now() - interval '1 hour', '{}')",
            "INSERT INTO email_count (template, campaign_id, step_id, variant, what, slot, n) VALUES "
            "('hello', 1, 1, '', 'sent', 0, 100), ('hello', 1, 1, '', 'opened', 0, 10), "
            "('hello', 1, 1, 'b', 'sent', 0, 10), ('hello', 1, 1, 'b', 'opened', 0, 5)",
        ):
            conn.exec_driver_sql(statement)
    pool = pools(PARCOURS_SMTP_URL=mails.url)
    pool.start("tick")
    victims = [pool.start("worker", "--queues", "delivery", "--threads", "2") for _ in range(2)]
    eventually(lambda: len(mails.mails) >= 50)
    pool.kill(victims[0])
    eventually(lambda: states(engine) == {"sent": MESSAGES})
    assert {str(mail["Subject"]) for mail in mails.mails} == {"Bee"}
    with engine.connect() as conn:
        assert conn.execute(text("SELECT winner FROM variant_test")).scalars().all() == ["b"]
