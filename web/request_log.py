"""One line of log and one measurement a request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Histogram
from starlette.requests import Request

from parcours.ops import metrics
from parcours.ops.logs import where
from parcours.web.i18n.language import marked
from parcours.web.problems import problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger()

REQUEST_SECONDS = Histogram(
    "parcours_http_request_seconds",
    "Time that answering a request took.",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=metrics.PROCESS,
)
UNEXPECTED = marked("unexpected error; see the log")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# They come every few seconds, and say what they have to say themselves.
QUIET = ("/health/", "/metrics")
# Where asking is an event of a contact.
TRACKED = "/t/"
# Lines in a second: about refused requests, and about all others. Anybody can cause both.
REFUSALS_LOGGED = 50
REQUESTS_LOGGED = 200


class HeadMiddleware:
    """Answer HEAD as GET, without the body, as load balancers and monitors ask.

    Not for links and pixels of messages: whoever asks only for the head of one has opened nothing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith(TRACKED):
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        asked = {**scope, "method": "GET"}
        await self._app(asked, receive, without_body)
        # The line of the log names the route that answered.
        scope["route"] = asked.get("route")


class RequestLineMiddleware:
    """Write `request_handled`, or `request_failed` with its error, and answer 500 to what nobody expected.

    The route, never the path: a path may hold the key of a contact.
    """

    def __init__(self, app: ASGIApp, *, failed: Callable[[Request, int, str], Response] | None = None) -> None:
        self._app = app
        self._refused = Lines(REFUSALS_LOGGED, refused=True)
        self._answered = Lines(REQUESTS_LOGGED, refused=False)
        # Makes the answer to what nobody expected; it must not fail in turn.
        self._failed = failed or (lambda _request, status, sentence: problem(status, sentence))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        failure: Exception | None = None
        try:
            await self._app(scope, receive, watch)
        # The server would write the whole traceback, with the values of statements in it.
        except Exception as error:
            failure = error
            if not status:
                answer = self._failed(Request(scope), 500, UNEXPECTED)
                await answer(scope, receive, watch)
        seconds = time.perf_counter() - began
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        REQUEST_SECONDS.labels(method, route, str(status)).observe(seconds)
        told = {"method": method, "route": route, "status": status, "duration_ms": round(seconds * 1000, 1)}
        if failure is not None:
            log.error("request_failed", **told, error=type(failure).__name__, where=where(failure.__traceback__))
        elif not route.startswith(QUIET) and (self._answered if status < 400 else self._refused).is_logged():
            log.info("request_handled", **told)


class Lines:
    """Which requests get a line: so many a second, then one line says how many did not."""

    def __init__(self, at_most: int, *, refused: bool) -> None:
        self._at_most = at_most
        self._of_refused = refused
        self._second = 0
        self._n = 0

    def is_logged(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            if self._n > self._at_most:
                n = self._n - self._at_most
                log.warning("refused_requests_not_logged" if self._of_refused else "requests_not_logged", n=n)
            self._second, self._n = second, 0
        self._n += 1
        return self._n <= self._at_most
