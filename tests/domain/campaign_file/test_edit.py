"""Changes to a campaign file as data, as the builder makes them."""

from __future__ import annotations

import copy as copying
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.edit import EditError, StepPlace
from parcours.domain.campaign_file.model import BRANCH_NAMES
from parcours.producers.files.campaigns import document_of, write

TREE: dict[str, Any] = {
    "campaign": "welcome",
    "sources": {"segments": ["news"]},
    "steps": [
        {
            "step": "hello",
            "action": "email.send",
            "with": {"email": "hello"},
            "then": [
                {
                    "step": "opened",
                    "decision": "email.open",
                    "yes": [{"step": "points", "action": "contact.points", "with": {"points": 5}}],
                    "no": [
                        {"step": "tag", "action": "contact.tags", "with": {"add": ["cold"]}, "after": "3 days"},
                        {"step": "again", "action": "campaign.jump", "with": {"to": "hello"}, "after": "9 days"},
                    ],
                }
            ],
        },
        {"step": "last", "action": "contact.points", "with": {"points": 1}},
    ],
}


def new(key: str = "new", type_: str = "contact.points", kind: str = "action") -> dict[str, Any]:
    return {"step": key, kind: type_, "with": {"points": 2}}


def own(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each step says of itself."""
    return {
        each.step["step"]: {name: value for name, value in each.step.items() if name not in BRANCH_NAMES}
        for each in edit.walk(data)
    }


def places(data: dict[str, Any]) -> list[StepPlace]:
    """Return every place that a step may be put at."""
    found = [StepPlace(None, "steps", index) for index in range(len(data["steps"]) + 1)]
    for each in edit.walk(data):
        for name in edit.branches_of(each.step):
            found += [StepPlace(each.step["step"], name, index) for index in range(len(each.step.get(name) or []) + 1)]
    return found


TYPES = (("action", "contact.points"), ("condition", "contact.tags"), ("decision", "page.hit"))


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """Draw trees: each step is put below one that is there already."""
    data: dict[str, Any] = {"campaign": "c", "sources": {"segments": ["s"]}, "steps": []}
    for number in range(draw(st.integers(1, 12))):
        kind, type_ = draw(st.sampled_from(TYPES))
        data = edit.insert(data, draw(st.sampled_from(places(data))), {"step": f"s{number}", kind: type_})
    return data


@given(files(), st.data())
def test_what_was_inserted_and_is_removed_leaves_the_file_as_it_was(data: dict[str, Any], draw: st.DataObject) -> None:
    before = copying.deepcopy(data)
    place = draw.draw(st.sampled_from(places(data)))
    around = draw.draw(st.booleans())
    changed = edit.insert(data, place, new(), around=around)
    assert data == before
    assert "new" in edit.keys(changed)
    assert edit.remove(changed, "new", lift=around) == before


@given(files(), st.data())
def test_a_move_loses_nothing_and_moving_back_undoes_it(data: dict[str, Any], draw: st.DataObject) -> None:
    key = draw.draw(st.sampled_from(edit.keys(data)))
    place = draw.draw(st.sampled_from(places(data)))
    origin = edit.find(data, key).place
    if place.parent in edit.keys({"steps": [edit.find(data, key).step]}):
        with pytest.raises(EditError, match="below itself"):
            edit.move(data, key, place)
        return
    assert own(edit.move(data, key, place, around=True)) == own(data)
    changed = edit.move(data, key, place)
    assert own(changed) == own(data)
    assert edit.find(changed, key).step == edit.find(data, key).step
    # A place is counted before the move, so that one further down in the same list is one more.
    now = edit.find(changed, key).place
    behind = now[:2] == origin[:2] and now.nth < origin.nth
    assert edit.move(changed, key, origin._replace(nth=origin.nth + behind)) == data


@given(files(), st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 5)), max_size=12))
def test_keys_stay_unique_whatever_is_done_and_yaml_says_the_same(
    data: dict[str, Any], done: list[tuple[int, int, int]]
) -> None:
    for which, where, what in done:
        keys, spots = edit.keys(data), places(data)
        key = keys[which % len(keys)] if keys else ""
        place = spots[where % len(spots)]
        try:
            if what == 0:
                data = edit.move(data, key, place)
            elif what == 1:
                data, _ = edit.copy(data, key, place)
            elif what == 2:
                data = edit.remove(data, key, lift=bool(where % 2))
            elif what == 3:
                data = edit.shifted(data, key, up=bool(where % 2))
            elif what == 4:
                data = edit.rename(data, key, f"r{where}")
            else:
                data = edit.insert(data, place, {"step": edit.fresh_key("s0", keys), **_plain(which)})
        except EditError:
            continue
        found = edit.keys(data)
        assert len(found) == len(set(found))
    assert edit.normalised(document_of(Path("c.yaml"), write(data)).data) == edit.normalised(data)


def _plain(which: int) -> dict[str, Any]:
    kind, type_ = TYPES[which % 3]
    return {kind: type_}


def test_a_copy_has_keys_of_its_own_and_its_jumps_stay_inside() -> None:
    copied, key = edit.copy(TREE, "hello", StepPlace(None, "steps", 1))
    assert key == "hello-2"
    assert edit.find(copied, "again-2").step["with"] == {"to": "hello-2"}
    assert edit.find(copied, "again").step["with"] == {"to": "hello"}


def test_a_copy_that_comes_between_two_others_has_the_second_below_it() -> None:
    copied, key = edit.copy(
        edit.insert(TREE, StepPlace(None, "steps", 0), new()), "new", StepPlace("hello", "then", 0), around=True
    )
    assert edit.find(copied, "opened").place == StepPlace(key, "then", 0)


def test_a_step_between_two_others_has_the_second_below_it() -> None:
    changed = edit.insert(TREE, StepPlace("hello", "then", 0), new(), around=True)
    assert edit.find(changed, "opened").place == StepPlace("new", "then", 0)
    assert own(edit.remove(changed, "new", lift=True)) == own(TREE)


def test_a_renamed_key_takes_jumps_and_those_who_wait_with_it() -> None:
    renamed = edit.rename(TREE, "hello", "bonjour", live=["hello"])
    assert edit.find(renamed, "again").step["with"] == {"to": "bonjour"}
    assert renamed["redirect"] == {"hello": "bonjour"}
    twice = edit.rename(renamed, "bonjour", "salut", live=["hello"])
    assert twice["redirect"] == {"hello": "salut"}
    assert "redirect" not in edit.rename(twice, "salut", "hello", live=["hello"])


@pytest.mark.parametrize(
    ("key", "up", "order"),
    [
        ("last", True, ["last", "hello", "opened", "points", "tag", "again"]),
        ("tag", False, ["hello", "opened", "points", "again", "tag", "last"]),
        ("points", True, ["hello", "points", "opened", "tag", "again", "last"]),
    ],
)
def test_a_step_moves_past_its_neighbour_or_the_step_above(key: str, up: bool, order: list[str]) -> None:
    changed = edit.shifted(TREE, key, up=up)
    assert edit.keys(changed) == order
    assert own(changed) == own(TREE)


def test_only_what_may_stand_at_a_place_is_offered_and_the_rest_says_why() -> None:
    def why(place: StepPlace, name: str, *, around: bool = False) -> str | None:
        return {each.type.name: each.why_not for each in edit.allowed(TREE, place, around=around)}[name]

    assert why(StepPlace(None, "steps", 0), "email.open") == (
        "it is about a message of the channel email; add a step that sends one above"
    )
    assert why(StepPlace("hello", "then", 0), "email.open") is None
    assert why(StepPlace("hello", "then", 0), "contact.delete", around=True) == (
        "no step can follow it; add it at the end of a branch"
    )
    assert why(StepPlace("opened", "yes", 0), "page.hit") == (
        "a decision cannot directly follow a decision; put an action or condition between them"
    )
    assert why(StepPlace("again", "then", 0), "contact.points") == "nothing can follow the step above"
    with pytest.raises(EditError):
        edit.allowed(TREE, StepPlace("hello", "yes", 0))


@pytest.mark.parametrize(
    "given_",
    [
        [],
        {"steps": {}},
        {"steps": [1]},
        {"steps": [{"step": 1}]},
        {"steps": [{"step": "a", "then": {"b": 1}}]},
        {"steps": [{"step": "a"}, {"step": "a"}]},
        {"steps": [{"action": ["x"]}]},
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_sentence(given_: object) -> None:
    with pytest.raises(EditError, match=r"^.{20,}$"):
        edit.normalised(given_)


def test_steps_without_a_key_get_one_of_their_name_or_type() -> None:
    steps = [{"action": "email.send", "name": "Été"}, {"action": "email.send"}, {"action": "email.send", "then": []}]
    assert edit.keys(edit.normalised({"steps": steps})) == ["ete", "email-send", "email-send-2"]


def test_a_value_that_is_nothing_is_taken_out_and_branches_stay_last() -> None:
    changed = edit.change(TREE, "hello", {"with": None, "after": "1 day"})
    assert list(edit.find(changed, "hello").step) == ["step", "action", "after", "then"]
    with pytest.raises(EditError):
        edit.change(TREE, "hello", {"then": []})
    assert edit.change(TREE, None, {"name": "Welcome"})["name"] == "Welcome"
