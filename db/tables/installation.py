"""What all processes of an installation share and nobody has to set."""

import secrets

from sqlalchemy import Connection, Engine

from parcours.db.statements import statements

sql = statements(__file__)


def secret_key(engine: Engine) -> str:
    """Return the secret that signs links and sessions, made the first time that somebody asks.

    It stands in the database, so that every machine has the same one.
    """
    with engine.begin() as conn:
        conn.execute(sql["make_secret_key"], {"made": secrets.token_urlsafe(32)})
        return str(conn.execute(sql["secret_key"]).scalar_one())


def rename(conn: Connection) -> str:
    """Give a copy of an installation a name of its own, which is returned; what still waits to leave has it too.

    Otherwise the copy's messages would bear the keys of the original's.
    """
    name = secrets.token_hex(4)
    before = conn.execute(sql["name"]).scalar_one()
    conn.execute(sql["rename"], {"name": name})
    conn.execute(sql["rename_messages"], {"before": f"-{before}", "length": len(before) + 1, "name": name})
    return name


def erasure_key(conn: Connection) -> str:
    """Return the secret with which the keys of erased contacts are hashed; every installation has its own."""
    return str(conn.execute(sql["erasure_key"]).scalar_one())
