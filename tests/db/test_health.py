"""Signs of trouble, and that the invariants and a scratch schema see what is there and leave it as it is."""

from __future__ import annotations

from datetime import UTC, timedelta

import pytest
from sqlalchemy import Engine, text

from parcours.db import scratch as scratches
from parcours.db.checks import health, invariants
from parcours.db.clock import now as database_now
from parcours.db.partitions import ensure_partitions
from parcours.db.scope import Scope
from parcours.db.tables import segments, sweeps
from tests.db.rows import NOW, campaign, contacts, read


def test_partitions_of_today_are_missed_until_they_are_made(engine: Engine) -> None:
    with engine.connect() as conn:
        now = database_now(conn).astimezone(UTC)
        wanted = sorted([f"{now:outcome_%Y_%m}", f"{now:event_%Y_%m_%d}"])
        assert health.partition_makers(conn) == (wanted, True)
    ensure_partitions(engine, now)
    with engine.connect() as conn:
        assert health.partition_makers(conn) == ([], True)
        assert timedelta() <= health.clock(conn) - now < timedelta(hours=1)
        assert health.version(conn) >= 15
        assert health.session_of(conn) == read(conn, "SELECT pg_backend_pid()")[0]


@pytest.mark.parametrize(
    ("asked", "started", "finished", "stuck"),
    [(9, None, False, False), (11, None, False, True), (70, 59, False, False), (70, 61, False, True),
     (70, 61, True, False)],
)  # fmt: skip
def test_a_sweep_is_stuck_when_nobody_starts_it_or_it_goes_on_for_an_hour(
    engine: Engine, asked: int, started: int | None, finished: bool, stuck: bool
) -> None:
    with engine.begin() as conn:
        id_ = sweeps.ask(conn, "update", Scope(), at=NOW)
        conn.execute(
            text(
                "UPDATE sweep SET asked_at = now() - make_interval(mins => :asked), "
                "started_at = now() - make_interval(mins => CAST(:started AS int)), "
                "finished_at = CASE WHEN :finished THEN now() END"
            ),
            {"asked": asked, "started": started, "finished": finished},
        )
        assert health.stuck_sweeps(conn) == ([id_] if stuck else [])


def test_contradictions_are_all_counted_and_a_few_of_them_shown(engine: Engine) -> None:
    assert {each.name: each.violations for each in invariants.run(engine)} == dict.fromkeys(invariants.INVARIANTS, 0)
    with engine.begin() as conn:
        campaign_id, (step,) = campaign(conn, "a")
        conn.execute(
            text(
                "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
                "SELECT id, :step, :campaign_id, 1, 1, 'delay', now(), now() FROM generate_series(1, 25) AS id"
            ),
            {"step": step, "campaign_id": campaign_id},
        )
    found = {each.name: each for each in invariants.run(engine) if each.violations}
    assert {name: each.violations for name, each in found.items()} == {"waits_of_nobody": 25, "of_contacts_gone": 25}
    assert len(found["of_contacts_gone"].examples) == invariants.EXAMPLES
    assert found["of_contacts_gone"].examples[0]["table"] == "wait"


def schemas(engine: Engine) -> list[str]:
    with engine.connect() as conn:
        return [name for name in read(conn, "SELECT nspname FROM pg_namespace") if name.startswith(scratches.PREFIX)]


def test_a_scratch_schema_has_definitions_and_nobody_and_is_gone_afterwards(engine: Engine) -> None:
    with engine.begin() as conn:
        contacts(conn, [1])
        campaign(conn, "a")
        segments.save(conn, "s", name=None, public=None, published=None)
        conn.execute(text("CREATE SCHEMA parcours_scratch_7"))
        conn.execute(text("CREATE SCHEMA parcours_scratch_mine"))
    with scratches.scratch(engine) as aside, aside.begin() as conn:
        assert len(schemas(engine)) == 2, "what somebody left behind is dropped, what is none of ours is not"
        counts = [read(conn, f"SELECT count(*)::int FROM {table}")[0] for table in ("contact", "campaign", "segment")]
        assert counts == [0, 0, 1]
        first = segments.find(conn, "s")
        segments.save(conn, "t", name=None, public=None, published=None)
        second = segments.find(conn, "t")
        assert first is not None
        assert second is not None
        assert second.id > first.id
        campaign_id, (step,) = campaign(conn, "a")
        assert min(campaign_id, step) >= scratches.FIRST_ID
        contacts(conn, [1, 2])
    assert schemas(engine) == ["parcours_scratch_mine"]
    with engine.connect() as conn:
        assert read(conn, "SELECT count(*)::int FROM contact") == [1]
        assert segments.find(conn, "t") is None


def test_a_scratch_schema_is_gone_when_its_user_fails_too(engine: Engine) -> None:
    with pytest.raises(ZeroDivisionError), scratches.scratch(engine):
        raise ZeroDivisionError
    assert schemas(engine) == []


def test_a_scratch_schema_of_somebody_who_is_at_work_stays(engine: Engine) -> None:
    with scratches.scratch(engine), scratches.scratch(engine):
        assert len(schemas(engine)) == 2
    assert schemas(engine) == []
