"""All that is known of a contact, and the contacts of a segment, for files that leave."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)

AT_ONCE = 2_000


class ExportedContact(NamedTuple):
    """A contact as a row of a file."""

    id: int
    key: str
    email: str | None
    timezone: str | None
    points: int
    stage: str | None
    owner: str | None
    tags: list[str]
    company: str | None
    created_at: datetime
    last_active_at: datetime | None
    fields: dict[str, Any]


def rows_of(conn: Connection, contact_id: int) -> dict[str, int]:
    """Return how many rows there are of a contact, by kind."""
    return dict(conn.execute(sql["rows_of"], {"id": contact_id}).one()._mapping)


def history(conn: Connection, contact_id: int) -> dict[str, list[dict[str, Any]]]:
    """Return events, messages, submissions and devices of a contact in full, oldest first."""
    names = ("events", "messages", "submissions", "devices")
    return {name: [dict(row._mapping) for row in conn.execute(sql[name], {"id": contact_id})] for name in names}


def field_names(conn: Connection, segment_id: int) -> list[str]:
    """Return the custom fields that active members of a segment have, in the order of the alphabet."""
    return list(conn.execute(sql["field_names"], {"segment_id": segment_id}).scalars())


def members(conn: Connection, segment_id: int) -> Iterator[list[ExportedContact]]:
    """Yield the active members of a segment, some at a time, oldest contact first."""
    after = 0
    while True:
        given = {"segment_id": segment_id, "after": after, "limit": AT_ONCE}
        rows = [ExportedContact(*row) for row in conn.execute(sql["members"], given)]
        if not rows:
            return
        yield rows
        after = rows[-1].id
