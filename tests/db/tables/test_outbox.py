"""The outbox: who has a message in hand, what may still be written of it, and how much may leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from parcours.db.scope import Scope
from parcours.db.tables import outbox
from parcours.db.tables.outbox import Lane
from parcours.domain.messages.circuit import Circuit
from parcours.domain.messages.settle import MessageRow, State
from tests.db.rows import NOW, campaign, contacts, read

MINUTE = timedelta(minutes=1)


def message(conn: Connection, key: str, contact_id: int, step_id: int, **columns: Any) -> None:
    given_columns = {
        "channel": "email", "template": "hello", "address": "c@example.com", "state": "queued", "due_at": NOW,
        "marketing": True, "priority": 0, "held": None,
    } | columns  # fmt: skip
    conn.execute(
        text(
            "INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, created_at, "
            "channel, template, address, state, due_at, marketing, priority, held) "
            "SELECT :contact_id, :key, campaign_id, id, 1, :now, :channel, :template, :address, "
            "CAST(:state AS message_state), :due_at, :marketing, :priority, :held FROM step WHERE id = :step_id"
        ),
        {"key": key, "contact_id": contact_id, "step_id": step_id, "now": NOW, **given_columns},
    )


def became(key: str, state: State, lease: datetime, *, attempts: int = 1, error: str | None = None) -> MessageRow:
    address = "c@example.com"
    return MessageRow(
        key, lease, state, "email", "hello", address, None, attempts, lease, error, None, None, bounced=False
    )


def lanes(conn: Connection, now: datetime = NOW, **scope: Any) -> list[Lane]:
    return outbox.lanes(conn, now=now, scope=Scope(**scope))


def claim(conn: Connection, limit: int, *, now: datetime = NOW, until: datetime = NOW + MINUTE) -> list[str]:
    (lane,) = lanes(conn, now)
    return [each.key for each in outbox.claim(conn, lane, now=now, leased_until=until, limit=limit, scope=Scope())]


@pytest.fixture
def three(engine: Engine) -> Engine:
    """A database with three messages, due one minute after the other up to now."""
    with engine.begin() as conn:
        contacts(conn, [1, 2, 3])
        _, (step,) = campaign(conn, "a")
        for id_ in (1, 2, 3):
            message(conn, f"m{id_}", id_, step, due_at=NOW - (3 - id_) * MINUTE)
    return engine


def test_two_who_claim_share_a_lane_and_whoever_dies_gives_back(three: Engine) -> None:
    with three.connect() as one, three.connect() as two:
        assert claim(one, 2) == ["m1", "m2"]
        assert claim(two, 3) == ["m3"]
        two.commit()
        one.rollback()
        assert claim(two, 3) == ["m1", "m2"]


def test_what_is_in_hand_is_claimed_again_only_when_the_lease_is_over(three: Engine) -> None:
    with three.begin() as conn:
        assert claim(conn, 9) == ["m1", "m2", "m3"]
    with three.begin() as conn:
        assert lanes(conn) == []
        assert claim(conn, 9, now=NOW + MINUTE, until=NOW + 2 * MINUTE) == ["m1", "m2", "m3"]


def test_only_who_has_a_message_in_hand_writes_what_became_of_it_but_what_left_has_left(three: Engine) -> None:
    first, second = NOW + MINUTE, NOW + 2 * MINUTE
    with three.begin() as conn:
        claim(conn, 9, until=first)
    with three.begin() as conn:
        claim(conn, 9, now=first, until=second)
    with three.begin() as conn:
        # The first worker was slow; it has sent one and failed with the others.
        late = [became("m1", "sent", first), became("m2", "failed", first, error="no"), became("m3", "queued", first)]
        assert [(each.key, each.state) for each in outbox.record(conn, late, now=first)] == [("m1", "sent")]
    with three.begin() as conn:
        rows = [became("m1", "failed", second), became("m2", "queued", second), became("m3", "sent", second)]
        written = outbox.record(conn, rows, now=second)
        assert sorted((each.key, each.state) for each in written) == [("m2", "queued"), ("m3", "sent")]
        assert read(conn, "SELECT key, state::text, sent_at FROM message ORDER BY key") == [
            ("m1", "sent", first),
            ("m2", "queued", None),
            ("m3", "sent", second),
        ]


def test_a_message_that_failed_goes_back_with_its_attempts_before_it(three: Engine) -> None:
    with three.begin() as conn:
        claim(conn, 9)
        failed = [became(f"m{n}", "failed", NOW + MINUTE, attempts=5, error=f"no {n}") for n in (1, 2)]
        outbox.record(conn, failed, now=NOW)
        assert {each.error for each in outbox.failed(conn, limit=9)} == {"no 1", "no 2"}
        assert [each.key for each in outbox.failed(conn, keys=["m2"], limit=9)] == ["m2"]
        assert outbox.retry(conn, ["m2", "m3", "nothing"], now=NOW) == 1
        assert read(conn, "SELECT state::text, attempts, tried_at FROM message WHERE key = 'm2'") == [
            ("queued", 0, None)
        ]
        assert outbox.retry(conn, None, now=NOW) == 1
        assert outbox.failed(conn, limit=9) == []
        assert [(each.state, each.messages, each.about) for each in outbox.counts(conn)] == [
            ("queued", 2, False),
            ("sending", 1, False),
        ]


def test_lanes_go_by_kind_and_priority_and_those_that_rest_have_none(conn: Connection) -> None:
    contacts(conn, [1])
    running, (step,) = campaign(conn, "a")
    paused, (of_paused,) = campaign(conn, "a", key="paused", published=False)
    message(conn, "low", 1, step)
    message(conn, "high", 1, step, priority=2)
    message(conn, "own", 1, step, marketing=False, priority=-1)
    message(conn, "later", 1, step, channel="sms", due_at=NOW + MINUTE)
    message(conn, "resting", 1, of_paused)
    found = [(lane.channel, lane.marketing, lane.priority) for lane in lanes(conn)]
    assert found == [("email", False, -1), ("email", True, 2), ("email", True, 0)]
    assert lanes(conn, excluded=(running,)) == []
    assert {lane.channel for lane in lanes(conn, NOW + MINUTE)} == {"email", "sms"}
    assert outbox.stopped(conn, [running, paused], now=NOW) == {paused}


def test_what_a_deleted_campaign_left_behind_is_cancelled_a_few_at_a_time(conn: Connection) -> None:
    contacts(conn, [1])
    campaign_id, (step,) = campaign(conn, "a")
    for n in range(4):
        message(conn, f"m{n}", 1, step, due_at=NOW + n * 60 * MINUTE)
    message(conn, "in hand", 1, step, state="sending", due_at=NOW + MINUTE)
    conn.execute(text("UPDATE campaign SET deleted_at = now(), published = false WHERE id = :id"), {"id": campaign_id})
    (lane,) = lanes(conn)
    assert lane.deleted
    assert [outbox.cancel_deleted(conn, lane, now=NOW, limit=3) for _ in range(3)] == [3, 1, 0]
    assert read(conn, "SELECT key, state::text FROM message WHERE state <> 'cancelled'") == [("in hand", "sending")]


def test_only_what_quiet_hours_hold_back_is_looked_at_again(conn: Connection) -> None:
    contacts(conn, [1, 2])
    _, (step,) = campaign(conn, "a")
    later = NOW + 60 * MINUTE
    message(conn, "quiet", 1, step, held="quiet_hours", due_at=later)
    message(conn, "cap", 1, step, held="cap", due_at=later)
    message(conn, "other", 2, step, held="quiet_hours", due_at=later)
    outbox.look_again(conn, [1], now=NOW)
    assert read(conn, "SELECT key FROM message WHERE due_at = :now", now=NOW) == ["quiet"]


def test_the_same_email_is_told_once_to_two_contacts_that_became_one(conn: Connection) -> None:
    contacts(conn, [1, 2])
    _, (step,) = campaign(conn, "a")
    message(conn, "first", 1, step)
    message(conn, "again", 1, step)
    message(conn, "to a user", 1, step, address=None)
    message(conn, "another", 1, step, template="news")
    message(conn, "another's", 2, step)
    keys = ["first", "again", "another", "another's"]
    assert outbox.told_already(conn, keys) == {"again"}
    conn.execute(text("UPDATE message SET state = 'sent' WHERE key = 'again'"))
    assert outbox.told_already(conn, ["first"]) == {"first"}


def test_who_left_is_departed_unless_the_campaigns_own_step_let_them_out(conn: Connection) -> None:
    contacts(conn, [1, 2, 3])
    campaign_id, (step,) = campaign(conn, "a")
    conn.execute(text("UPDATE step SET type = 'campaign.change'"))
    conn.execute(
        text(
            "INSERT INTO membership (contact_id, campaign_id, added_at, arrival, left_at, departure) VALUES "
            "(1, :c, :now, 'segment', NULL, NULL), (2, :c, :now, 'segment', :now, 'segment'), "
            "(3, :c, :now, 'segment', :now, 'action')"
        ),
        {"c": campaign_id, "now": NOW},
    )
    asked = [(id_, campaign_id, None) for id_ in (1, 2, 3, 4)]
    assert outbox.departed(conn, asked) == {(2, campaign_id, None), (3, campaign_id, None)}
    conn.execute(
        text(
            "INSERT INTO outcome (contact_id, step_id, rotation, passage, at, result) "
            "VALUES (3, :step, 1, 1, :now, 'done')"
        ),
        {"step": step, "now": NOW},
    )
    assert outbox.departed(conn, asked) == {(2, campaign_id, None)}


moments = st.lists(st.tuples(st.integers(-5, 20), st.integers(0, 3)), min_size=1, max_size=12)


@given(moments, st.sampled_from([0.1, 0.5, 1.0, 3.0]))
def test_a_bucket_holds_what_came_in_since_and_no_more_than_a_second_of_it(
    shared_engine: Engine, moments: Sequence[tuple[int, int]], per_second: float
) -> None:
    tokens, at = 1.0, None
    now = NOW
    with shared_engine.connect() as conn:
        for seconds, spent in moments:
            now += timedelta(seconds=seconds)  # back, too: clocks do
            if at is not None:
                tokens = min(max(1.0, per_second), tokens + max(0.0, (now - at).total_seconds()) * per_second)
            at = now if at is None else max(at, now)
            assert outbox.refill(conn, "smtp", per_second=per_second, now=now) == pytest.approx(tokens)
            outbox.spend(conn, "smtp", spent)
            tokens -= spent


def test_a_circuit_is_remembered_until_its_provider_works_and_is_one_workers_at_a_time(engine: Engine) -> None:
    first = Circuit("open", 5, 1, NOW + MINUTE, "refused")
    second = replace(first, trips=2, error="refused again")
    with engine.begin() as conn:
        assert outbox.lock_circuit(conn, "smtp") is None
        outbox.save_circuit(conn, "smtp", first, now=NOW)
        outbox.save_circuit(conn, "smtp", second, now=NOW)
    with engine.begin() as conn, engine.connect() as other:
        assert outbox.lock_circuit(conn, "smtp") == second
        other.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            outbox.lock_circuit(other, "smtp")
        assert outbox.circuits(conn) == {"smtp": second}
        outbox.save_circuit(conn, "smtp", None, now=NOW)
        assert outbox.circuits(conn) == {}
