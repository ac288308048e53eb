"""The database of an installation, ready for use."""

from __future__ import annotations

from sqlalchemy import Engine

from parcours.db import schema
from parcours.db.engine import connect
from parcours.db.installation_settings import InstallationSettings, set_installation_settings
from parcours.domain.errors import CampaignError
from parcours.ops.settings import Settings


def open_database(settings: Settings) -> Engine:
    """Return the database: the configured one, else the embedded one, started and migrated when needed.

    A configured database is never migrated in passing: several versions of the code may be running on it. Raises
    CampaignError when it is behind, or too far ahead.
    """
    if settings.database_url is None:
        # Most installations have a server, and no need of what starts one.
        from parcours.db import embedded

        engine = connect(embedded.start(settings.home))
    else:
        engine = connect(settings.database_url)
    unfit = schema.unfit(engine)
    if unfit is not None and settings.database_url is None:
        # One that a newer version upgraded stays as it is.
        schema.upgrade(engine)
        unfit = schema.unfit(engine)
    if unfit is not None:
        engine.dispose()
        raise CampaignError(unfit)
    set_installation_settings(
        engine, InstallationSettings(settings.shared_addresses == "allow", settings.default_country, settings.home)
    )
    return engine
