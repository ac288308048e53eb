"""The table `realign`: campaigns that changed since an update aligned their members. The database writes it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)


def take(conn: Connection, *, now: datetime) -> list[int]:
    """Delete the notes of campaigns that run, and return these; those that somebody is changing are left for later."""
    return sorted(conn.execute(sql["take"], {"now": now}).scalars())


def drop(conn: Connection, campaign_ids: Iterable[int]) -> None:
    """Delete the notes of campaigns that are about to be aligned as a whole."""
    conn.execute(sql["drop"], {"ids": list(campaign_ids)})
