"""Instants as text."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo


def iso(at: datetime | None) -> str | None:
    """Return an instant as ISO 8601 in UTC, as all our JSON has it."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def shown(at: datetime, zone: ZoneInfo) -> str:
    """Return an instant as a person reads it on a terminal: to the second, in a timezone that is named."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S} {zone.key}"
