"""What an earlier version had comes back with those who waited there, and nobody inside is lost."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from parcours.db.checks import invariants
from parcours.db.reads import overview
from parcours.db.reads.overview import StepFigures
from parcours.db.tables import campaigns
from parcours.services import apply_campaign
from parcours.web.pages.campaign_form import choices_of
from tests.workers.worlds import World, at

POINT = "action: contact.points, with: {points: 1}"
BOTH = f"""
- {{step: keep, {POINT}, after: 9 days}}
- step: first
  action: contact.points
  with: {{points: 1}}
  then:
    - {{step: later, {POINT}, after: 3 days}}
    - {{step: hit, decision: page.hit, yes: [{{step: warm, {POINT}}}], no: [{{step: cold, {POINT}, after: 5 days}}]}}
"""
KEPT = f"[{{step: keep, {POINT}, after: 9 days}}, {{step: first, {POINT}}}]"


def standing(world: World) -> list[tuple[str, str, str, object]]:
    return sorted((wait.contact, wait.step, wait.reason, wait.due_at) for wait in world.waits())


def counted(world: World) -> dict[str, StepFigures]:
    with world.engine.connect() as conn:
        found = world.found(conn)
        figures = overview.figures(conn, campaigns.load(conn, found.id, found.version, world.zone))
    return {each.step: each for each in figures.steps}


def broken(world: World) -> list[str]:
    return [each.name for each in invariants.run(world.engine) if each.violations]


def test_waits_at_steps_that_return_are_there_again_with_their_times(world: World) -> None:
    world.crowd(3, segment="everyone")
    world.campaign(BOTH)
    world.run()
    before = standing(world)
    assert len(before) == 9
    world.campaign(KEPT, when=at(1, "12:00"))
    assert {step for _, step, _, _ in standing(world)} == {"keep"}
    plan = world.campaign(BOTH, when=at(1, "13:00"))
    assert plan.restored == {"later": 3, "hit": 3}
    assert "  + step later; 3 contacts wait there again" in plan.lines()
    assert standing(world) == before
    world.happens("c1", "page.hit", at(2), url="u")
    world.run(at(20))
    assert Counter(line for line in world.log("c1") if "cancelled" not in line) == Counter(
        ["first done", "later done", "hit yes", "warm done", "keep done"]
    )
    assert world.tally()["cold done"] == 2
    assert world.tally()["first done"] == 3


def test_a_step_counts_once_who_waits_there_again(world: World) -> None:
    world.crowd(3, segment="everyone")
    world.campaign(BOTH)
    world.run()
    before = counted(world)
    assert before["later"].reached == 3
    for hour in (12, 14):
        world.campaign(KEPT, when=at(1, f"{hour}:00"))
        world.campaign(BOTH, when=at(1, f"{hour + 1}:00"))
        now = counted(world)
        assert {key: (each.reached, each.waiting, each.results) for key, each in now.items()} == {
            key: (each.reached, each.waiting, each.results) for key, each in before.items()
        }
        assert broken(world) == []
    world.happens("c1", "page.hit", at(2), url="u")
    world.run(at(20))
    assert counted(world)["later"].reached == counted(world)["hit"].reached == 3
    assert counted(world)["hit"].results["cancelled"] == 0
    assert broken(world) == []


def test_who_left_or_began_again_meanwhile_is_not_put_back(world: World) -> None:
    world.contacts("gone", "again", "stays", segment="everyone")
    world.campaign(BOTH, reentry="always")
    world.run()
    world.campaign(KEPT, when=at(1, "12:00"), reentry="always")
    world.remove("gone", at(2))
    world.add("again", at(2))
    plan = world.campaign(BOTH, when=at(2, "12:00"), reentry="always")
    assert plan.restored == {"later": 1, "hit": 1}
    assert {wait.contact for wait in world.waits() if wait.step == "later"} == {"stays"}


def test_who_was_redirected_stays_where_they_went(world: World) -> None:
    world.contacts("ann", segment="everyone")
    world.campaign(BOTH)
    world.run()
    world.campaign(KEPT, when=at(1, "12:00"), redirect={"later": "keep", "hit": "keep"})
    plan = world.campaign(BOTH, when=at(1, "13:00"))
    assert plan.restored == {}
    assert world.standing("ann") == ["keep"]


def test_many_are_put_back_range_by_range(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply_campaign, "IDS_AT_ONCE", 2)
    world.crowd(5, segment="everyone")
    world.campaign(BOTH)
    world.run()
    before = standing(world)
    world.campaign(KEPT, when=at(1, "12:00"))
    world.campaign(BOTH, when=at(1, "13:00"))
    assert standing(world) == before


@pytest.mark.parametrize("seed", range(5))
def test_a_change_that_is_taken_back_at_once_leaves_everybody_where_they_were(world: World, seed: int) -> None:
    chance = random.Random(seed)
    people = world.crowd(8, segment="everyone")

    def tree(keys: list[str]) -> str:
        parts = []
        for key in keys:
            below = f"then: [{{step: {key}-below, {POINT}, after: 2 days}}]"
            parts.append(f"- {{step: {key}, {POINT}, after: {int(key[1:])} days, {below}}}")
        return "\n".join(parts)

    every = [f"s{n}" for n in range(1, 7)]
    world.campaign(tree(every), reentry="always")
    world.update()
    for day in range(2, 10):
        now = at(day)
        world.trigger(now)
        if chance.random() < 0.3:
            world.add(chance.choice(people), now)
        before = standing(world)
        fewer = sorted(chance.sample(every, chance.randint(1, 5)))
        world.campaign(tree(fewer), reentry="always", when=now)
        world.campaign(tree(every), reentry="always", when=now)
        assert [each[:2] for each in standing(world)] == [each[:2] for each in before], (seed, day)
        assert [each[3] for each in standing(world)] == [each[3] for each in before], (seed, day)


def test_backfill_starts_steps_below_what_was_passed(world: World) -> None:
    world.contacts("old", "yes", segment="everyone")
    base = f"{{step: hit, decision: page.hit, within: 2 days, yes: [{{step: warm, {POINT}}}]}}"
    world.campaign(f"[{{step: a, {POINT}}}, {base}]")
    world.run()
    world.happens("yes", "page.hit", at(1, "10:00"), url="u")
    world.run(at(4))
    tree = f"""
    - step: a
      action: contact.points
      with: {{points: 1}}
      then: [{{step: seen, decision: page.hit, within: 2 days, no: [{{step: b, {POINT}}}]}}]
    - step: hit
      decision: page.hit
      within: 2 days
      yes: [{{step: warm, {POINT}}}, {{step: hot, {POINT}}}]
      no: [{{step: cold, {POINT}}}]
    """
    plan = world.campaign(tree, when=at(5), backfill=True)
    assert plan.new_below == {"seen": "a", "hot": "hit", "cold": "hit"}
    said = "  existing members who passed a do not start seen; use --backfill to start it for them"
    assert said in plan.lines()
    world.trigger(at(5))
    assert world.log("yes")[-1] == "hot done"
    assert world.log("old")[-1] == "cold done"
    assert world.due("old", "seen") == at(7)
    world.trigger(at(8))
    assert world.log("old")[-2:] == ["seen no", "b done"]
    world.contacts("new", segment="everyone")
    world.run(at(9))
    assert world.standing("new") == ["hit", "seen"]


def test_a_plan_offers_no_backfill_of_steps_at_which_everybody_waits_again(world: World) -> None:
    world.crowd(3, segment="everyone")
    alone = f"[{{step: a, {POINT}}}]"
    below = f"[{{step: a, {POINT}, then: [{{step: b, {POINT}, after: 9 days}}]}}]"
    world.campaign(below)
    world.run()
    world.campaign(alone, when=at(2))
    plan = world.campaign(below, when=at(3))
    assert plan.lines()[1:] == ["  + step b; 3 contacts wait there again"]
    assert list(choices_of(plan)) == []
    world.campaign(alone, when=at(4))
    world.contacts("late", segment="everyone")
    world.run(at(4))
    plan = world.campaign(below, when=at(5), backfill=True)
    assert (
        plan.lines()[-1] == "  other existing members who passed a do not start b; use --backfill to start it for them"
    )
    assert plan.lines(backfill=True)[-1] == "  other existing members who passed a start b"
    assert world.standing("late") == ["b"]


def test_the_offer_to_reschedule_names_no_step_where_nobody_waits(world: World) -> None:
    world.crowd(3, segment="everyone")
    tree = f"""
    - step: seen
      decision: page.hit
      no: [{{step: b, {POINT}, after: 3 days, then: [{{step: c, {POINT}, after: 1 day}}]}}]
    """
    world.campaign(tree)
    world.run()
    plan = world.campaign(tree.replace("3 days", "5 days").replace("1 day}", "2 days}"), when=at(2))
    (offer,) = choices_of(plan)
    assert offer.help == "Otherwise, they keep their current due time. Steps: seen."


def test_a_plan_with_an_order_to_reschedule_says_that_it_does(world: World) -> None:
    world.crowd(3, segment="everyone")
    world.campaign(f"[{{step: a, {POINT}, after: 2 days}}]")
    world.run()
    plan = world.campaign(f"[{{step: a, {POINT}, after: 5 days}}, {{step: b, {POINT}}}]", when=at(2))
    assert plan.lines(backfill=True, reschedule=True)[3:] == [
        "  3 contacts wait at a, whose timing changes; they are rescheduled",
        "  3 existing members start b",
    ]


def test_a_step_of_another_kind_and_back_restores_who_waited_at_what_it_was(world: World) -> None:
    world.crowd(3, segment="everyone")
    action = f"[{{step: a, {POINT}, after: 9 days}}]"
    tagged = "[{step: a, condition: contact.tags, with: {tags: [x]}, after: 9 days}]"
    world.campaign(action)
    world.run()
    before = standing(world)
    plan = world.campaign(tagged, when=at(2))
    assert (
        "  ~ step a becomes a condition (contact.tags); 3 contacts wait there; their waits are cancelled"
        in plan.lines()
    )
    assert (plan.to_json()["becomes"], plan.removed) == ({"a": {"kind": "condition", "type": "contact.tags"}}, {"a": 3})
    assert standing(world) == []
    world.contacts("late", segment="everyone")
    world.run(at(3))
    plan = world.campaign(action, when=at(4))
    said = "  ~ step a becomes an action (contact.points); 1 contact waits there; its wait is cancelled"
    assert f"{said}; 3 contacts wait there again" in plan.lines()
    assert standing(world) == before
    plan = world.campaign(tagged, when=at(5))
    assert (plan.removed, plan.restored) == ({"a": 3}, {"a": 1})
    assert {wait.contact for wait in world.waits()} == {"late"}


def test_a_step_of_another_kind_that_was_removed_too_restores_nobody_as_what_it_is_not(world: World) -> None:
    world.contacts("ann", segment="everyone")
    keep = f"{{step: keep, {POINT}, after: 9 days}}"
    world.campaign(f"[{keep}, {{step: a, {POINT}, after: 9 days}}]")
    world.run()
    world.campaign(f"[{keep}]", when=at(2))
    plan = world.campaign(f"[{keep}, {{step: a, decision: page.hit, within: 9 days, yes: []}}]", when=at(3))
    assert plan.restored == {}
    assert world.standing("ann") == ["keep"]
    plan = world.campaign(f"[{keep}, {{step: a, {POINT}, after: 9 days}}]", when=at(4))
    assert plan.restored == {"a": 1}
    assert sorted(world.standing("ann")) == ["a", "keep"]


def test_a_step_of_another_type_keeps_who_waits_there_and_says_so(world: World) -> None:
    world.crowd(2, segment="everyone")
    world.campaign(f"[{{step: a, {POINT}, after: 9 days}}]")
    world.run()
    plan = world.campaign("[{step: a, action: contact.tags, with: {add: [x]}, after: 9 days}]", when=at(2))
    (line,) = [line for line in plan.lines() if "step a" in line]
    assert "action contact.points → contact.tags" in line
    assert line.endswith("; 2 contacts wait there and get the new type")
    world.run(at(10))
    assert (world.tags("c1"), world.points("c1")) == ({"x"}, [0])
