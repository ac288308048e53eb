"""What went wrong in a campaign, and what was passed over: by step and reason."""

from datetime import datetime
from typing import Literal, NamedTuple, get_args

from sqlalchemy import Connection

from parcours.db.reads.standing import CHANNELS
from parcours.db.statements import statements
from parcours.domain.campaign import Campaign

sql = statements(__file__)

# Rows of a step that a page looks at, the latest first; fewer of each where there are many steps.
LOOKED_AT = 2_000
LOOKED_AT_TOGETHER = 10_000
# Errors that name the contact are as many as the contacts.
GROUPS_OF_A_STEP = 20

What = Literal["failed", "retrying", "unsent", "undelivered", "skipped"]


class Trouble(NamedTuple):
    """Contacts, among the latest that were looked at, to whom the same happened at a step; an empty `why`: unknown.

    Of what is `unsent`, `latest_at` is when the first of them is tried next.
    """

    what: What
    step_id: int
    why: str
    n: int
    latest_at: datetime


class Troubles(NamedTuple):
    """Groups of a kind, the largest of each step first. `partly`: there is more than was looked at or is shown."""

    what: What
    groups: list[Trouble]
    partly: bool


def of(conn: Connection, campaign: Campaign) -> list[Troubles]:
    """Return the failures and skips of a campaign, each kind in groups of a step and a reason."""
    return [_of(conn, campaign, what) for what in get_args(What)]


def _of(conn: Connection, campaign: Campaign, what: What) -> Troubles:
    limit = min(LOOKED_AT, LOOKED_AT_TOGETHER // max(1, len(campaign.steps)))
    given = {"step_ids": list(campaign.steps), "limit": limit}
    match what:
        case "failed" | "skipped":
            rows = conn.execute(sql["outcomes"], {**given, "result": what})
        case "retrying":
            rows = conn.execute(sql["retries"], given)
        case "unsent":
            rows = conn.execute(sql["unsent"], {**given, "campaign_id": campaign.id, "channels": list(CHANNELS)})
        case "undelivered":
            rows = conn.execute(sql["messages"], {**given, "campaign_id": campaign.id})
    found: dict[int, list[Trouble]] = {}
    for row in rows:
        found.setdefault(row.step_id, []).append(Trouble(what, row.step_id, row.why, row.n, row.latest_at))
    partly = any(
        len(groups) > GROUPS_OF_A_STEP or sum(group.n for group in groups) >= limit for groups in found.values()
    )
    kept = [group for step_id in campaign.steps for group in found.get(step_id, [])[:GROUPS_OF_A_STEP]]
    return Troubles(what, kept, partly)
