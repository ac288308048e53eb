"""Locks that keep imports and merges of contacts apart. They are released when the transaction ends."""

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)


def shut_out_merges(conn: Connection) -> None:
    """Wait for running merges and block new ones. Imports do so first, before they lock anything else."""
    conn.execute(sql["shut_out_merges"])


def shut_out_imports(conn: Connection) -> None:
    """Wait for running imports and block new ones. Merges do so first, before they lock contacts."""
    conn.execute(sql["shut_out_imports"])


def try_to_shut_out_imports(conn: Connection) -> bool:
    """Block imports if none is running; return whether they are blocked."""
    return bool(conn.execute(sql["try_to_shut_out_imports"]).scalar_one())
