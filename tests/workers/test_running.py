"""Whether a campaign runs, read again at every batch."""

from __future__ import annotations

import pytest

from parcours.workers.executor import execute_due
from tests.workers.worlds import World, at

STEPS = """
    - {step: now, action: contact.points, with: {points: 1}}
    - {step: later, action: contact.points, with: {points: 10}, after: 1 day}
    - step: hit
      decision: page.hit
      no: [{step: missed, action: contact.points, with: {points: 100}, after: 2 days}]
"""


@pytest.fixture
def ann(world: World) -> World:
    """A world with Ann in the segment."""
    world.contacts("ann", segment="everyone")
    return world


def nothing_moves(world: World, now: object) -> None:
    before = (world.log(), world.waits(), world.members())
    assert world.update(now) == {}  # type: ignore[arg-type]
    assert world.trigger(now) == {}  # type: ignore[arg-type]
    assert world.happens("ann", "page.hit", now) == {}  # type: ignore[arg-type]
    assert (world.log(), world.waits(), world.members()) == before


def test_pausing_keeps_everybody_and_resuming_runs_what_is_overdue(ann: World) -> None:
    ann.campaign(STEPS)
    ann.run()
    ann.pause()
    ann.leave("everyone", "ann")
    nothing_moves(ann, at(5))
    assert ann.standing("ann") == ["later", "hit"]
    ann.enter("everyone", "ann")
    ann.publish(now=at(6))
    ann.run(at(6))
    assert ann.log() == ["now done", "later done", "hit no", "missed done"]


def test_nothing_happens_before_the_window_and_nothing_after_it(ann: World) -> None:
    ann.campaign(STEPS, publish_from="2026-06-02T00:00:00Z", publish_until="2026-06-03T09:00:00Z")
    nothing_moves(ann, at(1))
    ann.run(at(2, "00:00"))
    assert ann.log() == ["now done"]
    nothing_moves(ann, at(3, "09:00"))
    assert ann.standing("ann") == ["later", "hit"]


def test_a_form_lets_nobody_into_a_campaign_that_does_not_run(ann: World) -> None:
    ann.campaign(STEPS, forms=["signup"], publish_from="2026-06-02T00:00:00Z")
    ann.submit("signup", "ann")
    assert ann.members() == {}


def test_a_category_switched_off_stops_its_campaigns(ann: World) -> None:
    ann.campaign(STEPS, category="spring")
    ann.run()
    ann.write("UPDATE category SET published = false")
    nothing_moves(ann, at(9))
    ann.write("UPDATE category SET published = true")
    ann.trigger(at(9))
    assert ann.points("ann") == [111]


def test_a_deleted_campaign_does_nothing(ann: World) -> None:
    ann.campaign(STEPS)
    ann.run()
    ann.write("UPDATE campaign SET deleted_at = now()")
    assert ann.trigger(at(9)) == {}
    assert ann.happens("ann", "page.hit", at(9)) == {}
    assert ann.points("ann") == [1]


def test_a_campaign_paused_between_two_batches_stops_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.crowd(10, segment="everyone")
    world.campaign("- {step: a, action: contact.points, with: {points: 1}}")
    world.update()

    def once_then_pause(*args: object, **more: object) -> object:
        done = execute_due(*args, **more)  # type: ignore[arg-type]
        args[0].exec_driver_sql("UPDATE campaign SET published = false")  # type: ignore[attr-defined]
        return done

    monkeypatch.setattr("parcours.workers.sweeps.execute_due", once_then_pause)
    assert world.trigger(batch=3) == {"done": 3}
    assert len(world.waits()) == 7


def test_an_unpublished_campaign_lets_nobody_in(ann: World) -> None:
    ann.campaign(STEPS, published=False)
    nothing_moves(ann, at(1))
    assert ann.members() == {}


def test_the_newest_campaign_goes_first(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign("- {step: a, action: contact.stage, with: {stage: first}}", key="old")
    world.campaign("- {step: a, action: contact.stage, with: {stage: second}}", key="new", when=at(2))
    world.run(at(3))
    (row,) = world.read("SELECT stage FROM contact")
    assert row.stage == "first"


def test_a_grace_holds_members_of_a_segment_that_flaps(ann: World) -> None:
    ann.campaign(STEPS, grace="1 day")
    ann.run()
    ann.leave("everyone", "ann")
    assert ann.update(at(1, "12:00")) == {}
