from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parcours.domain import operators

NOW = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)
GREENWICH = ZoneInfo("UTC")
TOKYO = ZoneInfo("Asia/Tokyo")


def ask(actual: Any, operator: str, value: Any = None, *, zone: ZoneInfo = GREENWICH, now: datetime = NOW) -> bool:
    answer = operators.test(operator, value, zone)(actual, now)
    assert isinstance(answer, bool)
    return answer


@pytest.mark.parametrize(
    ("operator", "value", "sentence"),
    [
        ("startswith", "a", "did you mean 'startsWith'?"),
        ("zzz", "a", "known operators are =, !="),
        ("=", None, "needs a value"),
        ("!=", "", "needs a value"),
        ("contains", None, "needs a value"),
        ("=", ["a"], "use 'in' for a list"),
        ("=", {}, "takes one value"),
        ("gt", True, "a number, a date or a text"),
        ("regexp", "(", "not a regular expression"),
        ("!regexp", "a{99999999999999999999}", "not a regular expression"),
        ("in", [], "needs a list"),
        ("in", "", "needs a list"),
        ("!in", " | ", "needs a list"),
        ("in", None, "needs a list"),
        ("in", [["a"]], "needs a list of texts"),
        ("date", None, "needs a value"),
        ("date", "tomorrow", "anniversary"),
        ("date", "P1D", "signed"),
        ("date", "2026-12-24T09:00", "a day such as"),
        ("regexp", "a" * 1001, "the maximum is 1,000"),
        ("regexp", "(" * 400 + "a" + ")" * 400, "too deep"),
        ("date", "+P", "signed"),
        ("date", "+PT1H", "signed"),
        ("date", 3, "signed"),
    ],
)
def test_what_cannot_be_tested_is_refused_with_a_sentence(operator: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        operators.check(operator, value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("operator", "value", "instead"),
    [
        ("gt", "-P30D", "within with the value '30 days'"),
        ("gte", "30 days ago", "within with the value '30 days'"),
        ("lt", "-P30D", "older_than with the value '30 days'"),
        ("<=", "-1 hour", "older_than with the value '1 hour'"),
        ("lt", "+P1M", "in_next with the value '1 month'"),
        ("lt", "in 3 days", "in_next with the value '3 days'"),
        ("gt", "P30D", "a day such as 2026-12-24"),
        ("gt", "30 days", "a day such as 2026-12-24"),
        ("gt", "today", "a day such as 2026-12-24"),
        ("lt", "next week", "a day such as 2026-12-24"),
        ("=", "today", r"date with the value \+P0D, or the operator like"),
        ("!=", "Tomorrow", r"\+P1D"),
        ("=", "now - 2 days", "-P2D"),
        ("!in", ["a", "yesterday"], "-P1D"),
        ("in", "a|{{ contact.b }}", "the value itself"),
        ("=", "{{ contact.b }}", "{field: b}"),
        ("like", "%{{ contact.b }}%", "the value itself"),
        ("regexp", "{% if a %}b{% endif %}", "the value itself"),
        ("contains", "Dear {contactfield=firstname}", "the value itself"),
    ],
)
def test_what_looks_worked_out_and_is_not_is_refused_with_what_to_write(
    operator: str, value: Any, instead: str
) -> None:
    operators.check(operator, value)
    with pytest.raises(ValueError, match=instead):
        operators.refuse_expression(operator, value)


@pytest.mark.parametrize(
    ("operator", "value"),
    [
        ("=", "30 days"),
        ("=", "P1D"),
        ("like", "today"),
        ("contains", "-1 hour"),
        ("gt", "2026-03-01"),
        ("gt", "mauve"),
        ("gt", -30),
        ("=", "+33 1 23 45 67 89"),
        ("contains", "{{"),
        ("regexp", r"a{2}|\{\{"),
        ("date", "-P1D"),
        ("within", "30 days"),
        ("in", ["monday", "this"]),
        ("empty", None),
    ],
)
def test_what_is_meant_as_it_is_written_is_not_refused(operator: str, value: Any) -> None:
    operators.check(operator, value)
    operators.refuse_expression(operator, value)


@pytest.mark.parametrize(
    ("operator", "value", "passing", "failing"),
    [
        # NOW is 2026-03-02 23:30 in UTC, and the next day in Paris.
        ("within", "7 days", ["2026-03-03", "2026-02-24", "2026-03-02T23:30Z"], ["2026-02-23", "2026-03-04", "x", 3]),
        ("within", "1 hour", ["2026-03-02T22:30Z"], ["2026-03-02T22:29Z", "2026-03-02T23:31Z"]),
        ("older_than", "7 days", ["2026-02-23", "2026-02-23T23:29Z"], ["2026-02-24", "2026-03-04", None]),
        ("older_than", "1 month", ["2026-02-02"], ["2026-02-03"]),
        ("in_next", "7 days", ["2026-03-03", "2026-03-10"], ["2026-03-11", "2026-03-02", ""]),
        ("in_next", "PT30M", ["2026-03-03T00:00Z", ["x", "2026-03-02T23:45Z"]], ["2026-03-03T00:01Z", []]),
    ],
)
def test_a_period_ends_or_begins_now(operator: str, value: str, passing: list[Any], failing: list[Any]) -> None:
    paris = ZoneInfo("Europe/Paris")
    assert [each for each in passing if not ask(each, operator, value, zone=paris)] == []
    assert [each for each in failing if ask(each, operator, value, zone=paris)] == []


def test_a_period_needs_an_interval() -> None:
    with pytest.raises(ValueError, match="it cannot be negative; write '7 days'"):
        operators.check("within", "-7 days")


@pytest.mark.parametrize(
    ("operator", "actual", "other", "passes"),
    [
        ("=", "Paris", "PARIS", True),
        ("=", "5", 5.0, True),
        ("!=", "a", "b", True),
        ("!=", "a", None, True),
        ("=", None, None, False),
        ("gt", "2026-03-02", "2026-03-01T12:00Z", True),
        (">=", 5, True, False),
        ("lt", 5, ["x", 7], True),
        ("=", ["a", "b"], ["b", "c"], True),
        ("=", "a", {"b": 1}, False),
    ],
)
def test_two_fields_compare_as_a_field_and_a_value_do(operator: str, actual: Any, other: Any, passes: bool) -> None:
    assert operators.compare(operator, actual, other, GREENWICH, NOW) is passes


@pytest.mark.parametrize(
    ("operator", "value"), [("=", {"fields": "b"}), ("=", {"field": ""}), ("like", {"field": "b"})]
)
def test_only_another_field_can_be_compared_and_not_by_every_operator(operator: str, value: Any) -> None:
    with pytest.raises(ValueError, match="field"):
        operators.check_other(operator, value)


@pytest.mark.parametrize("name", [*operators.OPERATORS, ">", ">=", "<", "<="])
def test_every_operator_is_known(name: str) -> None:
    operators.check(name, "3 days" if name in ("within", "older_than", "in_next") else "anniversary")


@pytest.mark.parametrize(
    ("actual", "value", "equal"),
    [
        ("Paris", "PARIS", True),
        ("Paris", "Pari", False),
        ("straße", "STRASSE", True),
        (5, "5.0", True),
        ("05", 5, True),
        ("1e3", 1000, True),
        ("12345678901234567890", "12345678901234567891", False),
        ("1_000", 1000, False),
        ("nan", "NaN", True),
        (float("nan"), 1, False),
        ("2026-03-02", "2026-03-02T00:00:00Z", True),
        ("2026-03-02T12:00:00+02:00", "2026-03-02 10:00", True),
        ("2026-02-30", "2026-02-30", True),
        ("2026-02-30", "2026-02-28", False),
        (NOW, "2026-03-02T23:30Z", True),
        (True, "yes", True),
        (True, 1, True),
        (True, "no", False),
        (False, "false", True),
        (False, 0, True),
        ("NO", False, True),
        ("yes", True, True),
        ("0", False, True),
        ("maybe", True, False),
        ("yes", "true", False),
        (["a", "B"], "b", True),
        (["a"], "b", False),
        ({"a": "b"}, "b", False),
        (None, "a", False),
        ("", "a", False),
        (None, False, False),
        ([], "a", False),
    ],
)
def test_equality_is_of_numbers_times_truth_or_folded_text(actual: Any, value: Any, equal: bool) -> None:
    assert ask(actual, "=", value) is equal
    assert ask(actual, "!=", value) is not equal


def test_a_date_without_an_offset_begins_at_midnight_in_the_zone() -> None:
    assert ask("2026-03-01T15:00:00Z", "=", "2026-03-02", zone=TOKYO)
    assert not ask("2026-03-01T15:00:00Z", "=", "2026-03-02")


@pytest.mark.parametrize(
    ("actual", "value", "order"),
    [
        (9, 10, -1),
        ("9", "10", -1),
        ("10", 9.5, 1),
        (10, "10", 0),
        ("2026-03-02", "2026-03-01T23:59:59", 1),
        ("2026-03-02T01:00+02:00", "2026-03-02", -1),
        ("apple", "Banana", -1),
        ("apple", "APPLE", 0),
    ],
)
def test_order_is_of_numbers_times_or_folded_text(actual: Any, value: Any, order: int) -> None:
    for name, sign, expected in (
        ("gt", ">", order > 0),
        ("gte", ">=", order >= 0),
        ("lt", "<", order < 0),
        ("lte", "<=", order <= 0),
    ):
        assert ask(actual, name, value) is ask(actual, sign, value) is expected


@pytest.mark.parametrize("name", ["gt", "gte", "lt", "lte"])
@pytest.mark.parametrize(
    ("actual", "value"),
    [
        (None, 5),
        ("", 5),
        ([], 5),
        (None, "a"),
        ("unknown", 5),
        ("soon", "2026-01-01"),
        (True, 1),
        (5, "a"),
        ({}, 1),
    ],
)
def test_what_has_no_value_of_the_kind_asked_for_has_no_order(name: str, actual: Any, value: Any) -> None:
    assert not ask(actual, name, value)


@pytest.mark.parametrize(
    ("actual", "empty"),
    [
        (None, True),
        ("", True),
        ([], True),
        (frozenset(), True),
        (0, False),
        (False, False),
        (" ", False),
        ([""], False),
    ],
)
def test_empty_is_nothing_or_no_text_or_no_item(actual: Any, empty: bool) -> None:
    assert ask(actual, "empty") is empty
    assert ask(actual, "!empty") is not empty


@pytest.mark.parametrize(
    ("actual", "operator", "value", "passes"),
    [
        ("Hello World", "like", "hello%", True),
        ("Hello World", "like", "hello", False),
        ("Hello World", "like", "h_llo w%", True),
        ("a\nb", "like", "a%b", True),
        ("50% off", "like", r"50\% off", True),
        ("500 off", "like", r"50\% off", False),
        ("a*b[c]?", "like", "a*b[c]?", True),
        ("axb", "like", "a*b", False),
        ("a\\", "like", "a\\", True),
        (123, "like", "12_", True),
        ("ada@example.com", "regexp", r"@EXAMPLE\.com$", True),
        ("ada@example.com", "regexp", "^example", False),
        ("Hello", "startsWith", "he", True),
        ("Hello", "startsWith", "lo", False),
        ("Hello", "endsWith", "LO", True),
        ("Hello", "endsWith", "he", False),
        ("Hello", "contains", "ELL", True),
        ("Hello", "contains", "x", False),
        ("a%c", "contains", "%", True),
        (2026, "startsWith", 20, True),
        (["red", "dark blue"], "contains", "blue", True),
        ({"a": "b"}, "contains", "a", False),
        (None, "contains", "a", False),
        (None, "like", "%", False),
        ("", "regexp", ".*", False),
    ],
)
def test_text_is_searched_without_regard_to_case(actual: Any, operator: str, value: Any, passes: bool) -> None:
    assert ask(actual, operator, value) is passes


# `^(a|a)*$` doubles its tries with each of these letters.
TOO_MUCH = "a" * 60 + "!"


@pytest.mark.timeout(60)
def test_a_regular_expression_that_takes_too_long_is_given_up_with_a_sentence() -> None:
    for operator in ("regexp", "!regexp"):
        slow = operators.test(operator, "^(a|a)*$", GREENWICH)
        with pytest.raises(operators.TooSlowError, match=r"\(a\|a\).* takes too long") as caught:
            slow(TOO_MUCH, NOW)
        assert "\n" not in str(caught.value)
        assert slow("aa", NOW) is (operator == "regexp")


def took_too_long(test: operators.Test, value: str) -> bool:
    try:
        test(value, NOW)
    except operators.TooSlowError:
        return True
    return False


@pytest.mark.timeout(60)
def test_thousands_of_slow_values_cost_no_more_than_a_few_and_a_quick_one_mends_it() -> None:
    slow = operators.test("regexp", "^(a|a)*$", GREENWICH)
    assert all(took_too_long(slow, TOO_MUCH) for _ in range(2000))
    # One value in a hundred is tried.
    tried = [took_too_long(slow, "aa") for _ in range(200)]
    assert tried == sorted(tried, reverse=True)
    assert not tried[-1]


def test_a_slow_value_now_and_then_takes_nothing_from_the_others() -> None:
    slow = operators.test("regexp", "^(a|a)*$", GREENWICH)
    for _ in range(12):
        assert took_too_long(slow, TOO_MUCH)
        assert [took_too_long(slow, "aa") for _ in range(10)] == [False] * 10


@pytest.mark.parametrize(
    ("actual", "value", "within"),
    [
        ("v1", ["v10"], False),
        ("v10", ["v1", "V10"], True),
        ("fr", "de|FR", True),
        ("fr", "de, fr", True),
        ("a, b", "a, b|c", True),
        (5, ["5"], True),
        (5, 5, True),
        (True, ["yes"], True),
        (["a", "b"], ["b", "c"], True),
        (["a"], ["b", "c"], False),
        (None, ["a", None, ""], False),
        ("", ["a", ""], False),
        ([], ["a"], False),
    ],
)
def test_in_compares_whole_values(actual: Any, value: Any, within: bool) -> None:
    assert ask(actual, "in", value) is within
    assert ask(actual, "!in", value) is not within


@pytest.mark.parametrize("operator", ["!=", "!like", "!regexp", "!in"])
@pytest.mark.parametrize("nothing", [None, "", []])
def test_the_negative_operators_accept_no_value(operator: str, nothing: Any) -> None:
    assert ask(nothing, operator, "a")


@pytest.mark.parametrize(
    ("actual", "value", "zone", "passes"),
    [
        ("2026-03-02", "+P0D", GREENWICH, True),
        ("2026-03-02", "-P0D", GREENWICH, True),
        ("2026-03-02T05:00:00Z", "+P0D", GREENWICH, True),
        ("2026-03-02", "+P0D", TOKYO, False),
        ("2026-03-03", "+P0D", TOKYO, True),
        ("2026-03-02T15:00:00Z", "+P0D", TOKYO, True),
        ("2026-03-02T14:59:00Z", "+P0D", TOKYO, False),
        ("2026-03-03T00:30", "+P0D", TOKYO, True),
        (NOW, "+P0D", GREENWICH, True),
        ("2026-03-01", "-P1D", GREENWICH, True),
        ("2026-03-03", "+P1D", GREENWICH, True),
        ("2026-03-03", "-P1D", GREENWICH, False),
        ("2026-03-16", "+P2W", GREENWICH, True),
        ("2026-04-05", "+P1M3D", GREENWICH, True),
        ("2025-03-02", "-P1Y", GREENWICH, True),
        ("1980-03-02", "anniversary", GREENWICH, True),
        ("1980-03-03", "anniversary", GREENWICH, False),
        ("1980-03-03", "anniversary", TOKYO, True),
        ("1980-03-02T08:00:00Z", "anniversary", GREENWICH, True),
        (["2020-01-01", "2026-03-02"], "+P0D", GREENWICH, True),
        ("2024-12-24", "2024-12-24", GREENWICH, True),
        ("2024-12-24T15:30:00Z", "2024-12-24", GREENWICH, True),
        ("2024-12-24T15:30:00Z", "2024-12-24", TOKYO, False),
        ("2024-12-25", "2024-12-24", GREENWICH, False),
        ("2026-03-02", "+P9999Y", GREENWICH, False),
        ("soon", "+P0D", GREENWICH, False),
        (20260302, "+P0D", GREENWICH, False),
        (None, "anniversary", GREENWICH, False),
        ("0001-01-01T00:00+14:00", "+P0D", GREENWICH, False),
    ],
)
def test_date_compares_the_calendar_day(actual: Any, value: str, zone: ZoneInfo, passes: bool) -> None:
    assert ask(actual, "date", value, zone=zone) is passes


def test_a_month_later_is_the_same_day_or_the_last_of_the_month() -> None:
    assert ask("2026-02-28", "date", "+P1M", now=datetime(2026, 1, 31, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("today", "passes"),
    [((2027, 2, 28), True), ((2027, 3, 1), False), ((2028, 2, 28), False), ((2028, 2, 29), True)],
)
def test_who_was_born_on_29_february_has_a_birthday_every_year(today: tuple[int, int, int], passes: bool) -> None:
    assert ask("2000-02-29", "date", "anniversary", now=datetime(*today, 12, tzinfo=UTC)) is passes


def test_one_compiled_test_follows_the_clock_it_is_given() -> None:
    today = operators.test("date", "+P0D", GREENWICH)
    assert today("2026-03-02", NOW)
    assert today("2026-03-03", NOW.replace(day=3))
    assert today("2026-03-02", NOW)


TAGS = frozenset({"vip", "new"})


@pytest.mark.parametrize(
    ("operator", "value", "passes"),
    [
        ("=", "vip", True),
        ("=", "VIP", False),
        ("like", "vip", True),
        ("like", "vi%", False),
        ("contains", "vip", True),
        ("contains", "vi", False),
        ("in", ["old", "new"], True),
        ("in", "old|new", True),
        ("in", ["old"], False),
        ("!=", "vip", False),
        ("!=", "old", True),
        ("!like", "old", True),
        ("!in", ["old", "new"], False),
        ("!in", ["old"], True),
        ("empty", None, False),
        ("!empty", None, True),
        ("regexp", "vip", False),
        ("!regexp", "old", False),
        ("startsWith", "v", False),
        ("endsWith", "p", False),
        ("gt", "a", False),
        ("date", "anniversary", False),
    ],
)
def test_tags_are_asked_for_by_name(operator: str, value: Any, passes: bool) -> None:
    assert operators.test_tags(operator, value)(TAGS) is passes


def test_who_has_no_tags_is_empty_and_has_none() -> None:
    assert operators.test_tags("empty", None)(frozenset()) is True
    assert operators.test_tags("!empty", None)(frozenset()) is False
    assert operators.test_tags("!=", "vip")(frozenset()) is True


# Texts near the borders between text, number, time and truth, where the rules meet.
edges = st.sampled_from(
    [
        "yes",
        "NO",
        "true",
        "0",
        "1",
        "1.0",
        " 1",
        "-1",
        "1e999",
        "nan",
        "inf",
        "2026-03-02",
        "2026-03-02T12:00Z",
        "2026-13-01",
        "2026-03-02\ud800",
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59-12:00",
        "٣",
        "²",
        "ß",
        "İ",
        "\x00",
    ]
)
texts = st.text("aAbBsSßİıſé019eET:.+- \n\t|,%_\\*?[](){}^$", max_size=8)
numbers = st.integers() | st.floats() | st.integers(0, 1)
scalars = st.booleans() | numbers | texts | edges | st.datetimes().map(str) | st.dates().map(str)
json = st.recursive(
    st.none() | scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
zones = st.sampled_from([GREENWICH, TOKYO, ZoneInfo("America/New_York")])


@given(json, scalars, zones)
def test_not_equal_is_the_negation_of_equal(actual: Any, value: Any, zone: ZoneInfo) -> None:
    assume(value != "")
    assert ask(actual, "!=", value, zone=zone) is not ask(actual, "=", value, zone=zone)


@given(json, scalars, zones)
def test_in_a_list_of_one_is_equal(actual: Any, value: Any, zone: ZoneInfo) -> None:
    assume(value != "")
    assert ask(actual, "in", [value], zone=zone) is ask(actual, "=", value, zone=zone)


@given(scalars, zones)
def test_every_value_equals_itself(value: Any, zone: ZoneInfo) -> None:
    assume(value != "")
    assert ask(value, "=", value, zone=zone)


@given(numbers | edges | texts, numbers | edges | texts, zones)
def test_at_least_is_above_or_equal_and_never_below(actual: Any, value: Any, zone: ZoneInfo) -> None:
    assume("" not in (actual, value) and type(actual) is type(value))
    assume(not isinstance(value, str) or (ask(actual, "gte", value, zone=zone) or ask(actual, "lte", value, zone=zone)))
    if value != value or actual != actual:  # noqa: PLR0124
        return
    above, below = ask(actual, "gt", value, zone=zone), ask(actual, "lt", value, zone=zone)
    assert ask(actual, "gte", value, zone=zone) is not below
    assert ask(actual, "lte", value, zone=zone) is not above


@given(texts.filter(bool), texts.filter(bool))
def test_like_without_wildcards_is_the_whole_folded_text(actual: str, value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    assert ask(value, "like", escaped)
    assert ask(actual, "like", escaped) is (actual.casefold() == value.casefold())
    assert ask(actual + value, "like", "%" + escaped)


# Python announces that some patterns will mean something else one day.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@given(st.sampled_from(operators.OPERATORS), json, st.lists(json, max_size=5), zones)
def test_a_test_that_was_accepted_never_raises(operator: str, value: Any, actuals: list[Any], zone: ZoneInfo) -> None:
    try:
        test = operators.test(operator, value, zone)
    except ValueError:
        return
    tags = operators.test_tags(operator, value)
    for actual in [*actuals, value, NOW]:
        assert test(actual, NOW) in (True, False)
    assert tags(TAGS) in (True, False)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/New_York"])
def test_the_first_and_the_last_day_are_before_and_after_everything_in_every_timezone(zone: str) -> None:
    now = datetime(2027, 3, 2, tzinfo=UTC)
    for sign, day, wanted in (
        ("gt", "0001-01-01", True),
        ("lt", "0001-01-01", False),
        ("lt", "9999-12-31", True),
        ("gt", "9999-12-31", False),
    ):
        test = operators.test(sign, day, ZoneInfo(zone))
        assert (test(now, now), test(now.isoformat(), now)) == (wanted, wanted), (sign, day)
