"""Drafts of campaigns: begun, changed by one operation after another, undone, redone, thrown away.

A campaign that runs is untouched by its drafts. Each person has one of a campaign, and it says which version it was
begun from, so that applying it overwrites nothing unseen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from parcours.db.tables import campaigns, drafts
from parcours.db.tables.campaigns import Found
from parcours.db.tables.drafts import StoredDraft
from parcours.domain.campaign_file.build import to_data
from parcours.domain.campaign_file.edit import EditError, normalised
from parcours.domain.errors import CampaignError
from parcours.producers.files.campaigns import MAX_CHARACTERS, TOO_LONG

Change = Callable[[dict[str, Any]], dict[str, Any]]

# What is chosen for contacts inside before a draft is applied. Kept beside its file, under a name that no file has.
CHOICES = ("reschedule", "backfill")
_CHOICES = ".choices"


class OvertakenError(CampaignError):
    """A draft was changed since somebody looked, in another tab; nothing was done."""


def data_of(conn: Connection, found: Found) -> dict[str, Any]:
    """Return the present version of a campaign as the data of a draft.

    Whether it is switched on is no part of it: applying keeps that as it is.
    """
    version = campaigns.read_version(conn, found.key, found.id, found.version)
    data = version.data if version.unreadable is not None and isinstance(version.data, dict) else to_data(version.file)
    try:
        made = normalised(data)
    except EditError:
        # As far as it can be understood.
        made = normalised(to_data(version.file))
    # Made again from what is used when it is applied.
    for name in ("published", "format"):
        made.pop(name, None)
    return made


def choices(data: Mapping[str, Any]) -> dict[str, bool]:
    """Return what was chosen in a draft for contacts inside."""
    made = data.get(_CHOICES)
    return {name: isinstance(made, dict) and made.get(name) is True for name in CHOICES}


def with_choices(data: Mapping[str, Any], made: Mapping[str, bool]) -> dict[str, Any]:
    """Return a draft's data with what is chosen for contacts inside."""
    chosen = {name: True for name in CHOICES if made.get(name)}
    return {**without_choices(data), **({_CHOICES: chosen} if chosen else {})}


def without_choices(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a draft's data as its file has it."""
    return {name: value for name, value in data.items() if name != _CHOICES}


def begin(conn: Connection, found: Found, owner: str, *, now: datetime) -> StoredDraft:
    """Return somebody's draft of a campaign, made from its present version when there is none."""
    known = drafts.of_campaign(conn, found.id, owner)
    if known is None:
        known = drafts.create(
            conn,
            campaign_id=found.id,
            owner=owner,
            base_version=found.version,
            file=data_of(conn, found),
            now=now,
        )
    made = drafts.read(conn, known, owner)
    assert made is not None
    return made


def begin_new(conn: Connection, file: dict[str, Any], owner: str, *, now: datetime) -> int:
    """Store a draft of a new campaign and return its id. Raises EditError for a file that is none."""
    if len(drafts.listed(conn, owner)) >= drafts.MOST_OF_OWNER:
        raise EditError(f"you have {drafts.MOST_OF_OWNER} drafts; delete some before you begin another")
    return drafts.create(conn, campaign_id=None, owner=owner, base_version=0, file=_fitting(file), now=now)


def change(conn: Connection, draft: StoredDraft, seen: int, what: Change, *, said: str, now: datetime) -> StoredDraft:
    """Do one operation and keep what comes of it; a change that changes nothing leaves no trace.

    `seen` is the revision that whoever asks for it looked at. Raises OvertakenError, and EditError.
    """
    held = _hold(conn, draft, seen)
    file = _fitting(what(held.file))
    if file == held.file:
        return held
    drafts.add(conn, held, file, said=said, now=now)
    return _again(conn, held)


def step_back(conn: Connection, draft: StoredDraft, seen: int, *, now: datetime) -> tuple[StoredDraft, str]:
    """Undo the last operation; return the draft and what was undone. Raises OvertakenError, and EditError."""
    held = _hold(conn, draft, seen)
    if not held.undo:
        raise EditError("there is nothing to undo")
    undone = drafts.said(conn, held, held.pointer)
    drafts.point(conn, held, held.pointer - 1, now=now)
    return _again(conn, held), undone


def step_forward(conn: Connection, draft: StoredDraft, seen: int, *, now: datetime) -> tuple[StoredDraft, str]:
    """Do what was undone last once more; return the draft and what that was. Raises OvertakenError, and EditError."""
    held = _hold(conn, draft, seen)
    if not held.redo:
        raise EditError("there is nothing to redo")
    drafts.point(conn, held, held.pointer + 1, now=now)
    return _again(conn, held), drafts.said(conn, held, held.pointer + 1)


def _hold(conn: Connection, draft: StoredDraft, seen: int) -> StoredDraft:
    held = drafts.hold(conn, draft.id, draft.owner)
    if held is None:
        raise OvertakenError("the draft was deleted or applied in another tab")
    if held.revision != seen:
        raise OvertakenError("the draft was changed in another tab; this is how it is now")
    return held


def _again(conn: Connection, draft: StoredDraft) -> StoredDraft:
    found = drafts.read(conn, draft.id, draft.owner)
    assert found is not None
    return found


def _fitting(file: dict[str, Any]) -> dict[str, Any]:
    # What PostgreSQL cannot store is refused here, and not by an error of its own.
    text = json.dumps(file, ensure_ascii=False)
    if len(text) > MAX_CHARACTERS:
        raise EditError(TOO_LONG)
    if "\\u0000" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise EditError("a text contains a character that cannot be stored (NUL or a lone surrogate)")
    return file
