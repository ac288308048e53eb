"""Rules of a campaign in the builder: of a decision, an exit and the goal; as they work without a script."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import pytest

from parcours.domain.campaign_file import edit
from parcours.producers.files.campaigns import write
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
    assert 'data-focus="with-rule-0--type"' in panel.page
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
    builder.does("yaml", text=write(changed))
    panel = Panel(builder, step="contact-matches")
    panel.press(name="Named")
    step = edit.find(file_of(world), "named").step
    assert step["with"] == {"rule": rule}


def test_exits_and_the_goal_are_entries_with_fields_and_rules_of_their_own(builder: Builder, world: World) -> None:
    panel = Panel(builder, settings=1)
    panel.press(**{"rows-do": "add:exit:event"})
    panel.press(**{"exit-0-event": "order.paid", "exit-0-where-0-field": "total", "exit-0-where-0-operator": "gte",
                   "exit-0-where-0-value": "50"})  # fmt: skip
    panel.press(**{"rows-do": "add:exit:segment"})
    assert "There is no segment" not in text_of(panel.page)
    panel.press(**{"exit-1-segment": "everyone"})
    panel.press(**{"rows-do": "add:exit:rule"})
    assert 'data-focus="exit-2-rule-root-new"' in panel.page
    panel.press(**{"exit-2-rule_do": "add:", "exit-2-rule_new.": "contact.points"})
    panel.press(**{"exit-2-rule.0.with.points": "10"})
    assert panel.count("exit-2-rule") == "0 of 2 contacts match."
    panel.press(**{"goal-kind": "goal-rule"})
    assert "Must not be empty; list at least one condition." in text_of(panel.page)
    panel.press(**{"goal-rule_do": "add:", "goal-rule_new.": "contact.segments"})
    panel.press(**{"goal-within": "2", "goal-within-unit": "weeks", "goal-rule.0.with.segments": ["nowhere"]})
    assert 'id="goal-rule-0-segments-errors"' in panel.page
    panel.press(**{"goal-rule.0.with.segments": ["everyone"], "control": "5"})
    file = file_of(world)
    assert file["exit"][0] == {"event": "order.paid", "where": [{"field": "total", "operator": "gte", "value": 50}]}
    assert file["exit"][1] == {"segment": "everyone"}
    assert file["exit"][2]["rule"]["all"][0]["condition"] == "contact.points"
    assert file["goal"]["within"] == "2 weeks"
    assert file["goal"]["rule"]["all"][0]["with"]["segments"] == ["everyone"]
    assert "error to fix first" not in text_of(panel.page)
    panel.press(**{"rows-do": "remove:exit:1"})
    assert [sorted(each) for each in file_of(world)["exit"]] == [["event", "where"], ["rule"]]
    builder.does("undo")
    assert len(file_of(world)["exit"]) == 3


def test_sources_limits_and_intervals_have_fields(builder: Builder, world: World) -> None:
    panel = Panel(builder, settings=1)
    panel.press(**{"rows-do": "add:events:type"})
    panel.press(**{"events-0-type": "cart.updated", "events-0-key": "cart_id", "reentry": "always"})
    panel.press(**{"rows-do": "add:dates:date"})
    dated = {"field": "birthday", "every": "year", "offset": "7", "offset-unit": "days", "side": "before"}
    panel.press(**{f"dates-0-{name}": value for name, value in dated.items()}, **{"dates-0-hour": "09:00"})
    units = {"entry_rate-unit": "hour", "cooldown-unit": "days", "grace-unit": "hours", "rate-unit": "minute"}
    panel.press(entry_most="10000", entry_rate="500", cooldown="30", grace="2", rate="100", **units)
    file = file_of(world)
    assert file["sources"]["events"] == [{"type": "cart.updated", "key": "cart_id"}]
    assert file["sources"]["dates"] == [{"field": "birthday", "every": "year", "before": "7 days", "hour": "09:00"}]
    assert file["entry"] == {"most": 10000, "rate": "500 per hour"}
    assert (file["cooldown"], file["grace"], file["rate"]) == ("30 days", "2 hours", "100 per minute")
    # What is wrong stands at its field.
    panel.press(**{"dates-0-hour": "25:00"})
    assert 'id="dates-0-hour-errors"' in panel.page


ODD_TEST = {"field": "x", "operator": ">", "value": 5}
LIST_TEST = {"field": "a", "operator": "in", "value": ["b", 3]}


@pytest.mark.parametrize(
    "settings",
    [
        {"exit": [{"event": "a.b", "where": [ODD_TEST]}, {"rule": "none"}, "odd"]},
        {"exit": {"segment": "everyone"}, "goal": ["order.paid"], "entry": {"most": 5, "odd": 1}},
        {"goal": {"event": "order.paid", "rule": {}}},
        {"exit": [{"rule": {"not": {"condition": "contact.email_valid"}}}]},
        {"cooldown": "P3D", "rate": "a few", "goal": {"event": "order.paid", "within": "PT2H"}},
        {"sources": {"segments": ["everyone"], "dates": [{"field": "a", "before": "1 day", "after": "1 day"}]}},
        {"sources": {"segments": ["everyone"], "events": ["order.paid", {"type": "x.y", "where": [LIST_TEST]}]}},
    ],
)
def test_settings_that_nobody_changes_stay_as_they_are_written(
    builder: Builder, world: World, settings: dict[str, Any]
) -> None:
    builder.does("settings", name="First", segments=["everyone"], existing="1", exit_on_leave="1")
    builder.does("yaml", text=write(edit.change(file_of(world), None, settings)))
    before = file_of(world)
    panel = Panel(builder, settings=1)
    panel.press(description="Changed")
    assert file_of(world) == {**before, "description": "Changed"}


def test_the_field_of_a_value_follows_the_operator_and_the_field(builder: Builder, world: World) -> None:
    fields = {"age": 40, "vip": True, "birthday": "1990-02-03", "city": "Lyon"}
    world.write("UPDATE contact SET fields = CAST(:fields AS jsonb) WHERE key = 'anna'", fields=json.dumps(fields))
    builder.add("condition contact.field")
    builder.add("decision contact.matches")
    single, rule = Panel(builder, step="contact-field"), Panel(builder, step="contact-matches")
    rule.press(**{f"{RULE}_do": "add:", f"{RULE}_new.": "contact.field"})
    for asked, operator, shown, typed, kept in (
        ("age", "=", 'inputmode="decimal"', "41", 41),
        ("birthday", "gt", 'type="date"', "2000-01-31", "2000-01-31"),
        ("birthday", "older_than", "30 days", "18 years", "18 years"),
        ("birthday", "date", "the same day each year", "anniversary", "anniversary"),
        ("birthday", "date", "tomorrow", "Tomorrow", "+P1D"),
        ("vip", "=", '<option value="true"', "true", True),
        ("city", "in", "separated by commas", "Lyon, Paris", ["Lyon", "Paris"]),
    ):
        for panel, step, name in (
            (single, "contact-field", "with-{}"),
            (rule, "contact-matches", f"{RULE}.0.with.{{}}"),
        ):
            own = {name.format("field"): asked, name.format("operator"): operator}
            panel.page = builder.page(step=step)
            panel.press(**own, **{name.format("value"): ""})
            at = panel.page.index(f'name="{name.format("value")}"')
            assert shown in panel.page[at - 500 : at + 300], (asked, operator, name)
            panel.press(**{name.format("value"): typed})
            given = edit.find(file_of(world), step).step["with"]
            found = given["rule"]["all"][0]["with"] if "rule" in given else given
            assert found["value"] == kept
            assert type(found["value"]) is type(kept)
            # A day that goes by today is shown as it is chosen.
            assert 'value="+P' not in panel.page
    rule.press(**{f"{RULE}.0.with.operator": "empty"})
    assert f'name="{RULE}.0.with.value"' not in rule.page
