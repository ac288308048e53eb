"""From a claimed message to what a provider is handed."""

from __future__ import annotations

from typing import Any

from parcours.db.tables.outbox import Recipient
from parcours.domain.contacts.identity import is_address
from parcours.domain.messages.results import Cancelled, Claimed, GaveUp, Result
from parcours.domain.messages.templates import one_line, render, render_all
from parcours.workers.delivery import render as rendering
from parcours.workers.delivery.channels import Delivery, Ready
from parcours.workers.delivery.claim import ClaimedBatch
from parcours.workers.delivery.payloads import CALL_SECONDS, Call, Note


def ready(batch: ClaimedBatch, message: Claimed, delivery: Delivery) -> Ready | Result:
    contact = batch.recipients.get(message.contact_id)
    if contact is None:
        return Cancelled("the contact was deleted")
    campaign = batch.campaigns[message.campaign_id]
    step = campaign.steps.get(message.step_id)
    values = rendering.values_of(
        contact,
        batch.steps.get(message.step_id),
        message.key,
        step_name=step.name if step is not None else None,
        entry=(message.payload.get("run") or {}).get("entry"),
    )
    if message.channel == "email":
        return _email(batch, message, contact, values, delivery)
    if message.channel == "webhook":
        call = _call(message, values)
        return Ready(message, f"webhook:{call.host}", call)
    return _note(batch, message, contact, values)


def _email(
    batch: ClaimedBatch, message: Claimed, contact: Recipient, values: dict[str, Any], delivery: Delivery
) -> Ready | Result:
    email = batch.emails.get(message.template or "")
    if email is None:
        return GaveUp(f"the email {message.template!r} does not exist")
    if not email.published:
        return Cancelled(f"the email {message.template!r} is not published")
    chosen = email.content_for(contact.id, rendering.language_of(contact), version=batch.settled_version(message))
    message = message._replace(variant=chosen.variant, locale=chosen.locale)
    if message.address is not None:
        mail = rendering.mail_to_contact(
            email,
            chosen,
            values,
            delivery.links,
            key=message.key,
            at=message.created_at,
            address=one_line(message.address),
            marketing=message.marketing,
        )
        return Ready(message, "email", mail)
    to, cc, bcc = (_addresses(message.payload.get(name), values) for name in ("to", "cc", "bcc"))
    if message.payload.get("to_owner") and contact.owner and is_address(contact.owner):
        to = tuple(dict.fromkeys((*to, contact.owner)))
    if not (to or cc or bcc):
        return GaveUp("it has no valid recipient address")
    mail = rendering.mail_to_users(email, chosen, values, key=message.key, at=message.created_at, to=to, cc=cc, bcc=bcc)
    return Ready(message, "email", mail)


def _addresses(given: Any, values: dict[str, Any]) -> tuple[str, ...]:
    """Return the valid ones of addresses, each of which may be Liquid and come to several with commas."""
    found = [part.strip() for each in given or () for part in one_line(render(each, values)).split(",")]
    return tuple(dict.fromkeys(each for each in found if is_address(each)))


def _note(batch: ClaimedBatch, message: Claimed, contact: Recipient, values: dict[str, Any]) -> Ready | Result:
    content = {name: message.payload[name] for name in ("title", "text", "url") if message.payload.get(name)}
    if message.template is not None:
        template = batch.templates.get(message.template)
        if template is None:
            return GaveUp(f"the {message.channel} template {message.template!r} does not exist")
        if not template.published:
            return Cancelled(f"the {message.channel} template {message.template!r} is not published")
        content = {**{name: value for name, value in template.content.items() if value}, **content}
    if message.channel == "sms" and not message.address:
        return GaveUp("the contact has no phone number")
    if not content:
        return GaveUp("the message is empty: it has no template and no text")
    said = {name: str(value) for name, value in render_all(content, values).items()}
    return Ready(message, message.channel, Note(message.key, message.created_at, contact.key, message.address, said))


def _call(message: Claimed, values: dict[str, Any]) -> Call:
    payload = message.payload
    return Call(
        message.key,
        str(payload.get("method") or "POST"),
        one_line(render(str(payload.get("url") or ""), values)),
        {name: str(value) for name, value in render_all(payload.get("headers") or {}, values).items()},
        render_all(payload.get("body"), values),
        as_json=bool(payload.get("json", True)),
        timeout=float(payload.get("timeout_seconds") or CALL_SECONDS),
    )
