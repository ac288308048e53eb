"""Small pages for people who are no users of ours: they run no script, load nothing and stand in no frame."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fastapi.responses import HTMLResponse
from jinja2 import Environment, select_autoescape

from parcours.web.i18n.typography import spaced

_STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32rem;padding:0 1rem;"
    "color:#1c1c1e;background:#fff}button{font:inherit;padding:.5rem 1.2rem;border:1px solid #1c1c1e;"
    "border-radius:.4rem;background:#1c1c1e;color:#fff;cursor:pointer}"
    "ul{list-style:none;padding:0;margin:1.5rem 0;border-top:1px solid #8886}"
    "li{display:flex;justify-content:space-between;align-items:center;gap:1rem;padding:.8rem 0;"
    "border-bottom:1px solid #8886}li span{min-width:0;overflow-wrap:anywhere}small{display:block;opacity:.75}"
    "li button{background:none;color:inherit;border-color:currentcolor;font-size:1rem}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#1c1c1e}button{background:#eee;color:#1c1c1e}"
    "li button{background:none;color:inherit}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_COLON = {"fr": " : "}
# Of every answer to somebody outside.
PLAIN_HEADERS = {"X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex"}
_HEADERS = {
    **PLAIN_HEADERS,
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Vary": "Accept-Language",
}
_PAGE = Environment(autoescape=select_autoescape(default=True, default_for_string=True)).from_string(
    """<!doctype html>
<html lang="{{ language }}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style|safe }}</style>
<main>
<h1>{{ title }}</h1>
{% for line in lines %}<p>{{ line }}</p>
{% endfor %}{% if choices %}<ul>
{% for each in choices %}<li><span>{{ each.name }}<small>{{ each.state }}</small></span>
<form method="post"><input type="hidden" name="action" value="{{ each.button.action }}">
<input type="hidden" name="{{ each.field }}" value="{{ each.name }}">
<button aria-label="{{ each.button.label }}{{ colon }}{{ each.name }}">{{ each.button.label }}</button></form></li>
{% endfor %}</ul>
{% endif %}{% if button %}<form method="post"><input type="hidden" name="action" value="{{ button.action }}">
<button>{{ button.label }}</button></form>
{% endif %}</main>
</html>
"""
)


class Button(NamedTuple):
    """A button that posts an action to the page's own address."""

    action: str
    label: str


class Choice(NamedTuple):
    """One thing of several to decide on: how it stands, and the button that changes it, posted with its name."""

    field: str
    name: str
    state: str
    button: Button


def notice(
    title: str,
    *lines: str,
    language: str = "en",
    status: int = 200,
    button: Button | None = None,
    choices: Sequence[Choice] = (),
    headers: Mapping[str, str] | None = None,
) -> HTMLResponse:
    """Return a page of a heading and some lines; all of them are escaped."""
    title, *lines_ = (spaced(language, each) for each in (title, *lines))
    content = _PAGE.render(
        language=language,
        title=title,
        lines=lines_,
        button=button,
        choices=choices,
        colon=spaced(language, _COLON.get(language, ": ")),
        style=_STYLE,
    )
    return HTMLResponse(content, status, {**_HEADERS, **(headers or {})})
