"""How fast a campaign's messages leave: `rate: 100 per minute`."""

import re
from datetime import timedelta

_SECONDS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    # As French people write it: `100 par heure`.
    "seconde": 1,
    "heure": 3600,
    "jour": 86_400,
}
_RATE = re.compile(rf"([0-9]{{1,9}})\s*(?:per|par|/)\s*({'|'.join(_SECONDS)})", re.IGNORECASE)


def parse_rate(text: object) -> float:
    """Return the messages a second of `N per second|minute|hour|day`. Raises ValueError with a sentence."""
    number, period = parse_number_per(text)
    return number / period.total_seconds()


def parse_number_per(text: object) -> tuple[int, timedelta]:
    """Return how many, and in which period, of `N per second|minute|hour|day`. Raises ValueError with a sentence."""
    found = _RATE.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} is not a rate; write it like '100 per minute' or '2000 per hour'")
    return int(found[1]), timedelta(seconds=_SECONDS[found[2].lower()])
