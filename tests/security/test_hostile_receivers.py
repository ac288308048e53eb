"""What receivers of webhooks may answer: every message comes to an end, and those beside it are sent once."""

from __future__ import annotations

import contextlib
import gzip
import json
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from parcours.domain.messages.results import GaveUp, Retry, Sent
from parcours.workers.delivery.providers.webhook import Call, WebhookProvider
from tests.mailbox import Receiver

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
    "a cookie": (HEAD + b"Set-Cookie: a=" + b"x" * 4_000 + b"\r\nContent-Length: 0\r\n\r\n", b""),
}  # fmt: skip


@contextmanager
def answering(first: bytes, then: bytes) -> Iterator[int]:
    """A receiver that answers every request with the same bytes, and goes on with others until nobody listens."""
    ended = threading.Event()

    def talk(conn: socket.socket) -> None:
        with contextlib.suppress(OSError), conn:
            conn.settimeout(10)
            conn.recv(65_536)
            conn.sendall(first)
            while then and not ended.is_set():
                conn.sendall(then)

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
