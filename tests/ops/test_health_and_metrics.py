"""Health and metrics, of the app and of the other processes."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, NullPool, create_engine, text

from parcours.db import schema
from parcours.db.engine import connect
from parcours.domain.errors import CampaignError
from parcours.ops.health import Health, start_server
from parcours.ops.metrics import MetricsMiddleware
from parcours.producers.broker import make_broker
from parcours.workers.actors import Workshop, register
from tests.web.conftest import Client, count, event, eventually, settings_with

AWAY = "postgresql://nobody@127.0.0.1:1/none"


def samples(exposed: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return the samples by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposed)
        for sample in family.samples
    }


def of(found: dict[Any, float], name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_live_and_ready_need_no_key(client: Client) -> None:
    http = client(open_to_all=False)
    assert http.get("/health/live").status_code == 200
    answer = http.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {"database": "ok", "migrations": "ok", "broker": "ok"}


def test_head_is_answered_as_get_without_a_body(client: Client) -> None:
    http = client()
    for path in ("/health/live", "/health/ready", "/metrics/process", "/sign-in", "/api/campaigns", "/static/app.js"):
        whole, head = http.get(path), http.head(path)
        assert (head.status_code, head.content) == (whole.status_code, b""), path
        assert whole.content, path
        assert head.headers["content-type"] == whole.headers["content-type"]
        if not path.startswith("/metrics"):
            assert head.headers["content-length"] == whole.headers["content-length"], path
    assert http.head("/nowhere").status_code == 404
    assert (http.head("/events").status_code, http.head("/events").headers["allow"]) == (405, "POST")


def test_head_tells_that_a_process_is_not_ready(client: Client) -> None:
    answer = client(engine=connect(AWAY)).head("/health/ready")
    assert (answer.status_code, answer.content) == (503, b"")


def test_the_port_of_health_answers_head(engine: Engine) -> None:
    server = start_server(Health(engine.url, settings_with()), "127.0.0.1", free_port())
    try:
        for path, status in (("/health/live", 200), ("/health/ready", 200), ("/metrics", 200)):
            url = f"http://127.0.0.1:{server.server_address[1]}{path}"
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert (answer.status, answer.read()) == (status, b"")
                assert int(answer.headers["Content-Length"]) > 0
    finally:
        server.shutdown()
        server.server_close()


def test_ready_is_503_while_the_database_is_away_and_live_stays_200(client: Client) -> None:
    http = client(engine=connect(AWAY))
    answer = http.get("/health/ready")
    assert answer.status_code == 503
    assert "cannot reach" in answer.json()["database"]
    assert answer.json()["broker"] == "ok"
    assert "nobody" not in answer.text
    assert http.get("/health/live").status_code == 200


def test_a_database_that_goes_away_and_comes_back_is_told_and_found_again(client: Client, engine: Engine) -> None:
    http = client()
    assert http.post("/events", json=event("1")).status_code == 202
    elsewhere = create_engine(engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    name = engine.url.database
    with elsewhere.connect() as conn:
        conn.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        conn.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
        )
    assert http.get("/health/ready").status_code == 503
    assert http.get("/health/live").status_code == 200
    assert http.post("/events", json=event("2")).status_code == 503
    with elsewhere.connect() as conn:
        conn.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    assert http.get("/health/ready").status_code == 200
    assert http.post("/events", json=event("2")).json()["accepted"] == 1
    elsewhere.dispose()


def test_ready_is_503_while_the_broker_is_away(client: Client) -> None:
    for url in ("redis://127.0.0.1:1/0", "amqp://127.0.0.1:1"):
        answer = client(broker_url=url).get("/health/ready")
        assert answer.status_code == 503
        assert "cannot reach" in answer.json()["broker"]


def test_ready_with_redis(client: Client, redis_url: str) -> None:
    assert client(broker_url=redis_url).get("/health/ready").status_code == 200


def test_ready_with_rabbitmq(client: Client, rabbitmq_url: str) -> None:
    http = client(broker_url=rabbitmq_url)
    assert http.get("/health/ready").status_code == 200
    found = samples(http.get("/metrics").text)
    assert of(found, "parcours_source_up", source="broker") == 1
    assert of(found, "parcours_source_up", source="events") == 1


def test_ready_is_503_until_the_migrations_are_applied_and_200_when_the_database_is_ahead(
    client: Client, engine: Engine
) -> None:
    http = client()
    with engine.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    answer = http.get("/health/ready")
    assert answer.status_code == 503
    assert "parcours db upgrade" in answer.json()["migrations"]
    with engine.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = 'of-a-later-version'"))
    assert http.get("/health/ready").status_code == 200
    with engine.begin() as conn:
        conn.execute(text("DELETE FROM alembic_version"))
    assert "no tables" in http.get("/health/ready").json()["migrations"]
    assert schema.current(engine) is None


def test_metrics_tell_the_figures_of_the_database(client: Client, engine: Engine, stub: StubBroker) -> None:
    http = client(broker=stub)
    http.post("/events", json=[event("1"), event("2", contact="bert"), {"no": "event"}])
    with engine.begin() as conn:
        conn.execute(
            text(
                """
                INSERT INTO campaign (key, name, published, created_at, changed_at)
                VALUES ('welcome "é"', 'Welcome', true, now(), now());
                INSERT INTO step (campaign_id, key, kind, type, created_at)
                VALUES (1, 'a', 'action', 'contact.tags', now());
                INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at)
                VALUES (1, 1, 1, 1, 1, 'delay', now(), now() - interval '100 s'),
                       (2, 1, 1, 1, 1, 'retry', now(), now() + interval '100 s');
                INSERT INTO failure VALUES (2, 1, now(), 1, 'no'), (3, 1, now(), 1, 'no');
                INSERT INTO step_count VALUES (1, current_date, 'done', 0, 3), (1, current_date, 'done', 1, 4);
                INSERT INTO dead_letter (at, origin, reason, body) VALUES (now(), 'event', 'no', '{}');
                INSERT INTO sweep (kind, scope, at) VALUES ('update', '{}', now());
                INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, due_at, created_at)
                VALUES (1, 'k', 1, 1, 1, 'email', now(), now());
                """
            )
        )
    eventually(lambda: stub.queues["decisions"].qsize() == 1)
    answer = http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = samples(answer.text)
    campaign = 'welcome "é"'
    age = of(found, "parcours_oldest_due_wait_seconds")
    assert age is not None
    assert 100 <= age < 200
    assert of(found, "parcours_waits_due", campaign=campaign) == 1
    assert of(found, "parcours_waits", campaign=campaign) == 2
    assert of(found, "parcours_steps_passed_total", kind="action", type="contact.tags", result="done") == 7
    assert of(found, "parcours_inbox_events") == 2
    lag = of(found, "parcours_ingest_lag_seconds")
    assert lag is not None
    assert 0 < lag < 100
    assert of(found, "parcours_outbox_messages", state="queued") == 1
    assert of(found, "parcours_dead_letters", origin="event") == 1
    assert of(found, "parcours_dead_letters", origin="message") == 0
    assert of(found, "parcours_open_sweeps", kind="update") == 1
    assert of(found, "parcours_open_failures") == 1
    assert of(found, "parcours_queue_messages", queue="decisions") == 1
    assert of(found, "parcours_source_up", source="database") == 1
    assert (of(found, "parcours_events_total", outcome="rejected") or 0) >= 1


def test_metrics_are_there_without_the_database_and_say_that_it_is_missing(client: Client) -> None:
    answer = client(engine=connect(AWAY), broker_url="redis://127.0.0.1:1/0").get("/metrics")
    assert answer.status_code == 200
    found = samples(answer.text)
    assert of(found, "parcours_source_up", source="database") == 0
    assert of(found, "parcours_source_up", source="broker") == 0
    assert of(found, "parcours_inbox_events") is None


def test_metrics_of_the_process_alone_do_not_ask_the_database(client: Client) -> None:
    http = client(engine=connect(AWAY))
    http.get("/nowhere")
    found = samples(http.get("/metrics/process").text)
    assert of(found, "parcours_source_up", source="database") is None
    assert of(found, "parcours_http_request_seconds_count", method="GET", route="none", status="404")


def test_handling_messages_and_acting_on_events_is_counted_and_timed(engine: Engine, client: Client) -> None:
    broker = make_broker(None, extra=[MetricsMiddleware()])
    register(Workshop(engine, broker, settings_with()))
    http = client(broker=broker)
    before = samples(http.get("/metrics/process").text)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    worker.start()
    try:
        http.post("/events", json=event("1"))

        def acted() -> bool:
            after = samples(http.get("/metrics/process").text)
            return all(
                (of(after, name, **labels) or 0) > (of(before, name, **labels) or 0)
                for name, labels in (
                    ("parcours_messages_handled_total", {"actor": "act_on_events", "outcome": "done"}),
                    ("parcours_message_seconds_count", {"actor": "act_on_events"}),
                    ("parcours_decision_latency_seconds_count", {}),
                )
            )

        eventually(acted)
    finally:
        worker.stop()
        broker.close()
    assert count(engine, "inbox") == 0


def test_queues_of_redis_are_counted(client: Client, redis_url: str) -> None:
    broker = make_broker(redis_url)
    http = client(broker=broker, broker_url=redis_url)
    before = of(samples(http.get("/metrics").text), "parcours_queue_messages", queue="decisions")
    http.post("/events", json=event("1"))

    def one_more() -> bool:
        found = samples(http.get("/metrics").text)
        assert of(found, "parcours_queue_messages", queue="parcours.events") is not None
        return of(found, "parcours_queue_messages", queue="decisions") == (before or 0) + 1

    eventually(one_more)
    broker.flush_all()
    broker.close()


def test_a_process_without_http_serves_the_same_on_the_first_free_port(engine: Engine) -> None:
    health = Health(engine.url, settings_with())
    port = free_port()
    servers = [start_server(health, "127.0.0.1", port) for _ in range(2)]
    try:
        ports = [server.server_address[1] for server in servers]
        assert ports[0] == port
        assert ports[1] > port
        for each in ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{each}/health/ready", timeout=600) as answer:
                assert json.load(answer)["database"] == "ok"
            with urllib.request.urlopen(f"http://127.0.0.1:{each}/metrics", timeout=600) as answer:
                assert of(samples(answer.read().decode()), "parcours_inbox_events") == 0
            with urllib.request.urlopen(f"http://127.0.0.1:{each}/health/live", timeout=600) as answer:
                assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/nowhere", timeout=600)
        assert refused.value.code == 404
        refused.value.close()
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
    assert not [thread for thread in threading.enumerate() if thread.name == "health" and thread.is_alive()]


def test_an_address_that_is_not_ours_is_one_sentence(engine: Engine) -> None:
    with pytest.raises(CampaignError, match="PARCOURS_HEALTH_HOST"):
        start_server(Health(engine.url, settings_with()), "192.0.2.1", 9090)
