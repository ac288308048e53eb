"""Contacts who failed at a step for good are there again, each in the passage that failed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine

from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.steps.types import DONE, Failed
from parcours.services import try_again as service
from parcours.services.try_again import TriedAgain, try_again
from tests.workers.worlds import Moody, World, at

TREE = """
- step: act
  action: test.moody
  then: [{step: after, action: contact.tags, with: {add: [x]}}]
"""


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    return World(engine, tmp_path)


@pytest.fixture
def moody(monkeypatch: pytest.MonkeyPatch) -> Moody:
    made = Moody()
    made.install(monkeypatch)
    return made


def again(world: World, why: str | None = None, step: str = "act") -> TriedAgain:
    return try_again(world.engine, "c", step, why, who="ann", zone=world.zone, now=at(2))


def failing(world: World, moody: Moody, size: int = 3, tree: str = TREE) -> None:
    moody.otherwise = Failed("the shop is away", retry=False)
    world.crowd(size, segment="everyone")
    world.campaign(tree)
    world.run()
    moody.otherwise = DONE


def test_who_failed_is_at_the_step_again_and_goes_on(world: World, moody: Moody) -> None:
    moody.moods = {"c3": Failed("another reason", retry=False)}
    failing(world, moody)
    moody.moods = {}
    assert again(world, "the shop is away") == TriedAgain(2, 0, False)
    world.check()
    assert [world.standing(key) for key in ("c1", "c2", "c3")] == [["act"], ["act"], []]
    world.trigger(at(2))
    assert world.log("c1", "c3") == ["c3: act failed", "c1: act done", "c1: after done"]
    world.check()
    # There is nothing left of that reason; of the other one there is.
    assert again(world, "the shop is away") == TriedAgain(0, 0, False)
    assert again(world) == TriedAgain(1, 0, False)
    world.trigger(at(3))
    assert world.log("c3") == ["act done", "after done"]
    told = world.read("SELECT who, detail ->> 'contacts' AS n FROM audit WHERE what = 'step tried again' ORDER BY id")
    assert [(row.who, row.n) for row in told] == [("ann", "2"), ("ann", "1")]
    world.check()


def test_all_attempts_are_before_them_again(world: World, moody: Moody) -> None:
    moody.otherwise = Failed("the shop is away")
    world.contacts("ann", segment="everyone")
    world.campaign("- {step: act, action: test.moody}")
    for day in range(1, 9):
        world.run(at(day))
    assert world.log() == ["act failed"]
    tried = len(moody.met)
    assert try_again(world.engine, "c", "act", None, who="ann", zone=world.zone, now=at(10)).contacts == 1
    for day in range(10, 19):
        world.trigger(at(day))
    assert (len(moody.met), tried > 1) == (2 * tried, True)
    assert world.log() == ["act failed"]
    world.check()


def test_who_has_left_stays_as_they_are(world: World, moody: Moody) -> None:
    failing(world, moody)
    world.remove("c2", at(1, "10:00"))
    assert again(world) == TriedAgain(2, 1, False)
    world.trigger(at(2))
    assert world.log("c2") == ["act failed"]
    world.check()


def test_many_are_done_in_batches_and_those_who_stay_end_it(
    world: World, moody: Moody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "AT_ONCE", 2)
    failing(world, moody, 7)
    for key in ("c2", "c6", "c7"):
        world.remove(key, at(1, "10:00"))
    late = try_again(world.engine, "c", "act", None, who="ann", zone=world.zone, now=at(2), seconds=-1)
    assert (late.contacts + late.gone, late.more) == (2, True)
    rest = again(world)
    assert (late.contacts + rest.contacts, rest.gone, rest.more) == (4, 3, False)
    world.check()


def test_several_who_try_at_once_beside_a_worker_give_one_outcome(world: World, moody: Moody) -> None:
    failing(world, moody, 40)
    done: list[TriedAgain] = []
    threads = [threading.Thread(target=lambda: done.append(again(world))) for _ in range(3)]
    threads.append(threading.Thread(target=lambda: world.trigger(at(2))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), sum(each.contacts for each in done)) == (3, 40)
    world.trigger(at(3))
    assert sorted(world.log()) == sorted(f"c{n}: {step} done" for n in range(1, 41) for step in ("act", "after"))
    world.check()


def test_where_contacts_went_on_the_step_is_not_tried_again(world: World, moody: Moody) -> None:
    failing(world, moody, 1, TREE.replace("action: test.moody", "action: test.moody\n  on_failure: continue"))
    with pytest.raises(CampaignError, match="go on with the next steps"):
        again(world)
    with pytest.raises(NotFoundError):
        again(world, step="nowhere")
    assert world.log() == ["act failed", "after done"]
