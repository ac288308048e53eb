"""What campaigns name by its key: that it stays while one who names it is stored, and is not named while it goes."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.domain.steps.types import RefersTo

sql = statements(__file__)


def keep(conn: Connection, what: RefersTo, keys: Iterable[str]) -> set[str]:
    """Let nobody delete the segments, forms or emails of these keys until the transaction ends; return those found."""
    wanted = sorted(set(keys))
    return set(conn.execute(sql[f"keep_{what}"], {"keys": wanted}).scalars()) if wanted else set()


def take(conn: Connection, what: RefersTo, key: str) -> None:
    """Wait until nobody keeps what has this key, and let nobody keep it until the transaction ends."""
    conn.execute(sql[f"take_{what}"], {"key": key})
