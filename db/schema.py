"""Migrations: bring a database to this version's schema, or say how far it is from it."""

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

# Any number, as long as nobody else locks by it: "parcours" in letters of the telephone.
MIGRATION_LOCK = 72726877


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def newest() -> str:
    """Return the revision that this code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def current(engine: Engine) -> str | None:
    """Return the revision of a database, or None when it was never migrated."""
    with engine.connect() as conn:
        return MigrationContext.configure(conn).get_current_revision()


def behind(engine: Engine) -> str | None:
    """Return in words how a database is behind this code, or None when it is not.

    One that is ahead is fit: while a new version is brought in, the previous code still runs on it.
    """
    found = current(engine)
    if found is None:
        return "has no tables yet"
    known = {revision.revision for revision in ScriptDirectory.from_config(_config()).walk_revisions()}
    return f"is at revision {found}, not {newest()}" if found in known - {newest()} else None


def upgrade(engine: Engine) -> tuple[str | None, str]:
    """Apply the missing migrations and return the revisions before and after.

    Several machines may call this at once: one migrates, the others wait for its
    advisory lock and then find nothing left to do. A migration that cannot get its
    table locks within 10 s gives up rather than stop everybody behind it.
    """
    with engine.connect() as conn:
        # Asking again and again: who waits inside a statement holds up an index that is built concurrently.
        while not conn.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK}).scalar_one():
            conn.rollback()
            time.sleep(0.1)
        conn.commit()
        try:
            conn.execute(text("SET lock_timeout = '10s'"))
            before = MigrationContext.configure(conn).get_current_revision()
            config = _config()
            config.attributes["connection"] = conn
            conn.commit()
            command.upgrade(config, "head")
            conn.commit()
        finally:
            conn.rollback()
            conn.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK})
            conn.execute(text("RESET lock_timeout"))
            conn.commit()
    return before, newest()
