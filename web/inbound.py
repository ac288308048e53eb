"""What providers and mailboxes report: bounces, complaints, replies, text messages, in our words or in their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import uuid4

import structlog
from fastapi import Depends, FastAPI, Request, Response
from sqlalchemy import Connection

from parcours.db.tables import installation, tracking
from parcours.db.tables.tracking import Origin
from parcours.domain.events.parsing import ContactEvent, EventError, parse
from parcours.domain.messages.text_commands import command_of
from parcours.domain.time.text import iso
from parcours.ops.logs import where
from parcours.web.inbox import Inbox, Offered, Taken
from parcours.web.problems import ProblemError, problems
from parcours.web.security.access import needs_role
from parcours.web.security.bodies import read_body, read_objects, takes
from parcours.workers.delivery import registry
from parcours.workers.delivery.channels import webhook_secret
from parcours.workers.delivery.provider import ForgedError, IncomingRequest, Provider, Reported

log = structlog.get_logger()

# No report is shorter.
LEAST_BYTES = 10
_WHO = {
    "message": {
        "type": "string",
        "description": "Message ID of Parcours. A Message-ID header such as <id@host> is also accepted.",
    },
    "contact": {"type": "string", "description": "Key of the contact."},
}
_EMAIL = {"email": {"type": "string", "description": "Email address of the contact."}}
_WHEN = {
    "id": {
        "type": "string",
        "description": "ID assigned by the provider. A report with an ID that was already received has no effect.",
    },
    "time": {"type": "string", "format": "date-time", "description": "Time of the event. Default: now."},
}
_REASON = {"reason": {"type": "string", "description": "Reason given by the provider."}}


@dataclass(frozen=True)
class Report:
    """One kind of report: what it is called, the event it becomes, and what it may say."""

    path: str
    summary: str
    type: str
    # Of the JSON Schema; the names of `says` go into the data of the event as they are.
    who: Mapping[str, Any]
    says: Mapping[str, Any]
    required: tuple[str, ...]
    data: Callable[[Mapping[str, Any]], dict[str, Any]]


def _bounce(item: Mapping[str, Any]) -> dict[str, Any]:
    kind = item.get("kind", "hard")
    if kind not in ("hard", "soft"):
        raise EventError('"kind" of a bounce must be hard or soft')
    return {"kind": kind, **_texts(item, "reason")}


def _text_message(item: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(item.get("text"), str):
        raise EventError('"text" is missing or not a text; send the text of the message')
    return {"text": item["text"], **_texts(item, "from")}


def _texts(item: Mapping[str, Any], *names: str) -> dict[str, Any]:
    found = {name: item[name] for name in names if item.get(name) is not None}
    for name, value in found.items():
        if not isinstance(value, str):
            raise EventError(f'"{name}" must be a text')
    return found


_FROM = (
    "Phone number of the sender, such as +33612345678. Finds the contact with this number in the field `phone` or "
    "`mobile`, in any format. A number without a country code belongs to the country in the field `country`, else to "
    "`PARCOURS_DEFAULT_COUNTRY`. STOP and similar words opt this number out of text messages, even if no contact has "
    "it; START opts it in again."
)
_TEXT = {"text": {"type": "string", "description": "Text of the message."}}
REPORTS = (
    Report(
        "bounces",
        "Report bounces",
        "email.bounced",
        {**_WHO, **_EMAIL},
        {
            "kind": {
                "enum": ["hard", "soft"],
                "default": "hard",
                "description": "Soft bounces have no effect.",
            },
            **_REASON,
        },
        (),
        _bounce,
    ),
    Report(
        "complaints",
        "Report spam complaints",
        "email.unsubscribed",
        {**_WHO, **_EMAIL},
        _REASON,
        (),
        lambda item: {"channel": "email", "complaint": True, **_texts(item, "reason")},
    ),
    Report(
        "replies",
        "Report replies to emails",
        "email.replied",
        {**_WHO, **_EMAIL},
        _TEXT,
        (),
        lambda i: _texts(i, "text"),
    ),
    Report(
        "sms",
        "Report received text messages",
        "sms.replied",
        {**_WHO, "from": {"type": "string", "description": _FROM}},
        _TEXT,
        ("text",),
        _text_message,
    ),
)
_ANSWERS = problems(
    {
        400: "The body is not JSON.",
        401: "The API key is missing, unknown or revoked.",
        403: "The role of the key does not allow this.",
        413: "The body is too large.",
        415: "The content type is not application/json.",
        429: "Too many events are waiting to be processed; see Retry-After.",
    }
)


_PROVIDER_ANSWERS = problems(
    {
        400: "The provider's class cannot parse the request.",
        401: "The signature is missing or wrong.",
        404: "No channel uses this provider, or the provider does not report events.",
        413: "The body is too large.",
        429: "Too many events are waiting to be processed; see Retry-After.",
        500: "The provider's class failed; see the log.",
        503: "The provider's class cannot be used; run `parcours doctor` for details.",
    }
)


def add_inbound(app: FastAPI, inbox: Inbox, *, open_to_all: bool) -> None:
    """Add the routes of /inbound to an app.

    Who reports in our words needs a key that publishes; what providers send is checked by their own classes.
    """
    _add_providers(app, inbox)
    may_publish = needs_role(inbox.engine, "publish", open_to_all=open_to_all)
    most = max(1, inbox.settings.max_body_bytes // LEAST_BYTES // 10)
    for report in REPORTS:
        app.post(
            f"/inbound/{report.path}",
            status_code=202,
            summary=report.summary,
            name=f"inbound_{report.path}",
            description="One report or a list of reports. The contact or message is identified by the first of these "
            "that is given: "
            + ", ".join(f"`{name}`" for name in report.who)
            + f". It becomes an event of type `{report.type}`.",
            dependencies=[Depends(may_publish), Depends(takes("application/json"))],
            responses={422: {"model": Taken, "description": "Every report was rejected."}, **_ANSWERS},
            openapi_extra=_body_of(report),
        )(_taker(inbox, report, most))


def _taker(inbox: Inbox, report: Report, most: int) -> Callable[..., Taken]:
    def take(response: Response, raw: Annotated[bytes, Depends(read_body)]) -> Taken:
        items = read_objects(raw)
        if len(items) > most:
            raise ProblemError(413, f"the request has {len(items):,} reports; the maximum is {most:,}")
        said = [(report, item) for item in items]
        taken = inbox.put(partial(_events, said), limited=True)
        response.status_code = taken.status
        return taken

    return take


def _add_providers(app: FastAPI, inbox: Inbox) -> None:
    providers = _Providers(inbox)

    @app.post(
        "/inbound/providers/{name}",
        status_code=202,
        summary="Receive a provider's webhooks",
        responses=_PROVIDER_ANSWERS,
        openapi_extra={"requestBody": {"required": False, "content": {"*/*": {}}}},
    )
    def take_from_provider(name: str, request: Request, raw: Annotated[bytes, Depends(read_body)]) -> Taken:
        """Receive requests in the provider's own format. Its class checks the signature and parses the request.

        Each report becomes an event of a contact. Reports that match no contact are listed under `rejected`.
        """
        query = f"?{request.url.query}" if request.url.query else ""
        url = f"{inbox.settings.public_url.rstrip('/')}{request.url.path}{query}"
        reports = providers.understood(name, IncomingRequest(url, dict(request.headers), raw))
        return inbox.put(partial(_events, [_in_our_words(name, each) for each in reports]), limited=True)


class _Providers:
    """The providers of this process that report back, made when the first request of theirs comes in."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._made: dict[str, Provider[Any]] = {}
        self._lock = threading.Lock()

    def understood(self, name: str, request: IncomingRequest) -> list[Reported]:
        """Return what a request reports. Raises ProblemError for one that is refused, or when the provider fails."""
        provider = self._provider(name)
        try:
            reports = list(provider.parse(request))
            if not all(isinstance(each, Reported) for each in reports):
                raise TypeError("parse must return Reported objects")
        except ForgedError:
            raise ProblemError(401, "the signature is missing or wrong") from None
        except ValueError as error:
            log.warning("provider_not_understood", provider=name, error=type(error).__name__)
            raise ProblemError(400, "the request cannot be parsed; check its format") from None
        except (Exception, SystemExit) as error:
            # It may send this again, and by then somebody may have mended the class.
            log.error("provider_failed", provider=name, error=type(error).__name__, where=where(error.__traceback__))
            raise ProblemError(500, f"the provider {name!r} failed; see the log") from None
        return reports

    def _provider(self, name: str) -> Provider[Any]:
        settings = self._inbox.settings
        channel = next((each for each in registry.CHANNELS if registry.chosen(settings, each) == name), None)
        if channel is None:
            raise ProblemError(404, f"no channel uses a provider {name[:40]!r}")
        with self._lock:
            if name in self._made:
                return self._made[name]
            try:
                if not registry.provider_class(channel, name).reports_back():
                    raise ProblemError(404, f"the provider {name!r} does not report events")
                secret = settings.secret_key or installation.secret_key(self._inbox.engine)
                made = registry.make(settings, channel, signing=webhook_secret(settings, secret))
            except registry.UnusableProviderError as error:
                log.error("provider_unusable", channel=channel, provider=name, text=str(error))
                raise ProblemError(503, f"the provider {name!r} cannot be used; see `parcours doctor`") from None
            self._made[name] = made
            return made


def _in_our_words(name: str, said: Reported) -> tuple[Report, dict[str, Any]]:
    who = {"message": said.message, "contact": said.contact, "email": said.email, "from": said.phone}
    sender = {} if said.phone is None else {"from": said.phone}
    data = {**said.data, **sender}
    kind = Report(f"providers/{name}", "", said.type, who, {}, (), lambda _: data)
    item = {"text": data.get("text"), **{key: value for key, value in who.items() if value is not None}}
    at = None if said.time is None else iso(said.time) if said.time.tzinfo is not None else said.time.isoformat()
    return kind, {**item, "id": said.id, "time": at}


def _body_of(report: Report) -> dict[str, Any]:
    properties = {**report.who, **report.says, **_WHEN}
    one = {"type": "object", "required": list(report.required), "properties": properties}
    schema = {"oneOf": [one, {"type": "array", "items": one}]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _events(said: Sequence[tuple[Report, Any]], conn: Connection, now: datetime) -> Offered:
    """Return the events that reports become; whom they are about is looked up for all of them together."""
    objects = [item for _, item in said if isinstance(item, Mapping)]
    messages = tracking.origins(conn, _said(objects, "message", message_key))
    emails = tracking.keys_by_emails(conn, _said(objects, "email", str.strip))
    numbered = [item for report, item in said if "from" in report.who and isinstance(item, Mapping)]
    phones = tracking.keys_by_phones(conn, _said(numbered, "from", str.strip)) if numbered else {}
    offered = Offered()
    strange: set[int] = set()
    for index, (report, item) in enumerate(said):
        offered.offer(index, partial(_event, report, item, messages, emails, phones, now, partial(strange.add, index)))
    offered.strangers = [each for each in offered.good if each[0] in strange]
    if offered.strangers:
        # Only `phone` and `mobile` are looked at, for which there is an index; the number itself is nobody's to log.
        log.info("text_command_of_nobody", n=len(offered.strangers))
    offered.good = [each for each in offered.good if each[0] not in strange]
    return offered


def _said(items: list[Mapping[str, Any]], name: str, read: Callable[[str], str]) -> set[str]:
    said = {read(item[name]) for item in items if isinstance(item.get(name), str)}
    # What no database can look for is nobody's.
    return {each for each in said if each and "\0" not in each and each.isprintable()}


def message_key(said: str) -> str:
    """Return our message id of what a report calls the message: the id itself, or a Message-ID made of it."""
    return said.strip().strip("<>").partition("@")[0]


def _event(
    report: Report,
    item: Any,
    messages: Mapping[str, Origin],
    emails: Mapping[str, str],
    phones: Mapping[str, list[str]],
    now: datetime,
    strange: Callable[[], None],
) -> ContactEvent:
    if not isinstance(item, Mapping):
        raise EventError("a report must be a JSON object; send one, or a list of them")
    who = _texts(item, *report.who)
    message = message_key(who.get("message", ""))
    contact = (
        (messages[message].contact if message in messages else None)
        or who.get("contact")
        or emails.get(who.get("email", "").strip())
        or next(iter(phones.get(who.get("from", "").strip(), ())), None)
    )
    if contact is None and who.get("from", "").strip() and command_of(item.get("text")) is not None:
        # STOP counts also from a number that nobody has yet.
        strange()
        contact = who["from"]
    if contact is None:
        if not who:
            raise EventError(f"the report does not identify a contact or message; give {' or '.join(report.who)}")
        raise EventError(f"no contact matches {' or '.join(who)}; import the contact, or correct the report")
    about = {"message": message} if message in messages else {}
    described = {
        "specversion": "1.0",
        "source": f"parcours/inbound/{report.path}",
        "id": str(uuid4()) if item.get("id") is None else item["id"],
        "type": report.type,
        "subject": contact,
        "data": {**about, **report.data(item)},
    }
    return parse(described | ({"time": item["time"]} if item.get("time") is not None else {}), now=now)
