"""Stages: their order, and who is in them."""

from __future__ import annotations

from sqlalchemy import Connection, text

from parcours.db.tables import stages
from parcours.db.tables.stages import Stage
from tests.db.rows import contacts


def test_what_is_not_given_of_a_stage_stays_as_it_is(conn: Connection) -> None:
    assert stages.save(conn, "lead", name=None, weight=None, published=None) == "created"
    assert stages.listed(conn) == [Stage("lead", "lead", None, True, 0)]
    assert stages.save(conn, "lead", name="Lead", weight=10, published=False) == "updated"
    assert stages.save(conn, "lead", name=None, weight=None, published=None) == "unchanged"
    assert stages.save(conn, "lead", name=None, weight=None, published=True) == "updated"
    assert stages.listed(conn) == [Stage("lead", "Lead", 10, True, 0)]


def test_stages_come_by_weight_and_those_without_one_last_with_how_many_are_in_each(conn: Connection) -> None:
    for key, weight in (("none", None), ("customer", 20), ("lead", 10), ("also", 20)):
        stages.save(conn, key, name=None, weight=weight, published=None)
    contacts(conn, (1, 2, 3))
    conn.execute(text("UPDATE contact SET stage = CASE WHEN id < 3 THEN 'lead' ELSE 'unknown' END"))
    assert [(each.key, each.contacts) for each in stages.listed(conn)] == [
        ("lead", 2),
        ("also", 0),
        ("customer", 0),
        ("none", 0),
    ]
