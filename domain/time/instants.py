"""Instants that people give: read in one way, and refused where no campaign can run."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

# The engine keeps what happens in partitions by month and day, and reckons with years ahead of an instant. Before and
# after these years there is no campaign, only a slip of the pen.
FIRST_YEAR = 2000
LAST_YEAR = 2199

LIKE = "2026-12-01T09:00:00Z"


def parse_instant(text: object, zone: tzinfo = UTC) -> datetime:
    """Return an instant of ISO 8601 in UTC; one without an offset is taken to be in `zone`.

    Raises ValueError with the end of a sentence for what is no time, or one at which no campaign can run.
    """
    try:
        at = datetime.fromisoformat(text.strip()) if isinstance(text, str) else None
    except ValueError:
        at = None
    if at is None:
        shown = text if not isinstance(text, str) or len(text) <= 40 else f"{text[:40]}…"
        raise ValueError(f"{shown!r} is not a time; write it like {LIKE}")
    return practical(at.replace(tzinfo=zone) if at.tzinfo is None else at)


def practical(at: datetime) -> datetime:
    """Return an instant in UTC. Raises ValueError, otherwise as `parse_instant`, when no campaign can run then."""
    # One far away may have no form in UTC.
    if not FIRST_YEAR <= at.year <= LAST_YEAR or not FIRST_YEAR <= at.astimezone(UTC).year <= LAST_YEAR:
        raise ValueError(f"{at.isoformat()} is out of range; use a time between {FIRST_YEAR} and {LAST_YEAR}")
    return at.astimezone(UTC)
