"""Segments and who is in them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from parcours.db import touched
from parcours.db.patterns import containing
from parcours.db.statements import statements
from parcours.db.stored import Stored
from parcours.db.tables import campaigns


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment; only a public and published one can be the source of a campaign."""

    id: int
    key: str
    name: str
    public: bool
    published: bool


@dataclass(frozen=True, slots=True)
class SegmentLine:
    """A segment as it is listed: with its active members and the campaigns that it is a source of."""

    key: str
    name: str
    public: bool
    published: bool
    members: int
    campaigns: list[str]
    by_rule: bool = False


def find(conn: Connection, key: str) -> Segment | None:
    """Return the segment of a key, or None."""
    row = conn.execute(statements(__file__)["find"], {"key": key}).one_or_none()
    return None if row is None else Segment(*row)


def names(conn: Connection, keys: Iterable[str]) -> dict[str, str]:
    """Return what segments are called, by key; a key of which there is none names itself."""
    wanted = sorted(set(keys))
    rows = conn.execute(statements(__file__)["names"], {"keys": wanted}) if wanted else ()
    return {key: key for key in wanted} | {row.key: row.name for row in rows}


def save(conn: Connection, key: str, *, name: str | None, public: bool | None, published: bool | None) -> Stored:
    """Create a segment or change what is given of it; None keeps what is there.

    A new segment is named by its key, public and published, unless said otherwise.
    """
    given = {"key": key, "name": name, "public": public, "published": published}
    sql = statements(__file__)
    if conn.execute(sql["create"], given).one_or_none() is not None:
        return "created"
    return "unchanged" if conn.execute(sql["change"], given).one_or_none() is None else "updated"


def goal_of(conn: Connection, campaign_id: int) -> str | None:
    """Return the key of the segment of those of whom the rule of a campaign's goal is true; None: it has no such."""
    key: str | None = conn.execute(statements(__file__)["goal_of"], {"campaign_id": campaign_id}).scalar()
    return key


def make_goal(conn: Connection, key: str, campaign_id: int) -> None:
    """Make the segment of those of whom the rule of a campaign's goal is true, unless there is one."""
    conn.execute(statements(__file__)["make_goal"], {"key": key, "campaign_id": campaign_id})


def users(conn: Connection, segment_id: int) -> list[str]:
    """Return the keys of the campaigns that have the segment as a source, deleted ones included."""
    return list(conn.execute(statements(__file__)["users"], {"segment_id": segment_id}).scalars())


def titles(conn: Connection, *, sources: bool = False) -> dict[str, str]:
    """Return what all segments are called, by key; with `sources`, those that a campaign may enter contacts from."""
    rows = conn.execute(statements(__file__)["titles"], {"sources": sources})
    return {row.key: row.name for row in rows}


# Pages and the REST interface count members of a segment one by one up to here.
COUNTED = 100_000
# Of all segments of a page together.
COUNTED_IN_ALL = 2_000_000


def counted_of(segments: int) -> int:
    """Return up to how many members of each a page counts that shows so many segments."""
    return min(COUNTED, COUNTED_IN_ALL // max(1, segments))


def listed(
    conn: Connection,
    *,
    key: str | None = None,
    most: int | None = None,
    counted: Collection[str] | None = None,
    search: str = "",
    limit: int | None = None,
    offset: int = 0,
) -> list[SegmentLine]:
    """Return the segment of a key, or all by key; the members of each are counted up to `most`.

    `search`: only those whose key or name contains it. Members are counted of those within `limit` and `offset` alone,
    and with `counted` only of these. From then on, the transaction reads by index.
    """
    if most != 0:
        # By statistics, an empty segment may have as many members as the largest, so that a first is soon found.
        campaigns.read_by_index(conn)
    of = None if counted is None else list(counted)
    given = {"key": key, "most": most, "counted": of, "pattern": containing(search), "limit": limit, "offset": offset}
    return [SegmentLine(*row) for row in conn.execute(statements(__file__)["listed"], given)]


def delete(conn: Connection, segment_id: int) -> None:
    """Delete a segment and its memberships. Nothing may use it; campaigns that are deleted forget it."""
    for name in ("forget_members", "forget_sources", "delete"):
        conn.execute(statements(__file__)[name], {"segment_id": segment_id})


def add_members(
    conn: Connection, segment_id: int, contact_ids: Sequence[int], *, manual: bool, now: datetime
) -> list[int]:
    """Make contacts active members and return those who were not, in no order; only they get a new entry.

    `manual` is for what a person asked: it also brings back whom a person removed, and it
    keeps the contact in when a rule would remove them.
    """
    given = {"segment_id": segment_id, "contact_ids": list(contact_ids), "manual": manual, "now": now}
    sql = statements(__file__)
    entered = list(conn.execute(sql["add_members"], given).scalars())
    if manual and len(entered) < len(set(contact_ids)):
        conn.execute(sql["keep_members"], given)
    touched.note_named(conn, "segments", ((contact_id, segment_id) for contact_id in entered))
    return entered


def remove_members(
    conn: Connection, segment_id: int, contact_ids: Sequence[int], *, manual: bool, now: datetime
) -> list[int]:
    """End memberships and return the contacts who were active, by id.

    Not `manual`: whom a person added stays.
    """
    given = {"segment_id": segment_id, "contact_ids": list(contact_ids), "manual": manual, "now": now}
    left = list(conn.execute(statements(__file__)["remove_members"], given).scalars())
    touched.note_named(conn, "segments", ((contact_id, segment_id) for contact_id in left))
    return left
