"""Contacts: found, shown, changed and erased."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Depends, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from parcours.db.reads import listings
from parcours.db.reads.listings import FIRST, ContactLine
from parcours.db.tables import contacts
from parcours.db.tables.contacts import Shown
from parcours.domain.contacts.identity import same_address
from parcours.domain.errors import NotFoundError
from parcours.domain.keys import checked_key
from parcours.domain.time.zones import zone_of
from parcours.services import contact_changes, contact_export
from parcours.services.contact_changes import ContactChange, ContactRefusedError
from parcours.services.contact_json import contact_json, contact_line
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
    cursor_of,
    documented,
    page,
    place_of,
    unusable,
)
from parcours.web.context import Site
from parcours.web.paging import address
from parcours.web.problems import PROBLEM, ProblemError

router = api_router("contacts")

SOURCE = "parcours/api"


class ListedContact(BaseModel):
    """A contact as it is listed, with at most ten of its tags."""

    key: str = Field(examples=["ann"])
    email: str | None = Field(examples=["ann@example.com"])
    name: str | None = Field(examples=["Ann Lee"], description="First and last name, from the fields of these names.")
    timezone: str | None = Field(examples=["Europe/Paris"])
    points: int = Field(examples=[5])
    stage: str | None = Field(examples=[None])
    created_at: Instant
    last_active_at: Instant | None
    tags: list[str] = Field(examples=[["customer"]])


class Refused(BaseModel):
    """A channel on which the contact must not be contacted."""

    channel: str = Field(examples=["email"])
    address: str | None = Field(
        examples=["ann@example.com"],
        description="Email address or number that must not be contacted; null: all of the contact's.",
    )
    reason: str = Field(examples=["unsubscribed"], description="unsubscribed, manual or bounced.")
    comment: str | None = Field(examples=[None])
    since: Instant


class ContactResource(BaseModel):
    """A contact as `parcours contacts show --json` prints it, without its campaigns."""

    key: str = Field(examples=["ann"])
    email: str | None = Field(examples=["ann@example.com"])
    timezone: str | None = Field(examples=["Europe/Paris"])
    points: int = Field(examples=[5])
    stage: str | None = Field(examples=[None])
    owner: str | None = Field(examples=[None])
    scores: dict[str, int] = Field(examples=[{}], description="Points by group.")
    utm: dict[str, str] = Field(examples=[{}], description="UTM values of the contact's last visit.")
    fields: dict[str, Any] = Field(examples=[{"first_name": "Ann"}])
    tags: list[str] = Field(examples=[["customer"]])
    segments: list[str] = Field(examples=[["newsletter"]])
    aliases: list[str] = Field(description="Keys of contacts that were merged into this one.")
    companies: list[str] = Field(description="Keys of the contact's companies, the primary one first.")
    channels: dict[str, Any] = Field(examples=[{}], description="Preferences of the contact, by channel.")
    refusals: list[Refused] = Field(description="Do-not-contact entries.")


class StayResource(BaseModel):
    """A contact's membership of a campaign, with its results and open waits."""

    campaign: str = Field(examples=["welcome"])
    rotation: int = Field(examples=[1])
    added_at: Instant
    left_at: Instant | None
    departure: str | None = Field(examples=[None])
    reason: str | None = Field(examples=[None], description="Why the contact exited, in words.")
    runs: list[dict[str, Any]] = Field(description="Runs that events began: key, data, and how each ended.")
    outcomes: list[dict[str, Any]]
    waits: list[dict[str, Any]]


class Receipt(BaseModel):
    """What was erased, as numbers of rows by kind."""

    contact: str = Field(examples=["ann"])
    erased_at: Instant
    rows: dict[str, int] = Field(examples=[{"events": 12, "messages": 3}])


class Tags(Given):
    """Tags to add and to remove."""

    add: list[str] = Field([])
    remove: list[str] = Field([])


ReadOnly = Annotated[
    Any, Field(json_schema_extra={"readOnly": True}, description="As GET answers it, or left out; not changed here.")
]


class ContactGiven(Given):
    """Attributes to set. Omitted attributes do not change; null erases a value. What GET returns can be sent back."""

    email: str | None = Field(None, examples=["ann@example.com"])
    timezone: str | None = Field(None, examples=["Europe/Paris"])
    owner: str | None = Field(None, examples=["bob"])
    stage: str | None = Field(None, examples=["lead"])
    company: str | None = Field(None, examples=["acme"], description="Key of the primary company.")
    fields: dict[str, Any] = Field({}, examples=[{"first_name": "Ann"}])
    tags: list[str] | Tags = Field([], examples=[["customer"]], description="Tags to add, or {add, remove}.")
    # What GET answers besides, so that it can be sent back.
    key: ReadOnly = None
    points: ReadOnly = None
    scores: ReadOnly = None
    utm: ReadOnly = None
    segments: ReadOnly = None
    aliases: ReadOnly = None
    companies: ReadOnly = None
    channels: ReadOnly = None
    refusals: ReadOnly = None


_CHANGED_HERE = frozenset({"email", "timezone", "owner", "stage", "company", "fields", "tags"})
READ_ONLY = frozenset(ContactGiven.model_fields) - _CHANGED_HERE


@router.get("/contacts", summary="List contacts")
def list_contacts(
    site: SiteOf,
    _who: Reader,
    search: Annotated[
        str,
        Query(
            description="Only contacts whose key, email, first or last name starts with this text, or `FIELD=VALUE`."
        ),
    ] = "",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Listed[ListedContact]:
    """Newest first. A search returns at most 2,000 contacts; `FIELD=VALUE` searches the newest 200,000 contacts."""
    place = place_of(cursor, "contacts", int)
    with site.engine.connect() as conn:
        found = listings.search(conn, search)
        rows = listings.contacts(conn, found=found, before=FIRST if place is None else place[0], limit=limit)
    more = None if rows.after is None else cursor_of("contacts", rows.after)
    return Listed(items=list(map(_line, rows.rows)), next=more)


# Before what has any key in this place.
@router.get("/contacts/{contact:path}/export", summary="Export all data about a contact")
def export_contact(site: SiteOf, _who: Reader, contact: str) -> dict[str, Any]:
    """As `parcours contacts export KEY`: attributes, campaigns, events, messages, submissions and devices."""
    with site.engine.connect() as conn:
        return contact_export.whole_contact(conn, contact, site.zone)


@router.get("/contacts/{contact:path}/campaigns", summary="List a contact's campaigns")
def list_stays(
    site: SiteOf, _who: Reader, contact: str, limit: Limit = 50, cursor: Cursor = None
) -> Listed[StayResource]:
    """Campaigns that the contact is in or has left, by key."""
    place = place_of(cursor, "stays", str)
    with site.engine.connect() as conn:
        shown = _shown(conn, contact)
    stays = sorted(_json(site, shown)["campaigns"], key=lambda stay: str(stay["campaign"]))
    if place is not None:
        stays = [stay for stay in stays if stay["campaign"] > place[0]]
    rows, more = page(stays, limit, "stays", lambda stay: (stay["campaign"],))
    return Listed(items=[StayResource(**stay) for stay in rows], next=more)


@router.get("/contacts/{contact:path}", summary="Get a contact")
def get_contact(site: SiteOf, _who: Reader, contact: str) -> ContactResource:
    """The key of a merged contact returns the contact it was merged into."""
    with site.engine.connect() as conn:
        return ContactResource(**_json(site, _shown(conn, contact)))


@router.put(
    "/contacts/{contact:path}",
    summary="Create or update a contact",
    responses={
        201: {"description": "The contact is new."},
        409: {
            "content": {PROBLEM: {}},
            "description": "The address is another contact's, or the contact was erased at the same moment.",
        },
    },
    openapi_extra=documented(ContactGiven),
)
def put_contact(
    site: SiteOf,
    _who: Manager,
    contact: str,
    response: Response,
    given: Annotated[ContactGiven, Depends(body(ContactGiven))],
) -> ContactResource:
    """Effects on campaigns are complete when the response arrives."""
    key = checked_key("contact", contact)
    with site.engine.connect() as conn:
        own = contacts.find(conn, key)
        before = None if own is None else ContactResource(**_json(site, _shown(conn, key))).model_dump(mode="json")
        _check_read_only(given, before or {"key": key})
    said = given.model_dump(exclude_unset=True, exclude=set(READ_ONLY))
    if before is None or not _is_so_already(said, before):
        _apply(site, key, ContactChange(said))
    else:
        with site.engine.connect() as conn:
            _check_address(conn, own, given.email)
    if before is None:
        response.status_code = 201
        response.headers["Location"] = address("api", "contacts", key)
    with site.engine.connect() as conn:
        shown = _shown(conn, key)
        if given.email and same_address(given.email) != same_address(shown.email or ""):
            # Somebody else was given it at the same moment.
            _check_address(conn, shown.id, given.email)
        return ContactResource(**_json(site, shown))


@router.delete(
    "/contacts/{contact:path}",
    status_code=204,
    summary="Erase a contact",
    responses={200: {"model": Receipt, "description": "With `receipt=true`: what was erased."}},
)
def erase_contact(site: SiteOf, _who: Manager, contact: str, receipt: bool = False) -> Response:
    """Permanent: no identifying data is kept."""
    try:
        erased = contact_changes.erase(site.engine, site.settings, contact, source=SOURCE)
    except ContactRefusedError as error:
        raise ProblemError(409, str(error)) from None
    return JSONResponse(erased.to_json()) if receipt else Response(status_code=204)


def _check_read_only(given: ContactGiven, before: dict[str, Any]) -> None:
    """Raise ProblemError where a body has something else than the contact of what cannot be changed here."""
    said = given.model_dump(mode="json", include=given.model_fields_set & READ_ONLY)
    unlike = [
        name for name, value in said.items() if not _are_alike(value, before.get(name)) and (value or before.get(name))
    ]
    if unlike:
        sentence = "this is read-only and differs from the contact; leave it out"
        raise unusable([(name, sentence) for name in unlike])


def _is_so_already(said: dict[str, Any], before: dict[str, Any]) -> bool:
    """Return whether a body says nothing new of a contact, as when what GET answered is sent back."""
    tags, fields = said.get("tags", []), said.get("fields", {})
    return (
        "company" not in said
        and isinstance(tags, list)
        and set(tags) <= set(before["tags"])
        and all(name in before["fields"] and _are_alike(fields[name], before["fields"][name]) for name in fields)
        and all(_are_alike(value, before[name]) for name, value in said.items() if name not in ("fields", "tags"))
    )


def _are_alike(one: Any, other: Any) -> bool:
    # As JSON: for Python, true is 1.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _check_address(conn: Connection, own: int | None, email: str | None) -> None:
    """Raise ProblemError when an address is that of another contact than `own`."""
    try:
        contact_changes.check_address(conn, own, email)
    except ContactRefusedError as error:
        raise ProblemError(409, str(error)) from None


def _apply(site: Site, key: str, change: ContactChange) -> None:
    """Change a contact. Raises EventError, and ProblemError for a change that conflicts with another contact."""
    try:
        contact_changes.apply(site.engine, site.settings, key, change, source=SOURCE)
    except ContactRefusedError as error:
        raise ProblemError(409, str(error)) from None


def _shown(conn: Connection, key: str) -> Shown:
    found = contacts.show(conn, key)
    if found is None:
        raise NotFoundError("contact", key)
    return found


def _json(site: Site, shown: Shown) -> dict[str, Any]:
    return contact_json(shown, zone_of(shown.timezone, site.zone))


def _line(line: ContactLine) -> ListedContact:
    return ListedContact(**contact_line(line))
