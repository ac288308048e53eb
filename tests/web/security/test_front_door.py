"""The HTTP server against clients that are slow, many, or come from where nobody should."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from starlette.types import ASGIApp

from parcours.cli.up import _for_this_machine
from parcours.db.tables import api_keys, forms
from parcours.web import request_log, server
from parcours.web.app import make_app
from parcours.web.security import limits
from parcours.web.security.limits import PROXY_HEADERS, Rates
from tests.web.conftest import Client, client, count, settings_with

__all__ = ["client"]
EVENT = {"specversion": "1.0", "id": "1", "source": "s", "type": "order.paid", "subject": "ann"}
Start = Callable[[], server.Server]


@pytest.fixture
def start(engine: Engine) -> Iterator[Start]:
    running: list[server.Server] = []

    def make() -> server.Server:
        made = server.Server(host="127.0.0.1", port=0)
        running.append(made)
        made.start(make_app(engine, None, settings_with(), open_to_all=False))
        return made

    yield make
    for each in running:
        each.stop()


def ends(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes the connection."""
    connection.settimeout(600)
    found = b""
    while piece := connection.recv(65_536):
        found += piece
    return found


@pytest.mark.parametrize("begun", [b"", b"GET / HT", b"POST /sign-in HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_request_whose_head_does_not_come_is_not_waited_for(
    start: Start, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", start().port)) as connection:
        connection.sendall(begun)
        assert ends(connection) == b""


def test_the_second_request_of_a_connection_is_not_waited_for_either(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    with socket.create_connection(("127.0.0.1", start().port)) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /health")
        answer = ends(connection)
    assert answer.count(b"HTTP/1.1 200") == 1


def test_a_body_that_does_not_come_is_answered_with_408(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", start().port)) as connection:
        connection.sendall(b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\nabc")
        assert ends(connection).startswith(b"HTTP/1.1 408")


def test_more_connections_than_the_limit_are_told_so_and_the_others_go_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 5)
    port = start().port
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    request = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    def asked() -> bytes:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request)
            return ends(connection)

    deadline = time.monotonic() + 600
    while not asked().startswith(b"HTTP/1.1 503"):
        assert time.monotonic() < deadline
    for each in idle:
        each.close()
    while not asked().startswith(b"HTTP/1.1 200"):
        assert time.monotonic() < deadline


def test_bodies_in_hand_are_bounded_together(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODIES_AT_ONCE", 0)
    monkeypatch.setattr(limits, "LEAST_BYTES_AT_ONCE", 2)
    answer = client(open_to_all=False).post("/sign-in", content=b"x=1")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]


@pytest.mark.parametrize("header", PROXY_HEADERS)
def test_where_nobody_needs_a_key_nothing_comes_through_a_proxy(client: Client, engine: Engine, header: str) -> None:
    app: ASGIApp = _for_this_machine(make_app(engine, None, settings_with(), open_to_all=True), "127.0.0.1")
    http = TestClient(app, base_url="http://127.0.0.1")
    assert http.get("/campaigns").status_code == 200
    refused = http.get("/campaigns", headers={header: "10.0.0.1"})
    assert refused.status_code == 403
    assert "proxy" in refused.json()["detail"]


def test_pages_of_other_sites_publish_nothing_where_nobody_needs_a_key(client: Client, engine: Engine) -> None:
    http = client()
    foreign = http.post("/events", json=EVENT, headers={"origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert count(engine, "inbox") == 0
    assert http.post("/events", json=EVENT).status_code == 202


def test_metrics_need_a_key_that_reads(client: Client, engine: Engine) -> None:
    http = client(open_to_all=False)
    for path in ("/metrics", "/metrics/process"):
        assert http.get(path).status_code == 401
    with engine.begin() as conn:
        keys = {"publish": api_keys.create(conn, "p", "publish")[0], "read": api_keys.create(conn, "r", "read")[0]}
    for role, status in (("publish", 403), ("read", 200)):
        assert http.get("/metrics/process", headers={"authorization": f"Bearer {keys[role]}"}).status_code == status


def test_forms_of_one_network_address_have_a_limit(client: Client, engine: Engine) -> None:
    with engine.begin() as conn:
        forms.create(conn, "signup", "Sign up", False)
    http = client(open_to_all=False, forms_per_minute=3)
    answers = [http.post("/forms/signup", data={"email": f"{nth}@example.com"}) for nth in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].headers["retry-after"]


def test_a_rate_lets_so_many_go_and_says_when_the_next_one_may() -> None:
    rates = Rates(3)
    assert [rates.wait("a") for _ in range(3)] == [0, 0, 0]
    assert 0 < rates.wait("a") <= 20
    assert rates.wait("b") == 0


def test_what_is_remembered_of_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_REMEMBERED", 10)
    rates = Rates(1)
    for nth in range(100):
        rates.wait(str(nth))
    assert len(rates._left) == 10


def test_refused_requests_cannot_flood_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = request_log.Lines(request_log.REFUSALS_LOGGED, refused=True)
    monkeypatch.setattr("parcours.web.request_log.time.monotonic", lambda: 7.0)
    logged = sum(refusals.is_logged() for _ in range(1_000))
    assert logged == request_log.REFUSALS_LOGGED
