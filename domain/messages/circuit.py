"""The circuit breaker of a provider."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

# So many failures in a row, with no answer in between, and a provider is away.
THRESHOLD = 5

FIRST_PAUSE = timedelta(seconds=5)

LONGEST_PAUSE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Circuit:
    """What is known of a provider that failed lately."""

    state: Literal["closed", "open", "half_open"] = "closed"
    failures: int = 0
    # How often in a row it was found away.
    trips: int = 0
    opened_until: datetime | None = None
    error: str | None = None

    def admits(self, now: datetime) -> Literal["all", "one", "none"]:
        """Return how many messages may be tried: one, as a probe, when an open circuit's time is over."""
        if self.opened_until is None:
            return "all"
        return "one" if self.opened_until <= now else "none"

    def probed(self, until: datetime) -> Circuit:
        """Return the circuit while one worker tries one message; if it dies, another may after `until`."""
        return replace(self, state="half_open", opened_until=until)


def circuit_after(
    circuit: Circuit | None, *, answered: int, away: int, error: str | None, now: datetime
) -> Circuit | None:
    """Return a provider's circuit after some tries; None when there is nothing to remember, since it works.

    Opens after 5 failures in a row, for 5 seconds, then 10, 20, up to 5 minutes, with one try in between.
    """
    if answered:
        return None
    before = circuit or Circuit()
    if not away:
        return circuit
    after = replace(before, failures=before.failures + away, error=error)
    if before.state == "open" and before.opened_until is not None and before.opened_until > now:
        return after
    if before.state == "closed" and after.failures < THRESHOLD:
        return after
    pause = min(FIRST_PAUSE * 2 ** min(before.trips, 10), LONGEST_PAUSE)
    return replace(after, state="open", trips=before.trips + 1, opened_until=now + pause)
