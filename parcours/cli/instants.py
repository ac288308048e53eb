"""`--now`: the time as of which a command acts, read and refused in one way everywhere."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from parcours.db import partitions
from parcours.db.clock import now as database_now
from parcours.domain.time.instants import parse_instant

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

Now = Annotated[str | None, typer.Option("--now", metavar="ISO", help="Use this time as the current time.")]


def given(now: str | None) -> datetime | None:
    """Return the instant that `--now` gives, in UTC. Raises BadParameter for what is none, or out of range."""
    try:
        return None if now is None else parse_instant(now)
    except ValueError as error:
        raise typer.BadParameter(f"--now {error}") from None


def instant(conn: Connection, now: str | None) -> datetime:
    """Return the instant that `--now` gives, or that of the database."""
    return given(now) or database_now(conn)


def begin(engine: Engine, now: str | None) -> datetime:
    """Return the same, with somewhere to write what happens then."""
    return partitions.begin(engine, given(now))
