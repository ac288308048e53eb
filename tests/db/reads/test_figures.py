"""The figures of the installation: exact while there is little to count, bounded beyond."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from parcours.db.reads import installation_metrics, overview
from parcours.db.tables import outbox, waits
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


def test_of_many_messages_that_wait_there_are_at_least_as_many_as_were_counted(
    counted: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "COUNTED", 1000)
    with counted.begin() as conn:
        conn.execute(text("UPDATE message SET state = 'queued' WHERE state = 'sent'"))
        conn.execute(text("ANALYZE message"))
        found = {each.state: each for each in outbox.counts(conn)}
    assert found["queued"].about
    assert 2000 < found["queued"].messages < 4000
    assert (found["failed"].messages, found["failed"].about) == (OPEN["failed"], False)


def test_what_one_step_leaves_of_the_count_is_for_the_one_at_which_many_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.crowd(100, segment="everyone")
    few = "".join(f"- {{step: s{n}, action: contact.points, with: {{points: 1}}}}\n" for n in range(3))
    world.campaign(few + "- {step: later, action: contact.points, with: {points: 1}, after: 2 days}\n")
    world.run()
    for most, is_guessed in ((104, False), (90, True)):
        monkeypatch.setattr(overview, "WAITS_COUNTED", most)
        with world.engine.connect() as conn:
            (found,) = overview.backlog(conn, now=START)
        assert found.about is is_guessed
        assert is_guessed or found.waiting == 100


@pytest.mark.parametrize("is_looked_at", [True, False])
def test_a_guess_is_what_the_planner_would_say(world: World, is_looked_at: bool) -> None:
    world.crowd(300, segment="everyone")
    few = "- {step: rare, condition: contact.points, with: {operator: '>', value: 5}}\n"
    many = "- {step: later, action: contact.points, with: {points: 1}, after: 2 days}\n"
    world.campaign(many + many.replace("later", "other") + few)
    world.run()
    if is_looked_at:
        world.write("ANALYZE wait")
    with world.engine.connect() as conn:
        for id_ in conn.execute(text("SELECT id FROM step UNION SELECT 2000000")).scalars():
            plan = conn.execute(text(f"EXPLAIN (FORMAT JSON) SELECT FROM wait WHERE step_id = {id_}")).scalar_one()
            # The planner says 1 where it believes that there is none.
            assert abs(max(1, waits.guess_at(conn, [id_])[id_]) - plan[0]["Plan"]["Plan Rows"]) <= 1


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
