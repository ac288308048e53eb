from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.steps import decisions
from tests.domain.worlds import properties, takes

PAGE = "https://www.example.com/Pricing/"


@pytest.mark.parametrize(
    ("forms", "data", "taken"),
    [
        ([], {"form": "signup"}, True),
        ([], {}, True),
        (["signup", "contest"], {"form": "contest"}, True),
        (["signup"], {"form": "contest"}, False),
        (["signup"], {}, False),
        (["signup"], {"form": ["signup"]}, False),
    ],
)
def test_a_form_counts_when_it_is_one_of_those_named(forms: list[str], data: dict[str, Any], taken: bool) -> None:
    assert takes(decisions.form_submitted, {"forms": forms}, data) is taken


@pytest.mark.parametrize(
    ("pattern", "url", "taken"),
    [
        ("www.example.com/pricing", PAGE, True),
        ("www.example.com/pricing/", PAGE, True),
        ("www.example.com/pricing/*", PAGE, True),
        ("*/pricing", PAGE, True),
        ("*pric*", PAGE, True),
        ("www.example.com/pricin?", PAGE, True),
        ("pricing", PAGE, False),
        ("example.com/pricing", PAGE, False),
        ("https://www.example.com/pricing/", PAGE, True),
        ("https://www.example.com/pricing", PAGE, False),
        ("http://www.example.com/pricing/", PAGE, False),
        ("*://www.example.com/pricing/", PAGE, True),
        ("example.com", "https://example.com/", True),
        ("example.com", "//example.com", True),
        ("example.com", "example.com/", True),
        ("example.com/?a=1", "https://example.com/?a=1", True),
        ("example.com/[ab]", "https://example.com/a", False),
        ("example.com/[ab]", "https://example.com/[ab]", True),
        ("example.com", "", False),
        ("*", "", False),
    ],
)
@pytest.mark.parametrize("rule", ["url", "referrer"])
def test_an_address_matches_a_pattern_as_a_whole(rule: str, pattern: str, url: str, taken: bool) -> None:
    assert takes(decisions.page_hit, {rule: [pattern]}, {rule: url}) is taken


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        ({"page": "Pricing-2"}, True),
        ({"url": "https://a.example"}, True),
        ({"referrer": "https://search.example/?q=1", "url": "https://other.example"}, True),
        ({"page": "https://a.example"}, False),
        ({"url": "pricing-2"}, False),
        ({}, False),
        ({"page": 3, "url": None, "referrer": ["search.example/"]}, False),
    ],
)
def test_one_matching_rule_is_enough_and_each_looks_at_its_own(data: dict[str, Any], taken: bool) -> None:
    rules = {"pages": ["pricing-?"], "url": ["a.example", "b.example"], "referrer": ["search.example/*"]}
    assert takes(decisions.page_hit, rules, data) is taken


@pytest.mark.parametrize("rules", [{}, {"url": ""}, {"pages": [" "], "referrer": []}])
def test_without_a_rule_any_page_will_do(rules: dict[str, Any]) -> None:
    assert takes(decisions.page_hit, rules, {})


def test_patterns_may_be_one_text_with_commas() -> None:
    found = properties(decisions.page_hit, {"url": "a.example/*, b.example ,"})
    assert found.model_dump()["url"] == ["a.example/*", "b.example"]


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab/:."),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(st.text("ab*?[]!/:.", min_size=1)),
    st.dictionaries(st.sampled_from(["page", "url", "referrer"]), json),
)
def test_no_pattern_and_no_event_makes_a_page_hit_raise(patterns: list[str], data: dict[str, Any]) -> None:
    assert takes(decisions.page_hit, {"pages": patterns, "url": patterns, "referrer": patterns}, data) in (
        True,
        False,
    )


def test_many_stars_do_not_keep_a_worker_busy() -> None:
    assert not takes(decisions.page_hit, {"url": ["*a" * 30 + "b"]}, {"url": "a" * 20_000})
