"""Which version of an email wins."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.messages.content import Content, Variant, choose
from parcours.domain.messages.winner import VersionTried, WinnerRule, best_version, winner_rule
from parcours.domain.time.intervals import parse_interval

tried = st.builds(VersionTried, st.integers(0, 50), st.integers(0, 60))


@pytest.mark.parametrize(
    ("given_", "best"),
    [
        ({"": (10, 1), "b": (20, 4)}, "b"),
        ({"": (10, 3), "b": (20, 4)}, ""),
        ({"": (10, 2), "b": (20, 4)}, None),
        ({"": (10, 0), "b": (20, 0)}, None),
        ({"": (0, 0), "b": (20, 4)}, None),
        ({"b": (20, 4)}, None),
        ({}, None),
        ({"": (3, 9), "b": (20, 20)}, None),
    ],
)
def test_the_best_rate_of_those_sent_wins_and_a_tie_or_too_little_has_no_winner(
    given_: dict[str, tuple[int, int]], best: str | None
) -> None:
    assert best_version({name: VersionTried(*each) for name, each in given_.items()}) == best


@given(st.dictionaries(st.sampled_from(["", "a", "b", "c"]), tried))
def test_no_version_has_a_better_rate_than_the_winner(versions: dict[str, VersionTried]) -> None:
    best = best_version(versions)
    if best is not None:
        winner = versions[best]
        assert winner.did > 0
        others = [each for name, each in versions.items() if name != best and each.sent]
        assert others
        assert all(min(each.did, each.sent) * winner.sent < min(winner.did, winner.sent) * each.sent for each in others)


@pytest.mark.parametrize(
    ("after", "by", "said"),
    [
        ("4 hours", "bought", "'by' of the winner must be opened or clicked"),
        ("4 hours", None, "'by' of the winner must be opened or clicked"),
        ("4 hours", ["opened"], "'by' of the winner must be opened or clicked"),
        ("soon", "clicked", "'soon'"),
        (None, "clicked", "interval"),
        ("0 hours", "clicked", "longer than 0"),
    ],
)
def test_a_wrong_rule_is_refused_with_a_sentence(after: Any, by: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        winner_rule(after, by)


def test_a_rule_ends_its_time_after_the_first_email() -> None:
    start = datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert WinnerRule(parse_interval("90 minutes"), "opened").ends_at(start) == start + timedelta(minutes=90)
    assert winner_rule("2 days", "clicked").as_data() == {"after": "2 days", "by": "clicked"}


@given(st.integers(1, 2**40), st.sampled_from([None, "fr", "de"]))
def test_a_settled_version_goes_to_everybody_who_can_read_it(contact_id: int, language: str | None) -> None:
    variants = (Variant("b", 10, Content("B"), {"fr": Content("B, en français")}), Variant("c", 10, Content("C")))
    translations = {"fr": Content("En français"), "de": Content("Auf Deutsch")}

    def got(version: str | None) -> tuple[str | None, str | None]:
        return choose(
            "x", Content("A", None, "a"), variants, translations, contact_id=contact_id, language=language,
            version=version,
        )[:2]  # fmt: skip

    assert got("b") == ("b" if language != "de" else None, language)
    assert got("") == (None, language)
    assert got("gone") == got(None)
