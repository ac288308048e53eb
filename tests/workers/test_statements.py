"""What a batch costs: the same number of statements for ten contacts and for a thousand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import campaigns
from parcours.domain.contacts.membership import Arrival, Departure
from parcours.domain.steps.batch import Fact
from parcours.domain.steps.types import Failed
from parcours.workers import decisions, events, executor, membership
from tests.workers.worlds import START, Moody, World, at, event, statements_counted

EVERYTHING = """
    - step: start
      condition: contact.field
      with: {field: country, operator: "=", value: US}
      yes:
        - {step: stage, action: contact.stage, with: {stage: lead}}
        - step: tag
          action: contact.tags
          with: {add: [new]}
          then:
            - {step: point, action: contact.points, with: {points: 1}}
            - {step: score, action: contact.points, with: {points: 1, group: wine}}
            - {step: scored, condition: contact.points, with: {operator: gt, points: 0, group: wine}}
            - {step: from, condition: contact.field, with: {field: utm_source, operator: "=", value: fair}}
            - {step: set, action: contact.update, with: {fields: {colour: red}}}
            - {step: segment, action: contact.segments, with: {add: [other], remove: [gone]}}
            - step: send
              action: email.send
              with: {email: hello}
              then: [{step: opened, decision: email.open}]
            - {step: moody, action: test.moody}
            - {step: later, action: contact.points, with: {points: 1}, after: 1 day, hour: "09:00"}
      no:
        - {step: other, action: campaign.change, with: {add: [other]}}
        - {step: jump, action: campaign.jump, with: {to: target}}
        - step: never
          condition: contact.tags
          with: {tags: [none]}
          yes: [{step: target, action: contact.points, with: {points: 1}}]
        - {step: out, action: campaign.change, with: {remove: [this]}, after: 1 day}
"""
ZONES = ("Europe/Paris", "America/New_York", None)


def many(world: World, size: int, moody: Moody) -> int:
    """Make contacts and steps of every sort; return the id of the root."""
    moody.moods = {"US0-1": Failed("it is broken")}
    world.segment("gone")
    world.segment("other")
    world.email("hello")
    for number, zone in enumerate(ZONES):
        for country in ("US", "FR"):
            keys = world.crowd(size // 6 or 1, prefix=f"{country}{number}-", country=country, timezone=zone)
            world.enter("everyone", *keys)
            world.enter("gone", *keys)
    slow = "- {step: a, action: contact.points, with: {points: 1}, after: 1 day}"
    world.campaign(slow, key="other", segments=["nobody"])
    world.campaign(EVERYTHING, reentry="always")
    return world.step_id("start")


def cost(world: World, size: int, moody: Moody, work: Callable[[World, list[int], int], None]) -> int:
    root = many(world, size, moody)
    ids = [row.id for row in world.read("SELECT id FROM contact ORDER BY id")]
    # What is made or read once a process is not of the batch.
    ensure_partitions(world.engine, START)
    with world.engine.connect() as conn:
        for key in ("c", "other"):
            campaigns.enter(conn, world.found(conn, key).id, world.zone)
    with statements_counted(world.engine) as sent:
        work(world, ids, root)
    found = len(sent)
    world.check()
    world.clear()
    return found


def joining(world: World, ids: list[int], root: int) -> None:
    assert world.update()["added"] == len(ids)


def arriving(world: World, ids: list[int], root: int) -> None:
    with world.engine.begin() as conn:
        tree, _ = campaigns.enter(conn, world.found(conn).id, world.zone)
        for _ in range(2):
            done = membership.arrive(conn, tree, ids, Arrival.FORM, now=START, zone=world.zone)
            assert done.total() == len(ids)


def leaving(world: World, ids: list[int], root: int) -> None:
    world.update()
    with world.engine.begin() as conn:
        gone = membership.depart(conn, world.found(conn).id, ids, Departure.MANUAL, now=START)
    assert gone == len(ids)


def executing(world: World, ids: list[int], root: int) -> None:
    world.update()
    with world.engine.begin() as conn:
        done = executor.execute_due(conn, root, now=START, limit=5000, zone=world.zone)
    assert done.claimed == len(ids)


def reacting(world: World, ids: list[int], root: int) -> None:
    world.update()
    with world.engine.begin() as conn:
        executor.execute_due(conn, root, now=START, limit=5000, zone=world.zone)
        happened = {id_: [Fact("email.opened", {"email": "hello"}, START)] for id_ in ids}
        assert decisions.react(conn, happened, now=START, zone=world.zone).counts["yes"] == len(ids) // 2


def being_told(world: World, ids: list[int], root: int) -> None:
    keys = [row.key for row in world.read("SELECT key FROM contact")]
    moved = [event("contact.changed", key, stage="fan") for key in keys]
    seen = [event("page.hit", key, url="/?utm_source=fair") for key in keys]
    world.accept(*moved[:500], *seen[:500])
    with world.engine.begin() as conn:
        assert events.act(conn, now=START, zone=world.zone).events == 2 * min(len(ids), 500)


@pytest.mark.parametrize("work", [joining, arriving, leaving, executing, reacting, being_told])
def test_a_batch_sends_as_many_statements_for_a_thousand_contacts_as_for_ten(
    world: World, moody: Moody, work: Callable[[World, list[int], int], None]
) -> None:
    few, lots = (cost(world, size, moody, work) for size in (12, 1200))
    assert few == lots
    assert few < 100


def test_a_sweep_with_nothing_due_is_a_few_reads(world: World, moody: Moody) -> None:
    many(world, 600, moody)
    world.run()
    with statements_counted(world.engine) as sent:
        assert world.trigger(at(1, "09:00")) == {}
    # Who runs, whose timezone changed, whether there are rules, that no table is read as a whole, and what is due.
    assert len(sent) == 5


PLAIN = """
    - step: point
      action: contact.points
      with: {points: 1}
      then: [{step: later, action: contact.points, with: {points: 1}, after: 1 day}]
"""


def plain(world: World, size: int) -> None:
    """A campaign that has no exit, goal, limit, run or date, and nothing else that a campaign may leave out."""
    world.crowd(size, segment="everyone")
    world.campaign(PLAIN)
    ensure_partitions(world.engine, START)
    with world.engine.connect() as conn:
        campaigns.enter(conn, world.found(conn).id, world.zone)


def test_an_update_of_a_plain_campaign_asks_for_nothing_that_it_does_not_use(world: World) -> None:
    plain(world, 20)
    with statements_counted(world.engine) as sent:
        assert world.update()["added"] == 20
    # Whether anything waits to be followed: dates, rules; whether ranges of new dates are left to write; who runs,
    # which rules there are, that it is aligned now, and whether it limits who begins.
    before = 7
    # Enter (2), its segments, the range of ids, where members differ.
    chunks = 5
    # Enter (2), a savepoint and its end, its segments, who left, who joins, the counters, and rules once more.
    aligned = 9
    assert len(sent) == before + chunks + aligned, "\n".join(sent)


def test_a_batch_of_a_plain_campaign_asks_for_nothing_that_it_does_not_use(world: World) -> None:
    plain(world, 20)
    world.update()
    root = world.step_id("point")
    with statements_counted(world.engine) as sent, world.engine.begin() as conn:
        assert executor.execute_due(conn, root, now=START, limit=100, zone=world.zone).claimed == 20
    # The campaign of the step, a free place at it, enter (2), the claim, a savepoint and its end, the contacts; their
    # points, the log of these, history, counters and waits; the version of all rules.
    assert len(sent) == 14, "\n".join(sent)
