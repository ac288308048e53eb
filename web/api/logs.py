"""What became of whom at which step of a campaign, and who stands where until when."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from parcours.db.tables import campaigns, outcomes
from parcours.db.tables.outcomes import Logged, Waiting
from parcours.services.log_json import filters, log_json, waiting_json
from parcours.web.api.common import NEVER, Cursor, Instant, Limit, Listed, Reader, SiteOf, api_router, page, place_of

router = api_router("logs")

OfContact = Annotated[str | None, Query(description="Key of a contact: only its entries.")]
OfStep = Annotated[str | None, Query(description="Key of a step: only its entries.")]


class LogEntry(BaseModel):
    """The result of a step for a contact."""

    contact: str = Field(examples=["ann"])
    step: str = Field(examples=["hello"])
    rotation: int = Field(examples=[1])
    run: str | None = Field(examples=[None], description="The key of the run, where the contact may have several.")
    result: str = Field(examples=["done"], description="done, skipped, failed, yes, no or cancelled.")
    at: Instant
    due_at: Instant | None
    detail: dict[str, Any] = Field(examples=[{}])


class StandingResource(BaseModel):
    """A contact that waits at a step. Without `due_at`, it waits for an event."""

    contact: str = Field(examples=["ann"])
    step: str = Field(examples=["opened"])
    rotation: int = Field(examples=[1])
    run: str | None = Field(examples=[None], description="The key of the run, where the contact may have several.")
    waiting: str = Field(examples=["decision"], description="The kind of the step, or retry.")
    due_at: Instant | None
    reason: str | None = Field(
        examples=[None], description="Error of the last attempt, or the reason why the message is held back."
    )


@router.get("/campaigns/{campaign}/log", summary="List outcomes")
def list_log(
    site: SiteOf,
    _who: Reader,
    campaign: str,
    contact: OfContact = None,
    step: OfStep = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Listed[LogEntry]:
    """Oldest first, as `parcours log --json` prints it."""
    place = place_of(cursor, "log", datetime, int, int, int, int)
    after = None if place is None else Logged(*place)
    with site.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
        contact_id, step_id = filters(conn, found, contact, step)
        rows = list(outcomes.log(conn, found.id, contact_id=contact_id, step_id=step_id, after=after, limit=limit + 1))
    shown, more = page(rows, limit, "log", lambda row: (row.at, row.contact_id, row.rotation, row.step_id, row.passage))
    return Listed(items=[LogEntry(**log_json(row)) for row in shown], next=more)


@router.get("/campaigns/{campaign}/waiting", summary="List open waits")
def list_waiting(
    site: SiteOf,
    _who: Reader,
    campaign: str,
    contact: OfContact = None,
    step: OfStep = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Listed[StandingResource]:
    """Next due first, as `parcours log --waiting --json` prints it."""
    place = place_of(cursor, "waiting", NEVER, int, int, int)
    after = None if place is None else Waiting(*place)
    with site.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
        contact_id, step_id = filters(conn, found, contact, step)
        rows = list(
            outcomes.waiting(conn, found.id, contact_id=contact_id, step_id=step_id, after=after, limit=limit + 1)
        )
    shown, more = page(rows, limit, "waiting", lambda row: (row.due_at, row.contact_id, row.step_id, row.passage))
    return Listed(items=[StandingResource(**waiting_json(row)) for row in shown], next=more)
