"""Processes that start before what they need."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine

from parcours.cli.session import Session
from parcours.ops.settings import Settings


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
