"""What providers receive besides emails: text messages, notifications and webhook requests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

CALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Note:
    """A text message or notification, ready to send. `to` is a phone number, a token, or None."""

    key: str
    at: datetime
    contact: str
    to: str | None
    content: dict[str, str]

    def data(self) -> dict[str, Any]:
        """Return key, recipient, contact and content as one dictionary, for a JSON body."""
        return {"key": self.key, "to": self.to, "contact": self.contact, **self.content}


@dataclass(frozen=True, slots=True)
class Call:
    """A webhook request, ready to send. `as_json`: the body is sent as JSON, otherwise as a form."""

    key: str
    method: str
    url: str
    headers: dict[str, str]
    body: Any
    as_json: bool
    timeout: float = CALL_SECONDS

    @property
    def host(self) -> str:
        """Whose failures count together: the host and port of the address."""
        try:
            return urlsplit(self.url).netloc.rpartition("@")[2].lower()
        except ValueError:
            return ""
