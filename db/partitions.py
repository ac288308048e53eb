"""Monthly partitions of `outcome`, daily ones of `event`: made before they are needed.

What comes for a time that nobody made a partition for goes to the default partition of its table, so no write
fails. A partition that is made later takes with it what already stands there.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import NamedTuple

from psycopg import Error
from sqlalchemy import Connection, Engine, TextClause
from sqlalchemy.exc import DBAPIError

from parcours.db.clock import now as database_now
from parcours.db.faults import Fault, fault_of
from parcours.db.statements import filled, statements

sql = statements(__file__)

# Any number, as long as nobody else locks by it.
PARTITION_LOCK = 72726878
# Making a partition waits so long for whoever reads the default one, and others wait behind it meanwhile.
LOCK_SECONDS = 1
# When that was in vain, or this user may not make any, it is tried again after so long.
AGAIN_SECONDS = 60.0
# Rows that a new partition takes over from the default one; more of them stay there for good.
MOST_MOVED = 100_000

# Database and name to the time at which to look again.
_known: dict[tuple[str, str], float] = {}
# Databases that nobody keeps, where the default partitions hold everything.
_without: set[str] = set()


class Partition(NamedTuple):
    """A range of time of a table."""

    table: str
    column: str
    name: str
    first: datetime
    end: datetime


def begin(engine: Engine, at: datetime | None = None) -> datetime:
    """Return an instant, or the database's time, with somewhere to write what happens at it."""
    if at is None:
        with engine.connect() as conn:
            at = database_now(conn)
    ensure_partitions(engine, at)
    return at


@contextmanager
def leave_to_default(engine: Engine) -> Iterator[None]:
    """Make no partitions in a database meanwhile, for one that is thrown away before it is large."""
    _without.add(str(engine.url))
    try:
        yield
    finally:
        _without.discard(str(engine.url))


def ensure_partitions(engine: Engine, at: datetime) -> None:
    """Make the partitions that work as of an instant and soon after it writes to, if they are missing.

    In transactions of their own, before the work. Where one cannot be made, its rows go to the default one. Raises
    only when the database is away.
    """
    database = str(engine.url)
    if database in _without:
        return
    for partition in wanted(at):
        place = (database, partition.name)
        if time.monotonic() < _known.get(place, 0.0):
            continue
        try:
            with engine.begin() as conn:
                _make(conn, partition)
            _known[place] = float("inf")
        except DBAPIError as error:
            if fault_of(error) is Fault.AWAY or not isinstance(error.orig, Error):
                raise
            _known[place] = time.monotonic() + AGAIN_SECONDS


def wanted(at: datetime) -> list[Partition]:
    """Return the partitions of an instant, and those that follow them."""
    day = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    month = day.replace(day=1)
    found: list[Partition] = []
    for _ in range(2):
        if month.year == MAXYEAR and month.month == 12:
            # Nothing has an end after the last month that there is: its rows stay in the default partition.
            break
        following = (month + timedelta(days=32)).replace(day=1)
        found.append(Partition("outcome", "at", month.strftime("outcome_%Y_%m"), month, following))
        tomorrow = day + timedelta(days=1)
        found.append(Partition("event", "received_at", day.strftime("event_%Y_%m_%d"), day, tomorrow))
        month, day = following, tomorrow
    return found


def _make(conn: Connection, partition: Partition) -> None:
    """Make a partition, with the rows of its range that stand in the default one; unless those are too many."""
    table, column, name, first, end = partition
    if _exists(conn, name):
        return
    conn.execute(sql["lock"], {"seconds": f"{LOCK_SECONDS}s", "lock": PARTITION_LOCK})
    if _exists(conn, name):
        return
    default = f"{table}_default"
    if not _exists(conn, default):
        # A database of an earlier revision.
        _attach(conn, partition)
        return
    # Attaching would take this lock: it looks whether the default one has rows of the range.
    conn.execute(filled(sql["lock_default"], default=default))
    ends = {"first": first, "end": end}
    counted = filled(sql["count_in_default"], default=default, column=column)
    if conn.execute(counted, {**ends, "most": MOST_MOVED + 1}).scalar_one() > MOST_MOVED:
        return
    _attach(conn, partition, filling=filled(sql["move_from_default"], default=default, column=column, partition=name))


def _exists(conn: Connection, name: str) -> bool:
    return conn.execute(sql["exists"], {"name": name}).scalar_one() is not None


def _attach(conn: Connection, partition: Partition, filling: TextClause | None = None) -> None:
    """Make a partition aside, fill it, and attach it, which does not block readers and writers of the parent."""
    table, _, name, first, end = partition
    conn.execute(filled(sql["create"], table=table, partition=name))
    if filling is not None:
        conn.execute(filling, {"first": first, "end": end})
    conn.execute(filled(sql["attach"], table=table, partition=name, first=first, end=end))
