"""Processes that start before what they need, and commands that wait for another one's locks."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, text

from parcours.cli import up
from parcours.cli.session import Session
from parcours.db.checks import health
from parcours.db.clock import now
from parcours.db.tables import campaigns
from parcours.ops.settings import Settings
from parcours.services import campaign_changes, waits_for_locks
from tests import commands
from tests.db.rows import campaign

# So long a test waits for what must come; nothing is measured by it.
LONG = 300


class Answers(threading.Thread):
    """A Redis that comes up late: it answers PING, and whatever a client says first."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.server = socket.create_server(("127.0.0.1", port))

    def run(self) -> None:
        from fakeredis import TcpFakeServer

        port = self.server.getsockname()[1]
        self.server.close()
        TcpFakeServer(("127.0.0.1", port), server_type="redis").serve_forever()


def test_a_broker_that_comes_late_is_waited_for_and_that_is_said(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    url = engine.url.render_as_string(hide_password=False)
    here = Session(Settings.model_construct(home=tmp_path, database_url=url))
    said: list[str] = []

    def warn(sentence: str) -> None:
        said.append(sentence)
        if len(said) == 1:
            Answers(port).start()

    monkeypatch.setattr(here, "warn", warn)
    here.wait_for_servers(f"redis://127.0.0.1:{port}/0", pause=0.05)
    here.engine.dispose()
    assert said[0].startswith("Waiting: cannot reach the broker")
    assert said[-1] == "Connected to the database and the broker."


def test_a_database_that_is_away_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Session(Settings.model_construct(home=tmp_path, database_url="postgresql://nobody@127.0.0.1:1/none"))
    away = here._away(None)
    assert away is not None
    assert away.startswith("cannot reach the database (")


class WaitedError(Exception):
    """Ends a process that would wait for ever."""


def test_a_process_of_everything_waits_for_its_database_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Session(Settings.model_construct(home=tmp_path, database_url="postgresql://nobody@127.0.0.1:1/none"))

    def warn(sentence: str) -> None:
        raise WaitedError(sentence)

    monkeypatch.setattr(here, "warn", warn)
    monkeypatch.setattr(up, "session", lambda: here)
    monkeypatch.setattr(up, "configure", lambda *_: None)
    monkeypatch.setattr(up, "Server", lambda **_: SimpleNamespace(address="http://127.0.0.1:1"))
    with pytest.raises(WaitedError, match="Waiting: cannot reach the database"):
        up.up(port=0, host="127.0.0.1")


def test_a_command_says_what_to_do_about_a_database_that_is_away(tmp_path: Path) -> None:
    environment = {"PARCOURS_HOME": str(tmp_path), "PARCOURS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = commands.run(["status"], environment=environment, folder=tmp_path, stdin=None, seconds=600)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("parcours: cannot reach the database (connection failed")
    assert done.stderr.endswith("; start it, or check PARCOURS_DATABASE_URL\n")


@pytest.mark.parametrize(
    "held",
    [
        "SELECT pg_advisory_xact_lock_shared(7272687700000000 + id) FROM campaign",
        "SELECT FROM campaign FOR UPDATE",
    ],
    ids=["a batch", "its row"],
)
def test_a_pause_says_whom_it_waits_for_whatever_the_lock(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    with engine.begin() as conn:
        campaign(conn, "hello")
    said: list[str] = []
    here = Session(Settings.model_construct(home=tmp_path, database_url=engine.url.render_as_string(False)))
    monkeypatch.setattr(here, "warn", said.append)
    monkeypatch.setattr(waits_for_locks, "waits_told", partial(waits_for_locks.waits_told, pause=0.01))

    def pause() -> bool:
        with here.begin() as conn:
            found = campaigns.find(conn, "c")
            return campaign_changes.switch(conn, found, False, who="nora", now=now(conn)).changed

    with ThreadPoolExecutor(1) as threads, engine.begin() as conn:
        conn.execute(text(held))
        pid = health.session_of(conn)
        paused = threads.submit(pause)
        deadline = time.monotonic() + LONG
        while not said and time.monotonic() < deadline:
            time.sleep(0.01)
        conn.rollback()
        assert paused.result(LONG)
    here.engine.dispose()
    assert [sentence.split(",")[0] for sentence in said] == [
        f"Waiting for database process {pid} (session 'parcours' from the database's machine)"
    ]


def test_a_transaction_that_waits_for_nobody_says_nothing(engine: Engine) -> None:
    said: list[str] = []
    with engine.begin() as conn, waits_for_locks.waits_told(conn, said.append, pause=0.01):
        conn.execute(text("SELECT pg_sleep(0.1)"))
    assert said == []
