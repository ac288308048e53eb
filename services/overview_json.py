"""The figures of a campaign as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.reads import overview
from parcours.db.reads.overview import Figures, Overview, StepFigures
from parcours.db.tables import campaigns, entrants
from parcours.domain.campaign import Campaign
from parcours.domain.entry import EntryLimit
from parcours.domain.time.text import iso
from parcours.services.goal_figures import goal_figures, goal_json
from parcours.services.standing import Standings, standings, standings_json
from parcours.services.weak_emails import WeakEmails, weak_emails, weak_emails_json

DELIVERIES = ("queued", "delivered", "undelivered", "withdrawn")


def overview_json(conn: Connection, campaign: str, zone: ZoneInfo) -> dict[str, Any]:
    """Return the figures of a campaign, by key or id, as `overview --json` has them. Raises NotFoundError."""
    about, why_not, figures = look_up(conn, campaign, zone)
    loaded = campaigns.load(conn, about["id"], about["version"], zone)
    emails, standing = insights(conn, loaded, figures, why_not=why_not, now=database_now(conn))
    return {
        "campaign": about,
        **figures_json(figures),
        "goal": goal_json(goal_figures(conn, loaded)),
        "emails": weak_emails_json(emails),
        "waits": standings_json(standing),
    }


def insights(
    conn: Connection, campaign: Campaign, figures: Figures, *, why_not: str | None, now: datetime
) -> tuple[WeakEmails, Standings]:
    """Return which emails do worst, and where contacts wait; `why_not`: why the campaign does not run."""
    waiting = {step.step: step.waiting for step in figures.steps}
    return weak_emails(conn, campaign, now=now), standings(conn, campaign, waiting, why_not=why_not, now=now)


def look_up(conn: Connection, campaign: str, zone: ZoneInfo) -> tuple[dict[str, Any], str | None, Overview]:
    found = campaigns.find(conn, campaign)
    row = campaigns.listing(conn, [found.id])[0]
    why_not = campaigns.status_of(row).why_not(database_now(conn), zone)
    about = {
        "id": found.id,
        "key": found.key,
        "name": found.name,
        "description": row.description,
        "category": row.category,
        "published": row.published,
        "running": why_not is None,
        "version": found.version,
    }
    loaded = campaigns.load(conn, found.id, found.version, zone)
    if loaded.entry is not None:
        about["entry"] = entry_json(conn, loaded.id, loaded.entry)
    return about, why_not, overview.of(conn, loaded)


def entry_json(conn: Connection, campaign_id: int, limit: EntryLimit) -> dict[str, Any]:
    """Return the limit of a campaign's entrants: how many entered, ever and in the present period, and who is held."""
    entered = entrants.entered(conn, campaign_id, limit, now=database_now(conn))
    return {
        "most": limit.most,
        "rate": limit.rate,
        "period_seconds": None if limit.period is None else int(limit.period.total_seconds()),
        "entered": entered.ever,
        "entered_in_period": entered.now,
        "held_back": entered.held,
    }


def figures_json(figures: Overview) -> dict[str, Any]:
    """Return the figures as `overview --json` has them."""
    return {
        "contacts": {
            "added": figures.added,
            "active": figures.active,
            "left": figures.left,
            "erased": figures.erased,
        },
        "emails_sent": figures.emails_sent,
        "page_views": figures.page_views,
        "steps": list(map(_figures, figures.steps)),
        "removed_steps": list(map(_figures, figures.removed)),
        "series": [{**each, "day": each["day"].isoformat()} for each in figures.series],
        "activity": [{**each, "at": iso(each["at"])} for each in figures.activity],
    }


def _figures(step: StepFigures) -> dict[str, Any]:
    return {
        "step": step.step,
        "kind": step.kind,
        "type": step.type,
        "parent": step.parent,
        "branch": step.branch,
        "reached": step.reached,
        "waiting": step.waiting,
        **step.results,
        **{name: getattr(step, name) for name in DELIVERIES},
    }
