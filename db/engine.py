"""Connections: one engine a process, and what every connection of it has in common."""

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError

from domain.errors import CampaignError


def connect(url: str, *, pool_size: int = 10) -> Engine:
    """Return an engine for a PostgreSQL URL; `postgres://` and `postgresql://` mean psycopg 3.

    Sessions run in UTC and at READ COMMITTED, which the claim statements rely on.
    Raises CampaignError for what is not a PostgreSQL URL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise CampaignError("PARCOURS_DATABASE_URL is not a URL; use postgresql://user:password@host/database") from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "postgresql+psycopg":
        raise CampaignError(
            f"PARCOURS_DATABASE_URL starts with {parsed.drivername}://; Parcours needs postgresql://"
        )
    return create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        # A million-row claim is planned for its array sizes each time; the server's plan cache
        # would settle on a plan made for the first small batch.
        connect_args={"options": "-c timezone=UTC -c jit=off", "application_name": "parcours", "prepare_threshold": None},
    )
