"""A timezone that is learnt while a contact waits moves what waits for a time of the contact's day."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from parcours.db.scope import Scope
from parcours.db.tables import merging
from parcours.ops.settings import Settings
from parcours.producers.broker import make_broker
from parcours.producers.tick import Tick
from parcours.workers import local_time
from parcours.workers.actors import Workshop
from parcours.workers.delivery import deliver
from parcours.workers.delivery.channels import delivery_of
from tests.conftest import Run
from tests.workers.worlds import START, UTC_ZONE, World, at, event, statements_counted

TOKYO = "Asia/Tokyo"
NINE = '- {step: a, action: contact.points, with: {points: 1}, after: 1 day, hour: "09:00"}'


def tokyo(day: int, clock: str = "09:00") -> datetime:
    return at(day, clock, zone=TOKYO)


@pytest.fixture
def ann(world: World) -> World:
    """A world with Ann, whose timezone nobody knows, in the segment since 12:00 UTC."""
    world.contacts("ann", segment="everyone")
    return world


def learn(world: World, name: str, when: datetime = START) -> None:
    world.tell(event("contact.changed", "ann", when, timezone=name))


@pytest.mark.parametrize(
    ("timing", "before", "after"),
    [
        ('after: 1 day, hour: "14:00"', at(2, "14:00"), tokyo(3, "14:00")),
        ('after: 1 day, between: ["10:00", "18:00"]', at(2, "12:00"), tokyo(3, "10:00")),
        # No clock: a date, and a plain delay.
        ("at: 2026-06-05T09:00", at(5, "09:00"), at(5, "09:00")),
        ("after: 3 hours", at(1, "15:00"), at(1, "15:00")),
    ],
)
def test_what_waits_for_a_time_of_day_moves_to_the_timezone_that_is_learnt(
    ann: World, timing: str, before: datetime, after: datetime
) -> None:
    ann.campaign(f"- {{step: a, action: contact.points, with: {{points: 1}}, {timing}}}")
    ann.run(at(1, "12:00"))
    assert ann.due("ann", "a") == before
    learn(ann, TOKYO, at(1, "12:30"))
    assert ann.due("ann", "a") == after


def test_an_hour_that_has_passed_there_is_the_next_one_and_not_at_once(ann: World) -> None:
    ann.campaign(NINE)
    ann.run(at(1, "12:00"))
    # By now it is 17:00 of that day in Tokyo.
    learn(ann, TOKYO, at(3, "08:00"))
    assert ann.due("ann", "a") == tokyo(4, "09:00")


def test_the_deadline_of_a_decision_follows_the_hour_of_its_no_branch(ann: World) -> None:
    ann.campaign("""
        - step: d
          decision: page.hit
          no: [{step: a, action: contact.points, with: {points: 1}, after: 1 day, hour: "14:00"}]
    """)
    ann.run(at(1, "12:00"))
    assert ann.due("ann", "d") == at(2, "14:00")
    learn(ann, TOKYO, at(1, "12:30"))
    assert ann.due("ann", "d") == tokyo(3, "14:00")


def test_a_retry_stays_when_it_is(ann: World) -> None:
    ann.campaign(NINE)
    ann.run(at(1, "12:00"))
    ann.write("UPDATE wait SET reason = 'retry'")
    learn(ann, TOKYO, at(1, "12:30"))
    assert ann.due("ann", "a") == at(3, "09:00")


def test_it_does_not_matter_which_way_the_timezone_comes(ann: World) -> None:
    ann.campaign(NINE)
    ann.run(at(1, "12:00"))
    ann.write("UPDATE contact SET timezone = :name", name=TOKYO)
    # Whoever looks next finds the note; a trigger does before it looks for what is due.
    ann.trigger(at(1, "13:00"))
    assert ann.due("ann", "a") == tokyo(3, "09:00")
    assert ann.read("SELECT FROM rezoned") == []


def test_a_step_that_sets_the_timezone_moves_what_waits_beside_it(ann: World) -> None:
    ann.campaign(f"{NINE}\n- {{step: b, action: contact.update, with: {{fields: {{timezone: {TOKYO}}}}}}}")
    ann.run(at(1, "12:00"))
    assert ann.due("ann", "a") == tokyo(3, "09:00")


def test_waits_that_come_with_a_merged_contact_go_by_the_survivors_clock(ann: World) -> None:
    ann.contacts("bob", timezone=TOKYO)
    ann.campaign(NINE)
    ann.run(at(1, "12:00"))
    with ann.engine.begin() as conn:
        gone, into = ann.contact_id("ann"), ann.contact_id("bob")
        merging.lock(conn, ["ann", "bob"])
        merging.merge(conn, {gone: into}, now=at(1, "13:00"))
        local_time.follow(conn, now=at(1, "13:00"), zone=UTC_ZONE, of=[into])
    assert ann.due("bob", "a") == tokyo(3, "09:00")


def test_many_who_move_together_cost_a_few_statements(world: World) -> None:
    world.crowd(300, segment="everyone")
    world.campaign(NINE)
    world.run(at(1, "12:00"))
    world.write("UPDATE contact SET timezone = :name", name=TOKYO)
    with statements_counted(world.engine) as statements:
        local_time.follow_all(world.engine, now=at(1, "13:00"), zone=UTC_ZONE)
    assert len(statements) < 15
    assert {wait.due_at for wait in world.waits()} == {tokyo(3, "09:00")}


def test_a_file_that_brings_timezones_moves_waits(run: Run, tmp_path: Path) -> None:
    people, later, campaign = (tmp_path / name for name in ("people.csv", "later.csv", "c.yaml"))
    people.write_text("key,email\nann,ann@example.com\n")
    later.write_text(f"key,timezone\nann,{TOKYO}\n")
    campaign.write_text(
        "campaign: c\npublished: true\nsources: {segments: [everyone]}\nsteps:\n"
        '  - {step: a, action: contact.points, with: {points: 1}, after: 1 day, hour: "14:00"}\n'
    )
    for line in (
        ("segments", "create", "everyone"),
        ("contacts", "import", people, "--segment", "everyone"),
        ("campaigns", "apply", campaign, "--yes"),
        ("update", "--inline", "--quiet"),
        ("trigger", "--inline", "--quiet"),
        ("contacts", "import", later),
    ):
        assert run(*line).returncode == 0
    (wait,) = json.loads(run("contacts", "show", "ann", "--json").stdout)["campaigns"][0]["waits"]
    assert wait["due_local"].endswith("T14:00:00+09:00")


def test_a_worker_that_tick_asks_moves_what_nobody_else_did(ann: World, redis_url: str) -> None:
    ann.campaign(NINE)
    ann.run(at(1, "12:00"))
    ann.write("UPDATE contact SET timezone = :name", name=TOKYO)
    broker = make_broker(redis_url)
    tick = Tick(ann.engine, broker)
    # The wait, which is due since June, and the note.
    assert tick.run_once() == 2
    tick.close()
    Workshop(ann.engine, broker, Settings()).follow_timezones()
    broker.close()
    assert ann.due("ann", "a") == tokyo(3, "09:00")
    assert ann.read("SELECT FROM rezoned") == []


def test_a_note_of_nobody_goes(ann: World) -> None:
    ann.write("INSERT INTO rezoned (contact_id) VALUES (0)")
    ann.trigger(at(1, "13:00"))
    assert ann.read("SELECT FROM rezoned") == []


SEND = "- {step: send, action: email.send, with: {email: hello}}"


def night(world: World, **more: Any) -> None:
    world.email("hello")
    world.policy("email", quiet_hours={"between": ["22:00", "08:00"]}, **more)


def outbox_due(world: World) -> datetime:
    (row,) = world.read("SELECT due_at FROM message WHERE state = 'queued'")
    assert isinstance(row.due_at, datetime)
    return row.due_at


def test_a_message_that_quiet_hours_keep_in_the_outbox_goes_by_the_timezone_that_is_learnt(
    ann: World, tmp_path: Path
) -> None:
    night(ann, over="queue")
    ann.campaign(SEND)
    ann.run(at(1, "23:00"))
    assert outbox_due(ann) == at(2, "08:05")
    # By now it is the afternoon in New York.
    learn(ann, "America/New_York", at(1, "23:30"))
    assert deliver_files(ann, tmp_path, at(1, "23:30")) == {"sent": 1}


def test_a_message_that_delivery_gave_back_for_the_night_moves_too_and_may_wait_longer(
    ann: World, tmp_path: Path
) -> None:
    ann.email("hello")
    ann.campaign(SEND)
    ann.run(at(1, "12:00"))
    night(ann)
    assert deliver_files(ann, tmp_path, at(1, "23:00")) == {}
    assert outbox_due(ann) == at(2, "08:00")
    ann.write("UPDATE contact SET timezone = 'Asia/Karachi'")
    ann.trigger(at(1, "23:10"))
    assert deliver_files(ann, tmp_path, at(1, "23:10")) == {}
    # 08:00 in Karachi.
    assert outbox_due(ann) == at(2, "03:00")
    assert deliver_files(ann, tmp_path, at(2, "03:00")) == {"sent": 1}


def test_a_message_that_a_cap_keeps_in_the_outbox_stays_when_it_is(ann: World) -> None:
    night(ann, cap={"number": 1, "period": "day"}, over="queue")
    ann.email("other")
    ann.campaign(f"{SEND}\n- {{step: again, action: email.send, with: {{email: other}}}}")
    ann.run(at(1, "12:00"))
    (held,) = ann.read("SELECT due_at, held FROM message WHERE due_at > :now", now=at(1, "12:00"))
    assert (held.due_at, held.held) == (at(2, "12:05"), "cap")
    learn(ann, TOKYO, at(1, "13:00"))
    assert len(ann.read("SELECT FROM message WHERE due_at = :due", due=held.due_at)) == 1
    assert ann.read("SELECT FROM rezoned") == []


def deliver_files(world: World, home: Path, now: datetime) -> Counter[str]:
    delivery = delivery_of(world.engine, Settings(home=home))
    try:
        return deliver.deliver_inline(world.engine, delivery, Scope(), now=now, zone=world.zone)
    finally:
        delivery.close()
