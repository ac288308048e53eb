"""Migrations of a database that is in use."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from db import schema
from db.engine import connect
from db.partitions import ensure_partitions
from tests.workers.worlds import START


def test_revisions_are_those_of_the_migrations(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert schema.newest() == schema.current(engine) == ScriptDirectory.from_config(config).get_current_head()


@pytest.fixture
def older(server: str) -> Iterator[Engine]:
    """A database as the first release left it, with the partitions of a month."""
    name = f"parcours_older_{os.getpid()}"
    admin = connect(server).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        conn.execute(text(f"CREATE DATABASE {name}"))
    engine = connect(admin.url.set(database=name).render_as_string(hide_password=False))
    try:
        schema.upgrade(engine, to="0014")
        ensure_partitions(engine, START)
        yield engine
    finally:
        engine.dispose()
        with admin.connect() as conn:
            conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def test_indexes_come_to_a_database_that_has_outcomes(older: Engine) -> None:
    with older.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO outcome (contact_id, step_id, rotation, passage, at, result) "
                "VALUES (1, 1, 1, 1, :at, 'yes')"
            ),
            {"at": START},
        )
    schema.upgrade(older)
    with older.connect() as conn:
        found = conn.execute(
            text(
                "SELECT inhrelid::regclass::text AS name, indisvalid "
                "FROM pg_inherits JOIN pg_index ON indexrelid = inhrelid "
                "WHERE inhparent = 'outcome_at_idx'::regclass"
            )
        ).all()
        whole = conn.execute(
            text("SELECT indisvalid FROM pg_index WHERE indexrelid = 'outcome_at_idx'::regclass")
        ).scalar_one()
    assert whole
    assert [tuple(row) for row in found] == [(f"{START:outcome_%Y_%m}_outcome_at_idx", True)]
