"""Since when contacts wait at the steps of a campaign, and what for; the cost has a bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from parcours.db.reads.overview import WAITS_COUNTED
from parcours.db.statements import statements
from parcours.db.tables import campaigns
from parcours.domain.campaign import Campaign
from parcours.domain.messages.policy import OF_THE_DAY
from parcours.domain.steps.types import Kind

sql = statements(__file__)

# What is due for longer than that should have been done by now.
LATE_AFTER = timedelta(minutes=15)
# Waits that are read as a whole, shared by the steps at which somebody waits; and blocks of the table beyond.
WAITS_READ = 12_000
BLOCKS_READ = 150
# Fewer of a step in the sample say nothing of its median.
LEAST_SAMPLED = 30
# Messages of a lane.
MESSAGES_READ = 2_000
# By all that messages go.
CHANNELS = ("email", "push", "sms", "webhook")


@dataclass(frozen=True)
class StepStanding:
    """Who waits at a step, since when (half of them at least, and the first), and what for.

    `planned`: for a delay, a date or a time window. `answer`: for what the contact does. `late`: due for more than 15
    minutes, the first since `late_since`. `retrying`: the step failed and is tried again. `held`: held back by a
    frequency cap or a pause of the contact. `unsent` messages of the step should have left, the first written at
    `unsent_since`; `unsent_error` is what most of them met. `about`: some of this is an estimate.
    """

    step: str
    waiting: int
    median_since: datetime | None
    oldest_since: datetime | None
    planned: int = 0
    answer: int = 0
    late: int = 0
    late_since: datetime | None = None
    retrying: int = 0
    held: int = 0
    unsent: int = 0
    unsent_since: datetime | None = None
    unsent_error: str | None = None
    about: bool = False

    @property
    def stuck(self) -> int:
        """How many are there longer than was planned."""
        return self.late + self.retrying + self.held + self.unsent


def of(conn: Connection, campaign: Campaign, waiting: Mapping[int, int], *, now: datetime) -> list[StepStanding]:
    """Return the steps at which somebody waits or messages do, in their order; `waiting` says how many, by step."""
    there = [id_ for id_ in campaign.steps if waiting.get(id_)]
    campaigns.read_by_index(conn, in_order=True)
    late = now - LATE_AFTER
    limit = max(1, WAITS_READ // max(1, len(there)))
    given = {"step_ids": there, "late": late, "limit": limit, "of_the_day": sorted(OF_THE_DAY)}
    front = {row.step_id: row for row in conn.execute(sql["front"], given)} if there else {}
    many = [id_ for id_, row in front.items() if row.n == limit and waiting[id_] > limit]
    sampled = _sample(conn, many)
    counted = _late(conn, [id_ for id_ in many if front[id_].late == limit], late, len(there))
    unsent = _unsent(conn, campaign, late=late, now=now)
    found = []
    for id_, step in campaign.steps.items():
        row = front.get(id_)
        messages = unsent.get(id_)
        if row is None and messages is None:
            continue
        standing = (
            StepStanding(step.key, 0, None, None)
            if row is None
            else _whole(step.key, row)
            if id_ not in many
            else _partly(step.key, step.kind, row, waiting[id_], sampled.get(id_), max(row.late, counted.get(id_, 0)))
        )
        found.append(standing if messages is None else _with_messages(standing, messages))
    return found


def _whole(step: str, row: Row[Any]) -> StepStanding:
    return StepStanding(
        step,
        row.n,
        row.median_since,
        row.oldest_since,
        row.n - row.answer - row.late - row.retrying - row.held,
        row.answer,
        row.late,
        row.late_since,
        row.retrying,
        row.held,
    )


def _partly(step: str, kind: Kind, row: Row[Any], waiting: int, sampled: Row[Any] | None, late: int) -> StepStanding:
    """Return the standing of a step at which so many wait that only the front of them was read."""
    late = min(late, waiting)
    rest = max(0, waiting - late - row.retrying - row.held)
    is_decision = kind is Kind.DECISION
    return StepStanding(
        step,
        waiting,
        sampled.median_since if sampled is not None and sampled.n >= LEAST_SAMPLED else None,
        row.oldest_since if sampled is None else min(row.oldest_since, sampled.oldest_since),
        0 if is_decision else rest,
        rest if is_decision else 0,
        late,
        row.late_since,
        row.retrying,
        row.held,
        about=True,
    )


def _with_messages(standing: StepStanding, row: Row[Any]) -> StepStanding:
    return StepStanding(
        **{**vars(standing), "unsent": row.n, "unsent_since": row.since, "unsent_error": row.error or None}
    )


def _sample(conn: Connection, step_ids: Sequence[int]) -> dict[int, Row[Any]]:
    if not step_ids:
        return {}
    given = {"step_ids": list(step_ids), "blocks": BLOCKS_READ}
    return {row.step_id: row for row in conn.execute(sql["sample"], given)}


def _late(conn: Connection, step_ids: Sequence[int], late: datetime, steps: int) -> dict[int, int]:
    """Return how many are late at each of some steps, as far as its share of what may be counted goes."""
    if not step_ids:
        return {}
    given = {"step_ids": list(step_ids), "late": late, "limit": max(1, WAITS_COUNTED // steps)}
    return {row.step_id: row.n for row in conn.execute(sql["late"], given)}


def _unsent(conn: Connection, campaign: Campaign, *, late: datetime, now: datetime) -> dict[int, Row[Any]]:
    given = {
        "channels": list(CHANNELS),
        "campaign_id": campaign.id,
        "late": late,
        "now": now,
        "limit": MESSAGES_READ,
        "rated": campaign.per_second is not None,
    }
    return {row.step_id: row for row in conn.execute(sql["unsent"], given)}
