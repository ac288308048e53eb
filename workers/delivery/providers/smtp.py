"""Emails as they go over the wire, by SMTP or into files."""

from __future__ import annotations

import binascii
import contextlib
import os
import re
import smtplib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime, formataddr, parseaddr
from hashlib import sha256
from pathlib import Path

from parcours.db.folders import file_safe, private_folder
from parcours.domain.contacts.identity import wire_address, wire_sender
from parcours.domain.messages.results import Bounced, GaveUp, Result, Retry, Sent
from parcours.domain.messages.templates import one_line
from parcours.workers.delivery import smtp_connection
from parcours.workers.delivery.render import Mail
from parcours.workers.delivery.smtp_connection import MailServer

# A mailbox that does not exist, has moved, or has no right name, where the text says so too: servers use these
# codes for all sorts of refusals. Source: RFC 5321, section 4.2.3.
NO_MAILBOX = frozenset({550, 551, 553})
# Class, subject and detail of an enhanced code. Source: RFC 3463; RFC 7505 for the null MX.
_ENHANCED = re.compile(r"^([245])\.(\d{1,3})\.(\d{1,3})\b")
# The address or its domain does not exist or was given up; the mailbox is switched off.
_GONE = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10", "2.1"})
_UNKNOWN = re.compile(
    r"no such|mailbox name not allowed|(user|recipient|mailbox|address|account|name)\b.{0,40}\b"
    r"(unknown|not (found|exist|known|valid)|doesn'?t exist|does not exist|unavailable|invalid|disabled|inactive|closed"
    r"|suspended|moved)"
    r"|(unknown|invalid|bad|non-?existent|undeliverable) (\w+ )?(user|recipient|mailbox|address|account|name)"
    r"|not a valid (user|recipient|mailbox|address)|not our customer|no mailbox|user not local",
    re.IGNORECASE,
)
# What is said of us rather than of the address: not signed in, not allowed to relay, not trusted.
_ABOUT_US = re.compile(
    r"relay|authenticat|log ?in|sign in|credential|(?<!mailbox name )not (permitted|allowed|authori[sz]ed)"
    r"|access denied|permission|tls required|starttls|black ?list|block ?list|blocked|banned|reputation|spamhaus"
    r"|\brbl\b|\bspf\b|\bdkim\b|\bdmarc\b|\bptr\b|reverse dns|sender|policy",
    re.IGNORECASE,
)
# What is said of what this message holds, so that others may well pass.
_ABOUT_CONTENT = re.compile(
    r"spam|content|virus|malware|phish|attachment|message (was )?(rejected|refused)|too (big|large)", re.IGNORECASE
)
AWAY = 421
LONGEST_SECONDS = 45.0
# Source: RFC 5322, section 2.1.1, for a line, which words must fit into.
LONGEST_WORD = 70
LONGEST_LINE = 998
# "Authentication required", and the ways of refusing it. Source: RFC 4954, section 6.
OUR_FAULT = frozenset({530, 534, 535, 538})


@dataclass(frozen=True, slots=True)
class Sender:
    """Who we are to other mail servers: the host of Message-IDs, and the sender of emails that name none."""

    host: str
    mail_from: str

    @property
    def helo(self) -> str:
        return self.host if "." in self.host else "localhost"


def message_id(key: str, host: str) -> str:
    """Return the Message-ID of a message; trying again gives the same, so that doubles can be told."""
    return f"<{key}@{host}>"


def as_bytes(mail: Mail, sender: Sender, *, now: datetime) -> bytes:
    """Return an email as RFC 5322 has it: each body quoted-printable, the text first where there are two.

    Headers are put together here since the library's own folding takes long addresses apart.
    Source: RFC 5322; RFC 2045 to 2047; RFC 8058 for one-click unsubscription.
    """
    unsubscribe = mail.unsubscribe_url is not None and len(mail.unsubscribe_url) < LONGEST_LINE - 20
    headers = [
        ("From", _mailbox(mail.sender or sender.mail_from)),
        ("To", _list(mail.to)),
        ("Cc", _list(mail.cc)),
        ("Subject", _header(mail.subject, len("Subject: "))),
        ("Date", format_datetime(now.astimezone(UTC))),
        ("Message-ID", message_id(mail.key, sender.host)),
        ("List-Unsubscribe", f"<{mail.unsubscribe_url}>" if unsubscribe else ""),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click" if unsubscribe else ""),
        ("MIME-Version", "1.0"),
    ]
    parts = [(kind, body) for kind, body in (("plain", mail.text), ("html", mail.html)) if body is not None]
    lines = [f"{name}: {value}" for name, value in headers if value]
    if len(parts) == 1:
        return "\r\n".join([*lines, *_part(*parts[0])]).encode()
    # Quoted-printable writes no such line, so the boundary is in no body.
    boundary = f"=_{sha256(mail.key.encode()).hexdigest()[:24]}"
    lines.append(f'Content-Type: multipart/alternative; boundary="{boundary}"')
    lines.append("")
    for part in parts:
        lines += [f"--{boundary}", *_part(*part)]
    return "\r\n".join([*lines, f"--{boundary}--", ""]).encode()


def _part(kind: str, body: str) -> list[str]:
    written = (body.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n").encode("utf-8", "replace")
    quoted = binascii.b2a_qp(written, istext=True).decode("ascii").replace("\n", "\r\n")
    head = [f"Content-Type: text/{kind}; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", ""]
    return [*head, quoted]


def _header(value: str, used: int) -> str:
    # What has no space to be folded at is encoded, which can be cut anywhere.
    plain = value.isascii() and max(map(len, value.split()), default=0) <= LONGEST_WORD
    return Header(value, "us-ascii" if plain else "utf-8", maxlinelen=76 - used).encode(linesep="\r\n")


def _list(addresses: Sequence[str]) -> str:
    # Each on a line of its own, since many would make one that is too long.
    return ",\r\n ".join(address for each in addresses if (address := wire_address(each)) is not None)


def _mailbox(address: str) -> str:
    name, bare = parseaddr(one_line(address))
    wire = wire_sender(bare) or ""
    if not name:
        return wire
    if not name.isascii() or len(name) > LONGEST_WORD:
        folded = Header(name, "utf-8", maxlinelen=LONGEST_WORD).encode(linesep="\r\n")
        return f"{folded}\r\n <{wire}>"
    # The library refuses an address beyond ASCII, which a server with SMTPUTF8 takes.
    head, _, tail = formataddr((name, "a@b")).rpartition("a@b")
    return f"{head}{wire}{tail}"


def _recipients(mail: Mail) -> list[str] | GaveUp:
    """Return the addresses that an email goes to; those that are none are left out."""
    addresses = (*mail.to, *mail.cc, *mail.bcc)
    found = [address for each in addresses if (address := wire_address(each)) is not None]
    return found or GaveUp(f"{', '.join(addresses)[:200]!r} is not an email address")


class SmtpProvider:
    """One connection to the mail server, kept for message after message."""

    def __init__(self, server: MailServer, sender: Sender, *, seconds: float | None = None) -> None:
        self._server = server
        self._sender = sender
        # Of one email as a whole, however slowly the server says each word.
        self._seconds = seconds or max(LONGEST_SECONDS, 2 * server.timeout)
        self._conn: smtp_connection.Wired | None = None

    def send(self, batch: Sequence[Mail]) -> list[Result]:
        return [self._send(mail) for mail in batch]

    def close(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                conn.quit()
            conn.close()

    def _send(self, mail: Mail) -> Result:
        sender = wire_sender(parseaddr(mail.sender or self._sender.mail_from)[1])
        if sender is None:
            return GaveUp(f"{mail.sender or self._sender.mail_from!r} is not a valid sender address")
        to = _recipients(mail)
        if isinstance(to, GaveUp):
            return to
        body = as_bytes(mail, self._sender, now=datetime.now(UTC))
        while True:
            kept = self._conn is not None
            try:
                return self._say(mail, sender, to, body)
            except (OSError, smtplib.SMTPException) as error:
                self._drop()
                # The server may end a connection that was idle; nothing has been handed over on it yet.
                if not (kept and isinstance(error, _Unused)):
                    return _no_answer(error)

    def _say(self, mail: Mail, sender: str, to: list[str], body: bytes) -> Result:
        if self._conn is None:
            self._conn = smtp_connection.connect(self._server, name=self._sender.helo, seconds=self._seconds)
        with self._conn.within(self._seconds):
            return self._hand_over(self._conn, mail, sender, to, body)

    def _hand_over(self, conn: smtp_connection.Wired, mail: Mail, sender: str, to: list[str], body: bytes) -> Result:
        options = []
        if not all(address.isascii() for address in (sender, *to)):
            if not conn.has_extn("smtputf8"):
                return GaveUp("the mail server does not accept addresses with non-ASCII characters")
            options = ["SMTPUTF8", "BODY=8BITMIME"]
            conn.command_encoding = "utf-8"
        try:
            code, said = conn.mail(sender, options)
        except (OSError, smtplib.SMTPServerDisconnected) as error:
            raise _Unused(str(error)) from error
        if code == AWAY:
            raise _Unused(_text(code, said))
        if code != 250:
            return self._reset(_refused_sender(code, said, own=mail.sender is not None))
        accepted, refused = 0, None
        for address in to:
            code, said = conn.rcpt(address)
            if code in (250, 251):
                accepted += 1
            else:
                refused = _refused_recipient(code, said)
        if not accepted:
            assert refused is not None
            return self._reset(refused)
        # Answered before the body when it is refused at once.
        try:
            code, said = conn.data(body)
        except smtplib.SMTPDataError as error:
            code, said = error.smtp_code, error.smtp_error if isinstance(error.smtp_error, bytes) else b""
        return Sent() if code == 250 else self._reset(_refused(code, said, "the message"))

    def _reset(self, result: Result) -> Result:
        """Leave the connection ready for the next message."""
        if isinstance(result, Retry) and result.away:
            self._drop()
        elif self._conn is not None:
            try:
                self._conn.rset()
            except (OSError, smtplib.SMTPException):
                self._drop()
        return result

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None


class _Unused(smtplib.SMTPServerDisconnected):
    """The connection broke before anything of a message was handed over."""


def _no_answer(error: Exception) -> Retry:
    if isinstance(error, smtplib.SMTPResponseException):
        code = error.smtp_code
        said = error.smtp_error if isinstance(error.smtp_error, bytes) else str(error.smtp_error).encode()
        return Retry(f"the mail server refused access: {_text(code, said)}", away=True)
    return Retry(f"the mail server does not respond ({str(error) or type(error).__name__})"[:300], away=True)


def _refused_recipient(code: int, said: bytes) -> Result:
    """Return what the refusal of an address means. Only what says that the mailbox is not there is a bounce."""
    text = _text(code, said)
    enhanced = _enhanced(said)
    gone = enhanced in _GONE if enhanced is not None else bool(_UNKNOWN.search(text) and not _ABOUT_US.search(text))
    if gone and (code in NO_MAILBOX or enhanced is not None) and 500 <= code < 600:
        return Bounced(f"the mail server rejected the address: {text}")
    return _refused(code, said, "the address")


def _refused_sender(code: int, said: bytes, *, own: bool) -> Result:
    """Return what the refusal of a sender means: the one that all emails share is our configuration's fault.

    An email that names its `own` sender fails by itself, so that a template cannot stop the others.
    """
    text = f"the mail server rejected the sender: {_text(code, said)}"
    if own and code not in OUR_FAULT and code != AWAY:
        return GaveUp(f"{text}; the email sets this sender") if code >= 500 else Retry(text, patient=True)
    return Retry(text, away=True)


def _refused(code: int, said: bytes, what: str) -> Result:
    """Return what a refusal means that is no bounce.

    What is our configuration's fault (nobody signed in, no relaying for us, a policy against us) says that the
    server takes nothing of us now, so it counts as away and is nobody's failure. A code of the 400s asks for
    patience: greylisting lets a message through in minutes, a quota tomorrow.
    """
    text = f"the mail server rejected {what}: {_text(code, said)}"
    if code == AWAY or code in OUR_FAULT:
        return Retry(text, away=True)
    if 400 <= code < 500:
        return Retry(text, patient=True)
    enhanced = _enhanced(said)
    about_us = enhanced.startswith("7.") if enhanced is not None else bool(_ABOUT_US.search(text))
    if about_us and not (what == "the message" and _ABOUT_CONTENT.search(text)):
        return Retry(text, away=True)
    return GaveUp(text) if 500 <= code < 600 else Retry(text)


def _enhanced(said: bytes) -> str | None:
    """Return the subject and detail of an enhanced code, as `7.1` of `5.7.1`, or None where there is none."""
    found = _ENHANCED.match(said.decode("utf-8", "replace"))
    return None if found is None else f"{int(found[2])}.{int(found[3])}"


def _text(code: int, said: bytes) -> str:
    return f"{code} {' '.join(said.decode('utf-8', 'replace').split())}"[:300]


class MailFiles:
    """Writes emails as files that mail programs open, named by time, in place of sending them.

    The name comes from the message, so what is written twice is there once.
    """

    def __init__(self, folder: Path, sender: Sender) -> None:
        self._folder = folder
        self._sender = sender

    def send(self, batch: Sequence[Mail]) -> list[Result]:
        return [self._write(mail) for mail in batch]

    def _write(self, mail: Mail) -> Result:
        to = _recipients(mail)
        if isinstance(to, GaveUp):
            return to
        path = self._folder / file_name(mail)
        aside = path.with_suffix(".part")
        try:
            private_folder(self._folder)
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(as_bytes(mail, self._sender, now=mail.at))
            os.replace(aside, path)
        except OSError as error:
            return Retry(f"{self._folder}: {error.strerror}", away=True)
        return Sent()

    def close(self) -> None:
        """Each email closes its file."""


def file_name(mail: Mail) -> str:
    """Return the name of an email's file: when it was written, its key, and who gets it."""
    to = file_safe(",".join(mail.to))[:60]
    return f"{mail.at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{file_safe(mail.key)}-{to}.eml"
