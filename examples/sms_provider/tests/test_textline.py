"""The provider against a Textline of the test's own, on its good and its bad days, and in a whole campaign."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from textline import SIGNATURE, Textline, signature

from parcours.providers import Bounced, ForgedError, GaveUp, IncomingRequest, Note, Reported, Result, Retry, Sent
from parcours.testing import START, sandbox, setup

NOTE = Note("1-1-1-1", datetime(2026, 6, 1, tzinfo=UTC), "ann", "+33612345678", {"text": "Hello Ann"})


class Server:
    """Textline: notes what it is sent, and answers what the test says."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], Any]] = []
        self.status, self.answer, self.headers = 201, {"id": "t-1"}, dict[str, str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(json.dumps(outer.answer).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def provider(url: str) -> Textline:
    return Textline(setup(Textline, "sms", url=url, key="key", secret="secret", sender="+33700000000"))


@pytest.fixture
def textline(server: Server) -> Iterator[Textline]:
    made = provider(server.url)
    yield made
    made.close()


def test_a_message_is_posted_with_its_key_and_the_address_for_reports(textline: Textline, server: Server) -> None:
    assert textline.send([NOTE]) == [Sent()]
    ((headers, body),) = server.got
    assert (headers["authorization"], headers["idempotency-key"]) == ("Bearer key", "1-1-1-1")
    assert body == {
        "from": "+33700000000",
        "to": "+33612345678",
        "text": "Hello Ann",
        "reference": "1-1-1-1",
        "report_to": "https://parcours.example/inbound/providers/test",
    }


@pytest.mark.parametrize(
    ("status", "answer", "result"),
    [
        (401, {}, Retry("Textline answered 401", away=True)),
        (402, {"code": "no_credit"}, Retry("Textline answered 402 no_credit", away=True)),
        (422, {"code": "unknown_number"}, Bounced("Textline answered 422 unknown_number")),
        (422, {"code": "too_long"}, GaveUp("Textline answered 422 too_long")),
        (429, {}, Retry("Textline answered 429", timedelta(seconds=7))),
        (500, [], Retry("Textline answered 500")),
        (503, {}, Retry("Textline answered 503", away=True)),
    ],
)
def test_what_an_answer_means(textline: Textline, server: Server, status: int, answer: Any, result: Result) -> None:
    server.status, server.answer, server.headers = status, answer, {"Retry-After": "7"}
    assert textline.send([NOTE]) == [result]


def test_nobody_answers() -> None:
    made = provider("http://127.0.0.1:1")
    assert made.send([NOTE]) == [Retry("Textline does not respond (ConnectError)", away=True)]
    made.close()


def incoming(said: Any, *, secret: str = "secret", at: float | None = None) -> IncomingRequest:
    body = json.dumps(said).encode()
    signed = signature(secret, int(time.time() if at is None else at), body)
    return IncomingRequest("https://parcours.example/inbound/providers/textline", {SIGNATURE: signed}, body)


def test_reports_become_events(textline: Textline) -> None:
    said = [
        {"id": "1", "event": "delivered", "reference": "1-1-1-1", "at": 1780304400},
        {"id": "2", "event": "undelivered", "reference": "1-1-1-1", "code": "unknown_number"},
        {"id": "3", "event": "undelivered", "reference": "1-1-1-1", "code": "switched_off"},
        {"id": "4", "event": "inbound", "from": "+33612345678", "text": "STOP"},
        {"id": "5", "event": "price_changed"},
    ]
    assert list(textline.parse(incoming(said))) == [
        Reported("sms.delivered", message="1-1-1-1", id="1", time=datetime(2026, 6, 1, 9, tzinfo=UTC)),
        Reported("sms.bounced", message="1-1-1-1", data={"kind": "hard", "reason": "unknown_number"}, id="2"),
        Reported("sms.bounced", message="1-1-1-1", data={"kind": "soft", "reason": "switched_off"}, id="3"),
        Reported("sms.replied", phone="+33612345678", data={"text": "STOP"}, id="4"),
    ]


@pytest.mark.parametrize(
    "request_",
    [
        incoming({"id": "1"}, secret="another"),
        incoming({"id": "1"}, at=time.time() - 3600),
        IncomingRequest("https://parcours.example/", {}, b"{}"),
        IncomingRequest("https://parcours.example/", {SIGNATURE: "t=٣,v1=" + "0" * 64}, b"{}"),
    ],
    ids=["another secret", "old", "none", "strange digits"],
)
def test_a_request_without_a_fresh_signature_is_refused(textline: Textline, request_: IncomingRequest) -> None:
    with pytest.raises(ForgedError):
        list(textline.parse(request_))


@pytest.mark.parametrize("said", [1, [1], {"event": "delivered"}])
def test_a_signed_request_that_is_no_report_is_not_understood(textline: Textline, said: Any) -> None:
    with pytest.raises(ValueError, match="a report"):
        list(textline.parse(incoming(said)))


def test_a_campaign_sends_through_it_and_waits_while_it_is_away(textline: Textline, server: Server) -> None:
    server.status = 503
    with sandbox(providers={"sms": textline}) as world:
        world.campaign("""
            campaign: hello
            sources: {segments: [everyone]}
            steps: [{step: text, action: sms.send, with: {text: "Hello {{ contact.name }}"}}]
        """)
        world.contact("ann", segment="everyone", name="Ann", phone="+33612345678")
        assert world.results("ann") == [("text", "done")]
        assert (len(server.got), world.sent()) == (1, [])
        server.status = 201
        world.advance(days=1)
        ((channel, contact, content, at, *_),) = world.sent()
        assert (channel, contact, content.content) == ("sms", "ann", {"text": "Hello Ann"})
        assert at > START
