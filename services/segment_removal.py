"""Deleting a segment, when nothing uses it."""

from __future__ import annotations

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.tables import campaigns, events, rebuilds, rules, segments
from parcours.domain.errors import CampaignError, NotFoundError, UnreadableCampaignError
from parcours.domain.steps.types import RefersTo


@dataclass
class SegmentUsers:
    """What uses a segment, by keys."""

    campaigns: list[str] = field(default_factory=list)
    segments: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.campaigns or self.segments)


def users_of(conn: Connection, key: str, zone: ZoneInfo) -> SegmentUsers:
    """Return the campaigns that have a segment as source or exit or name it in a step, and the rules that ask for it.

    Raises NotFoundError.
    """
    segment = segments.find(conn, key)
    if segment is None:
        raise NotFoundError("segment", key)
    fed = {id_ for id_, _ in events.campaigns_of_segment(conn, segment.id)}
    found = SegmentUsers(segments=segments.rules_that_ask(conn, segment.id))
    for row in campaigns.listing(conn):
        if row.id in fed or _names(conn, row.id, row.version, key, zone):
            found.campaigns.append(row.key)
    return found


def _names(conn: Connection, campaign_id: int, version: int, key: str, zone: ZoneInfo) -> bool:
    try:
        campaign = campaigns.load(conn, campaign_id, version, zone)
    except UnreadableCampaignError:
        # What it names cannot be known, so nothing that it may need goes.
        return True
    return any(
        what is RefersTo.SEGMENT and named == key
        for step in campaign.steps.values()
        for _, what, named in step.type.references(vars(step.properties))
    )


def delete(conn: Connection, key: str, *, zone: ZoneInfo) -> None:
    """Delete a segment and its memberships. Raises CampaignError when something uses it, saying what does."""
    rules.begin_to_change(conn)
    used = users_of(conn, key, zone)
    if used:
        by = [f"campaigns {', '.join(used.campaigns)}"] if used.campaigns else []
        by += [f"rules of segments {', '.join(used.segments)}"] if used.segments else []
        raise CampaignError(f"segment {key!r} is used by {' and by '.join(by)}; remove it there first")
    segment = segments.find(conn, key)
    assert segment is not None
    rebuilds.stop(conn, [segment.id])
    rules.save(conn, segment.id, None, digest=None, reads=())
    segments.delete(conn, segment.id)
