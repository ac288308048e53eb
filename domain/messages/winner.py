"""Which version of an email gets all further sends, once enough is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo

from parcours.domain.time.intervals import Interval, format_interval, parse_interval
from parcours.domain.time.schedule import add

# What is counted of messages, each at most once.
WinnerBy = Literal["opened", "clicked"]
WINNER_BY: tuple[WinnerBy, ...] = get_args(WinnerBy)
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class WinnerRule:
    """The best version by `by` wins, `after` a time from the first email of a step on."""

    after: Interval
    by: WinnerBy

    def ends_at(self, started_at: datetime) -> datetime:
        """Return from when on the winner is chosen; days are days in UTC."""
        return add(self.after, started_at.astimezone(UTC), _UTC)

    def as_data(self) -> dict[str, str]:
        """Return the rule as a file has it."""
        return {"after": format_interval(self.after), "by": self.by}


class VersionTried(NamedTuple):
    """How many messages of a version went out, and of how many of them somebody did what counts."""

    sent: int
    did: int


def winner_rule(after: object, by: object) -> WinnerRule:
    """Return the rule of a file. Raises ValueError with a sentence."""
    if by not in WINNER_BY:
        raise ValueError(f"'by' of the winner must be {' or '.join(WINNER_BY)}, not {by!r}")
    interval = parse_interval(after)
    if interval == Interval():
        raise ValueError("'after' of the winner must be longer than 0")
    return WinnerRule(interval, by)


def best_version(tried: Mapping[str, VersionTried]) -> str | None:
    """Return the version with the highest rate; None while fewer than two went out, all rates are 0, or several tie."""
    rates = {name: Fraction(min(each.did, each.sent), each.sent) for name, each in tried.items() if each.sent > 0}
    if len(rates) < 2:
        return None
    highest = max(rates.values())
    best = [name for name, rate in rates.items() if rate == highest]
    return best[0] if highest > 0 and len(best) == 1 else None
