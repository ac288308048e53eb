"""What one client may take of a process: requests in a minute, time for a body, bytes in hand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING

from fastapi import Request
from starlette.requests import ClientDisconnect

from parcours.web.problems import ProblemError, problem
from parcours.web.security.access import client_address, network_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A body that is not there by then will not come; an answer that nobody takes is given up.
BODY_SECONDS = 30.0
SEND_SECONDS = 30.0
# Of a body that nobody reads, as it is too long or the request is refused, so much is taken in this time and thrown
# away: who is still sending it would lose the answer with the connection.
UNREAD_BYTES = 20_000_000
UNREAD_SECONDS = 5.0
# Bodies of all requests in hand together, in the size of the largest one allowed, and at least so many bytes.
BODIES_AT_ONCE = 4
LEAST_BYTES_AT_ONCE = 20_000_000
RETRY_SECONDS = 2
# Clients remembered; those that asked longest ago are forgotten first.
MOST_REMEMBERED = 20_000
# Where people upload files, which go to the disk as they come: as long as something comes, they may take their time.
UPLOADS = frozenset({"/contacts/+import"})
# One message of ours is opened, and one visit sees pages, at most so often in a minute.
OF_ONE_VISIT = 60


class Rates:
    """Counts requests by whoever they are from, in this process: `per_minute` each, and as many at once."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._lock = threading.Lock()
        # What is left, and when that was.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, who: str) -> float:
        """Count a request and return 0, or return in how many seconds the next one may come."""
        now = time.monotonic()
        with self._lock:
            left, at = self._left.pop(who, (float(self._per_minute), now))
            left = min(float(self._per_minute), left + (now - at) * self._per_minute / 60)
            allowed = left >= 1
            self._left[who] = (left - 1 if allowed else left, now)
            if len(self._left) > MOST_REMEMBERED:
                self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) * 60 / self._per_minute

    def check(self, who: str) -> None:
        """Count a request; raise ProblemError (429) when there were too many."""
        seconds = self.wait(who)
        if seconds:
            raise ProblemError(
                429, "too many requests; send the next one later", headers={"Retry-After": str(int(seconds) + 1)}
            )


def source(request: Request) -> str:
    """Return what requests of one client have in common: its network address, or its network's."""
    return network_of(client_address(request))


class PatienceMiddleware:
    """Give up on bodies that do not come and answers that nobody takes, and bound the bytes in hand.

    Bodies that are not read are taken all the same, within limits, before the end of the answer.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self._app = app
        self._most = max(BODIES_AT_ONCE * max_body_bytes, LEAST_BYTES_AT_ONCE)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        until = time.monotonic() + BODY_SECONDS
        held = 0
        waits_for_body = _has_body(scope)
        is_upload = scope["path"] in UPLOADS
        # A client that asks whether it may send its body sends none to an answer that comes before.
        asks_first = any(name == b"expect" for name, _value in scope["headers"])

        async def patient_receive() -> Message:
            nonlocal held, waits_for_body, asks_first, until
            asks_first = False
            if not waits_for_body:
                # Whether the client is still there, for as long as the answer takes.
                return await receive()
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise ProblemError(408, "the body did not arrive in time; send it again") from None
            size = len(message.get("body", b""))
            waits_for_body = bool(message.get("more_body"))
            if is_upload:
                until = time.monotonic() + BODY_SECONDS
                return message
            held += size
            self._held += size
            if self._held > self._most:
                raise ProblemError(
                    503,
                    "too many large requests at once; send it again",
                    headers={"Retry-After": str(RETRY_SECONDS)},
                )
            return message

        async def patient_send(message: Message) -> None:
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    if waits_for_body and not asks_first and _is_last(message):
                        await send({**message, "more_body": True})
                        await _throw_away(receive)
                        message = {"type": "http.response.body"}
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        try:
            await self._app(scope, patient_receive, patient_send)
        finally:
            self._held -= held


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _is_last(message: Message) -> bool:
    return message["type"] == "http.response.body" and not message.get("more_body", False)


async def _throw_away(receive: Receive) -> None:
    """Take what comes of a body until it ends, or is too much."""
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(UNREAD_SECONDS):
            while size <= UNREAD_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
                size += len(message["body"])


# What a proxy adds to requests that it passes on.
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class NoProxyMiddleware:
    """Refuse what came through a proxy: where nobody is asked for a key, it would let in the whole world."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            names = {name for name, _value in scope["headers"]}
            found = next((name for name in PROXY_HEADERS if name.encode() in names), None)
            if found is not None:
                await problem(
                    403,
                    f"this request came through a proxy ({found}), but this server requires no key; "
                    "use `parcours web` behind a proxy, or `parcours up --host` with the address of this machine",
                )(scope, receive, send)
                return
        await self._app(scope, receive, send)
