"""Waits: who is claimed, by whom and how often, against a count in plain Python."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, text

from parcours.db.scope import Scope
from parcours.db.tables import dates, waits
from parcours.domain.walk.catch_up import Shift
from parcours.domain.walk.rows import Jumped, Wait
from tests.db.rows import NOW, campaign, contacts, read

HOUR = timedelta(hours=1)

rows = st.lists(
    st.tuples(
        st.integers(1, 5),  # contact
        st.integers(0, 1),  # which step
        st.integers(1, 2),  # passage
        st.sampled_from(["kickoff", "delay", "retry", "decision"]),
        st.one_of(st.none(), st.integers(-5, 5)),  # hours from now until it is due
    ),
    max_size=16,
    unique_by=lambda row: row[:3],
)
scopes = st.builds(
    Scope,
    contact_ids=st.none() | st.lists(st.integers(1, 7), max_size=4).map(tuple),
    min_id=st.none() | st.integers(1, 4),
    max_id=st.none() | st.integers(2, 5),
    reasons=st.none() | st.lists(st.sampled_from(["kickoff", "delay", "retry", "decision"]), max_size=3).map(tuple),
    campaign_limit=st.none() | st.just(100),
) | st.integers(1, 4).flatmap(lambda n: st.builds(Scope, thread=st.integers(1, n), threads=st.just(n)))


def arm(conn: Connection, campaign_id: int, steps: list[int], given_rows: list[Any]) -> list[Wait]:
    made = [
        Wait(contact, steps[nth], campaign_id, 1, passage, 0, reason, NOW - HOUR, hours and NOW + hours * HOUR)
        if hours != 0
        else Wait(contact, steps[nth], campaign_id, 1, passage, 0, reason, NOW - HOUR, NOW)
        for contact, nth, passage, reason, hours in given_rows
    ]
    waits.arm(conn, made)
    return made


def is_in(scope: Scope, wait: Wait) -> bool:
    return (
        (scope.contact_ids is None or wait.contact_id in scope.contact_ids)
        and (scope.min_id is None or wait.contact_id >= scope.min_id)
        and (scope.max_id is None or wait.contact_id <= scope.max_id)
        and (scope.threads is None or (wait.contact_id + (scope.thread or 0) - 1) % scope.threads == 0)
        and (scope.reasons is None or wait.reason in scope.reasons)
    )


@given(rows, scopes, st.integers(1, 10))
def test_a_claim_takes_the_oldest_due_within_its_scope_and_leaves_the_others(
    shared_engine: Engine, given_rows: list[Any], scope: Scope, limit: int
) -> None:
    with shared_engine.connect() as conn:  # rolled back after each example
        contacts(conn, range(1, 6))
        campaign_id, steps = campaign(conn, "a", "b")
        made = arm(conn, campaign_id, steps, given_rows)
        due = [each for each in made if each.due_at is not None and each.due_at <= NOW and is_in(scope, each)]
        for step in steps:
            assert waits.has_due(conn, [step], now=NOW, scope=scope) == any(each.step_id == step for each in due)
        found = {each.step_id: each.due_at for each in waits.due_steps(conn, now=NOW, scope=scope)}
        assert found == {step: min(w.due_at for w in due if w.step_id == step and w.due_at) for step in found}
        assert set(found) == {each.step_id for each in due}

        claimed = waits.claim_due(conn, steps[0], now=NOW, limit=limit, scope=scope)
        wanted = [each for each in due if each.step_id == steps[0]]
        # Which of those that are due together go first is open, unless there is a cap.
        instants = sorted(each.due_at for each in wanted if each.due_at)[:limit]
        assert sorted(each.due_at for each in claimed if each.due_at) == instants
        if scope.campaign_limit is not None:
            first = sorted((each.due_at, each.contact_id) for each in wanted if each.due_at)[:limit]
            assert sorted((each.due_at, each.contact_id) for each in claimed if each.due_at) == first
        left = Counter(read(conn, "SELECT contact_id, step_id, passage FROM wait"))
        gone = Counter((each.contact_id, steps[0], each.passage) for each in claimed)
        assert left + gone == Counter((each.contact_id, each.step_id, each.passage) for each in made)


def committed(engine: Engine, n: int) -> int:
    with engine.begin() as conn:
        contacts(conn, range(1, n + 1))
        campaign_id, (step,) = campaign(conn, "a")
        waits.arm(
            conn, [Wait(id_, step, campaign_id, 1, 1, 0, "delay", NOW, NOW + id_ * HOUR) for id_ in range(1, n + 1)]
        )
    return step


def test_two_who_claim_at_once_share_and_whoever_dies_gives_back(engine: Engine) -> None:
    step = committed(engine, 4)
    later = NOW + 10 * HOUR
    with engine.connect() as one, engine.connect() as two:
        first = [each.contact_id for each in waits.claim_due(one, step, now=later, limit=2)]
        second = [each.contact_id for each in waits.claim_due(two, step, now=later, limit=4)]
        assert (sorted(first), sorted(second)) == ([1, 2], [3, 4])
        assert waits.has_due(two, [step], now=later), "what somebody has in hand is not done yet"
        two.commit()
        one.rollback()
        assert sorted(each.contact_id for each in waits.claim_due(two, step, now=later, limit=4)) == [1, 2]


def test_what_is_armed_twice_is_kept_as_it_was_first(conn: Connection) -> None:
    contacts(conn, [1])
    campaign_id, (step,) = campaign(conn, "a")
    first = Wait(1, step, campaign_id, 1, 1, 0, "delay", NOW, NOW + HOUR, {"because": "quiet hours"})
    waits.arm(conn, [first])
    waits.arm(conn, [first._replace(due_at=NOW, held=None), first._replace(passage=2, due_at=None, held=None)])
    assert read(conn, "SELECT passage, isfinite(due_at), held FROM wait ORDER BY passage") == [
        (1, True, {"because": "quiet hours"}),
        (2, False, None),
    ]


def test_an_armed_decision_is_taken_once_and_in_the_passage_in_which_it_was_found(conn: Connection) -> None:
    contacts(conn, [1, 2])
    campaign_id, (step,) = campaign(conn, "a")
    armed = [Wait(1, step, campaign_id, 1, passage, 0, "decision", NOW, None) for passage in (1, 2)]
    waits.arm(conn, [*armed, Wait(2, step, campaign_id, 1, 1, 0, "retry", NOW, NOW)])
    taken = waits.take_armed(conn, step, {1: 2, 2: 1})
    assert [(each.contact_id, each.passage, each.due_at) for each in taken] == [(1, 2, None)]
    assert waits.take_armed(conn, step, {1: 2}) == []
    assert waits.standing(conn, step, [1, 2]) == {(1, 1, 1), (2, 1, 1)}


@given(rows, st.integers(-6, 0), st.integers(1, 48), st.integers(1, 7))
def test_a_pause_moves_what_was_to_come_by_its_length_and_nothing_else(
    shared_engine: Engine, given_rows: list[Any], began: int, length: int, limit: int
) -> None:
    since, until = NOW + began * HOUR, NOW + (began + length) * HOUR
    with shared_engine.connect() as conn:
        contacts(conn, range(1, 6))
        campaign_id, steps = campaign(conn, "a", "b")
        other_id, others = campaign(conn, "a", key="other")
        made = arm(conn, campaign_id, steps, given_rows)
        waits.arm(conn, [Wait(1, others[0], other_id, 1, 1, 0, "delay", NOW, NOW)])
        waits.shift(conn, campaign_id, Shift(since, until), limit=limit)
        found = {tuple(row[:3]): row[3:] for row in read(conn, "SELECT contact_id, step_id, passage, anchor_at, "
                                                        "nullif(due_at, 'infinity') FROM wait")}  # fmt: skip
        assert found.pop((1, others[0], 1)) == (NOW, NOW)
        for each in made:
            by = timedelta()
            if each.due_at is not None and each.due_at >= since:
                by = until - max(each.anchor_at, since)
            expected = (each.anchor_at + by, each.due_at and each.due_at + by)
            assert found.pop((each.contact_id, each.step_id, each.passage)) == expected
        assert found == {}


def test_a_pause_leaves_what_waits_for_the_end_of_time_readable(conn: Connection) -> None:
    contacts(conn, [1])
    campaign_id, (step,) = campaign(conn, "a")
    last = datetime(9999, 12, 31, 23, tzinfo=UTC)
    waits.arm(conn, [Wait(1, step, campaign_id, 1, 1, 0, "delay", NOW, last)])
    waits.shift(conn, campaign_id, Shift(NOW, NOW + timedelta(days=2)))
    (found,) = waits.still_to_come(conn, [1])
    assert found.due_at > last


def test_a_jump_moves_the_open_waits_of_its_campaign_alone(conn: Connection) -> None:
    contacts(conn, [1, 2])
    campaign_id, (step,) = campaign(conn, "a")
    other_id, (other,) = campaign(conn, "a", key="other")
    for id_ in (1, 2):
        waits.arm(conn, [Wait(id_, step, campaign_id, 1, 1, 0, "delay", NOW, NOW)])
        waits.arm(conn, [Wait(id_, other, other_id, 1, 1, 0, "delay", NOW, NOW)])
    waits.move(conn, campaign_id, [Jumped(1, None, 1, 5)])
    assert read(conn, "SELECT contact_id, step_id, rotation FROM wait ORDER BY 1, 2") == sorted(
        [(1, step, 5), (1, other, 1), (2, step, 1), (2, other, 1)]
    )
    assert [each.step_id for each in waits.cancel(conn, campaign_id, [1])] == [step]
    assert waits.count_at(conn, [step, other]) == {step: 1, other: 2}
    assert waits.count_up_to(conn, [step, other], 1) == {step: 1, other: 1}


def test_waits_of_steps_that_are_gone_leave_in_bounded_numbers_without_who_is_in_other_hands(engine: Engine) -> None:
    step = committed(engine, 4)
    with engine.connect() as erasing, engine.begin() as conn:
        erasing.execute(text("SELECT FROM contact WHERE id = 2 FOR UPDATE"))
        assert [each.contact_id for each in waits.cancel_steps(conn, [step], limit=10)] == [1, 3, 4]
    with engine.begin() as conn:
        assert [each.contact_id for each in waits.cancel_steps(conn, [step], limit=10)] == [2]
    with engine.begin() as conn:
        assert waits.cancel_steps(conn, [step], limit=10) == []


def test_kickoffs_are_taken_of_their_campaign_and_when_they_are_due(conn: Connection) -> None:
    contacts(conn, [1, 2])
    campaign_id, (now, later, delayed) = campaign(conn, "now", "later", "delayed")
    waits.arm(
        conn,
        [
            Wait(1, now, campaign_id, 1, 1, 0, "kickoff", NOW, NOW),
            Wait(1, later, campaign_id, 1, 1, 0, "kickoff", NOW, NOW + HOUR),
            Wait(1, delayed, campaign_id, 1, 1, 0, "delay", NOW, NOW),
            Wait(2, now, campaign_id, 1, 1, 0, "kickoff", NOW, NOW),
        ],
    )
    taken = waits.take_kickoffs(conn, campaign_id, [1], now=NOW)
    assert [(step, claim.contact_id, claim.reason) for step, claim in taken] == [(now, 1, "kickoff")]
    assert waits.count_at(conn, [now, later, delayed]) == {now: 1, later: 1, delayed: 1}


def test_waits_of_nobody_are_found_and_claimed_by_nobody(conn: Connection) -> None:
    contacts(conn, [1])
    campaign_id, (step,) = campaign(conn, "a")
    waits.arm(conn, [Wait(id_, step, campaign_id, 1, 1, 0, "delay", NOW, NOW) for id_ in (1, 7)])
    assert waits.of_nobody(conn, [step], now=NOW, limit=5) == [7]
    assert waits.of_nobody(conn, [step], now=NOW - HOUR, limit=5) == []
    assert waits.of_nobody(conn, [step], now=None, limit=5) == [7]
    assert [each.contact_id for each in waits.claim_due(conn, step, now=NOW, limit=5)] == [1]


def test_a_note_of_a_changed_timezone_is_taken_once_and_that_of_nobody_is_dropped(engine: Engine) -> None:
    committed(engine, 3)
    with engine.begin() as conn:
        waits.note_rezoned(conn, [1, 2, 2, 99])
    with engine.connect() as busy, engine.begin() as conn:
        busy.execute(text("SELECT FROM contact WHERE id = 2 FOR UPDATE"))
        assert waits.take_rezoned(conn, limit=10) == {1: None}
    with engine.begin() as conn:
        assert dates.first_to_follow(conn) == 2
        assert waits.take_rezoned(conn, limit=10, of=[1]) == {}
        assert waits.take_rezoned(conn, limit=10) == {2: None}
        assert dates.first_to_follow(conn) is None


@pytest.mark.parametrize(("published", "removed"), [(False, False), (True, True)])
def test_nothing_is_due_in_a_campaign_that_rests_or_at_a_step_that_is_gone(
    conn: Connection, published: bool, removed: bool
) -> None:
    contacts(conn, [1])
    campaign_id, (step,) = campaign(conn, "a", published=published)
    if removed:
        conn.execute(text("UPDATE step SET removed_at = now()"))
    waits.arm(conn, [Wait(1, step, campaign_id, 1, 1, 0, "delay", NOW, NOW)])
    assert waits.due_steps(conn, now=NOW) == []
    conn.execute(text("UPDATE campaign SET published = true"))
    conn.execute(text("UPDATE step SET removed_at = NULL"))
    assert [each.step_id for each in waits.due_steps(conn, now=NOW)] == [step]
    assert waits.due_steps(conn, now=NOW, scope=Scope(excluded=(campaign_id,))) == []
    assert waits.due_steps(conn, now=NOW, scope=Scope(campaign_ids=())) == []


def test_the_planner_is_asked_once_for_all_steps(conn: Connection) -> None:
    contacts(conn, range(1, 61))
    campaign_id, steps = campaign(conn, "many", "few", "nobody")
    waits.arm(
        conn,
        [
            Wait(contact, step, campaign_id, 1, 1, 0, "delay", NOW, NOW)
            for step, size in zip(steps, (60, 10, 0), strict=True)
            for contact in range(1, size + 1)
        ],
    )
    conn.execute(text("ANALYZE wait"))
    asked: list[str] = []
    event.listen(conn, "before_cursor_execute", lambda *given: asked.append(given[2]))
    guessed = waits.guess_at(conn, steps)
    assert (list(guessed), len(asked)) == (steps, 1)
    assert guessed[steps[0]] == 60
    assert guessed[steps[1]] == 10
    assert (waits.guess_at(conn, steps[:1]), waits.guess_at(conn, [])) == ({steps[0]: 60}, {})
