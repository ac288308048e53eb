"""The figures of the overview: counted with a limit, by the hour, of steps that are gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from parcours.db.reads import overview
from parcours.db.tables import campaigns, outcomes
from parcours.domain.campaign import Campaign
from parcours.web.pages import charts
from parcours.web.pages.charts import Bucket
from tests.workers.worlds import START, World, at

TREE = """
- step: score
  action: contact.points
  with: {points: 1}
  then:
    - step: later
      action: contact.points
      with: {points: 1}
      after: 2 days
- step: visited
  decision: page.hit
  with: {url: "*"}
  yes: [{step: hot, action: contact.points, with: {points: 1}}]
"""


def loaded(world: World) -> Campaign:
    with world.engine.connect() as conn:
        found = world.found(conn)
        return campaigns.load(conn, found.id, found.version, world.zone)


def test_bounded_figures_are_the_exact_ones_as_long_as_there_are_few_to_count(world: World) -> None:
    world.crowd(20, segment="everyone")
    world.campaign(TREE)
    world.run()
    with world.engine.connect() as conn:
        campaign = loaded(world)
        exact = overview.figures(conn, campaign)
        assert overview.figures(conn, campaign, waits_counted=overview.WAITS_COUNTED) == exact
    assert {step.step: (step.reached, step.waiting) for step in exact.steps} == {
        "score": (20, 0),
        "later": (20, 20),
        "visited": (20, 20),
        "hot": (0, 0),
    }
    assert (exact.added, exact.active, exact.left) == (20, 20, 0)


def test_beyond_the_limit_the_planner_says_about_how_many_wait(world: World) -> None:
    world.crowd(400, segment="everyone")
    world.campaign(TREE)
    world.run()
    world.write("ANALYZE wait")
    with world.engine.connect() as conn:
        steps = {step.step: step for step in overview.figures(conn, loaded(world), waits_counted=100).steps}
    assert steps["later"].about
    assert 300 <= steps["later"].waiting <= 500
    assert steps["later"].reached == steps["later"].waiting
    assert not steps["score"].about


def test_due_work_is_counted_and_the_next_is_named(world: World) -> None:
    world.contacts("anna", segment="everyone")
    world.campaign(TREE)
    world.run()
    with world.engine.connect() as conn:
        ids = list(loaded(world).steps)
        # The decision has no deadline: it is never due.
        assert overview.due(conn, ids, now=START) == (0, False, START + timedelta(days=2))
        assert overview.due(conn, ids, now=at(4)) == (1, False, None)
        assert overview.due(conn, [], now=START) == (0, False, None)


def test_a_step_that_a_version_dropped_is_shown_apart_while_it_has_history(world: World) -> None:
    world.contacts("anna", segment="everyone")
    world.campaign("- {step: old, action: contact.points, with: {points: 1}}")
    world.run()
    world.campaign("- {step: new, action: contact.points, with: {points: 1}}", when=at(2))
    with world.engine.connect() as conn:
        (gone,) = overview.removed(conn, loaded(world))
    assert (gone.step, gone.reached, gone.results["done"]) == ("old", 1, 1)


def test_a_step_that_nobody_passed_is_forgotten_with_its_version(world: World) -> None:
    world.campaign("- {step: old, action: contact.points, with: {points: 1}}")
    world.campaign("- {step: new, action: contact.points, with: {points: 1}}", when=at(2))
    with world.engine.connect() as conn:
        assert overview.removed(conn, loaded(world)) == []


# Around midnight, and the end of a year and of a month.
instants = st.builds(
    lambda day, minutes: day + timedelta(minutes=minutes),
    st.sampled_from([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 28, tzinfo=UTC)]),
    st.integers(-180, 180),
)
BUCKETS: dict[Bucket, Callable[[datetime], datetime]] = {
    "hour": lambda when: when.replace(minute=0),
    "day": lambda when: when.replace(hour=0, minute=0),
    "week": lambda when: when.replace(hour=0, minute=0) - timedelta(days=when.weekday()),
    "month": lambda when: when.replace(day=1, hour=0, minute=0),
}
counts = st.dictionaries(
    st.tuples(instants, st.sampled_from(["added", "emails_sent", "page_views", "left"])), st.integers(1, 9), max_size=12
)


@given(counts)
def test_every_bucket_has_all_that_happened_in_it(
    shared_engine: Engine, counted: dict[tuple[datetime, str], int]
) -> None:
    first, last = date(2025, 12, 1), date(2026, 3, 31)
    with shared_engine.connect() as conn:  # rolled back after each example
        campaign_id = campaigns.create(conn, "c", now=START)
        outcomes.count_campaign(conn, Counter({(campaign_id, when, what): n for (when, what), n in counted.items()}))
        for bucket, of in BUCKETS.items():
            expected: dict[datetime, Counter[str]] = {}
            for (when, what), n in counted.items():
                if what != "left":
                    expected.setdefault(of(when), Counter())[what] += n
            if bucket == "hour":
                bounds = list(charts.buckets(first, last, "hour"))
                found = overview.series_between(conn, campaign_id, bounds, bounds[-1] + timedelta(hours=1))
            else:
                found = overview.series(conn, campaign_id, bucket, first, last)
            assert {each.at: +Counter(each._asdict() | {"at": 0}) for each in found} == expected, bucket
        total = conn.execute(text("SELECT coalesce(sum(n), 0) FROM campaign_count WHERE what = 'left'")).scalar_one()
        assert total == sum(n for (_, what), n in counted.items() if what == "left")
        days = overview.days(conn, campaign_id)
        shown = [when for when, what in counted if what != "left"]
        hours = [when.replace(minute=0) for when in shown]
        assert days == ((min(shown).date(), max(shown).date(), min(hours)) if shown else None)


@given(counts, st.sampled_from(["Europe/Paris", "Asia/Kolkata", "America/St_Johns", "Pacific/Kiritimati"]))
def test_days_of_a_timezone_have_the_hours_that_begin_in_them(
    shared_engine: Engine, counted: dict[tuple[datetime, str], int], name: str
) -> None:
    zone = ZoneInfo(name)
    expected: dict[date, Counter[str]] = {}
    for (when, what), n in counted.items():
        if what != "left":
            day = when.replace(minute=0).astimezone(zone).date()
            expected.setdefault(day, Counter())[what] += n
    bounds = list(charts.buckets(date(2025, 12, 1), date(2026, 3, 31), "day", zone))
    with shared_engine.connect() as conn:  # rolled back after each example
        campaign_id = campaigns.create(conn, "c", now=START)
        outcomes.count_campaign(conn, Counter({(campaign_id, when, what): n for (when, what), n in counted.items()}))
        found = overview.series_between(conn, campaign_id, bounds, charts.midnight(date(2026, 4, 1), zone))
    assert {each.at.astimezone(zone).date(): +Counter(each._asdict() | {"at": 0}) for each in found} == expected


def test_only_the_days_asked_for_are_counted(world: World) -> None:
    world.campaign(TREE)
    with world.engine.begin() as conn:
        found = world.found(conn)
        places = [(found.id, at(day), "page_views") for day in (1, 2, 3)]
        outcomes.count_campaign(conn, Counter(places))
        day = at(2).date()
        bounds = list(charts.buckets(day, day, "hour"))
        by_hour = overview.series_between(conn, found.id, bounds, bounds[-1] + timedelta(hours=1))
        for shown in (by_hour, overview.series(conn, found.id, "day", day, day)):
            assert [each.page_views for each in shown] == [1]
