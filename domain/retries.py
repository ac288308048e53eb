"""When and how often what did not work is tried again: failed steps, and messages that did not leave.

When a provider as a whole is left alone is decided in `messages/circuit.py`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from zlib import crc32

from parcours.domain.messages.results import Claimed, Retry

# Steps.

# How often a step is tried whose campaign does not say it, and how often one may ask for.
STEP_ATTEMPTS = 5
MOST_STEP_ATTEMPTS = 1000

# After so many failed attempts the pause between them does not grow any more.
LONGEST_AFTER = 6


def step_delay(attempt: int, contact_id: int, step_id: int) -> timedelta:
    """Return how long to wait after a failed attempt: about 1, 4, 16, 64 minutes, then 6 hours at most.

    The jitter of up to a quarter either way comes from the ids, so that deciding again gives the
    same plan and a thousand contacts that failed together do not come back together.
    """
    minutes = min(4.0 ** (min(attempt, LONGEST_AFTER) - 1), 360.0)
    jitter = 0.75 + (crc32(f"{contact_id}/{step_id}/{attempt}".encode()) % 1000) / 2000
    return timedelta(minutes=minutes * jitter)


# Messages.

# How often a message is tried whose step does not say it.
MESSAGE_ATTEMPTS = 3

# A provider may ask for so much patience, not for more.
LONGEST_RETRY = timedelta(days=1)

# While a provider is away, or asks for patience with a message, messages wait without using up attempts; so
# long at most.
LONGEST_AWAY = timedelta(days=3)

# A message that found its provider away waits a little longer than the others, as long as it has waited already
# within these bounds: so they are tried before it, should it be the message that the provider cannot take.
FIRST_BEHIND = timedelta(seconds=5)

# A message that needs patience waits as long as it has waited already, within these bounds: greylisting lets
# it through after some minutes, a quota of the day after hours. Source: RFC 5321, section 4.5.4.1.
FIRST_PATIENCE = timedelta(minutes=5)
LONGEST_PATIENCE = timedelta(hours=2)


class Again(NamedTuple):
    """When a message is tried again, and how many attempts it has used up by then."""

    at: datetime
    attempts: int


def message_again(message: Claimed, answer: Retry, *, paused_until: datetime | None, now: datetime) -> Again | None:
    """Return when a message that did not leave is tried again, or None when it has used up its attempts.

    `paused_until` is until when nobody tries its provider, if that is away altogether: the message keeps its attempts
    then, for up to three days, and so does one that the provider asks to be patient with. It is due later than what
    nobody has tried, so that the same message isn't the probe each time. Others are tried again after about 1, 4,
    16, … minutes, or when the provider says.
    """
    keeps_attempts = now - message.tried_at < LONGEST_AWAY
    if answer.away and paused_until is not None and keeps_attempts:
        return Again(paused_until + _patience(message, now, least=FIRST_BEHIND), message.attempts)
    if answer.patient and keeps_attempts:
        delay = answer.after if answer.after is not None else _patience(message, now, least=FIRST_PATIENCE)
        return Again(now + min(delay, LONGEST_RETRY), message.attempts)
    attempts = message.attempts + 1
    if attempts >= int(message.payload.get("attempts") or MESSAGE_ATTEMPTS):
        return None
    delay = answer.after if answer.after is not None else step_delay(attempts, message.contact_id, message.step_id)
    return Again(now + min(delay, LONGEST_RETRY), attempts)


def _patience(message: Claimed, now: datetime, *, least: timedelta) -> timedelta:
    """Return how long a message waits that is tried for days, up to a quarter longer so that not all come together."""
    waited = min(max(now - message.tried_at, least), LONGEST_PATIENCE)
    return waited * (1 + crc32(message.key.encode()) % 1000 / 4000)
