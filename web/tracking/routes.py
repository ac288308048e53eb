"""What comes back from messages and pages: openings, clicks, page hits, and the script that tells of them.

The answer never waits for the database, and is the same whether or not anybody is recognised.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from starlette.background import BackgroundTask

from parcours.domain.events.parsing import EventError, parse
from parcours.domain.events.visitors import device_of, why_automatic
from parcours.domain.urls import origin_of, with_visit, without_visit
from parcours.web.i18n.language import preferred
from parcours.web.i18n.plain_pages import PLAIN_HEADERS, notice
from parcours.web.inbox import AWAY
from parcours.web.problems import ProblemError, problems
from parcours.web.security.bodies import read_at_most, read_json
from parcours.web.security.limits import OF_ONE_VISIT, Rates, source
from parcours.web.security.tokens import Signed
from parcours.web.tracking.tracking_events import SOURCE, Sighting, Sightings

# One transparent pixel.
PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
SCRIPT = re.sub(r"^\s*//.*\n", "", Path(__file__).with_name("parcours.js").read_text(encoding="utf-8"), flags=re.M)
MAX_HIT_BYTES = 16_384
AWAY_RETRY_SECONDS = 5

_NEVER_KEPT = {
    **PLAIN_HEADERS,
    "Cache-Control": "no-store, no-cache, must-revalidate, private, max-age=0",
    "Pragma": "no-cache",
    "Expires": "0",
}
_FOR_OTHER_SITES = {**PLAIN_HEADERS, "Cross-Origin-Resource-Policy": "cross-origin", "Access-Control-Allow-Origin": "*"}
_NOT_FOUND = {
    "en": ("This link does not work", "The link is incomplete or invalid."),
    "fr": ("Ce lien ne fonctionne pas", "Le lien est incomplet ou non valide."),
}
_AWAY = {
    "en": ("Please try again", "The link cannot be opened at the moment."),
    "fr": ("Veuillez réessayer", "Le lien ne peut pas être ouvert pour le moment."),
}
_HIT: dict[str, Any] = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string", "description": "The address of the page."},
        "referrer": {"type": "string", "description": "The address of the page before it."},
        "visit": {"type": "string", "description": "The token that a click wrote into the address."},
        "page": {"type": "string", "description": "The key of the page, if it has one."},
    },
}


def add_tracking(app: FastAPI, signed: Signed, sightings: Sightings, *, hits_per_minute: int) -> None:
    """Add the routes under /t to an app.

    What is done with one message or visit too often in a minute is answered as always, and not stored. Openings
    and clicks have no limit by network address: mail providers fetch the pictures of all their users from a few.
    """
    of_visit, of_source = Rates(OF_ONE_VISIT), Rates(hits_per_minute)

    def later(request: Request, what: Any, message: str, **data: Any) -> BackgroundTask | None:
        """Return the storing of a sighting, which happens once the answer is sent."""
        if of_visit.wait(message):
            return None
        why = why_automatic(request.method, request.headers)
        return BackgroundTask(sightings.store, Sighting(what, message, datetime.now(UTC), why, data))

    @app.head("/t/o/{token}.gif", include_in_schema=False)
    @app.get("/t/o/{token}.gif", response_class=Response, summary="Pixel that reports an opened email")
    async def opened(request: Request, token: str) -> Response:
        """Always returns the same image. The open is stored if the token is valid."""
        try:
            message = await signed.message("open", token)
        except AWAY:
            message = None
        done = None if message is None else later(request, "opened", message)
        headers = {**_NEVER_KEPT, "Cross-Origin-Resource-Policy": "cross-origin"}
        return Response(PIXEL, media_type="image/gif", headers=headers, background=done)

    @app.head("/t/c/{token}", include_in_schema=False)
    @app.get(
        "/t/c/{token}",
        status_code=302,
        summary="Follow a link of a message",
        responses={404: {"description": "The token is not valid.", "content": {"text/html": {}}}},
    )
    async def clicked(request: Request, token: str) -> Response:
        """Redirects to the signed address only, with the token of the visit in the query (`parcours`)."""
        language = preferred(request.headers.get("accept-language", ""))
        try:
            found = await signed.pair("click", token)
            if found is None or origin_of(found[1]) is None:
                return notice(*_NOT_FOUND[language], language=language, status=404)
            message, url = found
            address = with_visit(url, signed.tokens().sign("visit", message))
        except AWAY:
            return notice(
                *_AWAY[language], language=language, status=503, headers={"Retry-After": str(AWAY_RETRY_SECONDS)}
            )
        return RedirectResponse(address, 302, _NEVER_KEPT, later(request, "clicked", message, url=url))

    @app.post(
        "/t/p",
        status_code=204,
        summary="Report a page hit",
        responses=problems({400: "Not a page hit.", 429: "Too many page hits from one network address."}),
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _HIT}}}},
    )
    async def page_hit(request: Request) -> Response:
        """From parcours.js. Without the token of a visit, nothing is stored. The content type does not matter."""
        try:
            of_source.check(source(request))
            hit = read_json(await read_at_most(request, MAX_HIT_BYTES))
            data = _hit(hit)
        except ProblemError as error:
            # Or the page's developer would not see the sentence.
            error.headers |= _FOR_OTHER_SITES
            raise
        try:
            message = await signed.message("visit", str(hit.get("visit") or ""))
        except AWAY:
            message = None
        device = device_of(request.headers)
        data |= {"device": device} if device else {}
        done = None if message is None else later(request, "hit", message, **data)
        return Response(status_code=204, headers={**_FOR_OTHER_SITES, "Cache-Control": "no-store"}, background=done)

    @app.options("/t/p", status_code=204, include_in_schema=False)
    async def may_tell() -> Response:
        more = {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "Content-Type"}
        return Response(status_code=204, headers={**_FOR_OTHER_SITES, **more, "Access-Control-Max-Age": "86400"})

    @app.get("/t/parcours.js", summary="Script that reports page hits", response_class=Response)
    async def script() -> Response:
        """For the pages of other sites: `<script src=".../t/parcours.js" defer></script>`."""
        headers = {**_FOR_OTHER_SITES, "Cache-Control": "public, max-age=3600"}
        return Response(SCRIPT, media_type="text/javascript", headers=headers)


def _hit(value: Any) -> dict[str, Any]:
    """Return the data of a page hit. Raises ProblemError (400)."""
    if not isinstance(value, dict):
        raise ProblemError(400, "the body must be a JSON object with the url of a page")
    data = {name: each for name in ("url", "referrer", "page") if (each := value.get(name)) not in (None, "")}
    if not all(isinstance(each, str) for each in data.values()):
        raise ProblemError(400, "url, referrer and page must be texts")
    if origin_of(data.get("url", "")) is None:
        raise ProblemError(400, "url must start with http:// or https://")
    data |= {name: without_visit(data[name]) for name in ("url", "referrer") if name in data}
    try:
        # What could not be stored is refused now, while somebody hears of it.
        described = {"specversion": "1.0", "id": "-", "source": SOURCE, "type": "page.hit", "subject": "-"}
        return parse({**described, "data": data}, now=datetime.now(UTC)).data
    except EventError as error:
        raise ProblemError(400, str(error)) from None
