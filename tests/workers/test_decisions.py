"""Decisions: taken by what a contact does, or closed when it did not, and never both."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from parcours.db.tables import campaigns
from tests.workers.worlds import START, World, at

OPENED = """
    - step: send
      action: email.send
      with: {email: hello}
      then:
        - step: opened
          decision: email.open
          yes: [{step: thanks, action: contact.points, with: {points: 5}}]
          no: [{step: remind, action: contact.points, with: {points: -1}, after: 3 days}]
"""
HIT = """
    - step: hit
      decision: page.hit
      yes: [{step: came, action: contact.points, with: {points: 5}}]
      no:
        - {step: a, action: contact.points, with: {points: 1}, after: 1 day}
        - {step: b, action: contact.points, with: {points: 1}, after: 3 days}
"""


@pytest.fixture
def ann(world: World) -> World:
    """A world with Ann in the segment."""
    world.contacts("ann", segment="everyone")
    world.email("hello")
    return world


def test_yes_before_the_deadline_runs_the_yes_branch_at_once(ann: World) -> None:
    ann.campaign(OPENED)
    ann.run()
    assert [(wait.step, wait.reason, wait.due_at) for wait in ann.waits()] == [("opened", "decision", at(4))]
    assert ann.happens("ann", "email.opened", at(2), email="hello") == {"yes": 1, "done": 1}
    assert ann.log() == ["send done", "opened yes", "thanks done"]
    ann.run(at(9))
    assert ann.log() == ["send done", "opened yes", "thanks done"]


def test_no_at_the_deadline_and_a_later_fact_is_ignored(ann: World) -> None:
    ann.campaign(OPENED)
    ann.run()
    ann.trigger(at(4) - timedelta(microseconds=1))
    assert ann.standing("ann") == ["opened"]
    assert ann.trigger(at(4)) == {"no": 1, "done": 1}
    assert ann.happens("ann", "email.opened", at(4, "10:00"), email="hello") == {}
    assert ann.log() == ["send done", "opened no", "remind done"]


def test_the_same_fact_twice_is_one_yes(ann: World) -> None:
    ann.campaign(OPENED)
    ann.run()
    ann.happens("ann", "email.opened", at(2), times=3, email="hello")
    ann.happens("ann", "email.opened", at(2), email="hello")
    assert ann.points("ann") == [5]


def test_another_fact_leaves_the_decision_armed_and_no_trace(ann: World) -> None:
    ann.campaign(OPENED)
    ann.run()
    assert ann.happens("ann", "email.opened", at(2), email="other") == {}
    assert ann.happens("ann", "page.hit", at(2), url="https://example.com") == {}
    assert (ann.log(), ann.standing("ann")) == (["send done"], ["opened"])


def test_a_click_and_the_deadline_at_the_same_moment_are_never_both(world: World) -> None:
    keys = world.crowd(40, segment="everyone")
    world.campaign(HIT)
    world.update()

    def click(key: str) -> None:
        world.happens(key, "page.hit", at(2))

    with ThreadPoolExecutor(4) as pool:
        clicks = pool.map(click, keys)
        closed = pool.submit(world.trigger, at(2), batch=3)
        list(clicks)
        closed.result()
    tally = world.tally()
    assert tally.get("hit yes", 0) + tally.get("hit no", 0) == 40
    assert tally.get("came done", 0) == tally.get("hit yes", 0)
    assert tally.get("a done", 0) == tally.get("hit no", 0)
    assert {"b"} >= {wait.step for wait in world.waits()}


def test_whoever_comes_first_after_the_deadline_takes_it(ann: World) -> None:
    ann.campaign(HIT)
    ann.update()
    ann.happens("ann", "page.hit", at(5))
    ann.trigger(at(5))
    assert ann.log() == ["hit yes", "came done"]


def test_each_contact_has_a_deadline_of_its_own(world: World) -> None:
    world.contacts("early", segment="everyone")
    world.campaign(HIT)
    world.update(at(1, "10:00"))
    world.contacts("late", segment="everyone")
    world.update(at(1, "22:00"))
    world.trigger(at(2, "10:05"))
    assert world.log("early") == ["hit no", "a done"]
    assert world.standing("late") == ["hit"]
    world.trigger(at(2, "22:00"))
    assert world.log("late") == ["hit no", "a done"]


def test_no_children_count_from_each_contacts_own_arrival(world: World) -> None:
    # Not from when the sweep came, and not from another contact of its batch.
    for key, clock in (("ann", "10:00"), ("bob", "06:00")):
        world.contacts(key)
        world.enter("everyone", key)
        world.campaign(HIT) if key == "ann" else None
        world.update(at(1, clock))
    world.trigger(at(2, "10:05"))
    assert world.tally() == {"hit no": 2, "a done": 2}
    assert world.due("ann", "b") == at(4, "10:00")
    assert world.due("bob", "b") == at(4, "06:00")


def test_a_dated_child_and_a_delayed_one_keep_their_own_times(ann: World) -> None:
    # Four days after, the first of the two is over, and the one dated tomorrow is not due yet.
    ann.campaign(
        """
        - step: hit
          decision: page.hit
          no:
            - {step: dated, action: contact.points, with: {points: 1}, at: 2026-06-06T09:00}
            - {step: delayed, action: contact.points, with: {points: 1}, after: 3 days}
        """
    )
    ann.update()
    ann.trigger(at(5))
    assert ann.log() == ["hit no", "delayed done"]
    assert ann.due("ann", "dated") == at(6)


def test_a_no_child_that_is_late_still_keeps_its_window(ann: World) -> None:
    ann.campaign(
        """
        - step: hit
          decision: page.hit
          no:
            - {step: a, action: contact.points, with: {points: 1}, after: 1 day, between: ["09:00", "18:00"]}
        """
    )
    ann.update(at(1, "10:00"))
    assert ann.due("ann", "hit") == at(2, "10:00")
    ann.trigger(at(2, "20:00"))
    assert (ann.log(), ann.due("ann", "a")) == (["hit no"], at(3, "09:00"))


def test_within_closes_the_decision_and_its_children_count_from_there(ann: World) -> None:
    ann.campaign(
        """
        - step: hit
          decision: page.hit
          within: 2 days
          no:
            - {step: now, action: contact.points, with: {points: 1}}
            - {step: later, action: contact.points, with: {points: 1}, after: 1 day}
        """
    )
    ann.update()
    assert ann.due("ann", "hit") == at(3)
    ann.trigger(at(3))
    assert ann.log() == ["hit no", "now done"]
    assert ann.due("ann", "later") == at(4)


def test_within_without_a_no_branch_still_closes(ann: World) -> None:
    ann.campaign("- {step: hit, decision: page.hit, within: 2 days}")
    ann.update()
    ann.trigger(at(3))
    assert (ann.log(), ann.waits()) == (["hit no"], [])


def test_a_decision_without_a_no_branch_stays_armed_for_ever(ann: World) -> None:
    ann.campaign("- {step: hit, decision: page.hit, yes: [{step: came, action: contact.points, with: {points: 1}}]}")
    ann.run()
    ann.run(at(3650))
    assert ann.due("ann", "hit") is None
    ann.happens("ann", "page.hit", at(3651))
    assert ann.log() == ["hit yes", "came done"]


def test_a_decision_below_a_condition_is_armed_on_its_branch_only(world: World) -> None:
    world.contacts("rich", points=10, segment="everyone")
    world.contacts("poor", segment="everyone")
    world.email("hello")
    world.campaign(
        """
        - step: send
          action: email.send
          with: {email: hello}
          then:
            - step: rich
              condition: contact.points
              with: {operator: gt, points: 5}
              yes:
                - step: opened
                  decision: email.open
                  yes: [{step: thanks, action: contact.tags, with: {add: [thanked]}}]
        """
    )
    world.run()
    for key in ("rich", "poor"):
        world.happens(key, "email.opened", at(2), email="hello")
    # The email is the nearest one upstream, not only the direct parent.
    assert world.log("rich") == ["send done", "rich yes", "opened yes", "thanks done"]
    assert world.log("poor") == ["send done", "rich no"]


def test_a_condition_on_the_no_branch_leads_to_its_own_branches_and_decisions(ann: World) -> None:
    ann.campaign(
        """
        - step: hit
          decision: page.hit
          no:
            - step: poor
              condition: contact.points
              with: {operator: lt, points: 5}
              after: 1 day
              yes:
                - step: again
                  decision: page.hit
                  yes: [{step: came, action: contact.points, with: {points: 1}}]
        """
    )
    ann.update()
    ann.trigger(at(2))
    ann.happens("ann", "page.hit", at(3))
    assert ann.log() == ["hit no", "poor yes", "again yes", "came done"]


def test_a_decision_that_a_fact_arms_is_not_taken_by_the_same_fact(ann: World) -> None:
    ann.campaign(
        """
        - step: first
          decision: page.hit
          yes:
            - step: pass
              action: contact.points
              with: {points: 1}
              then: [{step: second, decision: page.hit}]
        """
    )
    ann.update()
    ann.happens("ann", "page.hit", at(2))
    assert (ann.log(), ann.standing("ann")) == (["first yes", "pass done"], ["second"])
    ann.happens("ann", "page.hit", at(3))
    assert ann.log() == ["first yes", "pass done", "second yes"]


def test_a_fact_that_restarts_the_campaign_does_not_take_its_new_decisions(ann: World) -> None:
    ann.campaign(
        """
        - step: first
          decision: page.hit
          yes: [{step: again, action: campaign.change, with: {add: [this]}}]
        - {step: second, decision: page.hit}
        """,
        reentry="always",
    )
    ann.update()
    ann.happens("ann", "page.hit", at(2))
    assert ann.members() == {"ann": "in 2"}
    # The second was armed anew by the restart, after the fact.
    assert sorted(ann.standing("ann")) == ["first", "second"]
    assert sorted(ann.log()) == ["again done", "first yes", "second cancelled"]


def test_one_fact_takes_decisions_in_several_campaigns(ann: World) -> None:
    for key in ("a", "b"):
        ann.campaign("- {step: hit, decision: page.hit}", key=key)
    ann.update()
    assert ann.happens("ann", "page.hit", at(2)) == {"yes": 2}


def test_a_submission_that_joins_satisfies_the_root_decision_at_once(world: World) -> None:
    world.contacts("ann")
    world.campaign(
        """
        - step: sent
          decision: form.submit
          with: {forms: [signup]}
          yes: [{step: welcome, action: contact.tags, with: {add: [welcomed]}}]
        - {step: root, action: contact.points, with: {points: 1}}
        """,
        segments=[],
        forms=["signup"],
    )
    assert world.submit("signup", "ann") == {"added": 1, "yes": 1, "done": 1}
    assert world.tags("ann") == {"welcomed"}
    world.trigger()
    assert sorted(world.log()) == ["root done", "sent yes", "welcome done"]


def test_a_form_that_is_no_source_still_satisfies_a_decision(ann: World) -> None:
    ann.form("survey", standalone=True)
    ann.campaign("- {step: sent, decision: form.submit, with: {forms: [survey]}}")
    ann.update()
    ann.submit("survey", "ann", at(2))
    assert ann.log() == ["sent yes"]


def test_the_no_path_of_a_root_decision_does_not_depend_on_its_siblings(ann: World) -> None:
    ann.campaign(
        """
        - {step: point, action: contact.points, with: {points: 1}}
        - step: hit
          decision: page.hit
          no: [{step: a, action: contact.points, with: {points: 1}, after: 1 day}]
        """
    )
    ann.run()
    ann.run(at(2))
    assert ann.log() == ["point done", "hit no", "a done"]


def test_a_decision_below_a_step_that_failed_is_not_armed(ann: World) -> None:
    ann.write("UPDATE contact SET points = 2147483647")
    ann.campaign(
        """
        - step: moody
          action: contact.points
          with: {points: 1}
          after: 1 day
          then: [{step: hit, decision: page.hit}]
        """
    )
    ann.run()
    assert ann.happens("ann", "page.hit", START) == {}
    assert ann.standing("ann") == ["moody"]


def test_who_is_out_of_the_campaign_takes_nothing(ann: World) -> None:
    ann.campaign(HIT)
    ann.update()
    ann.remove("ann", at(1, "10:00"))
    assert ann.happens("ann", "page.hit", at(1, "11:00")) == {}
    ann.trigger(at(5))
    assert ann.log() == ["hit cancelled"]


def test_facts_do_nothing_in_a_campaign_that_does_not_run(ann: World) -> None:
    ann.campaign(HIT, publish_until="2026-06-02T00:00:00Z")
    ann.update()
    assert ann.happens("ann", "page.hit", at(2)) == {}
    with ann.engine.connect() as conn:
        found = campaigns.listing(conn)[0]
    assert campaigns.status_of(found).why_not(at(2)) is not None
    assert ann.standing("ann") == ["hit"]


def test_what_happened_shortly_before_the_decision_was_reached_counts_if_it_looks_back(ann: World) -> None:
    ann.campaign(
        """
        - step: first
          action: contact.points
          with: {points: 1}
          after: 1 hour
          then: [{step: sent, decision: form.submit, look_back: 2 hours}]
        """
    )
    ann.form("survey", standalone=True)
    ann.update()
    ann.submit("survey", "ann", at(1, "09:30"))
    ann.trigger(at(1, "10:00"))
    assert ann.log() == ["first done", "sent yes"]
