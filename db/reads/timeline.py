"""What happened to a contact, over all campaigns, newest first."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)


What = Literal["outcome", "event", "message", "joined", "left"]


class TimelineEntry(NamedTuple):
    """One thing that happened. `type` is a step's type, an event's, or a message's channel.

    `result` is a step's result, a message's state, or how the contact joined or left.
    """

    what: What
    at: datetime
    campaign: str | None
    step: str | None
    type: str | None
    result: str | None
    detail: Any
    rotation: int | None


class Place(NamedTuple):
    """Where a page begins: at an instant, past so many entries of it."""

    at: datetime
    skipped: int = 0


def page(
    conn: Connection,
    contact_id: int,
    place: Place,
    *,
    limit: int,
    whats: Collection[What] | None = None,
    campaign: str | None = None,
) -> tuple[list[TimelineEntry], Place | None]:
    """Return a page of a contact's timeline, and where the next one begins.

    `whats`: only entries of these kinds. `campaign`: only those of the campaign of this key; no event belongs to one.
    """
    parameters = {
        "whats": None if whats is None else list(whats),
        "campaign": campaign,
        "contact_id": contact_id,
        "at": place.at,
        "skipped": place.skipped,
        "limit": limit + 1,
        "reach": place.skipped + limit + 1,
    }
    found = [TimelineEntry(*row) for row in conn.execute(sql["page"], parameters)]
    shown = found[:limit]
    if len(found) <= limit:
        return shown, None
    last = shown[-1].at
    at_last = sum(entry.at == last for entry in shown)
    return shown, Place(last, at_last + (place.skipped if last == place.at else 0))
