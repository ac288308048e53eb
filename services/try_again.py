"""Trying steps again at which contacts failed for good."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from parcours.db.clock import now as database_now
from parcours.db.reads import batch
from parcours.db.tables import campaigns, membership, outcomes, waits
from parcours.db.tables.outcomes import FailedAt, FailedPassage
from parcours.domain.campaign import Campaign, Step
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.walk.rows import Member, Wait

# Contacts of one transaction.
AT_ONCE = 500
_LAST_CONTACT = 2**63 - 1


class TriedAgain(NamedTuple):
    """How many contacts are at the step again, and how many have left it behind. `more`: time was up before the end."""

    contacts: int
    gone: int
    more: bool


def try_again(
    engine: Engine,
    key: str,
    step_key: str,
    why: str | None,
    *,
    who: str,
    zone: ZoneInfo,
    now: datetime | None = None,
    seconds: float | None = None,
) -> TriedAgain:
    """Let contacts who failed at a step for good, all or those with one reason, wait there again, due at once.

    It is the passage that failed which goes on: its outcome is taken back in the transaction that writes the wait, so
    there is one outcome again in the end. Who has left the campaign, or has jumped on, stays as they are. After so many
    `seconds` no further batch is begun. The activity of the campaign tells who did it.

    Raises CampaignError where contacts went on after the failure, since they would do the next steps twice.
    """
    until = None if seconds is None else time.monotonic() + seconds
    n = gone = 0
    entry: int | None = None
    past: FailedAt | None = None
    while True:
        with engine.begin() as conn:
            at = now or database_now(conn)
            campaigns.read_by_index(conn, in_order=True)
            found = campaigns.find(conn, key)
            campaign, _status = campaigns.enter_readable(conn, found.id, zone)
            step = _step(campaign, step_key)
            # What fails from now on is no longer meant.
            past = past or FailedAt(at, _LAST_CONTACT)
            asked = outcomes.failed_at(conn, step.id, why, past=past, limit=AT_ONCE)
            back, stay = _back_at(conn, campaign, step, why, [each.contact_id for each in asked], now=at)
            n, gone = n + back, gone + stay
            ended = len(asked) < AT_ONCE
            is_late = until is not None and time.monotonic() > until
            detail = {"step": step.key, "contacts": n, "why": why}
            # In the transaction of each batch, so that whoever is cut off leaves an entry that tells what was done.
            if entry is not None:
                campaigns.audit_more(conn, entry, detail)
            elif back:
                entry = campaigns.audit(conn, campaign.id, who=who, what="step tried again", now=at, detail=detail)
        if ended or is_late:
            return TriedAgain(n, gone, not ended)
        past = asked[-1]


def _step(campaign: Campaign, key: str) -> Step:
    step = campaign.by_key.get(key)
    if step is None:
        raise NotFoundError("step", key)
    if step.on_failure == "continue":
        raise CampaignError(
            f"contacts who fail at {key!r} go on with the next steps, so that the step is not tried again"
        )
    return step


def _back_at(
    conn: Connection, campaign: Campaign, step: Step, why: str | None, contact_ids: Sequence[int], *, now: datetime
) -> tuple[int, int]:
    """Put failed passages back to their step; return how many, and of how many contacts they are over."""
    ids = sorted(batch.lock(conn, sorted(set(contact_ids))))
    if not ids:
        return 0, 0
    members = membership.members(conn, campaign.id, ids)
    failed = outcomes.failures_of(conn, step.id, why, ids)
    back = [each for each in failed if _goes_on(each, members)]
    outcomes.take_back(conn, step.id, [(each.contact_id, each.rotation, each.passage) for each in back], "failed")
    outcomes.forgive(conn, [(each.contact_id, step.id) for each in back])
    waits.arm(
        conn,
        [
            Wait(
                each.contact_id,
                step.id,
                campaign.id,
                each.rotation,
                each.passage,
                0,
                "retry",
                each.due_at or each.at,
                now,
            )
            for each in back
        ],
    )
    return len(back), len(failed) - len(back)


def _goes_on(failed: FailedPassage, members: dict[int, Member]) -> bool:
    """Return whether the contact is still in the rotation in which it failed."""
    member = members.get(failed.contact_id)
    run = None if member is None else member.at(failed.rotation)
    return run is not None and run.active and run.rotation == failed.rotation
