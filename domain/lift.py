"""Whether a campaign helps: two shares compared, with how far chance may explain the difference."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

# Of the normal distribution: 95 percent lie within so many standard deviations.
Z95 = 1.959963984540054

# Below these, chance says more than the figures do: contacts of each group, and conversions of both.
LEAST_ENTERED = 30
LEAST_REACHED = 5


class Lift(NamedTuple):
    """The difference of two shares, and the 95 percent interval around it; all from -1 to 1."""

    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> int:
        """1: the first share is higher, -1: it is lower, 0: chance may explain the difference."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def is_enough(entered: int, reached: int, other_entered: int, other_reached: int) -> bool:
    """Return whether there is enough to compare two groups by: contacts, and how many of them reached the goal."""
    return min(entered, other_entered) >= LEAST_ENTERED and reached + other_reached >= LEAST_REACHED


def lift(reached: int, entered: int, other_reached: int, other_entered: int, *, z: float = Z95) -> Lift:
    """Return how much higher the first share is than the other, with its interval of `z`, 95 percent by default.

    Source: R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in
    Medicine 17 (1998), method 10: of the Wilson intervals of both shares, without a correction for continuity.

    Raises ValueError if a group is empty, or more reached the goal than there are.
    """
    first, low, high = _wilson(reached, entered, z)
    second, other_low, other_high = _wilson(other_reached, other_entered, z)
    difference = first - second
    return Lift(
        difference,
        max(-1.0, difference - sqrt((first - low) ** 2 + (other_high - second) ** 2)),
        min(1.0, difference + sqrt((high - first) ** 2 + (second - other_low) ** 2)),
    )


def _wilson(reached: int, entered: int, z: float) -> tuple[float, float, float]:
    """Return a share with its Wilson interval."""
    if entered <= 0 or not 0 <= reached <= entered:
        raise ValueError(f"{reached} of {entered} is no share")
    share = reached / entered
    middle = share + z**2 / (2 * entered)
    half = z * sqrt(share * (1 - share) / entered + z**2 / (4 * entered**2))
    below = 1 + z**2 / entered
    return share, min(share, (middle - half) / below), max(share, (middle + half) / below)
