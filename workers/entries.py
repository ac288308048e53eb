"""What contacts did, against the campaigns that it lets them into or out of, or whose goal it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from parcours.db.tables import campaigns, entrants, trials
from parcours.db.tables import membership as memberships
from parcours.db.tables.trials import Conversion
from parcours.domain.campaign import Campaign
from parcours.domain.contacts.membership import Arrival, Departure
from parcours.domain.entry import EventExit, NoKeyError
from parcours.domain.events.reading import Entry
from parcours.domain.steps.batch import Fact
from parcours.workers import membership

log = structlog.get_logger()


def leave(conn: Connection, happened: Mapping[int, Fact], *, now: datetime, zone: ZoneInfo) -> Counter[str]:
    """End the runs of contacts whose campaigns name what happened as an exit; return how many contacts are out.

    The caller has locked the contacts. In a paused campaign too: what is left out here, no update makes up for.
    """
    done: Counter[str] = Counter()
    if not happened:
        return done
    for campaign_id in campaigns.of_events(conn, "exit", {fact.type for fact in happened.values()}):
        campaign, status = campaigns.enter(conn, campaign_id, zone)
        if not status.deleted:
            for each in campaign.event_exits:
                done["removed"] += _leave(conn, campaign, each, happened, now=now)
    return +done


def _leave(
    conn: Connection, campaign: Campaign, leaving: EventExit, happened: Mapping[int, Fact], *, now: datetime
) -> int:
    # Reasons that are alike go together.
    ends: dict[tuple[str, str | None], list[int]] = {}
    for contact_id, fact in happened.items():
        if leaving.ends(fact):
            ends.setdefault((leaving.reason(fact), leaving.key_in(fact)), []).append(contact_id)
    out = 0
    for (reason, key), contact_ids in ends.items():
        if key is None:
            out += membership.exit_all(conn, campaign, contact_ids, reason, now=now)
        else:
            if campaign.entry is not None:
                entrants.drop(conn, campaign.id, contact_ids, key=key)
            only = {(contact_id, key) for contact_id in contact_ids}
            out += membership.end_runs(conn, campaign.id, only, Departure.EXIT, now=now, reason=reason)
    return out


def reach(conn: Connection, happened: Mapping[int, Fact], *, zone: ZoneInfo) -> None:
    """Let contacts reach the goals of campaigns that name what happened as one.

    The caller has locked the contacts. In a paused campaign, and of who has left, too: what is bought later was bought.
    """
    if not happened:
        return
    for campaign_id in campaigns.of_events(conn, "goal", {fact.type for fact in happened.values()}):
        campaign, status = campaigns.enter(conn, campaign_id, zone)
        goal = campaign.goal
        if goal is None or status.deleted:
            continue
        done = [
            Conversion(contact_id, goal.key_in(fact), fact.at, goal.value_in(fact))
            for contact_id, fact in happened.items()
            if goal.is_reached_by(fact)
        ]
        trials.reach(conn, campaign_id, done)


def reach_by_rule(
    conn: Connection,
    campaign_id: int,
    segment_id: int,
    moved: Sequence[int],
    *,
    now: datetime,
    zone: ZoneInfo,
    since: Mapping[int, datetime] | None = None,
) -> None:
    """Let contacts reach the goal of a campaign of whom its rule has become true: who came into the segment of it.

    The caller has locked the contacts. `since`: when they did what makes it true. Of whom it was true when they began,
    it has not become true.
    """
    inside = memberships.inside(conn, [segment_id], moved)
    campaign, status = campaigns.enter(conn, campaign_id, zone)
    if not inside or status.deleted or campaign.goal is None or campaign.goal.type is not None:
        return
    came = since or {}
    done = [Conversion(contact_id, None, min(came.get(contact_id, now), now), None) for contact_id in inside]
    trials.reach(conn, campaign_id, done, after=True)


def enter(conn: Connection, happened: Mapping[int, Fact], *, now: datetime, zone: ZoneInfo) -> Counter[str]:
    """Begin the runs of contacts that what happened lets into campaigns; return how many were added and restarted.

    The caller has locked the contacts. A campaign that does not run lets nobody in, as with forms.
    """
    done: Counter[str] = Counter()
    if not happened:
        return done
    for campaign_id in campaigns.of_events(conn, "source", {fact.type for fact in happened.values()}):
        campaign, status = campaigns.enter(conn, campaign_id, zone)
        if status.why_not(now) is not None:
            continue
        entries: dict[int, Entry] = {}
        for contact_id, fact in happened.items():
            entry = _entry(campaign, contact_id, fact)
            if entry is not None:
                entries[contact_id] = entry
        if entries:
            since = {contact_id: happened[contact_id].at for contact_id in entries}
            done += membership.arrive(
                conn, campaign, list(entries), Arrival.EVENT, now=now, zone=zone, since=since, entries=entries
            )
    return done


def _entry(campaign: Campaign, contact_id: int, fact: Fact) -> Entry | None:
    """Return the run that an event begins in a campaign: that of the first source which takes it."""
    for source in campaign.event_sources:
        if source.takes(fact):
            try:
                return source.entry(fact)
            except NoKeyError:
                log.warning(
                    "event_without_key",
                    campaign=campaign.key,
                    event_type=fact.type,
                    key=source.key,
                    contact_id=contact_id,
                )
    return None
