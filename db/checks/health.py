"""Signs of trouble in the database that nobody would see until they hurt."""

from datetime import UTC, datetime

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)

# A hot table may carry so many dead rows, and this share of the living ones.
DEAD_ROWS = 20_000
DEAD_SHARE = 0.5
# A sweep that is not started for so long is stuck, and so is one that goes on for six times that.
STUCK_SECONDS = 600


def partition_makers(conn: Connection) -> tuple[list[str], bool]:
    """Return the partitions of today that are missing, and whether this user may make them."""
    now: datetime = conn.execute(sql["today"]).scalar_one()
    wanted = [now.astimezone(UTC).strftime(form) for form in ("outcome_%Y_%m", "event_%Y_%m_%d")]
    row = conn.execute(sql["partitions"], {"names": wanted}).one()
    return sorted(set(wanted) - set(row.present)), bool(row.may_make)


def unvacuumed(conn: Connection) -> list[tuple[str, int]]:
    """Return the hot tables that carry too many dead rows, with how many."""
    parameters = {"least": DEAD_ROWS, "share": DEAD_SHARE}
    return [(row.name, row.dead) for row in conn.execute(sql["unvacuumed"], parameters)]


def stuck_sweeps(conn: Connection) -> list[int]:
    """Return the sweeps that nobody started for ten minutes, or that were started an hour ago, and are not finished."""
    return list(conn.execute(sql["stuck_sweeps"], {"seconds": STUCK_SECONDS}).scalars())


def version(conn: Connection) -> int:
    """Return the major version of the server."""
    return int(conn.execute(sql["version"]).scalar_one()) // 10000


def session_of(conn: Connection) -> int:
    """Return which process of the server answers."""
    return int(conn.execute(sql["session"]).scalar_one())


def keeps_options(conn: Connection) -> bool:
    """Return whether the session has the options that we began it with; a pooler may drop them."""
    return bool(conn.execute(sql["keeps_options"]).scalar_one())


def clock(conn: Connection) -> datetime:
    """Return what the server's clock shows at this moment."""
    shown: datetime = conn.execute(sql["clock"]).scalar_one()
    return shown
