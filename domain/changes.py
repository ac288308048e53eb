"""A contact's attributes as upstream systems say them: for each, the newest word counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar

ATTRIBUTES = ("email", "timezone", "owner", "stage")


class Said(Protocol):
    """Attributes, custom fields, and when each of them was last said (ISO 8601, in UTC)."""

    @property
    def fields(self) -> dict[str, Any]: ...

    @property
    def said_at(self) -> dict[str, str]: ...

    def _replace(self: S, **changes: Any) -> S: ...


S = TypeVar("S", bound=Said)


def apply_change(contact: S, data: Mapping[str, Any], at: datetime) -> S:
    """Return a contact after a `contact.changed` of an instant.

    What the event does not name stays; null erases. An attribute of which something newer was said
    stays too, so that the order in which events arrive does not matter.
    """
    said_at = dict(contact.said_at)
    word = at.isoformat()
    changes: dict[str, Any] = {}
    for name in ATTRIBUTES:
        if name in data and _is_news(said_at, name, word):
            changes[name] = data[name]
            said_at[name] = word
    fields = dict(contact.fields)
    for name, value in (data.get("fields") or {}).items():
        place = f"fields.{name}"
        if not _is_news(said_at, place, word):
            continue
        said_at[place] = word
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value
    return contact._replace(**changes, fields=fields, said_at=said_at)


def _is_news(said_at: Mapping[str, str], place: str, word: str) -> bool:
    return place not in said_at or datetime.fromisoformat(said_at[place]) <= datetime.fromisoformat(word)
