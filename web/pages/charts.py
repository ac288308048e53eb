"""The geometry of a line chart: which days, in which buckets, and where each point stands. Pure.

Places along the time are in percent of the width and heights in pixels, so that a chart fits a phone
and a wide screen without its words changing size, and without a script or a style attribute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from typing import Literal, NamedTuple

from parcours.domain.time.instants import FIRST_YEAR, LAST_YEAR

Bucket = Literal["hour", "day", "week", "month"]

# Pixels. Above the plot there is room for the highest line's label, below it for the dates.
TOP, HEIGHT, FOOT = 20, 200, 28
# Units of the plot's own width, which is stretched to the chart's.
WIDTH = 1000
LINES = 4
LABELS = 6

# The most days that each bucket is for.
LONGEST: Sequence[tuple[int, Bucket]] = ((2, "hour"), (92, "day"), (732, "week"))
PRESETS: Mapping[str, int] = {"1": 1, "7": 7, "30": 30, "90": 90}
DEFAULT = "30"
# A graph of more would be of nothing that we counted.
LONGEST_DAYS = 36_600


class Range(NamedTuple):
    """Days of a timezone, both included, and the bucket that fits them. `choice`: a preset, `all`, or `days`."""

    choice: str
    first: date
    last: date
    bucket: Bucket


@dataclass(frozen=True)
class Point:
    """A value of one line; `x` in percent, `y` in pixels from the chart's top."""

    x: float
    y: float
    value: int


@dataclass(frozen=True)
class ChartLine:
    """A line and its points; `path` in the plot's own units."""

    name: str
    path: str
    points: Sequence[Point]
    total: int


@dataclass(frozen=True)
class Mark:
    """A label of an axis: in percent along the time, or in pixels up the values."""

    place: float
    value: int


@dataclass(frozen=True)
class ChartColumn:
    """A bucket: where it stands, how wide the strip is that belongs to it, and its values by line.

    `at` is its first instant, in the chart's timezone.
    """

    at: datetime
    x: float
    left: float
    width: float
    values: Mapping[str, int]


@dataclass(frozen=True)
class Chart:
    """What is drawn. `times` are the columns that have a label below, `zone` the timezone of its days."""

    lines: Sequence[ChartLine]
    columns: Sequence[ChartColumn]
    levels: Sequence[Mark]
    times: Sequence[int]
    bucket: Bucket
    zone: tzinfo
    height: int = TOP + HEIGHT + FOOT
    top: int = TOP
    plot: int = HEIGHT
    width: int = WIDTH

    @property
    def shares_hours(self) -> bool:
        """Whether days begin within an hour of UTC, by which is counted: such an hour counts for the earlier day."""
        if self.bucket != "day":
            return False
        return any((each.at.utcoffset() or timedelta()) % timedelta(hours=1) for each in self.columns)

    @property
    def is_empty(self) -> bool:
        return not any(line.total for line in self.lines)


def preset(choice: str, *, today: date, begun: date | None) -> Range | None:
    """Return the range of a preset, or of `all` since the first day that was counted; None for another word."""
    if choice == "all":
        first = max(min(begun or today, today), today - timedelta(days=LONGEST_DAYS))
        return Range("all", first, today, fitting(first, today))
    if choice in PRESETS:
        first = today - timedelta(days=PRESETS[choice] - 1)
        return Range(choice, first, today, fitting(first, today))
    return None


def between(first: str, last: str) -> Range:
    """Return the range from one written date to another. Raises ValueError with what is wrong: a key of WRONG_RANGE."""
    days = {}
    for name, text in (("from", first), ("to", last)):
        try:
            days[name] = date.fromisoformat(text.strip())
        except ValueError:
            raise ValueError(name) from None
    if days["to"] < days["from"] or (days["to"] - days["from"]).days > LONGEST_DAYS:
        raise ValueError("order")
    if not FIRST_YEAR <= days["from"].year <= days["to"].year <= LAST_YEAR:
        raise ValueError("far")
    return Range("days", days["from"], days["to"], fitting(days["from"], days["to"]))


def fitting(first: date, last: date) -> Bucket:
    """Return the bucket that makes a readable line of so many days."""
    days = (last - first).days + 1
    return next((bucket for longest, bucket in LONGEST if days <= longest), "month")


def midnight(day: date, zone: tzinfo) -> datetime:
    """Return the instant at which a day begins in a timezone, in UTC."""
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def end_of(shown: Range, zone: tzinfo) -> datetime:
    """Return the instant at which a range ends, in UTC."""
    return midnight(shown.last + timedelta(days=1), zone)


def buckets(first: date, last: date, bucket: Bucket, zone: tzinfo = UTC) -> Iterator[datetime]:
    """Yield the first instants of the buckets of a range of days in a timezone, in UTC; weeks begin on Monday.

    Hours are those of UTC, so one that two days share, where offsets have half hours, is of the earlier day.
    """
    if bucket == "hour":
        at, end = _whole_hour(midnight(first, zone)), midnight(last + timedelta(days=1), zone)
        while at < end:
            yield at
            at += timedelta(hours=1)
        return
    day = first
    if bucket == "week":
        day -= timedelta(days=day.weekday())
    elif bucket == "month":
        day = day.replace(day=1)
    while day <= last:
        yield midnight(day, zone)
        if bucket == "month":
            day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        else:
            day += timedelta(days=7 if bucket == "week" else 1)


def _whole_hour(at: datetime) -> datetime:
    """Return the first whole hour from an instant on."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    return hour if hour == at else hour + timedelta(hours=1)


def draw(
    counted: Iterable[tuple[datetime, Mapping[str, int]]],
    names: Sequence[str],
    shown: Range,
    *,
    now: datetime,
    zone: tzinfo = UTC,
) -> Chart:
    """Return the chart of what was counted, by the first instant of its bucket; what is not there is nothing.

    Hours that are still to come are left out.
    """
    found = dict(counted)
    whole = buckets(shown.first, shown.last, shown.bucket, zone)
    instants = [at for at in whole if at <= now or shown.bucket != "hour"]
    # A range that lies ahead still has a place to begin.
    instants = instants or [midnight(shown.first, zone)]
    values = {name: [found.get(at, {}).get(name, 0) for at in instants] for name in names}
    step = level_step(max((max(each) for each in values.values()), default=0))
    highest = step * LINES
    xs = _places(len(instants))
    lines = []
    for name in names:
        points = [Point(x, _height(n, highest), n) for x, n in zip(xs, values[name], strict=True)]
        lines.append(ChartLine(name, _path(points), points, sum(values[name])))
    # Each strip ends half way to its neighbours' points.
    edges = [0.0, *(round((one + other) / 2, 3) for one, other in pairwise(xs)), 100.0]
    columns = [
        ChartColumn(
            at.astimezone(zone),
            xs[nth],
            edges[nth],
            round(edges[nth + 1] - edges[nth], 3),
            {name: values[name][nth] for name in names},
        )
        for nth, at in enumerate(instants)
    ]
    levels = [Mark(_height(step * nth, highest), step * nth) for nth in range(LINES + 1)]
    return Chart(lines, columns, levels, _labelled(len(instants)), shown.bucket, zone)


def level_step(highest: int) -> int:
    """Return the distance of the horizontal lines: 1, 2, 5, 10, 20, 50 and so on, so that four hold the highest."""
    step = 1
    factors = (2, 2.5, 2)
    nth = 0
    while step * LINES < highest:
        step = int(step * factors[nth % 3])
        nth += 1
    return step


def _places(n: int) -> list[float]:
    if n == 1:
        return [50.0]
    # A little room at both ends, for the first and last points.
    return [round(1 + 98 * nth / (n - 1), 3) for nth in range(n)]


def _height(value: int, highest: int) -> float:
    return round(TOP + HEIGHT * (1 - value / highest), 2)


def _path(points: Sequence[Point]) -> str:
    """Return the line in the plot's own units: its width stretched, its height as in pixels."""
    places = [f"{point.x * WIDTH / 100:.2f} {point.y - TOP:.2f}" for point in points]
    if len(places) == 1:
        # A single point has no line; it is a dash as wide as its strip.
        return f"M0 {points[0].y - TOP:.2f}H{WIDTH}"
    return "M" + "L".join(places)


def _labelled(n: int) -> list[int]:
    """Return which columns have their date below: some, evenly, the last of them the last."""
    if n <= LABELS:
        return list(range(n))
    every = -(-n // LABELS)
    return list(range(n - 1, -1, -every))[::-1]
