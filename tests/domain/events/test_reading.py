"""What a run keeps of its event, and which key it has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.events.reading import MOST_ENTRY, bounded, key_of


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("17", "17"),
        (17, "17"),
        (17.0, "17"),
        (1.5, "1.5"),
        (" a ", "a"),
        ("", None),
        (True, None),
        (None, None),
        ([], None),
        ({"a": 1}, None),
        ("x" * 255, "x" * 255),
        ("x" * 256, None),
    ],
)
def test_texts_and_numbers_are_keys(value: Any, key: str | None) -> None:
    assert key_of({"cart_id": value}, "cart_id") == key
    assert key_of({"cart": {"id": value}}, "cart.id") == key
    assert key_of({}, "cart_id") is None


values = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9000), st.lists(st.text(max_size=50)))


@given(st.dictionaries(st.text(max_size=20), values, max_size=8))
def test_what_is_kept_fits_and_is_as_it_was(data: dict[str, Any]) -> None:
    kept = bounded(data)
    assert kept.items() <= data.items() if all(not isinstance(each, list) for each in data.values()) else True
    assert sum(len(json.dumps({name: value})) for name, value in kept.items()) <= MOST_ENTRY
    if len(json.dumps(data)) <= MOST_ENTRY // 2:
        assert kept == data
