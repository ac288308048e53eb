"""Sending the messages of a step again that were not delivered."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from parcours.db.tables import campaigns, outbox


def send_again(
    conn: Connection, campaign_id: int, step_id: int, step: str, why: str | None, *, who: str, now: datetime
) -> int:
    """Put back the failed messages of a step, all of them or those that failed for one reason; return how many.

    Their attempts are before them again. The activity of the campaign tells who did it.
    """
    campaigns.read_by_index(conn)
    n = outbox.retry_step(conn, campaign_id, step_id, why, now=now)
    if n:
        detail = {"step": step, "messages": n, "why": why}
        campaigns.audit(conn, campaign_id, who=who, what="messages sent again", now=now, detail=detail)
    return n
