"""What every resource needs: who calls, bodies, pages of a list and the shapes of answers."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import MAXYEAR, datetime
from typing import Annotated, Any, Generic, Protocol, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy import Connection

from parcours.db.tables import contacts
from parcours.domain import gate
from parcours.domain.campaign_file.model import dotted
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.invalid_values import why_invalid
from parcours.web.context import Site, site_of
from parcours.web.problems import ProblemError, problems
from parcours.web.security.access import caller
from parcours.web.security.bodies import check_content_type, read_body, read_json

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

JSON_TYPES = ("application/json",)
MOST_A_PAGE = 500
# In a cursor: an instant, or null for what is never due.
NEVER = type("NEVER", (), {})
# More than any id.
HIGHEST_ID = 2**62

SiteOf = Annotated[Site, Depends(site_of)]
# The name of who calls, for the audit; with it, only those get in who may.
Reader = Annotated[str, Depends(caller("read"))]
Manager = Annotated[str, Depends(caller("manage"))]
Raw = Annotated[bytes, Depends(read_body)]

Instant = Annotated[
    str, Field(examples=["2026-06-01T09:00:00Z"], json_schema_extra={"format": "date-time"}, description="In UTC.")
]
Limit = Annotated[int, Query(ge=1, le=MOST_A_PAGE, description="Maximum number of items per page.")]
Cursor = Annotated[str | None, Query(description="`next` of the previous page. Omit it for the first page.")]

PROBLEMS = problems(
    {
        400: "The body is not JSON, or the cursor does not belong to this list.",
        401: "The API key is missing, unknown or revoked.",
        403: "The role of the key or user does not allow this.",
        404: "The resource does not exist.",
        422: "The request is invalid; `detail` gives the reason, `problems` lists each error.",
    }
)


class Listed(BaseModel, Generic[T]):
    """A page of a list. `next` is the cursor of the next page; null on the last one."""

    items: list[T]
    next: str | None = Field(examples=[None])


class Given(BaseModel):
    """A body; a name that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid")


def api_router(tag: str) -> APIRouter:
    """Return a router for a resource; every operation says who may, by `Reader` or `Manager`."""
    return APIRouter(prefix="/api", tags=[tag], responses=PROBLEMS)


# Bodies.


def body(model: type[M]) -> Callable[..., M]:
    """Return a dependency: the JSON body of a request, as a model. Raises ProblemError."""

    def read(request: Request, raw: Raw) -> M:
        check_content_type(request, JSON_TYPES)
        try:
            return model.model_validate(checked_json(raw))
        except ValidationError as error:
            raise unusable([(dotted(each["loc"]), _sentence(model, each)) for each in error.errors()]) from None

    return read


def _sentence(model: type[BaseModel], error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
        return f"unknown property; known properties are {', '.join(model.model_fields)}"
    return why_invalid(error, error["input"])


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """Return what the OpenAPI document says of a body that `body` reads."""
    return {"requestBody": {"required": True, "content": {JSON_TYPES[0]: {"schema": model.model_json_schema()}}}}


def checked_json(raw: bytes, *, levels: int = gate.MAX_DEPTH) -> Any:
    """Return the JSON value of a body that can be stored. Raises ProblemError."""
    value = read_json(raw)
    try:
        gate.check(value, "the body", levels=levels)
    except gate.GateError as error:
        raise ProblemError(422, str(error)) from None
    return value


def unusable(problems: Sequence[tuple[str, str]]) -> ProblemError:
    """Return the problem of a body, with each place in it and what is wrong there."""
    place, sentence = problems[0]
    more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
    listed = [{"path": path, "error": error} for path, error in problems]
    return ProblemError(422, f"{place}: {sentence}{more}".removeprefix(": "), extensions={"problems": listed})


# Lists.


def page(
    found: Sequence[T], limit: int, kind: str, place: Callable[[T], Sequence[Any]]
) -> tuple[Sequence[T], str | None]:
    """Return the first `limit` rows, of which one more was asked for, and the cursor behind them."""
    shown = found[:limit]
    return shown, cursor_of(kind, *place(shown[-1])) if len(found) > limit else None


class Keyed(Protocol):
    @property
    def key(self) -> str: ...


K = TypeVar("K", bound=Keyed)


def page_by_key(found: Sequence[K], limit: int, kind: str, cursor: str | None) -> tuple[Sequence[K], str | None]:
    """Return a page of things that are few enough to be read as a whole, by key. Raises ProblemError (400)."""
    place = place_of(cursor, kind, str)
    behind = [each for each in sorted(found, key=lambda each: each.key) if place is None or each.key > place[0]]
    return page(behind, limit, kind, lambda each: (each.key,))


def cursor_of(kind: str, *place: Any) -> str:
    """Return a place in a list as text that is nobody's business but ours."""
    parts = [each.isoformat() if isinstance(each, datetime) else each for each in place]
    return base64.urlsafe_b64encode(json.dumps([kind, *parts]).encode()).decode().rstrip("=")


def place_of(text: str | None, kind: str, *types: type) -> list[Any] | None:
    """Return the place that a cursor of a list names; None for the beginning. Raises ProblemError (400)."""
    if text is None:
        return None
    try:
        found, *parts = json.loads(base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)))
        if found != kind or len(parts) != len(types):
            raise ValueError
        return [_part(part, type_) for part, type_ in zip(parts, types, strict=True)]
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise ProblemError(400, "the cursor does not belong to this list; use `next` of the previous page") from None


def _part(part: Any, type_: Any) -> Any:
    if type_ is NEVER:
        # What has no deadline has no instant.
        return None if part is None else _part(part, datetime)
    if type_ is datetime:
        at = datetime.fromisoformat(part)
        if at.tzinfo is None or not 1 < at.year < MAXYEAR:
            raise ValueError
        return at
    if type(part) is not type_ or (type_ is int and not 0 <= int(part) <= HIGHEST_ID):
        raise ValueError
    gate.check(part, "a cursor")
    return part


def contact_id(conn: Connection, key: str) -> int:
    """Return the id of a contact. Raises NotFoundError."""
    found = contacts.find(conn, key)
    if found is None:
        raise NotFoundError("contact", key)
    return found


@contextmanager
def refused_as_conflict() -> Iterator[None]:
    """Answer 409 to what is refused within the block, and 404 to what is not there."""
    try:
        yield
    except NotFoundError:
        raise
    except CampaignError as error:
        raise ProblemError(409, str(error)) from None
