"""Migrations: bring a database to this version's schema, or say how far it is from it."""

import time
from pathlib import Path

from sqlalchemy import Connection, Engine

from parcours.db.statements import statements

sql = statements(__file__)

# Any number, as long as nobody else locks by it: "parcours" in letters of the telephone.
MIGRATION_LOCK = 72726877
MIGRATIONS = Path(__file__).parent / "migrations"
# The oldest code, by the revision that it needed, which still works on this version's schema. Raised by a migration
# that older code cannot live with; written into the database, where older code reads it.
SERVES_SINCE = "0016"


def newest() -> str:
    """Return the revision that this code needs."""
    return _revisions()[-1]


def current(engine: Engine) -> str | None:
    """Return the revision of a database, or None when it was never migrated."""
    with engine.connect() as conn:
        return _revision(conn)


def unfit(engine: Engine) -> str | None:
    """Return in a sentence why this code cannot work on a database, and what to do; None when it can.

    One that is ahead is fit as long as its schema serves this code: while a new version is brought in, the
    previous one still runs, and starts, on it.
    """
    with engine.connect() as conn:
        found = _revision(conn)
        if found is None:
            return "the database has no tables yet; run `parcours db upgrade`"
        if found < newest():
            return f"the database is at revision {found}, not {newest()}; run `parcours db upgrade`"
        if found == newest() or serves(conn):
            return None
    return (
        f"the database is at revision {found}, but this version of Parcours only works with {newest()}: a "
        "newer version upgraded the database; use that version here too"
    )


def is_ahead(engine: Engine) -> bool:
    """Return whether a database is at a revision that this code does not know: a newer version made it."""
    found = current(engine)
    return found is not None and found > newest()


def serves(conn: Connection) -> bool:
    """Return whether the schema of a database that is ahead still serves this code."""
    said = conn.execute(sql["serves_since"]).scalar_one_or_none()
    return said is not None and str(said) <= newest()


def upgrade(engine: Engine, *, to: str = "head") -> tuple[str | None, str]:
    """Apply the missing migrations, or those up to a revision, and return the revisions before and after.

    Several machines may call this at once: one migrates, the others wait for its
    advisory lock and then find nothing left to do. A migration that cannot get its
    table locks within 10 s gives up rather than stop everybody behind it. A database that a newer version
    upgraded already stays as it is.
    """
    if is_ahead(engine):
        found = current(engine)
        return found, str(found)
    # Here, since every command asks for the revision and hardly any migrates: it takes a while to load.
    from alembic import command
    from alembic.config import Config

    with engine.connect() as conn:
        # Asking again and again: who waits inside a statement holds up an index that is built concurrently.
        while not conn.execute(sql["try_to_lock"], {"lock": MIGRATION_LOCK}).scalar_one():
            conn.rollback()
            time.sleep(0.1)
        conn.commit()
        try:
            conn.execute(sql["wait_for_locks"])
            before = _revision(conn)
            config = Config()
            config.set_main_option("script_location", str(MIGRATIONS))
            config.attributes["connection"] = conn
            conn.commit()
            command.upgrade(config, to)
            if to == "head":
                conn.execute(sql["serve_since"], {"since": SERVES_SINCE})
            conn.commit()
        finally:
            conn.rollback()
            conn.execute(sql["unlock"], {"lock": MIGRATION_LOCK})
            conn.execute(sql["wait_for_locks_as_ever"])
            conn.commit()
    return before, newest() if to == "head" else to


def _revision(conn: Connection) -> str | None:
    if conn.execute(sql["is_migrated"]).scalar_one() is None:
        return None
    return conn.execute(sql["revision"]).scalar_one_or_none()


def _revisions() -> list[str]:
    """Return all revisions, oldest first: the numbers that their files begin with."""
    return sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
