"""Versions of campaigns: listed, compared, planned again and gone back to."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Response
from pydantic import BaseModel, Field

from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns
from parcours.services import apply_campaign, campaign_versions
from parcours.services.campaign_changes import definition_of
from parcours.services.campaign_versions import rollback_message, version_json
from parcours.web.api.campaigns import (
    CHANGED,
    CampaignResource,
    IfMatch,
    Planned,
    Why,
    campaign_answer,
    check_digest,
    check_match,
    held,
)
from parcours.web.api.common import Instant, Manager, Reader, SiteOf, api_router

router = api_router("campaigns")

Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="Number of the version.")]


class VersionListed(BaseModel):
    """A version of a campaign: when it was applied, by whom and why."""

    version: int = Field(examples=[3])
    at: Instant
    who: str | None = Field(examples=["ada@example.com"])
    message: str | None = Field(examples=["rollback to version 1"])
    present: bool = Field(examples=[True])


class VersionChange(BaseModel):
    """A change that made no version, such as publishing, and why it was made."""

    at: Instant
    who: str = Field(examples=["ada@example.com"])
    what: str = Field(examples=["published"])
    message: str = Field(examples=["The spring sale begins"])


class VersionInList(VersionListed):
    """A version, with what was changed while it was the present one and has a message."""

    changes: list[VersionChange]


class VersionResource(VersionListed):
    """A version with its definition, which is the campaign file as JSON."""

    definition: dict[str, Any]


class VersionsCompared(BaseModel):
    """What a version says otherwise than another. Keys of steps that come, go and move."""

    from_: int = Field(alias="from", examples=[2])
    to: int = Field(examples=[3])
    differences: list[dict[str, Any]] = Field(
        examples=[[{"step": "hello", "name": "after", "before": "2 days", "after": "5 days"}]]
    )
    added: list[str]
    removed: list[str]
    moved: list[str]
    lines: list[str] = Field(description="The same in sentences.")


@router.get("/campaigns/{campaign}/versions", summary="List the versions of a campaign")
def list_versions(site: SiteOf, _who: Reader, campaign: str) -> list[VersionInList]:
    """Newest first."""
    with site.engine.connect() as conn:
        lines = campaign_versions.versions_json(conn, campaigns.find(conn, campaign))
    return [VersionInList.model_validate(each) for each in lines]


@router.get("/campaigns/{campaign}/versions/{version}", summary="Get a version of a campaign")
def get_version(site: SiteOf, _who: Reader, campaign: str, version: Number) -> VersionResource:
    """The definition is what PUT takes, or what is stored where it cannot be read any more."""
    with site.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
        line = campaign_versions.line_of(conn, found, version)
        stored = campaigns.read_version(conn, found.key, found.id, version)
        published = campaigns.listing(conn, [found.id])[0].published
    return VersionResource(**version_json(line, found.version), definition=definition_of(stored, published))


@router.get("/campaigns/{campaign}/diff", summary="Compare two versions of a campaign")
def compare_versions(
    site: SiteOf, _who: Reader, campaign: str, before: int | None = None, after: int | None = None
) -> VersionsCompared:
    """`after` is the present version unless given, `before` the one before `after`."""
    with site.engine.connect() as conn:
        found = campaign_versions.difference(conn, campaigns.find(conn, campaign), before, after)
    return VersionsCompared.model_validate(found.to_json())


@router.post("/campaigns/{campaign}/versions/{version}/plan", summary="Plan a rollback")
def plan_rollback(site: SiteOf, _who: Reader, campaign: str, version: Number) -> Planned:
    """What returning to a version would change. Nothing is changed."""
    with site.engine.connect() as conn:
        planned = campaign_versions.plan_rollback(conn, campaigns.find(conn, campaign), version, zone=site.zone)
    return Planned(**planned.to_json(), lines=planned.lines())


@router.post("/campaigns/{campaign}/versions/{version}/rollback", summary="Return to a version", responses=CHANGED)
def roll_back(
    site: SiteOf,
    who: Manager,
    campaign: str,
    version: Number,
    response: Response,
    backfill: bool = False,
    reschedule: bool = False,
    message: Why = None,
    plan: str | None = None,
    if_match: IfMatch = None,
) -> CampaignResource:
    """The version is applied as a new one. The campaign stays published or paused as it is.

    Contacts whose waits were cancelled because their step was removed wait there again. `plan` is the `digest` of the
    plan that is to be applied, and no other.
    """
    with site.engine.begin() as conn:
        now = database_now(conn)
        found = held(conn, campaigns.find(conn, campaign).key, now)
        check_match(conn, found, if_match)
        planned = campaign_versions.plan_rollback(conn, found, version, zone=site.zone, counted=False)
        check_digest(planned, plan)
        apply_campaign.apply(
            conn,
            planned,
            backfill=backfill,
            reschedule=reschedule,
            who=who,
            now=now,
            zone=site.zone,
            message=rollback_message(version, message),
        )
        return campaign_answer(conn, campaigns.find(conn, found.key), response)
