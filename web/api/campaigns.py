"""Campaigns: what they are and how they do, made and changed with the campaign file as the body."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns
from parcours.db.tables.campaigns import Found
from parcours.domain import gate
from parcours.domain.campaign_file.check import MAX_DEPTH, check
from parcours.domain.campaign_file.model import CampaignFile, dotted
from parcours.domain.errors import NotFoundError
from parcours.producers.files.campaigns import MAX_CHARACTERS, TOO_LONG, CampaignFileError, read_text
from parcours.services import apply_campaign, campaign_changes, campaign_plan
from parcours.services.campaign_changes import TakenError
from parcours.services.campaign_json import campaign_json, campaign_line
from parcours.services.campaign_plan import CampaignPlan
from parcours.services.launch import launch
from parcours.services.overview_json import overview_json
from parcours.services.send_again import send_again
from parcours.services.try_again import try_again
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
    cursor_of,
    documented,
    place_of,
    unusable,
)
from parcours.web.context import Site, site_of
from parcours.web.paging import address
from parcours.web.problems import ProblemError, problems
from parcours.web.security.bodies import check_content_type, content_type

router = api_router("campaigns")

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
EXAMPLE = {
    "campaign": "welcome",
    "name": "Welcome",
    "sources": {"segments": ["newsletter"]},
    "steps": [{"step": "hello", "action": "email.send", "with": {"email": "welcome-1"}, "after": "1 day"}],
}


class CampaignLine(BaseModel):
    """A campaign as it is listed."""

    id: int = Field(examples=[1])
    campaign: str = Field(examples=["welcome"], description="Key of the campaign.")
    name: str = Field(examples=["Welcome"])
    category: str | None = Field(examples=[None])
    state: str = Field(
        examples=["running"], description="running, paused, scheduled, ended, category_off or unreadable."
    )
    published: bool = Field(examples=[True])
    running: bool = Field(examples=[True])
    version: int = Field(examples=[1])
    changed_at: Instant
    unreadable: str | None = Field(
        examples=[None],
        description="Why this process cannot read the version. Then the campaign does not run. Null if it can be read.",
    )


class Activity(BaseModel):
    """A change to a campaign, and who made it."""

    at: Instant
    who: str = Field(examples=["ada@example.com"])
    what: str = Field(examples=["created"])
    message: str | None = Field(examples=["Shorter waits"], description="Why, as the person who made the change said.")


class Wrong(BaseModel):
    """An error in a definition, and its location."""

    path: str = Field(examples=["steps[0].action"])
    error: str = Field(examples=["unknown action 'crm.note'"])


class CampaignResource(CampaignLine):
    """A campaign with its definition, which is the campaign file as JSON, and what was done to it lately.

    A definition that cannot be read is returned as stored; correct it and PUT it again.
    """

    why_not: str | None = Field(examples=[None], description="Reason why the campaign is not running.")
    problems: list[Wrong] = Field(description="Errors of a version that cannot be read.")
    definition: dict[str, Any] = Field(examples=[EXAMPLE])
    activity: list[Activity]


class PublishedCampaign(CampaignResource):
    """A campaign that was published, and what that does to contacts."""

    people: dict[str, Any] | None = Field(
        examples=[{"joins": 3, "returns": 0, "leaves": 0, "exits": 0, "complete": True, "stays": 0}],
        description="Contacts that the following update moves. Null: it was published already, or cannot be read.",
    )
    effects: list[dict[str, Any]] = Field(description="The same in sentences.")


class Planned(BaseModel):
    """What applying a campaign file would change. Counts are numbers of contacts waiting at a step."""

    campaign: str = Field(examples=["welcome"])
    creates: bool = Field(examples=[False])
    unchanged: bool = Field(examples=[False])
    version: int = Field(examples=[2], description="Version number after the change.")
    members: int = Field(examples=[120])
    added: list[str] = Field(examples=[["remind"]])
    changed: list[str]
    moved: list[str]
    removed: dict[str, int] = Field(examples=[{"old": 3}])
    redirected: dict[str, str] = Field(examples=[{"old": "remind"}])
    becomes: dict[str, dict[str, str]] = Field(
        examples=[{"old": {"kind": "condition", "type": "contact.tags"}}],
        description="Steps of `removed` that stay as another kind of step.",
    )
    retimed: dict[str, int]
    retimed_before: list[str] = Field(description="Steps of `retimed` whose timing was changed by an earlier version.")
    by_date: list[str] = Field(
        description="Steps of `retimed` that follow a date of the contact: their waits are rescheduled in any case."
    )
    rules_asked: dict[str, int] = Field(description="Decisions whose rule is evaluated again for who waits there.")
    asks_exits: bool = Field(description="Whether new exit rules are evaluated for all members.")
    dates: dict[str, int] = Field(description="New dates by which contacts enter, and how many contacts have them.")
    dates_removed: list[str] = Field(description="Dates by which contacts no longer enter.")
    new_roots: list[str]
    new_below: dict[str, str] = Field(
        examples=[{"remind": "hello"}], description="New steps below others, with the step above."
    )
    restored: dict[str, int] = Field(description="Steps that return, and how many contacts wait there again.")
    rules_added: list[str] = Field(description="Event sources, exits and limits that are new, in words.")
    rules_removed: list[str] = Field(description="Those that are no more.")
    publishes: bool | None = Field(
        description="Whether the change publishes (true) or pauses (false) the campaign; null: neither."
    )
    digest: str = Field(description="Identifies what the plan does. Give it to PUT to apply exactly this plan.")
    changes: bool = Field(description="Whether applying would change anything.")
    differences: list[dict[str, Any]] = Field(
        examples=[[{"step": "hello", "name": "after", "before": "2 days", "after": "5 days"}]],
        description="Values that the file states differently: of the campaign (step: null), and of steps.",
    )
    waiting: dict[str, int] = Field(description="Contacts that wait at steps that change.")
    crowded: list[str] = Field(description="Those of these steps at which more contacts wait than were counted.")
    effects: list[dict[str, Any]] = Field(
        examples=[[{"what": "leaves", "contacts": 12, "detail": "", "sentence": "12 contacts leave"}]],
        description="What the settings do to contacts.",
    )
    people: dict[str, Any] | None = Field(
        examples=[{"joins": 3, "returns": 0, "leaves": 12, "exits": 0, "complete": True, "stays": 0}],
        description="Contacts that the following update moves; `stays`: who are in their grace period, and in a source "
        "again. Not complete: the numbers are minimums. "
        "Null: nothing changes who is in the campaign.",
    )
    warnings: list[str]
    lines: list[str] = Field(description="The plan in sentences.")


class SendAgainGiven(Given):
    """Which messages are sent again."""

    step: str = Field(examples=["hello"], description="Key of the step.")
    why: str | None = Field(
        default=None,
        examples=["the mailbox does not exist"],
        description="Only messages that failed for this reason, in these words. Null: all of them.",
    )


class SentAgain(BaseModel):
    """How many messages are queued again."""

    messages: int = Field(examples=[12])


class TryAgainGiven(Given):
    """Which failed steps are tried again."""

    step: str = Field(examples=["tag"], description="Key of the step.")
    why: str | None = Field(
        default=None,
        examples=["no answer from the shop"],
        description="Only contacts who failed for this reason, in these words. Null: all of them.",
    )


class TriedAgainResource(BaseModel):
    """How many contacts are due at the step again."""

    contacts: int = Field(examples=[12])
    gone: int = Field(examples=[1], description="Contacts who have left the campaign, or are elsewhere in it by now.")
    more: bool = Field(examples=[False], description="Whether there are more; call again for them.")


class CopyGiven(Given):
    """Key and name of the copy."""

    key: str = Field(examples=["welcome-2"])
    name: str | None = Field(None, examples=["Welcome, again"])


CAMPAIGN_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The campaign file. `parcours campaigns schema` prints its JSON Schema.",
        "content": {
            "application/json": {"schema": {"type": "object"}, "example": EXAMPLE},
            "application/yaml": {"schema": {"type": "string"}},
        },
    }
}
# Seconds after which a request begins no further batch of contacts.
MOST_SECONDS_OF_A_CALL = 10
CONFLICT = problems({409: "A campaign with this key already exists."})
CHANGED = problems({412: "The campaign has changed; get it again."})
# A step and the list that it stands in are two levels; what a step is given may be as deep as any value.
LEVELS = 2 * MAX_DEPTH + gate.MAX_DEPTH
Why = Annotated[
    str | None,
    Query(max_length=apply_campaign.MOST_MESSAGE, description="Reason for the change, kept with the version."),
]
IfMatch = Annotated[str | None, Header(description="ETag, or version in quotes, that the change is based on.")]


def _file(request: Request, raw: Raw) -> CampaignFile:
    """Return the campaign file of a body, JSON or YAML. Raises ProblemError with everything that is wrong in it."""
    check_content_type(request, ("application/json", *YAML_TYPES))
    # Before anything is read of it.
    if len(raw) > MAX_CHARACTERS and len(raw.decode("utf-8", "replace")) > MAX_CHARACTERS:
        raise ProblemError(413, TOO_LONG)
    zone = site_of(request).zone
    if content_type(request) == "application/json":
        checked = check(_definition_in(checked_json(raw, levels=LEVELS)), default_zone=zone)
        if checked.file is None:
            raise unusable([(each.place, each.sentence) for each in checked.problems])
        return checked.file
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ProblemError(400, "the body is not UTF-8") from None
    try:
        return read_text(text, name=Path("body.yaml"), default_zone=zone)
    except CampaignFileError as error:
        raise unusable(
            [
                (each.path, f"line {each.line}: {each.sentence}" if each.line else each.sentence)
                for each in error.problems
            ]
        ) from None


def _definition_in(given: Any) -> Any:
    """Return the definition in a campaign as it is answered, so that it can be sent back; anything else as it is.

    Raises ProblemError where it says something else than its definition: there it would change nothing.
    """
    if not isinstance(given, dict) or not isinstance(definition := given.get("definition"), dict):
        return given
    strange = [name for name in given if name not in CampaignResource.model_fields]
    if strange:
        sentence = "a campaign has no such property; write the change into `definition`"
        raise unusable([(name, sentence) for name in strange])
    said = {"category": None} | definition
    unlike = [
        name
        for name in ("campaign", "name", "category", "published")
        if name in given and name in said and given[name] != said[name]
    ]
    if unlike:
        raise unusable([(name, f"`definition.{name}` has another value; change it there") for name in unlike])
    return definition


@router.get("/campaigns", summary="List campaigns")
def list_campaigns(site: SiteOf, _who: Reader, limit: Limit = 50, cursor: Cursor = None) -> Listed[CampaignLine]:
    """Newest first."""
    place = place_of(cursor, "campaigns", datetime, int)
    with site.engine.connect() as conn:
        now = database_now(conn)
        rows = [row for row in campaigns.listing(conn) if place is None or (row.created_at, row.id) < tuple(place)]
        unreadable = campaigns.unreadable(conn, rows[:limit])
    more = _cursor(rows[limit - 1]) if len(rows) > limit else None
    items = [CampaignLine(**campaign_line(row, unreadable.get(row.id), now=now)) for row in rows[:limit]]
    return Listed(items=items, next=more)


@router.post(
    "/campaigns", status_code=201, summary="Create a campaign", responses=CONFLICT, openapi_extra=CAMPAIGN_BODY
)
def make_campaign(
    site: SiteOf,
    who: Manager,
    response: Response,
    file: Annotated[CampaignFile, Depends(_file)],
    message: Why = None,
) -> CampaignResource:
    """The body is the campaign file.

    A deleted campaign with this key is restored with its history. It is unpublished unless the file has `published:
    true`.
    """
    with site.engine.begin() as conn:
        now = database_now(conn)
        if campaign_changes.hold(conn, file.campaign, now=now) is not None:
            raise ProblemError(409, f"campaign {file.campaign!r} already exists; use PUT to change it")
        _apply(conn, site, file, who=who, now=now, message=message)
        made = campaign_answer(conn, campaigns.find(conn, file.campaign), response)
    response.headers["Location"] = address("api", "campaigns", made.campaign)
    return made


@router.get("/campaigns/{campaign}", summary="Get a campaign")
def get_campaign(site: SiteOf, _who: Reader, campaign: str, response: Response) -> CampaignResource:
    """Returns state, version and the definition, which can be sent back. Use the ETag in `If-Match`."""
    with site.engine.connect() as conn:
        return campaign_answer(conn, campaigns.find(conn, campaign), response)


@router.put("/campaigns/{campaign}", summary="Change a campaign", responses=CHANGED, openapi_extra=CAMPAIGN_BODY)
def change_campaign(
    site: SiteOf,
    who: Manager,
    campaign: str,
    response: Response,
    file: Annotated[CampaignFile, Depends(_file)],
    backfill: bool = False,
    reschedule: bool = False,
    message: Why = None,
    plan: Annotated[str | None, Query(description="`digest` of a plan: apply exactly this plan, or nothing.")] = None,
    if_match: IfMatch = None,
) -> CampaignResource:
    """The body is the complete campaign file, or what GET returns; changes to `definition` create a new version.

    `backfill` also starts new steps for existing members; `reschedule` applies changed delays and dates to
    waiting contacts.
    """
    with site.engine.begin() as conn:
        now = database_now(conn)
        key = campaigns.find(conn, campaign).key
        _check_key(file, key)
        check_match(conn, held(conn, key, now), if_match)
        _apply(
            conn, site, file, who=who, now=now, backfill=backfill, reschedule=reschedule, message=message, digest=plan
        )
        return campaign_answer(conn, campaigns.find(conn, key), response)


@router.delete("/campaigns/{campaign}", status_code=204, summary="Delete a campaign", responses=CHANGED)
def delete_campaign(site: SiteOf, who: Manager, campaign: str, if_match: IfMatch = None) -> None:
    """Contacts stop moving. The history is kept."""
    with site.engine.begin() as conn:
        now = database_now(conn)
        found = held(conn, campaigns.find(conn, campaign).key, now)
        check_match(conn, found, if_match)
        campaign_changes.delete(conn, found, who=who, now=now)


@router.get("/campaigns/{campaign}/overview", summary="Get a campaign's statistics")
def get_overview(site: SiteOf, _who: Reader, campaign: str) -> dict[str, Any]:
    """The output of `parcours overview --json`: contacts added, active and left, and outcomes per step.

    `emails` names the emails with the lowest rate of clicks or opens, and `waits` says since when contacts wait at
    each step, and for what. See the explanation of statistics.
    """
    with site.engine.connect() as conn:
        return overview_json(conn, campaign, site.zone)


@router.post("/campaigns/{campaign}/plan", summary="Plan a change", openapi_extra=CAMPAIGN_BODY)
def plan_campaign(site: SiteOf, _who: Reader, campaign: str, file: Annotated[CampaignFile, Depends(_file)]) -> Planned:
    """The body is the campaign file. Nothing is changed. The campaign need not exist yet."""
    with site.engine.connect() as conn:
        stored = campaigns.stored(conn, campaign)
        _check_key(file, campaign if stored is None else stored.key)
        planned = _plan(conn, site, file)
    return Planned(**planned.to_json(), lines=planned.lines())


@router.post("/campaigns/{campaign}/publish", summary="Publish a campaign", responses=CHANGED)
def publish_campaign(
    site: SiteOf, who: Manager, campaign: str, response: Response, if_match: IfMatch = None
) -> PublishedCampaign:
    """If the campaign is not running yet, `why_not` gives the reason. Repeating the request changes nothing.

    Contacts join as soon as workers and tick run; `people` says how many.
    """
    with site.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
        was_published = campaigns.listing(conn, [found.id])[0].published
        moves, effects = launch(conn, found, now=database_now(conn), zone=site.zone)
    done = _switch(site, campaign, True, who, if_match, response)
    if was_published:
        moves, effects = None, []
    return PublishedCampaign(
        **dict(done),
        people=None if moves is None else moves._asdict(),
        effects=[each.to_json() for each in effects],
    )


@router.post("/campaigns/{campaign}/pause", summary="Pause a campaign", responses=CHANGED)
def pause_campaign(
    site: SiteOf, who: Manager, campaign: str, response: Response, if_match: IfMatch = None
) -> CampaignResource:
    """Contacts keep their places. When the response arrives, no step is running."""
    return _switch(site, campaign, False, who, if_match, response)


@router.post(
    "/campaigns/{campaign}/send-again", summary="Send messages again", openapi_extra=documented(SendAgainGiven)
)
def send_messages_again(
    site: SiteOf, who: Manager, campaign: str, given: Annotated[SendAgainGiven, Depends(body(SendAgainGiven))]
) -> SentAgain:
    """Queues the messages of a step again that were not delivered. Remove the cause first."""
    with site.engine.begin() as conn:
        found = campaigns.find(conn, campaign)
        step = next((each for each in campaigns.steps(conn, found.id) if each.key == given.step), None)
        if step is None:
            raise NotFoundError("step", given.step)
        now = database_now(conn)
        n = send_again(conn, found.id, step.id, step.key, given.why, who=who, now=now)
    return SentAgain(messages=n)


@router.post(
    "/campaigns/{campaign}/try-again",
    summary="Try failed steps again",
    openapi_extra=documented(TryAgainGiven),
)
def try_step_again(
    site: SiteOf, who: Manager, campaign: str, given: Annotated[TryAgainGiven, Depends(body(TryAgainGiven))]
) -> TriedAgainResource:
    """Contacts who failed at a step for good are due there again, with all attempts before them. Remove the cause
    first. Contacts who went on after the failure are not tried again."""
    done = try_again(
        site.engine, campaign, given.step, given.why, who=who, zone=site.zone, seconds=MOST_SECONDS_OF_A_CALL
    )
    return TriedAgainResource(**done._asdict())


@router.post(
    "/campaigns/{campaign}/clone",
    status_code=201,
    summary="Copy a campaign",
    responses=CONFLICT,
    openapi_extra=documented(CopyGiven),
)
def clone_campaign(
    site: SiteOf, who: Manager, campaign: str, response: Response, given: Annotated[CopyGiven, Depends(body(CopyGiven))]
) -> CampaignResource:
    """Copies steps and sources to a new, unpublished campaign without members."""
    with site.engine.begin() as conn:
        found = campaigns.find(conn, campaign)
        now = database_now(conn)
        try:
            campaign_changes.clone(conn, found, given.key, who=who, now=now, zone=site.zone, name=given.name)
        except TakenError as error:
            raise ProblemError(409, str(error)) from None
        made = campaign_answer(conn, campaigns.find(conn, given.key), response)
    response.headers["Location"] = address("api", "campaigns", made.campaign)
    return made


def _switch(
    site: Site, campaign: str, published: bool, who: str, if_match: str | None, response: Response
) -> CampaignResource:
    with site.engine.begin() as conn:
        now = database_now(conn)
        found = held(conn, campaigns.find(conn, campaign).key, now)
        check_match(conn, found, if_match)
        campaign_changes.switch_and_log(conn, found, published, who=who, now=now)
        return campaign_answer(conn, found, response)


def held(conn: Connection, key: str, now: datetime) -> Found:
    found = campaign_changes.hold(conn, key, now=now)
    if found is None:
        raise NotFoundError("campaign", key)
    return found


def _check_key(file: CampaignFile, key: str) -> None:
    if file.campaign != key:
        raise unusable(
            [("campaign", f"the URL has the key {key!r}, but the file has {file.campaign!r}; a key cannot be changed")]
        )


def check_match(conn: Connection, found: Found, if_match: str | None) -> None:
    """Raise ProblemError (412) when a campaign is not as the caller saw it. Source: RFC 9110, section 13.1.1."""
    if if_match is None or if_match.strip() == "*":
        return
    wanted = {each.strip() for each in if_match.split(",")}
    if not wanted & {_tag(conn, found), f'"{found.version}"'}:
        raise ProblemError(
            412,
            f"the campaign is at version {found.version} now; get it again and base the change on that version",
            headers={"ETag": _tag(conn, found)},
        )


def _tag(conn: Connection, found: Found) -> str:
    return f'"{campaign_changes.stamp(conn, found)}"'


def _plan(conn: Connection, site: Site, file: CampaignFile, *, counted: bool = True) -> CampaignPlan:
    problems = campaign_plan.check_references(conn, file)
    if problems:
        raise unusable([(dotted(each.path), each.sentence) for each in problems])
    return campaign_plan.plan(conn, file, zone=site.zone, counted=counted)


def _apply(
    conn: Connection,
    site: Site,
    file: CampaignFile,
    *,
    who: str,
    now: datetime,
    backfill: bool = False,
    reschedule: bool = False,
    message: str | None = None,
    digest: str | None = None,
) -> None:
    planned = _plan(conn, site, file, counted=False)
    check_digest(planned, digest)
    apply_campaign.apply(
        conn,
        planned,
        backfill=backfill,
        reschedule=reschedule,
        who=who,
        now=now,
        zone=site.zone,
        message=message,
    )


def check_digest(planned: CampaignPlan, digest: str | None) -> None:
    """Raise ProblemError (412) when a plan is not the one that the caller saw."""
    if digest is not None and digest != planned.digest:
        raise ProblemError(412, "the campaign changed, and the plan no longer holds; plan again, and apply that plan")


def campaign_answer(conn: Connection, found: Found, response: Response) -> CampaignResource:
    """Return a campaign as it is answered, with its ETag."""
    response.headers["ETag"] = _tag(conn, found)
    return CampaignResource(**campaign_json(conn, found, now=database_now(conn)))


def _cursor(row: Any) -> str:
    return cursor_of("campaigns", row.created_at, row.id)
