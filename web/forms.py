"""Forms that people submit on our sites and others': as JSON from a script, or as a plain HTML form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from urllib.parse import urljoin
from uuid import uuid4

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from pydantic import Field
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from parcours.db.tables import forms, tracking
from parcours.db.tables.forms import Form
from parcours.domain.contacts.identity import is_address, same_address
from parcours.domain.events.parsing import MAX_DATA_BYTES, parse
from parcours.domain.urls import origin_of
from parcours.producers import form_fields
from parcours.web.i18n.language import preferred
from parcours.web.i18n.plain_pages import PLAIN_HEADERS, notice
from parcours.web.inbox import Inbox, Offered, Taken
from parcours.web.problems import ProblemError, problems
from parcours.web.security.bodies import content_type, read_at_most, read_json
from parcours.web.security.limits import OF_ONE_VISIT, Rates, source
from parcours.web.security.tokens import Signed

SOURCE = "parcours/forms"
MAX_FIELDS = 500
# What is ours among the names of an HTML form's fields.
REDIRECT, VISIT, CONTACT, HONEY_POT = "_redirect", "_visit", "_contact", "_hp"
_JSON, _URLENCODED, _MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
_THANKS = {
    "en": ("Thank you", "We have received what you sent."),
    "fr": ("Merci", "Nous avons bien reçu votre envoi."),
}
_OF_NOBODY = "the submission does not identify a contact; send an email or the token of a visit"
_FIELDS: dict[str, Any] = {"type": "object", "additionalProperties": True}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "contact": {"type": "string", "description": "Key of the contact, if the form accepts keys."},
                        "email": {
                            "type": "string",
                            "description": "Email address. Finds the contact or creates one with this key.",
                        },
                        "visit": {"type": "string", "description": "Token of a visit, from the URL after a click."},
                        "id": {"type": "string", "description": "ID of the submission. A repeated ID has no effect."},
                        "fields": _FIELDS,
                    },
                }
            },
            _URLENCODED: {"schema": _FIELDS},
            _MULTIPART: {"schema": _FIELDS},
        },
    }
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Thank-you page, after an HTML form.", "content": {"text/html": {}}},
    303: {"description": "Redirect, after an HTML form with `_redirect`."},
    **problems(
        {
            400: "The body cannot be read.",
            403: "Submissions from this site are not allowed.",
            404: "The form does not exist or is not published.",
            413: "The body is too large.",
            415: "Unsupported content type.",
            429: "Too many submissions from one network address or visit.",
            422: "The submission does not identify a contact, or it cannot be stored.",
        }
    ),
}


class SubmissionTaken(Taken):
    """What became of a submission."""

    notes: list[str] = Field(
        default_factory=list, description="What did not reach the contact, and why; left out when there is nothing."
    )


@dataclass(slots=True)
class Submitted:
    """A submission, before anybody looked up whose it is."""

    fields: dict[str, Any]
    contact: str | None = None
    email: str | None = None
    visit: str | None = None
    id: str = field(default_factory=lambda: str(uuid4()))
    redirect: str | None = None
    # Somebody filled in what no person sees.
    is_trapped: bool = False
    # What to tell whoever sent it.
    notes: list[str] = field(default_factory=list)


async def _body(request: Request) -> bytes:
    # Whoever sends a form knows nothing of our pages.
    request.state.is_visitor = True
    return await read_at_most(request, min(request.app.state.max_body_bytes, 2 * MAX_DATA_BYTES))


def add_forms(app: FastAPI, inbox: Inbox, signed: Signed) -> None:
    """Add the route of forms to an app."""
    own = origin_of(inbox.settings.public_url)
    of_source, of_visit = Rates(inbox.settings.forms_per_minute), Rates(OF_ONE_VISIT)

    @app.post(
        "/forms/{key}",
        status_code=202,
        response_model=SubmissionTaken,
        summary="Submit a form",
        responses=_ANSWERS,
        openapi_extra=_BODY,
    )
    async def submit(key: str, request: Request, raw: Annotated[bytes, Depends(_body)]) -> Response:
        """Store a submission. Contacts join campaigns and decisions are taken right after.

        In an HTML form, fields that start with `_` are reserved: `_redirect` (next page, on this site or one that
        the form allows), `_visit`, `_contact`, and `_hp`, a hidden field that must stay empty.
        """
        form = await run_in_threadpool(_find, inbox, key)
        origin = request.headers.get("origin")
        cors = _cors(form, origin, own)
        try:
            if not cors and origin != own:
                raise ProblemError(403, f"this form does not accept submissions from {str(origin)[:200]}")
            of_source.check(source(request))
            submitted = await _read(request, raw)
            if not submitted.is_trapped:
                visitor = None if submitted.visit is None else await signed.message("visit", submitted.visit)
                if visitor is not None:
                    of_visit.check(visitor)
                make = partial(_events, form, submitted, visitor)
                taken = await run_in_threadpool(inbox.put, make, limited=False)
                if taken.rejected:
                    raise ProblemError(422, taken.rejected[0].error)
            else:
                # Whoever is trapped does not learn of it.
                taken = Taken(accepted=1, duplicates=0, rejected=[])
        except ProblemError as error:
            error.headers |= cors
            if error.detail == _OF_NOBODY and not _wants_json(request):
                error.detail = "enter your email address"
            raise
        if _wants_json(request):
            notes = {"notes": submitted.notes} if submitted.notes else {}
            return JSONResponse({**taken.model_dump(), **notes}, 202, {**PLAIN_HEADERS, **cors})
        target = _target(form, submitted.redirect, inbox.settings.public_url)
        if target is not None:
            return RedirectResponse(target, 303, {**PLAIN_HEADERS, **cors})
        language = preferred(request.headers.get("accept-language", ""))
        return notice(*_THANKS[language], language=language, headers=cors)

    @app.options("/forms/{key}", status_code=204, include_in_schema=False)
    def may_submit(key: str, request: Request) -> Response:
        origin = request.headers.get("origin")
        cors = _cors(_find(inbox, key), origin, own)
        if not cors and origin != own:
            raise ProblemError(403, f"this form does not accept submissions from {str(origin)[:200]}")
        more = {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "Content-Type"}
        return Response(status_code=204, headers={**cors, **more, "Access-Control-Max-Age": "600"})


def _find(inbox: Inbox, key: str) -> Form:
    with inbox.engine.connect() as conn:
        form = None if "\0" in key else forms.find(conn, key)
    if form is None or not form.published:
        raise ProblemError(404, "the form does not exist or is not published")
    return form


def _cors(form: Form, origin: str | None, own: str | None) -> dict[str, str]:
    """Return the headers that let a page see the answer; none when it is of a site that may not submit the form."""
    if not form.allowed_origins or origin is None:
        return {"Access-Control-Allow-Origin": "*"}
    if origin in form.allowed_origins or origin == own:
        return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
    return {}


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    return content_type(request) == _JSON or ("application/json" in accepted and "text/html" not in accepted)


def _target(form: Form, wanted: str | None, public_url: str) -> str | None:
    """Return where to go after a submission: where its page says, if that is allowed, else where the form says."""
    if wanted:
        try:
            target = urljoin(public_url, wanted)
        except ValueError:
            # No address at all, such as https://[example.com].
            return form.redirect
        known = {origin_of(public_url), *form.allowed_origins, origin_of(form.redirect or "")}
        # As it is written, since what joins an address hides what a browser would mend.
        if origin_of(target) in known - {None} and "\\" not in wanted:
            return target
    return form.redirect


async def _read(request: Request, raw: bytes) -> Submitted:
    if content_type(request) == _JSON:
        return _from_json(read_json(raw))
    return _from_fields(await _fields(request, raw))


def _from_json(value: Any) -> Submitted:
    if not isinstance(value, dict) or not isinstance(value.get("fields", {}), dict):
        raise ProblemError(400, 'the body must be a JSON object such as {"email": "…", "fields": {…}}')
    texts = {name: value[name] for name in ("contact", "email", "visit", "id") if value.get(name) not in (None, "")}
    if not all(isinstance(each, str) for each in texts.values()):
        raise ProblemError(400, "contact, email, visit and id must be texts")
    fields = {name: each for name, each in value.get("fields", {}).items() if name != HONEY_POT}
    texts.setdefault("email", _one(fields.get("email")))
    trapped = bool(value.get(HONEY_POT) or value.get("fields", {}).get(HONEY_POT))
    return Submitted(fields, **texts, is_trapped=trapped)


def _from_fields(sent: Iterable[tuple[str, str]]) -> Submitted:
    values: dict[str, list[str]] = {}
    for name, value in sent:
        values.setdefault(name, []).append(value)
    fields = {
        name: each[0] if len(each) == 1 else each for name, each in values.items() if name and not name.startswith("_")
    }
    ours = {name: _one(values.get(name)) for name in (REDIRECT, VISIT, CONTACT, HONEY_POT)}
    return Submitted(
        fields,
        contact=ours[CONTACT],
        email=_one(fields.get("email")),
        visit=ours[VISIT],
        redirect=ours[REDIRECT],
        is_trapped=ours[HONEY_POT] is not None,
    )


def _one(value: Any) -> str | None:
    first = value[0] if isinstance(value, list) and value else value
    return first.strip() or None if isinstance(first, str) else None


async def _fields(request: Request, raw: bytes) -> list[tuple[str, str]]:
    """Return the fields of an HTML form, in their order. Raises ProblemError."""

    async def body() -> Any:
        yield raw
        yield b""

    kind, headers = content_type(request), request.headers
    try:
        if kind == _URLENCODED:
            found: FormData = await FormParser(headers, body()).parse()
        elif kind == _MULTIPART:
            found = await MultiPartParser(headers, body(), max_files=MAX_FIELDS, max_fields=MAX_FIELDS).parse()
        else:
            known = f"{_JSON}, {_URLENCODED}, {_MULTIPART}"
            raise ProblemError(415, f"{kind[:80] or 'no content type'} is not supported; send {known}")
    except MultiPartException as error:
        raise ProblemError(400, f"the form cannot be read: {error.message}") from None
    fields: list[tuple[str, str]] = []
    try:
        for name, value in found.multi_items():
            if isinstance(value, str):
                fields.append((name, value))
            # A field for a file that is left empty is sent all the same.
            elif value.filename:
                raise ProblemError(422, "files are not accepted; send the form without files")
    finally:
        await found.close()
    if len(fields) > MAX_FIELDS:
        raise ProblemError(413, f"the form has more than {MAX_FIELDS} fields")
    return fields


def _events(form: Form, submitted: Submitted, visitor: str | None, conn: Connection, now: datetime) -> Offered:
    """Return the submission as an event.

    Whose it is says the key that is given, else the address, else the visit: who was sent a link on by
    somebody else puts their own address into the form.
    """
    offered = Offered()
    contact = _who(form, submitted, visitor, conn)
    described = {
        "specversion": "1.0",
        "source": SOURCE,
        "id": submitted.id,
        "type": "form.submitted",
        "subject": contact,
        "data": {"form": form.key, "fields": submitted.fields, **({"message": visitor} if visitor else {})},
    }
    offered.offer(0, partial(parse, described, now=now))
    if offered.good:
        (lost,) = form_fields.lost(conn, form, [(contact, submitted.fields)])
        submitted.notes = [each.note for each in lost]
    return offered


def _who(form: Form, submitted: Submitted, visitor: str | None, conn: Connection) -> str:
    """Return the contact's key, or the address of one that nobody knew. Raises ProblemError."""
    if submitted.contact:
        if not form.names_contact:
            raise ProblemError(
                422,
                "this form does not accept the key of a contact; send an email or the token of a visit, or allow keys "
                "with `parcours forms create --names-contact`",
            )
        return submitted.contact
    email = (submitted.email or "").strip()
    if is_address(email):
        known = tracking.keys_by_emails(conn, [email]).get(email)
        # In small letters, as people remember it.
        return same_address(email) if known is None else known
    origin = tracking.origins(conn, [visitor]).get(visitor) if visitor else None
    if origin is not None:
        return origin.contact
    if email:
        raise ProblemError(422, "the email is not a valid address")
    raise ProblemError(422, _OF_NOBODY)
