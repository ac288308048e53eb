"""Segments: what there is, who is in them, and in and out by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from parcours.db import partitions
from parcours.db.reads import listings
from parcours.db.reads.listings import FIRST
from parcours.db.tables import segments
from parcours.db.tables.segments import COUNTED, SegmentLine
from parcours.domain.errors import NotFoundError
from parcours.domain.keys import checked_key
from parcours.domain.time.text import iso
from parcours.services import manual_changes
from parcours.services.segment_json import segment_json
from parcours.web.api.common import (
    Cursor,
    Given,
    Instant,
    Limit,
    Listed,
    Manager,
    Reader,
    SiteOf,
    api_router,
    body,
    contact_id,
    cursor_of,
    documented,
    page_by_key,
    place_of,
)
from parcours.web.context import Site
from parcours.web.paging import address
from parcours.web.problems import PROBLEM, ProblemError

router = api_router("segments")


class SegmentResource(BaseModel):
    """A segment. Only public and published segments can be sources of campaigns."""

    key: str = Field(examples=["newsletter"])
    name: str = Field(examples=["Newsletter"])
    public: bool = Field(examples=[True])
    published: bool = Field(examples=[True])
    members: int = Field(examples=[120], description=f"Number of contacts in the segment, counted up to {COUNTED:,}.")
    campaigns: list[str] = Field(examples=[["welcome"]], description="Campaigns that use the segment as a source.")


class SegmentGiven(Given):
    """A new segment."""

    key: str = Field(examples=["newsletter"])
    name: str | None = Field(None, examples=["Newsletter"], description="Display name. Default: the key.")
    public: bool = True
    published: bool = True


class SegmentMemberResource(BaseModel):
    """A contact who is in a segment."""

    contact: str = Field(examples=["ann"])
    email: str | None = Field(examples=["ann@example.com"])
    manually_added: bool = Field(examples=[False])
    changed_at: Instant


class SegmentMoved(BaseModel):
    """Whether the request changed the membership."""

    contact: str = Field(examples=["ann"])
    changed: bool = Field(examples=[True])


@router.get("/segments", summary="List segments")
def list_segments(site: SiteOf, _who: Reader, limit: Limit = 50, cursor: Cursor = None) -> Listed[SegmentResource]:
    """By key."""
    with site.engine.connect() as conn:
        rows, more = page_by_key(segments.listed(conn, most=COUNTED), limit, "segments", cursor)
    return Listed(items=list(map(_segment, rows)), next=more)


@router.post(
    "/segments",
    status_code=201,
    summary="Create a segment",
    responses={409: {"content": {PROBLEM: {}}, "description": "A segment with this key already exists."}},
    openapi_extra=documented(SegmentGiven),
)
def make_segment(
    site: SiteOf, _who: Manager, response: Response, given: Annotated[SegmentGiven, Depends(body(SegmentGiven))]
) -> SegmentResource:
    """Public and published by default."""
    key = checked_key("segment", given.key)
    with site.engine.begin() as conn:
        if segments.find(conn, key) is not None:
            raise ProblemError(409, f"segment {key!r} already exists; choose another key")
        segments.save(conn, key, name=given.name or None, public=given.public, published=given.published)
        made = _line(conn, key)
    response.headers["Location"] = address("api", "segments", key)
    return made


# Before what has any key in this place.
@router.get("/segments/{segment:path}/members", summary="List a segment's members")
def list_segment_members(
    site: SiteOf, _who: Reader, segment: str, limit: Limit = 50, cursor: Cursor = None
) -> Listed[SegmentMemberResource]:
    """Newest contact first."""
    place = place_of(cursor, "segment members", int)
    with site.engine.connect() as conn:
        before = FIRST if place is None else place[0]
        rows = listings.segment_members(conn, _found(conn, segment).id, found=None, before=before, limit=limit)
    items = [
        SegmentMemberResource(
            contact=each.key,
            email=each.email,
            manually_added=each.manually_added,
            changed_at=str(iso(each.changed_at)),
        )
        for each in rows.rows
    ]
    return Listed(items=items, next=None if rows.after is None else cursor_of("segment members", rows.after))


@router.put("/segments/{segment:path}/members/{contact:path}", summary="Add a contact to a segment manually")
def put_segment_member(site: SiteOf, _who: Manager, segment: str, contact: str) -> SegmentMoved:
    """Rules never remove manually added contacts. Effects on campaigns are complete when the response arrives."""
    return _move(site, segment, contact, inside=True)


@router.delete("/segments/{segment:path}/members/{contact:path}", summary="Remove a contact from a segment manually")
def remove_segment_member(site: SiteOf, _who: Manager, segment: str, contact: str) -> SegmentMoved:
    """Rules never add the contact again. Effects on campaigns are complete when the response arrives."""
    return _move(site, segment, contact, inside=False)


@router.get("/segments/{segment:path}", summary="Get a segment")
def get_segment(site: SiteOf, _who: Reader, segment: str) -> SegmentResource:
    """Includes the number of members and the campaigns that use it."""
    with site.engine.connect() as conn:
        return _line(conn, segment)


def _move(site: Site, segment: str, contact: str, *, inside: bool) -> SegmentMoved:
    now = partitions.begin(site.engine)
    with site.engine.begin() as conn:
        found = _found(conn, segment)
        ids = [contact_id(conn, contact)]
        moved = manual_changes.change_segment(conn, found.id, ids, inside=inside, now=now, zone=site.zone)
    return SegmentMoved(contact=contact, changed=bool(moved))


def _found(conn: Connection, key: str) -> segments.Segment:
    found = segments.find(conn, key)
    if found is None:
        raise NotFoundError("segment", key)
    return found


def _line(conn: Connection, key: str) -> SegmentResource:
    found = segments.listed(conn, key=key, most=COUNTED)
    if not found:
        raise NotFoundError("segment", key)
    return _segment(found[0])


def _segment(line: SegmentLine) -> SegmentResource:
    return SegmentResource(**segment_json(line))
