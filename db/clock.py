"""The one clock: the database's, so that machines whose clocks differ agree on what is due."""

from datetime import datetime

from sqlalchemy import Connection

from parcours.db.statements import statements


def now(conn: Connection) -> datetime:
    """Return the instant at which the transaction began, in UTC."""
    found: datetime = conn.execute(statements(__file__)["now"]).scalar_one()
    return found
