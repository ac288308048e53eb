"""What people do to a campaign as a whole: switch it on and off, copy it, delete it. With the entry in the audit."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from parcours.db import merge_locks
from parcours.db.tables import campaigns, rules, segments
from parcours.db.tables.campaigns import Found, Version
from parcours.domain.campaign_file.build import to_data
from parcours.domain.campaign_file.check import check
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.errors import CampaignError
from parcours.services import apply_campaign, campaign_plan, segment_rules

log = structlog.get_logger()


class TakenError(CampaignError):
    """A key is somebody else's already."""


class Stamp(NamedTuple):
    """What a campaign was like when somebody looked: who changes it says so, and overwrites nobody unseen."""

    version: int
    published: bool

    def __str__(self) -> str:
        return f"{self.version}.{int(self.published)}"

    @classmethod
    def parse(cls, text: str) -> Stamp | None:
        """Return the stamp that a text is, or None."""
        version, sign, published = text.partition(".")
        if not (sign and version.isascii() and version.isdigit() and len(version) < 10 and published in ("0", "1")):
            return None
        return cls(int(version), published == "1")


class Switched(NamedTuple):
    """What switching did, and why the campaign does not run now, if it does not."""

    changed: bool
    why_not: str | None


def stamp(conn: Connection, found: Found) -> Stamp:
    """Return the stamp of a campaign as it is."""
    return Stamp(found.version, campaigns.listing(conn, [found.id])[0].published)


def hold(conn: Connection, key: str, *, now: datetime) -> Found | None:
    """Keep everybody else from changing the campaign of a key, or making it, until the transaction ends.

    Returns the campaign as it is then; None when there is none yet, or only a deleted one.
    """
    # As `apply_campaign.apply` does, before anything else is held.
    merge_locks.shut_out_merges(conn)
    campaigns.close(conn, campaigns.create(conn, key, now=now))
    found = campaigns.stored(conn, key)
    return None if found is None or found.deleted or found.version == 0 else found


def switch(
    conn: Connection, found: Found, published: bool, *, who: str, now: datetime, zone: ZoneInfo | None = None
) -> Switched:
    """Publish or pause a campaign. When a pause has committed, nothing in it moves any more.

    `zone` is that in which `why_not` shows dates; UTC unless given.
    """
    campaigns.close(conn, found.id)
    changed = campaigns.set_published(conn, found.id, published, now=now)
    if changed:
        campaigns.audit(conn, found.id, who=who, what="published" if published else "paused", now=now)
    rows = campaigns.listing(conn, [found.id])
    unreadable = campaigns.unreadable(conn, rows).get(found.id)
    if not rows:
        return Switched(changed, "it is deleted")
    return Switched(changed, campaigns.status_of(rows[0], unreadable).why_not(now, zone or ZoneInfo("UTC")))


def switch_and_log(conn: Connection, found: Found, published: bool, *, who: str, now: datetime) -> Switched:
    """Publish or pause a campaign as a service does that somebody asks: a change is written in its log."""
    done = switch(conn, found, published, who=who, now=now)
    if done.changed:
        log.info("campaign_published" if published else "campaign_paused", campaign=found.key, who=who)
    return done


def clone(
    conn: Connection, found: Found, key: str, *, who: str, now: datetime, zone: ZoneInfo, name: str | None = None
) -> int:
    """Copy a campaign, its steps and sources, under another key, unpublished; return the copy's id.

    Raises TakenError when the key is another campaign's, a deleted one's too, and CampaignError for no key.
    """
    file = campaigns.definition(conn, found.id, found.version)
    data = {**to_data(with_published(file, False)), "campaign": key, "name": name or f"{file.name} (copy)"}
    checked = check(data, default_zone=zone)
    if checked.file is None:
        raise CampaignError(checked.problems[0].sentence)
    planned = campaign_plan.plan(conn, checked.file, zone=zone)
    if planned.campaign_id is not None:
        raise TakenError(f"campaign {key!r} already exists; choose another key")
    return apply_campaign.apply(conn, planned, backfill=False, reschedule=False, who=who, now=now, zone=zone)


def delete(conn: Connection, found: Found, *, who: str, now: datetime) -> None:
    """Delete a campaign; its history stays."""
    goal = segments.goal_of(conn, found.id)
    if goal is not None:
        # Before the campaign, for which whoever changes the rule of a segment may wait.
        rules.begin_to_change(conn)
    campaigns.close(conn, found.id)
    if campaigns.delete(conn, found.id, now=now):
        campaigns.audit(conn, found.id, who=who, what="deleted", now=now)
        segment_rules.ask_who_reads(conn, found.id, now=now)
        if goal is not None:
            # Nobody can reach it any more. Whoever applies the campaign again writes its rule again.
            segment_rules.put(conn, goal, None, now=now)


def definition_of(version: Version, published: bool) -> dict[str, Any]:
    """Return a version as a campaign file's data; one that cannot be read as it is stored, to be mended."""
    if version.unreadable is None or not isinstance(version.data, dict):
        return to_data(with_published(version.file, published))
    known = {name: value for name, value in version.data.items() if (name, value) != ("format", 1)}
    return {**known, "published": published}


def with_published(file: CampaignFile, published: bool) -> CampaignFile:
    """Return a file that says whether it is published, which versions do not keep."""
    return file.model_copy(update={"published": published})
