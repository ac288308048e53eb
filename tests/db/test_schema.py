"""Migrations of a database that is in use."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from alembic import command as alembic
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from parcours.db import schema
from parcours.db.engine import connect
from parcours.db.partitions import ensure_partitions
from tests.conftest import ROOT, Run
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
    assert all(row.indisvalid for row in found)
    assert f"{START:outcome_%Y_%m}_outcome_at_idx" in {row.name for row in found}


def test_the_key_of_waits_changes_under_those_there_are(older: Engine) -> None:
    row = (
        "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
        "VALUES (1, 1, 1, :passage, :passage, 'delay', :at, :at)"
    )
    with older.begin() as conn:
        conn.execute(text(row), {"passage": 1, "at": START})
    schema.upgrade(older)
    with older.begin() as conn:
        conn.execute(text(row), {"passage": 2, "at": START})
        assert conn.execute(text("SELECT array_agg(passage ORDER BY passage) FROM wait")).scalar_one() == [1, 2]
        indexes = conn.execute(text("SELECT indexname FROM pg_indexes WHERE tablename = 'wait' ORDER BY 1"))
        assert list(indexes.scalars()) == ["wait_due_idx", "wait_pkey", "wait_retry_idx"]


@pytest.fixture
def ahead(engine: Engine) -> Engine:
    """A database that a newer version upgraded."""
    with engine.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9000'"))
    return engine


def test_code_that_a_newer_schema_still_serves_starts_and_runs(ahead: Engine, run: Run) -> None:
    assert schema.unfit(ahead) is None
    done = run("segments", "list", "--json")
    assert (done.returncode, done.stdout) == (0, "[]\n")
    done = run("db", "upgrade")
    assert done.returncode == 0
    assert done.stdout == "The database is at revision 9000 of a newer version, which this version supports.\n"
    assert schema.current(ahead) == "9000"


def test_code_that_a_newer_schema_does_not_serve_says_so_in_a_sentence(ahead: Engine, run: Run) -> None:
    with ahead.begin() as conn:
        conn.execute(text("UPDATE installation SET value = '8000' WHERE name = 'serves_since'"))
    for command in (("segments", "list"), ("db", "upgrade"), ("db", "check")):
        done = run(*command)
        assert done.returncode == 1
        assert done.stderr == (
            f"parcours: the database is at revision 9000, but this version of Parcours only works with "
            f"{schema.newest()}: a newer version upgraded the database; use that version here too\n"
        )


def test_the_count_of_the_erased_can_be_taken_out_and_put_back(older: Engine) -> None:
    schema.upgrade(older, to="0044")
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    count = "INSERT INTO campaign_count VALUES (1, '2026-06-01', :what, 0, 1)"
    with older.connect() as conn:
        conn.execute(text(count), [{"what": "added"}, {"what": "erased"}])
        conn.commit()
        config.attributes["connection"] = conn
        alembic.downgrade(config, "-1")
        assert conn.execute(text("SELECT what FROM campaign_count")).scalars().all() == ["added"]
        with pytest.raises(DBAPIError), conn.begin_nested():
            conn.execute(text(count), {"what": "erased"})
        conn.commit()
    schema.upgrade(older)
    assert schema.current(older) == schema.newest()


def test_what_is_kept_of_accounts_can_be_taken_out_and_put_back(older: Engine) -> None:
    schema.upgrade(older, to="0044")
    account = "INSERT INTO account (email, name, role, password_hash) VALUES (:email, 'Ada', 'admin', 'hash')"
    kept = "SELECT email, signed_in_at IS NULL, sign_ins_kept FROM account ORDER BY email"
    with older.begin() as conn:
        conn.execute(text(account), [{"email": "ada@example.com"}, {"email": "ben@example.com"}])
        conn.execute(text("INSERT INTO sign_in (hash, account_id, created_at, expires_at) SELECT '', 1, now(), now()"))
    schema.upgrade(older, to="0046")
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with older.connect() as conn:
        conn.execute(text(account), {"email": "cid@example.com"})
        # What happened before is known as far as there is a session of it.
        found = [tuple(row) for row in conn.execute(text(kept))]
        assert found == [
            ("ada@example.com", False, False),
            ("ben@example.com", True, False),
            ("cid@example.com", True, True),
        ]
        conn.commit()
        config.attributes["connection"] = conn
        alembic.downgrade(config, "-1")
        conn.commit()
    schema.upgrade(older)
    assert schema.current(older) == schema.newest()


def test_what_dates_of_contacts_need_can_be_taken_out_and_put_back(older: Engine) -> None:
    schema.upgrade(older, to="0035")
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with older.connect() as conn:
        conn.execute(text("INSERT INTO contact (key, fields) VALUES ('ann', '{}')"))
        conn.commit()
        config.attributes["connection"] = conn
        alembic.downgrade(config, "-1")
        conn.execute(text('UPDATE contact SET fields = \'{"birthday": "1990-03-09"}\''))
        conn.commit()
    schema.upgrade(older)
    assert schema.current(older) == schema.newest()


# Migrations from this one on can be undone.
FIRST_WITH_DOWNGRADE = "0033"


def test_every_migration_from_a_documented_one_on_has_a_downgrade() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    undone = {each.revision for each in scripts if callable(getattr(each.module, "downgrade", None))}
    assert undone == {each.revision for each in scripts if each.revision >= FIRST_WITH_DOWNGRADE}
    (before,) = {each.down_revision for each in scripts if each.revision == FIRST_WITH_DOWNGRADE}
    page = (ROOT / "docs" / "howto" / "upgrade.md").read_text(encoding="utf-8")
    assert f"Each migration from {FIRST_WITH_DOWNGRADE} on has a downgrade" in page
    assert f"back to revision {before}" in page


def test_all_downgrades_can_be_done_and_undone(older: Engine) -> None:
    schema.upgrade(older)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with older.connect() as conn:
        config.attributes["connection"] = conn
        alembic.downgrade(config, "0032")
        conn.commit()
    assert schema.current(older) == "0032"
    schema.upgrade(older)
    assert schema.current(older) == schema.newest()
