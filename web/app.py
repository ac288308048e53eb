"""The HTTP interface: pages, contact events and what people do with our messages in, health and metrics out.

Errors are problem details (RFC 9457), or pages where a browser asks for one, each with a sentence that says what to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from urllib.parse import unquote, urlencode

import structlog
from dramatiq.broker import Broker
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from parcours.db.faults import Fault, fault_of
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.events.parsing import parse
from parcours.domain.invalid_values import why_invalid
from parcours.ops import metrics
from parcours.ops.health import Health, is_ready
from parcours.ops.settings import Settings
from parcours.web.api import docs
from parcours.web.api.routes import ROUTERS as RESOURCES
from parcours.web.context import Site
from parcours.web.forms import add_forms
from parcours.web.i18n.language import _ as said
from parcours.web.i18n.language import marked, reader
from parcours.web.i18n.plain_pages import notice
from parcours.web.inbound import add_inbound
from parcours.web.inbox import Inbox, Offered, Taken
from parcours.web.pages.middleware import PagesMiddleware, wants_page
from parcours.web.pages.rendering import redirect, render_error, sentence
from parcours.web.pages.routes import ROUTERS
from parcours.web.pages.sign_in import ask_again, held_form
from parcours.web.problems import ProblemError, problem, problems
from parcours.web.request_log import HeadMiddleware, RequestLineMiddleware
from parcours.web.security.access import SignInNeededError, check_origin, needs_role
from parcours.web.security.bodies import read_body, read_json, read_objects, takes
from parcours.web.security.limits import PatienceMiddleware
from parcours.web.security.tokens import Signed
from parcours.web.tracking.routes import add_tracking
from parcours.web.tracking.tracking_events import Sightings
from parcours.web.tracking.unsubscribe import add_unsubscribing

log = structlog.get_logger()

EVENT_TYPES = ("application/cloudevents+json", "application/cloudevents-batch+json", "application/json")
# No event is shorter, so a body that holds more values than its limit has room for is no body of events.
LEAST_EVENT_BYTES = 80
AWAY_RETRY_SECONDS = 2


def make_app(
    engine: Engine,
    broker: Broker | None,
    settings: Settings,
    *,
    open_to_all: bool,
    parts: Mapping[str, Callable[[], str | None]] | None = None,
) -> FastAPI:
    """Return the app. `open_to_all` lets everybody in without a key: for a loopback address only.

    `parts` of the same process are told with its health.

    Without a broker events are stored all the same, and wait for somebody who looks at the inbox.
    """
    inbox = Inbox(engine, broker, settings)
    signed = Signed(engine, settings)
    sightings = Sightings(inbox)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(signed.prepare)
        yield
        sightings.close()
        inbox.close()

    app = FastAPI(
        title="Parcours",
        summary="A campaign engine: contacts move through trees of actions, decisions and conditions.",
        # The framework's own page loads its parts from elsewhere.
        docs_url=None,
        openapi_url="/api/openapi.json",
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.max_body_bytes = settings.max_body_bytes
    app.state.site = Site(engine, settings, open_to_all, signed, hint=inbox.hint)
    # What it refuses is answered like anything else, so it is inside of what answers.
    app.add_middleware(HeadMiddleware)
    app.add_middleware(PatienceMiddleware, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(RequestLineMiddleware, failed=_answer)
    # The last added is the first that a request meets.
    app.add_middleware(PagesMiddleware, zone=settings.zone)
    _add_problems(app)
    for router in (docs.router, *RESOURCES, *ROUTERS):
        # As they are: `include_router` builds every route once more for each app, when its first request comes.
        app.router.routes.extend(router.routes)
    _add_health(app, Health(engine.url, settings, inside=broker, parts=parts), engine, open_to_all=open_to_all)
    _add_events(app, inbox, open_to_all=open_to_all)
    add_tracking(app, signed, sightings, hits_per_minute=settings.hits_per_minute)
    add_unsubscribing(app, inbox, signed)
    add_forms(app, inbox, signed)
    add_inbound(app, inbox, open_to_all=open_to_all)
    return app


def _add_events(app: FastAPI, inbox: Inbox, *, open_to_all: bool) -> None:
    may_publish = needs_role(inbox.engine, "publish", open_to_all=open_to_all)
    # Where nobody is asked for a key, a page of another site must not publish in its visitor's name.
    from_our_pages = [Depends(check_origin)] if open_to_all else []
    most_events = max(1, inbox.settings.max_body_bytes // LEAST_EVENT_BYTES)

    @app.post(
        "/events",
        status_code=202,
        summary="Store contact events",
        dependencies=[*from_our_pages, Depends(may_publish), Depends(takes(*EVENT_TYPES))],
        responses={422: {"model": Taken, "description": "Every event was rejected."}, **problems(ANSWERS)},
        openapi_extra=EVENTS_BODY,
    )
    def post_events(request: Request, response: Response, raw: Annotated[bytes, Depends(read_body)]) -> Taken:
        """One CloudEvent or a list of them. 202 means that they are stored; they are processed immediately afterwards.

        An event with a known (source, id) has no effect. Positions of rejected events count from 0. 422 means that
        every event was rejected; its body has the same form.
        """
        values = _values(request, raw)
        if len(values) > most_events:
            raise ProblemError(413, f"the request has {len(values):,} events; the maximum is {most_events:,}")
        taken = inbox.put(partial(_parsed, values), limited=True)
        response.status_code = taken.status
        return taken


def _parsed(values: list[Any], _: Connection, now: datetime) -> Offered:
    offered = Offered()
    for index, value in enumerate(values):
        offered.offer(index, partial(parse, value, now=now))
    return offered


def _values(request: Request, raw: bytes) -> list[Any]:
    """Return the events of a request, not yet parsed."""
    if "ce-specversion" not in request.headers:
        return read_objects(raw)
    data = {"data": read_json(raw)} if raw.strip() else {}
    return [{**_attributes(request), **data}]


def _attributes(request: Request) -> dict[str, str]:
    """Return the attributes of an event in binary mode. Source: CloudEvents 1.0.2, HTTP binding, section 3.1."""
    return {
        name.removeprefix("ce-"): unquote(value) for name, value in request.headers.items() if name.startswith("ce-")
    }


def _add_health(app: FastAPI, health: Health, engine: Engine, *, open_to_all: bool) -> None:
    may_read = [Depends(needs_role(engine, "read", open_to_all=open_to_all))]
    answers = problems({401: ANSWERS[401], 403: ANSWERS[403]})

    @app.get("/health/live", summary="Check liveness")
    async def live() -> Response:
        """Always 200. Restart the process if it does not respond."""
        # Not from a thread, of which others may have them all.
        return JSONResponse({"status": "live"})

    @app.get("/health/ready", summary="Check readiness", responses={503: {"description": "Not ready."}})
    def ready() -> Response:
        """Database, migrations and broker, each "ok" or the reason for the failure."""
        report = health.ready()
        return JSONResponse(report, status_code=200 if is_ready(report) else 503)

    @app.get("/metrics", summary="Metrics for Prometheus", dependencies=may_read, responses=answers)
    def all_metrics() -> Response:
        """Of this process, and those shared by all processes. Only PARCOURS_HEALTH_PORT serves them without a key."""
        return Response(metrics.exposition(health.figures), headers={"Content-Type": metrics.CONTENT_TYPE})

    @app.get(
        "/metrics/process",
        summary="Metrics for Prometheus, of this process only",
        dependencies=may_read,
        responses=answers,
    )
    def process_metrics() -> Response:
        """Leaves out the shared metrics, which need a few database queries."""
        return Response(metrics.exposition(None), headers={"Content-Type": metrics.CONTENT_TYPE})


def _answer(request: Request, status: int, why: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as a page or a problem, as the client understands it."""
    if wants_page(request) and not request.headers.get("hx-request"):
        if getattr(request.state, "is_visitor", False):
            return _answer_visitor(status, why, headers)
        page = render_error(status, why)
        page.headers.update(headers or {})
        return page
    return problem(status, why, headers=headers)


def _answer_visitor(status: int, said_why: str, headers: Mapping[str, str] | None) -> Response:
    """Return an error to somebody who sent a form of a site, and has nothing to do with our pages."""
    what_to_do = said("Go back in your browser, correct it, and send the form again.")
    lines = [sentence(said_why), *([] if status in (403, 404) else [what_to_do])]
    title = said("The form was not sent")
    return notice(title, *lines, language=reader().language, status=status, headers=headers)


def _methods_of(app: FastAPI, request: Request) -> list[str]:
    """Return the methods that the address of a request answers to; the framework names those of one route alone."""
    found = set()
    for method in ("DELETE", "GET", "PATCH", "POST", "PUT"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in app.router.routes):
            found.add(method)
    return sorted(found)


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
        headers = dict(error.headers or {})
        why = said(PAGE_SENTENCES.get(error.status_code, "")) if wants_page(request) else ""
        if error.status_code == 404 and not why:
            why = f"nothing is served at {request.scope['path'][:200]}; check the address, or see /api/docs"
        if error.status_code == 405:
            methods = _methods_of(app, request)
            headers["Allow"] = ", ".join(methods)
            if wants_page(request):
                used = {"method": request.method[:20], "methods": headers["Allow"]}
                why = said("This address does not support {method}, only {methods}. Go back and try again.", **used)
            else:
                why = f"{request.method[:20]} is not supported here; use {' or '.join(methods)}"
        return _answer(request, error.status_code, why or str(error.detail), headers)

    @handles(RequestValidationError)
    def not_valid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(piece) for piece in first["loc"])
        return _answer(request, 422, f"{place}: {why_invalid(first, first.get('input'))}")

    @app.exception_handler(SignInNeededError)
    async def signs_in(request: Request, _: SignInNeededError) -> Response:
        held = await held_form(request) if request.method == "POST" else None
        if held is not None:
            return ask_again(request, held)
        goal = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return redirect(request, "/sign-in?" + urlencode({"next": goal if request.method == "GET" else "/"}))

    @handles(NotFoundError)
    def not_there(request: Request, error: NotFoundError) -> Response:
        # What a command says to do is no help on a page.
        return _answer(request, 404, error.what_is_missing if wants_page(request) else str(error))

    @handles(CampaignError)
    def cannot(request: Request, error: CampaignError) -> Response:
        return _answer(request, 422, str(error))

    @handles(ClientDisconnect)
    def gone(_: Request, _error: ClientDisconnect) -> Response:
        return problem(400, "the body ended too early")

    @handles(DBAPIError, PoolTimeoutError)
    def database_refused(request: Request, error: Exception) -> Response:
        fault = fault_of(error)
        name = type(getattr(error, "orig", error)).__name__
        if fault is Fault.OTHER:
            raise error
        if fault is Fault.ROW:
            log.warning("request_refused_by_database", error=name)
            return _answer(request, 422, marked("the database cannot store a value that was sent; correct it"))
        # Deadlocks too: nothing of the request is stored, and it may come again.
        log.warning("database_away", error=name)
        return _answer(
            request,
            503,
            marked("cannot reach the database; nothing was stored; send it again"),
            {"Retry-After": str(AWAY_RETRY_SECONDS)},
        )


# What people read instead of the framework's words.
PAGE_SENTENCES = {
    404: marked("This page does not exist. It may have been moved or deleted."),
}
ANSWERS = {
    400: "The body is not JSON.",
    401: "The API key is missing, unknown or revoked.",
    403: "The role of the key does not allow this.",
    413: "The body is too large.",
    415: "Unsupported content type.",
    429: "Too many events are waiting to be processed; see Retry-After.",
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
