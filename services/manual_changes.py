"""What a person does to members of campaigns and segments, with the entry in the audit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.reads import batch
from parcours.db.tables import campaigns, entrants, segments
from parcours.db.tables import rules as rule_table
from parcours.domain.contacts.membership import Arrival, Departure
from parcours.workers import membership, rules

ALREADY_IN = "already in it; its `reentry` does not allow a restart"
NOT_IN = "not in it"
_LEFT = {"removed": "removed", "stays out": "already out; the removal is now permanent"}


def add(
    conn: Connection, campaign_id: int, contact_ids: Sequence[int], *, who: str, now: datetime, zone: ZoneInfo
) -> dict[int, str]:
    """Add contacts to a campaign; return what became of each. Who is left out here is `ALREADY_IN`.

    Segments never remove the contact. A contact who left or was removed returns.
    """
    tree, _ = campaigns.enter_readable(conn, campaign_id, zone)
    done = dict[int, str](membership.admit(conn, tree, contact_ids, Arrival.MANUAL, now=now, zone=zone))
    _tell(conn, campaign_id, "contacts added by hand", len(done), who=who, now=now)
    rules.follow(conn, now=now, zone=zone)
    return done


def remove(
    conn: Connection, campaign_id: int, contact_ids: Sequence[int], *, who: str, now: datetime, zone: ZoneInfo
) -> dict[int, str]:
    """Remove contacts from a campaign; return what became of each. Who is left out here is `NOT_IN`.

    The contact's waits are cancelled. The contact returns only when added manually.
    """
    tree, _ = campaigns.enter(conn, campaign_id, zone)
    if tree.entry is not None:
        entrants.drop(conn, campaign_id, contact_ids)
    done = membership.dismiss(conn, campaign_id, contact_ids, Departure.MANUAL, now=now)
    _tell(conn, campaign_id, "contacts removed by hand", len(done), who=who, now=now)
    rules.follow(conn, now=now, zone=zone)
    return {contact_id: _LEFT[what] for contact_id, what in done.items()}


def change_segment(
    conn: Connection, segment_id: int, contact_ids: Sequence[int], *, inside: bool, now: datetime, zone: ZoneInfo
) -> list[int]:
    """Put contacts into a segment or take them out, with all that follows for campaigns; return whom that moved."""
    campaigns.read_by_index(conn)
    locked = batch.lock(conn, contact_ids)
    change_members = segments.add_members if inside else segments.remove_members
    moved = change_members(conn, segment_id, locked, manual=True, now=now)
    if moved:
        membership.segment_changed(conn, segment_id, moved, now=now, zone=zone)
        rules.follow(conn, now=now, zone=zone)
    return moved


def release(conn: Connection, segment_id: int, contact_ids: Sequence[int], *, now: datetime, zone: ZoneInfo) -> int:
    """Let a segment's rule decide of contacts again who were put in or taken out by hand; return of how many."""
    campaigns.read_by_index(conn)
    released = rule_table.release(conn, segment_id, batch.lock(conn, contact_ids))
    rules.ask_again(conn, segment_id, released, now=now, zone=zone)
    return len(released)


def _tell(conn: Connection, campaign_id: int, what: str, n: int, *, who: str, now: datetime) -> None:
    if n:
        campaigns.audit(conn, campaign_id, who=who, what=f"{what}: {n:,}", now=now)
