"""Addresses of the web."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.urls import origin_of, with_visit, without_visit

words = st.text("abcXYZ019-._~%é", min_size=1, max_size=8)
pages = st.builds(
    lambda path, query, fragment: "https://example.com/" + path + query + fragment,
    words,
    st.lists(st.tuples(words, words), max_size=3).map(
        lambda each: "?" + "&".join(f"{n}={v}" for n, v in each) if each else ""
    ),
    st.one_of(st.just(""), words.map("#{}".format)),
)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://Example.com/a?b#c", "https://example.com"),
        ("http://example.com:80", "http://example.com"),
        ("https://example.com:8443/", "https://example.com:8443"),
        ("http://[::1]:8080/x", "http://[::1]:8080"),
        ("https://someone@example.com/", "https://example.com"),
        ("javascript:alert(1)", None),
        ("//example.com/", None),
        ("/path", None),
        ("https:///path", None),
        ("https://example.com\\@evil.example/", None),
        ("https://example.com:port/", None),
        ("https://exa mple.com/", None),
        ("", None),
    ],
)
def test_the_origin_is_the_one_that_browsers_know(address: str, origin: str | None) -> None:
    assert origin_of(address) == origin


@pytest.mark.parametrize(
    ("address", "visited"),
    [
        ("https://a.example", "https://a.example?parcours=T"),
        ("https://a.example/x#part", "https://a.example/x?parcours=T#part"),
        ("https://a.example/x?a=1&a=2#p?q", "https://a.example/x?a=1&a=2&parcours=T#p?q"),
        ("https://a.example/x?", "https://a.example/x?parcours=T"),
    ],
)
def test_a_visit_is_added_to_the_query_and_nothing_else_changes(address: str, visited: str) -> None:
    assert with_visit(address, "T") == visited


@given(pages)
def test_an_address_without_its_visit_is_what_it_was(page: str) -> None:
    visited = with_visit(page, "a.b-c_d")
    assert without_visit(visited) == page
    assert without_visit(page) == page
    assert parse_qsl(urlsplit(visited).query)[-1] == ("parcours", "a.b-c_d")
    assert urlsplit(visited).fragment == urlsplit(page).fragment
