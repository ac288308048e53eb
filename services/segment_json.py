"""A segment as JSON."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from parcours.db.tables import rules, segments
from parcours.db.tables.segments import SegmentLine
from parcours.domain.errors import NotFoundError


def definition(conn: Connection, key: str) -> dict[str, Any]:
    """Return a segment as the data of the file that `apply` takes. Raises NotFoundError."""
    found = segments.find(conn, key)
    if found is None:
        raise NotFoundError("segment", key)
    data: dict[str, Any] = {
        "segment": found.key,
        "name": found.name,
        "public": found.public,
        "published": found.published,
    }
    stored = rules.stored(conn, found.key)
    # As it is stored, also where it cannot be read here: then it is there to be mended.
    rule = stored[0].rule if stored else None
    return {**data, "rule": rule.get("rule") if isinstance(rule, dict) else rule} if stored else data


def segment_json(line: SegmentLine) -> dict[str, Any]:
    """Return a segment as the command and the REST interface list it."""
    return {
        "key": line.key,
        "name": line.name,
        "public": line.public,
        "published": line.published,
        "members": line.members,
        "campaigns": line.campaigns,
        "by_rule": line.by_rule,
    }
