"""Campaigns are written as the YAML library's dumper would write them, without asking it for every word."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from parcours.producers.files.campaigns import _dumped, write

_LETTERS = some.text(alphabet="anoyZ019 :-#'\"|>&*!%@`,[]{}?.\n\t~=/<é\u2028\x85\x07\\+_;()eE", max_size=12)
_WORDS = some.sampled_from(
    [
        *("yes", "no", "on", "Off", "true", "null", "~", "10:30", "09:00", "1_000", "0x1f", "1e3", ".5", "2026-01-01"),
        *("3 days", "a: b", "a #b", "- a", "a:", "https://x.test/?a=b", "x\n\n", "x\n", "a\nb\n\n\n", "{{ x }}", "012"),
        *("1:2:3", "0o7", "n" * 130, "<<", "=", "...", " a", "a ", "a\n b", "190:20:30.15", "---", "a:b", "a  b", ""),
    ]
)
_TEXTS = _LETTERS | _WORDS
_VALUES: Any = some.recursive(
    _TEXTS | some.integers() | some.booleans() | some.none() | some.floats(),
    lambda below: some.lists(below, max_size=4) | some.dictionaries(_TEXTS, below, max_size=4),
    max_leaves=10,
)


@settings(max_examples=400)
@given(some.dictionaries(_TEXTS, _VALUES, max_size=4) | some.lists(_VALUES, max_size=4))
def test_what_is_written_is_what_the_dumper_would_write(data: Any) -> None:
    assert write(data) == _dumped(data)
