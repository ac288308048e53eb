"""How many contacts match a rule: counted where there are few, else estimated from a sample within a bounded time."""

from __future__ import annotations

import random
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.reads import rules as in_sql
from parcours.db.tables import rebuilds
from parcours.db.tables.membership import Chunk
from parcours.domain.segments.rule import Rule
from parcours.domain.steps.types import Failed

# Ids that are asked about at most, and of one of the ranges that are drawn.
MOST_ASKED = 40_000
RANGE = 4_000


class RuleCount(NamedTuple):
    """How many of all contacts match; `about`: an estimate. `failed`: so many about whom the rule cannot tell."""

    matching: int
    about: bool
    failed: int
    total: int = 0


def count(conn: Connection, rule: Rule, *, now: datetime, zone: ZoneInfo) -> RuleCount:
    """Return how many contacts match a rule; nothing is changed."""
    whole = rebuilds.id_range(conn)
    if whole is None:
        return RuleCount(0, False, 0)
    width = whole.last_id - whole.first_id + 1
    starts = range(whole.first_id, whole.last_id + 1, RANGE)
    # The same ranges each time, so that a number changes with the rule alone.
    drawn = starts if width <= MOST_ASKED else sorted(random.Random(width).sample(starts, MOST_ASKED // RANGE))
    matching = failed = asked = 0
    for first in drawn:
        last = min(first + RANGE - 1, whole.last_id)
        asked += rebuilds.contacts_in(conn, Chunk(first, last))
        answers = in_sql.judged(conn, rule, first, last, now=now, zone=zone)
        matching += sum(each.answer is True for each in answers.values())
        failed += sum(isinstance(each.answer, Failed) for each in answers.values())
    if width <= MOST_ASKED:
        return RuleCount(matching, False, failed, asked)
    share = width / (len(drawn) * RANGE)
    return RuleCount(round(matching * share), True, failed, round(asked * share))
