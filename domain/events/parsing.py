"""Contact events: what upstream systems say that a contact did, as CloudEvents 1.0."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from parcours.domain import gate
from parcours.domain.contacts import identity
from parcours.domain.contacts.contact import ATTRIBUTES
from parcours.domain.contacts.tags import why_not_one
from parcours.domain.errors import CampaignError
from parcours.domain.events.table import CHANGES, event_type
from parcours.domain.invalid_values import called
from parcours.domain.messages.policy import parse_rule
from parcours.domain.steps.batch import Fact
from parcours.domain.steps.properties import MAX_KEY

MAX_CHANNEL = 40

MAX_DATA_BYTES = 262_144

# In the data of an event whose time lay in the future: the time that it claimed.
CLAIMED = "claimed_time"

# Digits of a number, and what people write between them.
MAX_PHONE = 255

# Characters of a time that are told again.
MAX_TIME = 40


class EventError(CampaignError):
    """An event cannot be understood; the message says why. Sending it again will not help."""


class ContactEvent(NamedTuple):
    """One thing that happened to a contact. (source, id) identifies it for ever."""

    source: str
    id: str
    type: str
    contact: str
    at: datetime
    data: dict[str, Any]


def parse(value: object, *, now: datetime) -> ContactEvent:
    """Return the event of a CloudEvent in its JSON form; one without a time happened `now`.

    Raises EventError with one sentence.

    Source: CloudEvents 1.0.2, sections 2.1 (required attributes) and 3.1 (structured JSON).
    """
    if not isinstance(value, Mapping):
        raise EventError("an event must be a JSON object with specversion, source, id, type and subject")
    version = value.get("specversion")
    if version != "1.0":
        raise EventError('"specversion" must be "1.0"' + (f", not {_shown(version)}" if version else "; it is missing"))
    source, id_, type_ = (_text(value, name) for name in ("source", "id", "type"))
    contact = _text(value, "subject", hint="the key of the contact")
    data = _data(value)
    for name in event_type(type_).required:
        if not isinstance(data.get(name), str) or not data[name].strip():
            raise EventError(f'an event of type {type_!r} needs a text "{name}" in its data; add it')
        if name != "url" and len(data[name]) > MAX_KEY:
            raise EventError(f'"{name}" of {type_} is longer than {MAX_KEY} characters; shorten it')
    if type_ == "contact.changed":
        data |= _checked_change(data)
    if type_ == "contact.merged":
        _check_merge(data, contact)
    if type_ in ("email.unsubscribed", "email.resubscribed") and not is_channel(data.get("channel", "email")):
        raise EventError(f'"channel" of {type_} must be a text such as email or sms')
    if type_ == "form.submitted" and not isinstance(data.get("fields", {}), Mapping):
        raise EventError('"fields" of a form submission must be an object')
    at, claimed = _time(value, now)
    if claimed is not None:
        data[CLAIMED] = claimed
    return ContactEvent(source, id_, type_, contact, at, data)


def _text(value: Mapping[Any, Any], name: str, hint: str = "") -> str:
    found = value.get(name)
    about = f" ({hint})" if hint else ""
    if name == "subject" and isinstance(found, int) and not isinstance(found, bool) and abs(found) < 10**MAX_KEY:
        found = str(found)
    if not isinstance(found, str) or not found.strip():
        raise EventError(f'"{name}"{about} is missing or not a text; send it as a text in quotes')
    found = found.strip()
    if len(found) > MAX_KEY:
        raise EventError(f'"{name}"{about} is longer than {MAX_KEY} characters; shorten it')
    _pass(found, f'"{name}"{about}')
    return found


def _pass(value: object, what: str) -> None:
    try:
        gate.check(value, what)
    except gate.GateError as error:
        raise EventError(str(error)) from None


def _shown(value: object) -> str:
    return ascii(value)[:40] if isinstance(value, str | float | bool | None) else called(value)


def _data(value: Mapping[Any, Any]) -> dict[str, Any]:
    if "data_base64" in value:
        raise EventError('"data_base64" is not supported; send "data" as a JSON object')
    data = value.get("data")
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise EventError('"data" must be a JSON object')
    _pass(data, '"data"')
    try:
        text = json.dumps(data, default=str, allow_nan=False)
    except (TypeError, ValueError) as error:
        # Names that are no texts.
        raise EventError(f'"data" cannot be stored ({error}); send a JSON object with plain values') from None
    if len(text) > MAX_DATA_BYTES:
        raise EventError(f'"data" is larger than {MAX_DATA_BYTES} bytes; send less, such as a link to the rest')
    return dict(data)


def _time(value: Mapping[Any, Any], now: datetime) -> tuple[datetime, str | None]:
    """Return when it happened and, when that is bounded, the time that it claimed."""
    found = value.get("time")
    if found is None:
        return now, None
    try:
        said = datetime.fromisoformat(found)
    except (TypeError, ValueError):
        raise EventError(f'"time" must be an RFC 3339 time such as 2026-12-01T09:00:00Z, not {_shown(found)}') from None
    if said.tzinfo is None:
        raise EventError('"time" has no offset; write it like 2026-12-01T09:00:00Z')
    try:
        at = gate.happened_at(said, now)
    except gate.GateError as error:
        raise EventError(f'"time": {error}') from None
    return at, (None if at == said else str(found))


def claimed_by(data: Mapping[str, Any], at: datetime) -> str | None:
    """Return the time that an event of an instant claimed, if that lay in the future, so that another counts."""
    said = data.get(CLAIMED)
    try:
        return said[:MAX_TIME] if isinstance(said, str) and datetime.fromisoformat(said) > at else None
    except (ValueError, TypeError, OverflowError):
        # Somebody else's word of that name.
        return None


def remembered(fact: Fact) -> dict[str, Any]:
    """Return what an outcome keeps of the fact that it follows from."""
    claimed = claimed_by(fact.data, fact.at)
    more = {} if claimed is None else {CLAIMED: claimed}
    return {"event": fact.type, "at": fact.at.isoformat(), **more}


def claim_of(detail: Mapping[str, Any]) -> str | None:
    """Return the time in the future that the fact of an outcome claimed, from what is kept of it."""
    claimed = detail.get(CLAIMED) if "event" in detail else None
    return claimed if isinstance(claimed, str) else None


def _check_merge(data: Mapping[str, Any], contact: str) -> None:
    gone = data["from"].strip()
    if gone == contact:
        raise EventError(f'{contact!r} cannot be merged into itself; name another contact in "from"')


def _checked_change(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the email and the timezone of a change, if it names them, as they are kept."""
    for name in data:
        if name not in CHANGES:
            known = ", ".join(CHANGES)
            raise EventError(
                f'contact.changed has no attribute "{name[:80]}"; it accepts {known}, and custom fields in "fields"'
            )
    fields = data.get("fields", {})
    if not isinstance(fields, Mapping):
        raise EventError('"fields" of contact.changed must be an object of names and values')
    for name in fields:
        if name in ATTRIBUTES:
            beside = f', put it beside "fields": {{"{name}": …}}' if name in CHANGES else ""
            raise EventError(f'"fields" of contact.changed cannot contain the built-in attribute {name!r}{beside}')
    phone = fields.get("phone")
    if isinstance(phone, str | int) and len(str(phone)) > MAX_PHONE:
        raise EventError(f'"phone" of contact.changed is longer than {MAX_PHONE} characters; send one number')
    for name in ("email", "timezone", "owner", "stage", "company"):
        if not isinstance(data.get(name), str | None):
            raise EventError(f'"{name}" of contact.changed must be a text or null')
        if len(data.get(name) or "") > MAX_KEY:
            raise EventError(f'"{name}" of contact.changed is longer than {MAX_KEY} characters; shorten it')
    channels = data.get("channels")
    if not isinstance(channels, Mapping | None):
        raise EventError('"channels" of contact.changed must be an object of channels and their rules')
    for channel, rule in (channels or {}).items():
        if not isinstance(channel, str) or not channel.strip() or len(channel) > MAX_KEY:
            raise EventError(f"a channel of contact.changed must be a text of 1 to {MAX_KEY} characters")
        try:
            if rule is not None:
                parse_rule(rule)
        except ValueError as error:
            raise EventError(f'"channels" of contact.changed, {channel[:40]!r}: {str(error)[:300]}') from None
    tags = data.get("tags", [])
    lists: list[Any] | None = None
    if isinstance(tags, list):
        lists = [tags]
    elif _is_tags(tags):
        lists = [tags.get("add", []), tags.get("remove", [])]
    if lists is None or not all(isinstance(each, list) and all(isinstance(tag, str) for tag in each) for each in lists):
        raise EventError('"tags" of contact.changed must be a list of names, or {"add": [...], "remove": [...]}')
    # What is longer would not fit into an index.
    if any(len(tag) > MAX_KEY for each in lists for tag in each):
        raise EventError(f"a tag of contact.changed is longer than {MAX_KEY} characters; shorten it")
    # Those that are taken away may be from before this was a rule.
    if why := next((why for tag in lists[0] if (why := why_not_one(tag))), None):
        raise EventError(f'"tags" of contact.changed: {why}')
    return _identity(data)


def _identity(data: Mapping[str, Any]) -> dict[str, Any]:
    readers = {"email": identity.address, "timezone": identity.timezone}
    said: dict[str, Any] = {}
    for name, read in readers.items():
        if name in data:
            text = (data[name] or "").strip()
            try:
                # An empty text says what null says.
                said[name] = read(text) if text else None
            except identity.IdentityError as error:
                raise EventError(f'"{name}" of contact.changed: {error}') from None
    return said


def is_channel(value: object) -> bool:
    """Return whether a value can be the name of a channel."""
    return isinstance(value, str) and bool(value.strip()) and len(value) <= MAX_CHANNEL and value.isprintable()


def channel_of(data: Mapping[str, Any]) -> str:
    """Return the channel that an unsubscription, or its opposite, is about, as refusals name it."""
    return str(data.get("channel") or "email").strip().lower()


def _is_tags(tags: object) -> bool:
    return isinstance(tags, Mapping) and set(tags) <= {"add", "remove"}
