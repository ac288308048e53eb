"""How versions of campaigns are written."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, text

from tests.workers.worlds import World, statements_counted


def _chain(steps: int) -> str:
    return "\n".join(f"- {{step: s{n}, action: contact.points, with: {{points: 1}}}}" for n in range(steps))


def test_a_campaign_of_many_steps_is_applied_with_as_many_statements_as_one_of_few(
    engine: Engine, tmp_path: Path
) -> None:
    world = World(engine, tmp_path)
    sent = []
    for key, steps in (("few", 3), ("many", 90)):
        with statements_counted(engine) as statements:
            world.campaign(_chain(steps), key=key)
        sent.append(len(statements))
    assert sent[1] <= sent[0]


def test_steps_are_numbered_in_the_order_of_the_file_and_stay_themselves(engine: Engine, tmp_path: Path) -> None:
    world = World(engine, tmp_path)
    world.campaign(_chain(12))
    with engine.connect() as conn:
        first = conn.execute(text("SELECT key, id, position FROM step ORDER BY id")).all()
    assert [(row.key, row.position) for row in first] == [(f"s{n}", n) for n in range(12)]
    world.campaign("\n".join(reversed(_chain(13).splitlines())))
    with engine.connect() as conn:
        again = conn.execute(text("SELECT key, id, position FROM step ORDER BY position")).all()
    assert [row.key for row in again] == [f"s{n}" for n in reversed(range(13))]
    assert {row.key: row.id for row in first}.items() <= {row.key: row.id for row in again}.items()
