"""Sweeps: one `update` or `trigger`, asked for, started, counted, finished."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db.scope import Scope
from parcours.db.statements import statements
from parcours.db.tables.membership import Chunk

sql = statements(__file__)
Kind = Literal["update", "trigger"]


class Sweep(NamedTuple):
    id: int
    kind: Kind
    scope: Scope
    at: datetime
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


def ask(conn: Connection, kind: Kind, scope: Scope, *, at: datetime) -> int:
    """Write down that a sweep is wanted, as of an instant; return its id."""
    parameters = {"kind": kind, "scope": scope.model_dump_json(exclude_defaults=True), "at": at}
    return int(conn.execute(sql["ask"], parameters).scalar_one())


def find(conn: Connection, sweep_id: int) -> Sweep | None:
    """Return a sweep, or None when it is gone."""
    row = conn.execute(sql["find"], {"sweep_id": sweep_id}).first()
    return None if row is None else Sweep(*row)._replace(scope=Scope.model_validate(row.scope))


def start(conn: Connection, sweep_id: int) -> bool:
    """Mark a sweep as started; return whether it was this call that did."""
    return conn.execute(sql["start"], {"sweep_id": sweep_id}).first() is not None


def turn(conn: Connection, sweep_id: int) -> None:
    """Wait until nobody else works for a sweep that has a cap, and keep others out until the transaction ends."""
    conn.execute(sql["turn"], {"sweep_id": sweep_id})


def finish(conn: Connection, sweep_id: int) -> None:
    """Mark a sweep as finished."""
    conn.execute(sql["finish"], {"sweep_id": sweep_id})


def unfinished(conn: Connection, *, older_than: float) -> list[int]:
    """Return the sweeps asked for more than so many seconds ago and not finished."""
    return list(conn.execute(sql["unfinished"], {"seconds": older_than}).scalars())


def add_chunks(conn: Connection, sweep_id: int, campaign_id: int, chunks: Sequence[Chunk]) -> None:
    """Write down the ranges of contact ids that workers take one by one."""
    if chunks:
        firsts, lasts = map(list, zip(*chunks, strict=True))
        parameters = {"sweep_id": sweep_id, "campaign_id": campaign_id, "first_ids": firsts, "last_ids": lasts}
        conn.execute(sql["add_chunks"], parameters)


def take_chunk(conn: Connection, sweep_id: int) -> tuple[int, Chunk] | None:
    """Take one chunk that nobody else has; return its campaign and range, or None."""
    row = conn.execute(sql["take_chunk"], {"sweep_id": sweep_id}).first()
    return None if row is None else (row.campaign_id, Chunk(row.first_id, row.last_id))


def chunks_left(conn: Connection, sweep_id: int) -> int:
    """Return how many chunks are not done; one in somebody's hands counts until that has committed."""
    return int(conn.execute(sql["chunks_left"], {"sweep_id": sweep_id}).scalar_one())


def drop_chunks(conn: Connection, sweep_id: int, campaign_id: int) -> None:
    """Give up what is left of a campaign: its cap of contacts is reached."""
    conn.execute(sql["drop_chunks"], {"sweep_id": sweep_id, "campaign_id": campaign_id})


def count(conn: Connection, sweep_id: int, campaign_id: int, counts: Mapping[str, int]) -> None:
    """Add to a sweep's counts of a campaign."""
    counted = {what: n for what, n in counts.items() if n}
    if counted:
        parameters = {
            "sweep_id": sweep_id,
            "campaign_id": campaign_id,
            "whats": list(counted),
            "ns": list(counted.values()),
        }
        conn.execute(sql["count"], parameters)


def counts(conn: Connection, sweep_id: int) -> dict[str, Counter[str]]:
    """Return what a sweep did so far, by campaign key."""
    found: dict[str, Counter[str]] = {}
    for row in conn.execute(sql["counts"], {"sweep_id": sweep_id}):
        found.setdefault(row.campaign, Counter())[row.what] = row.n
    return found


def counted_for(conn: Connection, sweep_id: int, campaign_id: int, whats: Iterable[str]) -> int:
    """Return how much a sweep has counted for one campaign."""
    parameters = {"sweep_id": sweep_id, "campaign_id": campaign_id, "whats": list(whats)}
    return int(conn.execute(sql["counted_for"], parameters).scalar_one())
