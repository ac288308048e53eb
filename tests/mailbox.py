"""Servers that take what is delivered: a mail server and a receiver of webhooks, in threads of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class MailServer:
    """Takes mail for everybody, unless `answers` says something else for an address."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        # How many connections were made.
        self.connections = 0
        self.answers: dict[str, str] = {}
        self.answer = "250 OK"
        self.sender_answer = "250 OK"
        # Called with each mail, before it is answered for.
        self.meanwhile: Callable[[EmailMessage], None] = lambda mail: None
        # Ours, on a free port.
        self._controller = _Controller(self, hostname="127.0.0.1", port=0, ready_timeout=30)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self._controller.port}"

    @contextmanager
    def running(self) -> Iterator[MailServer]:
        self._controller.start()
        try:
            yield self
        finally:
            self._controller.stop()

    async def handle_EHLO(self, server: SMTP, session: Session, envelope: Envelope, hostname: str, said: Any) -> Any:  # noqa: N802
        self.connections += 1
        session.host_name = hostname
        return said

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.sender_answer.startswith("2"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return self.sender_answer

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.answers.get(address, "250 OK")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self.meanwhile(mail)
        if self.answer.startswith("2"):
            self.mails.append(mail)
        return self.answer


class _Controller(Controller):
    def _trigger_server(self) -> None:
        # The library connects to the port that it was given, which is 0 here.
        server: Any = self.server
        self.port = server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Many may come at once.
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever called was killed; the library would print a traceback."""


class Receiver:
    """Takes webhooks; a key that it knows changes nothing. `answers` are its next ones: status and headers."""

    def __init__(self) -> None:
        # Every request, and what the first of each key said.
        self.calls: list[dict[str, Any]] = []
        self.kept: dict[str, bytes] = {}
        self.answers: list[tuple[int, dict[str, str]]] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                if len(body) < length:
                    # The sender died within its request, which therefore is none.
                    self.close_connection = True
                    return
                status, headers = receiver.take(self.command, self.path, dict(self.headers), body)
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        with self._lock:
            self.calls.append({"method": method, "path": path, "headers": headers, "body": body})
            status, more = self.answers.pop(0) if self.answers else (204, {})
            if status < 300:
                self.kept.setdefault(headers["Idempotency-Key"], body)
            return status, more

    @contextmanager
    def running(self) -> Iterator[Receiver]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join(5)
