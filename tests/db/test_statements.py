"""Statements in files: their names, their other forms, and the gaps that names fill."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from parcours.db.statements import filled, statements, variant

FILE = """-- name: find
-- A comment with a :word.
SELECT id
FROM contact
    WHERE key = :key
    -- when by_id: WHERE id = :id
    -- when all:
ORDER BY id
-- when newest: ORDER BY id DESC
;

-- name: count
SELECT count(*) FROM {table};
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    (tmp_path / "things.sql").write_text(FILE)
    return str(tmp_path / "things.py")


def lines(statement: object) -> list[str]:
    return [line.strip() for line in str(statement).splitlines() if line.strip()]


def test_a_file_gives_its_statements_by_name_without_comments(module: str) -> None:
    assert lines(statements(module)["find"]) == ["SELECT id", "FROM contact", "WHERE key = :key", "ORDER BY id"]
    assert list(statements(module)) == ["find", "count"]


def test_a_module_may_read_the_file_of_another_one(module: str, tmp_path: Path) -> None:
    assert list(statements(str(tmp_path / "others.py"), "things")) == ["find", "count"]


def test_a_form_of_a_statement_has_other_lines_in_place_of_those_above(module: str) -> None:
    assert lines(variant(module, "find", "by_id", "newest"))[2:] == ["WHERE id = :id", "ORDER BY id DESC"]
    assert lines(variant(module, "find", "all"))[1:] == ["FROM contact", "ORDER BY id"]


def test_a_gap_is_filled_with_a_quoted_name(module: str) -> None:
    assert str(filled(statements(module)["count"], table=("public", "wait"))) == 'SELECT count(*) FROM "public"."wait"'
    several = filled(text("SELECT {columns}"), columns=["a", ("own", "b")])
    assert several.text == 'SELECT "a", "own"."b"'


def test_a_gap_takes_the_bound_of_a_partition() -> None:
    bound = filled(text("FROM ({first})"), first=datetime(2026, 1, 1, tzinfo=UTC))
    assert str(bound) == "FROM ('2026-01-01T00:00:00+00:00')"


def test_a_gap_that_nothing_fills_is_an_error(module: str) -> None:
    with pytest.raises(KeyError):
        filled(statements(module)["count"], tabel="wait")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=15))
def test_nothing_but_a_name_comes_of_a_name(engine: Engine, name: str) -> None:
    with engine.connect() as conn:
        row = conn.execute(filled(text("SELECT 1 AS {name}"), name=name))
        assert list(row.keys()) == [name]
