"""How contacts answered the decisions of a campaign so far."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.domain.campaign import Campaign
from parcours.domain.steps.types import Kind

sql = statements(__file__)

# Answers whose time is looked at, of each decision, and how old they may be.
MOST = 2_000
OLDEST = timedelta(days=366)


class LearntAnswer(NamedTuple):
    """How a decision was answered: how many said yes, how many did not, and after how many seconds the yeses came."""

    yes: int
    no: int
    seconds: Sequence[float]

    @property
    def percent(self) -> float:
        """The share of yes, in percent."""
        return 100 * self.yes / (self.yes + self.no)


def answers(conn: Connection, campaign: Campaign, *, now: datetime, times: bool = True) -> dict[str, LearntAnswer]:
    """Return how the decisions of a campaign were answered, by step key; those that nobody answered are left out.

    Who waits at a decision without a deadline has not answered. With their `times`, it reads the outcomes of a year.
    """
    decisions = [step for step in campaign.steps.values() if step.kind is Kind.DECISION]
    parameters = {
        "step_ids": [step.id for step in decisions],
        "parent_ids": [step.parent for step in decisions],
        "since": now - OLDEST,
        "most": MOST if times else 0,
    }
    keys = {step.id: step.key for step in decisions}
    found = {}
    for row in conn.execute(sql["answers"], parameters):
        if row.yes + row.no + row.open:
            found[keys[row.step_id]] = LearntAnswer(row.yes, row.no + row.open, list(row.seconds))
    return found
