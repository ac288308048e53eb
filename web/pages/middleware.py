"""What every answer has in common: the reader's language, and headers that keep browsers careful."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from starlette.datastructures import MutableHeaders
from starlette.requests import Request

from parcours.web.i18n.language import Reader, chosen, marked, speaking
from parcours.web.pages.rendering import render_error
from parcours.web.problems import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LANGUAGE_COOKIE = "parcours_language"
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "object-src 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
# A route that needs another value sets its own.
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


_NUL = marked("The address contains a character that no address of ours has (NUL). Check the link.")
# Who comes to these is a program, whatever it says that it accepts.
NO_PAGES = ("/api/", "/events", "/health/", "/metrics", "/t/", "/static/")


def wants_page(request: Request) -> bool:
    """Return whether a request is that of a browser, and not of a program."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith(NO_PAGES)


class PagesMiddleware:
    def __init__(self, app: ASGIApp, *, zone: ZoneInfo) -> None:
        self._app = app
        self._zone = zone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                # What is signed in for is nobody else's, and the back button should not show it afterwards.
                if headers.get("content-type", "").startswith("text/html"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        request = Request(scope)
        language = chosen(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", ""))
        with speaking(Reader(language, self._zone)):
            # No key, name or search holds one, and PostgreSQL cannot store it.
            if "\0" in scope["path"] or b"%00" in scope["query_string"]:
                page = wants_page(request) and not request.headers.get("hx-request")
                answer = render_error(400, _NUL) if page else problem(400, "the address holds a NUL character")
                await answer(scope, receive, with_headers)
            else:
                await self._app(scope, receive, with_headers)
