"""Migrations of a database that is in use."""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from db import schema
from db.partitions import ensure_partitions
from tests.workers.worlds import START


def test_revisions_are_those_of_the_migrations(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    assert schema.newest() == schema.current(engine) == ScriptDirectory.from_config(config).get_current_head()


def test_indexes_come_to_a_database_that_has_outcomes(engine: Engine) -> None:
    ensure_partitions(engine, START)
    with engine.begin() as conn:
        conn.execute(text("DROP INDEX outcome_at_idx, wait_retry_idx"))
        conn.execute(text("UPDATE alembic_version SET version_num = '0014'"))
        conn.execute(
            text(
                "INSERT INTO outcome (contact_id, step_id, rotation, passage, at, result) "
                "VALUES (1, 1, 1, 1, :at, 'yes')"
            ),
            {"at": START},
        )
    schema.upgrade(engine)
    with engine.connect() as conn:
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
    assert all(row.indisvalid for row in found)
    assert {f"{START:outcome_%Y_%m}_outcome_at_idx", "outcome_default_outcome_at_idx"} <= {row.name for row in found}
