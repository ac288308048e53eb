"""Templates of other channels than email: text messages, push messages, and marketing messages of several channels."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.db.stored import Stored

sql = statements(__file__)

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
    created = conn.execute(sql["create"], given).first()
    if created is not None:
        return "created"
    updated = conn.execute(sql["change"], given).first()
    return "unchanged" if updated is None else "updated"


def listed(conn: Connection) -> list[Template]:
    """Return all templates by kind and key."""
    rows = conn.execute(sql["listed"])
    return [Template(*row) for row in rows]


def known(conn: Connection, kind: Kind, keys: Iterable[str]) -> set[str]:
    """Return those of some keys that are templates of a kind."""
    wanted = sorted(keys)
    return set(conn.execute(sql["known"], {"kind": kind, "keys": wanted}).scalars()) if wanted else set()
