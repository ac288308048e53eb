"""The gate: what can be stored comes in, all else is refused with a sentence or cleaned."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain import gate
from parcours.domain.gate import MAX_DEPTH, SKEW, GateError, check, clean, clean_json, happened_at

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(categories=None)), inner),
    max_leaves=12,
)


def nested(levels: int) -> list[object]:
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize("text", ["half \ud83d", "\udc00", "nul \0"])
def test_text_that_cannot_be_stored_is_refused_wherever_it_stands(text: str) -> None:
    for value in (text, {"a": [text]}, {text: 1}):
        with pytest.raises(GateError):
            check(value, "data")


def test_whole_characters_beyond_the_first_plane_come_in() -> None:
    check({"name": "J\xfcrgen \U0001f600"}, "data")


def test_values_may_be_sixty_levels_deep_and_no_deeper() -> None:
    check(nested(MAX_DEPTH), "data")
    for levels in (MAX_DEPTH + 1, 980, 100_000):
        with pytest.raises(GateError, match="60 levels"):
            check(nested(levels), "data")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**100, -(10**4000)])
def test_numbers_that_json_or_a_column_cannot_hold_are_refused(number: float) -> None:
    with pytest.raises(GateError):
        check({"n": number}, "data")


@given(values)
def test_what_passes_the_gate_can_be_written_and_read_again(value: object) -> None:
    with suppress(GateError):
        check(value, "data")
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        assert "\0" not in text
        text.encode()


@given(st.text(st.characters(categories=None)))
def test_cleaned_text_can_be_stored_and_loses_no_good_character(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert "\0" not in cleaned
    assert len(cleaned) == len(text)
    assert clean(cleaned) == cleaned


def test_what_is_nested_too_deeply_is_kept_as_far_as_it_can_be() -> None:
    json.dumps(clean_json({"a": nested(5_000), "b": "\ud83d"})).encode()


def test_a_time_in_the_future_counts_as_now() -> None:
    assert happened_at(NOW + SKEW, NOW) == NOW + SKEW
    assert happened_at(NOW + SKEW + timedelta(seconds=1), NOW) == NOW
    assert happened_at(datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))), NOW) == NOW


@pytest.mark.parametrize(
    "at", [datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=12))), datetime(1899, 1, 1, tzinfo=UTC)]
)
def test_a_time_that_cannot_be_right_is_refused(at: datetime) -> None:
    with pytest.raises(GateError, match="1900"):
        happened_at(at, NOW)


def test_what_is_no_json_is_said_without_words_about_python() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        json.loads("9" * 5_000)
    assert gate.why_not_json(caught.value) == "a number has too many digits; send it as text"
    assert gate.why_not_json(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x")) == "the body is not UTF-8 text"
    assert gate.why_not_json(RecursionError()) == "it is nested too deeply"
