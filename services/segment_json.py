"""A segment as JSON."""

from __future__ import annotations

from typing import Any

from parcours.db.tables.segments import SegmentLine


def segment_json(line: SegmentLine) -> dict[str, Any]:
    """Return a segment as the command and the REST interface list it."""
    return {
        "key": line.key,
        "name": line.name,
        "public": line.public,
        "published": line.published,
        "members": line.members,
        "campaigns": line.campaigns,
    }
