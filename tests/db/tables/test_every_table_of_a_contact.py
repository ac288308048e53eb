"""Erasing and merging, table by table: the catalogue says which there are, so that none is forgotten."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import erasure, merging
from tests.db import rows
from tests.db.rows import NOW

ANN, BEN = 1, 2
LATER = NOW + timedelta(hours=1)
# What a column must hold where its type does not say it; else anything of the type does.
MUST_BE: dict[tuple[str, str], Any] = {
    ("inbox", "type"): "order.paid",
    ("event", "type"): "order.paid",
    ("do_not_contact", "channel"): "email",
    ("do_not_contact", "reason"): "manual",
    ("frequency_rule", "channel"): "email",
    ("message", "channel"): "email",
    ("membership", "rotation"): 1,
}


def tables(conn: Connection) -> dict[str, list[Any]]:
    """Return every table that names a contact, with its columns."""
    found = conn.execute(
        text(
            "SELECT cls.relname AS table, att.attname AS name, att.attnotnull AS required, "
            "att.atthasdef OR att.attidentity <> '' OR att.attgenerated <> '' AS made, "
            "format_type(att.atttypid, NULL) AS type, "
            "(SELECT enumlabel FROM pg_enum WHERE enumtypid = att.atttypid ORDER BY enumsortorder LIMIT 1) AS label "
            "FROM pg_class AS cls JOIN pg_attribute AS att ON att.attrelid = cls.oid AND att.attnum > 0 "
            "AND NOT att.attisdropped "
            "WHERE cls.relnamespace = 'public'::regnamespace AND cls.relkind IN ('r', 'p') AND NOT cls.relispartition "
            "AND EXISTS (SELECT FROM pg_attribute AS named WHERE named.attrelid = cls.oid "
            "            AND named.attname = 'contact_id' AND NOT named.attisdropped) "
            "ORDER BY 1, att.attnum"
        )
    )
    by_table: dict[str, list[Any]] = {}
    for row in found:
        by_table.setdefault(row.table, []).append(row)
    return by_table


def value_of(table: str, column: Any, contact_id: int, number: int) -> Any:
    if column.name == "contact_id":
        return contact_id
    if (table, column.name) in MUST_BE:
        return MUST_BE[table, column.name]
    if column.label is not None:
        return column.label
    match column.type:
        case "integer" | "bigint" | "smallint" | "numeric" | "double precision":
            return number
        case "text" | "character varying":
            return f"x{number}"
        case "timestamp with time zone":
            return NOW
        case "date":
            return NOW.date()
        case "boolean":
            return False
        case "jsonb":
            return json.dumps({})
        case "bytea":
            return b"x%d" % number
        case other if other.endswith("[]"):
            return []
    raise AssertionError(f"give {table}.{column.name} of the type {column.type} a value in MUST_BE")


def one_row_each(conn: Connection, contact_id: int, number: int, among: Collection[str] | None = None) -> None:
    """Give a contact a row in every table, past foreign keys and triggers: what is asked is what becomes of it."""
    conn.execute(text("SET LOCAL session_replication_role = replica"))
    for table, columns in tables(conn).items():
        if among is not None and table not in among:
            continue
        given = {
            each.name: value_of(table, each, contact_id, number)
            for each in columns
            if each.name == "contact_id" or (each.required and not each.made)
        }
        names = ", ".join(given)
        places = ", ".join(f"CAST(:{each.name} AS {each.type})" for each in columns if each.name in given)
        conn.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), given)


def held(conn: Connection, contact_id: int) -> dict[str, int]:
    """Return how many rows each table has of a contact, those that have any."""
    found = {
        table: conn.execute(
            text(f"SELECT count(*) FROM {table} WHERE contact_id = :id"), {"id": contact_id}
        ).scalar_one()
        for table in tables(conn)
    }
    return {table: n for table, n in found.items() if n}


@pytest.fixture
def conn(engine: Engine) -> Any:
    ensure_partitions(engine, NOW)
    with engine.begin() as conn:
        rows.contacts(conn, [ANN, BEN])
        yield conn
        conn.rollback()


def test_every_table_that_names_a_contact_is_known_to_erasing_and_to_merging(conn: Connection) -> None:
    every = set(tables(conn))
    assert set(erasure.TABLES) == every
    assert {*merging.MOVED, *merging.FILLED} == every


def test_what_is_erased_leaves_no_row_in_any_table_and_nobody_else_loses_one(conn: Connection) -> None:
    one_row_each(conn, ANN, 1)
    one_row_each(conn, BEN, 2)
    before = held(conn, BEN)
    assert set(before) == set(tables(conn))
    assert erasure.erase(conn, {ANN: LATER}) == {ANN: "c1"}
    assert held(conn, ANN) == {}
    assert held(conn, BEN) == before


def test_what_one_of_two_had_alone_is_the_survivors_in_every_table(conn: Connection) -> None:
    one_row_each(conn, ANN, 1)
    before = held(conn, ANN)
    merging.merge(conn, {ANN: BEN}, now=LATER)
    assert held(conn, ANN) == {}
    kept = held(conn, BEN)
    # The key of the merged contact leads to the survivor as well, and what waits for a time is looked at again.
    assert {table: n - before[table] for table, n in kept.items() if n != before[table]} == {
        "contact_alias": 1,
        "redated": 1,
        "rezoned": 1,
    }


def test_what_both_had_is_the_survivors_once_where_there_is_room_for_one(conn: Connection) -> None:
    one_row_each(conn, ANN, 1)
    one_row_each(conn, BEN, 1, among=merging.FILLED)
    merging.merge(conn, {ANN: BEN}, now=LATER)
    assert held(conn, ANN) == {}
    kept = held(conn, BEN)
    assert {table: kept.get(table) for table in merging.FILLED} == dict.fromkeys(merging.FILLED, 1)
