"""`parcours check`: a world in order passes, and each contradiction is found by the invariant it breaks."""

import json

import pytest
from sqlalchemy import Engine, text

from parcours.db.checks import invariants
from tests.conftest import Run

WORLD = """
INSERT INTO contact (id, key) SELECT n, 'c' || n FROM generate_series(1, 30) AS n;
INSERT INTO campaign (key, name, published, version, created_at, changed_at)
    VALUES ('c', 'C', true, 1, '2026-06-01Z', '2026-06-01Z');
INSERT INTO campaign_version VALUES (1, 1, '{"steps": [{"step": "a"}, {"step": "b"}]}', '2026-06-01Z');
INSERT INTO step (campaign_id, key, kind, type, created_at)
    VALUES (1, 'a', 'action', 'contact.points', '2026-06-01Z'), (1, 'b', 'action', 'email.send', '2026-06-01Z');
CREATE TABLE outcome_2026_06 PARTITION OF outcome FOR VALUES FROM ('2026-06-01Z') TO ('2026-07-01Z');
INSERT INTO membership (contact_id, campaign_id, rotation, added_at, arrival)
    SELECT id, 1, 1, '2026-06-02Z', 'segment' FROM contact;
INSERT INTO campaign_count VALUES (1, '2026-06-02', 'added', 3, 40), (1, '2026-06-02', 'left', 5, 10);
INSERT INTO outcome (contact_id, step_id, rotation, passage, at, result)
    SELECT id, 1, 1, 1, '2026-06-02 23:30Z', 'done' FROM contact;
INSERT INTO step_count VALUES (1, '2026-06-02', 'done', 3, 35), (1, '2026-06-02', 'done', 4, -5);
INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at)
    SELECT id, 2, 1, 1, 1, 'delay', '2026-06-02Z', 'infinity' FROM contact;
INSERT INTO inbox (contact_id, received_at, source, id, type, at, data)
    VALUES (1, '2026-06-02Z', 's', '1', 'page.hit', '2026-06-02Z', '{}');
INSERT INTO message (contact_id, key, campaign_id, step_id, rotation, channel, due_at, created_at)
    SELECT id, '1-2-' || id || '-1', 1, 2, 1, 'email', '2026-06-02Z', '2026-06-02Z' FROM contact;
"""

# What breaks, by the invariant that must say so; and how often it is contradicted.
BROKEN = {
    "outcomes_twice": (
        "INSERT INTO outcome SELECT contact_id, step_id, rotation, passage, at + interval '1 second', due_at, 'skipped'"
        " FROM outcome WHERE contact_id <= 2; "
        "INSERT INTO step_count VALUES (1, '2026-06-02', 'skipped', 1, 2)",
        2,
    ),
    "counters_differ": ("UPDATE step_count SET day = '2026-06-03' WHERE slot = 4", 2),
    "waits_of_nobody": ("UPDATE wait SET rotation = 2 WHERE contact_id <= 25", 25),
    "runs_differ": (
        "INSERT INTO run (contact_id, campaign_id, number, key, rotation, arrival, manual, began_at) "
        "SELECT id, 1, 1, '', 1, 'segment', false, '2026-06-02Z' FROM contact WHERE id <= 2",
        2,
    ),
    "waits_at_removed_steps": ("UPDATE step SET removed_at = now() WHERE id = 2", 30),
    "lost_members": (
        "DELETE FROM wait WHERE contact_id <= 3; UPDATE membership SET rotation = 2 WHERE contact_id <= 3",
        3,
    ),
    "members_differ": ("UPDATE campaign_count SET n = 11 WHERE what = 'left'", 1),
    "of_contacts_gone": (
        "DELETE FROM wait WHERE contact_id = 1; DELETE FROM outcome WHERE contact_id = 1; "
        "DELETE FROM membership WHERE contact_id = 1; DELETE FROM message WHERE contact_id = 1; "
        "UPDATE campaign_count SET n = 11 WHERE what = 'left'; UPDATE step_count SET n = 34 WHERE slot = 3; "
        "DELETE FROM contact WHERE id = 1",
        1,
    ),
    "due_without_rule": (
        "INSERT INTO segment (key, name, rule) VALUES ('a', 'A', NULL), ('b', 'B', '{}'); "
        "INSERT INTO segment_due SELECT contact.id, segment.id, now() FROM contact, segment WHERE contact.id <= 3; "
        "INSERT INTO segment_due VALUES (999, 2, now())",
        4,
    ),
    "control_waits": ("UPDATE membership SET control = true WHERE contact_id <= 4", 4),
    "trials_differ": ("INSERT INTO trial_count (campaign_id, part, slot, entered) VALUES (1, 'treated', 0, 2)", 1),
    "keys_twice": ("INSERT INTO contact_alias VALUES (2, 'c1', now())", 1),
    "deliveries_differ": ("INSERT INTO delivery_count VALUES (1, 'sent', 0, 3)", 1),
    "messages_twice": ("UPDATE message SET contact_id = 2, key = '9-2-2-1' WHERE contact_id = 1", 1),
}


@pytest.fixture
def world(engine: Engine) -> Engine:
    write(engine, WORLD)
    return engine


def write(engine: Engine, statements: str) -> None:
    with engine.begin() as conn:
        for statement in statements.split(";"):
            if statement.strip():
                conn.execute(text(statement))


def contradicted(engine: Engine) -> dict[str, int]:
    return {each.name: each.violations for each in invariants.run(engine) if each.violations}


def test_a_world_in_order_passes(world: Engine, run: Run) -> None:
    done = run("check")
    assert (done.returncode, done.stdout.count("holds: ")) == (0, len(invariants.INVARIANTS))
    assert json.loads(run("check", "--json").stdout)["holds"] is True


def test_every_invariant_has_its_test() -> None:
    assert set(BROKEN) == set(invariants.INVARIANTS)


@pytest.mark.parametrize("name", BROKEN)
def test_a_contradiction_is_found_by_the_invariant_that_it_breaks_and_by_no_other(world: Engine, name: str) -> None:
    statements, times = BROKEN[name]
    write(world, statements)
    assert contradicted(world) == {name: times}


ERASED = """
DELETE FROM wait WHERE contact_id = 1; DELETE FROM outcome WHERE contact_id = 1;
DELETE FROM membership WHERE contact_id = 1; DELETE FROM message WHERE contact_id = 1;
DELETE FROM inbox WHERE contact_id = 1; DELETE FROM contact WHERE id = 1;
UPDATE campaign_count SET n = 11 WHERE what = 'left'; UPDATE step_count SET n = 34 WHERE slot = 3
"""


@pytest.mark.parametrize("counted", ["", "; INSERT INTO campaign_count VALUES (1, '2026-06-03', 'erased', 2, 1)"])
def test_erasures_are_in_order_also_those_of_a_version_that_did_not_count_them(world: Engine, counted: str) -> None:
    write(world, ERASED + counted)
    assert contradicted(world) == {}


def test_more_erased_than_are_missing_is_found(world: Engine) -> None:
    write(world, ERASED + "; INSERT INTO campaign_count VALUES (1, '2026-06-03', 'erased', 2, 12)")
    assert contradicted(world) == {"members_differ": 1}


def test_a_wait_of_a_member_who_left_is_found(world: Engine) -> None:
    write(
        world,
        "UPDATE membership SET left_at = now(), departure = 'manual' WHERE contact_id = 7; "
        "UPDATE campaign_count SET n = 11 WHERE what = 'left'",
    )
    assert contradicted(world) == {"waits_of_nobody": 1}


@pytest.mark.parametrize(
    "excuse",
    [
        "UPDATE campaign SET published = false",
        "UPDATE campaign SET publish_until = '2026-06-03Z'",
        "UPDATE campaign_version SET definition = '{\"steps\": []}'",
        # It had no root yet when they joined.
        "UPDATE campaign_version SET definition = '{\"steps\": []}'; "
        'INSERT INTO campaign_version VALUES (1, 2, \'{"steps": [{"step": "a"}]}\', \'2026-06-03Z\')',
    ],
)
def test_a_member_without_work_is_in_order_where_there_is_none_to_do(world: Engine, excuse: str) -> None:
    write(world, BROKEN["lost_members"][0] + ";" + excuse)
    assert contradicted(world) == {}


def test_the_command_shows_ten_examples_and_fails(world: Engine, run: Run) -> None:
    write(world, BROKEN["waits_of_nobody"][0])
    done = run("check")
    assert done.returncode == 1
    assert "25 violations" in done.stdout
    assert done.stdout.count("  contact c") == invariants.EXAMPLES
    found = json.loads(run("check", "--json").stdout)
    broken = next(each for each in found["invariants"] if each["violations"])
    assert (found["holds"], broken["name"], broken["violations"]) == (False, "waits_of_nobody", 25)
    assert broken["examples"][0] == {
        "contact": broken["examples"][0]["contact"],
        "step": "b",
        "rotation": 2,
        "member_rotation": 1,
        "left_at": None,
    }
