"""Since when contacts wait at steps, and what for."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from parcours.db.reads import overview, standing
from parcours.db.reads.standing import StepStanding
from parcours.db.tables import campaigns
from parcours.domain.steps.types import Failed
from tests.workers.worlds import START, Moody, World, at, statements_counted

TREE = """
- step: later
  action: contact.points
  with: {points: 1}
  after: 2 days
- step: visited
  decision: page.hit
  with: {url: "*"}
"""


def standings(world: World, now: datetime = START) -> dict[str, StepStanding]:
    with world.engine.connect() as conn:
        found = world.found(conn)
        campaign = campaigns.load(conn, found.id, found.version, world.zone)
        figures = overview.figures(conn, campaign)
        waiting = {campaign.by_key[step.step].id: step.waiting for step in figures.steps}
        return {each.step: each for each in standing.of(conn, campaign, waiting, now=now)}


def test_a_delay_is_planned_and_a_decision_waits_for_an_answer_since_the_contact_came(world: World) -> None:
    world.crowd(3, segment="everyone")
    world.campaign(TREE)
    world.run()
    world.contacts("late", segment="everyone", when=at(2))
    world.run(at(2))
    found = standings(world, at(2))
    assert found["later"] == StepStanding("later", 4, START, START, planned=4)
    assert found["visited"] == StepStanding("visited", 4, START, START, answer=4)
    assert found["later"].stuck == 0


def test_what_is_due_for_a_quarter_of_an_hour_is_late(world: World) -> None:
    world.crowd(3, segment="everyone")
    world.campaign(TREE)
    world.run()
    assert standings(world, at(3, "09:14"))["later"].late == 0
    found = standings(world, at(3, "09:15"))["later"]
    assert (found.late, found.late_since, found.planned, found.stuck) == (3, at(3), 0, 3)


def test_a_step_that_failed_and_is_tried_again_is_told_apart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    moody = Moody()
    moody.install(monkeypatch)
    moody.moods = {"c1": Failed("the gateway is down")}
    world.crowd(2, segment="everyone")
    world.campaign("- {step: calm, action: test.moody}")
    world.run()
    found = standings(world)
    assert (found["calm"].waiting, found["calm"].retrying, found["calm"].stuck) == (1, 1, 1)


def test_a_frequency_cap_holds_back_and_quiet_hours_are_planned(world: World) -> None:
    world.email("hello")
    world.email("again")
    world.crowd(2, segment="everyone")
    world.policy("email", cap={"number": 1, "period": "week"}, over="next_slot")
    world.campaign("""
        - step: hello
          action: email.send
          with: {email: hello}
          then: [{step: again, action: email.send, with: {email: again}}]
    """)
    world.run()
    assert standings(world, START + timedelta(minutes=20))["again"].held == 2
    world.write("UPDATE wait SET held = jsonb_set(held, '{policy,rule}', '\"quiet_hours\"')")
    found = standings(world, START + timedelta(minutes=20))["again"]
    assert (found.held, found.planned) == (0, 2)


def test_messages_that_should_have_left_are_those_of_their_step_with_what_most_met(world: World) -> None:
    world.email("hello")
    world.crowd(3, segment="everyone")
    world.campaign("- {step: hello, action: email.send, with: {email: hello}}")
    world.run()
    assert standings(world) == {}
    late = START + timedelta(minutes=20)
    found = standings(world, late)["hello"]
    assert (found.waiting, found.unsent, found.unsent_since, found.unsent_error) == (0, 3, START, None)
    # As a provider that is away leaves them: due again later.
    world.write("UPDATE message SET error = '421 try later', due_at = due_at + interval '2 hours'")
    assert standings(world, late)["hello"].unsent_error == "421 try later"
    # What a policy has put off is planned.
    world.write("UPDATE message SET error = NULL")
    assert standings(world, late) == {}


def test_messages_of_a_campaign_with_a_rate_wait_for_their_turn(world: World) -> None:
    world.email("hello")
    world.crowd(3, segment="everyone")
    world.campaign("- {step: hello, action: email.send, with: {email: hello}}", rate="1 per hour")
    world.run()
    assert standings(world, START + timedelta(minutes=20)) == {}


def test_where_many_wait_a_sample_says_about_since_when(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.crowd(400, segment="everyone")
    world.campaign(TREE)
    world.run()
    monkeypatch.setattr(standing, "WAITS_READ", 100)
    found = standings(world, at(2))
    assert found["later"] == StepStanding("later", 400, START, START, planned=400, about=True)
    assert found["visited"] == StepStanding("visited", 400, START, START, answer=400, about=True)
    # The front of both is late by then, and those behind are counted.
    assert standings(world, at(4))["later"].late == 400
    monkeypatch.setattr(standing, "WAITS_COUNTED", 120)
    assert standings(world, at(4))["later"].late == 60


def test_the_cost_does_not_follow_the_steps_or_who_waits(world: World) -> None:
    world.crowd(40, segment="everyone")
    world.campaign(TREE)
    world.run()
    with world.engine.connect() as conn:
        found = world.found(conn)
        campaign = campaigns.load(conn, found.id, found.version, world.zone)
        with statements_counted(world.engine) as counted:
            standing.of(conn, campaign, dict.fromkeys(campaign.steps, 40), now=START)
    assert len(counted) == 3
