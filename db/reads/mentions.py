"""What may use an email, a form or a segment: campaigns, drafts, rules, messages, and what is to be sent."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)


class Mention(NamedTuple):
    """Something that has a key in it, and its content where that is at hand.

    The key of a draft is that of its campaign; one of a new campaign has none.
    """

    kind: Literal["campaign", "draft", "segment", "message"]
    id: int
    key: str
    name: str
    owner: str | None
    content: Any


def mentions(conn: Connection, key: str, fed: Collection[int] = ()) -> list[Mention]:
    """Return whatever has a key as a text in it, and the campaigns `fed` by what has it.

    A message has it only as the key of its email.
    """
    given = {"key": key, "fed": list(fed), "plain": json.dumps(key, ensure_ascii=False), "escaped": json.dumps(key)}
    return [
        Mention(
            row.kind, row.id, row.key, row.name, row.owner, None if row.content is None else json.loads(row.content)
        )
        for row in conn.execute(sql["mentions"], given)
    ]


def is_waiting(conn: Connection, key: str) -> bool:
    """Return whether messages with an email are still to be sent."""
    return bool(conn.execute(sql["is_waiting"], {"key": key}).scalar_one())
