"""The embedded server, and migrations from several machines at once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from db import embedded, schema
from db.engine import connect
from tests.conftest import ROOT


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the server's own user may enter, which pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="parcours-home-"))
    folder.chmod(0o755)
    yield folder
    embedded.stop(folder)
    shutil.rmtree(folder, ignore_errors=True)


def start_command(home: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "parcours", *arguments],
        env={**environment, "PARCOURS_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_commands_at_once_share_one_server_and_a_killed_one_comes_back(home: Path) -> None:
    both = [start_command(home, "segments", "create", key) for key in ("one", "two")]
    for each in both:
        out, err = each.communicate(timeout=600)
        assert each.returncode == 0, out + err
    pid = int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(pid, signal.SIGKILL)
    listed = start_command(home, "segments", "list", "--json")
    out, err = listed.communicate(timeout=600)
    assert listed.returncode == 0, err
    assert '"one"' in out
    assert '"two"' in out
    stopped = start_command(home, "db", "stop")
    assert stopped.communicate(timeout=600)[0].strip() == "The embedded PostgreSQL is stopped."


def test_migrations_from_several_machines_at_once_happen_once(server: str) -> None:
    name = f"parcours_migrated_{os.getpid()}"
    admin = connect(server).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        conn.execute(text(f"CREATE DATABASE {name}"))
    engines = [connect(admin.url.set(database=name).render_as_string(hide_password=False)) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(schema.upgrade, engines))
        assert sorted(before is None for before, _ in done) == [False, False, False, True]
        assert {after for _, after in done} == {schema.newest()}
    finally:
        for engine in engines:
            engine.dispose()
        with admin.connect() as conn:
            conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def test_a_database_that_is_behind_is_named_with_what_to_do(engine: Engine, home: Path) -> None:
    with engine.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")}
    environment = {**environment, "PARCOURS_DATABASE_URL": engine.url.render_as_string(hide_password=False)}
    done = subprocess.run(
        [sys.executable, "-m", "parcours", "segments", "list"],
        env={**environment, "PARCOURS_HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 1
    assert "run `parcours db upgrade`" in done.stderr
    assert "Traceback" not in done.stderr
