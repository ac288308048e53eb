"""Whom an update of a campaign would let in and out, counted before it does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)
# Members of segments, and of the campaign, that one count looks at.
LOOKED_AT = 500_000


class Movement(NamedTuple):
    """How many contacts an update moves. Without `complete`, these are the least that it moves.

    `leaves` counts who is in none of the segments, `exits` who is in a segment that is an exit, `stays` who left all
    segments that fed the campaign until now, still has a grace period, and is in one of these: that moves nobody.
    """

    joins: int
    returns: int
    leaves: int
    exits: int
    complete: bool
    stays: int = 0


def movement(
    conn: Connection,
    campaign_id: int,
    *,
    segment_ids: Sequence[int],
    published_ids: Sequence[int],
    exit_ids: Sequence[int],
    after: int | None,
    returning: bool,
    left_before: datetime,
    most: int = LOOKED_AT,
) -> Movement:
    """Count who would come and go if these segments fed a campaign.

    `published_ids` are those of the segments that let contacts in, `after` is as for `Sources`. `returning`: whether
    who left before `left_before` may come back. Looks at no more than `most` rows of each table.
    """
    parameters = {
        "campaign_id": campaign_id,
        "segment_ids": list(segment_ids),
        "published_ids": list(published_ids),
        "exit_ids": list(exit_ids),
        "after": after,
        "returning": returning,
        "left_before": left_before,
        "most": most,
    }
    coming = conn.execute(sql["coming"], parameters).one()
    going = conn.execute(sql["going"], parameters).one()
    staying = conn.execute(sql["staying"], parameters).one()
    complete = all(each.looked < most for each in (coming, going, staying))
    return Movement(coming.joins, coming.returns, going.leaves, going.exits, complete, staying.stays)


def entries_after(conn: Connection, campaign_id: int) -> int | None:
    """Return later than which number contacts must have entered a segment to join; None: everybody joins."""
    found: int | None = conn.execute(sql["entries_after"], {"campaign_id": campaign_id}).scalar()
    return found


def in_grace(conn: Connection, campaign_id: int, *, most: int = LOOKED_AT) -> int:
    """Return how many members left every segment and may still come back."""
    return int(conn.execute(sql["in_grace"], {"campaign_id": campaign_id, "most": most}).scalar_one())


def held_back(conn: Connection, campaign_id: int, *, most: int = LOOKED_AT) -> int:
    """Return how many contacts a limit of entries holds back."""
    return int(conn.execute(sql["held_back"], {"campaign_id": campaign_id, "most": most}).scalar_one())


def is_on(conn: Connection, category: str | None) -> bool:
    """Return whether a category lets its campaigns run; one that is yet to be made does."""
    found = conn.execute(sql["category_is_on"], {"key": category}).scalar()
    return found is None or bool(found)
