"""Two shares compared: the published examples, and what must hold of all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.lift import is_enough, lift

# Table II of the paper, method 10.
PUBLISHED = [
    (56, 70, 48, 80, 0.0524, 0.3339),
    (9, 10, 3, 10, 0.1705, 0.8090),
    (6, 7, 2, 7, 0.0582, 0.8062),
    (5, 56, 0, 29, -0.0381, 0.1926),
    (0, 10, 0, 20, -0.1611, 0.2775),
    (0, 10, 0, 10, -0.2775, 0.2775),
    (10, 10, 0, 20, 0.6791, 1.0000),
    (10, 10, 0, 10, 0.6075, 1.0000),
]


@pytest.mark.parametrize(("reached", "entered", "other", "of", "low", "high"), PUBLISHED)
def test_the_published_examples(reached: int, entered: int, other: int, of: int, low: float, high: float) -> None:
    found = lift(reached, entered, other, of)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


shares = st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(shares, shares)
def test_the_difference_lies_in_its_interval_which_turns_round_with_the_groups(
    one: tuple[int, int], other: tuple[int, int]
) -> None:
    found, back = lift(*one, *other), lift(*other, *one)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert (back.difference, back.low, back.high) == pytest.approx((-found.difference, -found.high, -found.low))
    assert back.verdict == -found.verdict


@given(shares, shares, st.integers(2, 50))
def test_more_of_the_same_narrows_the_interval(one: tuple[int, int], other: tuple[int, int], times: int) -> None:
    found = lift(*one, *other)
    more = lift(one[0] * times, one[1] * times, other[0] * times, other[1] * times)
    assert more.high - more.low <= found.high - found.low + 1e-12


@pytest.mark.parametrize("nonsense", [(1, 0, 1, 2), (3, 2, 1, 2), (-1, 2, 1, 2), (1, 2, 0, 0)])
def test_what_is_no_share_is_refused(nonsense: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no share"):
        lift(*nonsense)


def test_a_few_contacts_or_conversions_are_not_enough() -> None:
    assert is_enough(30, 3, 30, 2)
    assert not is_enough(29, 10, 1000, 100)
    assert not is_enough(1000, 4, 1000, 0)
