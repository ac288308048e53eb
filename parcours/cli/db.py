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
    """Apply pending migrations. Safe to run on several machines at once."""
    here = session()
    engine = connect(here.settings.database_url or embedded.start(here.settings.home))
    before, after = schema.upgrade(engine)
    if schema.is_ahead(engine):
        if (unfit := schema.unfit(engine)) is not None:
            raise CampaignError(unfit)
        here.say(f"The database is at revision {after} of a newer version, which this version supports.")
        return
    was = "" if before == after else f" (was {before or 'empty'})"
    here.say(f"The database is at revision {after}{was}.")


@app.command()
def check() -> None:
    """Check that the database is reachable and that its schema fits this version."""
    here = session()
    engine = connect(here.settings.database_url or embedded.start(here.settings.home))
    with engine.connect() as conn:
        version = health.version(conn)
    if version < 15:
        raise CampaignError(f"the server is PostgreSQL {version}; Parcours needs 15 or newer")
    if (unfit := schema.unfit(engine)) is not None:
        raise CampaignError(unfit)
    revision = schema.current(engine)
    here.say(f"PostgreSQL {version}, revision {revision}: OK.")


@app.command()
def rename() -> None:
    """Rename the installation in a copied database, so that its message keys differ from the original's.

    Run it on a test copy before starting anything there.
    """
    here = session()
    with here.begin() as conn:
        name = installation.rename(conn)
    here.say(f"This installation is now named {name}. Its message keys end with that name.")


@app.command()
def stop() -> None:
    """Stop the embedded database server of this home folder."""
    here = session()
    stopped = embedded.stop(here.settings.home)
    here.say("Stopped the embedded PostgreSQL." if stopped else "The embedded PostgreSQL was not running.")
