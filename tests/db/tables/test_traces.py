"""Files of erased contacts go after what was committed, and whatever happens between the two."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from parcours.db.installation_settings import InstallationSettings, set_installation_settings
from parcours.db.tables import traces
from parcours.db.tables.traces import Traces

ANN = Traces(frozenset({"ann"}), frozenset({"1-2-3"}), frozenset({"ann@example.com"}))


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Path:
    """A home with a mail of Ann, the rest of one, and text messages of her and Bob."""
    set_installation_settings(engine, InstallationSettings(home=tmp_path))
    for folder in ("mail", "sms"):
        (tmp_path / folder).mkdir()
    (tmp_path / "mail" / "20260601T090000.000000Z-1-2-3-ann_example.com.eml").write_text("To: ann@example.com")
    (tmp_path / "mail" / "20260601T090000.000000Z-1-2-3-ann_example.com.part").write_text("To: an")
    notes = [json.dumps({"key": key, "contact": contact}) for key, contact in (("1-2-3", "ann"), ("1-2-4", "bob"))]
    (tmp_path / "sms" / "2026-06-01.ndjson").write_text("\n".join(notes) + "\n")
    return tmp_path


def mails(home: Path) -> int:
    return len(list((home / "mail").iterdir()))


def test_files_go_after_the_commit_those_that_a_killed_writer_left_too(engine: Engine, home: Path) -> None:
    with engine.begin() as conn:
        traces.wipe(conn, ANN)
    assert mails(home) == 2
    traces.wipe_noted(engine)
    assert mails(home) == 0
    left = (home / "sms" / "2026-06-01.ndjson").read_text().splitlines()
    assert [json.loads(line)["contact"] for line in left] == ["bob"]
    with engine.connect() as conn:
        assert traces.oldest_noted(conn) is None


def test_an_erasure_whose_commit_fails_has_deleted_no_file(engine: Engine, home: Path) -> None:
    with engine.connect() as conn:
        traces.wipe(conn, ANN)
        mine = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with engine.connect() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": mine})
        with pytest.raises(DBAPIError):
            conn.commit()
    traces.wipe_noted(engine)
    assert mails(home) == 2


@pytest.mark.parametrize("undone", ["inner", "outer", "all"])
def test_an_erasure_that_is_rolled_back_leaves_the_files(engine: Engine, home: Path, undone: str) -> None:
    with engine.connect() as conn:
        outer = conn.begin_nested()
        inner = conn.begin_nested()
        traces.wipe(conn, ANN)
        if undone == "inner":
            inner.rollback()
        else:
            inner.commit()
        if undone == "outer":
            outer.rollback()
        if undone == "all":
            conn.rollback()
        conn.commit()
    traces.wipe_noted(engine)
    assert mails(home) == 2


def test_files_that_cannot_be_deleted_stay_noted_and_keep_back_no_others(
    engine: Engine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refused(path: Path, *, missing_ok: bool = False) -> None:
        if path.suffix == ".part":
            raise PermissionError(1, "not permitted")
        unlink(path, missing_ok=missing_ok)

    with engine.begin() as conn:
        traces.wipe(conn, ANN)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        traces.wipe_noted(engine)
    assert mails(home) == 1
    traces.wipe_noted(engine)
    assert mails(home) == 0


def test_files_of_another_home_are_left_to_whoever_works_there(engine: Engine, home: Path, tmp_path: Path) -> None:
    with engine.begin() as conn:
        traces.wipe(conn, ANN)
    set_installation_settings(engine, InstallationSettings(home=tmp_path / "elsewhere"))
    traces.wipe_noted(engine)
    set_installation_settings(engine, InstallationSettings(home=home))
    with engine.connect() as conn:
        assert traces.oldest_noted(conn) is not None
    traces.wipe_noted(engine)
    assert mails(home) == 0
