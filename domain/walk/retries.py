"""When a failed step is tried again."""

from __future__ import annotations

from datetime import timedelta
from zlib import crc32

# After so many failed attempts the pause between them does not grow any more.
LONGEST_AFTER = 6


def retry_delay(attempt: int, contact_id: int, step_id: int) -> timedelta:
    """Return how long to wait after a failed attempt: about 1, 4, 16, 64 minutes, then 6 hours at most.

    The jitter of up to a quarter either way comes from the ids, so that deciding again gives the
    same plan and a thousand contacts that failed together do not come back together.
    """
    minutes = min(4.0 ** (min(attempt, LONGEST_AFTER) - 1), 360.0)
    jitter = 0.75 + (crc32(f"{contact_id}/{step_id}/{attempt}".encode()) % 1000) / 2000
    return timedelta(minutes=minutes * jitter)
