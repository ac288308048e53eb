"""One range of contact ids of a campaign, aligned with its segments; whoever cannot be aligned is left out alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from parcours.db.faults import blames_the_data
from parcours.db.scope import Scope
from parcours.db.tables import campaigns
from parcours.db.tables.membership import Chunk
from parcours.ops.logs import described
from parcours.workers import dates
from parcours.workers.membership import reconcile

log = structlog.get_logger()


def sync_chunk(
    conn: Connection,
    campaign_id: int,
    chunk: Chunk,
    *,
    now: datetime,
    zone: ZoneInfo,
    limit: int | None,
    scope: Scope,
) -> Counter[str]:
    """Align one chunk of a campaign, if it still runs."""
    campaign, status = campaigns.enter(conn, campaign_id, zone)
    if status.why_not(now) is not None:
        return Counter()

    def align(part: Chunk, room: int | None) -> Counter[str]:
        done = reconcile(conn, campaign, part, now=now, zone=zone, limit=room, scope=scope)
        room = None if room is None else room - done.total()
        if campaign.dates and (room is None or room > 0):
            done += dates.let_in(conn, campaign_id, now=now, zone=zone, limit=room, chunk=part, scope=scope)
        # Who was looked at and may not enter is no change.
        del done["seen"]
        return done

    return _aligned(conn, campaign.key, chunk, limit, align)


def _aligned(
    conn: Connection, campaign: str, chunk: Chunk, limit: int | None, align: Callable[[Chunk, int | None], Counter[str]]
) -> Counter[str]:
    """Align a chunk; where that raises, each half by itself, until the contact is alone: it is left out and told of."""
    try:
        with conn.begin_nested():
            return align(chunk, limit)
    except Exception as error:
        if not blames_the_data(error):
            raise
        if chunk.first_id == chunk.last_id:
            log.error("member_left_out", campaign=campaign, contact_id=chunk.first_id, **described(error))
            return Counter()
    middle = (chunk.first_id + chunk.last_id) // 2
    done = _aligned(conn, campaign, Chunk(chunk.first_id, middle), limit, align)
    room = None if limit is None else limit - done.total()
    if room is None or room > 0:
        done += _aligned(conn, campaign, Chunk(middle + 1, chunk.last_id), room, align)
    return done
