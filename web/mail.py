"""`/mail`: emails that were written to files, for whoever tries things out on a machine of their own.

Served by `up` alone, and on a loopback address only. What an email holds is not trusted: its HTML is shown
in a frame without scripts, forms and origin, which loads nothing from anywhere.
"""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import escape
from itertools import islice
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from parcours.web.i18n.language import _, _n, marked, reader
from parcours.web.problems import ProblemError

# The latest of them; the folder has all.
SHOWN = 200
_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}\.eml")
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_BODY_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .8rem .3rem 0;vertical-align:top}"
    "iframe{width:100%;height:32rem;border:1px solid #bbb}pre{white-space:pre-wrap;border:1px solid #bbb;padding:1rem}"
)


def add_mail(app: FastAPI, folder: Path) -> None:
    """Show the emails of a folder at `/mail`."""

    @app.get("/mail", include_in_schema=False)
    def listing() -> HTMLResponse:
        names = sorted((path.name for path in folder.glob("*.eml") if _NAME.fullmatch(path.name)), reverse=True)
        rows = "".join(_row(name, _parsed(folder, name)) for name in islice(names, SHOWN))
        about = (
            _n(
                "{n} email in {folder}, latest first.",
                "{n} emails in {folder}, latest first.",
                len(names),
                folder=folder,
            )
            if names
            else _("No emails in {folder} yet.", folder=folder)
        )
        head = "".join(f"<th>{escape(each)}</th>" for each in (_("Date"), _("To"), _("Subject")))
        return _page(_("Emails"), f"<p>{escape(about)}</p><table>{f'<tr>{head}</tr>' if names else ''}{rows}</table>")

    @app.get("/mail/{name}", include_in_schema=False)
    def show(name: str) -> HTMLResponse:
        mail = _parsed(folder, name)
        headers = "".join(
            f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>" for key, value in mail.items()
        )
        text, html = mail.get_body(("plain",)), mail.get_body(("html",))
        parts = [f"<p><a href='/mail'>{escape(_('All emails'))}</a></p><table>{headers}</table>"]
        if html is not None:
            parts.append(f"<h2>HTML</h2><iframe sandbox title='HTML' src='/mail/{escape(name)}/html'></iframe>")
        if text is not None:
            parts.append(f"<h2>{escape(_('Text'))}</h2><pre>{escape(text.get_content())}</pre>")
        return _page(str(mail.get("Subject", "")), "".join(parts))

    @app.get("/mail/{name}/html", include_in_schema=False)
    def body(name: str) -> HTMLResponse:
        html = _parsed(folder, name).get_body(("html",))
        if html is None:
            raise ProblemError(404, marked("this email has no HTML"))
        return HTMLResponse(html.get_content(), headers=_headers(_BODY_POLICY))


def _row(name: str, mail: EmailMessage) -> str:
    subject = escape(str(mail.get("Subject", "")) or _("(no subject)"))
    date, to = (escape(str(mail.get(header, ""))) for header in ("Date", "To"))
    return f"<tr><td>{date}</td><td>{to}</td><td><a href='/mail/{escape(name)}'>{subject}</a></td></tr>"


def _parsed(folder: Path, name: str) -> EmailMessage:
    if not _NAME.fullmatch(name):
        raise ProblemError(404, marked("this email does not exist"))
    try:
        read = (folder / name).read_bytes()
    except OSError:
        raise ProblemError(404, marked("this email does not exist")) from None
    return message_from_bytes(read, policy=policy.default)


def _page(title: str, body: str) -> HTMLResponse:
    page = (
        f"<!doctype html><html lang='{reader().language}'><head><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return HTMLResponse(page, headers=_headers(_PAGE_POLICY))


def _headers(content_policy: str) -> dict[str, str]:
    return {
        "Content-Security-Policy": content_policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
