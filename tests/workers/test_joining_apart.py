"""One for whom joining or leaving raises is left out and told of; the others of the chunk go on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from parcours.workers import membership
from tests.workers.worlds import START, World

STEPS = "- {step: a, action: contact.points, with: {points: 1}}"


def test_an_update_lets_in_all_but_the_one_who_cannot_join(world: World) -> None:
    names = [f"c{nth}" for nth in range(40)]
    world.contacts(*names, segment="everyone")
    world.campaign(STEPS)
    bad = world.read("SELECT id FROM contact WHERE key = 'c17'")[0].id
    world.write(f"ALTER TABLE membership ADD CONSTRAINT nobody_like_that CHECK (contact_id <> {bad})")
    try:
        with capture_logs() as lines:
            world.update(START + timedelta(minutes=1))
    finally:
        world.write("ALTER TABLE membership DROP CONSTRAINT nobody_like_that")
    joined = {row.contact_id for row in world.read("SELECT contact_id FROM membership")}
    assert len(joined) == 39
    assert bad not in joined
    (told,) = [line for line in lines if line["event"] == "member_left_out"]
    assert told["contact_id"] == bad
    # With the next update, once nothing is in the way.
    world.update(START + timedelta(minutes=2))
    assert len(world.read("SELECT contact_id FROM membership")) == 40


def test_a_grace_that_cannot_end_for_one_ends_for_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.contacts("ann", "bob", "cid", segment="everyone")
    world.campaign(STEPS)
    world.run(START)
    bob = world.read("SELECT id FROM contact WHERE key = 'bob'")[0].id
    world.write("UPDATE segment_member SET active = false")
    world.write(
        "INSERT INTO leaving (contact_id, campaign_id, due_at) SELECT contact_id, campaign_id, :at FROM membership",
        at=START,
    )
    depart = membership.depart

    def departing(conn: Any, campaign_id: int, contact_ids: Sequence[int], *rest: Any, **more: Any) -> Any:
        if bob in contact_ids:
            raise KeyError("bob")
        return depart(conn, campaign_id, contact_ids, *rest, **more)

    monkeypatch.setattr(membership, "depart", departing)
    with capture_logs() as lines, world.engine.begin() as conn:
        membership.grace_over(conn, now=START + timedelta(hours=1), zone=world.zone)
    assert [line["contact_id"] for line in lines if line["event"] == "member_not_let_go"] == [bob]
    left = {row.contact_id for row in world.read("SELECT contact_id FROM membership WHERE left_at IS NOT NULL")}
    assert left == {row.id for row in world.read("SELECT id FROM contact")} - {bob}
