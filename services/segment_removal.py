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
    # Campaigns of which nobody can know, since this process cannot read them, and why.
    unreadable: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.campaigns or self.segments or self.unreadable)

    @property
    def sentence(self) -> str:
        """Why a segment cannot be deleted, and what to do."""
        by = [f"campaigns {', '.join(self.campaigns)}"] if self.campaigns else []
        by += [f"rules of segments {', '.join(self.segments)}"] if self.segments else []
        said = [f"it is used by {' and by '.join(by)}; remove it there first"] if by else []
        if self.unreadable:
            which = ", ".join(f"{key} ({why})" for key, why in self.unreadable.items())
            said.append(
                f"whether it is used cannot be checked in campaigns that cannot be read: {which}; install the missing "
                "packages, correct and apply the campaign files, or delete these campaigns, and then try again"
            )
        return "; ".join(said)


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
        try:
            if row.id in fed or _names(conn, row.id, row.version, key, zone):
                found.campaigns.append(row.key)
        except UnreadableCampaignError as error:
            # What it names cannot be known, so nothing that it may need goes.
            found.unreadable[row.key] = error.why
    return found


def _names(conn: Connection, campaign_id: int, version: int, key: str, zone: ZoneInfo) -> bool:
    campaign = campaigns.load(conn, campaign_id, version, zone)
    return any(
        what is RefersTo.SEGMENT and named == key
        for step in campaign.steps.values()
        for _, what, named in step.type.references(vars(step.properties))
    )


def delete(conn: Connection, key: str, *, zone: ZoneInfo) -> None:
    """Delete a segment and its memberships. Raises CampaignError when something uses it or may, saying what."""
    rules.begin_to_change(conn)
    used = users_of(conn, key, zone)
    if used:
        raise CampaignError(f"segment {key!r} cannot be deleted: {used.sentence}")
    segment = segments.find(conn, key)
    assert segment is not None
    rebuilds.stop(conn, [segment.id])
    rules.save(conn, segment.id, None, digest=None, reads=())
    segments.delete(conn, segment.id)
