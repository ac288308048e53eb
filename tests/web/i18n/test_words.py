"""The engine's words for people, in both languages."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from parcours.domain.campaign import Status, Step
from parcours.domain.campaign_file.difference import Difference
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import Kind, NoProperties
from parcours.domain.time.intervals import Interval
from parcours.domain.time.schedule import Timing
from parcours.web.i18n import labels
from parcours.web.i18n.language import Reader, speaking
from parcours.web.i18n.sentences import told
from parcours.web.pages.plan_words import change

NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)


def step(timing: Timing, within: Interval | None = None, look_back: Interval | None = None) -> Step:
    kind = step_type(Kind.ACTION, "contact.points")
    return Step(1, "s", "S", kind, NoProperties(), timing=timing, within=within, look_back=look_back)


@pytest.mark.parametrize(
    ("interval", "english", "french"),
    [
        (Interval(days=1), "1 day", "1 jour"),
        (Interval(days=14), "2 weeks", "2 semaines"),
        (Interval(days=10), "10 days", "10 jours"),
        (Interval(months=14, days=1), "1 year, 2 months and 1 day", "1 an, 2 mois et 1 jour"),
        (Interval(exact=timedelta(minutes=90)), "1 hour and 30 minutes", "1 heure et 30 minutes"),
        (Interval(), "0 minutes", "0 minute"),
    ],
)
def test_intervals_are_said_as_people_say_them(interval: Interval, english: str, french: str) -> None:
    assert labels.interval(interval) == english
    with speaking(Reader("fr", UTC)):
        assert labels.interval(interval) == french


@pytest.mark.parametrize(
    ("timing", "said"),
    [
        (Timing(), ""),
        (Timing(after=Interval(days=1), hour=time(9)), "after 1 day at 09:00"),
        (Timing(at=NOW), "on 1 Jun 2026, 09:00"),
        (
            Timing(after=Interval(days=2), between=(time(8), time(18)), days=frozenset(range(5))),
            "after 2 days, between 08:00 and 18:00, Monday to Friday",
        ),
        (Timing(hour=time(7, 30), days=frozenset({0, 2, 4})), "at 07:30, on Mon, Wed and Fri"),
        (Timing(days=frozenset({5, 6})), "at the weekend"),
    ],
)
def test_a_steps_timing_is_said_in_words(timing: Timing, said: str) -> None:
    assert labels.timing(step(timing)) == said


def test_a_decision_says_how_long_it_waits_and_how_far_it_looks_back() -> None:
    decision = step(Timing(), within=Interval(days=3), look_back=Interval(exact=timedelta(hours=2)))
    assert labels.timing(decision) == "within 3 days, looks back 2 hours"


def test_an_estimate_says_that_it_is_one() -> None:
    assert labels.count(1234567) == "1,234,567"
    assert labels.count(433539, True) == "≈\u202f430,000"
    assert labels.count(7, True) == "≈\u202f7"


def test_shares_have_one_digit_but_nothing_and_all() -> None:
    assert [labels.share(each) for each in (None, 0.0, 33.3, 99.96, 100.0)] == ["–", "0%", "33.3%", "100.0%", "100%"]


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (timedelta(seconds=5), "in 1 minute"),
        (timedelta(minutes=89), "in 89 minutes"),
        (timedelta(hours=26), "in 26 hours"),
        (timedelta(days=3, hours=2), "in 3 days"),
    ],
)
def test_what_is_soon_is_said_in_a_fitting_unit(ahead: timedelta, said: str) -> None:
    assert labels.soon(NOW + ahead, NOW) == said


def test_history_is_told_in_words_and_what_is_new_as_it_is_written() -> None:
    changes = {"added": ["a", "b"], "changed": [], "removed": ["c"]}
    assert labels.happened("changed to version 3", changes) == "Changed to version 3: new: a, b; removed: c"
    assert labels.happened("created", changes) == "Created"
    assert labels.happened("paused", {}) == "Switched off"
    stopped = {"step": "a", "failed": 100, "minutes": 90}
    assert labels.happened("stopped: 100 contacts", stopped).endswith("100 contacts failed at a within 90 minutes")
    assert labels.happened("rescheduled", {"waits": 3}) == "Waiting contacts rescheduled: 3"
    assert labels.happened("merged with another", {}) == "Merged with another"


def test_a_bucket_is_short_below_the_graph_and_full_beside_it() -> None:
    assert labels.bucket(NOW, "hour") == "09:00"
    assert labels.bucket(NOW, "hour", full=True) == "1 Jun 2026, 09:00"
    assert labels.bucket(NOW, "day") == "1 Jun"
    assert labels.bucket(NOW, "week", full=True) == "week of 1 Jun 2026"
    assert labels.bucket(NOW, "month") == "Jun 2026"


@pytest.mark.parametrize(
    ("language", "ends", "starts"),
    [
        ("en", "it ended on 1 Jun 2026, 11:00", "it starts on 1 Jun 2026, 11:00"),
        ("fr", "elle s’est terminée le 1er juin 2026 à 11:00", "elle commence le 1er juin 2026 à 11:00"),
    ],
)
def test_a_date_in_a_sentence_of_the_engine_is_written_as_pages_write_dates(
    language: str, ends: str, starts: str
) -> None:
    ended, coming = Status(True, publish_until=NOW), Status(True, publish_from=NOW)
    with speaking(Reader(language, ZoneInfo("Europe/Paris"))):
        for zone in (ZoneInfo("UTC"), ZoneInfo("America/New_York")):
            assert told(ended.why_not(NOW, zone) or "") == ends
            assert told(coming.why_not(NOW - timedelta(days=1), zone) or "") == starts
        # What only looks like it stays.
        for text in ("2026-13-01 09:00:00 UTC", "2026-01-01 09:00:00 Not/There", "9999-12-31 23:59:59 Etc/GMT+12"):
            assert told(text) == text


def test_a_terminal_shows_such_a_date_in_the_timezone_of_the_installation() -> None:
    ended = Status(True, publish_until=NOW)
    assert ended.why_not(NOW) == "it ended on 2026-06-01 09:00:00 UTC"
    assert ended.why_not(NOW, ZoneInfo("Europe/Paris")) == "it ended on 2026-06-01 11:00:00 Europe/Paris"


def test_a_plan_writes_the_start_and_the_end_of_a_campaign_as_pages_write_dates() -> None:
    with speaking(Reader("fr", ZoneInfo("Europe/Paris"))):
        ends = Difference(None, "publish_until", None, "2026-06-01T09:00:00+00:00")
        assert change(ends) == "aucun → 1er juin 2026 à 11:00"
