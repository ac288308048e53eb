"""Templates of other channels than email: text messages, push messages, and marketing messages of several channels."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, text

from parcours.db.stored import Stored

Kind = Literal["sms", "push", "message"]


@dataclass(frozen=True, slots=True)
class Template:
    """A template. `content` is Liquid by name (sms: text; push: title, text, url), or template keys by channel."""

    kind: Kind
    key: str
    name: str
    published: bool
    content: dict[str, Any]


def save(conn: Connection, template: Template, *, now: datetime) -> Stored:
    """Store a template as a whole and say what that changed."""
    given = {
        "kind": template.kind,
        "key": template.key,
        "name": template.name,
        "published": template.published,
        "content": json.dumps(template.content),
        "now": now,
    }
    created = conn.execute(
        text(
            "INSERT INTO template (kind, key, name, published, content, changed_at) "
            "VALUES (:kind, :key, :name, :published, CAST(:content AS jsonb), :now) "
            "ON CONFLICT (kind, key) DO NOTHING RETURNING key"
        ),
        given,
    ).first()
    if created is not None:
        return "created"
    updated = conn.execute(
        text(
            "UPDATE template SET name = :name, published = :published, content = CAST(:content AS jsonb), "
            "changed_at = :now WHERE kind = :kind AND key = :key AND (name, published, content) IS DISTINCT FROM "
            "(CAST(:name AS text), CAST(:published AS boolean), CAST(:content AS jsonb)) RETURNING key"
        ),
        given,
    ).first()
    return "unchanged" if updated is None else "updated"


def listed(conn: Connection) -> list[Template]:
    """Return all templates by kind and key."""
    rows = conn.execute(text("SELECT kind, key, name, published, content FROM template ORDER BY kind, key"))
    return [Template(*row) for row in rows]


def known(conn: Connection, kind: Kind, keys: Iterable[str]) -> set[str]:
    """Return those of some keys that are templates of a kind."""
    query = text("SELECT key FROM template WHERE kind = :kind AND key = ANY (CAST(:keys AS text[]))")
    return set(conn.execute(query, {"kind": kind, "keys": sorted(keys)}).scalars())
