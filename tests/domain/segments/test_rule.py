"""Rules: reading them, and what can be told of them without contacts."""

from __future__ import annotations

from typing import Any

import pytest

from parcours.domain.segments import file as segment_file
from parcours.domain.segments import rule as rules
from parcours.domain.segments.parsing import MOST_CONDITIONS, parse
from parcours.domain.steps.types import Need, RefersTo

TAGGED = {"condition": "contact.tags", "with": {"tags": ["customer"]}}


def _problems(data: Any) -> list[tuple[str, str]]:
    found, problems = parse(data)
    assert (found is None) == bool(problems)
    return [(".".join(map(str, each.path)), each.sentence) for each in problems]


def test_a_rule_is_read_as_it_was_written() -> None:
    found, problems = parse(
        {
            "all": [
                TAGGED,
                {"any": [TAGGED, {"not": {"condition": "contact.points", "with": {"operator": ">", "points": 5}}}]},
            ]
        }
    )
    assert not problems
    assert isinstance(found, rules.All)
    first, second = found.rules
    assert isinstance(first, rules.Condition)
    assert first.path == ("rule", "all", 0)
    assert isinstance(second, rules.Any)
    assert [each.type.name for each in rules.conditions(found)] == ["contact.tags", "contact.tags", "contact.points"]
    assert rules.needs(found) == {Need.TAGS}


@pytest.mark.parametrize(
    ("data", "path", "sentence"),
    [
        ([TAGGED], "rule", "a list; write all: [...] or any: [...]"),
        (None, "rule", "a mapping with one of all, any, not and condition, not nothing"),
        ({"al": [TAGGED]}, "rule.al", "did you mean 'all'?"),
        ({"all": [TAGGED], "any": [TAGGED]}, "rule", "not several"),
        ({"all": []}, "rule.all", "must not be empty"),
        ({"all": TAGGED}, "rule.all", "must be a list of rules, not a mapping"),
        ({"not": [TAGGED]}, "rule.not", "write all"),
        ({"any": [{"not": {"condition": "contact.tgs"}}]}, "rule.any.0.not.condition", "did you mean 'contact.tags'?"),
        ({"condition": "contact.tags", "with": {"tag": ["a"]}}, "rule.with.tag", "did you mean 'tags'?"),
        ({"condition": "email.open"}, "rule.condition", "is a decision"),
        (
            {"condition": "contact.field", "with": {"field": "day", "operator": "gt", "value": "-P30D"}},
            "rule.with",
            "use the operator within with the value '30 days'",
        ),
        (
            {"condition": "contact.field", "with": {"field": "entry.total", "operator": "gt", "value": 5}},
            "rule.with",
            "'entry' is known only in campaigns",
        ),
        (
            {
                "condition": "contact.field",
                "with": {"field": "total", "operator": "=", "value": {"field": "entry.total"}},
            },
            "rule.with",
            "test the event with the condition event.count",
        ),
    ],
)
def test_what_is_wrong_with_a_rule_is_said_with_its_place(data: Any, path: str, sentence: str) -> None:
    assert any(where == path and sentence in said for where, said in _problems(data)), _problems(data)


def test_a_rule_of_enormous_depth_or_length_is_refused() -> None:
    deep: dict[str, Any] = TAGGED
    for _ in range(50_000):
        deep = {"not": deep}
    assert "deep" in _problems(deep)[0][1]
    deep = TAGGED
    for _ in range(21):
        deep = {"not": deep}
    assert "at most 20 levels" in _problems(deep)[0][1]
    assert "split it" in _problems({"all": [TAGGED] * (MOST_CONDITIONS + 1)})[0][1]
    assert len(_problems({"all": [{"condition": "nothing"}] * 1_000})) <= 101


def test_what_only_makes_sense_in_a_campaign_is_refused() -> None:
    assert "only in campaigns" in _problems({"condition": "split.random", "with": {"percent": 10}})[0][1]
    [(path, sentence)] = _problems({"condition": "contact.campaigns", "with": {"campaigns": ["welcome", "this"]}})
    assert path == "rule.with"
    assert "the key of a campaign" in sentence


def test_a_rule_names_what_it_refers_to() -> None:
    found, _ = parse({"any": [{"condition": "contact.segments", "with": {"segments": ["a", "b"]}}, TAGGED]})
    assert found is not None
    assert list(rules.references(found)) == [
        (("rule", "any", 0, "with", "segments"), RefersTo.SEGMENT, "a"),
        (("rule", "any", 0, "with", "segments"), RefersTo.SEGMENT, "b"),
    ]
    assert rules.segments(found) == {"a", "b"}


@pytest.mark.parametrize(
    ("asked", "circle"),
    [
        ({"a": ["b"], "b": ["c"], "c": ["b", "a"]}, ["a", "b", "c", "a"]),
        ({"a": ["a"]}, ["a", "a"]),
        ({"a": ["b", "d"], "b": ["c"], "c": ["b"], "d": []}, None),
        ({"a": ["gone"]}, None),
        ({f"{n}": [f"{n + 1}"] for n in range(5_000)} | {"a": ["0"]}, None),
    ],
)
def test_a_circle_of_segments_is_found(asked: dict[str, list[str]], circle: list[str] | None) -> None:
    assert rules.circle("a", asked) == circle


def test_the_file_of_a_campaign_gets_one_sentence_that_names_its_command() -> None:
    file, (problem,) = segment_file.check({"campaign": "welcome", "sources": {}, "steps": []})
    assert file is None
    assert "parcours campaigns apply" in problem.sentence
