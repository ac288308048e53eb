"""Real servers for the tests: a PostgreSQL of their own, and a Redis when there is one."""

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import settings
from sqlalchemy import Connection, Engine, make_url, text

from parcours.db import embedded, schema
from parcours.db.engine import connect
from tests import commands
from tests.commands import Ran
from tests.servers import served_folder

ROOT = Path(__file__).parent.parent
CHROMIUM = Path("/usr/bin/chromium")
# In the URL of a broker: the process of a run that it is for.
EACH_ITS_OWN = "{worker}"
# The embedded server's library warns when nobody said where sockets go.
os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())

_numbers = count(1)
# A statement's time says more about the machine than about the example.
settings.register_profile("parcours", deadline=None)
settings.load_profile("parcours")


class Run(Protocol):
    def __call__(self, *args: object, stdin: str | None = None, path: Path | None = None) -> Ran: ...


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server for this run: `PARCOURS_TEST_DATABASE_URL`, else an embedded one."""
    given = os.environ.get("PARCOURS_TEST_DATABASE_URL")
    if given:
        yield given
        _administration(given).dispose()
        return
    home = served_folder("parcours-test-")
    try:
        url = embedded.start(home)
        # Nothing of this outlives the run, so nothing waits for the disk, and the log stays small.
        _administer(
            url, "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET max_wal_size = '512MB'", "SELECT pg_reload_conf()"
        )
        yield url
        _administration(url).dispose()
    finally:
        embedded.stop(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that the server's own user may enter, which pytest's are not."""
    folder = served_folder("parcours-home-")
    yield folder
    embedded.stop(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """The name of a migrated database that nobody is connected to."""
    name = f"parcours_template_{os.getpid()}"
    _administer(server, f"CREATE DATABASE {name}")
    engine = connect(_url(server, name))
    schema.upgrade(engine)
    engine.dispose()
    yield name
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def shared_engine(server: str, template: str) -> Iterator[Engine]:
    """A migrated database for tests that commit nothing; made once."""
    yield from cloned(server, template)


@pytest.fixture
def engine(server: str, template: str) -> Iterator[Engine]:
    """A migrated, empty database of the test's own."""
    yield from cloned(server, template)


@pytest.fixture
def conn(shared_engine: Engine) -> Iterator[Connection]:
    """A connection whose transaction is rolled back after the test."""
    with shared_engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


@pytest.fixture
def run(engine: Engine, tmp_path: Path) -> Run:
    """Run the command on the database of `engine`, with tmp_path as its home and its working directory.

    `path` is a folder of further packages, which the command finds.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")}
    environment |= {
        "PARCOURS_HOME": str(tmp_path),
        "PARCOURS_DATABASE_URL": engine.url.render_as_string(hide_password=False),
        "COLUMNS": "200",
    }

    def run_command(*args: object, stdin: str | None = None, path: Path | None = None) -> Ran:
        words = list(map(str, args))
        return commands.run(words, environment=environment, folder=tmp_path, stdin=stdin, seconds=600, path=path)

    return run_command


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis: `PARCOURS_TEST_REDIS_URL`, else one of our own on a free port; fakeredis where none is installed."""
    given = os.environ.get("PARCOURS_TEST_REDIS_URL")
    if given:
        yield given
        return
    binary = shutil.which("redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory() as folder:
        real = [str(binary), *options, "--dir", folder]
        fake = (
            f"from fakeredis import TcpFakeServer as S; S(('127.0.0.1', {port}), server_type='redis').serve_forever()"
        )
        process = subprocess.Popen(
            real if binary else [sys.executable, "-c", fake], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _await_port(port, process)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(timeout=600)


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """A RabbitMQ: `PARCOURS_TEST_RABBITMQ_URL`; skips without.

    `{worker}` in it stands for the process of this run, gw0, gw1 and so on: each has a virtual host of its own.
    """
    given = os.environ.get("PARCOURS_TEST_RABBITMQ_URL")
    if not given:
        pytest.skip("no RabbitMQ: set PARCOURS_TEST_RABBITMQ_URL")
    return given.replace(EACH_ITS_OWN, os.environ.get("PYTEST_XDIST_WORKER", "gw0"))


@pytest.fixture(autouse=True)
def _alone_on_a_shared_broker(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep the tests of other processes away from a broker that they share: its queues have one name each."""
    given = {name: os.environ.get(f"PARCOURS_TEST_{name.upper()}_URL") for name in ("redis", "rabbitmq")}
    shared = [name for name, url in given.items() if url and EACH_ITS_OWN not in url]
    if not any(name in request.node.nodeid or f"{name}_url" in request.fixturenames for name in shared):
        yield
        return
    with Path(tempfile.gettempdir(), "parcours-test-brokers.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# Files that take long. Processes share the files of a run, and one that began last would end alone.
LONG = (
    "tests/workers/test_chaos.py",
    "tests/workers/test_processes.py",
    "tests/workers/delivery/test_delivery_processes.py",
    "tests/services/test_simulated_and_live.py",
    "tests/workers/test_unlucky_statistics.py",
    "tests/workers/test_plans.py",
    "tests/workers/test_rules_hold.py",
    "tests/workers/test_random_runs.py",
    "tests/workers/test_cron_or_tick.py",
    "tests/workers/test_contact_dates.py",
    "tests/web/security/",
    "tests/web/test_processes.py",
    "tests/web/pages/test_every_page_browser.py",
    "tests/web/pages/test_odd_files.py",
    "tests/web/pages/test_drawing_browser.py",
    "tests/web/pages/test_slow_connections_browser.py",
    "tests/web/pages/test_builder_browser.py",
    "tests/web/pages/test_overview_browser.py",
    "tests/web/pages/test_without_a_shell.py",
    "tests/docs/",
    "tests/db/test_embedded.py",
    "tests/db/reads/test_rules.py",
    "tests/test_each_module_first.py",
    "tests/cli/test_waiting.py",
    "tests/cli/test_demo.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files first that take long; the order within a file stays."""

    def place(item: pytest.Item) -> int:
        return next((number for number, name in enumerate(LONG) if item.nodeid.startswith(name)), len(LONG))

    items.sort(key=place)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end which servers were missing, so that a green run is not taken for more than it is."""
    missing = []
    if not os.environ.get("PARCOURS_TEST_REDIS_URL") and shutil.which("redis-server") is None:
        missing.append("Redis (PARCOURS_TEST_REDIS_URL): fakeredis stood in")
    if not os.environ.get("PARCOURS_TEST_RABBITMQ_URL"):
        missing.append("RabbitMQ (PARCOURS_TEST_RABBITMQ_URL): what needs it was skipped")
    if not CHROMIUM.exists():
        missing.append(f"a browser ({CHROMIUM}): what needs it was skipped")
    if missing:
        terminalreporter.write_line(f"servers missing: {'; '.join(missing)}")
    else:
        terminalreporter.write_line("servers missing: none")


def cloned(server: str, template: str) -> Iterator[Engine]:
    name = f"parcours_test_{os.getpid()}_{next(_numbers)}"
    # Without fsync, copying files takes a sixth of the time of writing each page to the log, the default.
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    engine = connect(_url(server, name))
    try:
        yield engine
    finally:
        engine.dispose()
        _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def _administer(url: str, *statements: str) -> None:
    with _administration(url).connect() as connection:
        for statement in statements:
            connection.execute(text(statement))


@cache
def _administration(url: str) -> Engine:
    """A connection that stays, because each test makes a database with it."""
    return connect(url).execution_options(isolation_level="AUTOCOMMIT")


def _url(server: str, database: str) -> str:
    return make_url(server).set(database=database).render_as_string(hide_password=False)


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 600
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"redis-server did not listen on port {port}")
