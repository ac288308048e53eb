"""Dates of contacts: what waits for one follows it when it changes, and contacts enter when theirs comes.

The database notes whose dates changed, whichever way the change came. What is written of a date only says when to
look: whoever then lets a contact in, or runs a step, asks the date itself, with the contact's lock.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection, Engine

from parcours.db.scope import Scope
from parcours.db.tables import campaigns, waits
from parcours.db.tables import dates as dates_table
from parcours.db.tables.dates import DateEntry, DatesChanged, DateSource
from parcours.db.tables.membership import Chunk
from parcours.db.tables.waits import EVERYTHING, Dated
from parcours.domain.campaign import Campaign
from parcours.domain.contacts.membership import Arrival
from parcours.domain.errors import CampaignError
from parcours.domain.time import dates, schedule
from parcours.domain.time.dates import LATE, Coming
from parcours.domain.time.intervals import Interval
from parcours.domain.time.zones import zone_of
from parcours.domain.walk.catch_up import Pause, fell_due_in
from parcours.ops.logs import described
from parcours.workers.isolation import in_halves
from parcours.workers.membership import arrive

log = structlog.get_logger()

# Contacts whose locks one transaction takes at most.
AT_ONCE = 2000
_MOMENT = timedelta.resolution
# So long an update waits for those who began to change contacts before a source was there.
PATIENCE_SECONDS = 5.0


# When dates change.


def follow(conn: Connection, *, now: datetime, zone: ZoneInfo, of: Iterable[int] | None = None) -> int:
    """Move the waits and entries of contacts whose dates changed, a bounded number of them; return how many those were.

    `of`: only of these contacts. `zone` is the timezone of contacts who have none. Who is in other hands has a
    turn later. The caller reads by index.
    """
    noted = dates_table.take_noted(conn, limit=AT_ONCE, of=of)
    if noted:
        _move_waits(conn, noted, now=now, zone=zone)
        _move_entries(conn, noted, now=now, zone=zone)
    return len(noted)


def _move_waits(conn: Connection, noted: Sequence[DatesChanged], *, now: datetime, zone: ZoneInfo) -> None:
    contacts = {each.id: each for each in noted}
    by_campaign: dict[int, list[Dated]] = {}
    for wait in waits.by_date(conn, contacts):
        by_campaign.setdefault(wait.campaign_id, []).append(wait)
    moved: list[tuple[Dated, datetime | None]] = []
    for campaign_id, found in sorted(by_campaign.items()):
        try:
            campaign, _ = campaigns.enter(conn, campaign_id, zone)
        except CampaignError:
            # What cannot be read here is looked at when it was due.
            continue
        for wait in found:
            step = campaign.steps.get(wait.step_id)
            if step is None or step.timing.date is None:
                continue
            contact = contacts[wait.contact_id]
            value = contact.fields.get(step.timing.date.field)
            due = dates.due_at(step.timing.date, value, zone_of(contact.timezone, zone))
            if due is not None and due <= now:
                if wait.due_at is not None and wait.due_at <= now:
                    # It is looked at anyway.
                    continue
                # Looked at now, so that one sees that it is late.
                due = now if dates.is_late(due, now) else due
            if due != wait.due_at:
                moved.append((wait, due))
    waits.move_to(conn, moved)


def _move_entries(conn: Connection, noted: Sequence[DatesChanged], *, now: datetime, zone: ZoneInfo) -> None:
    sources = dates_table.sources(conn)
    if not sources:
        return
    written = dates_table.entries(conn, [each.id for each in noted], [source.id for source in sources])
    for source in sources:
        found = []
        for each in noted:
            due_at, turn = written.get((source.id, each.id), (None, None))
            # What fell due since the change was known is still to come, and so is what nobody has let in yet.
            since = now - max(timedelta(seconds=each.age), LATE)
            since = since if due_at is None else min(since, due_at)
            value = each.fields.get(source.rule.field)
            own = zone_of(each.timezone, zone)
            coming = dates.coming(source.rule, value, own, since=since, last=turn)
            if coming is not None or (source.id, each.id) in written:
                found.append((each.id, None if coming is None else coming.due_at, None))
        dates_table.write(conn, source, found)


# When a campaign gets a source.


def build(conn: Connection, *, zone: ZoneInfo) -> bool:
    """Write when the contacts of one range enter by a source that is new, changed or gone; False: none is left."""
    campaigns.read_by_index(conn)
    found = dates_table.take_build(conn)
    if found is None:
        return False
    source = found.source
    if found.removed:
        dates_table.drop_in(conn, source, found.chunk)
        return True
    entries = []
    for each in dates_table.values_in(conn, source, found.chunk):
        since = found.at if each.due_at is None else min(found.at, each.due_at)
        own = zone_of(each.timezone, zone)
        coming = dates.coming(source.rule, each.value, own, since=since, last=each.turn)
        if coming is not None or each.written:
            entries.append((each.contact_id, None if coming is None else coming.due_at, None))
    dates_table.write(conn, source, entries, of_range=True)
    return True


def build_all(engine: Engine, *, zone: ZoneInfo) -> None:
    """Write what is left to write of new sources, as far as nobody is in the way; the rest has a turn later."""
    with engine.connect() as conn:
        more = dates_table.first_build(conn) is not None
    until = time.monotonic() + PATIENCE_SECONDS
    while more:
        with engine.begin() as conn:
            more = build(conn, zone=zone)
            left = not more and dates_table.first_build(conn) is not None
        if left and time.monotonic() < until:
            time.sleep(0.02)
            more = True


# When a date comes.


def let_in(
    conn: Connection,
    campaign_id: int,
    *,
    now: datetime,
    zone: ZoneInfo,
    limit: int | None = None,
    chunk: Chunk | None = None,
    scope: Scope = EVERYTHING,
) -> Counter[str]:
    """Let contacts into a campaign whose dates have come, if it runs; return how many were `added` and `restarted`.

    At most `limit` of them, and how many were `seen`, whatever became of them. `chunk`: only in a range of ids.
    """
    campaign, status = campaigns.enter(conn, campaign_id, zone)
    done: Counter[str] = Counter()
    if status.why_not(now) is not None:
        return done
    for source in dates_table.sources(conn, campaign_id):
        while limit is None or done["seen"] < limit:
            room = AT_ONCE if limit is None else min(limit - done["seen"], AT_ONCE)
            due = dates_table.take_due(conn, source, now=now, limit=room, chunk=chunk, scope=scope)
            if not due:
                break
            done["seen"] += len(due)
            done += _let_in(conn, campaign, source, due, now=now, zone=zone)
    return done


def let_in_all(engine: Engine, *, now: datetime, zone: ZoneInfo) -> Counter[str]:
    """Let in everybody whose date has come and who is in nobody's hands; a transaction for each of a bounded number."""
    done: Counter[str] = Counter()
    with engine.connect() as conn:
        found = list(dates_table.due_campaigns(conn, now=now))
    for campaign_id in found:
        seen = AT_ONCE
        while seen:
            with engine.begin() as conn:
                counts = let_in(conn, campaign_id, now=now, zone=zone, limit=AT_ONCE)
            seen = counts.pop("seen", 0)
            done += counts
    return done


def _let_in(
    conn: Connection, campaign: Campaign, source: DateSource, due: Sequence[DateEntry], *, now: datetime, zone: ZoneInfo
) -> Counter[str]:
    done: Counter[str] = Counter()
    catches_up = isinstance(campaign.catch_up, Interval)
    pauses = campaigns.pauses(conn, campaign.id) if catches_up else []
    entering: dict[int, str] = {}
    next_due: dict[int, datetime | None] = {}
    for each in due:
        own = zone_of(each.timezone, zone)
        coming = dates.coming(source.rule, each.value, own, since=each.due_at or now, last=each.turn)
        turn = each.turn
        if coming is not None and coming.due_at <= now:
            if not _is_over(campaign, source, coming, pauses, now=now, zone=own):
                entering[each.contact_id] = turn = coming.turn
            coming = dates.coming(source.rule, each.value, own, since=now + _MOMENT, last=turn)
        next_due[each.contact_id] = None if coming is None else coming.due_at

    def enter(some: Sequence[int]) -> None:
        nonlocal done
        again = source.rule.every is not None
        done += arrive(conn, campaign, some, Arrival.DATE, now=now, zone=zone, again=again)

    def told(contact_id: int, error: Exception) -> None:
        log.error("member_not_let_in", campaign=campaign.key, contact_id=contact_id, **described(error))

    if entering:
        in_halves(conn, list(entering), enter, told)
    dates_table.write(conn, source, [(id_, at, entering.get(id_)) for id_, at in next_due.items()])
    return done


def _is_over(
    campaign: Campaign, source: DateSource, coming: Coming, pauses: Sequence[Pause], *, now: datetime, zone: ZoneInfo
) -> bool:
    """Return whether a date came before the campaign began, or longer ago in a pause than it catches up with."""
    if source.since is None or coming.due_at < source.since:
        return True
    interval = campaign.catch_up
    return (
        isinstance(interval, Interval)
        and fell_due_in(pauses, coming.due_at)
        and schedule.add(interval, coming.due_at, zone) < now
    )
