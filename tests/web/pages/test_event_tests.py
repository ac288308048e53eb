"""Tests of an event's data have fields: in the settings, in a step and in a rule; as they work without a script."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain import operators
from parcours.domain.campaign_file import edit
from parcours.domain.events.matching import PropertyTest
from parcours.producers.files.campaigns import write
from parcours.web.i18n.language import Reader, speaking
from parcours.web.pages import event_tests
from parcours.web.security.access import FormBody
from tests.web.conftest import Client
from tests.web.pages.test_builder import Builder, file_of, world
from tests.web.pages.test_draft_rules import RULE, Panel
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_segment_form import Editor
from tests.workers.worlds import World

__all__ = ["world"]

SCALARS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["100", "1500,5", "true", "today", "+P1D", "a, b", "[a]", '"q"', "30 days", "2026-12-24", " a", "~"]
    ),
    st.integers(-5, 5000),
    st.floats(allow_nan=False),
    st.booleans(),
)
VALUES = st.one_of(st.none(), SCALARS, st.lists(SCALARS, max_size=3), st.just({"a": 1}))
TESTS = st.fixed_dictionaries(
    {"field": st.text(max_size=6), "operator": st.sampled_from([*operators.OPERATORS, ">", "<=", "odd"])},
    optional={"value": VALUES},
)


def sent(found: tuple[event_tests.EventTest, ...]) -> list[tuple[str, str]]:
    """Return the fields of tests as a browser sends them."""
    rows = [
        (f"w-{n}-{part}", getattr(each, part))
        for n, each in enumerate(found)
        for part in ("field", "operator", "value")
        if part != "value" or each.kind != "hidden"
    ]
    return [("w-tests", "1"), *rows]


@given(tests=st.lists(TESTS, max_size=3), language=st.sampled_from(["en", "fr"]))
def test_what_the_fields_show_comes_back_and_what_they_cannot_show_is_left_to_yaml(
    tests: list[dict[str, Any]], language: str
) -> None:
    with speaking(Reader(language)):
        if not event_tests.can_show(tests):
            return
        fields = sent(event_tests.shown(tests))
        assert event_tests.read(FormBody(fields), "w", tests) is tests
        # Another one beside them leaves them what they are, whatever they are called.
        added = {"field": "new", "operator": "empty"}
        more = [each if each[0] != f"w-{len(tests)}-field" else (each[0], "new") for each in fields]
        more = [each if each[0] != f"w-{len(tests)}-operator" else (each[0], "empty") for each in more]
        assert event_tests.read(FormBody(more), "w", tests) == event_tests.plain([*tests, added])


@pytest.mark.parametrize(
    ("operator", "text", "value"),
    [
        ("gt", "1500.5", 1500.5),
        ("=", "FR", "FR"),
        ("=", "true", True),
        ("in", 'Marseille, "a, b", 5', ["Marseille", "a, b", 5]),
        ("older_than", "30 days", "30 days"),
        ("date", "Tomorrow", "+P1D"),
        ("startsWith", "A-", "A-"),
    ],
)
def test_what_somebody_writes_is_what_a_file_would_have(operator: str, text: str, value: Any) -> None:
    form = FormBody([("w-tests", "1"), ("w-0-field", "x"), ("w-0-operator", operator), ("w-0-value", text)])
    made = event_tests.read(form, "w", None)
    assert made == [{"field": "x", "operator": operator, "value": value}]
    assert PropertyTest.model_validate(made[0])
    assert event_tests.can_show(made)


@pytest.fixture
def builder(client: Client, world: World) -> Builder:
    return Builder(client(), "/campaigns/c/build")


def step_of(world: World, key: str) -> Any:
    return edit.find(file_of(world), key).step["with"]


def test_the_tests_of_a_step_are_fields_and_an_empty_one_follows_the_last(builder: Builder, world: World) -> None:
    builder.add("decision event.happened")
    panel = Panel(builder, step="event-happened")
    assert "<textarea" not in panel.page[panel.page.index("Only if its data says") :][:3000]
    panel.press(**{"with-type": "order.paid", "with-where-0-field": "total"})
    assert "value" in text_of(panel.page)
    panel.press(**{"with-where-0-operator": "gte", "with-where-0-value": "100"})
    panel.press(**{"with-where-1-field": "coupon", "with-where-1-operator": "empty"})
    assert 'id="with-where-1-value"' not in panel.page
    assert 'id="with-where-2-field"' in panel.page
    assert step_of(world, "event-happened") == {
        "type": "order.paid",
        "where": [{"field": "total", "operator": "gte", "value": 100}, {"field": "coupon", "operator": "empty"}],
    }
    assert "error to fix first" not in text_of(panel.page)
    panel.press(**{"with-where-0-field": ""})
    panel.press(**{"with-where-0-field": ""})
    assert step_of(world, "event-happened") == {"type": "order.paid"}


@pytest.mark.parametrize(
    "where",
    [
        [{"field": "total", "operator": ">", "value": "100"}],
        [],
        [{"field": "a", "operator": "=", "value": {"b": 1}}],
        [{"field": "a", "operator": "empty", "value": 1}],
        [{"field": "a"}],
        [{"field": "a", "operator": "=", "value": 1, "more": 2}],
        [{"field": "a", "operator": "=", "value": "two\nlines"}],
        [{"field": "a", "operator": "=", "value": 1}] * 21,
        "none",
    ],
)
def test_tests_that_nobody_changes_stay_as_they_are_written(builder: Builder, world: World, where: Any) -> None:
    builder.add("decision event.happened")
    given = {"type": "order.paid", "where": where}
    builder.does("yaml", text=write(edit.change(file_of(world), "event-happened", {"with": given})))
    Panel(builder, step="event-happened").press(name="Named")
    assert step_of(world, "named") == given
    # And in a rule.
    rule = {"all": [{"condition": "event.count", "with": given}]}
    builder.add("decision contact.matches")
    builder.does("yaml", text=write(edit.change(file_of(world), "contact-matches", {"with": {"rule": rule}})))
    Panel(builder, step="contact-matches").press(name="Other")
    assert step_of(world, "other") == {"rule": rule}


def test_tests_that_were_drawn_as_yaml_are_read_as_yaml(builder: Builder, world: World) -> None:
    builder.add("decision event.happened")
    panel = Panel(builder, step="event-happened")
    fields = {name: text for name, text in panel.fields().items() if not name.startswith("with-where")}
    text = "- {field: total, operator: gt, value: 5}"
    answer = builder.http.post(builder.base, data={**fields, "with-type": "a.b", "with-where": text})
    assert answer.status_code == 200
    where = [{"field": "total", "operator": "gt", "value": 5}]
    assert step_of(world, "event-happened") == {"type": "a.b", "where": where}


def test_a_mapping_of_a_step_has_a_field_for_each_thing_it_says(builder: Builder, world: World) -> None:
    builder.add("condition contact.campaigns")
    panel = Panel(builder, step="contact-campaigns")
    panel.press(**{"with-campaigns-more": "c", "with-added-operator": "before", "with-added-date": "2026-12-24"})
    added = {"operator": "before", "date": "2026-12-24"}
    assert step_of(world, "contact-campaigns") == {"campaigns": ["c"], "added": added}
    assert "error to fix first" not in text_of(panel.page)
    panel.press(**{"with-added-operator": "", "with-added-date": "", "with-added-within": "soon"})
    assert "Enter a whole number and a unit" in text_of(panel.page[panel.page.index('id="with-added-said"') :][:900])
    panel.press(**{"with-added-within": ""})
    assert step_of(world, "contact-campaigns") == {"campaigns": ["c"]}


def test_a_rule_about_events_and_campaigns_is_made_without_yaml(builder: Builder, world: World) -> None:
    world.by_rule("s", {"condition": "contact.tags", "with": {"tags": ["a"]}})
    editor = Editor(builder.http, "s")
    editor.send(press={"rule_do": "remove:0"})
    editor.send(press={"rule_do": "add:", "rule_new.": "event.count"})
    editor.send(
        press={"rule_do": "test:0"},
        **{"rule.0.with.type": "order.paid", "rule.0.with.where-0-field": "total",
           "rule.0.with.where-0-operator": "gt", "rule.0.with.where-0-value": "1500"},
    )  # fmt: skip
    assert 'name="rule.0.with.where-1-field"' in editor.answer.text
    assert '<datalist id="rule-events">' in editor.answer.text
    editor.send(press={"rule_do": "add:", "rule_new.": "contact.campaigns"})
    review = editor.send(
        press={"review": "1"},
        **{"rule.1.with.campaigns": "c", "rule.1.with.added-within": "30 days"},
    )
    assert review.status_code == 200, text_of(review.text)
    editor.send(press={"rule_do": "yaml"})
    wanted = {
        "all": [
            {
                "condition": "event.count",
                "with": {"type": "order.paid", "where": [{"field": "total", "operator": "gt", "value": 1500}]},
            },
            {"condition": "contact.campaigns", "with": {"campaigns": ["c"], "added": {"within": "30 days"}}},
        ]
    }
    [(_name, shown)] = [each for each in editor.fields().items() if each[0] == "rule_yaml"]
    assert shown == [write(wanted)]


def test_another_test_of_a_rule_in_a_draft_has_the_focus(builder: Builder, world: World) -> None:
    builder.add("decision contact.matches")
    panel = Panel(builder, step="contact-matches")
    panel.press(**{f"{RULE}_do": "add:", f"{RULE}_new.": "event.count"})
    where = f"{RULE}.0.with.where"
    panel.press(**{f"{where}-0-field": "total", f"{where}-0-value": "5", f"{RULE}_do": "test:0"})
    assert f'data-focus="{RULE}-0-where-1-field"' in panel.page
    assert f'id="{RULE}-0-where-1-field"' in panel.page


def test_errors_name_a_comparison_as_it_is_chosen(builder: Builder) -> None:
    builder.add("decision event.happened")
    panel = Panel(builder, step="event-happened")
    panel.press(**{"with-type": "a.b", "with-where-0-field": "total"})
    said = panel.press(**{"with-where-0-operator": "in", "with-where-0-value": ""})
    assert "“is one of” needs at least one value." in said
    said = panel.press(**{"with-where-0-operator": "date", "with-where-0-value": "soon"})
    assert "Choose a day from the list, or enter a date such as 2026-12-24." in said
    assert "The operator" not in said


def test_a_button_for_another_test_beside_what_is_no_list_breaks_nothing(builder: Builder) -> None:
    builder.add("decision contact.matches")
    panel = Panel(builder, step="contact-matches")
    panel.press(**{f"{RULE}_do": "add:", f"{RULE}_new.": "event.count"})
    fields = {name: text for name, text in panel.fields().items() if ".with.where" not in name}
    sent = {**fields, f"{RULE}.0.with.where": "5", f"{RULE}_do": "test:0"}
    assert builder.http.post(builder.base, data=sent).status_code == 200
