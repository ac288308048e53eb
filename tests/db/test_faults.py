"""Database errors mean what happened, whatever class psycopg gives them."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from parcours.db.faults import Fault, fault_of


@pytest.mark.parametrize(
    ("statement", "values", "fault"),
    [
        ("SELECT CAST(:v AS text)", {"v": "nul \0"}, Fault.ROW),
        ("SELECT CAST(:v AS text)", {"v": "half \ud83d"}, Fault.ROW),
        ("SELECT CAST(:v AS int)", {"v": "x"}, Fault.ROW),
        # psycopg reports an index row that is too large as an OperationalError.
        ("INSERT INTO narrow SELECT string_agg(md5(i::text), '') FROM generate_series(1, 1000) AS i", {}, Fault.ROW),
        ("INSERT INTO narrow VALUES ('a'), ('a')", {}, Fault.ROW),
        ("SELECT nonsense", {}, Fault.OTHER),
        ("SELECT pg_terminate_backend(pg_backend_pid())", {}, Fault.AWAY),
        ("DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '40P01'; END $$", {}, Fault.AGAIN),
        ("DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '53300'; END $$", {}, Fault.AWAY),
        ("DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '55P03'; END $$", {}, Fault.AGAIN),
    ],
)
def test_an_error_is_classified_by_its_code(
    engine: Engine, statement: str, values: dict[str, str], fault: Fault
) -> None:
    with engine.connect() as conn:
        conn.execute(text("CREATE TEMPORARY TABLE narrow (v text PRIMARY KEY) ON COMMIT DROP"))
        with pytest.raises((DBAPIError, UnicodeError)) as caught:
            conn.execute(text(statement), values)
        conn.invalidate()
    assert fault_of(caught.value) is fault


def test_a_defect_of_ours_is_no_fault_of_the_database() -> None:
    assert fault_of(KeyError("segment")) is Fault.OTHER
