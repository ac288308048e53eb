"""The timezone of a contact."""

from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


@cache
def zone_of(name: str | None, default: ZoneInfo) -> ZoneInfo:
    """Return a contact's timezone; who has none, or one that does not exist, has the default."""
    if not name:
        return default
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return default
