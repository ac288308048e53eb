"""`parcours db`: migrations and the embedded server."""

import typer

from parcours.cli.session import session
from parcours.db import embedded, schema
from parcours.db.checks import health
from parcours.db.engine import connect
from parcours.db.tables import installation
from parcours.domain.errors import CampaignError

app = typer.Typer(no_args_is_help=True, help="Migrate, check, rename or stop the database.")


@app.command()
def upgrade() -> None:
    """Apply the missing migrations; safe from several machines at once."""
    here = session()
    engine = connect(here.settings.database_url or embedded.start(here.settings.home))
    before, after = schema.upgrade(engine)
    if schema.is_ahead(engine):
        if (unfit := schema.unfit(engine)) is not None:
            raise CampaignError(unfit)
        here.say(f"The database is at revision {after}, made by a newer version; this version works with it as it is.")
        return
    was = "" if before == after else f" (was {before or 'empty'})"
    here.say(f"The database is at revision {after}{was}.")


@app.command()
def check() -> None:
    """Say whether the database can be reached and has this version's tables."""
    here = session()
    engine = connect(here.settings.database_url or embedded.start(here.settings.home))
    with engine.connect() as conn:
        version = health.version(conn)
    if version < 15:
        raise CampaignError(f"the server is PostgreSQL {version}; Parcours needs 15 or newer")
    if (unfit := schema.unfit(engine)) is not None:
        raise CampaignError(unfit)
    revision = schema.current(engine)
    here.say(f"PostgreSQL {version}, revision {revision}: all is well.")


@app.command()
def rename() -> None:
    """Give a copy of a database a name of its own, so that its messages do not bear the original's keys.

    Run it on a copy for trials, before anything runs there.
    """
    here = session()
    with here.engine.begin() as conn:
        name = installation.rename(conn)
    here.say(f"This installation is {name} now; the keys of its messages end with that.")


@app.command()
def stop() -> None:
    """Stop the embedded server of this home."""
    here = session()
    stopped = embedded.stop(here.settings.home)
    here.say("The embedded PostgreSQL is stopped." if stopped else "The embedded PostgreSQL was not running.")
