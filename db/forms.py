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


class FormLine(NamedTuple):
    """A form as it is listed: with its latest submission and the campaigns that it is a source of."""

    key: str
    name: str
    standalone: bool
    published: bool
    latest_at: datetime | None
    campaigns: list[str]


def listed(conn: Connection) -> list[FormLine]:
    """Return all forms by key; the latest submission comes from form_submission_recent_idx."""
    rows = conn.execute(
        text(
            "SELECT key, name, standalone, published, "
            "(SELECT at FROM form_submission WHERE form_id = form.id ORDER BY at DESC LIMIT 1), "
            "ARRAY(SELECT campaign.key FROM campaign_source "
            "JOIN campaign ON campaign.id = campaign_source.campaign_id AND campaign.deleted_at IS NULL "
            "WHERE campaign_source.kind = 'form' AND campaign_source.source_id = form.id ORDER BY campaign.key) "
            "FROM form ORDER BY key"
        )
    )
    return [FormLine(*row) for row in rows]


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
