"""What differs between two files is told, whatever the name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.campaign_file.difference import Difference, differences, spoken
from parcours.domain.campaign_file.model import CampaignFile

STEP = {"step": "hello", "action": "email.send", "with": {"email": "a"}, "after": "2 days"}
BASE: dict[str, Any] = {"campaign": "c", "sources": {"segments": ["news"]}, "steps": [STEP]}
# Another value of each setting; a test below notices one that is missing.
OTHERS: dict[str, Any] = {
    "name": "Another",
    "description": "More",
    "note": "Ask sales first",
    "category": "sales",
    "publish_from": "2026-06-01T09:00:00+02:00",
    "publish_until": "2026-07-01T09:00:00+02:00",
    "reentry": "always",
    "cooldown": "3 days",
    "timezone": "Europe/Paris",
    "exit_on_leave": False,
    "grace": "2 days",
    "catch_up": {"skip": "1 day"},
    "priority": "high",
    "rate": "5 per second",
    "entry": {"most": 10},
    "exit": [{"event": "order.paid"}],
    "goal": {"event": "order.paid", "within": "14 days"},
    "control": 10,
}
NOT_COMPARED = {"campaign", "published", "redirect", "steps", "sources"}


def file(**changed: Any) -> CampaignFile:
    return CampaignFile.model_validate({**BASE, **changed})


def told(before: CampaignFile, after: CampaignFile) -> list[str]:
    return [f"{each.step or ''} {each.name}: {each.words()}".strip() for each in differences(before, after)]


@pytest.mark.parametrize("name", sorted(CampaignFile.model_fields.keys() - NOT_COMPARED))
def test_every_setting_that_differs_is_told_the_ones_that_come_later_too(name: str) -> None:
    value = OTHERS.get(name)
    if value is None:
        pytest.fail(f"give a value of {name!r} in OTHERS")
    assert [each.name for each in differences(file(), file(**{name: value}))] == [name]
    assert [each.name for each in differences(file(**{name: value}), file())] == [name]


def test_values_are_told_as_the_file_has_them() -> None:
    after = file(reentry="always", exit_on_leave=False, sources={"segments": ["vip"], "forms": ["signup"]})
    assert told(file(), after) == [
        "reentry: never → always",
        "exit_on_leave: yes → no",
        "sources.segments: + vip, - news",
        "sources.forms: + signup",
    ]


def test_a_step_tells_what_changed_in_it_and_not_what_is_below() -> None:
    later = {**STEP, "after": "5 days", "with": {"email": "b"}, "then": [{"step": "x", "action": "contact.points"}]}
    assert told(file(), file(steps=[later])) == ["hello after: 2 days → 5 days", "hello with.email: a → b"]


def test_a_new_order_of_a_list_is_told_and_long_texts_are_cut() -> None:
    assert Difference(None, "x", ["a", "b"], ["b", "a"]).words() == "a, b → b, a"
    assert Difference(None, "x", "y" * 100, "y" * 100 + "z").words() == f"… → {'y' * 59}…"


def test_files_that_are_alike_differ_in_nothing() -> None:
    assert differences(file(), file(published=True, redirect={"old": "hello"})) == []


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_value_is_told_in_one_short_line(value: Any) -> None:
    said = spoken(value)
    assert len(said) <= 60
    assert len(said.splitlines()) <= 1
