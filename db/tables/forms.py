"""Forms: what a contact may submit."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db import touched
from parcours.db.patterns import containing
from parcours.db.statements import statements

sql = statements(__file__)


@dataclass(frozen=True, slots=True)
class Form:
    """A form; one that is not standalone starts the campaigns that have it as a source."""

    id: int
    key: str
    name: str
    standalone: bool
    published: bool
    # Where people go after they submitted it; None: a page of ours says thank you.
    redirect: str | None = None
    # The sites whose pages may submit it, as origins; empty: every site.
    allowed_origins: tuple[str, ...] = ()
    # Whether who submits it may say by its key which contact it is.
    names_contact: bool = False
    # By field, what it becomes of the contact, None for nothing; fields with usual names fill what is empty.
    mapping: Mapping[str, str | None] = field(default_factory=dict)


def create(conn: Connection, key: str, name: str, standalone: bool) -> bool:
    """Store a form and return whether it is new; an existing one is left as it is."""
    created = conn.execute(sql["create"], {"key": key, "name": name, "standalone": standalone}).one_or_none()
    return created is not None


def place(
    conn: Connection,
    key: str,
    *,
    redirect: str | None,
    allowed_origins: Sequence[str] | None,
    names_contact: bool | None = None,
    mapping: Mapping[str, str | None] | None = None,
) -> bool:
    """Say where a form stands and leads, whether it names its contact, and what its fields become of them.

    None leaves what is there.

    Return whether that changed it.
    """
    changed = conn.execute(
        sql["place"],
        {
            "key": key,
            "redirect": redirect,
            "origins": None if allowed_origins is None else list(allowed_origins),
            "names": names_contact,
            "mapping": None if mapping is None else json.dumps(dict(mapping)),
        },
    ).one_or_none()
    return changed is not None


def set_up(
    conn: Connection,
    key: str,
    *,
    name: str,
    published: bool,
    redirect: str | None,
    allowed_origins: Sequence[str],
    names_contact: bool,
) -> None:
    """Write all settings of a form."""
    given = {"name": name, "published": published, "redirect": redirect, "names": names_contact}
    conn.execute(sql["set_up"], {"key": key, "origins": list(allowed_origins), **given})


def delete(conn: Connection, key: str) -> None:
    """Delete a form and its submissions. Nothing may use it; campaigns that are deleted forget it."""
    conn.execute(sql["delete"], {"key": key})


def names(conn: Connection, keys: Iterable[str]) -> dict[str, str]:
    """Return what forms are called, by key; a key of which there is none is left out."""
    wanted = sorted(set(keys))
    return {row.key: row.name for row in conn.execute(sql["names"], {"keys": wanted})} if wanted else {}


def find(conn: Connection, key: str) -> Form | None:
    """Return the form of a key, or None."""
    row = conn.execute(sql["find"], {"key": key}).one_or_none()
    if row is None:
        return None
    origins = tuple(row.allowed_origins)
    place = (row.redirect, origins, row.names_contact, row.mapping)
    return Form(row.id, row.key, row.name, row.standalone, row.published, *place)


class FormLine(NamedTuple):
    """A form as it is listed: with its latest submission and the campaigns that it is a source of."""

    key: str
    name: str
    standalone: bool
    published: bool
    latest_at: datetime | None
    campaigns: list[str]
    mapping: dict[str, str | None]


def listed(
    conn: Connection, *, key: str | None = None, search: str = "", limit: int | None = None, offset: int = 0
) -> list[FormLine]:
    """Return the form of a key, or all by key; the latest submission comes from form_submission_recent_idx.

    `search`: only those whose key or name contains it.
    """
    given = {"key": key, "pattern": containing(search), "limit": limit, "offset": offset}
    return [FormLine(*row) for row in conn.execute(sql["listed"], given)]


class StoredSubmission(NamedTuple):
    """What a contact put into a form, and when."""

    at: datetime
    fields: dict[str, Any]
    # What the event says of its time besides.
    more: Mapping[str, Any] = {}


def submit(conn: Connection, form_id: int, submissions: Mapping[int, StoredSubmission]) -> None:
    """Store one submission a contact, by contact id."""
    if submissions:
        conn.execute(
            sql["submit"],
            {
                "form_id": form_id,
                "contact_ids": list(submissions),
                "ats": [each.at for each in submissions.values()],
                "fields": [json.dumps(each.fields, default=str) for each in submissions.values()],
            },
        )
        touched.note(conn, "submissions", submissions)
