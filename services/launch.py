"""What switching a campaign on does to contacts, told before, and aligning its members without waiting for a cron."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.reads.alignment import Movement
from parcours.db.tables import campaigns, entrants
from parcours.db.tables.campaigns import Found
from parcours.domain.campaign import Status
from parcours.services import campaign_effects
from parcours.services.campaign_effects import CampaignEffect


def launch(
    conn: Connection, found: Found, *, now: datetime, zone: ZoneInfo
) -> tuple[Movement | None, list[CampaignEffect]]:
    """Return whom switching on a campaign lets in and out, and that in words; None where it cannot be read.

    It is asked before the campaign is switched on: the update that follows begins at once.
    """
    rows = campaigns.listing(conn, [found.id])
    version = campaigns.read_version(conn, found.key, found.id, found.version)
    if version.unreadable is not None or not rows:
        return None, []
    on = Status(True, rows[0].publish_from, rows[0].publish_until, rows[0].category_published)
    moves = campaign_effects.moved_by(conn, found.id, version.file, now=now, zone=zone)
    entered = entrants.ever(conn, found.id)
    runs = on.why_not(now) is None
    return moves, list(campaign_effects.people(version.file, moves, runs=runs, entered=entered))


def by_whom(moves: Iterable[Movement | None]) -> str | None:
    """Return who aligns members after a change, in a sentence; None where nobody is moved."""
    if not any(each and (each.joins or each.returns or each.leaves or each.exits) for each in moves):
        return None
    return (
        "Contacts join and leave as soon as `parcours up` or `parcours tick` and workers run; "
        "`parcours update --inline` does it at once."
    )
