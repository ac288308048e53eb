"""A contact's attributes as upstream systems say them: for each, the newest word counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from parcours.domain.messages.policy import Rule, parse_rule

ATTRIBUTES = ("email", "timezone", "owner", "stage")


class Change(NamedTuple):
    """Attributes with new values, all custom fields, tags given and taken, and when each was last said.

    `rules` has the channels of which something new was said; None: nothing particular any more. Times are
    ISO 8601, in UTC.
    """

    attributes: dict[str, str | None]
    fields: dict[str, Any]
    tags: dict[str, bool]
    said_at: dict[str, str]
    rules: dict[str, Rule | None]
    # The key of the primary company, or None for none any more, if anything new was said of it.
    company: tuple[str | None, ...] = ()


def change(fields: Mapping[str, Any], said_at: Mapping[str, str], data: Mapping[str, Any], at: datetime) -> Change:
    """Return what a `contact.changed` of an instant makes of a contact.

    What the event does not name stays; null erases. A channel's rule is one word, said as a whole. An
    attribute of which something newer was said stays too, so that the order in which events arrive does
    not matter.
    """
    word = at.isoformat()
    done = Change({}, dict(fields), {}, dict(said_at), {})
    for name in ATTRIBUTES:
        if name in data and _is_news(said_at, name, word):
            done.attributes[name] = _blank_is_none(data[name]) if name == "email" else data[name]
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
    for tag, given in _tags(data):
        if _is_news(said_at, f"tags.{tag}", word):
            done.tags[tag] = given
            done.said_at[f"tags.{tag}"] = word
    for name, value in (data.get("channels") or {}).items():
        channel = name.strip().lower()
        if _is_news(said_at, f"channels.{channel}", word):
            rule = None if value is None else parse_rule(value)
            done.rules[channel] = None if rule is None or rule.says_nothing else rule
            done.said_at[f"channels.{channel}"] = word
    if "company" in data and _is_news(said_at, "company", word):
        done.said_at["company"] = word
        return done._replace(company=((data["company"] or "").strip() or None,))
    return done


def _blank_is_none(text: str | None) -> str | None:
    return (text or "").strip() or None


def _tags(data: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield tags and whether they are given, those taken last: what is in both lists is taken."""
    tags = data.get("tags") or []
    given, taken = (tags, []) if isinstance(tags, list) else (tags.get("add", []), tags.get("remove", []))
    yield from ((tag.strip(), True) for tag in given if tag.strip())
    yield from ((tag.strip(), False) for tag in taken if tag.strip())


def _is_news(said_at: Mapping[str, str], place: str, word: str) -> bool:
    return place not in said_at or datetime.fromisoformat(said_at[place]) <= datetime.fromisoformat(word)
