"""A contact's attributes as upstream systems say them: for each, the newest word counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

ATTRIBUTES = ("email", "timezone", "owner", "stage")


class Change(NamedTuple):
    """Attributes with new values, all custom fields, and when each was last said (ISO 8601, in UTC)."""

    attributes: dict[str, str | None]
    fields: dict[str, Any]
    said_at: dict[str, str]


def change(fields: Mapping[str, Any], said_at: Mapping[str, str], data: Mapping[str, Any], at: datetime) -> Change:
    """Return what a `contact.changed` of an instant makes of a contact.

    What the event does not name stays; null erases. An attribute of which something newer was said
    stays too, so that the order in which events arrive does not matter.
    """
    word = at.isoformat()
    done = Change({}, dict(fields), dict(said_at))
    for name in ATTRIBUTES:
        if name in data and _is_news(said_at, name, word):
            done.attributes[name] = data[name]
            done.said_at[name] = word
    for name, value in (data.get("fields") or {}).items():
        place = f"fields.{name}"
        if not _is_news(said_at, place, word):
            continue
        done.said_at[place] = word
        if value is None:
            done.fields.pop(name, None)
        else:
            done.fields[name] = value
    return done


def _is_news(said_at: Mapping[str, str], place: str, word: str) -> bool:
    return place not in said_at or datetime.fromisoformat(said_at[place]) <= datetime.fromisoformat(word)
