"""The embedded server, and migrations from several machines at once."""

from __future__ import annotations

import multiprocessing
import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import Engine, text

from parcours.db import embedded, schema
from parcours.db.engine import connect
from parcours.db.folders import private_folder
from tests.conftest import ROOT


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
    assert stopped.communicate(timeout=600)[0].strip() == "Stopped the embedded PostgreSQL."


def test_a_server_of_which_only_the_pid_file_is_left_is_started_again(home: Path) -> None:
    embedded.start(home)
    pid_file = home / "postgres" / "postmaster.pid"
    pid, *others = pid_file.read_text().splitlines(keepends=True)
    children = psutil.Process(int(pid)).children()
    os.kill(int(pid), signal.SIGKILL)
    psutil.wait_procs(children, timeout=600)
    # Whether a killed process stays as a zombie is up to the machine; here, nothing is left of it.
    nobody = next(each for each in range(2**22 - 1, 1, -1) if not psutil.pid_exists(each))
    pid_file.write_text("".join([f"{nobody}\n", *others]))
    with psycopg.connect(embedded.start(home).replace("+psycopg", "", 1)) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def start_as_nobody(home: Path, told: Connection) -> None:
    """Start the server of a home as an ordinary user, and tell its URL, or what there was to say."""
    # Root's own folders, where these may be, are closed to others.
    import psutil  # noqa: F401

    servers = embedded._library().PostgresServer
    if os.geteuid() == 0:
        # Its lock is where the user's own files of a session are: root's, when root loads it.
        servers._lock = type(servers._lock)(home / "lock")
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
    try:
        told.send(embedded.start(home))
    except embedded.EmbeddedServerError as error:
        told.send(str(error))


def started_as_nobody(home: Path) -> str:
    forks = multiprocessing.get_context("forkserver")
    receiving, telling = forks.Pipe(duplex=False)
    process = forks.Process(target=start_as_nobody, args=(home, telling))
    process.start()
    telling.close()
    said: str = receiving.recv()
    process.join()
    return said


@pytest.fixture
def nobodys(home: Path) -> Path:
    """A home of an ordinary user."""
    folder = home / "nobodys"
    folder.mkdir()
    if os.geteuid() == 0:
        programs: Path = embedded._library().POSTGRES_BIN_PATH
        if not all(each.stat().st_mode & stat.S_IXOTH for each in programs.parents):
            pytest.skip("an ordinary user cannot reach the server's programs here")
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
    return folder


def test_an_ordinary_user_has_a_server_of_their_own(nobodys: Path) -> None:
    url = started_as_nobody(nobodys)
    try:
        assert url.startswith("postgresql+psycopg://"), url
        data = nobodys / "postgres"
        (socket,) = data.glob(".s.PGSQL.*[0-9]")
        for path in (nobodys, data, socket):
            found = path.stat()
            assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (nobodys.stat().st_uid, 0o700)
        # Root and the owner, by their names.
        with psycopg.connect(url.replace("+psycopg", "", 1)) as conn:
            assert conn.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall() == [("peer",)]
        assert started_as_nobody(nobodys) == url
    finally:
        embedded.stop(nobodys)


@pytest.mark.skipif(os.geteuid() != 0, reason="whose folder would it be?")
def test_who_may_not_use_the_home_is_told_what_to_do(home: Path) -> None:
    home.chmod(0o700)
    for folder in (home, home / "below"):
        said = started_as_nobody(folder)
        assert "user nobody cannot use" in said
        assert "run Parcours as the owner of that folder, or set PARCOURS_HOME to another folder" in said


def as_nobody(command: list[str]) -> subprocess.CompletedProcess[str]:
    nobody = pwd.getpwnam("nobody")
    return subprocess.run(
        command, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], capture_output=True, text=True,
        cwd="/", env={"PATH": "/usr/bin:/bin"}, timeout=600, check=False,
    )  # fmt: skip


@pytest.fixture(params=["short", "x" * 100])
def started(request: pytest.FixtureRequest, home: Path) -> Iterator[tuple[Path, str]]:
    """A home, of which the path may be too long for a socket, and the URL of its server."""
    folder = home / request.param
    yield folder, embedded.start(folder).replace("+psycopg", "", 1)
    embedded.stop(folder)


def test_other_users_of_the_machine_cannot_be_the_database(started: tuple[Path, str]) -> None:
    _, url = started
    with psycopg.connect(url) as conn:
        (socket_folder,) = conn.execute("SHOW unix_socket_directories").fetchone() or ("",)
        assert conn.execute("SHOW listen_addresses").fetchone() == ("",)
        assert conn.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules").fetchall() == [("peer",)]
    sockets = Path(socket_folder)
    assert stat.S_IMODE(sockets.stat().st_mode) & 0o077 == 0
    if os.geteuid() == 0:
        connecting = f"import socket; socket.socket(socket.AF_UNIX).connect({str(sockets / '.s.PGSQL.5432')!r})"
        assert "PermissionError" in as_nobody(["/usr/bin/python3", "-c", connecting]).stderr


def test_a_home_of_an_earlier_version_lets_in_nobody_else_from_now_on(started: tuple[Path, str]) -> None:
    folder, url = started
    (folder / "postgres" / "pg_hba.conf").write_text("local all all trust\n")
    embedded.start(folder)
    assert "peer" in (folder / "postgres" / "pg_hba.conf").read_text()
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_home_that_another_command_is_making_is_left_to_it(home: Path) -> None:
    data = home / "postgres"
    data.mkdir()
    (data / "PG_VERSION").write_text("17\n")
    embedded._ask_the_system(data, reload=True)
    assert [file.name for file in data.iterdir()] == ["PG_VERSION"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_home_whose_owner_has_no_name_here_is_for_those_who_have_one(home: Path) -> None:
    folder = home / "from-elsewhere"
    folder.mkdir()
    os.chown(folder, 23456, -1)
    with psycopg.connect(embedded.start(folder).replace("+psycopg", "", 1)) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert embedded.stop(folder)


def test_the_socket_is_private_at_the_first_start_and_root_is_listed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without what is set once the server runs, only what stood there before its first start is left.
    monkeypatch.setattr(embedded, "_configure", lambda _uri: None)
    embedded.start(home)
    data = home / "postgres"
    (socket,) = data.glob(".s.PGSQL.*[0-9]")
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    monkeypatch.setattr(os, "geteuid", lambda: data.stat().st_uid)
    embedded._ask_the_system(data, reload=False)
    assert 'parcours "root" postgres' in (data / "pg_ident.conf").read_text()


def test_a_user_without_a_name_is_told_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    before = time.monotonic()
    with pytest.raises(embedded.EmbeddedServerError, match="user 54321, which has no name"):
        embedded.start(home)
    assert time.monotonic() - before < embedded.PATIENCE_SECONDS / 2


def test_a_socket_folder_of_somebody_else_is_refused(home: Path) -> None:
    folder = home / ("x" * 100)
    data = folder / "postgres"
    data.mkdir(parents=True)
    planted = embedded._socket_folder(data)
    try:
        planted.rmdir()
        Path(planted).mkdir(mode=0o755)
        with pytest.raises(embedded.EmbeddedServerError, match="belongs to another user"):
            embedded._socket_folder(data)
    finally:
        planted.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server has a user of its own")
def test_folders_above_are_opened_for_passing_if_they_are_ours_and_never_for_reading(home: Path) -> None:
    ours, theirs = home / "ours", home / "theirs"
    for folder in (ours, theirs):
        (folder / "home").mkdir(parents=True)
        folder.chmod(0o700)
    os.chown(theirs, pwd.getpwnam("nobody").pw_uid, -1)
    embedded._let_through(ours / "home")
    assert stat.S_IMODE(ours.stat().st_mode) == 0o701
    with pytest.raises(embedded.EmbeddedServerError, match="cannot access"):
        embedded._let_through(theirs / "home")
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o700


def test_what_is_written_to_the_home_is_read_by_nobody_else(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.mkdir(mode=0o755)
    private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only as root has the server a user of its own")
def test_the_home_of_root_lets_the_server_through_and_shows_nothing_to_others(home: Path) -> None:
    embedded.start(home)
    data = home / "postgres"
    private_folder(home / "mail")
    assert stat.S_IMODE(home.stat().st_mode) == 0o711
    assert {stat.S_IMODE(each.stat().st_mode) for each in (data, home / "mail")} == {0o700}

    def reads(user: int | str, folder: Path) -> bool:
        return subprocess.run(["ls", folder], user=user, capture_output=True, check=False).returncode == 0

    assert not any(reads("nobody", folder) for folder in (home, data, home / "mail"))
    server = data.stat().st_uid
    assert server != 0
    assert reads(server, data)
    # What it would take away.
    home.chmod(0o700)
    assert not reads(server, data)
    home.chmod(0o711)


def test_a_server_that_is_there_and_does_not_answer_yet_is_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It replays what it had not written; on a slow machine that takes longer than a server needs to come up."""
    url = embedded.start(home)
    monkeypatch.setattr(embedded, "PATIENCE_SECONDS", -1)
    monkeypatch.setattr("time.sleep", lambda _: None)
    configure, tries = embedded._configure, []

    def late(uri: str) -> None:
        tries.append(uri)
        if len(tries) < 4:
            raise psycopg.OperationalError("the database system is starting up")
        configure(uri)

    monkeypatch.setattr(embedded, "_configure", late)
    assert embedded.start(home) == url
    assert len(tries) == 4
    embedded.stop(home)
