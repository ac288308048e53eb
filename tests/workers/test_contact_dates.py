"""Steps that go by a date of the contact, and campaigns that contacts enter when one comes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from parcours.db.tables import contacts, merging
from parcours.db.tables import dates as dates_table
from parcours.domain.time import dates as dates_rule
from parcours.ops.settings import Settings
from parcours.producers.broker import make_broker
from parcours.producers.tick import Tick
from parcours.workers import dates, local_time, membership
from parcours.workers.actors import Workshop
from tests.workers.worlds import START, UTC_ZONE, World, at, event, statements_counted

TOKYO = "Asia/Tokyo"
REMIND = """
    - step: remind
      action: contact.points
      with: {points: 1}
      at: {field: webinar_at, before: 1 day}
"""
COUNT = "- {step: count, action: contact.points, with: {points: 1}}"
BIRTHDAY = {"field": "birthday", "every": "year", "before": "7 days", "hour": "09:00"}


@pytest.fixture
def ann(world: World) -> World:
    """A world with Ann, in the segment, who has a webinar on the tenth day at 18:00."""
    world.contacts("ann", segment="everyone", webinar_at="2026-06-10T18:00")
    return world


def say(world: World, value: Any, when: datetime = START, *, field: str = "webinar_at", key: str = "ann") -> None:
    world.tell(event("contact.changed", key, when, fields={field: value}))


# Steps.


def test_a_step_is_done_a_day_before_the_date_of_the_contact(ann: World) -> None:
    ann.campaign(REMIND)
    ann.run()
    assert ann.due("ann", "remind") == at(9, "18:00")
    ann.trigger(at(9, "17:59"))
    assert ann.log() == []
    ann.trigger(at(9, "18:00"))
    assert ann.log() == ["remind done"]


def test_it_goes_by_the_contacts_own_time(world: World) -> None:
    world.contacts("ann", segment="everyone", timezone=TOKYO, day="2026-06-10")
    world.campaign(
        '- {step: a, action: contact.points, with: {points: 1}, at: {field: day, before: 1 day, hour: "08:30"}}'
    )
    world.run()
    assert world.due("ann", "a") == at(9, "08:30", zone=TOKYO)


def by_event(world: World, value: Any, now: datetime) -> None:
    say(world, value, now)


def by_hand(world: World, value: Any, now: datetime) -> None:
    world.write("UPDATE contact SET fields = jsonb_set(fields, '{webinar_at}', to_jsonb(CAST(:v AS text)))", v=value)
    world.trigger(now)


def by_import(world: World, value: Any, now: datetime) -> None:
    row = contacts.Incoming(1, False, "ann", None, None, None, None, None, f'{{"webinar_at": "{value}"}}', None)
    with world.engine.begin() as conn:
        contacts.stage(conn, [row])
        contacts.merge(conn, now=now)
    local_time.follow_all(world.engine, now=now, zone=UTC_ZONE)


@pytest.mark.parametrize("change", [by_event, by_hand, by_import])
def test_when_the_date_changes_the_wait_moves_with_it(ann: World, change: Callable[..., None]) -> None:
    ann.campaign(REMIND)
    ann.run()
    change(ann, "2026-06-20T18:00", at(2))
    assert ann.due("ann", "remind") == at(19, "18:00")
    change(ann, "2026-06-05T18:00", at(3))
    assert ann.due("ann", "remind") == at(4, "18:00")
    ann.trigger(at(4, "18:00"))
    ann.trigger(at(30))
    assert ann.log() == ["remind done"]
    assert ann.read("SELECT FROM redated") == []


def test_a_step_that_sets_the_date_moves_what_waits_beside_it(ann: World) -> None:
    update = "- {step: set, action: contact.update, with: {fields: {webinar_at: 2026-06-20T18:00}}, after: 1 day}"
    ann.campaign(f"{REMIND}\n    {update}")
    ann.run()
    ann.trigger(at(2))
    assert ann.due("ann", "remind") == at(19, "18:00")


def test_a_wait_that_comes_with_a_merged_contact_goes_by_the_survivors_date(ann: World) -> None:
    ann.contacts("bob", webinar_at="2026-06-15T12:00")
    ann.campaign(REMIND)
    ann.run()
    with ann.engine.begin() as conn:
        merging.lock(conn, ["ann", "bob"])
        merging.merge(conn, {ann.contact_id("ann"): ann.contact_id("bob")}, now=at(2))
    ann.trigger(at(2))
    assert ann.due("bob", "remind") == at(14, "12:00")


def test_a_timezone_that_is_learnt_moves_it_too(ann: World) -> None:
    ann.campaign(REMIND)
    ann.run()
    ann.tell(event("contact.changed", "ann", at(2), timezone=TOKYO))
    assert ann.due("ann", "remind") == at(9, "18:00", zone=TOKYO)


def test_what_was_due_before_the_contact_came_is_skipped_and_says_so(ann: World) -> None:
    ann.campaign(f"{REMIND}      then: [{{step: next, action: contact.points, with: {{points: 10}}}}]")
    ann.run(at(9, "18:16"))
    assert ann.log() == ["remind skipped", "next done"]
    skipped = ann.passed()[0].detail
    assert skipped == {
        "reason": "it was already in the past, according to the contact's date",
        "was_due_at": "2026-06-09T18:00:00+00:00",
    }


def test_what_is_late_runs_where_the_step_says_so(ann: World) -> None:
    ann.campaign(REMIND.rstrip() + "\n      late: run")
    ann.run(at(20))
    assert ann.log() == ["remind done"]


def test_a_moment_too_late_is_in_time(ann: World) -> None:
    ann.campaign(REMIND)
    ann.run(at(9, "18:14"))
    assert ann.log() == ["remind done"]


def test_who_came_in_time_is_not_late_because_workers_were(ann: World) -> None:
    ann.campaign(REMIND)
    ann.run()
    ann.trigger(at(12))
    assert ann.log() == ["remind done"]


@pytest.mark.parametrize(("late", "result"), [("skip", "skipped"), ("run", "done")])
def test_a_date_that_moves_into_the_past_skips_or_runs_the_step_now(ann: World, late: str, result: str) -> None:
    ann.campaign(REMIND.rstrip() + f"\n      late: {late}")
    ann.run()
    say(ann, "2026-06-03T18:00", at(4))
    ann.trigger(at(4))
    assert ann.log() == [f"remind {result}"]


def test_without_a_date_the_contact_waits_until_there_is_one(ann: World) -> None:
    ann.contacts("bob", segment="everyone")
    ann.campaign(REMIND)
    ann.run()
    say(ann, None, at(2))
    assert (ann.due("ann", "remind"), ann.due("bob", "remind")) == (None, None)
    ann.trigger(at(300))
    assert ann.log() == []
    say(ann, "2027-06-10T18:00", at(301))
    assert ann.due("ann", "remind") == at(374, "18:00")


@pytest.mark.parametrize(
    "value", ["2026-13-45", "soon", "", 20260610, True, ["2026-06-10"], {"day": 1}, "9999-12-31T23:59", "0001-01-01"]
)
def test_a_bad_date_stops_nobody(ann: World, value: Any) -> None:
    ann.contacts("bob", segment="everyone", webinar_at=value)
    ann.campaign(REMIND.rstrip() + "\n      late: run", dates=[{"field": "webinar_at", "every": "year"}])
    ann.run()
    ann.trigger(at(9, "18:00"))
    assert "ann: remind done" in ann.log() or "remind done" in ann.log("ann")
    say(ann, "2026-06-20T18:00", at(10), key="bob")
    ann.trigger(at(19, "18:00"))
    assert ann.log("bob") == ["remind done"]


def test_a_wait_that_is_due_by_an_old_date_looks_at_the_present_one(ann: World) -> None:
    ann.campaign(REMIND)
    ann.run()
    # Somebody had the contact in hand, and the note is not followed yet.
    ann.write('UPDATE contact SET fields = \'{"webinar_at": "2026-06-20T18:00"}\'')
    ann.write("DELETE FROM redated")
    ann.trigger(at(9, "18:00"))
    assert ann.log() == []
    assert ann.due("ann", "remind") == at(19, "18:00")


def test_a_retry_and_a_message_that_is_held_back_stay_when_they_are(ann: World) -> None:
    ann.campaign(REMIND)
    ann.run()
    ann.write("UPDATE wait SET reason = 'retry'")
    say(ann, "2026-06-20T18:00", at(2))
    assert ann.due("ann", "remind") == at(9, "18:00")


def test_a_pause_does_not_move_the_dates_of_contacts(ann: World) -> None:
    ann.campaign(REMIND, catch_up="shift")
    ann.run()
    ann.pause(at(2))
    ann.publish(now=at(5))
    assert ann.due("ann", "remind") == at(9, "18:00")


def test_a_new_date_of_the_step_moves_who_waits_there(ann: World) -> None:
    ann.campaign(REMIND)
    ann.run()
    plan = ann.campaign(REMIND.replace("1 day", "3 days"), when=at(2))
    assert plan.by_date == ["remind"]
    assert "  1 contact waits at remind, whose date changes; it is rescheduled" in plan.lines()
    ann.trigger(at(2))
    assert ann.due("ann", "remind") == at(7, "18:00")


def test_who_has_no_date_goes_on_when_the_step_goes_by_one_no_more(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(REMIND)
    world.run()
    world.campaign("- {step: remind, action: contact.points, with: {points: 1}, after: 1 day}", when=at(2))
    world.trigger(at(3))
    assert world.log() == ["remind done"]


def test_many_whose_dates_change_cost_a_few_statements(world: World) -> None:
    world.crowd(300, segment="everyone", webinar_at="2026-06-10T18:00")
    world.campaign(REMIND, dates=[{"field": "webinar_at", "before": "2 days"}])
    world.run()
    world.write('UPDATE contact SET fields = \'{"webinar_at": "2026-06-20T18:00"}\'')
    with statements_counted(world.engine) as statements:
        local_time.follow_all(world.engine, now=at(2), zone=UTC_ZONE)
    assert len(statements) < 20
    assert {wait.due_at for wait in world.waits()} == {at(19, "18:00")}


def test_a_field_that_no_step_goes_by_leaves_no_note(ann: World) -> None:
    ann.campaign(REMIND)
    ann.run()
    ann.write('UPDATE contact SET fields = fields || \'{"colour": "red"}\'')
    ann.write("UPDATE contact SET points = 3")
    ann.contacts("bob", webinar_at="2026-06-10T18:00")
    assert ann.read("SELECT FROM redated") == []


# Sources.


def enters(world: World, until: datetime, *, since: datetime = START, every: timedelta = timedelta(hours=1)) -> None:
    """Let time pass, as a crontab would."""
    now = since
    while now <= until:
        world.run(now)
        now += every


def joined(world: World) -> list[tuple[str, datetime]]:
    return [(row.contact, row.at) for row in world.passed()]


def test_a_contact_enters_each_year_a_week_before_its_birthday_at_nine(world: World) -> None:
    world.contacts("ann", timezone=TOKYO, birthday="1990-06-12")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.run(at(1))
    assert world.members() == {}
    world.run(at(5, "08:59", zone=TOKYO))
    assert world.members() == {}
    assert world.update(at(5, "09:00", zone=TOKYO)) == {"added": 1}
    assert world.update(at(5, "09:30", zone=TOKYO)) == {}
    assert world.update(at(365 + 5, "08:59", zone=TOKYO)) == {}
    assert world.update(at(365 + 5, "09:00", zone=TOKYO)) == {"restarted": 1}
    assert world.members() == {"ann": "in 2"}


def test_tick_alone_lets_in_as_a_crontab_does(world: World, redis_url: str) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    world.contacts("ann", birthday=f"1990-{yesterday:%m-%d}" if f"{yesterday:%m-%d}" != "02-29" else "1990-02-28")
    world.campaign(COUNT, segments=(), dates=[{"field": "birthday", "every": "year"}], when=yesterday - timedelta(2))
    broker = make_broker(redis_url)
    tick = Tick(world.engine, broker)
    workshop = Workshop(world.engine, broker, Settings())
    # The range of contacts that is yet to be written and the update of the new campaign, and then Ann.
    assert tick.run_once() == 2
    workshop.enter_by_date()
    assert tick.run_once() == 1
    tick.close()
    broker.close()
    assert world.members() == {"ann": "in 1"}
    assert world.update(datetime.now(UTC)) == {}


def test_who_is_added_or_changed_later_enters_too(world: World) -> None:
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.update()
    world.contacts("ann", birthday="1990-06-12")
    say(world, "1990-06-13", at(2), field="birthday", key="bob")
    world.update(at(2))
    assert world.update(at(5)) == {"added": 1}
    assert world.update(at(6)) == {"added": 1}


def test_who_was_due_before_the_campaign_came_does_not_enter(world: World) -> None:
    world.contacts("ann", birthday="1990-06-07")
    world.contacts("bob", birthday="1990-06-09")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY], published=False)
    assert world.update(at(3)) == {}
    world.publish(now=at(2, "10:00"))
    assert world.update(at(3)) == {}
    assert world.update(at(365 + 2)) == {"added": 2}


@pytest.mark.parametrize(("catch_up", "added"), [("run", 2), ({"skip": "1 day"}, 1)])
def test_whose_date_came_in_a_pause_enters_as_the_campaign_catches_up(world: World, catch_up: Any, added: int) -> None:
    world.contacts("ann", birthday="1990-06-10")
    world.contacts("bob", birthday="1990-06-13")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY], catch_up=catch_up)
    world.update()
    world.pause(at(2))
    assert world.update(at(6)) == {}
    world.publish(now=at(6, "12:00"))
    assert world.update(at(6, "12:00")) == {"added": added}


def test_a_date_that_comes_once_is_entered_by_once_and_again_when_it_moves(world: World) -> None:
    world.contacts("ann", renewal="2026-07-05")
    world.campaign(COUNT, segments=(), dates=[{"field": "renewal", "before": "30 days"}], reentry="always")
    world.update()
    assert world.update(at(5)) == {"added": 1}
    assert world.update(at(6)) == {}
    say(world, "2027-07-05", at(7), field="renewal")
    assert world.update(at(8)) == {}
    assert world.update(at(365 + 5)) == {"restarted": 1}


def test_by_default_a_date_that_moves_lets_nobody_in_again(world: World) -> None:
    world.contacts("ann", renewal="2026-07-05")
    plan = world.campaign(COUNT, segments=(), dates=[{"field": "renewal", "before": "30 days"}])
    assert any("'reentry: always'" in each for each in plan.warnings)
    world.update()
    assert world.update(at(5)) == {"added": 1}
    say(world, "2027-07-05", at(7), field="renewal")
    assert world.update(at(365 + 5)) == {}


def test_who_is_due_and_was_not_let_in_yet_is_not_lost_when_something_changes(world: World) -> None:
    world.contacts("ann", birthday="1990-06-12")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.update()
    say(world, "1991-06-12", at(5, "12:00"), field="birthday")
    assert world.update(at(5, "12:00")) == {"added": 1}


def test_who_was_removed_by_hand_stays_out(world: World) -> None:
    world.contacts("ann", birthday="1990-06-12")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.update()
    world.update(at(5))
    world.remove("ann", at(6))
    assert world.update(at(365 + 5)) == {}


def test_a_date_that_moves_after_it_let_in_lets_nobody_in_twice_that_year(world: World) -> None:
    world.contacts("ann", birthday="1990-06-12")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.update()
    assert world.update(at(5)) == {"added": 1}
    say(world, "1990-06-20", at(6), field="birthday")
    assert world.update(at(14)) == {}
    world.tell(event("contact.changed", "ann", at(15), timezone="America/New_York"))
    world.campaign(COUNT, segments=(), dates=[{**BIRTHDAY, "hour": "10:00"}], when=at(16))
    assert world.update(at(300)) == {}
    assert world.update(at(365 + 14)) == {"restarted": 1}


def test_nobody_is_let_in_twice_when_two_who_entered_are_merged(world: World) -> None:
    world.contacts("ann", birthday="1990-06-12")
    world.contacts("bob", birthday="1990-06-20")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.update()
    assert world.update(at(5)) == {"added": 1}
    with world.engine.begin() as conn:
        merging.lock(conn, ["ann", "bob"])
        merging.merge(conn, {world.contact_id("ann"): world.contact_id("bob")}, now=at(5, "10:00"))
    assert world.update(at(14)) == {}
    assert world.update(at(365 + 14)) == {"restarted": 1}


def test_nothing_is_left_of_who_is_erased(world: World) -> None:
    world.contacts("ann", birthday="1990-06-12")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.update()
    world.tell(event("contact.deleted", "ann", at(2)))
    assert world.read("SELECT FROM date_entry UNION ALL SELECT FROM redated") == []


def test_an_entry_of_nobody_goes(world: World) -> None:
    world.contacts("ann", birthday="1990-06-12")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.update()
    world.write("DELETE FROM contact")
    dates.let_in_all(world.engine, now=at(5), zone=UTC_ZONE)
    assert world.read("SELECT FROM date_entry") == []


def test_a_source_that_is_taken_out_and_comes_back_lets_nobody_in_twice(world: World) -> None:
    world.contacts("ann", birthday="1990-06-12")
    world.contacts("bob", birthday="1990-06-20")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.update()
    assert world.update(at(5)) == {"added": 1}
    plan = world.campaign(COUNT, when=at(6))
    assert list(map(str, plan.dates_removed)) == ["1 week before birthday, every year, at 09:00"]
    assert world.update(at(20)) == {}
    plan = world.campaign(COUNT, segments=(), dates=[BIRTHDAY], when=at(21))
    assert {str(date): n for date, n in plan.dates.items()} == {"1 week before birthday, every year, at 09:00": 2}
    assert world.update(at(22)) == {}
    assert world.update(at(365 + 5)) == {"restarted": 1}


def test_an_update_of_some_contacts_lets_in_no_others(world: World) -> None:
    world.contacts("ann", birthday="1990-06-12")
    world.contacts("bob", birthday="1990-06-12")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.update()
    assert world.update(at(5), contacts=["bob"]) == {"added": 1}
    assert world.members() == {"bob": "in 1"}
    assert world.update(at(5), campaign_limit=1) == {"added": 1}


def test_one_who_cannot_be_let_in_stops_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.contacts("ann", birthday="1990-06-12")
    world.contacts("bob", birthday="1990-06-12")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.update()
    arrive, bad = membership.arrive, world.contact_id("ann")

    def refuse(conn: Any, campaign: Any, ids: Any, *rest: Any, **more: Any) -> Any:
        if bad in ids:
            raise ValueError("half an emoji")
        return arrive(conn, campaign, ids, *rest, **more)

    monkeypatch.setattr(dates, "arrive", refuse)
    assert world.update(at(5)) == {"added": 1}
    assert world.members() == {"bob": "in 1"}
    assert world.update(at(5, "10:00")) == {}


def test_two_workers_at_once_let_nobody_in_twice(world: World) -> None:
    world.crowd(3, birthday="1990-06-12")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    world.update()
    with world.engine.connect() as conn:
        campaign_id = world.found(conn).id
    with world.engine.begin() as one, world.engine.begin() as other:
        first = dates.let_in(one, campaign_id, now=at(5), zone=UTC_ZONE, limit=2)
        second = dates.let_in(other, campaign_id, now=at(5), zone=UTC_ZONE)
    assert (first["added"], second["added"]) == (2, 1)
    assert world.update(at(5)) == {}


def test_whoever_was_being_written_when_the_campaign_came_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dates, "PATIENCE_SECONDS", 0.0)
    world.contacts("first")
    with world.engine.begin() as conn:
        # Written by somebody who cannot know of the source yet.
        conn.execute(text("INSERT INTO contact (key, fields) VALUES ('ann', '{\"birthday\": \"1990-06-12\"}')"))
        world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
        dates.build_all(world.engine, zone=UTC_ZONE)
    assert world.update(at(5)) == {"added": 1}


def test_what_is_left_to_write_of_a_large_campaign_is_done_range_by_range(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dates_table, "BUILD_WIDTH", 1)
    keys = world.crowd(5, birthday="1990-06-12")
    world.campaign(COUNT, segments=(), dates=[BIRTHDAY])
    left = world.read("SELECT FROM date_build")
    assert len(left) >= 5
    with world.engine.begin() as one, world.engine.begin() as other:
        assert dates.build(one, zone=UTC_ZONE)
        assert dates.build(other, zone=UTC_ZONE)
    assert len(world.read("SELECT FROM date_build")) == len(left) - 2
    assert world.update(at(5)) == {"added": len(keys)}


def test_a_tick_with_nothing_due_costs_the_same_however_many_wait(world: World, redis_url: str) -> None:
    world.crowd(300, birthday="1990-06-12", segment="everyone", webinar_at="2099-01-01")
    world.campaign(REMIND, dates=[BIRTHDAY])
    world.run()
    world.write("UPDATE date_entry SET due_at = 'infinity'")
    world.write("UPDATE wait SET due_at = 'infinity'")
    tick = Tick(world.engine, make_broker(redis_url))
    tick.run_once()
    with statements_counted(world.engine) as many:
        assert tick.run_once() == 0
    tick.close()
    assert len(many) < 16


# What is always true.

MOVES = st.lists(
    st.tuples(
        st.sampled_from(["date", "timezone", "time", "tick", "apply"]),
        st.integers(-10, 40),
        st.sampled_from([None, "UTC", TOKYO, "America/Los_Angeles"]),
    ),
    max_size=12,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MOVES, st.sampled_from([None, "year", "month", "week"]))
def test_moving_a_date_neither_loses_nor_doubles_a_wait_or_an_entry(
    world: World, moves: list[tuple[str, int, str | None]], every: str | None
) -> None:
    """Against a clerk who looks at every contact's date every six hours, and remembers the turns."""
    world.clear()
    rule = {"field": "d", "before": "2 days", "hour": "12:30"} | ({"every": every} if every else {})
    world.contacts("ann", segment="everyone", d="2026-06-08")
    world.campaign(COUNT, key="c", segments=(), dates=[rule], reentry="always")
    world.campaign(
        "- {step: s, action: contact.points, with: {points: 100}, at: {field: d, before: 2 days}}", key="waits"
    )
    world.run()
    by = dates_rule.ContactDate.of_data(
        {"field": "d", "offset": "2 days", "before": True, "hour": "12:30", "every": every}
    )
    now, value, zone, last, entries = START, "2026-06-08", UTC_ZONE, None, 0

    def pass_time(until: datetime, *, tick: bool) -> None:
        nonlocal now, last, entries
        while now < until:
            now = min(now + timedelta(hours=6), until)
            coming = dates_rule.coming(by, value, zone, since=now - timedelta(hours=6, seconds=-1), last=last)
            if coming is not None and coming.due_at <= now:
                last, entries = coming.turn, entries + 1
            if tick:
                local_time.follow_all(world.engine, now=now, zone=UTC_ZONE)
                dates.build_all(world.engine, zone=UTC_ZONE)
                dates.let_in_all(world.engine, now=now, zone=UTC_ZONE)
            else:
                world.update(now)
            world.trigger(now)

    for what, n, name in moves:
        if what == "date":
            value = f"{START + timedelta(days=n):%Y-%m-%d}"
            say(world, value, now, field="d")
        elif what == "timezone":
            zone = UTC_ZONE if name is None else type(UTC_ZONE)(name)
            world.tell(event("contact.changed", "ann", now, timezone=name))
        elif what == "apply":
            world.campaign(COUNT, key="c", segments=(), dates=[rule], reentry="always", name=str(now), when=now)
        else:
            pass_time(now + timedelta(days=abs(n) / 4), tick=what == "tick")
    world.trigger(now)
    assert sum(world.points("ann")) % 100 == entries
    done = Counter(world.log(campaign="waits"))
    standing = world.standing("ann", campaign="waits")
    assert done.total() + len(standing) == 1
    if standing:
        step = dates_rule.ContactDate("d", by.offset, before=True)
        due = dates_rule.due_at(step, value, zone)
        assert world.due("ann", "s", campaign="waits") == due
        assert due is not None
        assert due > now
    world.check()
