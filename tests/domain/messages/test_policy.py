"""When a marketing message may go: examples for what a person would name, properties near changes of clocks."""

from __future__ import annotations

import operator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.messages import policy
from parcours.domain.messages.policy import PERIODS, Cap, Hold, Limits, Period, Policy, QuietHours, Rule
from parcours.domain.time import schedule
from parcours.domain.time.intervals import Interval

PARIS = ZoneInfo("Europe/Paris")
NIGHT = QuietHours((time(21), time(8)))
MONDAY = datetime(2026, 6, 1, tzinfo=UTC)


def at(day: int, clock: str, zone: ZoneInfo = PARIS) -> datetime:
    moment = MONDAY + timedelta(days=day - 1)
    return datetime.combine(moment, time.fromisoformat(clock), tzinfo=zone).astimezone(UTC)


def test_nothing_binds_who_has_no_policy_and_no_rule() -> None:
    assert Limits(sent=[at(1, "09:00")] * 100).hold(at(1, "09:00")) is None


@pytest.mark.parametrize(
    ("now", "until"),
    [
        (at(1, "21:00"), at(2, "08:00")),
        (at(2, "03:00"), at(2, "08:00")),
        (at(2, "07:59"), at(2, "08:00")),
        (at(2, "08:00"), None),
        (at(2, "20:59"), None),
    ],
)
def test_quiet_hours_over_midnight_end_when_their_window_does(now: datetime, until: datetime | None) -> None:
    held = Limits(Policy(quiet_hours=NIGHT), zone=PARIS).hold(now)
    assert held == (None if until is None else Hold("quiet_hours", until))


@pytest.mark.parametrize(
    ("days", "now", "until"),
    [
        # Saturday is day 6: its quiet hours begin again in the evening and end with it.
        ([5], at(6, "22:00"), at(7, "00:00")),
        ([5], at(6, "03:00"), at(6, "08:00")),
        ([5], at(7, "03:00"), None),
        ([5, 6], at(6, "22:00"), at(7, "08:00")),
        ([5, 6], at(7, "22:00"), at(8, "00:00")),
    ],
)
def test_quiet_hours_of_some_days_are_of_the_calendar_day(days: list[int], now: datetime, until: Any) -> None:
    held = Limits(Policy(quiet_hours=QuietHours(NIGHT.between, frozenset(days))), zone=PARIS).hold(now)
    assert held == (None if until is None else Hold("quiet_hours", until))


def test_a_cap_is_free_when_the_oldest_message_leaves_its_period() -> None:
    sent = [at(1, "09:00"), at(3, "10:00")]
    limits = Limits(Policy(cap=Cap(2, "week")), sent=sent, zone=PARIS)
    assert limits.hold(at(5, "12:00")) == Hold("cap", at(8, "09:00"))
    assert limits.hold(at(8, "09:00")) is None


def test_a_month_is_one_of_the_calendar() -> None:
    sent = [datetime(2026, 1, 31, 12, tzinfo=UTC)]
    held = Limits(Policy(cap=Cap(1, "month")), sent=sent).hold(datetime(2026, 2, 1, tzinfo=UTC))
    assert held == Hold("cap", datetime(2026, 2, 28, 12, tzinfo=UTC))


def test_a_message_that_is_still_to_go_counts_as_well() -> None:
    limits = Limits(Policy(cap=Cap(1, "day")), sent=[at(2, "09:00")], zone=PARIS)
    assert limits.hold(at(1, "12:00")) == Hold("cap", at(3, "09:00"))
    assert limits.hold(at(1, "09:00")) is None


def test_a_slot_that_falls_into_quiet_hours_moves_on_to_their_end() -> None:
    limits = Limits(Policy(Cap(1, "day"), NIGHT), sent=[at(1, "20:30")], zone=PARIS)
    assert limits.hold(at(1, "20:45")) == Hold("cap", at(2, "20:30"))
    assert Limits(Policy(Cap(1, "day"), NIGHT), sent=[at(1, "22:00")], zone=PARIS).hold(at(2, "12:00")) == Hold(
        "cap", at(3, "08:00")
    )


def test_a_contacts_own_cap_stands_in_place_of_the_policys_and_its_quiet_hours_stay() -> None:
    sent = [at(1, "09:00"), at(1, "10:00")]
    strict, lenient = Policy(Cap(1, "week"), NIGHT), Rule(Cap(3, "day"))
    assert Limits(strict, lenient, sent, PARIS).hold(at(1, "12:00")) is None
    assert Limits(strict, lenient, sent, PARIS).hold(at(1, "22:00")) == Hold("quiet_hours", at(2, "08:00"))
    assert Limits(Policy(), Rule(Cap(1, "day")), sent, PARIS).hold(at(1, "12:00")) == Hold("cap", at(2, "10:00"))


@pytest.mark.parametrize(
    ("rule", "now", "held"),
    [
        (Rule(paused_from=at(2, "09:00"), paused_until=at(4, "09:00")), at(1, "09:00"), None),
        (Rule(paused_from=at(2, "09:00"), paused_until=at(4, "09:00")), at(2, "09:00"), Hold("paused", at(4, "09:00"))),
        (Rule(paused_from=at(2, "09:00"), paused_until=at(4, "09:00")), at(4, "09:00"), None),
        (Rule(paused_until=at(4, "09:00")), at(1, "09:00"), Hold("paused", at(4, "09:00"))),
        (Rule(paused_from=at(2, "09:00")), at(9, "09:00"), Hold("paused", None)),
        (Rule(paused_from=at(2, "09:00")), at(1, "09:00"), None),
    ],
)
def test_a_pause_blocks_sending(rule: Rule, now: datetime, held: Hold | None) -> None:
    assert Limits(rule=rule, zone=PARIS).hold(now) == held


def test_a_slot_in_a_pause_without_end_is_none() -> None:
    rule = Rule(Cap(1, "day"), paused_from=at(2, "09:00"))
    assert Limits(rule=rule, sent=[at(1, "12:00")], zone=PARIS).hold(at(1, "13:00")) == Hold("cap", None)


def test_what_matters_less_takes_a_slot_later_and_never_in_quiet_hours() -> None:
    limits = Limits(Policy(Cap(1, "day"), NIGHT), sent=[at(1, "20:57")], zone=PARIS)
    assert limits.hold(at(1, "20:58"), later=timedelta(minutes=0)) == Hold("cap", at(2, "20:57"))
    assert limits.hold(at(1, "20:58"), later=timedelta(minutes=5)) == Hold("cap", at(3, "08:00"))


changes = st.sampled_from([datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)])
instants = st.builds(operator.add, changes, st.timedeltas(timedelta(hours=-40), timedelta(hours=40)))
zones = st.sampled_from([PARIS, ZoneInfo("UTC"), ZoneInfo("America/New_York"), ZoneInfo("Africa/Casablanca")])
clocks = st.times(time(0), time(23, 59)).map(lambda clock: clock.replace(second=0, microsecond=0))
windows = st.tuples(clocks, clocks).filter(lambda window: window[0] != window[1])
quiet = st.none() | st.builds(QuietHours, windows, st.frozensets(st.integers(0, 6), max_size=7))
caps = st.none() | st.builds(Cap, st.integers(1, 3), st.sampled_from(["day", "week", "month"]))
pauses = st.none() | instants
later = st.sampled_from([timedelta(0), timedelta(minutes=5), timedelta(minutes=10)])


def is_quiet(hours: QuietHours | None, moment: datetime, zone: ZoneInfo) -> bool:
    """The rule as a person would check it on a clock."""
    if hours is None:
        return False
    local = moment.astimezone(zone)
    start, end = hours.between
    clock = local.time()
    inside = start <= clock < end if start < end else clock >= start or clock < end
    return inside and (not hours.days or local.weekday() in hours.days)


def in_force(sent: list[datetime], cap: Cap, moment: datetime, zone: ZoneInfo) -> int:
    period = PERIODS[cap.period]
    return sum(other <= moment < schedule.add(period, other, zone) for other in sent)


@given(st.lists(instants, max_size=8), caps, quiet, pauses, zones, instants, later)
def test_a_slot_is_ahead_outside_quiet_hours_and_pauses_and_keeps_the_cap(
    sent: list[datetime],
    cap: Cap | None,
    hours: QuietHours | None,
    pause_until: datetime | None,
    zone: ZoneInfo,
    now: datetime,
    later: timedelta,
) -> None:
    limits = Limits(Policy(cap, hours), Rule(paused_until=pause_until), sent, zone)
    held = limits.hold(now, later=later)
    slot = now
    if held is not None:
        assert held.until is not None
        assert held.until > now
        slot = held.until
    assert not is_quiet(hours, slot, zone)
    assert pause_until is None or slot >= pause_until
    assert limits.hold(slot) is None
    if cap is not None and len(sent) < cap.number:
        assert held is None or held.rule != "cap"


@given(st.lists(instants, min_size=1, max_size=12), caps.filter(bool), quiet, zones, later)
def test_a_cap_is_never_exceeded_when_all_follow_their_slots(
    asked: list[datetime], cap: Cap, hours: QuietHours | None, zone: ZoneInfo, later: timedelta
) -> None:
    sent: list[datetime] = []
    for now in sorted(asked):
        held = Limits(Policy(cap, hours), sent=list(sent), zone=zone).hold(now, later=later)
        slot = now if held is None else held.until
        assert slot is not None
        sent.append(slot)
    assert max(in_force(sent, cap, moment, zone) for moment in sent) <= cap.number


@given(instants, st.builds(QuietHours, windows, st.frozensets(st.integers(0, 6), max_size=6)), zones)
def test_quiet_hours_end_as_soon_as_the_clock_says(now: datetime, hours: QuietHours, zone: ZoneInfo) -> None:
    held = Limits(Policy(quiet_hours=hours), zone=zone).hold(now)
    assert (held is not None) == is_quiet(hours, now, zone)
    if held is not None:
        assert held.until is not None
        minutes = range(int((held.until - now) / timedelta(minutes=1)))
        assert all(is_quiet(hours, now + timedelta(minutes=minute), zone) for minute in minutes)


@pytest.mark.parametrize("period", PERIODS)
def test_no_period_is_longer_than_what_is_read_back(period: Period) -> None:
    for month in range(1, 13):
        for day in (1, 15, 28):
            start = datetime(2026, month, day, 1, 30, tzinfo=UTC)
            assert schedule.add(PERIODS[period], start, PARIS) - start <= policy.LONGEST[period]


@pytest.mark.parametrize(
    ("given_", "sentence"),
    [
        ({}, "the policy has no effect"),
        ({"blackout": "2026-12-25"}, "is a list of days"),
        ({"blackout": []}, "is a list of days"),
        ({"blackout": ["25.12.2026"]}, "is not a day"),
        ({"blackout": ["2026-12-25T09:00"]}, "is not a day"),
        ({"holidays": "FR"}, "contact.country"),
        ({"holidays": "contact."}, "contact.country"),
        ({"holidays": True}, "contact.country"),
        ({"holidays": "contact.country", "spread": "2 days"}, "at most 1 day"),
        ({"holidays": "contact.country", "spread": "soon"}, "is not an interval"),
        ({"cap": {"number": 0, "period": "day"}}, "at least 1"),
        ({"cap": {"number": True, "period": "day"}}, "whole number"),
        ({"cap": {"number": 1, "period": "dya"}}, "did you mean 'day'"),
        ({"cap": {"number": 1, "perod": "day"}}, "did you mean 'period'"),
        ({"cap": 3}, "must be a mapping such as"),
        ({"cap": {"number": 1, "period": "day"}, "over": "next-slot"}, "did you mean 'next_slot'"),
        ({"quiet_hours": {}}, "need a time window"),
        ({"quiet_hours": {"between": ["21:00", "21:00"]}}, "starts where it ends"),
        ({"quiet_hours": {"between": ["21:00", "8"]}}, "is not an hour"),
        ({"quiet_hours": {"between": ["21:00", "08:00"], "days": ["satt"]}}, "did you mean 'sat'"),
    ],
)
def test_a_policy_without_sense_is_refused_in_a_sentence(given_: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        policy.parse_policy(given_)


def test_a_policy_is_read() -> None:
    given_ = {"cap": {"number": 2, "period": "week"}, "quiet_hours": {"between": ["21:00", "24:00"], "days": ["sat"]}}
    assert policy.parse_policy(given_) == Policy(
        Cap(2, "week"), QuietHours((time(21), time(0)), frozenset({5})), "next_slot"
    )
    assert policy.parse_policy({**given_, "over": "skip"}).over == "skip"


def closed(*, country: Any = None, quiet: QuietHours | None = None, zone: ZoneInfo = PARIS) -> Limits:
    days = frozenset({date(2026, 12, 25), date(2026, 12, 26)})
    return Limits(Policy(quiet_hours=quiet, blackout=days, holidays="country"), zone=zone, country=country)


def test_nothing_goes_on_a_blackout_day_of_the_contact() -> None:
    last = datetime(2026, 12, 24, 22, 59, tzinfo=UTC)
    assert closed().hold(last) is None
    assert closed().hold(last + timedelta(minutes=1)) == Hold("blackout", datetime(2026, 12, 26, 23, tzinfo=UTC))
    # Where the contact lives, the day is another one.
    assert closed(zone=ZoneInfo("UTC")).hold(last + timedelta(minutes=1)) is None


def test_a_blackout_day_is_followed_by_quiet_hours() -> None:
    held = closed(quiet=NIGHT).hold(datetime(2026, 12, 25, 12, tzinfo=UTC))
    assert held == Hold("blackout", datetime(2026, 12, 27, 7, tzinfo=UTC))


@pytest.mark.parametrize("country", ["FR", "fr", " FRA ", "FR-BL", "FR-nowhere"])
def test_a_public_holiday_of_the_contacts_country_is_a_closed_day(country: str) -> None:
    assert closed(country=country).hold(datetime(2026, 7, 14, 12, tzinfo=UTC)) == Hold(
        "holiday", datetime(2026, 7, 14, 22, tzinfo=UTC)
    )
    assert closed(country=country).hold(datetime(2026, 7, 15, 12, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    "country", [None, "", "US", "XX", "France", 33, ["FR"], "\ud83d\ud83d", "F" * 1000, "-", "XX-\0"]
)
def test_where_the_country_is_another_or_nobody_knows_it_the_day_is_open(country: Any) -> None:
    now = datetime(2026, 7, 14, 12, tzinfo=UTC)
    assert closed(country=country).hold(now) is None


def test_what_an_hour_releases_is_spread_by_contact() -> None:
    spread = Policy(quiet_hours=NIGHT, spread=Interval(exact=timedelta(minutes=15)))
    later = [spread.later(contact, "quiet_hours") for contact in range(1000)]
    assert later == [spread.later(contact, "quiet_hours") for contact in range(1000)]
    assert timedelta(0) <= min(later) < timedelta(minutes=1)
    assert timedelta(minutes=14) < max(later) < timedelta(minutes=15)
    assert spread.later(7, "cap") == timedelta(0)
    assert Policy().later(7, "quiet_hours") == timedelta(0)


rules = st.builds(Rule, caps, st.booleans(), st.none() | st.just(at(1, "09:00")), st.none() | st.just(at(2, "09:00")))


@given(rules)
def test_a_rule_reads_back_as_it_was_written(rule: Rule) -> None:
    assert policy.parse_rule(policy.as_data(rule)) == rule


@pytest.mark.parametrize(
    ("given_", "sentence"),
    [
        ({"number": 2}, "period of a cap"),
        ({"preferred": "yes"}, "true or false"),
        ({"paused_from": "2026-12-24"}, "with an offset"),
        ({"paused_from": 7}, "with an offset"),
        ({"paused_form": None}, "did you mean 'paused_from'"),
        ({"paused_from": "2026-12-24T00:00Z", "paused_until": "2026-12-23T00:00Z"}, "must be after"),
        ([], "must be a mapping"),
    ],
)
def test_a_rule_without_sense_is_refused_in_a_sentence(given_: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        policy.parse_rule(given_)
