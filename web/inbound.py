"""What providers and mailboxes report: bounces, complaints, replies, text messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Depends, FastAPI
from sqlalchemy import Connection

from parcours.db.tables import tracking
from parcours.db.tables.tracking import Origin
from parcours.domain.events.parsing import ContactEvent, EventError, parse
from parcours.domain.messages.text_commands import command_of
from parcours.web.inbox import Inbox, Offered, Taken
from parcours.web.problems import ProblemError, problems
from parcours.web.security.access import needs_role
from parcours.web.security.bodies import read_body, read_objects, takes

# No report is shorter.
LEAST_BYTES = 10
_WHO = {
    "message": {"type": "string", "description": "Our message id; a Message-ID such as <id@host> will do."},
    "contact": {"type": "string", "description": "The key of the contact."},
}
_EMAIL = {"email": {"type": "string", "description": "The contact's address."}}
_WHEN = {
    "id": {"type": "string", "description": "The provider's own; the same again changes nothing."},
    "time": {"type": "string", "format": "date-time", "description": "When it happened; default: now."},
}
_REASON = {"reason": {"type": "string", "description": "In the provider's words."}}


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
        raise EventError('"kind" of a bounce is hard or soft')
    return {"kind": kind, **_texts(item, "reason")}


def _text_message(item: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(item.get("text"), str):
        raise EventError('"text" is missing or not a text')
    return {"text": item["text"], **_texts(item, "from")}


def _texts(item: Mapping[str, Any], *names: str) -> dict[str, Any]:
    found = {name: item[name] for name in names if item.get(name) is not None}
    for name, value in found.items():
        if not isinstance(value, str):
            raise EventError(f'"{name}" must be a text')
    return found


_FROM = (
    "The number that sent it, such as +33612345678. It finds the contact with that number in the field `phone` or "
    "`mobile`, however it is written there: the field `country`, else `PARCOURS_DEFAULT_COUNTRY`, says how a number "
    "without the code of a country is read. STOP, and its like, refuses text messages for this number, also when no "
    "contact has it; START takes that back."
)
_TEXT = {"text": {"type": "string", "description": "What was written."}}
REPORTS = (
    Report(
        "bounces",
        "Report bounces",
        "email.bounced",
        {**_WHO, **_EMAIL},
        {
            "kind": {"enum": ["hard", "soft"], "default": "hard", "description": "Soft bounces change nothing."},
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


def add_inbound(app: FastAPI, inbox: Inbox, *, open_to_all: bool) -> None:
    """Add the routes of /inbound to an app; who reports needs a key that publishes."""
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
            responses=_ANSWERS,
            openapi_extra=_body_of(report),
        )(_taker(inbox, report, most))


def _taker(inbox: Inbox, report: Report, most: int) -> Callable[..., Taken]:
    def take(raw: Annotated[bytes, Depends(read_body)]) -> Taken:
        items = read_objects(raw)
        if len(items) > most:
            raise ProblemError(413, f"there are {len(items):,} reports in the request; send {most:,} at most")
        return inbox.put(partial(_events, report, items), limited=True)

    return take


def _body_of(report: Report) -> dict[str, Any]:
    properties = {**report.who, **report.says, **_WHEN}
    one = {"type": "object", "required": list(report.required), "properties": properties}
    schema = {"oneOf": [one, {"type": "array", "items": one}]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _events(report: Report, items: list[Any], conn: Connection, now: datetime) -> Offered:
    objects = [item for item in items if isinstance(item, Mapping)]
    messages = tracking.origins(conn, _said(objects, "message", message_key))
    emails = tracking.keys_by_emails(conn, _said(objects, "email", str.strip))
    phones = tracking.keys_by_phones(conn, _said(objects, "from", str.strip)) if "from" in report.who else {}
    offered = Offered()
    strange: set[int] = set()
    for index, item in enumerate(items):
        offered.offer(index, partial(_event, report, item, messages, emails, phones, now, partial(strange.add, index)))
    offered.strangers = [each for each in offered.good if each[0] in strange]
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
        raise EventError("a report is a JSON object")
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
        given = " or ".join(who) or " or ".join(report.who)
        raise EventError(
            f"no contact matches {given}" if who else f"the report does not identify a contact or message: give {given}"
        )
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
