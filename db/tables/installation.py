"""What all processes of an installation share and nobody has to set."""

import secrets

from sqlalchemy import Connection, Engine, text


def secret_key(engine: Engine) -> str:
    """Return the secret that signs links and sessions, made the first time that somebody asks.

    It stands in the database, so that every machine has the same one.
    """
    with engine.begin() as conn:
        conn.execute(
            text("INSERT INTO installation (name, value) VALUES ('secret_key', :made) ON CONFLICT DO NOTHING"),
            {"made": secrets.token_urlsafe(32)},
        )
        return str(conn.execute(text("SELECT value FROM installation WHERE name = 'secret_key'")).scalar_one())


def rename(conn: Connection) -> str:
    """Give a copy of an installation a name of its own, which is returned; what still waits to leave has it too.

    Otherwise the copy's messages would bear the keys of the original's.
    """
    name = secrets.token_hex(4)
    before = conn.execute(text("SELECT value FROM installation WHERE name = 'name' FOR UPDATE")).scalar_one()
    conn.execute(text("UPDATE installation SET value = :name WHERE name = 'name'"), {"name": name})
    conn.execute(
        text(
            "UPDATE message SET key = CASE WHEN right(key, :length) = :before THEN left(key, -:length) ELSE key END "
            "|| '-' || :name WHERE state IN ('queued', 'sending')"
        ),
        {"before": f"-{before}", "length": len(before) + 1, "name": name},
    )
    return name


def erasure_key(conn: Connection) -> str:
    """Return the secret with which the keys of erased contacts are hashed; every installation has its own."""
    return str(conn.execute(text("SELECT value FROM installation WHERE name = 'erasure_key'")).scalar_one())
