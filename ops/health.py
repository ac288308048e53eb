"""Liveness and readiness of a process, with metrics, on a separate port."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Annotated, Literal

import structlog
import typer
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from parcours.db import schema
from parcours.domain.errors import CampaignError
from parcours.domain.jobs import EVENT_QUEUE, QUEUES
from parcours.ops import metrics
from parcours.ops.metrics import SharedFigures

if TYPE_CHECKING:
    import pika
    import redis
    from dramatiq import Broker
    from sqlalchemy import URL

    from parcours.ops.settings import Settings

log = structlog.get_logger()

# A probe that fails is more useful than one that hangs.
TIMEOUT_SECONDS = 2
STATEMENT_SECONDS = 5
# Number of ports to try, starting with the given one.
PORTS = 100
OK = "ok"

Report = dict[str, str]

HealthPort = Annotated[
    int | None,
    typer.Option(
        "--health-port",
        min=1,
        max=65_535,
        help="Port for /health/live, /health/ready and /metrics (PARCOURS_HEALTH_PORT; off by default), on "
        "the address PARCOURS_HEALTH_HOST. If the port is in use, the next free one is used and logged, "
        "so that each process has its own.",
    ),
]


class Health:
    """Checks what a process needs, each time it is asked.

    The checks use their own connections with short timeouts, because a busy pool does not mean that the database is
    unavailable.
    """

    def __init__(
        self,
        database_url: URL,
        settings: Settings,
        *,
        needs: Literal["broker", "events"] = "broker",
        inside: Broker | None = None,
        parts: Mapping[str, Callable[[], str | None]] | None = None,
    ) -> None:
        """`needs` names the broker that this process uses; `inside` is the in-process broker if no URL is set.

        Each of `parts` (parts of this process, by name) returns what is wrong with it, or None.
        """
        self._parts = parts or {}
        self._engine = create_engine(
            database_url,
            poolclass=NullPool,
            connect_args={
                "options": f"-c timezone=UTC -c jit=off -c statement_timeout={STATEMENT_SECONDS * 1000}",
                "application_name": "parcours health",
                "prepare_threshold": None,
                "connect_timeout": TIMEOUT_SECONDS,
                "tcp_user_timeout": STATEMENT_SECONDS * 1000,
            },
        )
        self._broker_url = settings.broker_url if needs == "broker" else settings.events_broker_url
        depths: dict[str, Callable[[], Mapping[str, int]]] = {}
        if settings.broker_url is not None:
            url = settings.broker_url
            depths["broker"] = lambda: _depths(url)
        elif inside is not None and hasattr(inside, "queues"):
            queues = inside.queues
            depths["broker"] = lambda: {name: queues[name].qsize() for name in QUEUES if name in queues}
        if (events_url := settings.events_broker_url) is not None:
            depths["events"] = lambda: _events_depth(events_url)
        self.figures = SharedFigures(self._engine, depths)

    def ready(self) -> Report:
        """Return "ok" or the reason for the failure, for the database, the migrations, the broker and each part.

        The reasons contain no addresses or names, because anyone who can reach the port can read them.
        """
        report = {"database": OK, "migrations": OK, "broker": self._broker()}
        report |= {name: trouble() or OK for name, trouble in self._parts.items()}
        try:
            unfit = schema.unfit(self._engine)
        except SQLAlchemyError as error:
            log.warning("database_away", error=type(error).__name__)
            report["database"] = "cannot reach the database; start it, or check PARCOURS_DATABASE_URL"
            report["migrations"] = "unknown without the database"
        else:
            if unfit is not None:
                report["migrations"] = unfit
        return report

    def _broker(self) -> str:
        if self._broker_url is None:
            return OK
        try:
            _ping(self._broker_url)
        except _errors(self._broker_url) as error:
            log.warning("broker_away", error=type(error).__name__)
            return "cannot reach the broker; start it, or check its URL"
        return OK


def is_ready(report: Report) -> bool:
    """Return whether nothing is missing."""
    return all(each == OK for each in report.values())


@contextlib.contextmanager
def served(health: Health, settings: Settings, port: int | None) -> Iterator[None]:
    """Serve health and metrics while the process runs, if the option or the setting gives a port."""
    port = port or settings.health_port
    if port is None:
        yield
        return
    server = start_server(health, settings.health_host, port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def start_server(health: Health, host: str, port: int) -> ThreadingHTTPServer:
    """Serve health and metrics from threads, on the given port or the next free one.

    Several processes of a machine share the setting so. Raises CampaignError when no port is free.
    """
    for candidate in range(port, min(port + PORTS, 65_536)):
        try:
            server = _Server((host, candidate), health)
        except OSError as error:
            refused = error
            if error.errno == errno.EADDRINUSE:
                continue
            break
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
        log.info("health_served", host=host, port=candidate)
        return server
    raise CampaignError(
        f"health cannot be served on {host}, port {candidate} ({refused.strerror}); "
        "check PARCOURS_HEALTH_PORT and PARCOURS_HEALTH_HOST"
    )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], health: Health) -> None:
        self.health = health
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Not the library's: it asks the name service who we are, which can take long.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnected; the library would print a traceback."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "parcours"
    sys_version = ""
    # A client that says nothing does not keep a thread.
    timeout = 10

    def do_GET(self) -> None:
        health = self.server.health
        path = self.path.partition("?")[0]
        if path == "/health/live":
            self._answer(200, json.dumps({"status": "live"}).encode(), "application/json")
        elif path == "/health/ready":
            report = health.ready()
            self._answer(200 if is_ready(report) else 503, json.dumps(report).encode(), "application/json")
        elif path == "/metrics":
            self._answer(200, metrics.exposition(health.figures), metrics.CONTENT_TYPE)
        elif path == "/metrics/process":
            self._answer(200, metrics.exposition(None), metrics.CONTENT_TYPE)
        else:
            self._answer(404, b"There are /health/live, /health/ready and /metrics.\n", "text/plain; charset=utf-8")

    # Load balancers ask so; `_answer` leaves out the body.
    do_HEAD = do_GET  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is not served; the library would say of another method that the server is at fault."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            self._answer(
                405, b"Only GET and HEAD are supported here.\n", "text/plain; charset=utf-8", Allow="GET, HEAD"
            )
        else:
            super().send_error(code, message, explain)

    def _answer(self, status: int, body: bytes, content_type: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: probes arrive every few seconds."""


# A process loads the library of the broker that it asks, and no other: each takes megabytes.
def _errors(url: str) -> tuple[type[Exception], ...]:
    """Return the exceptions raised when a broker does not answer or its URL is invalid."""
    if _is_redis(url):
        from redis.exceptions import RedisError

        return (OSError, ValueError, RedisError)
    if _is_rabbitmq(url):
        from pika.exceptions import AMQPError

        return (OSError, ValueError, AMQPError)
    from kombu.exceptions import KombuError

    return (OSError, ValueError, KombuError)


def _redis(url: str) -> redis.Redis:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


@contextlib.contextmanager
def _rabbitmq(url: str) -> Iterator[pika.BlockingConnection]:
    import pika

    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.stack_timeout = TIMEOUT_SECONDS
    parameters.blocked_connection_timeout = TIMEOUT_SECONDS
    parameters.connection_attempts = 1
    conn = pika.BlockingConnection(parameters)
    try:
        yield conn
    finally:
        conn.close()


def _ping(url: str) -> None:
    if _is_redis(url):
        with contextlib.closing(_redis(url)) as client:
            client.ping()
    elif _is_rabbitmq(url):
        with _rabbitmq(url):
            pass
    else:
        from parcours.producers import event_queue

        with event_queue.connection(url) as conn:
            conn.ensure_connection(max_retries=1, timeout=TIMEOUT_SECONDS)


def _is_redis(url: str) -> bool:
    return url.startswith(("redis://", "rediss://", "unix://"))


def _is_rabbitmq(url: str) -> bool:
    return url.startswith(("amqp://", "amqps://"))


def _depths(url: str) -> dict[str, int]:
    """Return the number of waiting messages in each of dramatiq's queues, including delayed ones."""
    if _is_redis(url):
        with contextlib.closing(_redis(url)) as client:
            return {
                queue: sum(int(client.hlen(f"parcours:{queue}{part}.msgs")) for part in ("", ".DQ")) for queue in QUEUES
            }
    with _rabbitmq(url) as conn:
        return {queue: sum(_ready_in(conn, f"{queue}{part}") for part in ("", ".DQ")) for queue in QUEUES}


def _events_depth(url: str) -> dict[str, int]:
    name = EVENT_QUEUE
    if _is_redis(url):
        with contextlib.closing(_redis(url)) as client:
            return {name: int(client.llen(name))}
    if _is_rabbitmq(url):
        with _rabbitmq(url) as conn:
            return {name: _ready_in(conn, name)}
    from parcours.producers import event_queue

    return {name: event_queue.depth(url)}


def _ready_in(conn: pika.BlockingConnection, queue: str) -> int:
    """Return the number of messages in a queue of RabbitMQ; 0 if the queue does not exist yet."""
    from pika.exceptions import ChannelClosedByBroker

    try:
        return int(conn.channel().queue_declare(queue, passive=True).method.message_count)
    except ChannelClosedByBroker:
        return 0
