"""Outcomes and open waits of a campaign as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row

from parcours.db.tables import campaigns, contacts
from parcours.db.tables.campaigns import Found
from parcours.domain.errors import NotFoundError
from parcours.domain.steps.sending import sentence
from parcours.domain.time.text import iso


def filters(conn: Connection, found: Found, contact: str | None, step: str | None) -> tuple[int | None, int | None]:
    """Return the ids of a contact and of a step of a campaign, as far as they are named. Raises NotFoundError."""
    contact_id = step_id = None
    if contact is not None:
        contact_id = contacts.find(conn, contact.strip())
        if contact_id is None:
            raise NotFoundError("contact", contact)
    if step is not None:
        step_id = {each.key: each.id for each in campaigns.steps(conn, found.id)}.get(step)
        if step_id is None:
            raise NotFoundError("step", step, f"`parcours campaigns show {found.key}` names them")
    return contact_id, step_id


def log_json(row: Row[Any]) -> dict[str, Any]:
    """Return an outcome as `log --json` has it."""
    return {
        "contact": row.contact,
        "step": row.step,
        "rotation": row.rotation,
        "run": row.run,
        "result": row.result,
        "at": iso(row.at),
        "due_at": iso(row.due_at),
        "detail": row.detail or {},
    }


def waiting_json(row: Row[Any]) -> dict[str, Any]:
    """Return an open wait as `log --waiting --json` has it."""
    return {
        "contact": row.contact,
        "step": row.step,
        "rotation": row.rotation,
        "run": row.run,
        "waiting": "retry" if row.reason == "retry" else row.kind,
        "due_at": iso(row.due_at),
        "reason": _why(row.error, row.held),
    }


def _why(error: str | None, held: Mapping[str, Any] | None) -> str | None:
    """Return why a contact still waits: what failed before, or what holds it back; None when only time passes."""
    if error is not None:
        return f"the last attempt failed: {error}"
    if held is None:
        return None
    if "policy" in held:
        policy = held["policy"]
        return sentence(policy["channel"], policy["rule"])
    # The step type of another package says it in its own words.
    return ", ".join(f"{name}: {said}" for name, said in held.items() if name != "held_since") or None
