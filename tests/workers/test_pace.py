"""How many contacts a batch takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parcours.workers.batch_size import LEAST, SECONDS_A_BATCH, Pace


def learned(most: int, contacts_a_second: float, batches: int = 20) -> int:
    pace = Pace(most)
    for _ in range(batches):
        pace.learn(pace.size, pace.size / contacts_a_second)
    return pace.size


def test_a_batch_comes_to_take_as_long_as_it_should() -> None:
    assert learned(4000, 4000) == 4000 * SECONDS_A_BATCH
    assert learned(4000, 1_000_000) == 4000
    assert learned(4000, 1) == LEAST
    assert learned(10, 1) == 10


def test_one_slow_batch_halves_it_at_most() -> None:
    pace = Pace(1000)
    pace.learn(1000, 3600)
    assert pace.size == 500


def test_a_batch_that_was_not_full_says_nothing() -> None:
    pace = Pace(4000)
    pace.learn(3, 0.001)
    pace.learn(999, 60)
    assert pace.size == 1000


@given(st.integers(1, 20_000), st.lists(st.floats(0, 1e6)))
def test_it_is_never_more_than_what_was_asked_for_and_never_nothing(most: int, seconds: list[float]) -> None:
    pace = Pace(most)
    for each in seconds:
        pace.learn(pace.size, each)
        assert min(LEAST, most) <= pace.size <= most
