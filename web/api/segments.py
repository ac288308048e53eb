"""Segments: what there is, who is in them, and in and out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from parcours.db import partitions
from parcours.db.clock import now as database_now
from parcours.db.reads import listings
from parcours.db.reads.listings import FIRST
from parcours.db.tables import rebuilds, rules, segments
from parcours.db.tables.segments import COUNTED, SegmentLine
from parcours.domain.errors import NotFoundError
from parcours.domain.keys import checked_key
from parcours.domain.segments.file import SegmentFile, check
from parcours.domain.segments.parsing import MAX_DEPTH
from parcours.domain.time.text import iso
from parcours.producers.files.campaigns import CampaignFileError
from parcours.producers.files.segments import read_text
from parcours.services import (
    contact_export,
    manual_changes,
    removal,
    segment_explained,
    segment_plan,
    segment_rules,
)
from parcours.services.contact_export import Format
from parcours.services.segment_json import definition, segment_json
from parcours.services.segment_plan import SegmentPlan
from parcours.web.api.common import (
    Cursor,
    Given,
    Instant,
    Limit,
    Listed,
    Manager,
    Raw,
    Reader,
    SiteOf,
    api_router,
    body,
    checked_json,
    contact_id,
    cursor_of,
    documented,
    page_by_key,
    place_of,
    refused_as_conflict,
    unusable,
)
from parcours.web.context import Site
from parcours.web.paging import address
from parcours.web.problems import PROBLEM, ProblemError
from parcours.web.security.bodies import check_content_type, content_type
from parcours.workers import rebuilding

router = api_router("segments")
# all, any and not are two levels each: the mapping and its list.
LEVELS = 3 * MAX_DEPTH


RULE = {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
SEGMENT_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "A segment file.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {"segment": "french", "name": "In France", "rule": RULE},
            },
            "application/yaml": {"schema": {"type": "string"}},
        },
    }
}
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
# Seconds for which whoever applies a rule waits until it is asked; workers do the rest.
PATIENCE_SECONDS = 5.0


class SegmentResource(BaseModel):
    """A segment. Only public and published segments can be sources of campaigns."""

    key: str = Field(examples=["newsletter"])
    name: str = Field(examples=["Newsletter"])
    public: bool = Field(examples=[True])
    published: bool = Field(examples=[True])
    members: int = Field(examples=[120], description=f"Number of contacts in the segment, counted up to {COUNTED:,}.")
    campaigns: list[str] = Field(examples=[["welcome"]], description="Campaigns that use the segment as a source.")
    by_rule: bool = Field(examples=[False], description="Whether the segment has a rule.")


class SegmentWithRule(SegmentResource):
    """A segment with its rule."""

    rule: Any = Field(None, examples=[RULE], description="As in a segment file; null: no rule.")
    set_aside: str | None = Field(
        examples=[None], description="Why the rule cannot be read here or failed for a contact; null without an error."
    )
    ranges_left: int = Field(examples=[0], description="Contact ranges for which the rule is still to be evaluated.")


class EffectOnCampaign(BaseModel):
    """Effect of a changed segment on a campaign, as numbers of contacts."""

    campaign: str = Field(examples=["welcome"])
    running: bool = Field(examples=[True])
    joins: int = Field(examples=[12])
    comes_back: int = Field(examples=[0])
    leaves: int = Field(examples=[3])
    stays: int = Field(
        examples=[0], description="New members of the segment who were in the campaign and do not restart."
    )


class SegmentPlanned(BaseModel):
    """What applying would change in a segment. If `follows` is true, its rule depends on a changed segment."""

    segment: str = Field(examples=["warm-leads"])
    creates: bool = Field(examples=[False])
    follows: bool = Field(examples=[False])
    changed: list[str] = Field(examples=[["rule"]])
    rule: bool = Field(examples=[True])
    members: int = Field(examples=[120])
    comes: int = Field(examples=[12])
    goes: int = Field(examples=[3])
    kept_in: int = Field(examples=[0], description="Members who do not match the rule but were added manually.")
    kept_out: int = Field(examples=[0], description="Contacts who match the rule but were removed manually.")
    unknown: int = Field(examples=[0], description="Contacts for which the rule fails.")
    campaigns: list[EffectOnCampaign]
    lines: list[str] = Field(description="The plan as text.")


class SegmentWhy(BaseModel):
    """Why a contact is in a segment or not."""

    segment: str = Field(examples=["warm-leads"])
    contact: str = Field(examples=["ann"])
    inside: bool = Field(examples=[True])
    manual: str | None = Field(examples=[None], description="added or removed, if somebody did that manually.")
    answer: bool | None = Field(examples=[True], description="Result of the rule now; null: it fails.")
    changes_at: str | None = Field(examples=[None], description="When the result can next change with time.")
    rule: dict[str, Any] | None = Field(examples=[None], description="The rule with the result of each part.")
    set_aside: str | None = Field(examples=[None])
    explanation: list[str]


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


def _file(request: Request, raw: Raw) -> SegmentFile:
    """Return the segment file of a body, JSON or YAML. Raises ProblemError with everything that is wrong in it."""
    check_content_type(request, ("application/json", *YAML_TYPES))
    if content_type(request) == "application/json":
        file, found = check(checked_json(raw, levels=LEVELS))
        if file is None:
            raise unusable([(each.place, each.sentence) for each in found])
        return file
    try:
        files = read_text(raw.decode("utf-8-sig"), name=Path("body.yaml")).segments
    except UnicodeDecodeError:
        raise ProblemError(400, "the body is not UTF-8") from None
    except CampaignFileError as error:
        raise unusable(
            [
                (each.path, f"line {each.line}: {each.sentence}" if each.line else each.sentence)
                for each in error.problems
            ]
        ) from None
    if len(files) != 1:
        raise unusable([("", "send one segment")])
    return files[0]


@router.post("/segments/{segment:path}/plan", summary="Plan a change of a segment", openapi_extra=SEGMENT_BODY)
def plan_segment(
    site: SiteOf,
    _who: Reader,
    segment: str,
    file: Annotated[SegmentFile, Depends(_file)],
    reset_manual: bool = False,
) -> list[SegmentPlanned]:
    """The body is the segment file. Nothing is changed. Segments whose rules depend on it come last.

    With `reset_manual`, the rule also decides about contacts that were added or removed manually.
    """
    with site.engine.connect() as conn:
        plans = _plans(conn, site, segment, file, forget=reset_manual)
    return [SegmentPlanned(**each.to_json(), lines=each.lines()) for each in plans]


@router.get("/segments/{segment:path}/explain/{contact:path}", summary="Explain why a contact is in a segment or not")
def explain_segment(site: SiteOf, _who: Reader, segment: str, contact: str) -> SegmentWhy:
    """Result of each condition, and manual changes."""
    with site.engine.connect() as conn:
        found = segment_explained.explain(conn, segment, contact, now=database_now(conn), zone=site.zone)
    return SegmentWhy(**found.to_json())


# Before what has any key in this place.
@router.get(
    "/segments/{segment:path}/export",
    summary="Export a segment's members",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}, "application/x-ndjson": {}}, "description": "The file."}},
)
def export_segment(
    site: SiteOf, _who: Reader, segment: str, format_: Annotated[Format, Query(alias="format")] = "csv"
) -> StreamingResponse:
    """All attributes and custom fields of the active members, as CSV or NDJSON. `contacts import` reads the file."""
    lines = contact_export.segment_lines(site.engine, segment, format_)
    return StreamingResponse(lines, media_type=contact_export.MEDIA_TYPES[format_])


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


@router.put("/segments/{segment:path}", summary="Create or update a segment", openapi_extra=SEGMENT_BODY)
def put_segment(
    site: SiteOf,
    _who: Manager,
    segment: str,
    file: Annotated[SegmentFile, Depends(_file)],
    reset_manual: bool = False,
) -> SegmentWithRule:
    """The body is the segment file. If it has no rule, an existing rule is removed.

    The rule is evaluated for all contacts: within 5 seconds if possible, otherwise by the workers (`ranges_left`).
    """
    now = partitions.begin(site.engine)
    with site.engine.begin() as conn:
        _check(conn, segment, file)
        asked = segment_rules.apply(conn, [file], forget=reset_manual, now=now)
    rebuilding.work_all(site.engine, asked, now=now, zone=site.zone, patience=PATIENCE_SECONDS)
    with site.engine.connect() as conn:
        return _with_rule(conn, segment)


@router.delete(
    "/segments/{segment:path}",
    status_code=204,
    summary="Delete a segment",
    responses={
        409: {
            "content": {PROBLEM: {}},
            "description": "Campaigns, drafts or rules use the segment, or may: a campaign cannot be read.",
        }
    },
)
def delete_segment(site: SiteOf, _who: Manager, segment: str) -> None:
    """Only if no campaign, no draft and no rule uses it. The contacts stay."""
    with refused_as_conflict(), site.engine.begin() as conn:
        removal.delete_segment(conn, segment)


@router.get("/segments/{segment:path}", summary="Get a segment")
def get_segment(site: SiteOf, _who: Reader, segment: str) -> SegmentWithRule:
    """Includes the number of members, the campaigns that use it, and its rule."""
    with site.engine.connect() as conn:
        return _with_rule(conn, segment)


def _move(site: Site, segment: str, contact: str, *, inside: bool) -> SegmentMoved:
    now = partitions.begin(site.engine)
    with site.engine.begin() as conn:
        found = _found(conn, segment)
        ids = [contact_id(conn, contact)]
        moved = manual_changes.change_segment(conn, found.id, ids, inside=inside, now=now, zone=site.zone)
    return SegmentMoved(contact=contact, changed=bool(moved))


def _plans(conn: Connection, site: Site, segment: str, file: SegmentFile, *, forget: bool) -> list[SegmentPlan]:
    _check(conn, segment, file)
    return segment_plan.plan(conn, [file], forget=forget, now=database_now(conn), zone=site.zone)


def _check(conn: Connection, segment: str, file: SegmentFile) -> None:
    if file.segment != segment:
        said = f"the key in the URL is {segment!r} and in the file {file.segment!r}; a key cannot be changed"
        raise unusable([("segment", said)])
    found = segment_plan.problems(conn, [file])
    if found:
        raise unusable([(problem.place, problem.sentence) for _, problem in found])


def _with_rule(conn: Connection, key: str) -> SegmentWithRule:
    found = _found(conn, key)
    return SegmentWithRule(
        **segment_json(segments.listed(conn, key=key, most=COUNTED)[0]),
        rule=definition(conn, key).get("rule"),
        set_aside=rules.set_aside(conn).get(key),
        ranges_left=sum(each.chunks for each in rebuilds.left(conn, [found.id])),
    )


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
