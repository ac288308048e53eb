"""The figures of the installation: exact while there is little to count, bounded beyond."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from parcours.db.reads import installation_metrics, overview
from parcours.db.tables import outbox
from tests.workers.worlds import START, World

FINISHED = {"sent": 3000, "cancelled": 1000}
OPEN = {"queued": 7, "failed": 5}


@pytest.fixture
def counted(engine: Engine) -> Engine:
    with engine.begin() as conn:
        for state, n in {**FINISHED, **OPEN}.items():
            conn.execute(
                text(
                    "INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, state, due_at, "
                    "created_at) SELECT n, :state || n, 1, 1, 1, 'email', CAST(:state AS message_state), :now, :now "
                    "FROM generate_series(1, :n) AS n"
                ),
                {"state": state, "n": n, "now": START},
            )
        # States lie side by side on the pages, as time mixes them.
        conn.execute(text("CREATE TABLE mixed AS SELECT * FROM message ORDER BY md5(key)"))
        conn.execute(text("TRUNCATE message"))
        conn.execute(text("INSERT INTO message OVERRIDING SYSTEM VALUE SELECT * FROM mixed"))
        conn.execute(text("ANALYZE message"))
    return engine


def test_messages_are_counted_one_by_one_while_they_are_few(counted: Engine) -> None:
    with counted.connect() as conn:
        assert {each.state: each.messages for each in outbox.counts(conn)} == {**FINISHED, **OPEN}
        assert not any(each.about for each in outbox.counts(conn))
        assert installation_metrics.read(conn, now=START).outbox == {**FINISHED, **OPEN}


def test_of_many_messages_what_is_not_done_is_exact_and_the_others_are_an_estimate(
    counted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "COUNTED", 1000)
    with counted.connect() as conn:
        found = {each.state: each for each in outbox.counts(conn)}
        again = {each.state: each for each in outbox.counts(conn)}
    assert found == again
    assert {state: found[state].messages for state in OPEN} == OPEN
    assert {state for state, each in found.items() if each.about} == set(FINISHED)
    for state, n in FINISHED.items():
        assert 0.6 * n < found[state].messages < 1.4 * n


def test_who_waits_is_an_estimate_where_they_are_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.crowd(400, segment="everyone")
    world.campaign("- {step: later, action: contact.points, with: {points: 1}, after: 2 days}")
    world.run()
    world.write("ANALYZE wait")
    with world.engine.connect() as conn:
        (exact,) = overview.backlog(conn, now=START)
        monkeypatch.setattr(overview, "WAITS_COUNTED", 100)
        (guessed,) = overview.backlog(conn, now=START)
    assert (exact.waiting, exact.about) == (400, False)
    assert guessed.about
    assert 300 < guessed.waiting < 500
