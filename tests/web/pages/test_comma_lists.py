from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.segments import editing
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import Kind
from parcours.web.pages import comma_lists, panels, rule_form, setting_rows
from parcours.web.pages.rule_form import RuleChoices, RuleForm
from parcours.web.security.access import FormBody

TOWNS = ["Marseille, 13e", "Paris", ' "x" ', "[a", "“b”", "«c»", "", 'f"g, h']


@given(st.lists(st.text(alphabet=st.sampled_from(list('ab ",\n\r[“”«»\u00a0'))) | st.text()))
def test_what_is_written_as_one_text_is_read_as_the_same_entries(entries: list[str]) -> None:
    assert comma_lists.read(comma_lists.written(entries)) == entries


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("Paris, Lyon", ["Paris", "Lyon"]),
        (" Paris ,, Lyon,", ["Paris", "Lyon"]),
        ('"Marseille, 13e", Lyon', ["Marseille, 13e", "Lyon"]),
        ("“Marseille, 13e”, Lyon", ["Marseille, 13e", "Lyon"]),
        ("« Marseille, 13e », Lyon", ["Marseille, 13e", "Lyon"]),
        ("Paris\nLyon", ["Paris", "Lyon"]),
        # No mark stands around a whole entry, so that each is a letter like others.
        ('5" pipe, 6"', ['5" pipe', '6"']),
        ('"Paris" region, Lyon', ['"Paris" region', "Lyon"]),
        ('"Paris, Lyon', ['"Paris', "Lyon"]),
    ],
)
def test_entries_are_read_as_people_write_them(text: str, entries: list[str]) -> None:
    assert comma_lists.read(text) == entries


def _sent(rule: object) -> list[tuple[str, str]]:
    """Return what a browser sends of a rule with one condition."""
    seen = rule_form.view(RuleForm(rule, editing.of_data(rule)), RuleChoices())
    sent = [("rule_part", ""), ("rule..how", "all"), ("rule_part", "0"), ("rule.0.type", seen.root.children[0].type)]
    for each in seen.root.children[0].widgets:
        name = f"rule.0.with.{each.name}"
        sent += [(f"{name}.was", each.was)] if each.was else []
        sent += [(name, one) for one in each.chosen] if each.kind in ("operator", "enum") else [(name, each.value)]
    return sent


@pytest.mark.parametrize("values", [TOWNS, ["a, b", 1, "1", True], [1, 2.5]])
def test_a_list_with_commas_in_its_entries_comes_back_from_the_rule_editor_as_it_was(values: list[object]) -> None:
    rule = {"all": [{"condition": "contact.field", "with": {"field": "town", "operator": "in", "value": values}}]}
    assert rule_form.read(FormBody(_sent(rule))).data == rule


def test_an_entry_with_a_comma_can_be_written_in_the_rule_editor() -> None:
    rule = {"all": [{"condition": "contact.field", "with": {"field": "town", "operator": "in", "value": ["x"]}}]}
    sent = [(name, '"Marseille, 13e", Lyon' if name.endswith(".value") else value) for name, value in _sent(rule)]
    read = rule_form.read(FormBody([each for each in sent if not each[0].endswith(".was")])).data
    assert read["all"][0]["with"]["value"] == ["Marseille, 13e", "Lyon"]


def test_a_step_that_compares_with_a_list_keeps_commas_of_its_entries() -> None:
    found = step_type(Kind.CONDITION, "contact.field")
    given = {"field": "town", "operator": "in", "value": ["Marseille, 13e", "007", 7]}
    [shown] = [each for each in panels.widgets(found, given, {}, ()) if each.name == "value"]
    assert (shown.kind, shown.value) == ("list", '"Marseille, 13e", 007, 7')
    form = FormBody([("with-field", "town"), ("with-operator", "in"), ("with-value", f'{shown.value}, "a, b"')])
    assert panels.properties_of(found, given, form)["value"] == ["Marseille, 13e", "007", 7, "a, b"]


def test_the_test_of_an_event_keeps_commas_of_its_entries() -> None:
    entry = {"type": "order.paid", "where": [{"field": "town", "operator": "in", "value": ["Marseille, 13e", "b"]}]}
    [row] = setting_rows.rows("events", [entry], [], lambda *_args: None) or []  # type: ignore[arg-type]
    assert (row.kind, row.tests[0].value) == ("type", '"Marseille, 13e", b')
    form = FormBody(
        [
            ("events-0-type", "order.paid"),
            ("events-0-where-tests", "1"),
            ("events-0-where-0-field", "town"),
            ("events-0-where-0-operator", "in"),
            ("events-0-where-0-value", f'{row.tests[0].value}, "c, d"'),
        ]
    )
    made = setting_rows.entry(form, "events-0", "type", entry)
    assert made["where"][0]["value"] == ["Marseille, 13e", "b", "c, d"]


def test_a_rule_with_a_text_of_several_lines_is_edited_as_yaml() -> None:
    rule = {"condition": "contact.field", "with": {"field": "town", "operator": "in", "value": ["a\nb"]}}
    assert rule_form.of_draft(rule).as_yaml
    assert not rule_form.of_draft({**rule, "with": {**rule["with"], "value": ["a", "b"]}}).as_yaml  # type: ignore[dict-item]
