"""The tree as it is drawn: shares, conversion and the parts of each step's bar."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.db.reads.overview import RESULTS, StepFigures
from parcours.domain.campaign import Campaign
from parcours.domain.campaign_file import build, check
from parcours.web.pages.trees import TreeStep, conversion, parts, percent, tree

STEPS: list[dict[str, Any]] = [
    {
        "step": "hello",
        "action": "contact.points",
        "with": {"points": 1},
        "then": [
            {
                "step": "visited",
                "decision": "page.hit",
                "with": {"url": "*"},
                "yes": [{"step": "hot", "action": "contact.points", "with": {"points": 1}}],
            }
        ],
    },
]


def campaign() -> Campaign:
    zone = ZoneInfo("UTC")
    data = {"campaign": "c", "sources": {"segments": ["s"]}, "steps": STEPS}
    checked = check.check(data, default_zone=zone)
    assert checked.file is not None, checked.problems
    ids = {"hello": 1, "visited": 2, "hot": 3}
    return build.build(checked.file, campaign_id=1, version=1, step_ids=ids, zone=zone)


def figures(step: str, kind: str, waiting: int = 0, **results: int) -> StepFigures:
    every = dict.fromkeys(RESULTS, 0) | results
    return StepFigures(step, kind, "t", None, None, waiting + sum(results.values()), waiting, every)


def test_conversion_is_against_the_parent_and_percentages_against_who_reached_the_step() -> None:
    found = {
        "hello": figures("hello", "action", done=80, failed=20),
        "visited": figures("visited", "decision", waiting=40, yes=30, no=10),
        "hot": figures("hot", "action", done=30),
    }
    (hello,) = tree(campaign(), found, came=200)
    assert (hello.share, hello.conversion) == (100.0, 50.0)
    (then,) = hello.forks
    assert (then.branch, then.percent) == (None, None)
    (visited,) = then.nodes
    assert (visited.share, visited.conversion) == (80.0, 80.0)
    assert [(fork.branch, fork.n, fork.percent) for fork in visited.forks] == [("yes", 30, 37.5), ("no", 10, 12.5)]
    assert [node.step.key for node in visited.forks[0].nodes] == ["hot"]
    # Nothing is below "no", and still it says who went there.
    assert visited.forks[1].nodes == []
    assert visited.forks[0].nodes[0].conversion == 37.5


def test_before_anybody_came_there_are_no_percentages() -> None:
    found = {
        "hello": figures("hello", "action"),
        "visited": figures("visited", "decision"),
        "hot": figures("hot", "action"),
    }
    (hello,) = tree(campaign(), found, came=0)
    assert (hello.share, hello.conversion, hello.parts) == (0.0, None, ())
    # A side with nothing below that nobody took is left out.
    assert [(fork.branch, fork.percent) for fork in hello.forks[0].nodes[0].forks] == [("yes", None)]


counts = st.integers(0, 10**7)


@given(counts, st.fixed_dictionaries(dict.fromkeys(RESULTS, counts)))
def test_a_bar_is_whole_and_its_parts_do_not_overlap(waiting: int, results: dict[str, int]) -> None:
    found = parts(figures("s", "action", waiting, **results))
    assert sum(part.n for part in found) == waiting + sum(results.values())
    end = 0.0
    for part in found:
        assert part.n > 0
        assert part.left == pytest.approx(end, abs=0.01)
        end = part.left + part.width
    assert not found or end == pytest.approx(100, abs=0.01)


def test_a_share_of_nothing_is_none() -> None:
    assert percent(1, 0) is None
    assert percent(1, 3) == 33.3


def _every(nodes: list[TreeStep]) -> list[TreeStep]:
    return [each for node in nodes for each in (node, *_every([n for fork in node.forks for n in fork.nodes]))]


def test_every_step_of_the_campaign_is_in_the_tree_once() -> None:
    made = campaign()
    found = {step.key: figures(step.key, step.kind.value) for step in made.steps.values()}
    assert sorted(node.step.key for node in _every(tree(made, found, came=0))) == sorted(found)


def test_more_who_reach_a_step_than_came_are_no_share() -> None:
    """Somebody who runs twice, or jumps in from elsewhere, is counted at the step and not before it."""
    assert (conversion(4, 2), conversion(2, 2), conversion(0, 0)) == (None, 100.0, None)
