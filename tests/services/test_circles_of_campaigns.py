"""A segment that asks for a campaign which it feeds, or lets out of, is refused, and so is such a campaign."""

from __future__ import annotations

from typing import Any

import pytest

from parcours.domain.campaign_file.check import check
from parcours.domain.segments.file import check_all
from parcours.services import campaign_plan, segment_plan
from tests.workers.worlds import World

IN_C = {"condition": "contact.campaigns", "with": {"campaigns": ["c"]}}
POINT = "- {step: a, action: contact.points, with: {points: 1}}"


def problems_of_segment(world: World, key: str, rule: Any) -> list[str]:
    files, wrong = check_all({"segment": key, "rule": rule})
    assert wrong == []
    with world.engine.connect() as conn:
        return [str(problem) for _, problem in segment_plan.problems(conn, files)]


def problems_of_campaign(world: World, key: str = "c", segments: tuple[str, ...] = (), **more: Any) -> list[str]:
    step = {"step": "a", "action": "contact.points", "with": {"points": 1}}
    sources = {"segments": list(segments), "events": [{"type": "x.y"}]}
    file = check({"campaign": key, "sources": sources, "steps": [step], **more}, default_zone=world.zone).file
    assert file is not None
    with world.engine.connect() as conn:
        return [str(problem) for problem in campaign_plan.check_references(conn, file)]


@pytest.mark.parametrize("way", ["source", "exit", "exit rule"])
def test_a_segment_that_asks_for_its_own_campaign_is_refused(world: World, way: str) -> None:
    world.segment("own")
    segments = ["own"] if way == "source" else ["everyone"]
    exits: list[Any] = [{"segment": "own"}] if way == "exit" else []
    if way == "exit rule":
        exits = [{"rule": {"condition": "contact.segments", "with": {"segments": ["own"]}}}]
    world.campaign(POINT, segments=segments, exit=exits)
    assert problems_of_segment(world, "own", {"not": IN_C}) == [
        "rule: the rule depends on itself: segment own -> campaign c -> segment own; remove one of the references; "
        "to let each contact enter only once, write reentry: never in the campaign instead"
    ]
    assert problems_of_segment(world, "other", IN_C) == []


@pytest.mark.parametrize("way", ["source", "exit", "exit rule"])
def test_a_campaign_whose_segment_asks_for_it_is_refused(world: World, way: str) -> None:
    world.campaign(POINT)
    world.by_rule("members", IN_C)
    world.by_rule("own", {"condition": "contact.segments", "with": {"segments": ["members"]}})
    exits: list[Any] = [{"segment": "own"}] if way == "exit" else []
    if way == "exit rule":
        exits = [{"rule": {"condition": "contact.segments", "with": {"segments": ["own"]}}}]
    found = problems_of_campaign(world, segments=("own",) if way == "source" else (), exit=exits)
    assert found == [
        "sources: the campaign depends on itself: campaign c -> segment own -> segment members -> campaign c; "
        "remove one of the references; to let each contact enter only once, write reentry: never in the campaign "
        "instead"
    ]
    assert problems_of_campaign(world, "other", ("own",)) == []
