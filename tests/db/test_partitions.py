"""Partitions: a write never fails for want of one, and making one never fails for rows that came before it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from parcours.db import partitions
from parcours.db.partitions import ensure_partitions

THEN = datetime(2031, 5, 17, 9, tzinfo=UTC)


def write(engine: Engine, at: datetime) -> None:
    with engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO outcome (contact_id, step_id, rotation, passage, at, result) "
                "VALUES (1, 1, 1, 1, :at, 'done')"
            ),
            {"at": at},
        )
        conn.execute(
            text(
                "INSERT INTO event (contact_id, received_at, source, id, type, at) "
                "VALUES (1, :at, 'test', :id, 'page.hit', :at)"
            ),
            {"at": at, "id": str(at)},
        )


def places(engine: Engine) -> list[str]:
    """Return the partitions in which rows stand."""
    with engine.connect() as conn:
        tables = "SELECT tableoid::regclass::text FROM outcome UNION ALL SELECT tableoid::regclass::text FROM event"
        return sorted(conn.execute(text(tables)).scalars())


def test_what_nobody_made_a_partition_for_is_written_all_the_same_and_goes_with_a_later_one(engine: Engine) -> None:
    write(engine, THEN)
    assert places(engine) == ["event_default", "outcome_default"]
    ensure_partitions(engine, THEN)
    write(engine, THEN + timedelta(minutes=1))
    assert places(engine) == ["event_2031_05_17"] * 2 + ["outcome_2031_05"] * 2


def test_partitions_are_made_ahead_of_their_time(engine: Engine) -> None:
    ensure_partitions(engine, datetime(2031, 5, 31, 23, tzinfo=UTC))
    write(engine, datetime(2031, 6, 1, 1, tzinfo=UTC))
    assert places(engine) == ["event_2031_06_01", "outcome_2031_06"]


def test_a_range_with_too_many_rows_stays_in_the_default_partition(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "MOST_MOVED", 1)
    for minute in range(2):
        write(engine, THEN + timedelta(minutes=minute))
    ensure_partitions(engine, THEN)
    write(engine, THEN + timedelta(minutes=2))
    assert places(engine) == ["event_default"] * 3 + ["outcome_default"] * 3


def test_whoever_reads_for_long_does_not_keep_others_from_writing(engine: Engine) -> None:
    write(engine, THEN)
    with engine.connect() as reading:
        assert reading.execute(text("SELECT count(*) FROM outcome, event")).scalar_one() == 1
        ensure_partitions(engine, THEN)
        write(engine, THEN + timedelta(minutes=1))
        assert places(engine) == ["event_default"] * 2 + ["outcome_default"] * 2
    partitions._known.clear()
    ensure_partitions(engine, THEN)
    assert places(engine) == ["event_2031_05_17"] * 2 + ["outcome_2031_05"] * 2


def test_the_last_month_that_there_is_has_no_partition_and_fails_nobody(engine: Engine) -> None:
    ensure_partitions(engine, datetime(9999, 11, 30, 23, tzinfo=UTC))
    for month, day in ((11, 30), (12, 31)):
        at = datetime(9999, month, day, 23, tzinfo=UTC)
        ensure_partitions(engine, at)
        write(engine, at)
    assert places(engine) == ["event_9999_11_30", "event_default", "outcome_9999_11", "outcome_default"]
