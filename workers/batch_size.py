"""How many contacts a batch takes."""

from __future__ import annotations

from dataclasses import dataclass, field

# A long transaction holds the locks of its contacts against their events and delays who waits for a turn;
# a short one is mostly round trips. Measured, twice as long gains a tenth at most.
SECONDS_A_BATCH = 0.25
FIRST = 1000
LEAST = 50


@dataclass
class Pace:
    """The size of the next batch at a step: what the last ones did in `SECONDS_A_BATCH`, `most` at most.

    Steps differ by a hundredfold, and so does a machine that is alone from one that is not.
    """

    most: int
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = min(FIRST, self.most)

    def learn(self, contacts: int, seconds: float) -> None:
        """Take a batch into account. One that was not full says nothing, and one slow commit not much."""
        if contacts < self.size:
            return
        wanted = contacts * SECONDS_A_BATCH / max(seconds, 1e-3)
        self.size = min(self.most, max(LEAST, int(min(max(wanted, self.size / 2), self.size * 2))))
