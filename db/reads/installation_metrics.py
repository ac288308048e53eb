"""The figures of the whole installation, for those who watch it."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db.reads import overview
from parcours.db.reads.overview import Backlog
from parcours.db.statements import statements
from parcours.db.tables import events, outbox

sql = statements(__file__)


class StepsPassed(NamedTuple):
    kind: str
    type: str
    result: str
    n: int


class InstallationFigures(NamedTuple):
    backlog: list[Backlog]
    steps_passed: list[StepsPassed]
    inbox: int
    inbox_since: datetime | None
    outbox: dict[str, int]
    dead_letters: dict[str, int]
    open_sweeps: dict[str, int]
    open_failures: int


def read(conn: Connection, *, now: datetime) -> InstallationFigures:
    """Return the figures as of an instant."""
    inbox, since = events.backlog(conn)
    messages = Counter[str]()
    for counted in outbox.counts(conn):
        messages[counted.state] += counted.messages
    return InstallationFigures(
        overview.backlog(conn, now=now),
        [StepsPassed(*row) for row in conn.execute(sql["steps_passed"])],
        inbox,
        since,
        messages,
        {row.origin: row.n for row in conn.execute(sql["dead_letters"])},
        {row.kind: row.n for row in conn.execute(sql["open_sweeps"])},
        int(conn.execute(sql["open_failures"]).scalar_one()),
    )
