"""The one clock: the database's, so that machines whose clocks differ agree on what is due."""

from datetime import datetime

from sqlalchemy import Connection, text


def now(conn: Connection) -> datetime:
    """Return the instant at which the transaction began, in UTC."""
    found: datetime = conn.execute(text("SELECT now()")).scalar_one()
    return found
