"""The geometry of the overview's graph: buckets, scales and places."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.web.pages import charts
from parcours.web.pages.charts import LINES, between, buckets, draw, fitting, level_step, preset

TODAY = date(2026, 6, 15)
NOW = datetime(2026, 6, 15, 9, 30, tzinfo=UTC)

# The ends of months and years are where calendars go wrong.
days = st.dates(date(2023, 12, 25), date(2027, 1, 10))


def test_the_bucket_fits_the_length() -> None:
    assert fitting(TODAY, TODAY) == "hour"
    assert fitting(TODAY - timedelta(days=1), TODAY) == "hour"
    assert fitting(TODAY - timedelta(days=2), TODAY) == "day"
    assert fitting(TODAY - timedelta(days=89), TODAY) == "day"
    assert fitting(TODAY - timedelta(days=364), TODAY) == "week"
    assert fitting(TODAY - timedelta(days=3650), TODAY) == "month"


def test_presets_end_today_and_all_begins_where_counting_began() -> None:
    assert preset("7", today=TODAY, begun=None) == ("7", date(2026, 6, 9), TODAY, "day")
    assert preset("all", today=TODAY, begun=date(2025, 1, 2)) == ("all", date(2025, 1, 2), TODAY, "week")
    assert preset("all", today=TODAY, begun=None) == ("all", TODAY, TODAY, "hour")
    assert preset("8", today=TODAY, begun=None) is None


@pytest.mark.parametrize(
    ("first", "last", "wrong"),
    [
        ("", "2026-06-01", "from"),
        ("2026-06-31", "2026-07-01", "from"),
        ("2026-06-01", "soon", "to"),
        ("2026-06-02", "2026-06-01", "order"),
        ("0001-01-01", "2026-06-01", "order"),
        ("0001-01-01", "0001-01-02", "far"),
        ("9999-12-31", "9999-12-31", "far"),
        ("2150-01-01", "2200-01-01", "far"),
    ],
)
def test_a_range_that_is_none_is_refused_with_what_is_wrong(first: str, last: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=f"^{wrong}$"):
        between(first, last)


@given(days, st.integers(0, 1500))
def test_buckets_follow_each_other_without_gaps_and_hold_every_day(first: date, length: int) -> None:
    last = first + timedelta(days=length)
    for bucket in ("day", "week", "month"):
        found = list(buckets(first, last, bucket))
        assert found[0].date() <= first
        assert found[-1].date() <= last
        assert all(
            timedelta(0) < after - before <= timedelta(days={"day": 1, "week": 7, "month": 31}[bucket])
            for before, after in pairwise(found)
        )
        if bucket == "week":
            assert {at.weekday() for at in found} == {0}
        if bucket == "month":
            assert {at.day for at in found} == {1}


@given(days, st.integers(0, 400), st.sampled_from(["Europe/Paris", "Asia/Kolkata", "America/Santiago", "Asia/Beirut"]))
def test_days_of_a_timezone_begin_at_its_midnight(first: date, length: int, name: str) -> None:
    zone = ZoneInfo(name)
    last = first + timedelta(days=length)
    found = list(buckets(first, last, "day", zone))
    assert [at.astimezone(zone).date() for at in found] == [first + timedelta(days=nth) for nth in range(length + 1)]
    # Where clocks go forward at midnight, a day begins at one.
    assert all(at.astimezone(zone).hour <= 1 for at in found)
    hours = list(buckets(first, first, "hour", zone))
    assert 23 <= len(hours) <= 25
    assert {at.astimezone(zone).date() for at in hours} == {first}


@given(st.integers(0, 10**9))
def test_four_levels_hold_the_highest_value_and_not_much_more(highest: int) -> None:
    step = level_step(highest)
    assert step * LINES >= highest
    assert step == 1 or step * LINES <= 2.5 * highest


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=92))
def test_points_stand_within_the_plot_the_higher_the_more(values: list[int]) -> None:
    first = TODAY - timedelta(days=len(values) - 1)
    shown = charts.Range("days", first, TODAY, "day")
    at = list(buckets(first, TODAY, "day"))
    chart = draw(((when, {"added": n}) for when, n in zip(at, values, strict=True)), ["added"], shown, now=NOW)
    (line,) = chart.lines
    assert [point.value for point in line.points] == values
    assert line.total == sum(values)
    assert all(chart.top <= point.y <= chart.top + chart.plot and 0 <= point.x <= 100 for point in line.points)
    ranked = sorted(line.points, key=lambda point: point.value)
    assert all(low.y >= high.y for low, high in pairwise(ranked))
    assert all(column.left >= 0 and column.left + column.width <= 100.01 for column in chart.columns)


def test_buckets_in_which_nothing_happened_are_drawn_as_nothing() -> None:
    shown = charts.Range("7", date(2026, 6, 9), TODAY, "day")
    chart = draw([(datetime(2026, 6, 10, tzinfo=UTC), {"added": 3})], ["added", "emails_sent"], shown, now=NOW)
    assert [column.values["added"] for column in chart.columns] == [0, 3, 0, 0, 0, 0, 0]
    assert [line.total for line in chart.lines] == [3, 0]
    assert chart.times[-1] == 6


def test_hours_still_to_come_are_left_out() -> None:
    shown = charts.Range("1", TODAY, TODAY, "hour")
    chart = draw([], ["added"], shown, now=NOW)
    assert [column.at.hour for column in chart.columns] == list(range(10))
    assert chart.is_empty


def test_a_single_bucket_is_a_level_line() -> None:
    shown = charts.Range("days", TODAY, TODAY, "day")
    chart = draw([(datetime(2026, 6, 15, tzinfo=UTC), {"added": 4})], ["added"], shown, now=NOW)
    assert chart.lines[0].path == f"M0 0.00H{charts.WIDTH}"
