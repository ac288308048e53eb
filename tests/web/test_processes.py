"""The commands as processes: they serve, they stop cleanly, and they say in a sentence why they cannot start."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from parcours.db.tables import api_keys, forms
from tests.conftest import Run
from tests.ops.test_health_and_metrics import free_port, of, samples
from tests.web.conftest import Start, count, event, eventually
from tests.web.mailing import PERSON, mailing


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=600) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def post(port: int, value: Any, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/events",
        json.dumps(value).encode(),
        {"Content-Type": "application/cloudevents-batch+json", **headers},
    )
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def is_ready(port: int) -> bool:
    try:
        return get(port, "/health/ready")[0] == 200
    except (urllib.error.URLError, ConnectionError):
        return False


def line_with(process: subprocess.Popen[str], words: str) -> str:
    """Return the next line that has these words."""
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line
        if words in line:
            return line
    raise AssertionError(told)


def test_web_stores_what_is_posted_with_a_key_and_stops_cleanly(start: Start, engine: Engine) -> None:
    with engine.begin() as conn:
        key, _ = api_keys.create(conn, "shop", "publish")
    port = free_port()
    with start("web", "--port", port):
        eventually(lambda: is_ready(port))
        assert post(port, [event("1"), event("2")])[0] == 401
        done = post(port, [event("1"), event("2")], Authorization=f"Bearer {key}")
        assert done == (202, {"accepted": 2, "duplicates": 0, "rejected": []})
        # The server must end although a client keeps its connection open.
        with socket.create_connection(("127.0.0.1", port)) as idle:
            idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert idle.recv(100).startswith(b"HTTP/1.1 200")
    assert count(engine, "inbox") == 2


def test_up_serves_without_a_key_on_loopback_and_acts_on_events(start: Start, engine: Engine) -> None:
    with start("up", "--port", 0) as process:
        told = line_with(process, "HTTP: http://127.0.0.1:")
        port = int(told.split("http://127.0.0.1:")[1].split()[0])
        assert "No API key" in line_with(process, "key")
        assert post(port, [event("1")])[0] == 202
        eventually(lambda: count(engine, "event") == 1)
        handled = ("parcours_messages_handled_total", {"actor": "act_on_events", "outcome": "done"})
        eventually(lambda: of(samples(get(port, "/metrics")[1]), handled[0], **handled[1]))
        # Another site's page that has its own name point here.
        assert post(port, [event("2")], Host="evil.example")[0] == 400
        # The snippet that people copy names the port that `up` has.
        with engine.begin() as conn:
            forms.create(conn, "signup", "Sign up", False)
        assert f"http://127.0.0.1:{port}/forms/signup" in str(get(port, "/forms/signup")[1])


def test_up_on_another_address_needs_a_key(start: Start) -> None:
    with start("up", "--port", 0, "--host", "0.0.0.0") as process:
        told = line_with(process, "HTTP: http://0.0.0.0:")
        port = int(told.split("http://0.0.0.0:")[1].split()[0])
        assert "programs need an API key" in line_with(process, "key")
        assert post(port, [event("1")])[0] == 401


def test_up_takes_events_from_their_queue_too(start: Start, engine: Engine, redis_url: str, tmp_path: Path) -> None:
    from parcours.producers import event_queue

    with start("up", "--port", 0, PARCOURS_EVENTS_URL=redis_url) as process:
        assert "the consumer of events" in line_with(process, "Parcours is running")
        with event_queue.publisher(redis_url) as publish:
            publish([event("1")])
        eventually(lambda: count(engine, "event") == 1)


@pytest.mark.parametrize("command", ["web", "up"])
def test_a_taken_port_is_one_sentence(run: Run, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(command, "--port", port)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f"parcours: port {port} on 127.0.0.1 is in use; stop the other process, or choose another port with --port"
    )


def test_an_address_of_nobody_is_one_sentence(run: Run) -> None:
    done = run("web", "--host", "192.0.2.1", "--port", 0)
    assert done.returncode == 1
    assert "--host" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["tick", "consume"])
def test_long_running_processes_serve_health_and_metrics(start: Start, redis_url: str, command: str) -> None:
    port = free_port()
    with start(command, "--health-port", port, PARCOURS_BROKER_URL=redis_url):
        eventually(lambda: is_ready(port))
        assert of(samples(get(port, "/metrics")[1]), "parcours_inbox_events") == 0


def test_each_process_of_a_pool_serves_health_on_a_port_of_its_own(start: Start, redis_url: str) -> None:
    with start("worker", "--processes", 2, PARCOURS_HEALTH_PORT="18650", PARCOURS_BROKER_URL=redis_url) as process:
        ports = []
        for _ in range(2):
            told = line_with(process, "health_served")
            ports.append(int(json.loads(told[told.index("{") :])["port"]))
        assert ports[0] != ports[1]
        eventually(lambda: all(is_ready(port) for port in ports))
        for port in ports:
            assert of(samples(get(port, "/metrics")[1]), "parcours_source_up", source="broker") == 1


def test_up_moves_a_contact_by_a_form_a_click_and_an_opening(start: Start, engine: Engine, tmp_path: Path) -> None:
    world = mailing(engine, tmp_path)
    # Long ago: who clicks at once is a machine.
    world.write("UPDATE message SET state = 'sent', sent_at = created_at")
    world.campaign(
        "- {step: sent, decision: form.submit, yes: [{action: contact.points, with: {points: 5}}]}",
        key="f",
        segments=[],
        forms=["signup"],
    )
    with start("up", "--port", 0) as process:
        told = line_with(process, "HTTP: http://127.0.0.1:")
        address = f"http://127.0.0.1:{told.split('http://127.0.0.1:')[1].split()[0]}"
        with httpx.Client(base_url=address, headers=PERSON) as http:
            assert http.post("/forms/signup", data={"email": "ann@example.com"}).status_code == 200
            eventually(lambda: world.points("ann") == [5])
            assert http.get(f"/t/o/{world.token('open')}.gif").status_code == 200
            eventually(lambda: world.tags("ann") == {"opened"})
            link = world.token("click", [world.key, "https://example.com/"])
            assert http.get(f"/t/c/{link}").status_code == 302
            eventually(lambda: world.tags("ann") == {"opened", "clicked"})
