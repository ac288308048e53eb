"""The HTTP server against clients that are slow, many, or come from where nobody should."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine
from starlette.types import ASGIApp

from parcours.cli.up import _for_this_machine
from parcours.db.tables import api_keys, forms
from parcours.web import request_log, server
from parcours.web.app import make_app
from parcours.web.security import limits
from parcours.web.security.connections import HEALTH_PLACES, ConnectionPlaces
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


LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PAGE = b"GET /sign-in HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
# The body of which does not come. The server says when it waits for that.
SLOW = b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"


def asked(port: int, request: bytes, *, source: str = "127.0.0.1") -> bytes:
    with socket.create_connection(("127.0.0.1", port), source_address=(source, 0)) as connection:
        connection.sendall(request)
        return ends(connection)


@contextmanager
def many(port: int, n: int, *, said: bytes = b"", source: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """Hold connections that have said something."""
    with ExitStack() as opened:
        made = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port), source_address=(source, 0)))
            for _ in range(n)
        ]
        for each in made:
            each.sendall(said)
        yield made


@contextmanager
def in_hand(port: int, n: int, *, source: str = "127.0.0.1") -> Iterator[None]:
    """Hold requests that the server has begun to answer."""
    with many(port, n, said=SLOW, source=source) as made:
        for each in made:
            each.settimeout(600)
            assert each.recv(65_536).startswith(b"HTTP/1.1 100")
        yield


@pytest.mark.parametrize("begun", [b"", b"GET / HT"])
def test_connections_that_say_nothing_keep_nobody_out(start: Start, begun: bytes) -> None:
    port = start().port
    with many(port, 520, said=begun):
        assert asked(port, LIVE).startswith(b"HTTP/1.1 200")
        assert asked(port, LIVE.replace(b"live", b"ready")).startswith(b"HTTP/1.1 200")
        assert asked(port, PAGE).startswith(b"HTTP/1.1 200")


def test_the_oldest_silent_connection_of_a_source_makes_room_and_that_of_others_stays(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 8)
    port = start().port
    with many(port, 2, source="127.0.0.2") as theirs, many(port, 5) as ours:
        assert ends(ours[0]) == b""
        for each in (*theirs, *ours[1:]):
            each.sendall(PAGE)
            assert ends(each).startswith(b"HTTP/1.1 200")


def test_more_requests_than_the_limit_are_told_so_and_health_is_answered(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 6)
    port = start().port
    with in_hand(port, 3), in_hand(port, 3, source="127.0.0.2"):
        answer = asked(port, PAGE, source="127.0.0.3")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"too many requests at once; send this one again later" in answer
        assert b"retry-after:" in answer.lower()
        for path in (b"/health/live", b"/health/ready"):
            assert asked(port, LIVE.replace(b"/health/live", path)).startswith(b"HTTP/1.1 200")
        assert asked(port, LIVE.replace(b"/health/live", b"/metrics")).startswith(b"HTTP/1.1 401")
    deadline = time.monotonic() + 600
    while not asked(port, PAGE).startswith(b"HTTP/1.1 200"):
        assert time.monotonic() < deadline


def test_one_source_cannot_take_all_places(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 8)
    port = start().port
    with in_hand(port, 4):
        assert asked(port, PAGE).startswith(b"HTTP/1.1 503")
        assert asked(port, PAGE, source="127.0.0.2").startswith(b"HTTP/1.1 200")


class Line:
    """A connection that does nothing."""

    def __init__(self, source: str, *, is_idle: bool = True) -> None:
        self.source, self.is_idle, self.ended = source, is_idle, False

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize(
    ("trusted", "source", "share"),
    [
        (None, "10.0.0.1", 4),
        ("10.0.0.0/8", "10.0.0.1", 8),
        ("10.0.0.9, ::1", "10.0.0.1", 4),
        ("10.0.0.1,2001:db8::/32", "2001:db8::/64", 8),
        ("*", "unknown", 8),
        ("10.0.0.0/8", "unknown", 4),
    ],
)
def test_a_proxy_that_is_trusted_may_have_all_places(trusted: str | None, source: str, share: int) -> None:
    places = ConnectionPlaces(8, trusted)
    with ExitStack() as held:
        admitted = [held.enter_context(places.request(source, "/")) for _ in range(10)]
        assert admitted == [True] * share + [False] * (10 - share)
        assert held.enter_context(places.request(source, "/metrics"))
    with places.request(source, "/") as again:
        assert again


def test_health_has_a_bounded_number_of_places() -> None:
    places = ConnectionPlaces(8, None)
    with ExitStack() as held:
        admitted = [held.enter_context(places.request("a", "/health/ready")) for _ in range(HEALTH_PLACES + 1)]
        assert admitted == [True] * HEALTH_PLACES + [False]
        assert held.enter_context(places.request("a", "/"))
    with places.request("a", "/health/ready") as again:
        assert again


def test_of_connections_from_everywhere_that_of_the_busiest_source_makes_room() -> None:
    places = ConnectionPlaces(4, None)
    lines = [Line("a", is_idle=False), Line("b"), Line("a"), Line("c")]
    for each in lines:
        places.enter(each)
    assert [each.ended for each in lines] == [False] * 4
    places.enter(Line("d"))
    assert [each.ended for each in lines] == [False, False, True, False]
    # What is closed already is not counted twice.
    for each in (*lines, *lines):
        places.leave(each)
    assert (places._n_open, list(places._open)) == (1, ["d"])


@pytest.mark.parametrize("headers", [b"", b"Connection: close\r\n"])
@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"POST /forms/signup", 413),
        (b"POST /t/p", None),
        (b"POST /sign-in", 403),
        (b"POST /unsubscribe/abc", None),
        (b"POST /events", 401),
        (b"PUT /api/campaigns/a", 401),
        (b"POST /inbound/sms", 401),
        (b"POST /nothing", 404),
    ],
)
def test_who_sends_too_much_reads_the_answer(
    start: Start, engine: Engine, request_line: bytes, status: int | None, headers: bytes
) -> None:
    with engine.begin() as conn:
        forms.create(conn, "signup", "Sign up", False)
    body = b"x" * 4_000_000
    head = b"Host: x\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n" % (headers, len(body))
    with socket.create_connection(("127.0.0.1", start().port)) as connection:
        # As clients do that read nothing before all is sent.
        connection.sendall(request_line + b" HTTP/1.1\r\n" + head + b"\r\n" + body)
        answer = b""
        while not answer.endswith(b"}") and b"</html>" not in answer and b"\r\ncontent-length: 0" not in answer:
            piece = connection.recv(65_536)
            assert piece, answer
            answer += piece
        if headers:
            assert ends(connection) == b""
    assert answer.startswith(b"HTTP/1.1 %d" % (status or int(answer.split()[1])))
    if status == 413:
        assert b"the body is longer than" in answer


UNREAD = b"POST /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


def test_of_a_body_that_nobody_reads_a_bounded_amount_is_taken(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNREAD_BYTES", 100_000)
    with socket.create_connection(("127.0.0.1", start().port)) as connection:
        connection.sendall(UNREAD % 10_000_000_000)
        connection.settimeout(600)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(b"x" * 60_000_000)


def test_a_body_that_nobody_reads_and_that_does_not_come_is_not_waited_for(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNREAD_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", start().port)) as connection:
        connection.sendall(UNREAD % 100 + b"abc")
        assert ends(connection).startswith(b"HTTP/1.1 404")


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


def test_a_key_with_too_little_is_told_once_what_would_be_enough(client: Client, engine: Engine) -> None:
    http = client(open_to_all=False)
    with engine.begin() as conn:
        reads = {"authorization": f"Bearer {api_keys.create(conn, 'test', 'read')[0]}"}
    assert http.delete("/api/contacts/ann", headers=reads).json()["detail"] == (
        "the key has the role read; this requires manage"
    )
    assert http.post("/events", json=[], headers=reads).json()["detail"].endswith("this requires publish or manage")
