"""Outcomes and their counters, and which step fails so often that its campaign stops: counted again in Python."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from parcours.db.reads import overview
from parcours.db.tables import outcomes
from parcours.db.tables.outcomes import Logged, Waiting
from parcours.db.tables.waits import arm
from parcours.domain.campaign import StopRule
from parcours.domain.walk.rows import Failure, OutcomeRow, Wait
from tests.db.rows import NOW, campaign, contacts, read

MINUTE = timedelta(minutes=1)
RESULTS = ("done", "skipped", "failed", "yes", "no", "cancelled")

passed = st.lists(
    st.tuples(
        st.integers(1, 6),  # contact
        st.integers(0, 1),  # which step
        st.integers(1, 3),  # passage
        st.integers(-2000, 2000),  # minutes from now
        st.sampled_from(RESULTS),
    ),
    max_size=20,
    unique_by=lambda row: row[:3],
)


def written(steps: list[int], rows: list[Any]) -> list[OutcomeRow]:
    return [
        OutcomeRow(contact, steps[nth], 1, passage, NOW + minutes * MINUTE, None, result, None)
        for contact, nth, passage, minutes, result in rows
    ]


@given(passed, st.integers(0, 20))
def test_counters_are_what_history_has_however_it_was_written(
    shared_engine: Engine, rows: list[Any], split: int
) -> None:
    with shared_engine.connect() as conn:
        contacts(conn, range(1, 7))
        _, steps = campaign(conn, "a", "b")
        made = written(steps, rows)
        outcomes.record(conn, made[:split])
        outcomes.record(conn, made[split:])
        by_day = Counter((each.step_id, each.at.date(), each.result) for each in made)
        counted = read(conn, "SELECT step_id, day, result::text, sum(n)::int FROM step_count GROUP BY 1, 2, 3")
        assert {tuple(place): n for *place, n in counted} == by_day
        last_minute = sum(NOW - MINUTE < each.at <= NOW for each in made)
        assert overview.steps_in_last_minute(conn, now=NOW) == last_minute
        asked = [(contact, passage) for contact in range(1, 7) for passage in (1, 2)]
        expected = {(each.contact_id, each.passage) for each in made if each.step_id == steps[0]} & set(asked)
        assert outcomes.passed(conn, steps[0], asked) == expected
        passes = Counter(
            (each.contact_id, each.step_id)
            for each in made
            if each.result == "done" and NOW - timedelta(days=1) < each.at <= NOW
        )
        assert outcomes.recent_passes(conn, range(1, 7), steps, now=NOW) == passes


failures = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 1), st.integers(-90, 0)), max_size=12, unique_by=lambda row: row[:2]
)


@given(passed, failures, st.integers(1, 4), st.sampled_from([0.25, 0.5, 1.0]))
def test_a_step_is_failing_when_the_last_word_on_so_many_contacts_is_a_failure(
    shared_engine: Engine, rows: list[Any], failed: list[tuple[int, int, int]], at_least: int, share: float
) -> None:
    stop = StopRule(at_least=at_least, share=share, within=timedelta(hours=1))
    with shared_engine.connect() as conn:
        contacts(conn, range(1, 7))
        _, steps = campaign(conn, "a", "b")
        made = written(steps, rows)
        outcomes.record(conn, made)
        for contact, nth, minutes in failed:
            outcomes.fail(conn, [Failure(contact, steps[nth], 1, "no")], now=NOW + minutes * MINUTE)
        expected = None
        for nth, step in reversed(list(enumerate(steps))):
            lately = NOW - stop.within
            last_failed = {c: NOW + m * MINUTE for c, n, m in failed if n == nth and NOW + m * MINUTE > lately}
            last_passed: dict[int, datetime] = {}
            for each in made:
                if each.step_id == step and lately < each.at <= NOW and each.result in ("done", "skipped", "yes", "no"):
                    last_passed[each.contact_id] = max(each.at, last_passed.get(each.contact_id, each.at))
            bad = sum(at >= last_passed.get(contact, at) for contact, at in last_failed.items())
            good = sum(contact not in last_failed or at > last_failed[contact] for contact, at in last_passed.items())
            if len(last_failed) >= at_least and bad >= at_least and bad >= share * (bad + good):
                expected = (step, bad, good)
        assert outcomes.failing_step(conn, steps, stop, now=NOW) == expected


def test_the_last_failure_of_a_contact_at_a_step_is_kept_until_it_is_forgiven(conn: Connection) -> None:
    contacts(conn, [1, 2])
    _, (step,) = campaign(conn, "a")
    outcomes.fail(
        conn, [Failure(1, step, 1, "first"), Failure(1, step, 2, "second"), Failure(2, step, 1, "x")], now=NOW
    )
    outcomes.fail(conn, [Failure(2, step, 2, "y")], now=NOW + MINUTE)
    outcomes.fail(conn, [], now=NOW)
    assert read(conn, "SELECT contact_id, attempts, error FROM failure ORDER BY 1") == [(1, 2, "second"), (2, 2, "y")]
    outcomes.forgive(conn, [(1, step), (2, step + 1)])
    outcomes.forgive(conn, [])
    assert read(conn, "SELECT contact_id FROM failure") == [2]


def test_what_no_database_holds_in_a_detail_is_replaced(conn: Connection) -> None:
    contacts(conn, [1, 2])
    _, (step,) = campaign(conn, "a")
    details = [{"said": "nul \0 and half \ud83d"}, {"said": "\U0001f600 é"}]
    outcomes.record(conn, [OutcomeRow(id_, step, 1, 1, NOW, None, "done", details[id_ - 1]) for id_ in (1, 2)])
    first, second = read(conn, "SELECT detail ->> 'said' FROM outcome ORDER BY contact_id")
    assert "nul" in first
    assert "\0" not in first
    assert second == "\U0001f600 é"


def test_who_was_led_on_by_a_fact_since_they_joined_is_known_by_it(conn: Connection) -> None:
    contacts(conn, [1, 2])
    campaign_id, (step,) = campaign(conn, "a")
    for id_, joined in ((1, NOW), (2, NOW + 2 * MINUTE)):
        conn.execute(
            text(
                "INSERT INTO membership (contact_id, campaign_id, added_at, arrival) VALUES (:id, :c, :at, 'segment')"
            ),
            {"id": id_, "c": campaign_id, "at": joined},
        )
    fact = {"event": "page.hit", "at": "2026-06-01T09:00:00Z"}
    rows: list[Any] = [(1, 1, "yes", fact), (1, 2, "no", fact), (1, 3, "yes", {"other": 1}), (2, 1, "yes", fact)]
    outcomes.record(
        conn,
        [
            OutcomeRow(id_, step, 1, passage, NOW + MINUTE, None, result, detail)
            for id_, passage, result, detail in rows
        ],
    )
    assert outcomes.answered(conn, step, [1, 2]) == {(1, None, step, "page.hit", "2026-06-01T09:00:00Z")}
    assert outcomes.answered(conn, step, []) == set()


@given(passed, st.integers(1, 5))
def test_pages_of_history_have_each_outcome_once_and_in_order(
    shared_engine: Engine, rows: list[Any], size: int
) -> None:
    with shared_engine.connect() as conn:
        contacts(conn, range(1, 7))
        campaign_id, steps = campaign(conn, "a", "b")
        # Many at one instant, so that pages end in the middle of it.
        made = [each._replace(at=NOW + timedelta(hours=each.at.hour)) for each in written(steps, rows)]
        outcomes.record(conn, made)
        found: list[tuple[datetime, int, int, int]] = []
        after: Logged | None = None
        while page := list(outcomes.log(conn, campaign_id, contact_id=None, step_id=None, after=after, limit=size)):
            assert len(page) <= size
            found += [(row.at, row.contact_id, row.step_id, row.passage) for row in page]
            last = page[-1]
            after = Logged(last.at, last.contact_id, last.rotation, last.step_id, last.passage)
        assert found == sorted((each.at, each.contact_id, each.step_id, each.passage) for each in made)
        whole = outcomes.log(conn, campaign_id, contact_id=1, step_id=steps[0])
        own = [each for each in made if each.contact_id == 1 and each.step_id == steps[0]]
        assert [row.contact for row in whole] == ["c1"] * len(own)


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(0, 1), st.none() | st.integers(0, 2)),
        max_size=12,
        unique_by=lambda row: row[:2],
    ),
    st.integers(1, 4),
)
def test_pages_of_waits_have_each_once_and_those_without_an_end_last(
    shared_engine: Engine, rows: list[tuple[int, int, int | None]], size: int
) -> None:
    with shared_engine.connect() as conn:
        contacts(conn, range(1, 7))
        campaign_id, steps = campaign(conn, "a", "b")
        due = [(contact, steps[nth], None if n is None else NOW + n * MINUTE) for contact, nth, n in rows]
        arm(conn, [Wait(contact, step, campaign_id, 1, 1, 0, "delay", NOW, at) for contact, step, at in due])
        found: list[tuple[int, int, datetime | None]] = []
        after: Waiting | None = None
        while page := list(outcomes.waiting(conn, campaign_id, contact_id=None, step_id=None, after=after, limit=size)):
            found += [(row.contact_id, row.step_id, row.due_at) for row in page]
            last = page[-1]
            after = Waiting(last.due_at, last.contact_id, last.step_id, last.passage)
        never = datetime.max.replace(tzinfo=UTC)
        assert found == sorted(due, key=lambda each: (each[2] or never, each[0], each[1]))
