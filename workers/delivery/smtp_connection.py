"""The mail server of `PARCOURS_SMTP_URL`: what the URL says, and a connection to it."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from parcours.domain.errors import CampaignError

MEND = (
    "write PARCOURS_SMTP_URL like smtp://user:password@host:587, smtps://…:465, "
    "and ?starttls=always, auto or never, &timeout=SECONDS"
)


@dataclass(frozen=True, slots=True)
class MailServer:
    """How to reach a mail server. `timeout` is in seconds, of connecting and of each answer."""

    host: str
    port: int
    user: str | None
    password: str | None
    encrypted: bool
    starttls: Literal["always", "auto", "never"]
    timeout: float


def parse(url: str) -> MailServer:
    """Return the server of a URL. Raises CampaignError, which does not repeat the URL: it holds a password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise CampaignError(f"PARCOURS_SMTP_URL is not a URL; {MEND}") from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise CampaignError(f"PARCOURS_SMTP_URL is not an SMTP URL; {MEND}")
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    unknown = options.keys() - {"starttls", "timeout"}
    starttls = options.get("starttls", "auto")
    if unknown or starttls not in ("always", "auto", "never"):
        about = f"the option {sorted(unknown)[0]!r}" if unknown else f"starttls={starttls}"
        raise CampaignError(f"PARCOURS_SMTP_URL: {about} is not supported; {MEND}")
    try:
        timeout = float(options.get("timeout", 15))
    except ValueError:
        timeout = 0
    if not 0 < timeout <= 60:
        raise CampaignError("PARCOURS_SMTP_URL: timeout must be a number of seconds, at most 60")
    encrypted = parts.scheme == "smtps"
    return MailServer(
        parts.hostname,
        port or (465 if encrypted else 587 if parts.username else 25),
        unquote(parts.username) if parts.username else None,
        unquote(parts.password or "") if parts.username else None,
        encrypted,
        starttls,  # type: ignore[arg-type]
        timeout,
    )


class Wired(smtplib.SMTP):
    """A connection that another thread can end, whatever its user waits for."""

    wire: socket.socket | None = None

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = socket.create_connection((host, port), timeout, self.source_address)
        # A second name of the same connection, which encryption does not take over.
        self.wire = made.dup()
        return made

    def cut(self) -> None:
        """End the connection under whoever waits for it."""
        if self.wire is not None:
            with contextlib.suppress(OSError):
                self.wire.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        super().close()
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.close()

    @contextlib.contextmanager
    def within(self, seconds: float | None) -> Iterator[None]:
        """Cut the connection when what is done with it takes longer; None: it may take as long as it does."""
        if seconds is None:
            yield
            return
        watch = threading.Timer(seconds, self.cut)
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()


class _WiredEncrypted(Wired, smtplib.SMTP_SSL):
    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = super()._get_socket(host, port, timeout)
        return self.context.wrap_socket(made, server_hostname=host)


def connect(server: MailServer, *, name: str = "localhost", seconds: float | None = None) -> Wired:
    """Return a connection, encrypted and signed in as the URL says; `name` is who we say we are.

    Takes `seconds` at most. Raises OSError and smtplib.SMTPException.
    """
    context = ssl.create_default_context()
    conn: Wired
    if server.encrypted:
        conn = _WiredEncrypted(local_hostname=name, timeout=server.timeout, context=context)
    else:
        conn = Wired(local_hostname=name, timeout=server.timeout)
    try:
        with conn.within(seconds):
            _sign_in(conn, server, context)
    except BaseException:
        conn.close()
        raise
    return conn


def _sign_in(conn: Wired, server: MailServer, context: ssl.SSLContext) -> None:
    # What STARTTLS asks the certificate for.
    conn._host = server.host  # type: ignore[attr-defined]
    code, said = conn.connect(server.host, server.port)
    if code != 220:
        raise smtplib.SMTPConnectError(code, said)
    conn.ehlo_or_helo_if_needed()
    if not server.encrypted and server.starttls != "never":
        if conn.has_extn("starttls"):
            conn.starttls(context=context)
            conn.ehlo()
        elif server.starttls == "always":
            raise smtplib.SMTPNotSupportedError("the URL requires STARTTLS, but the server does not support it")
    if server.user is not None:
        conn.login(server.user, server.password or "")
