"""Exits by rule: whom the rules of a campaign let out of it, and do not let in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from parcours.db.reads import batch
from parcours.db.reads import rules as in_sql
from parcours.db.tables.membership import Chunk
from parcours.domain.campaign import Campaign
from parcours.domain.segments.judging import Judged, in_short, judged
from parcours.domain.steps.types import Failed
from parcours.domain.walk.walk import next_look

log = structlog.get_logger()


class Told(NamedTuple):
    """Why a contact is to be out, None if it is not, and when that may change by time alone; None: never."""

    reason: str | None
    asked_at: datetime | None


def told(
    conn: Connection, campaign: Campaign, contact_ids: Sequence[int], *, now: datetime, zone: ZoneInfo
) -> dict[int, Told]:
    """Return what the exits by rule say of contacts whose locks the caller holds; of whom one cannot tell, stays."""
    known = batch.load_rules(conn, campaign.rule_exits, contact_ids, now=now)
    contacts = list(known.contacts.values())
    found = {contact.id: Told(None, None) for contact in contacts}
    failed: Counter[str] = Counter()
    for rule in campaign.rule_exits:
        answers = judged(rule, contacts, known.world, now, zone, campaign=campaign)
        for contact, each in zip(contacts, answers, strict=True):
            before = found[contact.id]
            if before.reason is None:
                found[contact.id] = _with(before, each, f"exit rule: {in_short(rule)}", now)
            if isinstance(each.answer, Failed):
                failed[each.answer.error] += 1
    for error, n in failed.items():
        log.error("exit_rule_failed", campaign=campaign.key, contacts=n, error=error)
    return found


def _with(before: Told, each: Judged, reason: str, now: datetime) -> Told:
    if each.answer is True:
        return Told(reason, each.changes_at)
    return Told(None, next_look(each, before.asked_at, now))


def of_range(
    conn: Connection, campaign: Campaign, chunk: Chunk, *, now: datetime, zone: ZoneInfo
) -> dict[int, datetime | None]:
    """Return who of a range of contacts is to be out by the exits by rule, asked set by set, and when that may change
    by time alone; None: never."""
    found: dict[int, datetime | None] = {}
    for rule in campaign.rule_exits:
        for contact_id, each in in_sql.judged(conn, rule, *chunk, now=now, zone=zone).items():
            if each.answer is True:
                known = (found.get(contact_id), each.changes_at)
                found[contact_id] = min((at for at in known if at is not None), default=None)
    return found


def by_reason(answers: Mapping[int, Told]) -> dict[str, list[int]]:
    """Return who is to be out, by the reason."""
    found: dict[str, list[int]] = {}
    for contact_id, each in answers.items():
        if each.reason is not None:
            found.setdefault(each.reason, []).append(contact_id)
    return found
