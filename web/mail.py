"""`/mail`: emails that were written to files, for whoever tries things out on a machine of their own.

Served by `up` alone, and on a loopback address only. What an email holds is not trusted: its HTML is shown
in a frame without scripts, forms and origin, which loads nothing but the image that tells of openings. Whoever looks
at an email therefore opens it, as in a mail program.
"""

from __future__ import annotations

import re
from datetime import datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse

from parcours.web.i18n.language import marked
from parcours.web.pages import pages_router
from parcours.web.pages.rendering import render
from parcours.web.problems import ProblemError

# The latest of them; the folder has all.
SHOWN = 200
_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}\.eml")
# Links open a page of their own, as in a mail program; of pictures, that which tells of openings is loaded alone.
_BODY_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; "
    "img-src data: {opens}; frame-ancestors 'self'"
)
_IN_A_TAB = '<base target="_blank">'
_HEAD = re.compile(r"<head(?:\s[^<>]*)?>", re.IGNORECASE)
# What people look for in an email; programs have the rest.
_HEADERS = ("From", "To", "Cc", "Reply-To")


class CaughtMail(NamedTuple):
    """An email that was written to a file; `at` is when it was, if it says so."""

    name: str
    to: str
    subject: str
    at: datetime | None


def add_mail(app: FastAPI, folder: Path, public_url: str) -> None:
    """Show the emails of a folder at `/mail`, to which the navigation of all pages then leads.

    `public_url` is the address of the installation in links of emails.
    """
    router = pages_router()
    # No path of an address has these signs, which end what a policy allows.
    opens = f"{re.split('[;, ]', public_url)[0]}/t/o/"

    @router.get("/mail")
    def listing(request: Request) -> Response:
        names = sorted((path.name for path in folder.glob("*.eml") if _NAME.fullmatch(path.name)), reverse=True)
        rows = [_caught(name, _parsed(folder, name)) for name in islice(names, SHOWN)]
        return render(request, "mail/list.html", rows=rows, total=len(names), folder=folder)

    @router.get("/mail/{name}")
    def show(request: Request, name: str) -> Response:
        mail = _parsed(folder, name)
        text = mail.get_body(("plain",))
        return render(
            request,
            "mail/show.html",
            caught=_caught(name, mail),
            headers=[(header, str(mail[header])) for header in _HEADERS if mail[header]],
            others=[(header, str(value)) for header, value in mail.items() if header not in (*_HEADERS, "Subject")],
            has_html=mail.get_body(("html",)) is not None,
            text=None if text is None else text.get_content(),
        )

    @router.get("/mail/{name}/html")
    def body(name: str) -> HTMLResponse:
        html = _parsed(folder, name).get_body(("html",))
        if html is None:
            raise ProblemError(404, marked("this email has no HTML"))
        headers = {"Content-Security-Policy": _BODY_POLICY.format(opens=opens), "X-Frame-Options": "SAMEORIGIN"}
        return HTMLResponse(_in_a_tab(html.get_content()), headers=headers)

    app.include_router(router)
    app.state.catches_mail = True


def _caught(name: str, mail: EmailMessage) -> CaughtMail:
    return CaughtMail(
        name, str(mail.get("To", "")), str(mail.get("Subject", "")), getattr(mail["Date"], "datetime", None)
    )


def _in_a_tab(html: str) -> str:
    """Return the HTML of an email with links that leave its frame."""
    head = _HEAD.search(html)
    return f"{html[: head.end()]}{_IN_A_TAB}{html[head.end() :]}" if head else f"{_IN_A_TAB}{html}"


def _parsed(folder: Path, name: str) -> EmailMessage:
    if not _NAME.fullmatch(name):
        raise ProblemError(404, marked("this email does not exist"))
    try:
        read = (folder / name).read_bytes()
    except OSError:
        raise ProblemError(404, marked("this email does not exist")) from None
    return message_from_bytes(read, policy=policy.default)
