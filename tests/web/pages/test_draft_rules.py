"""Rules of a campaign in the builder: of a decision, an exit and the goal; as they work without a script."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from parcours.domain.campaign_file import edit
from tests.web.conftest import Client
from tests.web.pages.test_builder import Builder, file_of, world
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_segment_form import fields_of
from tests.workers.worlds import World

__all__ = ["world"]


@pytest.fixture
def builder(client: Client, world: World) -> Builder:
    return Builder(client(), "/campaigns/c/build")


class Panel:
    """The form of a panel in a browser without script."""

    def __init__(self, builder: Builder, **asked: Any) -> None:
        self.builder = builder
        self.page = builder.page(**asked)

    def fields(self) -> dict[str, Any]:
        panel = self.page[self.page.index('id="panel"') :]
        found: dict[str, Any] = {}
        for name, value in fields_of(panel[: panel.index('id="effects"')]):
            found[name] = [*found.get(name, []), value]
        return found

    def press(self, **fields: Any) -> str:
        """Send the form with some fields changed, and return what the page says."""
        answer = self.builder.http.post(self.builder.base, data={**self.fields(), **fields})
        assert answer.status_code == 200, answer.text
        self.page = answer.text
        self.url = answer.url
        return text_of(self.page)

    def count(self, rule: str) -> str:
        answer = self.builder.http.post(f"{self.builder.base}/count", params={"rule": rule}, data=self.fields())
        return text_of(answer.text).strip()


RULE = "with-rule"


def test_a_decision_by_rule_is_built_part_by_part_counted_and_undone(builder: Builder, world: World) -> None:
    world.contacts("carl", country="FR")
    builder.add("decision contact.matches")
    panel = Panel(builder, step="contact-matches")
    assert "Add condition" in panel.page
    assert panel.count(RULE) == "The rule is not complete yet."
    panel.press(**{f"{RULE}_do": "add:", f"{RULE}_new.": "contact.field"})
    assert 'data-focus="with-rule-0-type"' in panel.page
    said = panel.press(**{f"{RULE}.0.with.field": "country", f"{RULE}.0.with.operator": "="})
    assert "value" in said
    panel.press(**{f"{RULE}.0.with.value": "FR"})
    assert panel.count(RULE) == "1 of 3 contacts matches."
    panel.press(**{f"{RULE}_do": "group:"})
    assert "Must not be empty; list at least one condition." in text_of(panel.page)
    panel.press(**{f"{RULE}_do": "add:1", f"{RULE}_new.1": "contact.points"})
    panel.press(**{f"{RULE}.1.0.with.points": "x"})
    assert 'id="with-rule-1-0-points-errors"' in panel.page
    panel.press(**{f"{RULE}.1.0.with.points": "40", f"{RULE}.1.0.negated": "1"})
    rule = edit.find(file_of(world), "contact-matches").step["with"]["rule"]
    assert rule["all"][0] == {
        "condition": "contact.field",
        "with": {"field": "country", "operator": "=", "value": "FR"},
    }
    assert rule["all"][1]["any"][0]["not"]["with"]["points"] == 40
    assert "error to fix first" not in text_of(panel.page)
    # Each edit is one change of the draft.
    builder.does("undo")
    assert "not" not in edit.find(file_of(world), "contact-matches").step["with"]["rule"]["all"][1]["any"][0]
    panel = Panel(builder, step="contact-matches")
    panel.press(**{f"{RULE}_do": "remove:0"})
    assert len(edit.find(file_of(world), "contact-matches").step["with"]["rule"]["all"]) == 1


def test_a_panel_is_drawn_anew_only_when_it_has_other_fields(builder: Builder, world: World) -> None:
    builder.add("decision contact.matches")
    panel = Panel(builder, step="contact-matches")
    shapes = []
    for changed in (
        {f"{RULE}_do": "add:", f"{RULE}_new.": "contact.field"},
        {f"{RULE}.0.with.field": "country"},
        {f"{RULE}.0.with.value": "FR"},
        {f"{RULE}.0.with.operator": "empty"},
    ):
        panel.press(**changed)
        shapes += re.findall(r'data-for="([^"]*)"', panel.page)
    assert [a == b for a, b in pairwise(shapes)] == [True, True, False]


@pytest.mark.parametrize(
    "rule",
    [
        {"condition": "contact.tags", "with": {"tags": ["a"]}},
        {"not": {"not": {"condition": "contact.field", "with": {"field": "a", "operator": ">", "value": 5}}}},
        {"all": [{"condition": "of.another.package", "with": {"what": [1, {"x": None}]}}]},
        {"all": [{"condition": "contact.tags", "with": {"tagz": ["a"]}}]},
        {"all": "everything"},
        "no rule at all",
    ],
)
def test_a_rule_that_nobody_changes_stays_as_it_is_written(builder: Builder, world: World, rule: Any) -> None:
    builder.add("decision contact.matches")
    text = {"with": {"rule": rule}}
    data = file_of(world)
    changed = edit.change(data, "contact-matches", text)
    from parcours.producers.files.campaigns import write

    builder.does("yaml", text=write(changed))
    panel = Panel(builder, step="contact-matches")
    panel.press(name="Named")
    step = edit.find(file_of(world), "named").step
    assert step["with"] == {"rule": rule}
