from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parcours.domain.steps import decisions, email
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


@pytest.mark.parametrize("type_", [email.opened, email.clicked, email.replied])
@pytest.mark.parametrize(
    ("sent", "data", "taken"),
    [
        ("hello", {"email": "hello"}, True),
        ("hello", {"email": "other"}, False),
        ("hello", {}, False),
        (None, {"email": "hello"}, False),
        (None, {}, False),
        ("hello", {"email": ["hello"]}, False),
    ],
)
def test_an_email_counts_when_it_is_the_nearest_one_sent(
    type_: Any, sent: str | None, data: dict[str, Any], taken: bool
) -> None:
    assert takes(type_, {}, data, email=sent) is taken


@pytest.mark.parametrize(
    ("part", "url", "taken"),
    [
        ("example.com/offer", "https://www.Example.com/Offer/", True),
        ("https://EXAMPLE.com/", "http://example.com/offer", True),
        ("/offer", "https://example.com/offer?id=1", True),
        ("offer/", "https://example.com/offer", True),
        ("offer?id", "https://example.com/offer?id=1", True),
        ("offer*id=1", "https://example.com/offer?utm=x&id=1", True),
        ("com/offer", "https://example.com/other", False),
        ("example.com", "", False),
        ("example.com", None, False),
        ("example.com", ["example.com"], False),
        ("[a]", "https://example.com/a", False),
    ],
)
def test_a_click_counts_when_the_address_contains_a_listed_text(part: str, url: Any, taken: bool) -> None:
    data = {"email": "hello", "url": url}
    assert takes(email.clicked, {"urls": ["nowhere.example", part]}, data, email="hello") is taken
    assert takes(email.clicked, {"urls": []}, data, email="hello")
    assert not takes(email.clicked, {"urls": [part]}, data, email="other")


@pytest.mark.parametrize("url", ["https://", "/", "//"])
def test_a_text_that_every_address_contains_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="matches every URL"):
        properties(email.clicked, {"urls": [url]})


PHONE = {"type": "Mobile", "brand": "Acme", "os": "Sailfish"}


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ({}, True),
        ({"device_type": ["tablet", "mobile"]}, True),
        ({"device_type": ["mobile"], "device_brand": ["ACME", "Other"], "device_os": ["sailfish"]}, True),
        ({"device_type": ["mobile"], "device_brand": ["Other"], "device_os": ["sailfish"]}, False),
        ({"device_type": ["desktop"], "device_os": ["sailfish"]}, False),
        ({"device_type": "desktop, mobile"}, True),
        ({"device_type": ["mob"]}, False),
    ],
)
def test_any_value_within_a_criterion_and_all_criteria_together(wanted: dict[str, Any], taken: bool) -> None:
    hit = {"url": "https://a.example", "device": PHONE}
    assert takes(decisions.page_device, wanted, hit, event="page.hit") is taken
    assert takes(decisions.page_device, wanted, PHONE, event="device.seen") is taken


@pytest.mark.parametrize("data", [{}, {"device": None}, {"device": "mobile"}, {"device": {"type": ["mobile"]}}])
def test_an_unknown_device_is_none_of_those_wanted(data: dict[str, Any]) -> None:
    assert not takes(decisions.page_device, {"device_type": ["mobile"]}, data, event="page.hit")
    assert takes(decisions.page_device, {}, data, event="page.hit")


@pytest.mark.parametrize(
    ("assets", "data", "taken"),
    [
        ([], {"asset": "paper"}, True),
        ([], {}, True),
        (["paper", "film"], {"asset": "film"}, True),
        (["paper"], {"asset": "film"}, False),
        (["paper"], {}, False),
        (["paper"], {"asset": ["paper"]}, False),
    ],
)
def test_a_download_counts_when_it_is_one_of_those_named(assets: list[str], data: dict[str, Any], taken: bool) -> None:
    assert takes(decisions.asset_downloaded, {"assets": assets}, data) is taken


@pytest.mark.parametrize(
    ("pattern", "text", "taken"),
    [
        ("", "anything", True),
        (" ", None, True),
        ("yes", " YES ", True),
        ("yes", "yes please", False),
        ("yes*", "Yes, please", True),
        ("?", "1", True),
        ("?", "12", False),
        ("*", None, False),
        ("yes", 1, False),
        ("a*b", "a\nb", True),
    ],
)
def test_a_text_message_matches_as_a_whole(pattern: str, text: Any, taken: bool) -> None:
    assert takes(decisions.sms_replied, {"pattern": pattern}, {"text": text}) is taken


@pytest.mark.parametrize(
    ("type_", "event", "taken"),
    [
        ("order.paid", "order.paid", True),
        ("order.paid", "order.paid.twice", False),
        ("order.paid", "Order.paid", False),
        ("order.*", "order.paid", True),
        ("order.*", "order", False),
        ("*", "anything", True),
        ("*.paid", "order.paid", True),
        ("order.pai?", "order.paid", False),
        ("order.pai?", "order.pai?", True),
        ("order_paid", "orderXpaid", False),
        ("[o]rder", "order", False),
        ("[o]rder", "[o]rder", True),
    ],
)
def test_an_event_of_ones_own_is_waited_for_by_its_type(type_: str, event: str, taken: bool) -> None:
    assert takes(decisions.event_happened, {"type": type_}, {}, event=event) is taken


ORDER = {
    "total": 30,
    "currency": "EUR",
    "customer": {"vip": True, "since": "2026-03-02T08:00:00Z"},
    "items": [{"sku": "A-1", "tags": ["red"]}, {"sku": "B-2", "tags": ["blue", "new"]}],
    "a.b": "dotted",
    "none": None,
}


@pytest.mark.parametrize(
    ("field", "operator", "value", "taken"),
    [
        ("total", "gte", 30, True),
        ("total", ">", 30, False),
        ("currency", "in", ["usd", "eur"], True),
        ("customer.vip", "=", True, True),
        ("customer.since", "date", "+P0D", True),
        ("customer.since", "date", "-P1D", False),
        ("items.sku", "=", "b-2", True),
        ("items.sku", "=", "c-3", False),
        ("items.tags", "=", "new", True),
        ("a.b", "=", "dotted", True),
        ("no.such", "empty", None, True),
        ("total.more", "empty", None, True),
        ("none", "!empty", None, False),
        ("missing", "!=", "x", True),
    ],
)
def test_a_property_is_found_by_its_path_and_tested(field: str, operator: str, value: Any, taken: bool) -> None:
    where = [{"field": field, "operator": operator, "value": value}]
    assert takes(decisions.event_happened, {"type": "order.paid", "where": where}, ORDER) is taken


def test_all_property_tests_must_hold() -> None:
    total, eur, usd = (
        {"field": field, "operator": "=", "value": value}
        for field, value in (("total", 30), ("currency", "EUR"), ("currency", "USD"))
    )
    assert takes(decisions.event_happened, {"type": "order.paid", "where": [total, eur]}, ORDER)
    assert not takes(decisions.event_happened, {"type": "order.paid", "where": [total, usd]}, ORDER)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({}, "Field required"),
        ({"type": " "}, "at least 1 character"),
        ({"type": "contact.changed"}, "is not an activity"),
        ({"type": "a", "where": [{"field": "x", "operator": "equals"}]}, "unknown operator"),
        ({"type": "a", "where": [{"field": "x", "operator": "gt"}]}, "needs a value"),
        ({"type": "a", "where": [{"operator": "empty"}]}, "Field required"),
        ({"type": "a", "where": [{"field": "x", "operator": "empty", "no": 1}]}, "Extra inputs"),
        ({"type": "a", "count": 3}, "Extra inputs"),
    ],
)
def test_what_makes_no_sense_of_an_event_is_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        properties(decisions.event_happened, wrong)


@given(st.dictionaries(st.text("ab"), json, max_size=3), st.text("ab.", min_size=1))
def test_no_path_and_no_data_make_an_event_raise(data: dict[str, Any], path: str) -> None:
    for operator, value in (("=", 1), ("!=", "a"), ("empty", None), ("contains", "a"), ("date", "+P0D")):
        where = [{"field": path or "a", "operator": operator, "value": value}]
        assert takes(decisions.event_happened, {"type": "x", "where": where}, data) in (True, False)


@given(st.dictionaries(st.sampled_from(["email", "url", "device", "type", "asset", "text"]), json))
def test_no_data_makes_a_decision_raise(data: dict[str, Any]) -> None:
    assert takes(email.clicked, {"urls": ["a*b"]}, data, email="a") in (True, False)
    assert takes(decisions.page_device, {"device_type": ["a"]}, data, event="page.hit") in (True, False)
    assert takes(decisions.page_device, {"device_os": ["a"]}, data, event="device.seen") in (True, False)
    assert takes(decisions.asset_downloaded, {"assets": ["a"]}, data) in (True, False)
    assert takes(decisions.sms_replied, {"pattern": "a*"}, data) in (True, False)


def test_a_property_that_is_too_much_for_a_regular_expression_does_not_pass() -> None:
    where = [{"field": "a", "operator": "regexp", "value": "^(a|a)*$"}]
    given = {"type": "order.paid", "where": where}
    assert takes(decisions.event_happened, given, {"a": "aa"}, event="order.paid")
    assert not takes(decisions.event_happened, given, {"a": "a" * 60 + "!"}, event="order.paid")


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("*/größe", "https://example.com/gr%C3%B6%C3%9Fe"),
        ("*/gr%c3%b6%C3%9Fe", "https://example.com/größe"),
        ("https://example.com/größe", "https://example.com/gro%CC%88%C3%9Fe"),
        ("münchen.de/*", "https://xn--mnchen-3ya.de/karte"),
        ("http://xn--mnchen-3ya.de/", "http://MÜNCHEN.de/"),
        ("*/a b", "https://example.com/a%20b"),
        ("*/%7Euser", "https://example.com/~user"),
    ],
)
def test_an_address_matches_however_it_is_written(pattern: str, url: str) -> None:
    assert decisions.visited([pattern], url)


def test_what_an_escape_keeps_apart_stays_apart() -> None:
    assert not decisions.visited(["example.com/a/b"], "https://example.com/a%2Fb")
    assert not decisions.visited(["example.com/a?b"], "https://example.com/a%2A%2Ab")
    assert decisions.visited(["example.com/%FF"], "https://example.com/%FF")
