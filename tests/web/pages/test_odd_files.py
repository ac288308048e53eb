"""The builder with a file that is YAML and no campaign: its pages say what is wrong, and every operation answers."""

from __future__ import annotations

from typing import Any

import pytest

from parcours.domain.campaign_file import edit
from tests.web.conftest import Client
from tests.web.pages.test_builder import Builder, file_of, world
from tests.web.pages.test_draft_rules import Panel
from tests.web.pages.test_overview_pages import text_of
from tests.workers.worlds import World

__all__ = ["world"]

ODD = ("[1]", "5", "text", "{a: 1}", "[[a]]", "[null]", "[{}]", "true", "likee")
STEPS = "\nsteps: [{step: hello, action: contact.points, with: {points: 1}}, {step: b, action: contact.points}]"
JUMP = "steps: [{step: hello, action: campaign.jump, with: {to: %s}}, {step: b, action: contact.points}]"
TEST = "exit: [{event: order.paid, where: [{field: a, operator: %s, value: 1}]}]"
RULED = "{condition: contact.field, with: {field: a, operator: %s, value: 1}}"
FILES = (
    "redirect: %s" + STEPS,
    "sources: {segments: %s}" + STEPS,
    "sources: {forms: %s}" + STEPS,
    TEST + STEPS,
    "exit: [{rule: " + RULED + "}]" + STEPS,
    "goal: {rule: " + RULED + "}" + STEPS,
    JUMP,
    "steps: [{step: hello, condition: contact.field, with: {field: a, operator: %s, value: 1}}]",
    "steps: [{step: hello, condition: contact.created, with: {operator: %s}}]",
    "steps: [{step: hello, decision: contact.matches, with: {rule: " + RULED + "}}]",
)
PAGES: tuple[dict[str, Any], ...] = ({}, {"settings": 1}, {"step": "hello"}, {"yaml": 1}, {"q": "a"})


@pytest.fixture
def builder(client: Client, world: World) -> Builder:
    return Builder(client(), "/campaigns/c/build")


@pytest.mark.parametrize("file", FILES)
def test_every_page_and_operation_stands_a_value_of_another_shape(builder: Builder, world: World, file: str) -> None:
    for odd in ODD:
        builder.does("yaml", text=file % odd)
        for asked in PAGES:
            builder.page(**asked)
        assert builder.review().status_code == 200
        before = file_of(world)
        for does, fields in (
            ("rename", {"key": "hallo"}),
            ("redirect", {"from": "visited", "to": "hello"}),
            ("copy", {}),
            ("set", {"name": "x"}),
            ("settings", {"name": "x", "rows-do": "add:exit:event"}),
        ):
            builder.does(does, step="hello", **fields)
            while file_of(world) != before:
                assert "Undone" in text_of(builder.does("undo").text), (does, odd)


def test_a_redirect_that_is_no_mapping_is_said_to_be_wrong(builder: Builder) -> None:
    builder.does("yaml", text="redirect: [hello]" + STEPS)
    assert "must be a mapping of removed steps to steps" in text_of(builder.review().text).lower()


def test_an_operator_that_there_is_not_is_shown_as_it_is_written_and_kept(builder: Builder, world: World) -> None:
    rule = {"condition": "contact.field", "with": {"field": "a", "operator": "likee", "value": 1}}
    text = "steps: [{step: hello, decision: contact.matches, with: {rule: " + RULED % "likee" + "}}]"
    builder.does("yaml", text=text)
    panel = Panel(builder, step="hello")
    panel.press(name="Named")
    step = edit.find(file_of(world), "hello").step
    assert (step["name"], step["with"]) == ("Named", {"rule": rule})
