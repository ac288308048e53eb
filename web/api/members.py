"""Members of campaigns: who is in, and in and out by hand."""

from __future__ import annotations

from pydantic import BaseModel, Field

from parcours.db import partitions
from parcours.db.reads import listings
from parcours.db.reads.listings import FIRST, Asked, MemberLine, State
from parcours.db.tables import campaigns
from parcours.domain.time.text import iso
from parcours.services import manual_changes
from parcours.web.api.common import (
    Cursor,
    Instant,
    Limit,
    Listed,
    Manager,
    Reader,
    SiteOf,
    api_router,
    contact_id,
    cursor_of,
    place_of,
)
from parcours.web.context import Site

router = api_router("members")


class MemberWait(BaseModel):
    """A step at which a member waits. Without `due_at`, it waits for an event."""

    step: str = Field(examples=["hello"])
    reason: str = Field(examples=["delay"])
    attempt: int = Field(examples=[0])
    due_at: Instant | None
    run: str | None = Field(examples=[None], description="The key of the run, where the contact may have several.")
    error: str | None = Field(examples=[None], description="Error of the last attempt, if it failed.")


class MemberResource(BaseModel):
    """A contact who is or was in a campaign."""

    contact: str = Field(examples=["ann"])
    email: str | None = Field(examples=["ann@example.com"])
    timezone: str | None = Field(examples=["Europe/Paris"])
    rotation: int | None = Field(examples=[1])
    added_at: Instant | None
    arrival: str | None = Field(examples=["segment"])
    left_at: Instant | None
    departure: str | None = Field(examples=[None])
    waits: list[MemberWait]


class Moved(BaseModel):
    """The result for a contact."""

    contact: str = Field(examples=["ann"])
    changed: bool = Field(examples=[True])
    what: str = Field(
        examples=["added"], description="Result: added, back, restarted, removed, or the reason why nothing changed."
    )


@router.get("/campaigns/{campaign}/members", summary="List members")
def list_members(
    site: SiteOf, _who: Reader, campaign: str, limit: Limit = 50, cursor: Cursor = None, state: State | None = None
) -> Listed[MemberResource]:
    """Newest contact first, with open waits. `state` selects members who are active or who left."""
    place = place_of(cursor, "members", int)
    before = FIRST if place is None else place[0]
    with site.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
        page = listings.members(conn, found.id, Asked(state=state), found=None, before=before, limit=limit)
        steps = {step.id: step.key for step in campaigns.steps(conn, found.id)}
    items = [_member(line, steps) for line in page.rows]
    return Listed(items=items, next=None if page.after is None else cursor_of("members", page.after))


@router.put("/campaigns/{campaign}/members/{contact:path}", summary="Add a contact manually", operation_id="put_member")
@router.post(
    "/campaigns/{campaign}/members/{contact:path}", summary="Add a contact manually", operation_id="add_member"
)
def add_member(site: SiteOf, who: Manager, campaign: str, contact: str) -> Moved:
    """Segments never remove the contact. A contact who left or was removed returns."""
    return _move(site, who, campaign, contact, inside=True)


@router.delete("/campaigns/{campaign}/members/{contact:path}", summary="Remove a contact manually")
def remove_member(site: SiteOf, who: Manager, campaign: str, contact: str) -> Moved:
    """The contact's waits are cancelled. The contact returns only when added manually."""
    return _move(site, who, campaign, contact, inside=False)


def _move(site: Site, who: str, campaign: str, contact: str, *, inside: bool) -> Moved:
    now = partitions.begin(site.engine)
    with site.engine.begin() as conn:
        found = campaigns.find(conn, campaign)
        id_ = contact_id(conn, contact)
        move, otherwise = (
            (manual_changes.add, manual_changes.ALREADY_IN)
            if inside
            else (manual_changes.remove, manual_changes.NOT_IN)
        )
        done = move(conn, found.id, [id_], who=who, now=now, zone=site.zone)
    return Moved(contact=contact, changed=id_ in done, what=done.get(id_, otherwise))


def _member(line: MemberLine, steps: dict[int, str]) -> MemberResource:
    return MemberResource(
        contact=line.key,
        email=line.email,
        timezone=line.timezone,
        rotation=line.rotation,
        added_at=iso(line.added_at),
        arrival=line.arrival,
        left_at=iso(line.left_at),
        departure=line.departure,
        waits=[
            MemberWait(
                step=steps[wait.step_id],
                reason=wait.reason,
                attempt=wait.attempt,
                due_at=iso(wait.due_at),
                run=wait.run,
                error=wait.error,
            )
            for wait in line.waits
        ],
    )
