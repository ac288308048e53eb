"""Points in groups, the logs of points and stages, and where contacts came from, on a real database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from parcours.db import merge_locks
from parcours.db.tables import contacts, merging, scores
from parcours.db.tables.contacts import Shown
from parcours.domain.steps.types import Failed
from parcours.producers.files.contacts import contacts as contacts_of
from parcours.producers.files.rows import RejectedRow
from tests.workers.worlds import START, Moody, World, at, event, statements_counted


@pytest.fixture
def ann(world: World) -> World:
    world.contacts("ann", segment="everyone")
    return world


def shown(world: World, key: str = "ann") -> Shown:
    with world.engine.connect() as conn:
        found = contacts.show(conn, key)
    assert found is not None
    return found


def points_logged(world: World, key: str = "ann") -> list[tuple[str | None, str | None, int, int]]:
    """Return step or source, group, change and points of what was logged, oldest first."""
    return [(row.step or row.source, row.group, row.change, row.points) for row in shown(world, key).point_log[::-1]]


def stages_logged(world: World, key: str = "ann") -> list[tuple[str | None, str | None, str | None]]:
    """Return step or source, the stage before and the one after, oldest first."""
    return [(row.step or row.source, row.before, row.after) for row in shown(world, key).stage_log[::-1]]


# Groups.


def test_points_go_to_a_group_that_applying_makes_and_conditions_ask_for_them(world: World) -> None:
    world.contacts("ann", "bob", segment="everyone")
    plan = world.campaign(
        """
        - step: few
          condition: contact.points
          with: {operator: "!=", points: 7, group: tea}
        - step: country
          condition: contact.field
          with: {field: country, operator: empty}
          yes:
            - step: add
              action: contact.points
              with: {points: 7, group: wine}
              then:
                - step: now
                  condition: contact.points
                  with: {operator: "=", score: 7, group: wine}
                - step: later
                  condition: contact.points
                  with: {operator: ">", score: 6, group: wine}
                  after: 1 day
        """
    )
    assert plan.point_groups == ["tea", "wine"]
    assert [line for line in plan.lines() if "point group" in line] == [
        "  creates point group tea",
        "  creates point group wine",
    ]
    world.run()
    world.trigger(at(2))
    assert world.tally() == {"few no": 2, "country yes": 2, "add done": 2, "now yes": 2, "later yes": 2}
    assert world.points() == [0, 0]
    assert shown(world).scores == {"wine": 7}
    with world.engine.connect() as conn:
        assert scores.groups(conn) == [("tea", "tea", 0), ("wine", "wine", 2)]
    assert world.campaign("- {step: add, action: contact.points, with: {points: 7, group: wine}}").point_groups == []


# Logs.


def test_every_change_by_a_step_is_logged_with_the_step_and_what_came_of_it(ann: World) -> None:
    ann.campaign(
        """
        - {step: one, action: contact.points, with: {points: 3}}
        - {step: two, action: contact.points, with: {points: -5}}
        - {step: three, action: contact.points, with: {points: 4, group: wine}}
        - {step: four, action: contact.stage, with: {stage: lead}}
        - {step: again, action: contact.stage, with: {stage: lead}}
        - {step: later, action: contact.points, with: {points: 1}, after: 1 day}
        - {step: fan, action: contact.stage, with: {stage: fan}, after: 1 day}
        """
    )
    ann.run()
    ann.trigger(at(2))
    assert points_logged(ann) == [
        ("one", None, 3, 3),
        ("two", None, -5, -2),
        ("three", "wine", 4, 4),
        ("later", None, 1, -1),
    ]
    assert stages_logged(ann) == [("four", None, "lead"), ("fan", "lead", "fan")]
    logged = shown(ann).point_log[0]
    assert (logged.at, logged.campaign) == (at(2), "c")


def test_what_a_step_undid_because_it_broke_is_not_logged(ann: World, moody: Moody) -> None:
    ann.contacts("bob", segment="everyone")
    moody.moods = {"ann": ValueError("broken")}
    ann.campaign("- {step: moody, action: test.moody}")
    ann.run()
    assert points_logged(ann) == []
    assert points_logged(ann, "bob") == [("moody", None, 1, 1)]


def test_what_a_step_changed_before_it_failed_is_kept_and_logged(ann: World, moody: Moody) -> None:
    moody.moods = {"ann": Failed("it is broken")}
    ann.campaign("- {step: moody, action: test.moody}")
    ann.run()
    assert ann.points("ann") == [1]
    assert points_logged(ann) == [("moody", None, 1, 1)]


def test_a_stage_that_upstream_says_is_logged_once(ann: World) -> None:
    ann.tell(event("contact.changed", "ann", at(1), stage="lead"))
    ann.tell(event("contact.changed", "ann", at(2), stage="lead", fields={"a": 1}))
    ann.tell(event("contact.changed", "ann", at(1, "10:00"), stage="old"), now=at(3))
    ann.tell(event("contact.changed", "ann", at(4), stage=None))
    assert stages_logged(ann) == [("event", None, "lead"), ("event", "lead", None)]


def brought(world: World, path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    rows = [row for row in contacts_of(path) if not isinstance(row, RejectedRow)]
    with world.engine.begin() as conn:
        contacts.stage(conn, rows)
        contacts.merge(conn, now=START)


def test_an_import_logs_what_it_changes_and_nothing_else(world: World, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    brought(world, path, "key,points,stage\nann,5,lead\nbob,,\n")
    brought(world, path, "key,points,stage\nann,5,lead\nbob,0,\n")
    brought(world, path, "key,points,stage,city\nann,-2,,Rome\nbob,,fan,\n")
    brought(world, path, "key,points\nann,2147483647\n")
    brought(world, path, "key,points\nann,-2147483648\n")
    assert points_logged(world) == [
        ("import", None, 5, 5),
        ("import", None, -7, -2),
        ("import", None, 2147483649, 2147483647),
        ("import", None, -4294967295, -2147483648),
    ]
    assert stages_logged(world) == [("import", None, "lead")]
    assert (points_logged(world, "bob"), stages_logged(world, "bob")) == ([], [("import", None, "fan")])


def test_a_batch_in_which_nobodys_points_change_sends_no_statement_for_it(ann: World) -> None:
    ann.campaign("- {step: tag, action: contact.tags, with: {add: [a]}}")
    ann.update()
    with statements_counted(ann.engine) as sent:
        ann.trigger()
    assert ann.tags("ann") == {"a"}
    assert [each for each in sent if "_log" in each or "contact_score" in each or "contact_utm" in each] == []


# Where contacts came from.

FAIR = "https://example.com/?utm_source=fair&utm_campaign=june"


def test_the_newest_visit_or_submission_says_where_a_contact_came_from_whatever_arrives_when(ann: World) -> None:
    ann.form("signup")
    ann.tell(event("page.hit", "ann", at(3), url=FAIR))
    assert shown(ann).utm == {"utm_campaign": "june", "utm_source": "fair"}
    ann.tell(event("page.hit", "ann", at(2), url="/?utm_source=late"), now=at(4))
    ann.tell(event("page.hit", "ann", at(4), url="/?utm_source=machine", bot="a known scanner"))
    ann.tell(event("page.hit", "ann", at(4), url="/nothing"))
    assert shown(ann).utm == {"utm_campaign": "june", "utm_source": "fair"}
    ann.tell(event("form.submitted", "ann", at(5), form="signup", fields={"utm_source": "web", "colour": "red"}))
    assert shown(ann).utm == {"utm_source": "web"}


def test_a_condition_asks_for_the_latest_value_only_and_a_submission_counts_in_what_it_starts(world: World) -> None:
    world.contacts("ann", "bob", "cid")
    world.campaign(
        """
        - {step: fair, condition: contact.field, with: {field: utm_source, operator: "=", value: FAIR}}
        - {step: nowhere, condition: contact.field, with: {field: utm_source, operator: empty}}
        """,
        segments=[],
        forms=["signup"],
    )
    world.tell(event("page.hit", "ann", at(1), url=FAIR), event("page.hit", "bob", at(1), url=FAIR))
    for key, said in (("ann", {}), ("bob", {"utm_source": "web"}), ("cid", {})):
        world.tell(event("form.submitted", key, at(2), form="signup", fields=said))
    world.trigger(at(2))
    assert sorted(world.log()) == [
        "ann: fair yes",
        "ann: nowhere no",
        "bob: fair no",
        "bob: nowhere no",
        "cid: fair no",
        "cid: nowhere yes",
    ]


# Two contacts become one.


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_a_merge_adds_scores_up_moves_logs_and_keeps_where_either_came_from_last(
    world: World, first: int, second: int
) -> None:
    world.contacts("ann", "bob", segment="everyone")
    world.campaign(
        """
        - {step: wine, action: contact.points, with: {points: 3, group: wine}}
        - {step: lead, action: contact.stage, with: {stage: lead}}
        """
    )
    world.run()
    world.write("INSERT INTO contact_score SELECT id, 'tea', 5 FROM contact WHERE key = 'bob'")
    world.write("UPDATE contact_score SET points = 2147483647 WHERE group_key = 'tea'")
    world.tell(event("page.hit", "ann", at(first), url="/?utm_source=ann"), now=at(3))
    world.tell(event("page.hit", "bob", at(second), url="/?utm_source=bob"), now=at(3))
    with world.engine.begin() as conn:
        merge_locks.shut_out_imports(conn)
        ids = merging.lock(conn, ["ann", "bob"])
        merging.merge(conn, {ids["bob"]: ids["ann"]}, now=at(3))
    assert shown(world).scores == {"tea": 2147483647, "wine": 6}
    assert points_logged(world) == [("wine", "wine", 3, 3)] * 2
    assert stages_logged(world) == [("lead", None, "lead")] * 2
    assert shown(world).utm == {"utm_source": "ann" if first > second else "bob"}


# Values that are too much for a pattern.


def test_a_pattern_that_takes_too_long_fails_that_contact_with_the_reason_and_nobody_else(world: World) -> None:
    world.contacts("ann", segment="everyone", code="a" * 60 + "!")
    world.contacts("bob", segment="everyone", code="aa")
    world.campaign(
        """
        - step: code
          condition: contact.field
          with: {field: code, operator: regexp, value: "^(a|a)*$"}
        """
    )
    world.run()
    assert world.log() == ["code yes"]
    assert [(wait.contact, wait.reason) for wait in world.waits()] == [("ann", "retry")]
    (failure,) = failures(world)
    assert "takes too long" in failure
    world.write("UPDATE contact SET fields = '{}' WHERE key = 'ann'")
    world.trigger(at(2))
    assert world.log("ann") == ["code no"]


def failures(world: World) -> Sequence[str]:
    return [row.error for row in world.read("SELECT error FROM failure")]
