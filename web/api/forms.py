"""Forms: what contacts submit."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from parcours.db.tables import forms
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.keys import checked_key
from parcours.domain.time.text import iso
from parcours.domain.urls import origin_of
from parcours.producers import form_fields
from parcours.services import removal
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
    documented,
    page_by_key,
    refused_as_conflict,
    unusable,
)
from parcours.web.paging import address
from parcours.web.problems import PROBLEM, ProblemError

router = api_router("forms")

_MAPPING = (
    "Attribute or custom field of the contact that each form field replaces; null: none. Other fields with common "
    "names, such as first_name, fill empty attributes of the contact."
)


class FormResource(BaseModel):
    """A form. If it is not standalone, submissions start the campaigns that use it as a source."""

    key: str = Field(examples=["signup"])
    name: str = Field(examples=["Sign up"])
    standalone: bool = Field(examples=[False])
    published: bool = Field(examples=[True])
    latest_at: Instant | None = Field(description="Time of the last submission.")
    campaigns: list[str] = Field(examples=[["welcome"]], description="Campaigns that use the form as a source.")
    mapping: dict[str, str | None] = Field(examples=[{"tel": "phone"}], description=_MAPPING)


class FormGiven(Given):
    """A new form."""

    key: str = Field(examples=["signup"])
    name: str | None = Field(None, examples=["Sign up"], description="Display name. Default: the key.")
    standalone: bool = Field(False, description="The form cannot be a campaign source.")
    redirect: str | None = Field(None, examples=["https://example.com/thanks"])
    allowed_origins: list[str] = Field(
        [], examples=[["https://example.com"]], description="Origins that can submit the form. Default: all."
    )
    names_contact: bool = Field(
        False, description="Whether submissions can name a contact key. Unsafe on public forms."
    )
    mapping: dict[str, str | None] = Field({}, examples=[{"tel": "phone"}], description=_MAPPING)


class MappingGiven(Given):
    """How form fields map to attributes of the contact."""

    mapping: dict[str, str | None] = Field(examples=[{"tel": "phone"}], description=_MAPPING)


@router.get("/forms", summary="List forms")
def list_forms(site: SiteOf, _who: Reader, limit: Limit = 50, cursor: Cursor = None) -> Listed[FormResource]:
    """By key."""
    with site.engine.connect() as conn:
        rows, more = page_by_key(forms.listed(conn), limit, "forms", cursor)
    return Listed(items=list(map(_form, rows)), next=more)


@router.post(
    "/forms",
    status_code=201,
    summary="Create a form",
    responses={409: {"content": {PROBLEM: {}}, "description": "A form with this key already exists."}},
    openapi_extra=documented(FormGiven),
)
def make_form(
    site: SiteOf, _who: Manager, response: Response, given: Annotated[FormGiven, Depends(body(FormGiven))]
) -> FormResource:
    """Submissions are sent to `POST /forms/{key}`."""
    key = checked_key("form", given.key)
    if given.redirect is not None and origin_of(given.redirect) is None:
        raise unusable([("redirect", "this is not an address that starts with http:// or https://")])
    origins = [_origin(index, each) for index, each in enumerate(given.allowed_origins)]
    mapping = _checked(given.mapping)
    with site.engine.begin() as conn:
        if not forms.create(conn, key, given.name or key, given.standalone):
            raise ProblemError(409, f"form {key!r} already exists; choose another key")
        forms.place(
            conn,
            key,
            redirect=given.redirect,
            allowed_origins=origins,
            names_contact=given.names_contact,
            mapping=mapping,
        )
        made = _line(conn, key)
    response.headers["Location"] = address("api", "forms", key)
    return made


@router.get("/forms/{form:path}", summary="Get a form")
def get_form(site: SiteOf, _who: Reader, form: str) -> FormResource:
    """Includes the time of the last submission and the campaigns that use it."""
    with site.engine.connect() as conn:
        return _line(conn, form)


@router.put(
    "/forms/{form:path}/mapping",
    summary="Set the field mapping of a form",
    openapi_extra=documented(MappingGiven),
)
def map_fields(
    site: SiteOf, _who: Manager, form: str, given: Annotated[MappingGiven, Depends(body(MappingGiven))]
) -> FormResource:
    """Replaces the whole mapping. With `{}`, only common field names are mapped."""
    mapping = _checked(given.mapping)
    with site.engine.begin() as conn:
        forms.place(conn, form, redirect=None, allowed_origins=None, mapping=mapping)
        return _line(conn, form)


@router.delete(
    "/forms/{form:path}",
    status_code=204,
    summary="Delete a form",
    responses={
        409: {"content": {PROBLEM: {}}, "description": "Campaigns, drafts or rules use the form, or may."},
    },
)
def delete_form(site: SiteOf, _who: Manager, form: str) -> None:
    """Only if nothing uses it. Its submissions are deleted with it."""
    with refused_as_conflict(), site.engine.begin() as conn:
        removal.delete_form(conn, form)


def _checked(mapping: dict[str, str | None]) -> dict[str, str | None]:
    try:
        return form_fields.checked_mapping(mapping.items())
    except CampaignError as error:
        raise unusable([("mapping", str(error))]) from None


def _origin(index: int, given: str) -> str:
    origin = origin_of(given)
    if origin is None or urlsplit(given).path not in ("", "/"):
        raise unusable([(f"allowed_origins[{index}]", "this is not an origin; write it like https://example.com")])
    return origin


def _line(conn: Connection, key: str) -> FormResource:
    found = forms.listed(conn, key=key)
    if not found:
        raise NotFoundError("form", key)
    return _form(found[0])


def _form(line: forms.FormLine) -> FormResource:
    return FormResource(
        key=line.key,
        name=line.name,
        standalone=line.standalone,
        published=line.published,
        latest_at=iso(line.latest_at),
        campaigns=line.campaigns,
        mapping=line.mapping,
    )
