"""Forms: what a contact may submit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Form:
    """A form; one that is not standalone starts the campaigns that have it as a source."""

    id: int
    key: str
    name: str
    standalone: bool
    published: bool


def create(conn: Connection, key: str, name: str, standalone: bool) -> bool:
    """Store a form and return whether it is new; an existing one is left as it is."""
    created = conn.execute(
        text(
            "INSERT INTO form (key, name, standalone) VALUES (:key, :name, :standalone) "
            "ON CONFLICT (key) DO NOTHING RETURNING id"
        ),
        {"key": key, "name": name, "standalone": standalone},
    ).one_or_none()
    return created is not None


def find(conn: Connection, key: str) -> Form | None:
    """Return the form of a key, or None."""
    row = conn.execute(
        text("SELECT id, key, name, standalone, published FROM form WHERE key = :key"), {"key": key}
    ).one_or_none()
    return None if row is None else Form(*row)


class Submission(NamedTuple):
    """What a contact put into a form, and when."""

    at: datetime
    fields: dict[str, Any]


def submit(conn: Connection, form_id: int, submissions: Mapping[int, Submission]) -> None:
    """Store one submission a contact, by contact id."""
    if submissions:
        conn.execute(
            text(
                "INSERT INTO form_submission (contact_id, form_id, at, fields) "
                "SELECT contact_id, :form_id, at, fields "
                "FROM unnest(CAST(:contact_ids AS bigint[]), CAST(:ats AS timestamptz[]), CAST(:fields AS jsonb[])) "
                "AS new (contact_id, at, fields)"
            ),
            {
                "form_id": form_id,
                "contact_ids": list(submissions),
                "ats": [each.at for each in submissions.values()],
                "fields": [json.dumps(each.fields, default=str) for each in submissions.values()],
            },
        )
