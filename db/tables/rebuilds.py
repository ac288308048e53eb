"""Rules that are asked of everybody, after they changed and as repair: ranges of contact ids that workers share."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.db.tables.membership import Chunk
from parcours.db.tables.rules import RuleStanding, book

sql = statements(__file__)

# Contact ids of a range, some tenths of a second of work; and no more ranges than this, however ids are scattered.
WIDTH = 20_000
MOST_CHUNKS = 20_000


class RebuildPart(NamedTuple):
    """A range of contact ids of a segment; a filled one has its members, and its campaigns are to follow."""

    segment_id: int
    chunk: Chunk
    filled: bool


class Unfinished(NamedTuple):
    """A rule that is being asked of everybody: since when, and how many ranges are left."""

    segment_id: int
    asked_at: datetime
    chunks: int


def stop(conn: Connection, segment_ids: Collection[int]) -> None:
    """Give up asking the rules of segments, which are about to change; whoever is at work there is waited for."""
    conn.execute(sql["stop"], {"segment_ids": sorted(segment_ids)})


def ask(conn: Connection, segment_ids: Collection[int], *, now: datetime, width: int = WIDTH) -> None:
    """Write down that rules are to be asked of everybody."""
    if segment_ids:
        given = {"segment_ids": sorted(segment_ids), "now": now, "width": width, "most": MOST_CHUNKS}
        conn.execute(sql["ask"], given)


def settle(conn: Connection) -> None:
    """Let what was asked for wait until every transaction that is under way now has ended."""
    if not conn.execute(sql["is_settled"]).scalar_one():
        conn.execute(sql["settle"])


def take(conn: Connection, segment_ids: Collection[int]) -> RebuildPart | None:
    """Take a range of one of these segments that nobody has in hand; None without one, or while they have to wait."""
    row = conn.execute(sql["take"], {"segment_ids": list(segment_ids)}).first()
    return None if row is None else RebuildPart(row.segment_id, Chunk(row.first_id, row.last_id), row.filled)


def fill(conn: Connection, part: RebuildPart) -> None:
    """Write that a range has its members."""
    conn.execute(sql["fill"], {"segment_id": part.segment_id, "first_id": part.chunk.first_id})


def finish_chunk(conn: Connection, part: RebuildPart) -> None:
    """Write that a range is done."""
    conn.execute(sql["finish_chunk"], {"segment_id": part.segment_id, "first_id": part.chunk.first_id})


def finish(conn: Connection, segment_ids: Collection[int]) -> dict[int, datetime]:
    """Forget those of these segments of which nothing is left; return when each was asked for."""
    rows = conn.execute(sql["finish"], {"segment_ids": list(segment_ids)})
    return {row.segment_id: row.asked_at for row in rows}


def left(conn: Connection, segment_ids: Collection[int]) -> list[Unfinished]:
    """Return which of these segments are not done, by id."""
    if not segment_ids:
        return []
    return [Unfinished(*row) for row in conn.execute(sql["left"], {"segment_ids": list(segment_ids)})]


def oldest(conn: Connection, most: int) -> list[datetime]:
    """Return since when rules are to be asked of everybody, once for each range that is left, at most so often."""
    found = left(conn, list(book(conn).rules))
    since = min((each.asked_at for each in found), default=None)
    return [] if since is None else [since] * max(1, min(most, sum(each.chunks for each in found)))


def drop_due(conn: Connection, segment_id: int, chunk: Chunk, *, keep: Collection[int]) -> None:
    """Forget of a range when a rule is to be asked again, but for those contacts."""
    conn.execute(sql["drop_due"], {"segment_id": segment_id, **chunk._asdict(), "keep": list(keep)})


def ids(conn: Connection, chunk: Chunk) -> list[int]:
    """Return the contacts of a range, by id."""
    return list(conn.execute(sql["ids"], chunk._asdict()).scalars())


def members(conn: Connection, segment_id: int, chunk: Chunk) -> dict[int, RuleStanding]:
    """Return how contacts of a range are in a segment, by id; those who never were are left out."""
    rows = conn.execute(sql["members"], {"segment_id": segment_id, **chunk._asdict()})
    return {row.contact_id: RuleStanding(*row) for row in rows}


class Joining(NamedTuple):
    """Of those who come into a segment: whom a campaign has never seen, and who may come back to it."""

    fresh: int
    back: int


def would_join(conn: Connection, campaign_id: int, contact_ids: Collection[int]) -> Joining:
    """Return how many of contacts would join a campaign for the first time, and how many left it by themselves."""
    given = {"campaign_id": campaign_id, "ids": list(contact_ids)}
    return Joining(*conn.execute(sql["would_join"], given).one())


def would_leave(conn: Connection, campaign_id: int, contact_ids: Collection[int], *, others: Collection[int]) -> int:
    """Return how many of contacts are members of a campaign and in none of its other segments."""
    given = {"campaign_id": campaign_id, "ids": list(contact_ids), "others": list(others)}
    return int(conn.execute(sql["would_leave"], given).scalar_one())


def id_range(conn: Connection) -> Chunk | None:
    """Return the range of the ids of contacts; None when there is nobody."""
    row = conn.execute(sql["id_range"]).one()
    return None if row[0] is None else Chunk(*row)


def contacts_in(conn: Connection, chunk: Chunk) -> int:
    """Return how many contacts a range of ids has."""
    return int(conn.execute(sql["contacts_in"], chunk._asdict()).scalar_one())
