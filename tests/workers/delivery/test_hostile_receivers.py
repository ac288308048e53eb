"""What receivers of webhooks may answer: every message comes to an end, and those beside it are sent once."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import resource
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine

from parcours.db.scope import Scope
from parcours.domain.messages.results import GaveUp, Retry, Sent
from parcours.ops.settings import Settings
from parcours.workers.delivery import deliver
from parcours.workers.delivery.channels import delivery_of
from parcours.workers.delivery.payloads import Call
from parcours.workers.delivery.providers import http
from parcours.workers.delivery.providers.http import Gateway
from parcours.workers.delivery.providers.webhook import WebhookProvider
from tests.mailbox import Receiver
from tests.workers.worlds import START, World

HEAD = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(b"0" * 100_000_000)
MOST_GROWTH_KILOBYTES = 60_000
ANSWERS = {
    "nothing": (b"", b""),
    "no HTTP": (b"\x16\x03\x01\x00" * 50, b""),
    "NUL in the status": (b"HTTP/1.1 400 \x00\x00\r\nContent-Length: 0\r\n\r\n", b""),
    "NUL in a header": (HEAD + b"X: \x00\r\nContent-Length: 0\r\n\r\n", b""),
    "NUL in the body": (b"HTTP/1.1 400 Bad\r\nContent-Length: 4\r\n\r\n\x00\x00\xff\xed", b""),
    "a status of nobody": (b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", b""),
    "a huge header": (HEAD + b"X: " + b"x" * 5_000_000 + b"\r\nContent-Length: 0\r\n\r\n", b""),
    "many headers": (HEAD + b"X: y\r\n" * 200_000 + b"Content-Length: 0\r\n\r\n", b""),
    "endless headers": (HEAD, b"X: y\r\n"),
    "an endless body": (HEAD + b"\r\n", b"x" * 60_000),
    "an endless body in chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"ea60\r\n" + b"x" * 60_000 + b"\r\n"),
    "a gzip bomb": (HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB, b""),
    "a length that is none": (HEAD + b"Content-Length: -1\r\n\r\n", b""),
    "waiting for ever": (b"HTTP/1.1 503 Later\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n", b""),
    "waiting since ever": (
        b"HTTP/1.1 503 Later\r\nRetry-After: Mon, 01 Jan 0001 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n", b"",
    ),
    "inside": (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", b""),
    "nowhere": (b"HTTP/1.1 302 Found\r\nLocation: http://[\x00\r\nContent-Length: 0\r\n\r\n", b""),
    "continue": (b"HTTP/1.1 100 Continue\r\n\r\n" * 10, b"HTTP/1.1 100 Continue\r\n\r\n"),
    "closing in the head": (b"HTTP/1.1 200 OK\r\nContent-Le", b""),
    "less than it says": (HEAD + b"Content-Length: 1000\r\n\r\nabc", b""),
    "more than it says": (HEAD + b"Content-Length: 1\r\n\r\n" + b"x" * 100_000, b""),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 99\r\n\r\nx", b""),
    "a length of no number": (HEAD + b"Content-Length: many\r\n\r\n", b""),
    "half a character": (b'HTTP/1.1 400 Bad\r\nContent-Length: 10\r\n\r\n"\\ud83d\xed\xa0\xbd', b""),
    "300 deep": (b"HTTP/1.1 400 Bad\r\nContent-Length: 600\r\n\r\n" + b"[" * 300 + b"]" * 300, b""),
    "10 MB of headers": (HEAD + b"X: " + b"x" * 10_000_000 + b"\r\nContent-Length: 0\r\n\r\n", b""),
    "a slow drip": (HEAD + b"Content-Length: 1000000\r\n\r\n", b"."),
    "a slow drip of headers": (HEAD, b"."),
    "inside, by another name": (
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://localhost:5432/\r\nContent-Length: 0\r\n\r\n", b"",
    ),
    "a cookie": (HEAD + b"Set-Cookie: a=" + b"x" * 4_000 + b"\r\nContent-Length: 0\r\n\r\n", b""),
}  # fmt: skip


@contextmanager
def answering(first: bytes, then: bytes) -> Iterator[int]:
    """A receiver that answers every request with the same bytes, and goes on with others until nobody listens."""
    with choosing(lambda _: (first, then)) as port:
        yield port


@contextmanager
def choosing(answer: Callable[[bytes], tuple[bytes, bytes]]) -> Iterator[int]:
    """A receiver whose answer to a request, and what it goes on with, is chosen by the request."""
    ended = threading.Event()

    def talk(conn: socket.socket) -> None:
        with contextlib.suppress(OSError), conn:
            conn.settimeout(10)
            request = conn.recv(65_536)
            # Ours come with their body in one piece or in two.
            while b"\r\n\r\n" not in request or request.endswith(b"\r\n\r\n"):
                request += conn.recv(65_536) or b"."
            first, then = answer(request)
            conn.sendall(first)
            while then and not ended.is_set():
                conn.sendall(then)
                if len(then) == 1:
                    ended.wait(0.1)

    def serve(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("kind", ANSWERS)
def test_whatever_a_receiver_answers_its_message_has_a_result_and_its_neighbours_theirs(kind: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    courier = WebhookProvider("secret", allow_private=True)
    with answering(*ANSWERS[kind]) as port, Receiver().running() as good:
        hostile = f"http://127.0.0.1:{port}/"
        urls = [good.url, hostile, good.url]
        made = [
            Call(f"1-2-3-{nth}", url=url, method="POST", headers={}, body={"a": "b"}, as_json=True, timeout=1.0)
            for nth, url in enumerate(urls)
        ]
        first, result, last = courier.send(made)
    courier.close()
    assert (first, last) == (Sent(), Sent())
    assert len(good.calls) == 2
    assert isinstance(result, Sent | GaveUp | Retry), result
    assert "\0" not in str(result)
    json.dumps(str(result)).encode()
    assert len(str(result)) < 2_000
    if kind in ("inside", "nowhere"):
        assert not isinstance(result, Sent)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_GROWTH_KILOBYTES


INNOCENT = [f"good-{nth:02}" for nth in range(20)]
HOSTILE = {f"evil-{nth:02}": kind for nth, kind in enumerate(ANSWERS)}
# So long one call may take, and then everything: the hostile ones in turn, four at once, some of them three times.
SECONDS_A_CALL = 1.0
MOST_SECONDS = 90.0
# Attempts come to their end within these days, and whoever waits for a gateway within those.
DAYS_OF_ATTEMPTS, MOST_DAYS = 4, 60
WEBHOOKS = """
- step: call
  action: webhook.send
  with: {url: "{{ contact.url }}", timeout: 1, attempts: 2, body: {who: "{{ contact.key }}"}}
"""
TEXTS = "- {step: text, action: sms.send, with: {text: Hi, attempts: 2}}"


def campaign_of(world: World, step: str, **urls: str) -> None:
    for key in (*INNOCENT, *HOSTILE):
        world.contacts(key, segment="everyone", phone=f"+3361234{len(urls):04}", url=urls.get(key, ""))
    world.campaign(step)
    world.run()


def deliver_until_all_is_done(world: World, settings: Settings) -> None:
    """Deliver as workers would over days: what waits for a provider that was away comes again.

    A gateway of many answers may be found away by any of them, the last probe included, and then everybody who is left
    waits for another day: after the days that attempts need, as long as somebody has had no turn, or one
    of the others has not left.
    """
    delivery = delivery_of(world.engine, settings)
    try:
        for nth in range(MOST_DAYS):
            now = START + timedelta(days=nth)
            deliver.deliver_inline(world.engine, delivery, Scope(), now=now, zone=world.zone)
            world.write("UPDATE circuit SET opened_until = now() - interval '1 second'")
            left = {key: error for key, (state, error) in ends_of(world).items() if state not in ("sent", "failed")}
            had_a_turn = all(left.values()) and left.keys().isdisjoint(INNOCENT)
            if not left or (nth >= DAYS_OF_ATTEMPTS - 1 and had_a_turn):
                return
    finally:
        delivery.close()


def ends_of(world: World) -> dict[str, tuple[str, str | None]]:
    rows = world.read(
        "SELECT contact.key, message.state::text AS state, message.error FROM message "
        "JOIN contact ON contact.id = contact_id"
    )
    return {row.key: (row.state, row.error) for row in rows}


def assert_all_came_to_an_end(world: World, calls: Counter[str]) -> None:
    ends = ends_of(world)
    assert {key: calls[key] for key in INNOCENT} == dict.fromkeys(INNOCENT, 1), "each of the others is sent once"
    assert {ends[key] for key in INNOCENT} == {("sent", None)}
    for key, kind in HOSTILE.items():
        state, error = ends[key]
        # A gateway that was away is asked again for days, each time with one message.
        assert state in ("sent", "failed", "queued"), (kind, state, error)
        if state != "sent":
            assert error, kind
            assert error.isprintable(), (kind, error)
            assert len(error) < 500, (kind, error)
            assert "unexpected" not in error, (kind, error)
    unsent = {HOSTILE[key] for key in HOSTILE if ends[key][0] != "sent"}
    assert unsent >= {"nothing", "no HTTP", "inside", "NUL in the body", "300 deep", "closing in the head"}
    world.check()


def who(request: bytes) -> str:
    found: str
    (found,) = {match.decode() for match in re.findall(rb"(?:good|evil)-[0-9]{2}", request)}
    return found


def test_hostile_receivers_of_a_campaigns_webhooks_end_and_all_others_are_called_once(
    engine: Engine, tmp_path: Path
) -> None:
    world = World(engine, tmp_path)
    settings = Settings(home=tmp_path, webhook_allow_private=True)
    began = time.monotonic()
    with ExitStack() as running:
        good = running.enter_context(Receiver().running())
        urls = dict.fromkeys(INNOCENT, good.url)
        for key, kind in HOSTILE.items():
            urls[key] = f"http://127.0.0.1:{running.enter_context(answering(*ANSWERS[kind]))}/"
        campaign_of(world, WEBHOOKS, **urls)
        deliver_until_all_is_done(world, settings)
    assert_all_came_to_an_end(world, Counter(who(call["body"]) for call in good.calls))
    assert time.monotonic() - began < MOST_SECONDS


def test_a_gateway_that_answers_some_text_messages_with_anything_gets_all_others_once(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(engine, tmp_path)
    monkeypatch.setattr(http, "Gateway", partial(Gateway, seconds=SECONDS_A_CALL))
    calls: Counter[str] = Counter()

    def answer(request: bytes) -> tuple[bytes, bytes]:
        key = who(request)
        calls[key] += 1
        return ANSWERS[HOSTILE[key]] if key in HOSTILE else (HEAD + b"Content-Length: 2\r\n\r\n{}", b"")

    began = time.monotonic()
    with choosing(answer) as port:
        settings = Settings(home=tmp_path, sms_url=f"http://127.0.0.1:{port}/")
        campaign_of(world, TEXTS)
        deliver_until_all_is_done(world, settings)
    assert_all_came_to_an_end(world, calls)
    assert time.monotonic() - began < MOST_SECONDS
