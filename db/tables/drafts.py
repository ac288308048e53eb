"""Drafts of campaigns: what somebody changed and has not applied, with every step on the way."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)

# How far back one can go.
MOST_SNAPSHOTS = 150
# Of one person; the pages ask to delete some before they make another.
MOST_OF_OWNER = 500


class StoredDraft(NamedTuple):
    """A draft as it is now. `undo` and `redo` say whether there is a snapshot before and after the present one."""

    id: int
    campaign_id: int | None
    owner: str
    base_version: int
    revision: int
    pointer: int
    changed_at: datetime
    file: dict[str, Any]
    undo: bool
    redo: bool


class DraftLine(NamedTuple):
    """A draft as it is listed; `campaign` and `version` are of the campaign that it changes, as that is now.

    They are None for a new campaign, and for one that was deleted.
    """

    id: int
    name: str
    campaign: str | None
    base_version: int
    version: int | None
    steps: int
    changed_at: datetime
    owner: str


def create(
    conn: Connection, *, campaign_id: int | None, owner: str, base_version: int, file: dict[str, Any], now: datetime
) -> int:
    """Store a draft and return its id; where the owner has one of the campaign already, that of it, as it is."""
    given = {"campaign_id": campaign_id, "owner": owner, "base_version": base_version, "now": now}
    made = conn.execute(sql["create"], given).scalar_one_or_none()
    if made is None:
        return int(conn.execute(sql["of_campaign"], {"campaign_id": campaign_id, "owner": owner}).scalar_one())
    conn.execute(sql["add_snapshot"], {"draft_id": made, "n": 1, "file": json.dumps(file), "said": None})
    return int(made)


def of_campaign(conn: Connection, campaign_id: int, owner: str) -> int | None:
    """Return the id of the draft that somebody has of a campaign, or None."""
    found = conn.execute(sql["of_campaign"], {"campaign_id": campaign_id, "owner": owner}).scalar_one_or_none()
    return None if found is None else int(found)


def read(conn: Connection, draft_id: int, owner: str) -> StoredDraft | None:
    """Return a draft, or None when it is gone or somebody else's."""
    row = conn.execute(sql["read"], {"draft_id": draft_id, "owner": owner}).one_or_none()
    return None if row is None else StoredDraft(*row)


def hold(conn: Connection, draft_id: int, owner: str) -> StoredDraft | None:
    """Return a draft as `read`, and keep others from changing it until the transaction ends."""
    conn.execute(sql["hold"], {"draft_id": draft_id})
    return read(conn, draft_id, owner)


def add(conn: Connection, draft: StoredDraft, file: dict[str, Any], *, said: str, now: datetime) -> None:
    """Make another file what the draft says. What was undone is gone, and so is what is too far back."""
    n = draft.pointer + 1
    conn.execute(sql["forget"], {"draft_id": draft.id, "after": draft.pointer, "before": n - MOST_SNAPSHOTS})
    conn.execute(sql["add_snapshot"], {"draft_id": draft.id, "n": n, "file": json.dumps(file), "said": said})
    point(conn, draft, n, now=now)


def point(conn: Connection, draft: StoredDraft, n: int, *, now: datetime) -> None:
    """Make another snapshot the present one."""
    conn.execute(sql["point"], {"draft_id": draft.id, "pointer": n, "now": now})


def rebase(conn: Connection, draft: StoredDraft, version: int, *, now: datetime) -> None:
    """Say that the draft's owner has seen a later version, and means to go on from their own file."""
    conn.execute(sql["rebase"], {"draft_id": draft.id, "version": version, "now": now})


def said(conn: Connection, draft: StoredDraft, n: int) -> str:
    """Return what led to a snapshot, or nothing."""
    return str(conn.execute(sql["said"], {"draft_id": draft.id, "n": n}).scalar_one_or_none() or "")


def listed(conn: Connection, owner: str) -> list[DraftLine]:
    """Return somebody's drafts, the latest first."""
    return [DraftLine(*row) for row in conn.execute(sql["listed"], {"owner": owner, "most": MOST_OF_OWNER})]


def others(conn: Connection, campaign_id: int, owner: str) -> list[str]:
    """Return who else has a draft of a campaign."""
    return list(conn.execute(sql["others"], {"campaign_id": campaign_id, "owner": owner}).scalars())


def delete(conn: Connection, draft_id: int, owner: str) -> bool:
    """Delete somebody's draft; return whether it was there."""
    return conn.execute(sql["delete"], {"draft_id": draft_id, "owner": owner}).one_or_none() is not None
