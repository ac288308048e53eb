"""Editing a rule loses nothing, wherever it is changed."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.segments import editing, parsing
from parcours.domain.segments.editing import EditedCondition, EditedGroup

CONDITIONS = st.builds(
    lambda tags: {"condition": "contact.tags", "with": {"tags": tags}},
    st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3),
)
HOWS = st.sampled_from(["all", "any"])
RULES = st.recursive(
    CONDITIONS,
    lambda below: (
        st.builds(lambda one: {"not": one}, below)
        | st.builds(
            lambda how, several: {how: several},
            st.sampled_from(["all", "any"]),
            st.lists(below, min_size=1, max_size=3),
        )
    ),
    max_leaves=8,
)
PLACES = st.sampled_from(["", "0", "1", "0.0", "0.1", "1.0.2", "9.9", "x", "0."])


def truth(data: Any, tags: frozenset[str]) -> bool:
    if "condition" in data:
        return bool(tags & set(data["with"]["tags"]))
    if "not" in data:
        return not truth(data["not"], tags)
    return (
        all(truth(each, tags) for each in data["all"])
        if "all" in data
        else any(truth(each, tags) for each in data["any"])
    )


@given(RULES, st.frozensets(st.sampled_from(["a", "b", "c"])))
def test_a_rule_that_goes_through_the_editor_says_what_it_said(rule: Any, tags: frozenset[str]) -> None:
    edited = editing.of_data(rule)
    data = editing.to_data(edited)
    assert truth(data, tags) == truth(rule, tags)
    # And the second time, it is written just so.
    assert editing.to_data(editing.of_data(data)) == data
    assert parsing.parse(data)[1] == []


@given(RULES, PLACES)
def test_what_is_added_is_there_and_goes_again_and_a_move_loses_nothing(rule: Any, place: str) -> None:
    edited = editing.of_data(rule)
    new = EditedCondition("contact.points", {"operator": "gt", "points": 5})
    grown = editing.added(edited, place, new)
    if grown != edited:
        group = edited
        for step in [int(each) for each in place.split(".") if each.isdigit()]:
            below = group.children[step]
            assert isinstance(below, EditedGroup)
            group = below
        last = f"{place}.{len(group.children)}".lstrip(".")
        assert editing.removed(grown, last.replace("..", ".")) == edited
    for by, back in ((1, -1), (-1, 1)):
        moved = editing.moved(edited, place, by)
        if moved != edited and place[-1:].isdigit():
            *above, own = place.split(".")
            assert editing.moved(moved, ".".join([*above, str(int(own) + by)]), back) == edited


def test_problems_are_found_by_the_place_of_their_part() -> None:
    rule = {
        "all": [{"not": {"condition": "contact.tag"}}, {"not": {"any": [{"condition": "contact.points", "with": {}}]}}]
    }
    edited = editing.of_data(rule)
    paths = {tuple(problem.path) for problem in parsing.parse(editing.to_data(edited))[1]}
    assert ("rule", *editing.path_of(edited, "0"), "condition") in paths
    assert any(path[: len(own)] == own for path in paths for own in [("rule", *editing.path_of(edited, "1.0"))])


def test_what_is_no_rule_is_an_empty_one() -> None:
    wrong: list[object] = [None, [], "x", {"all": "x"}, {"not": 3}, {}, {"any": [None, 7]}]
    for data in wrong:
        assert editing.of_data(data).children == ()
