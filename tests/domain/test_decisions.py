from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.steps.decisions import form_submitted, page_hit
from tests.domain.worlds import decide, refusal

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_any_form_will_do_when_none_is_named() -> None:
    assert decide(form_submitted, {}, {"form": "signup"})


def test_only_the_named_forms_will_do_when_some_are() -> None:
    assert decide(form_submitted, {"forms": ["signup", "contact"]}, {"form": "contact"})
    assert not decide(form_submitted, {"forms": ["signup"]}, {"form": "contact"})
    assert not decide(form_submitted, {"forms": ["signup"]}, {})


def test_any_page_will_do_without_a_rule() -> None:
    assert decide(page_hit, {}, {})
    assert decide(page_hit, {"url": ""}, {"url": "https://example.com"})


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("example.com/pricing", "https://example.com/pricing"),
        ("example.com/pricing", "http://Example.com/Pricing/"),
        ("example.com/pricing/", "https://example.com/pricing"),
        ("EXAMPLE.com/*", "https://example.com/"),
        ("example.com/*", "https://example.com"),
        ("*/pricing?plan=?", "https://example.com/pricing?plan=1"),
        ("https://example.com/pricing", "https://example.com/pricing"),
        ("*://example.com/*", "http://example.com/a"),
        ("example.com/[a]", "https://example.com/[a]"),
    ],
)
def test_an_address_that_fits_the_whole_pattern_is_a_yes(pattern: str, url: str) -> None:
    assert decide(page_hit, {"url": [pattern]}, {"url": url})


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("example.com/pricing", "https://example.com/pricing/more"),
        ("example.com", "https://www.example.com"),
        ("https://example.com/pricing", "http://example.com/pricing"),
        ("https://example.com/pricing", "https://example.com/pricing/"),
        ("example.com/?", "https://example.com/ab"),
        ("example.com/[ab]", "https://example.com/a"),
        ("example.com", ""),
    ],
)
def test_an_address_that_does_not_is_not(pattern: str, url: str) -> None:
    assert not decide(page_hit, {"url": [pattern]}, {"url": url})


def test_one_rule_of_any_kind_is_enough() -> None:
    rules = {"pages": ["home"], "url": ["a.com"], "referrer": ["google.*"]}
    assert decide(page_hit, rules, {"page": "Home"})
    assert decide(page_hit, rules, {"page": "other", "url": "https://a.com"})
    assert decide(page_hit, rules, {"url": "https://b.com", "referrer": "https://google.fr/"})
    assert not decide(page_hit, rules, {"page": "other", "url": "https://b.com", "referrer": "https://b.com"})
    assert not decide(page_hit, rules, {})


def test_a_text_with_commas_is_a_list() -> None:
    assert decide(page_hit, {"url": "a.com, b.com,"}, {"url": "https://b.com"})
    assert decide(page_hit, {"referer": "a.com"}, {"referrer": "https://a.com/"})


def test_patterns_must_be_texts() -> None:
    assert refusal(page_hit, {"url": 5})
    assert refusal(form_submitted, {"forms": [None]})


@given(json, json, json)
def test_nothing_that_is_said_of_a_page_raises(page: Any, url: Any, referrer: Any) -> None:
    data = {"page": page, "url": url, "referrer": referrer, "form": page}
    rules = {"pages": ["a*"], "url": ["b*"], "referrer": ["c*"]}
    assert decide(page_hit, rules, data) in (True, False)
    assert decide(form_submitted, {"forms": ["a"]}, data) in (True, False)


def test_many_wildcards_on_a_long_address_take_no_time() -> None:
    began = time.perf_counter()
    assert not decide(page_hit, {"url": ["*a" * 20 + "b"]}, {"url": "a" * 5000})
    assert time.perf_counter() - began < 1
