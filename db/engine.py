"""Connections: one engine a process, and what every connection of it has in common."""

from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from parcours.db.adapters import JsonbLoader, ListDumper
from parcours.db.tables.rules import leave_rest
from parcours.domain.errors import CampaignError

# A batch keeps to one core: starting helpers takes the server longer than the batch. The server notices in half a
# minute that our machine has vanished without a word, and gives its locks to others: the lead of tick, campaigns,
# contacts. A process that hangs between two statements of a transaction loses that after some minutes; no work of
# ours pauses there for long.
OPTIONS = (
    "-c timezone=UTC -c jit=off -c max_parallel_workers_per_gather=0 "
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c tcp_user_timeout=30000 "
    "-c idle_in_transaction_session_timeout=300000"
)


def connect(url: str, *, pool_size: int = 10, options: str = "") -> Engine:
    """Return an engine for a PostgreSQL URL; `postgres://` and `postgresql://` mean psycopg 3.

    Sessions run in UTC and at READ COMMITTED, which the claim statements rely on. `options` are
    further ones of the server's command line for every session, such as `-c search_path=…`; they
    show in the engine's URL, so that what is cached by URL is not mixed up.
    Raises CampaignError for what is not a PostgreSQL URL.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise CampaignError(
            "PARCOURS_DATABASE_URL is not a URL; use postgresql://user:password@host/database"
        ) from None
    if parsed.drivername in ("postgres", "postgresql"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "postgresql+psycopg":
        raise CampaignError(f"PARCOURS_DATABASE_URL starts with {parsed.drivername}://; Parcours needs postgresql://")
    if options:
        parsed = parsed.update_query_dict({"options": f"{OPTIONS} {options}"})
    engine = create_engine(
        parsed,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        # Each new connection would ask whether the database has that extension.
        use_native_hstore=False,
        connect_args={
            "options": f"{OPTIONS} {options}".rstrip(),
            "application_name": "parcours",
            # A million-row claim is planned for its array sizes each time; the server's plan cache
            # would settle on a plan made for the first small batch.
            "prepare_threshold": None,
            # A server that vanished without a word is noticed in half a minute, not in hours.
            "connect_timeout": 10,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )
    event.listen(engine, "connect", _adapt)
    event.listen(engine, "commit", leave_rest)
    return engine


def _adapt(connection: Any, _: Any) -> None:
    connection.adapters.register_dumper(list, ListDumper)
    connection.adapters.register_loader("jsonb", JsonbLoader)
