"""Addresses of ours, and where a page of a list begins, as they say it; what is no place of ours is the beginning."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote, urlencode

from fastapi import Request

from parcours.db.reads.listings import FIRST


class Instant(NamedTuple):
    """An instant and a number that tells apart what happened at it."""

    at: datetime
    number: int


def address(*pieces: str) -> str:
    """Return an address of ours; a key may be any piece of it."""
    return "/" + "/".join(quote(piece, safe="") for piece in pieces)


def before_of(request: Request) -> int:
    """Return the contact before which a page of a list begins."""
    text = request.query_params.get("before", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else FIRST


def page_of(request: Request) -> int:
    """Return the page of a list whose pages are numbered, from 1 on."""
    text = request.query_params.get("page", "")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def next_address(path: str, after: int | str | None, **asked: str) -> str | None:
    """Return the address of a list's next page, if there is one."""
    given = {name: value for name, value in asked.items() if value}
    return None if after is None else f"{path}?{urlencode({**given, 'before': after})}"


def instant_of(request: Request) -> Instant | None:
    """Return the instant at which a page of what happened begins."""
    at, _sign, number = request.query_params.get("before", "").partition("~")
    try:
        found = Instant(datetime.fromisoformat(at), int(number))
    except ValueError:
        return None
    return found if found.at.tzinfo is not None and 0 <= found.number < FIRST else None


def written(place: tuple[datetime, int] | None) -> str | None:
    """Return a place as an address has it."""
    return None if place is None else f"{place[0].isoformat()}~{place[1]}"
