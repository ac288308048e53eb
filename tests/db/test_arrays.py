"""Lists as array parameters: what goes in comes out."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from parcours.db.adapters import column

NOW = datetime(2026, 3, 2, 9, 30, 15, 123456, tzinfo=UTC)
# The letters that mean something in an array's text, and some that do not.
texts = st.text(alphabet="{}\",\\ NULnul'\n\té😀", max_size=8)


def back(conn: Connection, values: list[Any], type_: str) -> Any:
    return conn.execute(text(f"SELECT CAST(:values AS {type_}[])"), {"values": values}).scalar_one()


@given(st.lists(st.none() | texts))
def test_texts_come_back_as_they_were(shared_engine: Engine, values: list[str | None]) -> None:
    with shared_engine.connect() as conn:
        assert back(conn, values, "text") == values


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_numbers_come_back_as_they_were(shared_engine: Engine, values: list[int | None]) -> None:
    with shared_engine.connect() as conn:
        assert back(conn, values, "bigint") == values


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        ([], "int"),
        ([None, None], "timestamptz"),
        ([NOW, None, NOW + timedelta(days=1)], "timestamptz"),
        ([date(2026, 3, 2), date(2026, 3, 3)], "date"),
        ([True, False, None], "boolean"),
        ([[1, 2], [3, 4]], "int"),
        ([1.5, None], "float"),
        (["NULL", "null", ""], "text"),
    ],
)
def test_other_values_come_back_as_they_were(conn: Connection, values: list[Any], type_: str) -> None:
    assert back(conn, values, type_) == values


@pytest.mark.parametrize("values", [[None, None], [None, 7], [8, 7]])
def test_a_column_without_values_is_filled_up_beside_others(conn: Connection, values: list[int | None]) -> None:
    beside = text("SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:values AS int[])) AS new (id, value)")
    rows = conn.execute(beside, {"ids": [1, 2], "values": column(values)}).all()
    assert [row.value for row in rows] == values


def test_a_column_without_values_is_not_sent() -> None:
    assert column([None, None]) is None
    assert column([None, 1]) == [None, 1]
