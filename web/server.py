"""Serving the app from a thread, so that signals stay with whoever started it."""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import logging
import socket
import threading
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from parcours.domain.errors import CampaignError
from parcours.web.problems import problem
from parcours.web.security.connections import ConnectionPlaces, source_of

# Requests in hand are finished within this time when the server stops.
GRACE_SECONDS = 10
BACKLOG = 2048
# Connections open, and requests in hand, at once: of all together, and half of them of one source. A connection more
# takes the place of one that has no request; a request more is answered with 503.
MOST_CONNECTIONS = 500
RETRY_SECONDS = 2
# The head of a request comes within this time, or the connection is closed.
HEAD_SECONDS = 10.0


class _Impatient(H11Protocol):
    """Closes connections on which no whole head of a request comes; the server itself would wait for ever.

    Answers a request only where there is a place for it.
    """

    _until: asyncio.TimerHandle | None = None

    def __init__(self, *given: Any, places: ConnectionPlaces, **named: Any) -> None:
        super().__init__(*given, **named)
        self._places = places
        self.source = source_of(None)
        self._answers = self.app
        self.app = self._admit

    @property
    def is_idle(self) -> bool:
        """Whether no request is in hand."""
        return self.cycle is None or self.cycle.response_complete

    def end(self) -> None:
        """Close the connection."""
        self.transport.close()

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._places.request(self.source, scope["path"]) as admitted:
            answer = self._answers if admitted else _crowded()
            await answer(scope, receive, send)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.source = source_of(self.client[0] if self.client else None)
        self._places.enter(self)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        self._places.leave(self)
        super().connection_lost(exc)

    def _watch(self) -> None:
        if not self.is_idle:
            self._stop_watching()
        elif self._until is None:
            self._until = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _stop_watching(self) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None

    def _give_up(self) -> None:
        self._until = None
        if self.is_idle:
            self.transport.close()


def _crowded() -> ASGIApp:
    return problem(
        503,
        "too many requests at once; send this one again later",
        headers={"Retry-After": str(RETRY_SECONDS), "Connection": "close"},
    )


class Server:
    """The HTTP server of a process. The address is bound at once, so that a taken port is known at once."""

    def __init__(self, *, host: str, port: int) -> None:
        """Raises CampaignError when the address cannot be bound."""
        self._socket = _bind(host, port)
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}"

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, app: ASGIApp, *, trusted_proxies: str | None = None, for_good: bool = False) -> None:
        """Serve an app until told to stop.

        `trusted_proxies`, addresses or networks with commas in between, are believed when they say whom a request
        comes from (X-Forwarded-For). `for_good`: serving is all that is left to do in this process.
        """
        if for_good:
            keep_what_is_loaded()
        # Our own middleware says what there is to say; anybody can make the server warn as often as they like.
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=trusted_proxies is not None,
            forwarded_allow_ips=trusted_proxies or "",
            # Called like the class that it makes.
            http=partial(_Impatient, places=ConnectionPlaces(MOST_CONNECTIONS, trusted_proxies)),  # type: ignore[arg-type]
            ws="none",
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Finish the requests in hand, and end."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(GRACE_SECONDS + 5)
        self._socket.close()


def keep_what_is_loaded() -> None:
    """Take what is in memory now out of every later search for garbage; for a process that is about to serve.

    Modules, routes and templates stay as long as the process. To look through them took a tenth of a second each
    time, in which a request waited. What is garbage already goes first, else it would stay too.
    """
    gc.collect()
    gc.freeze()


def is_loopback(host: str) -> bool:
    """Return whether nobody but this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        # asyncio does so for sockets that it makes itself. Without, each answer waits 40 ms for the client's system
        # to acknowledge its headers. Connections inherit it.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = f"port {port} on {host} is in use; stop the other process, or choose another port with --port"
        elif error.errno == errno.EACCES:
            reason = f"this user has no permission to use port {port}; choose a port above 1023 with --port"
        else:
            reason = f"{host!r} is not an address of this machine; choose another with --host"
        raise CampaignError(reason) from None
