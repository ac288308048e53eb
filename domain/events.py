"""Contact events: what upstream systems say that a contact did, as CloudEvents 1.0."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from domain.errors import CampaignError

MAX_KEY = 255
MAX_DATA_BYTES = 262_144

# What the data of our own types must name. Any other type is a custom event, for `event.happened`.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "segment.contact_added": ("segment",),
    "segment.contact_removed": ("segment",),
    "form.submitted": ("form",),
    "email.clicked": (),
    "page.hit": ("url",),
}

# Types that change a contact or its segments rather than say what the contact did.
ABOUT_THE_CONTACT = frozenset(
    {"contact.changed", "contact.deleted", "segment.contact_added", "segment.contact_removed", "email.bounced"}
)


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
        raise EventError("an event is a JSON object")
    version = value.get("specversion")
    if version != "1.0":
        raise EventError(f'"specversion" must be "1.0", not {json.dumps(version, default=str)[:40]}')
    source, id_, type_ = (_text(value, name) for name in ("source", "id", "type"))
    contact = _text(value, "subject", hint="the key of the contact")
    data = _data(value)
    for name in _REQUIRED.get(type_, ()):
        if not isinstance(data.get(name), str) or not data[name].strip():
            raise EventError(f'an event of type {type_!r} needs "{name}", a text, in its data')
    if type_ == "contact.changed":
        _check_change(data)
    if type_ == "form.submitted" and not isinstance(data.get("fields", {}), Mapping):
        raise EventError('"fields" of a form submission must be an object')
    return ContactEvent(source, id_, type_, contact, _time(value, now), data)


def _text(value: Mapping[Any, Any], name: str, hint: str = "") -> str:
    found = value.get(name)
    about = f" ({hint})" if hint else ""
    if isinstance(found, int) and not isinstance(found, bool) and name == "subject":
        found = str(found)
    if not isinstance(found, str) or not found.strip():
        raise EventError(f'"{name}"{about} is missing or not a text')
    found = found.strip()
    if len(found) > MAX_KEY:
        raise EventError(f'"{name}"{about} is longer than {MAX_KEY} characters')
    if "\0" in found:
        raise EventError(f'"{name}"{about} holds a NUL character')
    return found


def _data(value: Mapping[Any, Any]) -> dict[str, Any]:
    if "data_base64" in value:
        raise EventError('"data_base64" is not understood; send "data" as a JSON object')
    data = value.get("data")
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise EventError('"data" must be a JSON object')
    text = json.dumps(data, default=str)
    if len(text) > MAX_DATA_BYTES:
        raise EventError(f'"data" is larger than {MAX_DATA_BYTES} bytes')
    if "\\u0000" in text:
        raise EventError('"data" holds a NUL character')
    return dict(data)


def _time(value: Mapping[Any, Any], now: datetime) -> datetime:
    found = value.get("time")
    if found is None:
        return now
    try:
        at = datetime.fromisoformat(found)
    except (TypeError, ValueError):
        raise EventError(f'"time" {str(found)[:40]!r} is not an RFC 3339 time such as 2026-12-01T09:00:00Z') from None
    if at.tzinfo is None:
        raise EventError('"time" has no offset; write it like 2026-12-01T09:00:00Z')
    return at.astimezone(UTC)


def _check_change(data: Mapping[str, Any]) -> None:
    if not isinstance(data.get("fields", {}), Mapping):
        raise EventError('"fields" of contact.changed must be an object of names and values')
    for name in ("email", "timezone", "owner", "stage"):
        if not isinstance(data.get(name), str | None):
            raise EventError(f'"{name}" of contact.changed must be a text or null')
    tags = data.get("tags", [])
    lists = (
        [tags] if isinstance(tags, list) else [tags.get("add", []), tags.get("remove", [])] if _is_tags(tags) else None
    )
    if lists is None or not all(isinstance(each, list) and all(isinstance(tag, str) for tag in each) for each in lists):
        raise EventError('"tags" of contact.changed must be a list of names, or {"add": [...], "remove": [...]}')


def _is_tags(tags: object) -> bool:
    return isinstance(tags, Mapping) and set(tags) <= {"add", "remove"}
