"""Rows for tests of single statements: contacts, campaigns and their steps, without the engine that works on them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from parcours.db.tables import campaigns

NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)


def contacts(conn: Connection, ids: Iterable[int]) -> None:
    """Make contacts of these ids, each with the key `c` and its number."""
    conn.execute(
        text("INSERT INTO contact (id, key) SELECT id, 'c' || id FROM unnest(CAST(:ids AS bigint[])) AS id"),
        {"ids": list(ids)},
    )


def campaign(conn: Connection, *steps: str, key: str = "c", published: bool = True) -> tuple[int, list[int]]:
    """Make a campaign with steps of these keys, none below another; return its id and theirs."""
    campaign_id = campaigns.create(conn, key, now=NOW)
    conn.execute(
        text("UPDATE campaign SET published = :published WHERE id = :id"), {"published": published, "id": campaign_id}
    )
    ids = [
        conn.execute(
            text(
                "INSERT INTO step (campaign_id, key, kind, type, created_at) "
                "VALUES (:campaign_id, :key, 'action', 'contact.points', :now) RETURNING id"
            ),
            {"campaign_id": campaign_id, "key": step, "now": NOW},
        ).scalar_one()
        for step in steps
    ]
    # As if an update had seen the campaign.
    conn.execute(text("DELETE FROM realign"))
    return campaign_id, ids


def read(conn: Connection, sql: str, **parameters: Any) -> list[Any]:
    """Return rows as tuples, or values where there is one column."""
    rows = [tuple(row) for row in conn.execute(text(sql), parameters)]
    return [row[0] if len(row) == 1 else row for row in rows]
