"""Instants as text."""

from __future__ import annotations

from datetime import UTC, datetime


def iso(at: datetime | None) -> str | None:
    """Return an instant as ISO 8601 in UTC, as all our JSON has it."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")
