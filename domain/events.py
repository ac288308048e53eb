"""Contact events: what upstream systems say that a contact did, as CloudEvents 1.0."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from domain.errors import CampaignError
from domain.identity import IdentityError, address
from domain.policy import parse_rule
from domain.steps.properties import MAX_KEY
from domain.steps.registry import Fact
from domain.visitors import is_automatic

MAX_CHANNEL = 40
MAX_DATA_BYTES = 262_144

# What the data of our own types must name. Any other type is a custom event, for `event.happened`.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "contact.merged": ("from",),
    "segment.contact_added": ("segment",),
    "segment.contact_removed": ("segment",),
    "form.submitted": ("form",),
    "email.clicked": (),
    "page.hit": ("url",),
}

# Types that change a contact or its segments rather than say what the contact did.
ABOUT_THE_CONTACT = frozenset(
    {
        "contact.changed",
        "contact.deleted",
        "contact.merged",
        "segment.contact_added",
        "segment.contact_removed",
        "email.bounced",
    }
)


_SURROGATE = re.compile("[\ud800-\udfff]")


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
        raise EventError(f'"specversion" must be "1.0", not {_shown(version)}')
    source, id_, type_ = (_text(value, name) for name in ("source", "id", "type"))
    contact = _text(value, "subject", hint="the key of the contact")
    data = _data(value)
    for name in _REQUIRED.get(type_, ()):
        if not isinstance(data.get(name), str) or not data[name].strip():
            raise EventError(f'an event of type {type_!r} needs "{name}", a text, in its data')
    if type_ == "contact.changed":
        _check_change(data)
    if type_ == "contact.merged":
        _check_merge(data, contact)
    if type_ in ("email.unsubscribed", "email.resubscribed") and not is_channel(data.get("channel", "email")):
        raise EventError(f'"channel" of {type_} must be a text such as email or sms')
    if type_ == "form.submitted" and not isinstance(data.get("fields", {}), Mapping):
        raise EventError('"fields" of a form submission must be an object')
    return ContactEvent(source, id_, type_, contact, _time(value, now), data)


def _text(value: Mapping[Any, Any], name: str, hint: str = "") -> str:
    found = value.get(name)
    about = f" ({hint})" if hint else ""
    if name == "subject" and isinstance(found, int) and not isinstance(found, bool) and abs(found) < 10**MAX_KEY:
        found = str(found)
    if not isinstance(found, str) or not found.strip():
        raise EventError(f'"{name}"{about} is missing or not a text')
    found = found.strip()
    if len(found) > MAX_KEY:
        raise EventError(f'"{name}"{about} is longer than {MAX_KEY} characters')
    _check_characters(found, f'"{name}"{about}')
    return found


def _check_characters(text: str, what: str) -> None:
    if "\0" in text:
        raise EventError(f"{what} holds a NUL character")
    if not text.isascii() and _SURROGATE.search(text):
        raise EventError(f"{what} holds half of a character (a lone surrogate)")


def _shown(value: object) -> str:
    return ascii(value)[:40] if isinstance(value, str | float | bool | None) else f"a {type(value).__name__}"


def _data(value: Mapping[Any, Any]) -> dict[str, Any]:
    if "data_base64" in value:
        raise EventError('"data_base64" is not understood; send "data" as a JSON object')
    data = value.get("data")
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise EventError('"data" must be a JSON object')
    try:
        text = json.dumps(data, default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        # NaN and the infinities, which JSON does not have, numbers with thousands of digits, nesting
        # without end: none of it could be stored.
        raise EventError(f'"data" is no JSON that can be stored: {error}') from None
    if len(text) > MAX_DATA_BYTES:
        raise EventError(f'"data" is larger than {MAX_DATA_BYTES} bytes')
    if "\\u" in text:
        # Unescaped, so that neither a pair of surrogates nor the written text "\\u0000" is taken for one.
        for plain in _texts(data):
            _check_characters(plain, '"data"')
    return dict(data)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)
    elif not isinstance(value, int | float | None):
        # As it will be written.
        yield str(value)


def _time(value: Mapping[Any, Any], now: datetime) -> datetime:
    found = value.get("time")
    if found is None:
        return now
    try:
        at = datetime.fromisoformat(found)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise EventError(f'"time" {_shown(found)} is not an RFC 3339 time such as 2026-12-01T09:00:00Z') from None
    raise EventError('"time" has no offset; write it like 2026-12-01T09:00:00Z')


def _check_merge(data: Mapping[str, Any], contact: str) -> None:
    gone = data["from"].strip()
    if gone == contact:
        raise EventError(f"{contact!r} cannot be merged into itself")
    if len(gone) > MAX_KEY:
        raise EventError(f'"from" of contact.merged is longer than {MAX_KEY} characters')


def _check_change(data: Mapping[str, Any]) -> None:
    if not isinstance(data.get("fields", {}), Mapping):
        raise EventError('"fields" of contact.changed must be an object of names and values')
    if isinstance(data.get("email"), str) and data["email"].strip():
        try:
            address(data["email"])
        except IdentityError as error:
            raise EventError(f'"email" of contact.changed: {error}') from None
    for name in ("email", "timezone", "owner", "stage", "company"):
        if not isinstance(data.get(name), str | None):
            raise EventError(f'"{name}" of contact.changed must be a text or null')
        if len(data.get(name) or "") > MAX_KEY:
            raise EventError(f'"{name}" of contact.changed is longer than {MAX_KEY} characters')
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
        raise EventError(f"a tag of contact.changed is longer than {MAX_KEY} characters")


def is_channel(value: object) -> bool:
    """Return whether a value can be the name of a channel."""
    return isinstance(value, str) and bool(value.strip()) and len(value) <= MAX_CHANNEL and value.isprintable()


def channel_of(data: Mapping[str, Any]) -> str:
    """Return the channel that an unsubscription, or its opposite, is about, as refusals name it."""
    return str(data.get("channel") or "email").strip().lower()


def _is_tags(tags: object) -> bool:
    return isinstance(tags, Mapping) and set(tags) <= {"add", "remove"}


def as_facts(
    type_: str,
    data: dict[str, Any],
    at: datetime,
    templates: Mapping[str, str],
    texted: Mapping[int, datetime] | None = None,
) -> list[Fact]:
    """Return what an event is to decisions: nothing, one fact, or, for a click, an opening as well.

    An event that is marked as a machine's is nothing. `templates` holds the email templates of our own
    messages, by message id. `texted` says which campaigns, by id, sent the contact a text message, and
    when first: a text that comes back says in `answers` which of them it may answer.
    """
    if type_ in ABOUT_THE_CONTACT or is_automatic(type_, data):
        return []
    if type_ == "sms.replied":
        answers = [campaign for campaign, first_at in (texted or {}).items() if first_at <= at]
        return [Fact(type_, {**data, "answers": answers}, at)]
    template = templates.get(str(data.get("message")))
    if template is not None and "email" not in data:
        data = {**data, "email": template}
    facts = [Fact(type_, data, at)]
    if type_ == "email.clicked":
        facts.append(Fact("email.opened", data, at))
    return facts
