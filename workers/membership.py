"""Who joins, comes back and leaves: the rules of `domain.membership`, applied to many contacts at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from parcours.db.reads import batch
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, erasure, events, outcomes, waits
from parcours.db.tables import membership as memberships
from parcours.db.tables.membership import Chunk, Root
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.campaign import Campaign
from parcours.domain.contacts.membership import Arrival, Departure, entering
from parcours.domain.steps.types import Kind
from parcours.domain.time import schedule
from parcours.domain.time.zones import zone_of
from parcours.domain.walk.rows import OutcomeRow, Wait
from parcours.domain.walk.walk import came_at, first_due
from parcours.ops.logs import described
from parcours.workers.isolation import in_halves

log = structlog.get_logger()

# Contacts whose locks one transaction takes at most.
LOCKED_AT_ONCE = 2000
UNLIMITED = 2**31


def arrive(
    conn: Connection,
    campaign: Campaign,
    contact_ids: Sequence[int],
    arrival: Arrival,
    *,
    now: datetime,
    zone: ZoneInfo,
    since: Mapping[int, datetime] | None = None,
) -> Counter[str]:
    """Let contacts into a campaign as far as the rules do; return how many were `added` and `restarted`.

    `since`: when contacts did what lets them in. What they do from then on answers the decisions that they
    come to, though we hear of both only now.
    """
    entered = admit(conn, campaign, contact_ids, arrival, now=now, zone=zone, since=since)
    # Whom an update let in at the same moment, it counts.
    return Counter[str]("added" if each == "added" else "restarted" for each in entered.values())


def admit(
    conn: Connection,
    campaign: Campaign,
    contact_ids: Sequence[int],
    arrival: Arrival,
    *,
    now: datetime,
    zone: ZoneInfo,
    since: Mapping[int, datetime] | None = None,
) -> dict[int, Literal["added", "back", "restarted"]]:
    """Let contacts into a campaign as far as the rules do, with every root step armed; return what each did.

    Whom the rules hold back is left out. The roots of a new rotation replace whatever was still open in
    earlier ones.
    """
    present = batch.lock(conn, contact_ids)
    sources = [source.id for source in campaigns.sources(conn, campaign.id)]
    entries = {}
    zones = {}
    again: dict[int, Literal["back", "restarted"]] = {}
    for contact_id, (state, timezone) in memberships.states(conn, campaign.id, sources, present).items():
        own_zone = zone_of(timezone, zone)
        entry = entering(state, arrival, reentry=campaign.reentry, cooldown=campaign.cooldown, now=now, zone=own_zone)
        if entry is None:
            continue
        entries[contact_id] = entry
        zones[contact_id] = own_zone
        if state is not None:
            again[contact_id] = "restarted" if state.departure is None else "back"
    if not entries:
        return {}
    _cancel(conn, campaign.id, list(again), "the contact started again", now=now)
    new = memberships.enter(conn, campaign.id, entries, arrival=arrival, now=now)
    due = {
        (step.id, own_zone): first_due(campaign, step, since=now, zone=own_zone)
        for step in campaign.roots
        for own_zone in set(zones.values())
    }
    waits.arm(
        conn,
        [
            Wait(contact_id, step.id, campaign.id, entry.rotation, entry.rotation, 0, reason, anchor, due_at)
            for contact_id, entry in entries.items()
            for began in (came_at((since or {}).get(contact_id, now), now),)
            for step in campaign.roots
            for reason, due_at in (due[step.id, zones[contact_id]],)
            for anchor in (began if reason == "decision" else now,)
        ],
    )
    _count(conn, campaign.id, "added", len(new) + list(again.values()).count("back"), now)
    return {**dict.fromkeys(new, "added"), **again}


def depart(
    conn: Connection, campaign_id: int, contact_ids: Sequence[int], departure: Departure, *, now: datetime
) -> int:
    """Let members out of a campaign; whatever they waited for, in any rotation, is cancelled. Returns how many left."""
    left = dismiss(conn, campaign_id, contact_ids, departure, now=now)
    return list(left.values()).count("removed")


def dismiss(
    conn: Connection, campaign_id: int, contact_ids: Sequence[int], departure: Departure, *, now: datetime
) -> dict[int, Literal["removed", "stays out"]]:
    """As `depart`; return what each did. Who was out already and now stays out is told apart, others are left out."""
    present = batch.lock(conn, contact_ids)
    were_in = memberships.active(conn, campaign_id, present)
    left = memberships.leave(conn, campaign_id, present, departure=departure, now=now)
    _cancel(conn, campaign_id, left, "the contact left the campaign", now=now)
    _count(conn, campaign_id, "left", len(were_in.intersection(left)), now)
    return {contact_id: "removed" if contact_id in were_in else "stays out" for contact_id in left}


def segment_changed(
    conn: Connection,
    segment_id: int,
    contact_ids: Sequence[int],
    *,
    now: datetime,
    zone: ZoneInfo,
    since: Mapping[int, datetime] | None = None,
) -> Counter[str]:
    """Let a change of a segment reach the campaigns that it feeds: who is in it now joins, who is in none leaves.

    The caller has locked the contacts. `since` is as for `arrive`. Campaigns that do not run are left to the next
    update.
    """
    done: Counter[str] = Counter()
    for campaign_id in events.campaigns_of_segment(conn, segment_id):
        campaign, status = campaigns.enter(conn, campaign_id, zone)
        if status.why_not(now) is not None:
            continue
        sources = campaigns.sources(conn, campaign_id)
        published = [source.id for source in sources if source.published]
        inside = memberships.inside(conn, published, contact_ids)
        if inside:
            memberships.stay(conn, campaign_id, inside)
            done += arrive(conn, campaign, inside, Arrival.SEGMENT, now=now, zone=zone, since=since)
        outside = memberships.outside(conn, campaign_id, [source.id for source in sources], contact_ids)
        if outside and campaign.exit_on_leave:
            if campaign.grace is None:
                done["removed"] += depart(conn, campaign_id, outside, Departure.SEGMENT, now=now)
            else:
                memberships.give_grace(conn, campaign_id, outside, until=schedule.add(campaign.grace, now, zone))
    return done


def grace_over(conn: Connection, *, now: datetime, zone: ZoneInfo, limit: int = LOCKED_AT_ONCE) -> int:
    """Let go whom no segment took back within their grace; return how many were looked at."""
    looked = memberships.grace_over(conn, now=now, limit=limit)
    by_campaign: dict[int, list[int]] = {}
    for contact_id, campaign_id in looked:
        by_campaign.setdefault(campaign_id, []).append(contact_id)
    for campaign_id, contact_ids in sorted(by_campaign.items()):
        campaign, status = campaigns.enter(conn, campaign_id, zone)
        if status.why_not(now) is not None or not campaign.exit_on_leave:
            continue
        every = [source.id for source in campaigns.sources(conn, campaign_id)]

        def let_go(some: Sequence[int], campaign_id: int = campaign_id, every: Sequence[int] = every) -> None:
            outside = memberships.outside(conn, campaign_id, every, some)
            depart(conn, campaign_id, outside, Departure.SEGMENT, now=now)

        def told(contact_id: int, error: Exception, key: str = campaign.key) -> None:
            log.error("member_not_let_go", campaign=key, contact_id=contact_id, **described(error))

        in_halves(conn, contact_ids, let_go, told)
    return len(looked)


def reconcile(
    conn: Connection,
    campaign: Campaign,
    chunk: Chunk,
    *,
    now: datetime,
    zone: ZoneInfo,
    limit: int | None = None,
    scope: Scope = EVERYTHING,
) -> Counter[str]:
    """Align the members within a range of contact ids with the campaign's segments.

    Returns how many were `added`, `restarted` and `removed`, together at most `limit`. In normal
    running there is nothing to find, and three index reads say so.
    """
    sources = campaigns.sources(conn, campaign.id)
    published = [source.id for source in sources if source.published]
    every = [source.id for source in sources]
    done: Counter[str] = Counter()
    # With a limit, who joins comes first. Without one, those whose locks are needed do: who joins is held without
    # waiting, so that nothing waits for a contact while it holds others that come later in the order of ids.
    if published and limit is not None:
        done["added"] = _join(conn, campaign, published, chunk, now=now, zone=zone, limit=limit, scope=scope)
    done += _realign(conn, campaign, every, published, chunk, now=now, zone=zone, limit=_left(limit, done), scope=scope)
    if published and limit is None:
        done["added"] = _join(conn, campaign, published, chunk, now=now, zone=zone, limit=None, scope=scope)
    return done


def _realign(
    conn: Connection,
    campaign: Campaign,
    every: Sequence[int],
    published: Sequence[int],
    chunk: Chunk,
    *,
    now: datetime,
    zone: ZoneInfo,
    limit: int,
    scope: Scope,
) -> Counter[str]:
    """Let come back who is in a segment again, and go who is in none; one pass in the order of ids.

    Who they might be is read without their locks, and asked again with them: an event may just have put
    somebody into a segment or taken them out. In two passes, locks would be taken out of their order, and an
    import that takes them in order would wait in a circle with this.
    """
    done: Counter[str] = Counter()
    rest = chunk
    while (room := limit - done.total()) > 0:
        most = min(room, LOCKED_AT_ONCE)
        back = left = list[int]()
        if published and campaign.reentry != "never":
            back = memberships.returning(conn, campaign.id, published, rest, limit=most, now=now, scope=scope)
        if campaign.exit_on_leave:
            left = memberships.orphans(conn, campaign.id, every, rest, limit=most, scope=scope)
        # Nobody is in both. Beyond the last of a list that was cut off, it says nothing.
        end = min((found[-1] for found in (back, left) if len(found) == most), default=rest.last_id)
        found = sorted(id_ for id_ in (*back, *left) if id_ <= end)
        if len(found) > most:
            found = found[:most]
            end = found[-1]
        done += _ask_again(conn, campaign, every, published, found, set(back), now=now, zone=zone)
        if end >= rest.last_id:
            break
        rest = Chunk(end + 1, rest.last_id)
    return done


def _ask_again(
    conn: Connection,
    campaign: Campaign,
    every: Sequence[int],
    published: Sequence[int],
    found: Sequence[int],
    back: Collection[int],
    *,
    now: datetime,
    zone: ZoneInfo,
) -> Counter[str]:
    """Lock contacts, and let come back or go those of whom it is still true."""
    done: Counter[str] = Counter()
    if not found:
        return done
    locked = batch.lock(conn, found)
    if len(locked) < len(found):
        erasure.clean_up(conn, sorted(set(found).difference(locked)), now=now)
    returning = memberships.inside(conn, published, [id_ for id_ in locked if id_ in back])
    if returning:
        done += arrive(conn, campaign, returning, Arrival.SEGMENT, now=now, zone=zone)
    outside = memberships.outside(conn, campaign.id, every, [id_ for id_ in locked if id_ not in back])
    if outside and campaign.grace is not None:
        memberships.give_grace(conn, campaign.id, outside, until=schedule.add(campaign.grace, now, zone))
        outside = memberships.take_grace_over(conn, campaign.id, outside, now=now)
    if outside:
        done["removed"] += depart(conn, campaign.id, outside, Departure.SEGMENT, now=now)
    return done


def _left(limit: int | None, done: Counter[str]) -> int:
    return UNLIMITED if limit is None else limit - done.total()


def _join(
    conn: Connection,
    campaign: Campaign,
    segment_ids: Sequence[int],
    chunk: Chunk,
    *,
    now: datetime,
    zone: ZoneInfo,
    limit: int | None,
    scope: Scope,
) -> int:
    by_zone = any(depends_on_zone(campaign, step_id) for step_id in (root.id for root in campaign.roots))
    names = memberships.zones(conn, chunk) if by_zone else [""]
    if not names:
        # There is nobody in this range of ids.
        return 0
    roots = roots_by_zone(campaign, names, now=now, zone=zone)
    joined, left_out = memberships.join(
        conn, campaign.id, segment_ids, chunk, roots, by_zone=by_zone, now=now, limit=limit, scope=scope
    )
    _count(conn, campaign.id, "added", joined, now)
    if left_out:
        nobody = memberships.of_nobody(conn, segment_ids, chunk, limit=LOCKED_AT_ONCE)
        erasure.clean_up(conn, nobody, now=now)
    return joined


def roots_by_zone(
    campaign: Campaign, names: Sequence[str], *, now: datetime, zone: ZoneInfo, only: Sequence[int] | None = None
) -> list[Root]:
    """Return the waits of somebody who joins now, for contacts of each timezone."""
    return [
        Root(name, step.id, *first_due(campaign, step, since=now, zone=zone_of(name or None, zone)))
        for name in names
        for step in campaign.roots
        if only is None or step.id in only
    ]


def depends_on_zone(campaign: Campaign, step_id: int) -> bool:
    """Return whether contacts in different timezones who reach a step together may be due at different instants."""
    step = campaign.step(step_id)
    if step.kind is not Kind.DECISION:
        return schedule.depends_on_zone(step.timing)
    if step.within is not None:
        return schedule.depends_on_zone(schedule.Timing(after=step.within))
    return any(schedule.depends_on_zone(child.timing) for child in campaign.children(step, "no"))


def _cancel(conn: Connection, campaign_id: int, contact_ids: Sequence[int], reason: str, *, now: datetime) -> None:
    if not contact_ids:
        return
    detail = {"reason": reason}
    cancelled = waits.cancel(conn, campaign_id, contact_ids)
    outcomes.record(
        conn,
        [
            OutcomeRow(
                each.contact_id, each.step_id, each.rotation, each.passage, now, each.due_at, "cancelled", detail
            )
            for each in cancelled
        ],
    )


def _count(conn: Connection, campaign_id: int, what: str, n: int, now: datetime) -> None:
    outcomes.count_campaign(conn, Counter({(campaign_id, now, what): n}))
