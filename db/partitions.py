"""Monthly partitions of `outcome`, daily ones of `event`: made before they are needed."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, text

from db.clock import now as database_now

# Any number, as long as nobody else locks by it.
PARTITION_LOCK = 72726878

_known: set[tuple[str, str]] = set()


def begin(engine: Engine) -> datetime:
    """Return the database's time, with somewhere to write what happens at it."""
    with engine.connect() as conn:
        now = database_now(conn)
    ensure_partitions(engine, now)
    return now


def ensure_partitions(engine: Engine, at: datetime) -> None:
    """Make the partitions that work as of an instant writes to, if they are missing.

    In a transaction of its own, before the work: attaching a partition waits for nobody
    for long, but must not be held up by a batch, nor hold one up.
    """
    at = at.astimezone(UTC)
    month = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    following = (month + timedelta(days=32)).replace(day=1)
    wanted = [
        ("outcome", month.strftime("outcome_%Y_%m"), month, following),
        ("event", day.strftime("event_%Y_%m_%d"), day, day + timedelta(days=1)),
    ]
    database = str(engine.url)
    missing = [each for each in wanted if (database, each[1]) not in _known]
    if not missing:
        return
    with engine.begin() as conn:
        conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": PARTITION_LOCK})
        for parent, name, first, end in missing:
            if conn.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is None:
                # Made aside and attached: ATTACH does not block readers and writers of the parent.
                conn.execute(text(f"CREATE TABLE {name} (LIKE {parent} INCLUDING ALL)"))
                conn.execute(
                    text(
                        f"ALTER TABLE {parent} ATTACH PARTITION {name} "
                        f"FOR VALUES FROM ('{first.isoformat()}') TO ('{end.isoformat()}')"
                    )
                )
    _known.update((database, each[1]) for each in missing)
