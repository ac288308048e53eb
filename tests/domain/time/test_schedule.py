from __future__ import annotations

import operator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parcours.domain.time.intervals import Interval, format_interval, parse_interval
from parcours.domain.time.schedule import (
    WEEKDAYS,
    Timing,
    add,
    deadline,
    depends_on_zone,
    due_at,
    parse_days,
    parse_hour,
    parse_window,
    postponed_until,
)

LONDON = ZoneInfo("Europe/London")
PARIS = ZoneInfo("Europe/Paris")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
APIA = ZoneInfo("Pacific/Apia")
NUUK = ZoneInfo("America/Nuuk")
BEIRUT = ZoneInfo("Asia/Beirut")
CARACAS = ZoneInfo("America/Caracas")
PYONGYANG = ZoneInfo("Asia/Pyongyang")
ISTANBUL = ZoneInfo("Europe/Istanbul")
KWAJALEIN = ZoneInfo("Pacific/Kwajalein")
CASABLANCA = ZoneInfo("Africa/Casablanca")
TROLL = ZoneInfo("Antarctica/Troll")
ZULU = ZoneInfo("UTC")

NINE = time(9)
MORNING = (time(8), time(10))
NIGHT = (time(22), time(6))
WORKDAYS = frozenset(range(5))
MONDAY, WEDNESDAY, FRIDAY, SATURDAY, SUNDAY = (
    frozenset({WEEKDAYS[day]}) for day in ("mon", "wed", "fri", "sat", "sun")
)
DAY = timedelta(days=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(text: str, zone: ZoneInfo, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


def due(timing: Timing, since: datetime, zone: ZoneInfo = ZULU) -> datetime:
    return due_at(timing, since=since, zone=zone)


# Writing intervals.


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("1 minute", Interval(exact=timedelta(minutes=1))),
        ("90 minutes", Interval(exact=timedelta(minutes=90))),
        ("24 hours", Interval(exact=timedelta(hours=24))),
        ("3 days", Interval(days=3)),
        (" 3  Days ", Interval(days=3)),
        ("1 week", Interval(days=7)),
        ("2 months", Interval(months=2)),
        ("1 year", Interval(months=12)),
        ("0 days", Interval()),
        ("P1DT2H", Interval(days=1, exact=timedelta(hours=2))),
        ("P3M", Interval(months=3)),
        ("PT90M", Interval(exact=timedelta(minutes=90))),
        ("PT45S", Interval(exact=timedelta(seconds=45))),
        ("P2W", Interval(days=14)),
        ("P1Y", Interval(months=12)),
        ("P1Y2M3DT4H5M6S", Interval(14, 3, timedelta(hours=4, minutes=5, seconds=6))),
    ],
)
def test_an_interval_is_words_or_iso_8601(text: str, interval: Interval) -> None:
    assert parse_interval(text) == interval


@pytest.mark.parametrize(
    ("french", "english"),
    [
        ("5 minutes", "5 minutes"),
        ("3 heures", "3 hours"),
        ("1 heure", "1 hour"),
        ("2 jours", "2 days"),
        ("1 Jour", "1 day"),
        ("2 semaines", "2 weeks"),
        ("6 mois", "6 months"),
        ("1 an", "1 year"),
        ("2 ans", "2 years"),
        ("2 années", "2 years"),
        ("2 anne\u0301es", "2 years"),
        ("2 annees", "2 years"),
    ],
)
def test_units_may_be_written_in_french(french: str, english: str) -> None:
    assert parse_interval(french) == parse_interval(english)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("PT1D", "write 'P1D'"),
        ("PT14D", "write 'P14D'"),
        ("P2H", "write 'PT2H'"),
        ("P1DT", "write 'P1D'"),
        ("P1M2Y", "write 'P2Y1M'"),
        ("-3 days", "write '3 days'"),
        ("-P1D", "write 'P1D'"),
        ("P-1D", "write 'P1D'"),
        ("3 dyas", "did you mean '3 days'?"),
        ("1 mnth", "did you mean '1 month'?"),
        ("5 min", "did you mean '5 minutes'?"),
        ("2h", "did you mean '2 hours'?"),
        ("90 seconds", "write '2 minutes'"),
        ("3 m", "like '3 days'"),
        ("3", "like '3 days'"),
        ("days", "like '3 days'"),
        ("1.5 hours", "whole number"),
        ("three days", "whole number"),
        ("tomorrow", "like '3 days'"),
        ("", "like '3 days'"),
        ("P", "like 'P1DT2H'"),
        ("PT", "like 'P1DT2H'"),
        ("P1D1D", "like 'P1DT2H'"),
        ("101 years", "up to 100 years"),
        ("9" * 5000 + " days", "up to 100 years"),
        ("٣ days", "whole number"),
        (3, "like '3 days'"),
        (None, "like '3 days'"),
    ],
)
def test_a_wrong_interval_is_refused_with_what_to_write(text: object, advice: str) -> None:
    with pytest.raises(ValueError, match="is not an interval") as refused:
        parse_interval(text)
    assert advice in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(), "0 minutes"),
        (Interval(exact=timedelta(minutes=1)), "1 minute"),
        (Interval(exact=timedelta(minutes=90)), "90 minutes"),
        (Interval(exact=timedelta(hours=24)), "24 hours"),
        (Interval(exact=timedelta(seconds=90)), "PT1M30S"),
        (Interval(days=3), "3 days"),
        (Interval(days=14), "2 weeks"),
        (Interval(months=12), "1 year"),
        (Interval(months=14), "14 months"),
        (Interval(months=14, days=7), "P1Y2M7D"),
        (Interval(days=1, exact=timedelta(hours=2)), "P1DT2H"),
    ],
)
def test_an_interval_is_written_in_its_shortest_readable_form(interval: Interval, text: str) -> None:
    assert format_interval(interval) == text


intervals = st.builds(
    Interval,
    months=st.integers(0, 300),
    days=st.integers(0, 3000),
    exact=st.one_of(
        st.builds(timedelta, seconds=st.integers(0, 10**7)),
        st.builds(timedelta, hours=st.integers(0, 100)),
        st.just(timedelta(0)),
    ),
)


@given(intervals)
def test_an_interval_that_was_written_reads_back_the_same(interval: Interval) -> None:
    assert parse_interval(format_interval(interval)) == interval


@given(st.text() | st.from_regex(r"\A-?[0-9]{1,3} ?[a-z]{1,8}\Z") | st.from_regex(r"\AP[-T0-9YMWDHS]{0,9}\Z"))
def test_whatever_is_written_is_an_interval_or_a_sentence(text: str) -> None:
    try:
        interval = parse_interval(text)
    except ValueError as refused:
        assert "is not an interval" in str(refused)  # noqa: PT017 - either outcome is right
    else:
        assert parse_interval(format_interval(interval)) == interval


@pytest.mark.parametrize("interval", [Interval(exact=timedelta(microseconds=1)), Interval(days=-1)])
def test_an_interval_that_nobody_can_write_is_not_written(interval: Interval) -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        format_interval(interval)


# Writing hours, windows and days.


@pytest.mark.parametrize(
    ("text", "hour"), [("09:00", time(9)), ("9:05", time(9, 5)), ("00:00", time(0)), ("23:59", time(23, 59))]
)
def test_an_hour_is_hours_and_minutes(text: str, hour: time) -> None:
    assert parse_hour(text) == hour


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("25:00", "from '00:00' to '23:59'"),
        ("09:60", "from '00:00' to '23:59'"),
        ("24:00", "write '00:00' for midnight"),
        ("9am", "write hours and minutes"),
        ("09:00:00", "write hours and minutes"),
        (630, 'put it in quotes, like "10:30"'),
        (60, 'put it in quotes, like "01:00"'),
        (9, 'put it in quotes, like "09:00"'),
        (9.5, "write hours and minutes"),
        (True, "write hours and minutes"),
        (None, "write hours and minutes"),
    ],
)
def test_a_wrong_hour_is_refused_with_what_to_write(text: object, advice: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the advice is compared below
        parse_hour(text)
    assert advice in str(refused.value)


@pytest.mark.parametrize(
    ("value", "window"),
    [
        (["09:00", "18:00"], (time(9), time(18))),
        (["22:00", "06:00"], (time(22), time(6))),
        (["18:00", "24:00"], (time(18), time(0))),
    ],
)
def test_a_window_is_two_hours_and_may_cross_midnight(value: object, window: tuple[time, time]) -> None:
    assert parse_window(value) == window


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (["09:00", "09:00"], "leave the window out for the whole day"),
        (["00:00", "24:00"], "leave the window out for the whole day"),
        (["24:00", "06:00"], "write '00:00' for midnight"),
        (["09:00"], "write its start and its end"),
        ([], "write its start and its end"),
        ("09:00-18:00", "write its start and its end"),
        (["09:00", "6pm"], "write hours and minutes"),
        (None, "write its start and its end"),
    ],
)
def test_a_wrong_window_is_refused_with_what_to_write(value: object, advice: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the advice is compared below
        parse_window(value)
    assert advice in str(refused.value)


def test_days_are_named_by_three_letters() -> None:
    assert parse_days(["mon", "Fri", "fri"]) == {0, 4}
    assert parse_days(list(WEEKDAYS)) == set(range(7))


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ([], "the list of days is empty"),
        ("mon", "write a list of mon, tue"),
        (None, "write a list of mon, tue"),
        (["monday"], "did you mean 'mon'"),
        (["mno"], "did you mean 'mon'"),
        (["x"], "write one of mon, tue"),
        ([1], "write one of mon, tue"),
        ([-1], "write one of mon, tue"),
    ],
)
def test_wrong_days_are_refused_with_what_to_write(value: object, advice: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the advice is compared below
        parse_days(value)
    assert advice in str(refused.value)


# Adding intervals.


@pytest.mark.parametrize(
    ("interval", "since", "expected"),
    [
        ("1 month", "2024-01-31T10:00", "2024-02-29T10:00"),
        ("1 month", "2023-01-31T10:00", "2023-02-28T10:00"),
        ("1 month", "2024-12-31T10:00", "2025-01-31T10:00"),
        ("12 months", "2024-02-29T10:00", "2025-02-28T10:00"),
        ("P1M1D", "2024-01-31T10:00", "2024-03-01T10:00"),
        ("1 week", "2024-12-30T10:00", "2025-01-06T10:00"),
        ("P1DT2H", "2024-01-31T23:00", "2024-02-02T01:00"),
        ("0 days", "2024-01-31T10:00", "2024-01-31T10:00"),
    ],
)
def test_months_move_first_then_days_then_the_exact_duration(interval: str, since: str, expected: str) -> None:
    assert add(parse_interval(interval), utc(since), ZULU) == utc(expected)


def test_a_day_keeps_the_local_time_across_a_clock_change() -> None:
    assert add(Interval(days=1), local("2026-03-28T09:00", PARIS), PARIS) == local("2026-03-29T09:00", PARIS)
    assert add(Interval(days=1), local("2026-10-24T09:00", PARIS), PARIS) == local("2026-10-25T09:00", PARIS)


def test_24_hours_do_not_keep_the_local_time_across_a_clock_change() -> None:
    since = local("2026-03-28T09:00", PARIS)
    assert add(parse_interval("24 hours"), since, PARIS) == local("2026-03-29T10:00", PARIS)


def test_a_local_time_that_does_not_exist_moves_forward_by_the_gap() -> None:
    assert add(Interval(days=1), local("2026-03-28T02:30", PARIS), PARIS) == utc("2026-03-29T01:30")
    since = local("2026-10-03T02:10", LORD_HOWE)
    assert add(Interval(days=1), since, LORD_HOWE) == local("2026-10-04T02:40", LORD_HOWE)


def test_the_second_passage_of_a_repeated_hour_never_falls_back_into_a_gap() -> None:
    # Seven months after the second 02:30 of 29 October is 29 May; five months is the spring gap.
    since = local("2023-10-29T02:30", PARIS, fold=1)
    assert add(Interval(months=5, days=2), since, PARIS) == utc("2024-03-31T01:30")


def test_no_days_leave_the_second_passage_of_a_repeated_hour_alone() -> None:
    since = local("2026-10-25T02:30", PARIS, fold=1)
    assert add(Interval(exact=timedelta(minutes=1)), since, PARIS) == since + timedelta(minutes=1)


def test_a_day_into_a_skipped_day_is_the_same_time_on_the_day_after() -> None:
    assert add(Interval(days=1), local("2011-12-29T09:00", APIA), APIA) == local("2011-12-31T09:00", APIA)


NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - what must be refused


def test_a_moment_without_a_timezone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no timezone"):
        add(Interval(), NAIVE, PARIS)
    with pytest.raises(ValueError, match="has no timezone"):
        due(Timing(), NAIVE)
    with pytest.raises(ValueError, match="has no timezone"):
        due(Timing(at=NAIVE), utc("2026-01-01"))
    with pytest.raises(ValueError, match="has no timezone"):
        postponed_until(Timing(), now=NAIVE, zone=PARIS)
    with pytest.raises(ValueError, match="has no timezone"):
        deadline(Interval(), [], since=NAIVE, zone=PARIS)


# Due times.


def test_nothing_set_is_due_at_once_and_in_utc() -> None:
    since = datetime(2026, 10, 25, 2, 30, tzinfo=PARIS, fold=1)
    found = due(Timing(), since, PARIS)
    assert found == utc("2026-10-25T01:30")
    assert found.tzinfo is UTC


def test_a_date_ahead_is_due_then_and_a_past_one_at_once() -> None:
    at = datetime(2026, 12, 24, 9, tzinfo=PARIS)
    assert due(Timing(at=at), utc("2026-12-01T00:00")) == utc("2026-12-24T08:00")
    assert due(Timing(at=at), utc("2026-12-25T00:00")) == utc("2026-12-25T00:00")


def test_a_date_is_compared_as_an_instant_within_a_repeated_hour() -> None:
    first = datetime(2026, 10, 25, 2, 45, tzinfo=PARIS)
    second = datetime(2026, 10, 25, 2, 15, tzinfo=PARIS, fold=1)
    assert due(Timing(at=first), second, PARIS) == utc("2026-10-25T01:15")


def test_an_interval_then_an_hour_is_the_next_such_hour_after_the_interval() -> None:
    timing = Timing(after=Interval(days=1), hour=NINE)
    assert due(timing, utc("2026-10-19T08:00")) == utc("2026-10-20T09:00")
    assert due(timing, utc("2026-10-19T09:00")) == utc("2026-10-20T09:00")
    assert due(timing, utc("2026-10-19T09:00:01")) == utc("2026-10-21T09:00")


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (ZULU, "2026-10-22T09:00"),
        (PARIS, "2026-10-23T07:00"),
        (NEW_YORK, "2026-10-22T13:00"),
    ],
)
def test_an_hour_is_the_contacts_own(zone: ZoneInfo, expected: str) -> None:
    assert due(Timing(hour=NINE), utc("2026-10-22T08:00"), zone) == utc(expected)


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2026-10-22T07:00", "2026-10-22T08:00"),
        ("2026-10-22T08:00", "2026-10-22T08:00"),
        ("2026-10-22T09:59:59.999999", "2026-10-22T09:59:59.999999"),
        ("2026-10-22T10:00", "2026-10-23T08:00"),
        ("2026-10-22T23:00", "2026-10-23T08:00"),
    ],
)
def test_a_window_includes_its_start_and_excludes_its_end(since: str, expected: str) -> None:
    assert due(Timing(between=MORNING), utc(since)) == utc(expected)


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        ("2026-10-22T23:00", "2026-10-22T23:00"),
        ("2026-10-22T05:59", "2026-10-22T05:59"),
        ("2026-10-22T06:00", "2026-10-22T22:00"),
        ("2026-10-22T12:00", "2026-10-22T22:00"),
    ],
)
def test_a_window_may_cross_midnight(since: str, expected: str) -> None:
    assert due(Timing(between=NIGHT), utc(since)) == utc(expected)


def test_a_window_until_midnight_ends_with_the_day() -> None:
    evening = Timing(between=parse_window(["18:00", "24:00"]))
    assert due(evening, utc("2026-10-22T23:59")) == utc("2026-10-22T23:59")
    assert due(evening, utc("2026-10-23T00:00")) == utc("2026-10-23T18:00")


def test_an_overnight_window_opens_at_midnight_after_a_forbidden_day() -> None:
    timing = Timing(between=NIGHT, days=MONDAY)
    sunday_night, tuesday = utc("2026-10-18T23:00"), utc("2026-10-20T01:00")
    assert due(timing, sunday_night) == utc("2026-10-19T00:00")
    assert due(timing, tuesday) == utc("2026-10-26T00:00")
    assert due(timing, utc("2026-10-19T07:00")) == utc("2026-10-19T22:00")


def test_days_are_judged_in_the_contacts_timezone() -> None:
    # Saturday 02:00 in UTC is still Friday in New York.
    friday_evening = utc("2026-10-24T02:00")
    assert due(Timing(days=WORKDAYS), friday_evening, NEW_YORK) == friday_evening


def test_a_forbidden_day_moves_to_the_next_allowed_one_at_the_same_local_time() -> None:
    assert due(Timing(days=WORKDAYS), local("2026-10-24T14:30", PARIS), PARIS) == local("2026-10-26T14:30", PARIS)


def test_a_day_and_an_hour_that_has_passed_mean_next_week() -> None:
    timing = Timing(hour=time(12), days=WEDNESDAY)
    assert due(timing, utc("2026-10-21T13:00")) == utc("2026-10-28T12:00")
    assert due(timing, utc("2026-10-21T12:00")) == utc("2026-10-21T12:00")
    assert due(timing, utc("2026-10-19T13:00")) == utc("2026-10-21T12:00")


def test_another_day_starts_with_its_window_not_at_the_same_minute() -> None:
    timing = Timing(between=MORNING, days=MONDAY)
    assert due(timing, utc("2026-10-23T09:30")) == utc("2026-10-26T08:00")
    assert due(timing, utc("2026-10-26T10:00")) == utc("2026-11-02T08:00")


def test_days_that_are_none_are_an_error_and_not_an_endless_search() -> None:
    nowhere = frozenset({-1, 7})
    for timing in (
        Timing(days=nowhere),
        Timing(hour=NINE, days=nowhere),
        Timing(between=NIGHT, days=nowhere),
    ):
        with pytest.raises(ValueError, match="names no weekday"):
            due(timing, utc("2026-10-23T09:30"))


# Clock changes.


def test_an_hour_that_does_not_exist_is_due_right_after_the_gap() -> None:
    timing = Timing(hour=time(2, 30))
    after_gap = utc("2026-03-29T01:00")
    assert due(timing, local("2026-03-29T01:00", PARIS), PARIS) == after_gap
    assert due(timing, after_gap, PARIS) == after_gap
    assert due(timing, after_gap + timedelta(seconds=1), PARIS) == local("2026-03-30T02:30", PARIS)


def test_an_hour_that_exists_twice_is_due_at_its_first_passage_still_ahead() -> None:
    timing = Timing(hour=time(2, 30))
    assert due(timing, local("2026-10-25T01:00", PARIS), PARIS) == utc("2026-10-25T00:30")
    assert due(timing, utc("2026-10-25T00:31"), PARIS) == utc("2026-10-25T01:30")
    assert due(timing, utc("2026-10-25T01:31"), PARIS) == local("2026-10-26T02:30", PARIS)


def test_midnight_that_does_not_exist_is_one_o_clock() -> None:
    timing = Timing(hour=time(0), days=SUNDAY)
    assert due(timing, local("2026-03-28T12:00", BEIRUT), BEIRUT) == local("2026-03-29T01:00", BEIRUT)
    night = Timing(between=NIGHT, days=SUNDAY)
    assert due(night, local("2026-03-28T23:00", BEIRUT), BEIRUT) == local("2026-03-29T01:00", BEIRUT)


def test_an_hour_lost_before_midnight_never_lands_on_a_forbidden_day() -> None:
    # In 2024 Nuuk went from 23:00 on Saturday 30 March to midnight.
    since = local("2024-03-30T12:00", NUUK)
    assert due(Timing(hour=time(23, 30)), since, NUUK) == local("2024-03-31T00:00", NUUK)
    late_saturday = Timing(hour=time(23, 30), days=SATURDAY)
    assert due(late_saturday, since, NUUK) == local("2024-04-06T23:30", NUUK)
    late_sunday = Timing(hour=time(23, 30), days=SUNDAY)
    assert due(late_sunday, since, NUUK) == local("2024-03-31T23:30", NUUK)
    assert due(Timing(days=SATURDAY), local("2024-03-29T23:30", NUUK), NUUK) == local("2024-04-06T23:30", NUUK)


def test_a_window_that_falls_in_the_gap_waits_for_the_next_day() -> None:
    inside = Timing(between=(time(2, 15), time(2, 45)))
    assert due(inside, local("2026-03-29T01:00", PARIS), PARIS) == local("2026-03-30T02:15", PARIS)
    across = Timing(between=(time(2, 15), time(3, 15)))
    assert due(across, local("2026-03-29T01:00", PARIS), PARIS) == local("2026-03-29T03:00", PARIS)


def test_a_window_opens_again_when_the_clocks_go_back_into_it() -> None:
    timing = Timing(between=(time(1, 45), time(2, 15)))
    assert due(timing, utc("2026-10-25T00:30"), PARIS) == utc("2026-10-25T01:00")
    assert due(timing, utc("2026-10-25T01:20"), PARIS) == local("2026-10-26T01:45", PARIS)


def test_half_an_hour_of_clock_change_is_exact_too() -> None:
    timing = Timing(hour=time(2, 10))
    spring, autumn = local("2026-10-04T01:00", LORD_HOWE), local("2026-04-05T01:00", LORD_HOWE)
    assert due(timing, spring, LORD_HOWE) == local("2026-10-04T02:30", LORD_HOWE)
    twice = Timing(hour=time(1, 45))
    first = due(twice, autumn, LORD_HOWE)
    assert first == autumn + timedelta(minutes=45)
    assert due(twice, first + timedelta(seconds=1), LORD_HOWE) == first + timedelta(minutes=30)


def test_a_skipped_day_is_not_made_up_for() -> None:
    thursday = local("2011-12-29T12:00", APIA)
    assert due(Timing(hour=NINE), thursday, APIA) == local("2011-12-31T09:00", APIA)
    next_friday = local("2012-01-06T09:00", APIA)
    assert due(Timing(hour=NINE, days=FRIDAY), thursday, APIA) == next_friday
    assert due(Timing(days=FRIDAY), local("2011-12-29T09:00", APIA), APIA) == next_friday
    assert due(Timing(between=(time(9), time(10)), days=FRIDAY), thursday, APIA) == next_friday


@pytest.mark.parametrize(
    ("zone", "since", "timing", "expected"),
    [
        # Venezuela: half an hour back on 9 December 2007, forward again on 1 May 2016.
        (CARACAS, "2007-12-08T09:00", Timing(after=Interval(days=1)), "2007-12-09T13:30"),
        (CARACAS, "2007-12-08T20:00", Timing(hour=NINE), "2007-12-09T13:30"),
        (CARACAS, "2016-04-30T09:00", Timing(after=Interval(months=1)), "2016-05-30T13:00"),
        (CARACAS, "2016-04-30T20:00", Timing(hour=time(2, 45)), "2016-05-01T07:00"),
        # North Korea: back at midnight of 15 August 2015, and 23:30 became midnight on 4 May 2018.
        (PYONGYANG, "2015-08-14T09:00", Timing(after=Interval(days=1)), "2015-08-15T00:30"),
        (PYONGYANG, "2018-05-04T12:00", Timing(hour=time(23, 45)), "2018-05-04T15:00"),
        (PYONGYANG, "2018-05-04T12:00", Timing(hour=time(23, 45), days=FRIDAY), "2018-05-11T14:45"),
        # Turkey put winter time off by two weeks in 2015 and stayed in summer time in 2016.
        (ISTANBUL, "2015-10-24T09:00", Timing(after=Interval(days=1)), "2015-10-25T06:00"),
        (ISTANBUL, "2015-11-07T09:00", Timing(after=Interval(days=1)), "2015-11-08T07:00"),
        (ISTANBUL, "2016-10-29T09:00", Timing(after=Interval(days=1)), "2016-10-30T06:00"),
        (ISTANBUL, "2016-09-01T08:00", Timing(after=Interval(months=6), between=MORNING), "2017-03-01T05:00"),
        # Samoa and the Marshall Islands had no 30 December 2011 and no 21 August 1993.
        (APIA, "2011-12-29T12:00", Timing(hour=NINE), "2011-12-30T19:00"),
        (APIA, "2011-11-30T09:00", Timing(after=Interval(months=1)), "2011-12-30T19:00"),
        (APIA, "2011-12-29T12:00", Timing(days=FRIDAY), "2012-01-05T22:00"),
        (KWAJALEIN, "1993-08-20T12:00", Timing(after=Interval(days=1)), "1993-08-22T00:00"),
    ],
)
def test_a_country_that_changed_its_rules_keeps_its_own_clock(
    zone: ZoneInfo, since: str, timing: Timing, expected: str
) -> None:
    assert due(timing, local(since, zone), zone) == utc(expected)


# Going again over a wait that falls due.


@pytest.mark.parametrize("late", ["09:00:40", "09:01:10", "09:05:00", "23:59:00"])
def test_an_hour_that_has_just_passed_does_not_postpone(late: str) -> None:
    now = utc(f"2026-10-20T{late}")
    assert postponed_until(Timing(after=Interval(days=1), hour=NINE), now=now, zone=ZULU) is None
    assert postponed_until(Timing(hour=NINE, days=WORKDAYS), now=now, zone=ZULU) is None


def test_an_hour_on_a_forbidden_day_postpones_to_that_hour_on_an_allowed_one() -> None:
    now = utc("2026-10-24T00:05")
    assert postponed_until(Timing(hour=NINE, days=WORKDAYS), now=now, zone=ZULU) == utc("2026-10-26T09:00")


def test_a_window_that_has_closed_postpones_to_its_next_opening() -> None:
    timing = Timing(after=Interval(days=3), between=MORNING)
    assert postponed_until(timing, now=utc("2026-10-22T09:59"), zone=ZULU) is None
    assert postponed_until(timing, now=utc("2026-10-22T10:00"), zone=ZULU) == utc("2026-10-23T08:00")


def test_a_forbidden_weekday_postpones_to_the_same_time_on_an_allowed_one() -> None:
    now = utc("2026-10-24T10:00")
    assert postponed_until(Timing(days=WORKDAYS), now=now, zone=ZULU) == utc("2026-10-26T10:00")
    assert postponed_until(Timing(days=SATURDAY), now=now, zone=ZULU) is None


def test_a_delay_or_a_date_never_postpones() -> None:
    now = utc("2026-10-24T10:00")
    for timing in (Timing(), Timing(after=Interval(days=3)), Timing(at=utc("2027-01-01"))):
        assert postponed_until(timing, now=now, zone=PARIS) is None


# Decisions.


ONE_DAY, THREE_DAYS = Timing(after=Interval(days=1)), Timing(after=Interval(days=3))
REACHED = utc("2026-10-20T10:00")


def closes(*children: Timing, within: Interval | None = None) -> datetime | None:
    return deadline(within, children, since=REACHED, zone=ZULU)


def test_a_decision_closes_when_the_first_no_child_is_due() -> None:
    assert closes(THREE_DAYS, ONE_DAY) == utc("2026-10-21T10:00")
    assert due(THREE_DAYS, REACHED) == utc("2026-10-23T10:00")


def test_a_dated_no_child_and_a_delayed_one_each_keep_their_own_time() -> None:
    tomorrow = Timing(at=utc("2026-10-25T00:00"))
    assert closes(tomorrow, THREE_DAYS) == utc("2026-10-23T10:00")
    assert due(tomorrow, REACHED) == utc("2026-10-25T00:00")


def test_a_decision_that_says_how_long_closes_then_whatever_its_children() -> None:
    assert closes(Timing(), THREE_DAYS, within=Interval(days=2)) == utc("2026-10-22T10:00")
    assert closes(within=Interval()) == REACHED


def test_a_no_child_without_a_delay_or_with_a_past_date_closes_at_once() -> None:
    assert closes(Timing(), THREE_DAYS) == REACHED
    assert closes(Timing(at=utc("2026-01-01T00:00"))) == REACHED


def test_a_decision_without_no_children_stays_open_for_ever() -> None:
    assert closes() is None


# Timezones.


@pytest.mark.parametrize(
    ("timing", "depends"),
    [
        (Timing(), False),
        (Timing(at=utc("2027-01-01")), False),
        (Timing(after=parse_interval("90 minutes")), False),
        (Timing(after=parse_interval("0 days")), False),
        (Timing(after=parse_interval("1 day")), True),
        (Timing(after=parse_interval("1 month")), True),
        (Timing(after=parse_interval("P1DT2H")), True),
        (Timing(after=parse_interval("2 hours"), hour=NINE), True),
        (Timing(hour=NINE), True),
        (Timing(between=NIGHT), True),
        (Timing(days=WORKDAYS), True),
    ],
)
def test_only_calendar_intervals_hours_windows_and_days_depend_on_the_timezone(timing: Timing, depends: bool) -> None:
    assert depends_on_zone(timing) is depends


# Properties, drawn where clocks change.


changes = st.sampled_from(
    [
        (PARIS, datetime(2026, 3, 29, 1, tzinfo=UTC)),
        (PARIS, datetime(2026, 10, 25, 1, tzinfo=UTC)),
        (NEW_YORK, datetime(2026, 3, 8, 7, tzinfo=UTC)),
        (NEW_YORK, datetime(2026, 11, 1, 6, tzinfo=UTC)),
        (LORD_HOWE, datetime(2026, 4, 4, 15, tzinfo=UTC)),
        (LORD_HOWE, datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
        (APIA, datetime(2011, 12, 30, 10, tzinfo=UTC)),
        (NUUK, datetime(2024, 3, 31, 1, tzinfo=UTC)),
        (NUUK, datetime(2024, 10, 27, 1, tzinfo=UTC)),
        (BEIRUT, datetime(2026, 3, 28, 22, tzinfo=UTC)),
        (BEIRUT, datetime(2026, 10, 24, 21, tzinfo=UTC)),
        (LONDON, datetime(2026, 3, 29, 1, tzinfo=UTC)),
        # Changes of the rules themselves, by half an hour, at midnight, without moving any clock, and by a day.
        (CARACAS, datetime(2007, 12, 9, 7, tzinfo=UTC)),
        (CARACAS, datetime(2016, 5, 1, 7, tzinfo=UTC)),
        (PYONGYANG, datetime(2015, 8, 14, 15, tzinfo=UTC)),
        (PYONGYANG, datetime(2018, 5, 4, 15, tzinfo=UTC)),
        (ISTANBUL, datetime(2015, 11, 8, 1, tzinfo=UTC)),
        (ISTANBUL, datetime(2016, 9, 6, 21, tzinfo=UTC)),
        (KWAJALEIN, datetime(1993, 8, 21, 12, tzinfo=UTC)),
        # Summer time below standard time during Ramadan, and one of two hours.
        (CASABLANCA, datetime(2026, 2, 15, 2, tzinfo=UTC)),
        (CASABLANCA, datetime(2026, 3, 22, 2, tzinfo=UTC)),
        (TROLL, datetime(2026, 3, 29, 1, tzinfo=UTC)),
        (TROLL, datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ]
)
distances = st.one_of(
    st.timedeltas(timedelta(hours=-30), timedelta(hours=30)),
    st.builds(timedelta, minutes=st.integers(-150, 150)),
    st.builds(timedelta, days=st.integers(-9, 9)),
    st.just(timedelta(microseconds=-1)),
)
places = st.builds(lambda change, distance: (change[0], change[1] + distance), changes, distances)
small_intervals = st.builds(
    Interval,
    months=st.sampled_from([0, 0, 0, 1, 5, 7]),
    days=st.integers(0, 3),
    exact=st.timedeltas(timedelta(0), timedelta(hours=48)),
)
hours = st.one_of(
    st.builds(time, st.integers(0, 23), st.sampled_from([0, 10, 15, 30, 45])),
    st.builds(time, st.sampled_from([0, 1, 2, 3, 23]), st.sampled_from([0, 15, 30, 59])),
)
windows = st.tuples(hours, hours).filter(lambda window: window[0] != window[1])
weekdays = st.one_of(st.just(frozenset[int]()), st.frozensets(st.integers(0, 6), min_size=1))
afters = st.none() | small_intervals
timings = st.one_of(
    st.builds(Timing, after=afters, days=weekdays),
    st.builds(Timing, after=afters, hour=hours, days=weekdays),
    st.builds(Timing, after=afters, between=windows, days=weekdays),
    st.builds(Timing, at=st.datetimes(datetime(2026, 3, 1), datetime(2026, 12, 1), timezones=st.just(PARIS))),  # noqa: DTZ001 - the strategy adds it
)
here = tuple[ZoneInfo, datetime]


def without_delay(timing: Timing) -> Timing:
    return Timing(hour=timing.hour, between=timing.between, days=timing.days)


def reference(timing: Timing, since: datetime, zone: ZoneInfo) -> datetime:
    return add(timing.after, since, zone) if timing.after else since


def shown(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def is_open(timing: Timing, instant: datetime, zone: ZoneInfo) -> bool:
    wall = shown(instant, zone)
    if timing.days and wall.weekday() not in timing.days:
        return False
    if timing.between is None:
        return True
    start, end = timing.between
    clock = wall.time()
    return start <= clock < end if start < end else not end <= clock < start


def passages(hour: time, days: frozenset[int], around: date, zone: ZoneInfo) -> list[datetime]:
    """Every instant at which a contact's clock shows an hour, over three weeks: the rule, written plainly.

    A gap is searched for minute by minute, since that needs none of the arithmetic under test.
    """
    found = []
    for distance in range(-3, 20):
        day = around + DAY * distance
        wall = datetime.combine(day, hour)
        if days and day.weekday() not in days:
            continue
        both = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
        exact = [instant for instant in both if shown(instant, zone) == wall]
        if exact:
            found += exact
            continue
        noons = [shown(min(both) + timedelta(minutes=30 * step), zone).date() for step in range(-60, 60)]
        if day not in noons:
            continue
        minute = min(both)
        while shown(minute, zone) < wall:
            minute += timedelta(minutes=1)
        if not days or shown(minute, zone).weekday() in days:
            found.append(minute)
    return sorted(found)


@given(small_intervals, places)
def test_no_interval_ends_before_it_began(interval: Interval, place: here) -> None:
    zone, since = place
    found = add(interval, since, zone)
    assert found >= since + interval.exact
    assert found.tzinfo is UTC


@given(timings, places)
@example(Timing(after=Interval(days=1)), (APIA, local("2011-12-29T09:00", APIA)))
def test_nothing_is_due_before_it_was_reached(timing: Timing, place: here) -> None:
    zone, since = place
    found = due(timing, since, zone)
    assert found >= since
    assert found.tzinfo is UTC
    assert found == due(timing, since.astimezone(zone), zone)


@given(timings, places)
def test_what_is_due_may_run_when_it_is_due(timing: Timing, place: here) -> None:
    zone, since = place
    found = due(timing, since, zone)
    assert postponed_until(timing, now=found, zone=zone) is None
    if timing.at is None:
        assert is_open(timing, found, zone)


@given(timings, places)
def test_a_due_time_sought_again_stays_where_it_is(timing: Timing, place: here) -> None:
    zone, since = place
    found = due(timing, since, zone)
    assert due(without_delay(timing), found, zone) == found


@given(timings, places)
def test_what_is_postponed_comes_back_later_and_then_may_run(timing: Timing, place: here) -> None:
    zone, now = place
    back = postponed_until(timing, now=now, zone=zone)
    if back is None:
        assert timing.at is not None or timing.hour is not None or is_open(timing, now, zone)
    else:
        assert back > now
        assert is_open(timing, back, zone)
        assert postponed_until(timing, now=back, zone=zone) is None


@given(st.builds(Timing, after=afters, hour=hours, days=weekdays), places)
@example(Timing(hour=NINE), (APIA, local("2011-12-29T12:00", APIA)))
@example(Timing(hour=time(23, 30)), (NUUK, local("2024-03-30T12:00", NUUK)))
def test_an_hour_is_due_at_its_first_allowed_passage(timing: Timing, place: here) -> None:
    zone, since = place
    start = reference(timing, since, zone)
    assert timing.hour is not None
    expected = passages(timing.hour, timing.days, shown(start, zone).date(), zone)
    assert due(timing, since, zone) == next(instant for instant in expected if instant >= start)


@given(st.builds(Timing, after=afters, between=windows, days=weekdays), places, st.data())
def test_a_window_is_due_at_its_first_open_instant(timing: Timing, place: here, data: st.DataObject) -> None:
    zone, since = place
    start = reference(timing, since, zone)
    found = due(timing, since, zone)
    if found == start:
        return
    # A window opens on a whole minute, so the minutes before cannot hide an opening.
    assert not is_open(timing, start, zone)
    assert not is_open(timing, found - timedelta.resolution, zone)
    steps = int((found - start) / timedelta(minutes=1))
    for step in data.draw(st.lists(st.integers(0, steps), max_size=20)) if steps else []:
        minute = (start + timedelta(minutes=step)).replace(second=0, microsecond=0)
        assert not start <= minute < found or not is_open(timing, minute, zone)


@given(st.builds(Timing, days=weekdays.filter(bool)), places)
@example(Timing(days=FRIDAY | SATURDAY), (PYONGYANG, local("2018-05-03T23:30", PYONGYANG)))
def test_days_alone_keep_the_local_time_unless_the_clocks_skip_it(timing: Timing, place: here) -> None:
    zone, since = place
    found = due(timing, since, zone)
    before, after = shown(since, zone), shown(found, zone)
    if before.weekday() in timing.days:
        assert found == since
    elif after.time() != before.time():
        # A gap before midnight leads into the next day.
        skipped = [datetime.combine(after - DAY * nth, before.time()) for nth in (0, 1)]
        assert after in [shown(wall.replace(tzinfo=zone).astimezone(UTC), zone) for wall in skipped]
        assert after not in skipped
    assert operator.sub(after, before) < timedelta(days=15)
