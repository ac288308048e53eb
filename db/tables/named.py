"""What campaigns name by its key: that it stays while one who names it is stored, and is not named while it goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)

What = Literal["segments", "forms", "emails"]


def keep(conn: Connection, what: What, keys: Iterable[str]) -> set[str]:
    """Let nobody delete those of these keys until the transaction ends; return those that are there."""
    wanted = sorted(set(keys))
    return set(conn.execute(sql[f"keep_{what}"], {"keys": wanted}).scalars()) if wanted else set()


def take(conn: Connection, what: What, key: str) -> None:
    """Wait until nobody keeps what has this key, and let nobody keep it until the transaction ends."""
    conn.execute(sql[f"take_{what}"], {"key": key})
