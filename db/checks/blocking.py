"""Whom a session of the database waits for."""

from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)


class LockHolder(NamedTuple):
    """A session that holds a lock: its process, its name, its machine (None: the server's), for how many seconds."""

    pid: int
    name: str
    machine: str | None
    seconds: float


def holders(conn: Connection, pid: int) -> list[LockHolder]:
    """Return who holds the locks that a session waits for, the oldest first; nobody when it does not wait."""
    return [LockHolder(*row) for row in conn.execute(sql["holders"], {"pid": pid})]
