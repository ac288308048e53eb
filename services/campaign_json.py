"""Campaigns as JSON, for the command and the REST interface."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from parcours.db.tables import campaigns
from parcours.db.tables.campaigns import Found
from parcours.domain.errors import UnreadableCampaignError
from parcours.domain.time.text import iso
from parcours.services.campaign_changes import definition_of


def campaign_line(row: Any, unreadable: UnreadableCampaignError | None, *, now: datetime) -> dict[str, Any]:
    """Return a campaign as it is listed; `unreadable` is why this process cannot read its version."""
    status = campaigns.status_of(row, unreadable)
    return {
        "id": row.id,
        "campaign": row.key,
        "name": row.name,
        "category": row.category,
        "state": status.state(now),
        "published": row.published,
        "running": status.why_not(now) is None,
        "version": row.version,
        "changed_at": iso(row.changed_at),
        "unreadable": None if unreadable is None else unreadable.why,
    }


def campaign_json(conn: Connection, found: Found, *, now: datetime) -> dict[str, Any]:
    """Return a campaign with its definition, what is wrong with that, and what was done to it lately."""
    row = campaigns.listing(conn, [found.id])[0]
    version = campaigns.read_version(conn, found.key, found.id, found.version)
    activity = campaigns.activity(conn, found.id)
    return {
        **campaign_line(row, version.unreadable, now=now),
        "why_not": campaigns.status_of(row, version.unreadable).why_not(now),
        "problems": [{"path": each.place, "error": each.sentence} for each in version.problems()],
        "definition": definition_of(version, row.published),
        "activity": [
            {
                "at": iso(each.at),
                "who": each.who,
                "what": each.what,
                "message": (each.detail or {}).get("message"),
            }
            for each in activity
        ],
    }
