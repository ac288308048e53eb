"""Messages as they leave: templates filled in for one contact, with links that tell who followed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from parcours.db.tables.emails import Email
from parcours.db.tables.outbox import Recipient, StepName
from parcours.domain.messages.content import LOCALE_FIELDS, Chosen
from parcours.domain.messages.templates import contact_values, one_line, render
from parcours.ops.tokens import Tokens
from parcours.workers.delivery import html

# What campaign, step and message are called in a preview.
PREVIEW = StepName(0, "preview", 0, "preview", "preview")


@dataclass(frozen=True, slots=True)
class Mail:
    """An email, ready to send. Its Message-ID is made from the key. `at` is the time at which it was created."""

    key: str
    at: datetime
    sender: str | None
    to: tuple[str, ...]
    subject: str
    html: str | None
    text: str | None
    cc: tuple[str, ...] = ()
    bcc: tuple[str, ...] = ()
    unsubscribe_url: str | None = None


class Links:
    """The addresses of ours that stand in messages."""

    def __init__(self, tokens: Tokens, public_url: str) -> None:
        self._tokens = tokens
        self.public_url = public_url.rstrip("/")
        # The name under which messages of this installation are known.
        self.host = urlsplit(self.public_url).hostname or "localhost"

    def opened(self, key: str) -> str:
        return f"{self.public_url}/t/o/{self._tokens.sign('open', key)}.gif"

    def clicked(self, key: str, url: str) -> str:
        return f"{self.public_url}/t/c/{self._tokens.sign('click', [key, url])}"

    def unsubscribe(self, key: str, channel: str) -> str:
        return f"{self.public_url}/unsubscribe/{self._tokens.sign('unsubscribe', [key, channel])}"

    def is_ours(self, url: str) -> bool:
        """Return whether an address is one of those above, so that it is not followed a second time."""
        return url.startswith((f"{self.public_url}/t/", f"{self.public_url}/unsubscribe/"))


def language_of(contact: Recipient) -> str | None:
    """Return the locale that a contact's custom fields name."""
    found = (contact.fields.get(name) for name in LOCALE_FIELDS)
    return next((value for value in found if isinstance(value, str) and value.strip()), None)


def values_of(
    contact: Recipient,
    step: StepName | None,
    key: str,
    *,
    step_name: str | None = None,
    entry: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what templates may say of a contact, of the step that writes to it, and of what began its run."""
    return {**_values(contact_values(contact, contact.company), step, key, step_name), "entry": entry or {}}


def preview_values(contact: Recipient | None, entry: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what templates may say in a preview, which no campaign sends; None: of nobody in particular."""
    if contact is None:
        return {**_values({}, PREVIEW, PREVIEW.key, None), "entry": {}}
    return values_of(contact, PREVIEW, PREVIEW.key, entry=entry)


def _values(contact: Mapping[str, Any], step: StepName | None, key: str, step_name: str | None) -> dict[str, Any]:
    return {
        "contact": contact,
        "campaign": {"key": step and step.campaign, "name": step and step.campaign_name},
        "step": {"key": step and step.key, "name": step_name or (step and step.key)},
        "message": {"key": key},
    }


def mail_to_contact(
    email: Email,
    chosen: Chosen,
    values: Mapping[str, Any],
    links: Links,
    *,
    key: str,
    at: datetime,
    address: str,
    marketing: bool,
) -> Mail:
    """Return an email filled in for a contact. Raises RenderError."""
    unsubscribe, opened = links.unsubscribe(key, "email"), links.opened(key)
    values = {**values, "unsubscribe_url": unsubscribe, "open_url": opened if email.tracking else ""}
    subject, body, text = _filled_in(chosen, values)
    # Made of the HTML as it was written, so that it names the addresses themselves.
    text = text if text is not None or body is None else html.text_of(body)
    if body is not None and email.tracking:
        seen = opened in body
        body = html.with_links(body, lambda url: links.clicked(key, url), leave=links.is_ours)
        body = body if seen else html.with_image(body, opened)
    return Mail(
        key, at, email.sender, (address,), subject, body, text, unsubscribe_url=unsubscribe if marketing else None
    )


def mail_to_users(
    email: Email,
    chosen: Chosen,
    values: Mapping[str, Any],
    *,
    key: str,
    at: datetime,
    to: tuple[str, ...],
    cc: tuple[str, ...],
    bcc: tuple[str, ...],
) -> Mail:
    """Return an email about a contact, for somebody else: nothing in it tells who read it. Raises RenderError."""
    subject, body, text = _filled_in(chosen, {**values, "unsubscribe_url": "", "open_url": ""})
    text = text if text is not None or body is None else html.text_of(body)
    return Mail(key, at, email.sender, to, subject, body, text, cc, bcc)


def _filled_in(chosen: Chosen, values: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    content = chosen.content
    subject = one_line(render(content.subject or "", values))
    body = None if content.html is None else render(content.html, values, html=True)
    text = None if content.text is None else render(content.text, values)
    return subject, body, text
