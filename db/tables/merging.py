"""Merging contacts: all that is known of one becomes the other's, and the old key leads to the survivor.

Source: Mautic 5's merge. Of a step that the survivor has any outcome of, the other's outcomes go;
memberships of campaigns that the survivor is in go, others keep their rotation and how they came.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db import merge_locks, touched
from parcours.db.statements import filled, statements
from parcours.db.tables import campaigns, dates, events, outcomes, refusals, waits
from parcours.db.tables.waits import CancelledWait
from parcours.domain.walk.rows import OutcomeRow

sql = statements(__file__)

# Tables whose rows become the survivor's just as they are. One that a contact has several alike rows of
# belongs here.
MOVED = (
    "wait",
    "outcome",
    "message",
    "form_submission",
    "inbox",
    "event",
    "contact_alias",
    "point_log",
    "stage_log",
    # Of two, the older is dropped before.
    "contact_utm",
    "rezoned",
    # Of campaigns that only the other was in; see `_merge_runs` for those of both.
    "run",
    # As runs; those of both were moved or dropped before.
    "trial",
    "redated",
    "unjudged",
)

# Tables of which the survivor has at most one row for each value of these columns: the survivor's own stays,
# and the other's fills a gap.
FILLED: dict[str, tuple[str, ...]] = {
    "membership": ("campaign_id",),
    "leaving": ("campaign_id",),
    "entrant": ("campaign_id", "key"),
    "failure": ("step_id",),
    "segment_member": ("segment_id",),
    "segment_due": ("segment_id",),
    "contact_tag": ("tag",),
    # Added up before.
    "contact_score": ("group_key",),
    "do_not_contact": ("channel",),
    "frequency_rule": ("channel",),
    "device": ("type", "brand", "os"),
    "company_member": ("company_id",),
    # The later turn of the two is kept before.
    "date_entry": ("source_id",),
}


class Merged(NamedTuple):
    """What merging came to: memberships that the survivor had already, and waits that ended with them."""

    memberships_dropped: int
    waits_cancelled: int


def lock(conn: Connection, keys: Iterable[str]) -> dict[str, int]:
    """Take contacts out of everybody's reach, as whoever deletes them must; return their ids by key."""
    return {row.key: row.id for row in conn.execute(sql["lock"], {"keys": sorted(set(keys))})}


def without_those_in_merges(conn: Connection, contact_ids: Sequence[int]) -> list[int]:
    """Return which of these contacts, whose locks the caller holds, may be acted on together now.

    Left out is who is to be merged into another of them, since the other then has their events too, and
    who is to take in somebody, when one of the two is in other hands, or while an import is at work: their
    turn comes again. Both are locked against whoever would give them something: a campaign that the survivor
    joined meanwhile may be one that the other is in.
    """
    asked = conn.execute(sql["asked_for"], {"contact_ids": list(contact_ids)}).all()
    if not asked:
        return list(contact_ids)
    free: set[int] = set()
    if merge_locks.try_to_shut_out_imports(conn):
        both = {each.into_id for each in asked} | {each.gone_id for each in asked}
        free.update(conn.execute(sql["lock_free"], {"ids": sorted(both)}).scalars())
    left_out: set[int] = set()
    for into_id, gone_id in asked:
        if into_id not in left_out:
            left_out.add(gone_id if {into_id, gone_id} <= free else into_id)
    return [contact_id for contact_id in contact_ids if contact_id not in left_out]


def merge(conn: Connection, pairs: Mapping[int, int], *, now: datetime) -> Merged:
    """Merge contacts (the key of `pairs`) into others (the value), whose locks the caller holds.

    Nobody is on both sides, and nobody survives two at once; imports are shut out. The counters of steps and
    campaigns stay those of the outcomes and members that there are. Campaigns follow changed segments with
    the next `update`.
    """
    if not pairs:
        return Merged(0, 0)
    both = {"gone_ids": list(pairs), "into_ids": list(pairs.values())}
    campaigns.read_by_index(conn)
    said = [each._replace(contact_id=pairs[each.contact_id]) for each in refusals.left_by_address(conn, pairs)]
    conn.execute(sql["open_campaigns"], both)
    joined, ended = _merge_runs(conn, both, now=now)
    cancelled = [CancelledWait(*row) for row in conn.execute(sql["cancel_waits"], both)]
    dropped = int(conn.execute(sql["count_left"], {**both, "now": now}).scalar_one())
    conn.execute(sql["drop_outcomes"], both)
    conn.execute(sql["drop_trials"], both)
    # After the dropping, so that no wait goes without a trace.
    _record(conn, cancelled, now=now)
    _renumber(conn, pairs)
    conn.execute(sql["withdraw_messages"], {**both, "now": now})
    for name in (
        "drop_graces",
        "merge_segments",
        "merge_refusals",
        "merge_preferences",
        "merge_companies",
        "take_primary_company",
        "add_scores",
        "drop_older_utm",
    ):
        conn.execute(sql[name], both)
    conn.execute(sql["merge_attributes"], {**both, "now": now})
    # One person left a channel as either of the two.
    refusals.leave_by_address(conn, said)
    dates.merge_turns(conn, pairs)
    for table, columns in FILLED.items():
        own, others = ([(whose, column) for column in columns] for whose in ("own", table))
        conn.execute(filled(sql["give_way"], table=table, own=own, others=others), both)
    for table in (*FILLED, *MOVED):
        conn.execute(filled(sql["move"], table=table), both)
    conn.execute(sql["become_alias"], {**both, "now": now})
    # What came along was meant for the other one's timezone.
    waits.note_rezoned(conn, pairs.values())
    touched.note_anything(conn, pairs.values())
    dates.note(conn, pairs.values())
    return Merged(dropped + joined, len(cancelled) + ended)


def _merge_runs(conn: Connection, both: Mapping[str, Sequence[int]], *, now: datetime) -> tuple[int, int]:
    """Put the runs of contacts that go beside those of who survives them, in campaigns of both where either has some.

    The rotations of the one go on behind those of the other, in waits, outcomes and messages alike. Of two runs of one
    key the survivor's stays. Nobody comes back into a campaign out of which a person took the survivor. Returns how
    many memberships became one with another's, and how many waits ended.
    """
    found = conn.execute(sql["of_both_with_runs"], both).all()
    ended = 0
    # Mostly none, and of one contact seldom more than one or two.
    for row in found:
        place = {"gone_id": row.gone_id, "into_id": row.into_id, "campaign_id": row.campaign_id, "by": row.rotation}
        place |= {"control": row.control, "untreated": row.gone_control and not row.control}
        conn.execute(sql["tell_runs_apart"], place)
        removed = row.departure == "manual"
        # To whoever is in the control group nothing happens, whoever comes along.
        doubled = conn.execute(sql["runs_that_end"], {**place, "all": removed or row.control}).all()
        rotations = {"rotations": [each.rotation for each in doubled], "numbers": [each.number for each in doubled]}
        cancelled = conn.execute(sql["cancel_doubled"], {**place, **rotations}).all()
        _record(conn, [CancelledWait(*each[:5]) for each in cancelled], [each.run for each in cancelled], now=now)
        ended += len(cancelled)
        conn.execute(sql["withdraw_doubled"], {**place, **rotations})
        for name in ("move_outcomes", "move_waits", "move_messages", "move_trials", "drop_doubled_runs", "move_runs"):
            conn.execute(sql[name], {**place, **rotations, "now": now, "removed": removed})
        conn.execute(sql["drop_membership"], place)
        added = {"rotation": row.gone_rotation, "entries": row.gone_entries}
        is_in = conn.execute(sql["join_memberships"], {**place, **added}).scalar_one()
        left = row.gone_is_in + row.into_is_in - is_in
        if left:
            outcomes.count_campaign(conn, Counter({(row.campaign_id, now, "left"): left}))
    return len(found), ended


def _renumber(conn: Connection, pairs: Mapping[int, int]) -> None:
    both = {"gone_ids": list(pairs), "into_ids": list(pairs.values())}
    by = {row.gone_id: row.by for row in conn.execute(sql["passages_to_move"], both)}
    if by:
        parameters = {
            "gone_ids": list(by),
            "into_ids": [pairs[contact_id] for contact_id in by],
            "bys": list(by.values()),
        }
        conn.execute(sql["renumber"], parameters)


def _record(
    conn: Connection, cancelled: Sequence[CancelledWait], runs: Sequence[int | None] | None = None, *, now: datetime
) -> None:
    detail = {"reason": "the contact was merged into another, who is in the campaign"}
    outcomes.record(
        conn,
        [
            OutcomeRow(
                each.contact_id, each.step_id, each.rotation, each.passage, now, each.due_at, "cancelled", detail, run
            )
            for each, run in zip(cancelled, runs or [None] * len(cancelled), strict=True)
        ],
    )


def aliases(conn: Connection, keys: Iterable[str]) -> dict[str, int]:
    """Return the contacts that keys of merged contacts lead to; other keys are left out."""
    return {row.key: row.contact_id for row in conn.execute(sql["aliases"], {"keys": sorted(set(keys))})}


def lead_to(conn: Connection, contacts: Mapping[str, int], *, now: datetime) -> None:
    """Let keys that are no contact's lead to contacts, also those that led to somebody else."""
    if contacts:
        parameters = {"keys": list(contacts), "contact_ids": list(contacts.values()), "now": now}
        conn.execute(sql["lead_to"], parameters)


def forget(conn: Connection, at: Mapping[str, datetime]) -> set[str]:
    """Erase those of these keys that are a merged contact's; return them. The survivor stays."""
    if not at:
        return set()
    gone = set(conn.execute(sql["forget"], {"keys": sorted(at)}).scalars())
    events.tombstone(conn, {key: at[key] for key in gone})
    return gone
