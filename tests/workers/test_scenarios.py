"""Whole stories, as the people who know such engines tell them."""

from __future__ import annotations

from typing import Any

import pytest

from parcours.db.reads import overview
from parcours.db.tables import campaigns
from parcours.domain.campaign import StopRule
from parcours.domain.steps.types import Failed
from tests.workers.worlds import Moody, World, at

BASIC = """
    - {step: tag, action: contact.tags, with: {add: [member]}}
    - step: send
      action: email.send
      with: {email: hello}
      after: 15 minutes
      then:
        - step: opened
          decision: email.open
          yes: [{step: thanks, action: contact.points, with: {points: 5}}]
          no:
            - step: rich
              condition: contact.points
              with: {operator: gt, points: 100}
              after: 15 minutes
              yes: [{step: rich-yes, action: contact.tags, with: {add: [rich]}}]
              no: [{step: rich-no, action: contact.tags, with: {add: [poor]}}]
            - step: tagged
              condition: contact.tags
              with: {tags: [member]}
              after: 15 minutes
              yes: [{step: tagged-yes, action: contact.tags, with: {add: [seen]}}]
            - {step: in-a-day, action: contact.points, with: {points: -1}, after: 1 day}
            - {step: in-a-week, action: contact.points, with: {points: -1}, after: 1 week}
    - step: country
      condition: contact.field
      with: {field: country, operator: "=", value: US}
      yes:
        - step: us
          action: contact.points
          with: {points: 1}
          then: [{step: us-2, action: contact.points, with: {points: 1}}]
      no: [{step: abroad, action: contact.tags, with: {add: [abroad]}}]
"""


@pytest.fixture
def fifty(world: World) -> World:
    """Fifty members, eight of them in the US, on their way through the basic campaign."""
    world.crowd(8, segment="everyone", prefix="us", country="US")
    world.crowd(42, segment="everyone", prefix="fr", country="FR")
    world.email("hello")
    world.campaign(BASIC)
    world.update()
    return world


def test_the_basic_campaign_from_its_first_run_to_its_last(fifty: World) -> None:
    fifty.trigger(batch=10)
    first = {
        "tag done": 50,
        "country yes": 8,
        "country no": 42,
        "us done": 8,
        "us-2 done": 8,
        "abroad done": 42,
    }
    assert fifty.tally() == first
    assert [wait.step for wait in fifty.waits()] == ["send"] * 50
    assert fifty.outbox() == []

    fifty.trigger(at(1, "09:15"), batch=10)
    assert fifty.tally() == {**first, "send done": 50}
    assert len(fifty.outbox()) == 50

    openers = [f"us{n}" for n in range(1, 9)] + [f"fr{n}" for n in range(1, 18)]
    for key in openers:
        fifty.happens(key, "email.opened", at(1, "09:20"), email="hello")
    assert fifty.tally() == {**first, "send done": 50, "opened yes": 25, "thanks done": 25}

    fifty.trigger(at(1, "09:30"), batch=10)
    closed = {
        **first,
        "send done": 50,
        "opened yes": 25,
        "thanks done": 25,
        "opened no": 25,
        "rich no": 25,
        "rich-no done": 25,
        "tagged yes": 25,
        "tagged-yes done": 25,
    }
    assert fifty.tally() == closed
    waits = {(wait.step, wait.due_at) for wait in fifty.waits()}
    assert waits == {("in-a-day", at(2, "09:15")), ("in-a-week", at(8, "09:15"))}

    fifty.trigger(at(30), batch=10)
    assert fifty.tally() == {**closed, "in-a-day done": 25, "in-a-week done": 25}
    assert fifty.waits() == []


@pytest.mark.parametrize("chosen", [["us1"], ["us1", "us2", "us3"]])
def test_only_the_chosen_contacts_move_through_the_basic_campaign(fifty: World, chosen: list[str]) -> None:
    for now in (at(1), at(1, "09:15"), at(1, "09:30")):
        fifty.trigger(now, contacts=chosen)
    assert {row.contact for row in fifty.passed()} == set(chosen)
    each = ["tag done", "country yes", "us done", "us-2 done", "send done", "opened no", "tagged yes"]
    tally = fifty.tally()
    assert {name: tally[name] for name in each} == dict.fromkeys(each, len(chosen))


def test_an_excluded_campaign_does_not_move(fifty: World) -> None:
    assert fifty.trigger(excluded=["c"]) == {}
    assert fifty.passed() == []


def test_a_month_of_a_campaign_runs_the_same_by_the_day_and_by_the_hour(world: World) -> None:
    # Cron may come often or seldom; what is due by the day is done on the day.
    world.email("hello")
    steps = BASIC.replace("15 minutes", "1 day")
    for name, hours in (("daily", 24), ("often", 6)):
        world.crowd(6, segment=name, prefix=name, country="US")
        world.campaign(steps, key=name, segments=[name])
        for hour in range(0, 24 * 15, hours):
            world.run(at(1 + hour // 24, f"{hour % 24:02}:00"))
    assert world.tally(campaign="daily") == world.tally(campaign="often")
    assert [f"{row.step} {row.at:%d}" for row in world.passed(campaign="daily")] != []


SLOW = "- {step: slow, action: contact.points, with: {points: 1}, after: 1 day}"


def test_of_three_who_wait_only_those_who_were_named_and_are_due_move(world: World) -> None:
    keys = world.crowd(3, segment="everyone")
    world.campaign(SLOW)
    world.update()
    assert world.trigger(at(1, "12:00"), contacts=keys) == {}
    assert world.trigger(at(2), contacts=["c1", "c3"]) == {"done": 2}
    assert [wait.contact for wait in world.waits()] == ["c2"]


@pytest.mark.parametrize("settings", [{"published": False}, {"publish_until": "2026-06-02T09:00:00Z"}])
def test_what_is_due_in_a_campaign_that_does_not_run_stays_just_as_it_is(
    world: World, settings: dict[str, Any]
) -> None:
    keys = world.crowd(1, segment="everyone")
    world.campaign(SLOW)
    world.update()
    before = world.read("SELECT * FROM wait")
    world.campaign(SLOW, when=at(1, "12:00"), **settings)
    assert world.trigger(at(4), contacts=keys) == {}
    assert (world.read("SELECT * FROM wait"), world.passed()) == (before, [])


def test_a_step_with_an_hour_in_five_minutes_waits_for_it(world: World) -> None:
    world.crowd(1, segment="everyone")
    world.campaign(
        """
        - step: now
          action: contact.points
          with: {points: 1}
          then: [{step: later, action: contact.points, with: {points: 1}, hour: "09:05"}]
        """
    )
    world.update()
    assert world.trigger() == {"done": 1, "scheduled": 1}
    assert world.due("c1", "later") == at(1, "09:05")
    assert world.trigger(at(1, "09:04")) == {}
    assert world.trigger(at(1, "09:05")) == {"done": 1}


def test_the_no_path_may_be_asked_for_alone_and_for_some_contacts(fifty: World) -> None:
    fifty.trigger()
    fifty.trigger(at(1, "09:15"))
    fifty.remove("us1", at(1, "09:16"))
    fifty.trigger(at(1, "09:30"), contacts=["us1", "us2", "us3"], reasons=("decision",))
    tally = fifty.tally()
    assert {step: tally[step] for step in ("opened no", "rich no", "tagged yes", "opened cancelled")} == {
        "opened no": 2,
        "rich no": 2,
        "tagged yes": 2,
        "opened cancelled": 1,
    }
    assert "opened yes" not in tally


@pytest.mark.parametrize(("failed", "stops"), [(5, False), (9, False), (10, True)])
def test_an_installation_may_stop_at_the_tenth_of_a_hundred_failures(
    world: World, moody: Moody, failed: int, stops: bool
) -> None:
    keys = world.crowd(100, segment="everyone")
    moody.moods = dict.fromkeys(keys[:failed], Failed("it is broken"))
    world.campaign("- {step: a, action: test.moody}")
    world.update()
    world.trigger(stop=StopRule(at_least=10, share=0.1))
    assert world.read("SELECT published FROM campaign")[0].published is not stops


def test_a_new_campaign_of_two_contacts_does_four_steps_and_writes_two_emails(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.email("hello")
    world.campaign(
        """
        - {step: opened, decision: page.hit}
        - {step: send, action: email.send, with: {email: hello}}
        - {step: tag, action: contact.tags, with: {add: [sent]}}
        """
    )
    assert world.update() == {"added": 2}
    assert world.trigger() == {"done": 4}
    assert sorted(world.outbox()) == ["ann hello", "bob hello"]


def test_the_figures_of_a_step_keep_who_passed_it_and_left(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.campaign("- {step: a, action: contact.points, with: {points: 1}}")
    world.run()

    def figures() -> tuple[int, int, int, int]:
        with world.engine.connect() as conn:
            found = world.found(conn)
            shown = overview.of(conn, campaigns.load(conn, found.id, found.version, world.zone))
        (step,) = shown.steps
        return step.reached, step.results["done"], step.waiting, shown.active

    assert figures() == (2, 2, 0, 2)
    world.remove("bob", at(2))
    assert figures() == (2, 2, 0, 1)
