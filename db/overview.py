"""The figures of a campaign, from counters that are kept with what they count."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from db import campaigns, waits
from db.statements import statements
from domain.campaign import Campaign

sql = statements("overview")
RESULTS = ("done", "skipped", "failed", "yes", "no", "cancelled")


@dataclass(frozen=True)
class StepFigures:
    """One step of the tree; `reached` are the contacts that came here: those that wait, and every outcome."""

    step: str
    kind: str
    type: str
    parent: str | None
    branch: str | None
    reached: int
    waiting: int
    results: dict[str, int]


@dataclass(frozen=True)
class Overview:
    added: int
    left: int
    emails_sent: int
    page_views: int
    steps: list[StepFigures]
    # Steps that the present version does not have and that contacts came to; they stand nowhere in the tree.
    removed: list[StepFigures]
    series: list[dict[str, Any]]
    activity: list[dict[str, Any]]

    @property
    def active(self) -> int:
        return self.added - self.left


@dataclass(frozen=True)
class Backlog:
    campaign: str
    published: bool
    due: int
    waiting: int
    oldest_due_at: datetime | None


def of(conn: Connection, campaign: Campaign) -> Overview:
    """Return the figures of a campaign; their cost does not depend on its contacts, but for who waits now."""
    ids = list(campaign.steps)
    counted: dict[int, dict[str, int]] = {id_: dict.fromkeys(RESULTS, 0) for id_ in ids}
    for row in conn.execute(sql["results"], {"step_ids": ids}):
        counted[row.step_id][row.result] = row.n
    waiting = waits.count_at(conn, ids)
    steps = [
        StepFigures(
            step.key,
            step.kind.value,
            step.type.name,
            None if step.parent is None else campaign.steps[step.parent].key,
            step.branch,
            waiting.get(step.id, 0) + sum(counted[step.id].values()),
            waiting.get(step.id, 0),
            counted[step.id],
        )
        for step in campaign.steps.values()
    ]
    removed = _removed(conn, campaign)
    whole = conn.execute(sql["contacts"], {"campaign_id": campaign.id}).one()
    series = [dict(row._mapping) for row in conn.execute(sql["series"], {"campaign_id": campaign.id})]
    activity = [{"at": row.at, "who": row.who, "what": row.what} for row in campaigns.activity(conn, campaign.id)]
    return Overview(whole.added, whole.left, whole.emails_sent, whole.page_views, steps, removed, series, activity)


def _removed(conn: Connection, campaign: Campaign) -> list[StepFigures]:
    gone = {step.id: step for step in campaigns.steps(conn, campaign.id) if step.id not in campaign.steps}
    counted: dict[int, dict[str, int]] = {}
    for row in conn.execute(sql["results"], {"step_ids": list(gone)}) if gone else ():
        counted.setdefault(row.step_id, dict.fromkeys(RESULTS, 0))[row.result] = row.n
    return [
        StepFigures(step.key, step.kind, step.type, None, None, sum(counted[id_].values()), 0, counted[id_])
        for id_, step in gone.items()
        if any(counted.get(id_, {}).values())
    ]


def backlog(conn: Connection, *, now: datetime) -> list[Backlog]:
    """Return what is due and what waits, by campaign."""
    waiting = {row.campaign: row.n for row in conn.execute(sql["waiting"])}
    return [
        Backlog(row.campaign, row.published, row.due, waiting.get(row.campaign, 0), row.oldest_due_at)
        for row in conn.execute(sql["backlog"], {"now": now})
    ]


def steps_in_last_minute(conn: Connection, *, now: datetime) -> int:
    """Return how many outcomes were written in the minute before an instant."""
    return int(conn.execute(sql["recent"], {"now": now}).scalar_one())


def outbox(conn: Connection) -> dict[str, int]:
    """Return how many messages are in each state."""
    return {row.state: row.n for row in conn.execute(sql["outbox"])}


def open_sweeps(conn: Connection) -> list[dict[str, Any]]:
    """Return the sweeps that are not finished: id, kind, asked_at, started_at."""
    return [dict(row._mapping) for row in conn.execute(sql["open_sweeps"])]
