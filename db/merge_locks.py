"""Imports and merges of contacts keep out of each other's way, until the transaction ends."""

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)


def shut_out_merges(conn: Connection) -> None:
    """Wait until no merge is at work, and keep new ones out, as imports do; the caller holds nothing yet."""
    conn.execute(sql["shut_out_merges"])


def shut_out_imports(conn: Connection) -> None:
    """Wait until no import is at work, and keep new ones out; the caller holds no contact yet."""
    conn.execute(sql["shut_out_imports"])


def try_to_shut_out_imports(conn: Connection) -> bool:
    """Keep imports out if none is at work; return whether that came about."""
    return bool(conn.execute(sql["try_to_shut_out_imports"]).scalar_one())
