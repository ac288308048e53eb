"""When something is due by a date of the contact."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parcours.domain.time import dates
from parcours.domain.time.dates import Coming, ContactDate
from parcours.domain.time.intervals import Interval, parse_interval

UTC_ZONE, PARIS, NEW_YORK = ZoneInfo("UTC"), ZoneInfo("Europe/Paris"), ZoneInfo("America/New_York")
BAD: list[Any] = [
    *(None, True, 20261224, 1.5, [], {}, ["2026-12-24"], "", " ", "tomorrow", "24.12.2026", "2026-13-45", "2026-02-30"),
    *("2026-12-24T25:00", "0000-01-01", "\ud83d", "2026-12-24\ud83d09:00", "2026-12-24T09:00\x00", "2" * 5000, "-P1D"),
]


def by(field: str = "birthday", **more: Any) -> ContactDate:
    """Return a date of a contact; intervals and hours are given as text."""
    before, after, hour = (more.pop(name, None) for name in ("before", "after", "hour"))
    offset = parse_interval(before or after) if before or after else Interval()
    return ContactDate(field, offset, before is not None, time.fromisoformat(hour) if hour else None, **more)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("rule", "value", "zone", "due"),
    [
        (by(), "2026-12-24", PARIS, "2026-12-23T23:00"),
        (by(hour="09:00"), "2026-12-24", PARIS, "2026-12-24T08:00"),
        (by(before="7 days", hour="09:00"), "2026-12-24", NEW_YORK, "2026-12-17T14:00"),
        (by(after="1 month"), "2026-01-31", UTC_ZONE, "2026-02-28T00:00"),
        (by(before="1 year"), "2028-02-29", UTC_ZONE, "2027-02-28T00:00"),
        # With a time: the contact's own, unless it has an offset.
        (by(before="1 hour"), "2026-12-24T18:00", PARIS, "2026-12-24T16:00"),
        (by(before="1 hour"), "2026-12-24T18:00+00:00", NEW_YORK, "2026-12-24T17:00"),
        (by(before="1 day", hour="09:00"), "2026-12-24T23:30Z", PARIS, "2026-12-24T08:00"),
        # A day before is the same time on the wall, an hour before is an hour, across a change of clocks.
        (by(before="1 day"), "2026-03-29T12:00", PARIS, "2026-03-28T11:00"),
        (by(before="24 hours"), "2026-03-29T12:00", PARIS, "2026-03-28T10:00"),
        # 02:30 does not exist on that day, and exists twice on the other one.
        (by(hour="02:30"), "2026-03-29", PARIS, "2026-03-29T01:30"),
        (by(hour="02:30"), "2026-10-25", PARIS, "2026-10-25T00:30"),
    ],
)
def test_a_date_gives_an_instant_in_the_contacts_time(rule: ContactDate, value: str, zone: ZoneInfo, due: str) -> None:
    assert dates.due_at(rule, value, zone) == utc(due)


@pytest.mark.parametrize("value", BAD)
def test_what_is_no_date_gives_no_instant_and_raises_nothing(value: Any) -> None:
    for rule in (by(before="7 days"), by(every="year"), by(every="week", after="100 years")):
        assert dates.due_at(rule, value, PARIS) is None
        assert dates.coming(rule, value, PARIS, since=utc("2026-01-01T00:00"), last=None) is None


@pytest.mark.parametrize("value", ["9999-12-31", "9999-12-31T23:59-11:00", "0001-01-01", "0001-01-01T00:00+14:00"])
@pytest.mark.parametrize("rule", [by(after="100 years"), by(before="100 years"), by(every="month", before="1 day")])
def test_the_ends_of_the_calendar_raise_nothing(rule: ContactDate, value: str) -> None:
    for zone in (PARIS, NEW_YORK, ZoneInfo("Pacific/Kiritimati")):
        assert dates.due_at(rule, value, zone) is None or value.startswith("0001")
        dates.coming(rule, value, zone, since=utc("2026-01-01T00:00"), last=None)


def coming(rule: ContactDate, value: str, since: str, last: str | None = None, zone: ZoneInfo = UTC_ZONE) -> Any:
    found = dates.coming(rule, value, zone, since=utc(since), last=last)
    return None if found is None else (f"{found.due_at:%Y-%m-%dT%H:%M}", found.turn)


def test_a_birthday_comes_each_year_a_week_before_at_nine() -> None:
    rule = by(before="7 days", hour="09:00", every="year")
    assert coming(rule, "1990-03-09", "2027-01-01T00:00", zone=PARIS) == ("2027-03-02T08:00", "2027")
    assert coming(rule, "1990-03-09", "2027-03-02T08:00", "2027", PARIS) == ("2028-03-02T08:00", "2028")
    # The turn is the year of the birthday, also where the week before it begins in another year.
    assert coming(rule, "1990-01-03", "2026-12-01T00:00") == ("2026-12-27T09:00", "2027")


def test_the_29th_of_february_is_the_28th_in_other_years() -> None:
    rule = by(every="year")
    assert coming(rule, "2000-02-29", "2027-01-01T00:00") == ("2027-02-28T00:00", "2027")
    assert coming(rule, "2000-02-29", "2028-01-01T00:00") == ("2028-02-29T00:00", "2028")
    # Seven days before the 28th in one year, and before the 29th in the other.
    assert coming(by(every="year", before="7 days"), "2000-02-29", "2028-01-01T00:00") == ("2028-02-22T00:00", "2028")


def test_the_31st_comes_on_the_last_day_of_shorter_months_and_is_the_31st_again() -> None:
    rule = by(every="month")
    found = []
    since, last = "2026-01-01T00:00", None
    for _ in range(4):
        due, last = coming(rule, "2025-12-31", since, last)
        found.append(due[:10])
    assert found == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]


def test_a_date_comes_each_week_on_its_weekday() -> None:
    # 2026-12-28 is a Monday of the last week of that year.
    assert coming(by(every="week", hour="10:00"), "2026-06-01", "2026-12-22T00:00") == ("2026-12-28T10:00", "2026-W53")
    assert coming(by(every="week"), "2026-06-01", "2026-12-22T00:00", "2026-W53") == ("2027-01-04T00:00", "2027-W01")


def test_no_date_comes_again_before_it_has_come_once() -> None:
    assert coming(by(every="year"), "2030-05-01", "2026-01-01T00:00") == ("2030-05-01T00:00", "2030")


def test_a_date_that_comes_once_is_over_afterwards_and_comes_when_it_moves() -> None:
    rule = by(before="30 days")
    assert coming(rule, "2026-12-31", "2026-11-01T00:00") == ("2026-12-01T00:00", "2026-12-31")
    assert coming(rule, "2026-12-31", "2026-12-02T00:00") is None
    # Entered already: a corrected hour or another timezone does not let in twice.
    assert coming(by(before="30 days", hour="10:00"), "2026-12-31", "2026-12-01T00:00", "2026-12-31") is None
    assert coming(rule, "2027-12-31", "2026-12-02T00:00", "2026-12-31") == ("2027-12-01T00:00", "2027-12-31")


def test_a_birthday_that_is_corrected_within_the_year_does_not_come_twice() -> None:
    rule = by(every="year")
    assert coming(rule, "1990-12-20", "2026-12-11T00:00", "2026") == ("2027-12-20T00:00", "2027")


def test_a_rule_is_the_same_after_it_was_written() -> None:
    rule = by("renewal", before="30 days", hour="09:00", every="month")
    assert ContactDate.of_data(rule.to_data()) == rule
    assert (rule.name, str(rule)) == (
        "30 days before renewal, every month",
        "30 days before renewal, every month, at 09:00",
    )


def wall(year: int) -> datetime:
    return datetime(year, 1, 1)  # noqa: DTZ001


values = st.one_of(
    st.dates(date(1900, 1, 1), date(2040, 12, 31)).map(date.isoformat),
    st.datetimes(wall(2000), wall(2040)).map(lambda each: each.isoformat(timespec="minutes")),
    st.sampled_from(["2000-02-29", "2026-03-29T02:30", "2026-10-25T02:30", "2026-12-31T23:30-05:00"]),
)
rules = st.builds(
    ContactDate,
    field=st.just("d"),
    offset=st.builds(
        Interval, months=st.integers(0, 14), days=st.integers(0, 400), exact=st.timedeltas(timedelta(0), timedelta(9))
    ),
    before=st.booleans(),
    hour=st.one_of(st.none(), st.times().map(lambda each: each.replace(second=0, microsecond=0))),
    every=st.sampled_from([None, "year", "month", "week"]),
)
zones = st.sampled_from([UTC_ZONE, PARIS, NEW_YORK, ZoneInfo("Pacific/Apia"), ZoneInfo("Australia/Lord_Howe")])
instants = st.datetimes(wall(2026), wall(2030), timezones=st.just(UTC))


@given(rules, values, zones, instants)
@example(ContactDate("d", every="year"), "2000-02-29", PARIS, utc("2027-02-28T00:00"))
def test_what_comes_next_is_the_first_of_all_that_come(
    rule: ContactDate, value: str, zone: ZoneInfo, since: datetime
) -> None:
    found = dates.coming(rule, value, zone, since=since, last=None)
    if rule.every is None:
        due = dates.due_at(rule, value, zone)
        assert (found and found.due_at) == (due if due is not None and due >= since else None)
        return
    assert found is not None
    assert found.due_at >= since
    # By brute force: every day on which it could be, its own instant.
    every = _all(rule, value, zone)
    assert found.due_at == min(due for due in every if due >= since)


def _all(rule: ContactDate, value: str, zone: ZoneInfo) -> list[datetime]:
    """Return every instant of a date that comes again, each counted from its day as a date that comes once."""
    first = datetime.fromisoformat(value)
    if len(value) > 10 and first.tzinfo is not None:
        first = first.astimezone(zone)
    once = ContactDate("d", rule.offset, rule.before, rule.hour)
    found = []
    for n in range((2046 - first.year) * 366):
        day = first.date() + timedelta(days=n)
        last = (day + timedelta(days=1)).month != day.month
        same_day = day.day == first.day or (last and day.day < first.day)
        same = {"year": same_day and day.month == first.month, "month": same_day, "week": n % 7 == 0}
        if not same[str(rule.every)]:
            continue
        text = day.isoformat() if len(value) == 10 else f"{day}T{first.time().isoformat()}"
        due = dates.due_at(once, text, zone)
        assert due is not None
        found.append(due)
    return found


@given(rules, values, zones, instants)
def test_turns_follow_one_another_and_none_is_left_out_or_comes_twice(
    rule: ContactDate, value: str, zone: ZoneInfo, since: datetime
) -> None:
    found: list[Coming] = []
    last = None
    for _ in range(5):
        each = dates.coming(rule, value, zone, since=since, last=last)
        if each is None:
            break
        found.append(each)
        since, last = each.due_at, each.turn
    assert [each.turn for each in found] == sorted({each.turn for each in found})
    assert len(found) == 5 or rule.every is None
