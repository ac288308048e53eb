"""Migrations: bring a database to this version's schema, or say how far it is from it."""

import time
from pathlib import Path

from sqlalchemy import Connection, Engine, text

# Any number, as long as nobody else locks by it: "parcours" in letters of the telephone.
MIGRATION_LOCK = 72726877
MIGRATIONS = Path(__file__).parent / "migrations"


def newest() -> str:
    """Return the revision that this code needs."""
    return _revisions()[-1]


def current(engine: Engine) -> str | None:
    """Return the revision of a database, or None when it was never migrated."""
    with engine.connect() as conn:
        return _revision(conn)


def behind(engine: Engine) -> str | None:
    """Return in words how a database is behind this code, or None when it is not.

    One that is ahead is fit: while a new version is brought in, the previous code still runs on it.
    """
    found = current(engine)
    if found is None:
        return "has no tables yet"
    return f"is at revision {found}, not {newest()}" if found in _revisions()[:-1] else None


def upgrade(engine: Engine, *, to: str = "head") -> tuple[str | None, str]:
    """Apply the missing migrations, or those up to a revision, and return the revisions before and after.

    Several machines may call this at once: one migrates, the others wait for its
    advisory lock and then find nothing left to do. A migration that cannot get its
    table locks within 10 s gives up rather than stop everybody behind it.
    """
    # Here, since every command asks for the revision and hardly any migrates: it takes a while to load.
    from alembic import command
    from alembic.config import Config

    with engine.connect() as conn:
        # Asking again and again: who waits inside a statement holds up an index that is built concurrently.
        while not conn.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK}).scalar_one():
            conn.rollback()
            time.sleep(0.1)
        conn.commit()
        try:
            conn.execute(text("SET lock_timeout = '10s'"))
            before = _revision(conn)
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = conn
            conn.commit()
            command.upgrade(config, to)
            conn.commit()
        finally:
            conn.rollback()
            conn.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK})
            conn.execute(text("RESET lock_timeout"))
            conn.commit()
    return before, newest() if to == "head" else to


def _revision(conn: Connection) -> str | None:
    if conn.execute(text("SELECT to_regclass('alembic_version')")).scalar_one() is None:
        return None
    return conn.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _revisions() -> list[str]:
    """Return all revisions, oldest first: the numbers that their files begin with."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
