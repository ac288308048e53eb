"""Sending on other channels than email: text messages, push messages, webhooks, and whichever a contact prefers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, field_validator, model_validator

from parcours.domain.contacts.contact import Contact
from parcours.domain.messages import templates
from parcours.domain.messages.policy import NO_RULE, Hold, Limits, Rule
from parcours.domain.messages.templates import Liquid
from parcours.domain.retries import MESSAGE_ATTEMPTS
from parcours.domain.steps import email, sending
from parcours.domain.steps.batch import Batch, TemplateFacts
from parcours.domain.steps.properties import Attempts, Json, Name, WholeNumber
from parcours.domain.steps.registry import action
from parcours.domain.steps.types import Done, Need, Outbound, Properties, RefersTo, Result, Skipped
from parcours.domain.steps.words import excerpt

# Where the number of a contact is looked for when a step does not say.
NUMBER_FIELDS = ("phone", "mobile")
# What a marketing message may be, in the order in which it is tried where the contact has no word.
CHANNELS = ("email", "sms", "push")

Transactional = Annotated[
    bool,
    Field(
        description="Transactional messages ignore do-not-contact entries and policies, and are sent before marketing "
        "messages."
    ),
]


class SendSms(Properties):
    sms: Name | None = Field(default=None, description="Key of the template. Alternatively, give `text`.")
    text: Liquid | None = Field(default=None, min_length=1, description="Message text; can contain Liquid.")
    number_field: Name | None = Field(
        default=None, description="Custom field that contains the number. Default: phone, else mobile."
    )
    transactional: Transactional = False
    attempts: Attempts = MESSAGE_ATTEMPTS

    @model_validator(mode="after")
    def _says_one_thing(self) -> SendSms:
        if (self.sms is None) == (self.text is None):
            raise ValueError("give either 'sms', the key of a template, or 'text'")
        return self


@action(
    "sms.send",
    properties=SendSms,
    needs=[Need.TEMPLATES, Need.FIELDS, Need.DO_NOT_CONTACT, Need.POLICIES],
    refers_to={"sms": RefersTo.SMS},
    sends=["sms"],
    reference="sms.send_text_sms",
    summary=lambda asked: f"send the text message “{excerpt(asked.sms or asked.text)}”",
)
def send_sms(batch: Batch[SendSms]) -> list[Result]:
    """Sends the contact a text message.

    Skipped when the template does not exist or is not published, when the contact has no number, and, unless it is
    transactional, when the contact is marked as do not contact for sms. Policies and the contact's preferences can
    delay it, as for emails. The following steps do not wait for the provider's response. Temporary errors are retried.
    """
    properties = batch.properties
    fields = (properties.number_field,) if properties.number_field else NUMBER_FIELDS
    payload: dict[str, Any] = {"attempts": properties.attempts, "number_fields": list(fields)}
    if properties.text is not None:
        payload["text"] = properties.text

    def outbound(contact: Contact) -> Outbound | str:
        number = number_of(contact.fields, fields)
        return _no_number(fields) if number is None else Outbound("sms", properties.sms, number, payload)

    return _send(batch, "sms", properties.sms, outbound, transactional=properties.transactional)


class SendPush(Properties):
    push: Name | None = Field(default=None, description="Key of the template. Alternatively, give `title` and `text`.")
    title: Liquid | None = Field(default=None, min_length=1, description="Title; can contain Liquid.")
    text: Liquid | None = Field(default=None, min_length=1, description="Message text; can contain Liquid.")
    url: Liquid | None = Field(default=None, min_length=1, description="URL that a click opens; can contain Liquid.")
    token_field: Name | None = Field(
        default=None,
        description="Custom field that contains the token of the contact's device. Default: the provider receives "
        "the contact's key.",
    )
    transactional: Transactional = False
    attempts: Attempts = MESSAGE_ATTEMPTS

    @model_validator(mode="after")
    def _says_one_thing(self) -> SendPush:
        own = [name for name in ("title", "text", "url") if getattr(self, name) is not None]
        if self.push is not None and own:
            raise ValueError(f"give 'push' or {own[0]!r}, not both")
        if self.push is None and (self.title is None or self.text is None):
            raise ValueError("give 'push', the key of a template, or both 'title' and 'text'")
        return self


@action(
    "push.send",
    properties=SendPush,
    needs=[Need.TEMPLATES, Need.FIELDS, Need.DO_NOT_CONTACT, Need.POLICIES],
    refers_to={"push": RefersTo.PUSH},
    sends=["push"],
    reference="notification.send_notification",
    summary=lambda asked: f"send the notification “{excerpt(asked.push or asked.title or asked.text)}”",
)
def send_push(batch: Batch[SendPush]) -> list[Result]:
    """Sends the contact a push message.

    Skipped when the template does not exist or is not published, when `token_field` is set and the contact has no
    token, and, unless it is transactional, when the contact is marked as do not contact for push. Policies and the
    contact's preferences can delay it, as for emails.
    """
    properties = batch.properties
    said = {name: getattr(properties, name) for name in ("title", "text", "url")}
    payload: dict[str, Any] = {"attempts": properties.attempts}
    payload |= {name: text for name, text in said.items() if text is not None}
    field = properties.token_field
    if field is not None:
        payload["token_field"] = field

    def outbound(contact: Contact) -> Outbound | str:
        token = None if field is None else _text(contact.fields.get(field))
        if field is not None and token is None:
            return f"the contact has no push token in the field {field!r}"
        return Outbound("push", properties.push, token, payload)

    return _send(batch, "push", properties.push, outbound, transactional=properties.transactional)


def _send(
    batch: Batch[Any],
    channel: str,
    template: str | None,
    make: Callable[[Contact], Outbound | str],
    *,
    transactional: bool,
) -> list[Result]:
    """Return the results of sending on a channel; `make` gives the message to a contact, or why there is none."""
    if template is not None:
        missing = sending.not_sendable(channel, template, batch.world.templates.get((channel, template)))
        if missing is not None:
            return [Skipped(missing)] * len(batch.contacts)
    rank = sending.rank(batch)
    results: list[Result] = []
    for contact in batch.contacts:
        made = (None if transactional else sending.refusal(contact, channel)) or make(contact)
        if isinstance(made, str):
            results.append(Skipped(made))
            continue
        outbound = replace(made, marketing=not transactional, priority=rank)
        results.append(sending.send(batch, contact, outbound))
    return results


def number_of(fields: Mapping[str, Any], names: Sequence[str] = NUMBER_FIELDS) -> str | None:
    """Return the first number in some of a contact's custom fields, or None. A number has a digit."""
    numbers = (_text(fields.get(name)) for name in names)
    return next((number for number in numbers if number and any(map(str.isdigit, number))), None)


def present_address(
    channel: str, payload: Mapping[str, Any], written: str | None, *, email: str | None, fields: Mapping[str, Any]
) -> str | None:
    """Return where a contact is reached when its message goes, which may not be where it was when it was `written`.

    The payload says which fields the step reads; one that does not keeps what was written.
    """
    if channel == "email":
        return (email or "").strip() or None
    if channel == "sms" and "number_fields" in payload:
        return number_of(fields, payload["number_fields"])
    if channel == "push" and "token_field" in payload:
        return _text(fields.get(payload["token_field"]))
    return written


def _no_number(fields: tuple[str, ...]) -> str:
    return f"the contact has no phone number in {' or '.join(fields)}"


def _text(value: object) -> str | None:
    """Return a field's value as text, if it is one or a number that stands for one."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


class SendWebhook(Properties):
    url: Liquid = Field(min_length=1, description="URL, http or https; can contain Liquid.")
    method: Annotated[
        Literal["get", "post", "put", "patch", "delete"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    ] = Field(default="post", description="HTTP method.")
    headers: dict[Name, Liquid] = Field(default={}, description="Headers by name; values can contain Liquid.")
    body: Json = Field(
        default=None,
        description="Mapping, list or text; texts can contain Liquid. With get, a mapping that becomes the query "
        "string.",
    )
    # `json` is a method of every model.
    as_json: bool | None = Field(
        default=None,
        alias="json",
        description="Whether to send the body as JSON instead of form data. Default: true, unless the body is a text.",
    )
    timeout: Annotated[WholeNumber, Field(ge=1, le=60)] = Field(
        default=10, description="Seconds to wait for a response, 1 to 60."
    )
    attempts: Attempts = MESSAGE_ATTEMPTS

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if templates.is_fixed(url[:8]) and not url.lower().startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is not a URL; start it with https:// or http://")
        return url

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            if not name.isascii() or any(letter in name for letter in " :\t\r\n"):
                raise ValueError(f"{name!r} is not a valid header name")
            if "\n" in value or "\r" in value:
                raise ValueError(f"the header {name!r} must be on one line")
        return headers

    @model_validator(mode="after")
    def _can_carry_its_body(self) -> SendWebhook:
        body = self.body
        if body is not None and not isinstance(body, Mapping | list | str):
            raise ValueError("'body' must be a mapping, a list or a text")
        if self.method == "delete" and body is not None:
            raise ValueError("a delete request has no body; remove 'body'")
        if self.method == "get" and body is not None:
            if not isinstance(body, Mapping) or any(isinstance(value, dict | list) for value in body.values()):
                raise ValueError(
                    "with get, 'body' becomes the query string; write a mapping of names to texts or numbers"
                )
            if self.as_json:
                raise ValueError("with get, 'body' becomes the query string; remove 'json'")
        if self.as_json is False and isinstance(body, list):
            raise ValueError("a list can only be sent as JSON; remove 'json'")
        for place, text in _texts(body, "body"):
            try:
                templates.checked(text)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None
        return self


def _texts(value: object, place: str) -> Iterator[tuple[str, str]]:
    """Yield the texts in a body, with their place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, f"{place}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{place}[{index}]")


@action(
    "webhook.send",
    properties=SendWebhook,
    reference="campaign.sendwebhook",
    summary=lambda asked: f"call {excerpt(asked.url)}",
)
def send_webhook(batch: Batch[SendWebhook]) -> list[Result]:
    """Sends an HTTP request to another system, with data of the contact.

    Never skipped, and not subject to policies. A 2xx response is a success. Network errors, 5xx responses and requests
    to slow down are retried up to `attempts` times; other responses are not. The following steps do not wait for the
    response.
    """
    properties = batch.properties
    as_json = properties.as_json
    if as_json is None:
        as_json = isinstance(properties.body, Mapping | list) and properties.method != "get"
    payload = {
        "url": properties.url,
        "method": properties.method,
        "headers": dict(properties.headers),
        "body": properties.body,
        "json": as_json,
        "timeout_seconds": properties.timeout,
        "attempts": properties.attempts,
    }
    outbound = Outbound("webhook", payload=payload, marketing=False, priority=sending.rank(batch))
    return [Done(effects=(outbound,))] * len(batch.contacts)


class SendMessage(Properties):
    message: Name = Field(description="Key of the marketing message, which has one template per channel.")
    attempts: Attempts = MESSAGE_ATTEMPTS


class _Way(NamedTuple):
    """A channel on which a contact can be reached, what binds it there, and what holds it back now."""

    outbound: Outbound
    bound: Limits | None
    held: Hold | None


@action(
    "message.send",
    properties=SendMessage,
    needs=[
        Need.EMAILS,
        Need.TEMPLATES,
        Need.FIELDS,
        Need.DO_NOT_CONTACT,
        Need.RECEIVED,
        Need.POLICIES,
    ],
    refers_to={"message": RefersTo.MESSAGE},
    sends=["email", "sms", "push"],
    reference="message.send",
    summary=lambda asked: f"send the message “{asked.message}” by the preferred channel",
)
def send_message(batch: Batch[SendMessage]) -> list[Result]:
    """Sends the contact a message on its preferred channel, with the other channels as a fallback.

    The preferred channel comes first, then the channels with the highest limit set by the contact, then the rest;
    paused channels come last. A channel is excluded if the contact is marked as do not contact, has no address or
    already received the email, or if the template is missing or not published. The outcome lists excluded channels
    with reasons. The first channel that no policy holds back is used. If all are held back, the channel that is
    available first is used. Skipped if the contact cannot be reached on any channel.
    """
    key = batch.properties.message
    facts = batch.world.templates.get(("message", key))
    missing = sending.not_sendable("message", key, facts)
    if missing is not None:
        return [Skipped(missing)] * len(batch.contacts)
    assert facts is not None
    return [_reach(batch, contact, facts) for contact in batch.contacts]


def _reach(batch: Batch[SendMessage], contact: Contact, message: TemplateFacts) -> Result:
    dropped: dict[str, str] = {}
    ways: list[_Way] = []
    for channel in in_order(message.channels, contact.rules, batch):
        found = _way(batch, contact, channel, message.channels[channel])
        if isinstance(found, str):
            dropped[channel] = found
        else:
            bound = sending.limits(batch, contact, channel)
            ways.append(_Way(found, bound, sending.hold(batch, contact, bound)))
    detail: dict[str, Any] = {"dropped": dropped} if dropped else {}
    if not ways:
        reasons = "; ".join(f"{channel}: {reason}" for channel, reason in dropped.items())
        return Skipped(f"the contact cannot be reached: {reasons}", detail)
    free = [way for way in ways if way.held is None]
    if not free:
        return _wait_for_one(batch, contact, ways, detail)
    first, *others = (way.outbound for way in free)
    if others:
        fallback = [
            {"channel": other.channel, "template": other.template, "address": other.address} for other in others
        ]
        first = replace(first, payload={**first.payload, "fallback": fallback})
    return _sent(contact, first, sending.send(batch, contact, first, {**detail, "channel": first.channel}))


def _wait_for_one(batch: Batch[SendMessage], contact: Contact, ways: list[_Way], detail: dict[str, Any]) -> Result:
    """Return what becomes of a message that is held back on every channel: the first free one decides."""
    waiting = [
        (way.held.until, place)
        for place, way in enumerate(ways)
        if way.held is not None
        and way.held.until is not None
        and way.bound is not None
        and way.bound.policy.over != "skip"
    ]
    if not waiting:
        held = {way.outbound.channel: sending.sentence(way.outbound.channel, way.held.rule) for way in ways if way.held}
        reasons = "; ".join(f"{channel}: {reason}" for channel, reason in held.items())
        return Skipped(
            f"the contact cannot be reached now: {reasons}", {"dropped": {**detail.get("dropped", {}), **held}}
        )
    outbound, bound, held_by = ways[min(waiting)[1]]
    assert bound is not None
    assert held_by is not None
    detail = {**detail, "channel": outbound.channel}
    return _sent(contact, outbound, sending.held_back(batch, contact, outbound, held_by, bound.policy, detail))


def _sent(contact: Contact, outbound: Outbound, result: Result) -> Result:
    if isinstance(result, Done) and outbound.channel == "email" and outbound.template is not None:
        contact.received = contact.received | {outbound.template}
    return result


def _way(batch: Batch[SendMessage], contact: Contact, channel: str, template: str) -> Outbound | str:
    """Return the message to a contact on a channel, or why it cannot be reached there."""
    world = batch.world
    if channel == "email":
        facts = world.emails.get(template)
        reason = sending.not_sendable("email", template, facts) or email.unreachable(contact, template, facts)
        address = contact.email
    else:
        reason = sending.not_sendable(channel, template, world.templates.get((channel, template)))
        reason = reason or sending.refusal(contact, channel)
        address = number_of(contact.fields) if channel == "sms" else None
        if channel == "sms" and address is None:
            reason = reason or _no_number(NUMBER_FIELDS)
    if reason is not None:
        return reason
    payload = {"attempts": batch.properties.attempts, "number_fields": list(NUMBER_FIELDS)}
    return Outbound(channel, template, address, payload, priority=sending.rank(batch))


def in_order(channels: Mapping[str, str], rules: Mapping[str, Rule], batch: Batch[Any]) -> list[str]:
    """Return the channels of a message, the one that a contact would have first.

    A rule of the contact for a channel that the message does not have means nothing here.
    """

    def place(channel: str) -> tuple[bool, bool, int]:
        rule = rules.get(channel, NO_RULE)
        # Nothing else holds back without a policy and with nothing sent.
        is_paused = Limits(rule=rule).hold(batch.now) is not None
        return is_paused, not rule.preferred, -_a_month(rule)

    return sorted((channel for channel in CHANNELS if channel in channels), key=place)


def _a_month(rule: Rule) -> int:
    """Return how many messages a contact's own rule allows in a month of four weeks or thirty days."""
    if rule.cap is None:
        return 0
    return rule.cap.number * {"day": 30, "week": 4, "month": 1}[rule.cap.period]
