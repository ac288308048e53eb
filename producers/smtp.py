"""The mail server of `PARCOURS_SMTP_URL`: what the URL says, and a connection to it."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

from domain.errors import CampaignError

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
        raise CampaignError(f"PARCOURS_SMTP_URL is no URL; {MEND}") from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise CampaignError(f"PARCOURS_SMTP_URL is no SMTP URL; {MEND}")
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    unknown = options.keys() - {"starttls", "timeout"}
    starttls = options.get("starttls", "auto")
    if unknown or starttls not in ("always", "auto", "never"):
        about = f"the option {sorted(unknown)[0]!r}" if unknown else f"starttls={starttls}"
        raise CampaignError(f"PARCOURS_SMTP_URL: {about} is not understood; {MEND}")
    try:
        timeout = float(options.get("timeout", 15))
    except ValueError:
        timeout = 0
    if not 0 < timeout <= 60:
        raise CampaignError("PARCOURS_SMTP_URL: timeout is a number of seconds, 60 at most")
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


def connect(server: MailServer, *, name: str = "localhost") -> smtplib.SMTP:
    """Return a connection, encrypted and signed in as the URL says; `name` is who we say we are.

    Raises OSError and smtplib.SMTPException.
    """
    context = ssl.create_default_context()
    conn: smtplib.SMTP
    if server.encrypted:
        conn = smtplib.SMTP_SSL(server.host, server.port, local_hostname=name, timeout=server.timeout, context=context)
    else:
        conn = smtplib.SMTP(server.host, server.port, local_hostname=name, timeout=server.timeout)
    try:
        conn.ehlo_or_helo_if_needed()
        if not server.encrypted and server.starttls != "never":
            if conn.has_extn("starttls"):
                conn.starttls(context=context)
                conn.ehlo()
            elif server.starttls == "always":
                raise smtplib.SMTPNotSupportedError("the server offers no STARTTLS, which the URL asks for")
        if server.user is not None:
            conn.login(server.user, server.password or "")
    except BaseException:
        conn.close()
        raise
    return conn
