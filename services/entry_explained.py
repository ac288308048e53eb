"""Why a contact is not in a campaign: source by source, with exits and re-entry; and what rules it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.reads import batch
from parcours.db.tables import campaigns, dates, entrants, events
from parcours.db.tables import membership as memberships
from parcours.domain.campaign import Campaign
from parcours.domain.events.matching import names_run
from parcours.domain.segments import judging
from parcours.domain.segments.rule import Rule
from parcours.domain.time.text import shown
from parcours.services import segment_explained

# How far back the last event is looked for that could have begun a run.
LOOKED_BACK = timedelta(days=90)
# How a sentence about an exit that keeps a contact out begins.
KEPT_OUT = ("Exit segment ", "An exit rule is true ")

_REENTRY = {
    "never": "Re-entry is `never`: a contact enters once.",
    "after_exit": "Re-entry is `after_exit`: a contact that left can enter again.",
    "always": "Re-entry is `always`: a contact can start again at any time.",
}


def sources(
    conn: Connection, campaign: Campaign, contact: str, contact_id: int, *, now: datetime, zone: ZoneInfo
) -> Iterator[str]:
    """Yield, in sentences, what each source and exit says of a contact that is not in a campaign."""
    yield from _events(conn, campaign, contact_id, now=now, zone=zone)
    for source in campaigns.sources(conn, campaign.id):
        inside = bool(memberships.inside(conn, [source.id], [contact_id]))
        late = inside and source.after is not None
        late = late and not memberships.inside(conn, [source.id], [contact_id], after=source.after)
        off = "" if source.published else " The segment is not published, so nobody enters by it."
        old = " It entered before the campaign was published, and only later contacts join." if late else ""
        yield f"Source segment {source.key}: {contact} is {'in it' if inside else 'not in it'}.{old}{off}"
        why = segment_explained.explain(conn, source.key, contact, now=now, zone=zone)
        if why.has_rule:
            yield from (f"  {line}" for line in why.sentences()[1:])
    for form in campaigns.forms_of(conn, campaign.id):
        yield f"Source form {form}: a contact enters when it submits the form."
    yield from _exits(conn, campaign, contact, contact_id, now=now, zone=zone)
    if campaign.entry is not None:
        entered = entrants.entered(conn, campaign.id, campaign.entry, now=now)
        if campaign.entry.most is not None and entered.ever >= campaign.entry.most:
            yield f"The limit of {campaign.entry.most:,} entries is reached: nobody else enters, except manually."
    yield _REENTRY[campaign.reentry]
    if campaign.reentry == "never" and any(each.rule.every for each in dates.sources(conn, campaign.id)):
        yield "A date that comes again lets it enter each time."


def _events(conn: Connection, campaign: Campaign, contact_id: int, *, now: datetime, zone: ZoneInfo) -> Iterator[str]:
    """Yield which events begin runs, and why the contact's last one of them could not."""
    types = sorted({source.type for source in campaign.event_sources})
    if not types:
        return
    yield f"An event begins a run for it: {', '.join(types)}."
    past = events.recent(conn, [contact_id], types, since=now - LOOKED_BACK)
    if not past:
        return
    last = past[-1]
    meant = [source for source in campaign.event_sources if source.takes(last)]
    said = f"  The last event {last.type}, of {shown(last.at, zone)},"
    if not meant:
        yield f"{said} does not pass the tests of its data, so it began no run."
    elif not any(names_run(last, each.type, each.where, each.key) for each in meant):
        keys = " or ".join(sorted({source.key for source in meant if source.key is not None}))
        yield f"{said} names no run: {keys} must be a text or a number in its data."


def _exits(
    conn: Connection, campaign: Campaign, contact: str, contact_id: int, *, now: datetime, zone: ZoneInfo
) -> Iterator[str]:
    for key, row in sorted(campaigns.named(conn, "segments", campaign.segment_exits).items()):
        if memberships.inside(conn, [row.id], [contact_id]):
            yield f"Exit segment {key}: {contact} is in it, so only a person can add it."
    for rule in campaign.rule_exits:
        lines = list(_rule_lines(conn, rule, contact_id, {}, now=now, zone=zone))
        if lines and lines[0].startswith("  yes"):
            yield f"An exit rule is true of {contact}, so only a person can add it:"
            yield from lines


def waited_for(
    conn: Connection,
    campaign: Campaign,
    step: str,
    contact_id: int,
    entry: Mapping[str, Any],
    *,
    now: datetime,
    zone: ZoneInfo,
) -> list[str]:
    """Return what the rule of a decision says of a contact that waits there, condition by condition."""
    found = campaign.by_key.get(step)
    rule = None if found is None else found.rule
    return [] if rule is None else list(_rule_lines(conn, rule, contact_id, entry, now=now, zone=zone))


def _rule_lines(
    conn: Connection, rule: Rule, contact_id: int, entry: Mapping[str, Any], *, now: datetime, zone: ZoneInfo
) -> Iterator[str]:
    known = batch.load_rules(conn, [rule], [contact_id], now=now)
    contact = known.contacts.get(contact_id)
    if contact is not None:
        contact.entry = entry
        yield from segment_explained.lines(judging.explain(rule, contact, known.world, now, zone))
