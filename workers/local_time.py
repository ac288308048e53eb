"""Contacts whose timezone changed while they wait, or while quiet hours hold a message to them back in the outbox:
what waits for a time of their day moves to it. And those whose dates changed; see `workers.dates`.

The database notes who they are, whichever way the change came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from parcours.db.tables import campaigns, outbox, waits
from parcours.db.tables import dates as dates_table
from parcours.db.tables.waits import ToCome
from parcours.domain.campaign import Campaign
from parcours.domain.errors import CampaignError
from parcours.domain.messages.policy import OF_THE_DAY
from parcours.domain.time.zones import zone_of
from parcours.domain.walk.walk import due_elsewhere
from parcours.workers import dates

# Contacts whose locks one transaction takes at most.
AT_ONCE = 2000


def follow(conn: Connection, *, now: datetime, zone: ZoneInfo, of: Iterable[int] | None = None) -> int:
    """Move the waits of contacts whose timezone or dates changed, a bounded number; return how many those were.

    `of`: only of these contacts. `zone` is the timezone of contacts who have none. Who is in other hands has
    a turn later.
    """
    campaigns.read_by_index(conn)
    names = waits.take_rezoned(conn, limit=AT_ONCE, of=of)
    by_campaign: dict[int, list[ToCome]] = {}
    for wait in waits.still_to_come(conn, names) if names else ():
        by_campaign.setdefault(wait.campaign_id, []).append(wait)
    moved: list[tuple[ToCome, datetime]] = []
    for campaign_id, found in sorted(by_campaign.items()):
        try:
            campaign, _ = campaigns.enter(conn, campaign_id, zone)
        except CampaignError:
            # Nobody moves in a campaign that cannot be read here, and what it waits for stays.
            continue
        # Those who arrived together, in one timezone, are due together.
        due: dict[tuple[int, datetime, str | None, bool], datetime | None] = {}
        for wait in found:
            ahead = wait.due_at > now
            if wait.held:
                # It has had its time; the policy says when it goes.
                at = now if ahead and _is_quiet(wait.held) else None
            else:
                place = (wait.step_id, wait.anchor_at, names[wait.contact_id], ahead)
                if place not in due:
                    due[place] = _due(campaign, wait, now=now if ahead else None, zone=zone_of(place[2], zone))
                at = due[place]
            if at is not None and at != wait.due_at:
                moved.append((wait, at))
    waits.move_to(conn, moved)
    # The contacts before their messages, as whoever erases them does.
    outbox.look_again(conn, names, now=now)
    return len(names) + dates.follow(conn, now=now, zone=zone, of=of)


def follow_all(engine: Engine, *, now: datetime, zone: ZoneInfo) -> None:
    """Move the waits of every contact whose timezone or dates changed, and who is in nobody's hands."""
    with engine.connect() as conn:
        if dates_table.first_to_follow(conn) is None:
            return
    looked = AT_ONCE
    while looked:
        with engine.begin() as conn:
            looked = follow(conn, now=now, zone=zone)


def _due(campaign: Campaign, wait: ToCome, *, now: datetime | None, zone: ZoneInfo) -> datetime | None:
    step = campaign.steps.get(wait.step_id)
    return None if step is None else due_elsewhere(campaign, step, since=wait.anchor_at, now=now, zone=zone)


def _is_quiet(held: Mapping[str, Any]) -> bool:
    """Return whether a message waits for a time of the contact's day, which may be another now: it asks again."""
    return (held.get("policy") or {}).get("rule") in OF_THE_DAY
