"""What becomes of messages and of providers, by what the providers answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.messages.circuit import FIRST_PAUSE, LONGEST_PAUSE, THRESHOLD, Circuit, circuit_after
from parcours.domain.messages.rate import parse_rate
from parcours.domain.messages.results import Bounced, Cancelled, Claimed, GaveUp, Result, Retry, Sent, Untried
from parcours.domain.messages.settle import MessageRow, settle
from parcours.domain.retries import FIRST_BEHIND, LONGEST_AWAY, LONGEST_PATIENCE

NOW = datetime(2026, 6, 1, 9, tzinfo=UTC)
LEASE = NOW + timedelta(minutes=2)


def message(key: str = "1-2-3-1", **more: Any) -> Claimed:
    given_: dict[str, Any] = {"payload": {}, "attempts": 0, "tried_at": NOW, **more}
    return Claimed(
        key, 3, 1, 2, "email", "hello", "ann@example.com", marketing=True, created_at=NOW, leased_until=LEASE, **given_
    )


def row(result: Result, *, paused: bool = False, **more: Any) -> MessageRow:
    done = settle([(message(**more), result)], paused={"1-2-3-1": NOW + FIRST_PAUSE} if paused else {}, now=NOW)
    (found,) = done.rows
    return found


results = st.sampled_from(
    [Sent(), Retry("later"), Retry("away", away=True), GaveUp("no"), Bounced("gone"), Cancelled("refused"), Untried()]
)


@given(st.lists(results), st.integers(0, 5), st.booleans())
def test_every_message_gets_one_row_and_who_is_blamed_has_failed(found: list[Result], tried: int, paused: bool) -> None:
    keys = [str(n) for n in range(len(found))]
    pauses = dict.fromkeys(keys, NOW + FIRST_PAUSE) if paused else {}
    tries = [(message(key, attempts=tried), result) for key, result in zip(keys, found, strict=True)]
    done = settle(tries, paused=pauses, now=NOW)
    assert [each.key for each in done.rows] == keys
    assert done.failures.keys() <= {each.key for each in done.rows if each.state == "failed"}
    for each in done.rows:
        assert each.state in ("sent", "queued", "failed", "cancelled")
        assert each.due_at >= NOW
        assert (each.state == "queued") <= (each.attempts >= tried)


def test_attempts_are_those_of_the_payload() -> None:
    assert row(Retry("later"), attempts=1).state == "queued"
    assert row(Retry("later"), attempts=2).state == "failed"
    assert row(Retry("later"), attempts=2, payload={"attempts": 4}).state == "queued"


def test_a_provider_that_is_away_costs_no_attempt_for_three_days() -> None:
    waiting = row(Retry("away", away=True), attempts=2, paused=True)
    assert (waiting.state, waiting.attempts) == ("queued", 2)
    done = settle(
        [(message(attempts=2, tried_at=NOW - LONGEST_AWAY), Retry("away", away=True))],
        paused={"1-2-3-1": NOW},
        now=NOW,
    )
    assert done.rows[0].state == "failed"
    # It was not the contact's fault.
    assert done.failures == {}


@given(st.timedeltas(timedelta(0), LONGEST_AWAY - timedelta(seconds=1)))
def test_a_message_that_found_its_provider_away_goes_behind_the_others_the_longer_it_has_waited(
    waited: timedelta,
) -> None:
    due = row(Retry("away", away=True), paused=True, tried_at=NOW - waited).due_at
    behind = due - (NOW + FIRST_PAUSE)
    assert behind >= max(FIRST_BEHIND, min(waited, LONGEST_PATIENCE))
    assert behind <= LONGEST_PATIENCE * 1.25


def test_what_is_the_message_s_own_costs_an_attempt_also_while_a_provider_is_away() -> None:
    assert row(Retry("greylisted"), paused=True).attempts == 1


def test_what_asks_for_patience_is_tried_for_three_days_at_longer_and_longer_intervals() -> None:
    """A quota of the day lets a message through tomorrow; greylisting does in minutes."""
    now, waited = NOW, []
    for _ in range(200):
        done = settle([(message(attempts=2), Retry("452 4.5.3 quota", patient=True))], paused={}, now=now)
        (found,) = done.rows
        if found.state == "failed":
            break
        waited.append(found.due_at - now)
        now = found.due_at
    assert timedelta(minutes=5) <= waited[0] <= timedelta(minutes=7)
    assert max(waited) <= timedelta(hours=2, minutes=30)
    assert LONGEST_AWAY <= now - NOW <= LONGEST_AWAY + timedelta(hours=3)
    assert len(waited) < 60
    # The attempts of the step are still there for what else may happen.
    assert found.attempts == 3


@given(st.integers(1, 30))
def test_a_circuit_opens_after_five_failures_in_a_row(away: int) -> None:
    after = circuit_after(None, answered=0, away=away, error="x", now=NOW)
    assert after is not None
    assert (after.state == "open") == (away >= THRESHOLD)
    assert after.admits(NOW) == ("none" if away >= THRESHOLD else "all")


def test_an_open_circuit_is_tried_with_one_message_and_waits_longer_each_time() -> None:
    circuit, now, pauses = circuit_after(None, answered=0, away=5, error="x", now=NOW), NOW, []
    for _ in range(10):
        assert circuit is not None
        assert circuit.opened_until is not None
        pauses.append(circuit.opened_until - now)
        now = circuit.opened_until
        assert circuit.admits(now) == "one"
        probed = circuit.probed(now + timedelta(minutes=1))
        assert probed.admits(now) == "none"
        circuit = circuit_after(probed, answered=0, away=1, error="x", now=now)
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert circuit_after(circuit, answered=1, away=0, error=None, now=now) is None


def test_what_comes_in_late_from_before_an_opening_does_not_prolong_it() -> None:
    opened = Circuit("open", 5, 1, NOW + FIRST_PAUSE, "x")
    after = circuit_after(opened, answered=0, away=4, error="y", now=NOW)
    assert after is not None
    assert (after.opened_until, after.trips) == (opened.opened_until, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("60 per minute", 1.0),
        ("7200 per hour", 2.0),
        ("5/second", 5.0),
        ("86400 per day", 1.0),
        ("60 par minute", 1.0),
        ("7200 par heure", 2.0),
        ("86400 par jour", 1.0),
        ("5/seconde", 5.0),
    ],
)
def test_rates(text: str, expected: float) -> None:
    assert parse_rate(text) == expected


@pytest.mark.parametrize("text", ["0 per hour", "fast", "10", "-1 per hour", "1 per week", 3, None])
def test_what_is_no_rate_is_said_in_a_sentence(text: object) -> None:
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate(text)
