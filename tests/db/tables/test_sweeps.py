"""Sweeps: started by one, worked on by many, and counted once."""

from __future__ import annotations

from collections import Counter

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from parcours.db.scope import Scope
from parcours.db.tables import sweeps
from parcours.db.tables.membership import Chunk
from tests.db.rows import NOW, campaign

CHUNKS = [Chunk(1, 10), Chunk(11, 20), Chunk(21, 2**62)]


@pytest.fixture
def asked(engine: Engine) -> int:
    with engine.begin() as conn:
        return sweeps.ask(conn, "update", Scope(contact_ids=(3, 5), batch_limit=2), at=NOW)


def test_a_sweep_keeps_what_it_was_asked_for(engine: Engine, asked: int) -> None:
    with engine.connect() as conn:
        found = sweeps.find(conn, asked)
        assert found is not None
        assert found.scope == Scope(contact_ids=(3, 5), batch_limit=2)
        assert (found.kind, found.at, found.started_at, found.finished_at) == ("update", NOW, None, None)
        assert sweeps.find(conn, asked + 1) is None


def test_one_call_starts_a_sweep_and_the_others_find_it_started(engine: Engine, asked: int) -> None:
    with engine.begin() as conn:
        assert sweeps.start(conn, asked)
    with engine.begin() as conn:
        assert not sweeps.start(conn, asked)
        assert not sweeps.start(conn, asked + 1)


def test_chunks_are_taken_once_and_a_crash_gives_them_back(engine: Engine, asked: int) -> None:
    with engine.begin() as conn:
        campaign_id, _ = campaign(conn)
        sweeps.add_chunks(conn, asked, campaign_id, CHUNKS)
        sweeps.add_chunks(conn, asked, campaign_id, [])
    with engine.connect() as one, engine.connect() as two:
        assert sweeps.take_chunk(one, asked) == (campaign_id, CHUNKS[0])
        assert sweeps.take_chunk(two, asked) == (campaign_id, CHUNKS[1])
        two.commit()
        assert sweeps.chunks_left(two, asked) == 2, "what is in hand counts until it is committed"
        one.rollback()
        assert [sweeps.take_chunk(one, asked) for _ in range(3)] == [
            (campaign_id, CHUNKS[0]),
            (campaign_id, CHUNKS[2]),
            None,
        ]
        one.commit()
    with engine.connect() as conn:
        assert sweeps.chunks_left(conn, asked) == 0


def test_the_chunks_of_a_campaign_whose_cap_is_reached_are_given_up(engine: Engine, asked: int) -> None:
    with engine.begin() as conn:
        (full, _), (other, _) = campaign(conn), campaign(conn, key="other")
        for id_ in (full, other):
            sweeps.add_chunks(conn, asked, id_, CHUNKS)
        sweeps.drop_chunks(conn, asked, full)
        assert sweeps.chunks_left(conn, asked) == 3
        assert sweeps.take_chunk(conn, asked) == (other, CHUNKS[0])


def test_counts_of_many_workers_add_up(engine: Engine, asked: int) -> None:
    with engine.begin() as conn:
        (first, _), (second, _) = campaign(conn), campaign(conn, key="other")
        sweeps.count(conn, asked, first, {"added": 2, "left": 0})
    with engine.begin() as conn:
        sweeps.count(conn, asked, first, {"added": 3, "left": 1})
        sweeps.count(conn, asked, second, {"added": 1})
        sweeps.count(conn, asked, second, {})
        assert sweeps.counts(conn, asked) == {"c": Counter(added=5, left=1), "other": Counter(added=1)}
        assert sweeps.counted_for(conn, asked, first, ["added", "left"]) == 6
        assert sweeps.counted_for(conn, asked, second, ["left"]) == 0


def test_those_who_work_for_a_cap_take_turns(engine: Engine, asked: int) -> None:
    with engine.begin() as one, engine.connect() as two:
        sweeps.turn(one, asked)
        two.execute(text("SET LOCAL lock_timeout = '50ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            sweeps.turn(two, asked)


def test_a_sweep_is_unfinished_until_it_is_finished_and_only_once_it_is_that_old(conn: Connection) -> None:
    ids = [sweeps.ask(conn, "trigger", Scope(), at=NOW) for _ in range(3)]
    conn.execute(text("UPDATE sweep SET asked_at = now() - interval '10 s' WHERE id <> :id"), {"id": ids[2]})
    assert sweeps.unfinished(conn, older_than=5) == ids[:2]
    sweeps.finish(conn, ids[0])
    first = sweeps.find(conn, ids[0])
    sweeps.finish(conn, ids[0])
    assert sweeps.find(conn, ids[0]) == first
    assert sweeps.unfinished(conn, older_than=5) == [ids[1]]
