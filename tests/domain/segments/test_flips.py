"""When tests of dates and counts change by time alone: drawn about the instant at which they do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parcours.domain import operators
from parcours.domain.segments import judging
from parcours.domain.steps.batch import Fact, Knowledge
from tests.domain.segments.people import NEAR, NOWS, SPANS, ZONE, as_rule
from tests.domain.worlds import contact

CLOCKS = st.sampled_from(
    ["UTC", "Europe/Paris", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "America/Santiago", "Pacific/Apia"]
).map(ZoneInfo)
# The tests of dates, and about how many days before now the dates are at which they change.
TESTS = [
    *(("within", span, days) for span, (days, _) in SPANS.items()),
    *(("older_than", span, days) for span, (days, _) in SPANS.items()),
    *(("in_next", span, -days) for span, (days, _) in SPANS.items()),
    *[
        ("date", "anniversary", 0),
        ("date", "+P0D", 0),
        ("date", "-P1D", 1),
        ("date", "+P7D", -7),
        ("date", "+P1M", -30),
    ],
    *[("date", "-P1M", 30), ("date", "-P1Y", 365), ("date", "+P1M1D", -31), ("date", "-P2M", 60)],
]


def assert_nothing_is_missed(
    answer: Callable[[datetime], Any], next_change: Callable[[datetime], datetime | None], now: datetime, days: int
) -> None:
    """Fail unless walking from change to change sees each answer that looking all the time sees."""
    until = now + timedelta(days=days)
    at: datetime | None = now
    steps = 0
    while at is not None and at < until:
        known, following = answer(at), next_change(at)
        assert following is None or following > at
        end = min(until, following or until)
        looks = [at + timedelta(minutes=n) for n in range(0, days * 24 * 60, 47)]
        for look in [*(each for each in looks if each < end), end - timedelta.resolution]:
            assert answer(look) == known, (look, at, following)
        at, steps = following, steps + 1
        assert steps < 50, "asked again and again"


def _as_written(at: datetime, how: str) -> Any:
    if how == "day":
        return at.date().isoformat()
    if how == "instant":
        return at.isoformat()
    return at.replace(tzinfo=None).isoformat() if how == "local" else [at.date().isoformat(), None, at]


@pytest.mark.parametrize(("operator", "value", "days"), TESTS)
@given(data=st.data())
@settings(max_examples=30)
def test_no_change_of_a_test_of_dates_is_missed(operator: str, value: str, days: int, data: st.DataObject) -> None:
    now, zone = data.draw(NOWS), data.draw(CLOCKS)
    at = now - timedelta(days=days + data.draw(st.integers(-3, 3))) + data.draw(NEAR)
    if value == "anniversary":
        at = (
            at.replace(year=2024)
            if (at.month, at.day) == (2, 29)
            else at.replace(year=data.draw(st.integers(1990, 2024)))
        )
    actual = _as_written(at, data.draw(st.sampled_from(["day", "day", "instant", "local", "list"])))
    test, flip = operators.test(operator, value, zone), operators.flips(operator, value, zone)
    assert_nothing_is_missed(lambda at: test(actual, at), lambda at: flip(actual, at), now, 6)


def test_an_anniversary_of_a_leap_day_is_told_years_ahead() -> None:
    test, flip = operators.test("date", "anniversary", ZONE), operators.flips("date", "anniversary", ZONE)
    at, days = datetime(2027, 6, 1, 12, tzinfo=ZONE), []
    for _ in range(6):
        following = flip("2024-02-29", at)
        assert following is not None
        at = following.astimezone(ZONE)
        days.append((at.date().isoformat(), test("2024-02-29", at)))
    assert days == [
        ("2028-02-29", True),
        ("2028-03-01", False),
        ("2029-02-28", True),
        ("2029-03-01", False),
        ("2030-02-28", True),
        ("2030-03-01", False),
    ]


COUNTS: list[dict[str, int]] = [
    *[{}, {"at_least": 2}, {"at_most": 1}, {"exactly": 2}, {"exactly": 0}, {"at_least": 1, "at_most": 2}]
]


@pytest.mark.parametrize("period", ["within", "older_than", "both"])
@pytest.mark.parametrize("count", COUNTS, ids=str)
@given(data=st.data())
@settings(max_examples=12)
def test_no_change_of_a_count_is_missed(period: str, count: dict[str, int], data: st.DataObject) -> None:
    now = data.draw(NOWS)
    span = data.draw(st.sampled_from([each for each in SPANS if each != "90 minutes"]))
    days, _ = SPANS[span]
    soon = st.builds(
        lambda by, more: now - timedelta(days=days) + by + more, NEAR, st.sampled_from([timedelta(0), timedelta(2)])
    )
    events = [Fact("a", {}, min(at, now)) for at in data.draw(st.lists(soon, min_size=1, max_size=5))]
    periods = {
        "within": {"within": span},
        "older_than": {"older_than": span},
        "both": {"within": span, "older_than": "3 hours"},
    }
    rule = as_rule({"condition": "event.count", "with": {"type": "a", **count, **periods[period]}})
    ann = contact(timezone=data.draw(CLOCKS).key)
    world = Knowledge(events={1: events})

    def asked(at: datetime) -> judging.Judged:
        return judging.judged(rule, [ann], world, at, ZONE)[0]

    assert_nothing_is_missed(lambda at: asked(at).answer, lambda at: asked(at).changes_at, now, 6)


@pytest.mark.parametrize("operator", ["within", "older_than"])
def test_what_is_older_than_a_month_stays_so(operator: str) -> None:
    # The last days of March have no day of their own in February.
    test = operators.test(operator, "1 month", ZONE)
    days = [datetime(2026, 3, day, 12, tzinfo=ZONE) for day in range(25, 32)]
    answers = [test("2026-02-28", day) for day in days]
    assert answers == [operator == "within"] * 4 + [operator == "older_than"] * 3
