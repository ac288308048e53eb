"""Database errors mean what happened, whatever class psycopg gives them."""

import threading

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from parcours.db.engine import connect
from parcours.db.faults import Fault, blames_the_data, fault_of


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


# What a server really says, with what that means, and whether what was in hand is to blame.
SAID = [
    ("SELECT 1 / 0", Fault.ROW, True),
    ("SELECT '2026-02-30'::date", Fault.ROW, True),
    ("SELECT 2147483647 + 1", Fault.ROW, True),
    ("SELECT '{'::jsonb", Fault.ROW, True),
    ("SELECT 'x'::text::result", Fault.ROW, True),
    ("INSERT INTO membership (contact_id) VALUES (1)", Fault.ROW, True),
    ("INSERT INTO sweep_chunk VALUES (1, 1, 1, 1)", Fault.ROW, True),
    ("SELECT * FROM nowhere", Fault.OTHER, False),
    ("SELEC", Fault.OTHER, False),
    ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(60)", Fault.AGAIN, False),
    ("SET TRANSACTION READ ONLY; DELETE FROM sweep", Fault.AWAY, False),
    ("SELECT 1 / 0; SELECT 1", Fault.ROW, True),
]


@pytest.mark.parametrize(("statement", "fault", "blames"), SAID)
def test_what_a_server_says_is_told_apart(engine: Engine, statement: str, fault: Fault, blames: bool) -> None:
    with engine.connect() as conn, pytest.raises(DBAPIError) as caught:
        conn.exec_driver_sql(statement)
    assert fault_of(caught.value) is fault
    assert blames_the_data(caught.value) is blames


def test_a_transaction_that_failed_before_is_no_fault_of_what_comes_next(engine: Engine) -> None:
    with engine.connect() as conn:
        with pytest.raises(DBAPIError):
            conn.execute(text("SELECT 1 / 0"))
        with pytest.raises(DBAPIError) as caught:
            conn.execute(text("SELECT 1"))
    assert fault_of(caught.value) is Fault.OTHER
    assert not blames_the_data(caught.value)


def test_two_who_wait_for_each_other_are_to_begin_again(engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO contact (id, key) VALUES (1, 'a'), (2, 'b')"))
    lock = text("SELECT FROM contact WHERE id = :id FOR UPDATE")
    found: list[Fault] = []

    def cross(conn: Connection, other: int) -> None:
        try:
            conn.execute(lock, {"id": other})
        except DBAPIError as error:
            found.append(fault_of(error))
        finally:
            conn.rollback()

    with engine.connect() as one, engine.connect() as two:
        one.execute(lock, {"id": 1})
        two.execute(lock, {"id": 2})
        crossing = threading.Thread(target=cross, args=(one, 2))
        crossing.start()
        cross(two, 1)
        crossing.join()
    assert found == [Fault.AGAIN]


def test_a_server_that_nobody_reaches_and_a_pool_without_a_connection_are_away(engine: Engine) -> None:
    away = connect("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DBAPIError) as caught:
        away.connect()
    assert fault_of(caught.value) is Fault.AWAY
    assert fault_of(PoolTimeoutError()) is Fault.AWAY
    unknown = connect(engine.url.set(database="nowhere").render_as_string(hide_password=False))
    with pytest.raises(DBAPIError) as caught:
        unknown.connect()
    assert not blames_the_data(caught.value)
    away.dispose()
    unknown.dispose()


@pytest.mark.parametrize(("error", "blames"), [(OverflowError(), True), (UnicodeError(), True), (KeyError("x"), True)])
def test_what_fails_before_anything_is_sent_is_to_be_isolated(error: Exception, blames: bool) -> None:
    assert blames_the_data(error) is blames


def test_a_defect_of_ours_is_no_fault_of_the_database() -> None:
    assert fault_of(KeyError("segment")) is Fault.OTHER
