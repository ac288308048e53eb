"""The HTTP interface: pages, REST, contact events in, health and metrics out.

Errors are problem details (RFC 9457), or pages where a browser asks for one, each with a sentence that says what to do.
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import unquote, urlencode

import structlog
from dramatiq.broker import Broker
from dramatiq.errors import DramatiqError
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pika.exceptions import AMQPError
from pydantic import BaseModel
from redis.exceptions import RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from db import events as events_table
from db.clock import now as database_now
from domain.errors import CampaignError, NotFoundError
from domain.events import ContactEvent, EventError, parse
from domain.orders import ActOnEvents
from producers import metrics
from producers.broker import publish
from producers.health import Health, is_ready
from settings import Settings
from web.access import SignInNeededError, needs_role
from web.bodies import read_body
from web.language import _ as said
from web.language import marked
from web.lines import OneLineMiddleware
from web.pages.middleware import PagesMiddleware
from web.pages.rendering import redirect, render_error
from web.pages.routes import ROUTERS
from web.problems import PROBLEM, ProblemError, problem
from web.site import Site
from workers import events

log = structlog.get_logger()

EVENT_TYPES = ("application/cloudevents+json", "application/cloudevents-batch+json", "application/json")
# No event is shorter, so a body that holds more values than its limit has room for is no body of events.
LEAST_EVENT_BYTES = 80
FULL_RETRY_SECONDS = 5
AWAY_RETRY_SECONDS = 2
# Between a hint that could not be published and the next try.
HINT_PAUSE_SECONDS = 1.0


def make_app(engine: Engine, broker: Broker | None, settings: Settings, *, open_to_all: bool) -> FastAPI:
    """Return the app. `open_to_all` lets everybody in without a key: for a loopback address only.

    Without a broker events are stored all the same, and wait for somebody who looks at the inbox.
    """
    hints = None if broker is None else Hints(broker)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if hints is not None:
            hints.stop()

    app = FastAPI(
        title="Parcours",
        summary="A campaign engine: contacts walk a tree of actions, decisions and conditions.",
        docs_url="/api/docs",
        openapi_url="/api/openapi.json",
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.max_body_bytes = settings.max_body_bytes
    app.state.site = Site(engine, settings, open_to_all, hint=_nothing if hints is None else hints.give)
    app.add_middleware(OneLineMiddleware, failed=_answer)
    # The last added is the first that a request meets.
    app.add_middleware(PagesMiddleware, zone=settings.zone)
    _add_problems(app)
    for router in ROUTERS:
        app.include_router(router)
    _add_health(app, Health(engine.url, settings, inside=broker))
    _add_events(app, engine, hints, settings, open_to_all=open_to_all)
    return app


class Rejected(BaseModel):
    """An event that was not stored; sending it again as it is will not help."""

    index: int
    error: str


class Taken(BaseModel):
    """What became of the events of a request."""

    accepted: int
    duplicates: int
    rejected: list[Rejected]


class Hints:
    """Publishes that the inbox holds something, from a thread of its own.

    Nobody who posts waits for the broker, and posts that come together share a hint. A broker that is
    away costs nothing but time: the events are stored, and the next hint or tick finds them.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def give(self) -> None:
        """Ask for a hint; returns at once."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hints", daemon=True)
                self._thread.start()
        self._wanted.set()

    def stop(self) -> None:
        """Publish what is asked for, and end."""
        self._stopped.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        told = False
        while True:
            self._wanted.wait()
            asked_to_stop = self._stopped.is_set()
            self._wanted.clear()
            try:
                publish(self._broker, ActOnEvents())
                told = False
            except (OSError, RedisError, AMQPError, DramatiqError) as error:
                if not told:
                    log.warning("hint_not_published", error=type(error).__name__)
                told = True
                self._stopped.wait(HINT_PAUSE_SECONDS)
            if asked_to_stop:
                return


def _add_events(app: FastAPI, engine: Engine, hints: Hints | None, settings: Settings, *, open_to_all: bool) -> None:
    may_publish = needs_role(engine, "publish", open_to_all=open_to_all)
    most_events = max(1, settings.max_body_bytes // LEAST_EVENT_BYTES)

    @app.post(
        "/events",
        status_code=202,
        summary="Store contact events",
        dependencies=[Depends(may_publish), Depends(_check_content_type)],
        responses={status: {"content": {PROBLEM: {}}, "description": why} for status, why in ANSWERS.items()},
        openapi_extra=EVENTS_BODY,
    )
    def post_events(request: Request, raw: Annotated[bytes, Depends(read_body)]) -> Taken:
        """One CloudEvent, or a list of them. 202 says that they are stored; what follows from them follows at once.

        The same (source, id) again changes nothing. Positions of rejected events count from 0.
        """
        values = _values(request, raw)
        if len(values) > most_events:
            raise ProblemError(413, f"there are {len(values):,} events in the request; send {most_events:,} at most")
        taken = _store(engine, values, settings)
        metrics.count_events(accepted=taken.accepted, duplicates=taken.duplicates, rejected=len(taken.rejected))
        if taken.accepted and hints is not None:
            hints.give()
        rejected = [Rejected(index=index, error=error) for index, error in taken.rejected]
        return Taken(accepted=taken.accepted, duplicates=taken.duplicates, rejected=rejected)


def _store(engine: Engine, values: list[Any], settings: Settings) -> events.Accepted:
    """Store what can be understood, in one transaction; return what became of each, by its place in the request."""
    with engine.begin() as conn:
        if events_table.is_longer_than(conn, settings.max_inbox):
            raise ProblemError(
                429,
                "too many events wait to be acted on; send these again later",
                headers={"Retry-After": str(FULL_RETRY_SECONDS)},
            )
        now = database_now(conn)
        good: list[tuple[int, ContactEvent]] = []
        rejected: list[tuple[int, str]] = []
        for index, value in enumerate(values):
            try:
                good.append((index, parse(value, now=now)))
            except EventError as error:
                rejected.append((index, str(error)))
        offered = [event for _, event in good]
        taken = events.accept(conn, offered, now=now, unknown_contacts=settings.unknown_contacts)
    taken.rejected = sorted(rejected + [(good[nth][0], reason) for nth, reason in taken.rejected])
    return taken


def _values(request: Request, raw: bytes) -> list[Any]:
    """Return the events of a request, not yet parsed."""
    binary = "ce-specversion" in request.headers
    if binary and not raw.strip():
        return [_attributes(request)]
    try:
        value = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_json)
    except (ValueError, RecursionError) as error:
        raise ProblemError(400, f"the body is not JSON in UTF-8 ({_first_line(error)})") from None
    if binary:
        return [{**_attributes(request), "data": value}]
    if not isinstance(value, dict | list):
        raise ProblemError(400, "the body is neither a JSON object nor a list of them")
    return value if isinstance(value, list) else [value]


def _attributes(request: Request) -> dict[str, str]:
    """Return the attributes of an event in binary mode. Source: CloudEvents 1.0.2, HTTP binding, section 3.1."""
    return {
        name.removeprefix("ce-"): unquote(value) for name, value in request.headers.items() if name.startswith("ce-")
    }


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON value")


def _first_line(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return (str(error).splitlines() or [""])[0][:200]


def _check_content_type(request: Request) -> None:
    found = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if found not in EVENT_TYPES:
        about = f"{found[:80]!r} is not understood" if found else "the content type is missing"
        raise ProblemError(415, f"{about}; send {', '.join(EVENT_TYPES)}", headers={"Accept": ", ".join(EVENT_TYPES)})
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise ProblemError(415, f"the content encoding {encoding[:40]!r} is not understood; send the body as it is")


def _add_health(app: FastAPI, health: Health) -> None:
    @app.get("/health/live", summary="Is this process alive")
    def live() -> Response:
        """Always 200: restart the process when there is no answer."""
        return JSONResponse({"status": "live"})

    @app.get("/health/ready", summary="Can this process do its work", responses={503: {"description": "Not now."}})
    def ready() -> Response:
        """Database, migrations and broker, each "ok" or the sentence that says why not."""
        report = health.ready()
        return JSONResponse(report, status_code=200 if is_ready(report) else 503)

    @app.get("/metrics", summary="Metrics for Prometheus")
    def all_metrics() -> Response:
        """Of this process, and the figures that all processes share."""
        return Response(metrics.exposition(health.figures), headers={"Content-Type": metrics.CONTENT_TYPE})

    @app.get("/metrics/process", summary="Metrics for Prometheus, of this process only")
    def process_metrics() -> Response:
        """Without the figures that all processes share, which cost the database a few statements."""
        return Response(metrics.exposition(None), headers={"Content-Type": metrics.CONTENT_TYPE})


# Who comes to these is a program, whatever it says that it accepts.
NO_PAGES = ("/api/", "/events", "/health/", "/metrics", "/t/", "/static/")


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(NO_PAGES)


def _answer(request: Request, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as a page or a problem, as the client understands it."""
    if _wants_page(request) and not request.headers.get("hx-request"):
        page = render_error(status, sentence)
        page.headers.update(headers or {})
        return page
    return problem(status, sentence, headers=headers)


def _add_problems(app: FastAPI) -> None:
    def handles(*errors: type[Exception]) -> Callable[[Callable[[Request, Any], Response]], None]:
        def add(work: Callable[[Request, Any], Response]) -> None:
            async def handle(request: Request, error: Exception) -> Response:
                return work(request, error)

            for each in errors:
                app.add_exception_handler(each, handle)

        return add

    @handles(ProblemError)
    def refused(request: Request, error: ProblemError) -> Response:
        if error.extensions:
            return error.response()
        return _answer(request, error.status, error.detail, error.headers)

    # What the framework itself refuses: an unknown path, another method.
    @handles(HTTPException)
    def not_served(request: Request, error: HTTPException) -> Response:
        sentence = said(PAGE_SENTENCES.get(error.status_code, "")) if _wants_page(request) else ""
        return _answer(request, error.status_code, sentence or str(error.detail), dict(error.headers or {}))

    @handles(RequestValidationError)
    def not_valid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(piece) for piece in first["loc"])
        return _answer(request, 422, f"{place}: {str(first['msg'])[:1].lower()}{str(first['msg'])[1:]}")

    @handles(SignInNeededError)
    def signs_in(request: Request, _: SignInNeededError) -> Response:
        goal = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return redirect(request, "/sign-in?" + urlencode({"next": goal if request.method == "GET" else "/"}))

    @handles(NotFoundError)
    def not_there(request: Request, error: NotFoundError) -> Response:
        return _answer(request, 404, str(error))

    @handles(CampaignError)
    def cannot(request: Request, error: CampaignError) -> Response:
        return _answer(request, 422, str(error))

    @handles(ClientDisconnect)
    def gone(_: Request, _error: ClientDisconnect) -> Response:
        return problem(400, "the body ended too early")

    # Deadlocks too: nothing of the request is stored, and it may come again.
    @handles(OperationalError, InterfaceError, PoolTimeoutError)
    def database_away(request: Request, error: Exception) -> Response:
        log.warning("database_away", error=type(getattr(error, "orig", error)).__name__)
        return _answer(
            request,
            503,
            marked("the database cannot be reached; nothing is stored, send it again"),
            {"Retry-After": str(AWAY_RETRY_SECONDS)},
        )


def _nothing() -> None:
    """Nobody is to be told."""


# What people read instead of the framework's words.
PAGE_SENTENCES = {
    404: marked("There is nothing at this address. It may have been moved or deleted."),
    405: marked("This address does not take what was sent. Go back and try again."),
}
ANSWERS = {
    400: "The body is not JSON.",
    401: "No key, or one that is unknown or revoked.",
    403: "The key's role may not.",
    413: "The body is too large.",
    415: "Another content type.",
    429: "Too many events wait to be acted on; Retry-After says when to come again.",
    503: "The database cannot be reached.",
}
_EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "subject"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string"},
        "source": {"type": "string"},
        "type": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "subject": {"type": "string", "description": "The key of the contact."},
        "data": {"type": "object"},
    },
}
_EVENTS: dict[str, Any] = {"type": "array", "items": _EVENT}
EVENTS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/cloudevents+json": {"schema": _EVENT},
            "application/cloudevents-batch+json": {"schema": _EVENTS},
            "application/json": {"schema": {"oneOf": [_EVENT, _EVENTS]}},
        },
    }
}
