"""`parcours doctor`: all is well, and each thing that can be wrong with what to do about it."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from parcours.db.checks import health
from parcours.ops.settings import Settings
from parcours.services import diagnosis


class Greeter(socketserver.StreamRequestHandler):
    """As much of a mail server as a doctor listens to."""

    def handle(self) -> None:
        self.wfile.write(b"220 test\r\n")
        while line := self.rfile.readline():
            self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 test\r\n")


@pytest.fixture
def smtp_url() -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"smtp://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


Examine = Callable[..., dict[str, diagnosis.Finding]]


@pytest.fixture
def examine(engine: Engine, tmp_path: Path) -> Examine:
    def found(**settings: Any) -> dict[str, diagnosis.Finding]:
        url = engine.url.render_as_string(hide_password=False)
        made = Settings.model_construct(**{"home": tmp_path, "database_url": url, **settings})
        return {finding.about: finding for finding in diagnosis.examine(made)}

    return found


def test_all_is_well(examine: Examine, redis_url: str, smtp_url: str) -> None:
    found = examine(broker_url=redis_url, smtp_url=smtp_url, mail_from="us@example.org")
    assert {each.state for each in found.values()} == {"ok"}, found
    assert found["broker"].says.startswith("Redis ")
    assert found["contact events"].says.endswith("messages in the queue")


def test_rabbitmq_is_well(examine: Examine, rabbitmq_url: str) -> None:
    found = examine(broker_url=rabbitmq_url, events_url=rabbitmq_url)
    assert {each.state for each in found.values()} == {"ok"}, found
    assert found["events queue"].says.startswith("RabbitMQ ")


def test_the_command_prints_a_line_each_and_fails_when_something_is_wrong(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No broker is set: nothing is wrong with that.
    done = run("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok       home: ")
    assert "ok       migrations: revision " in done.stdout


def test_what_does_not_answer_is_wrong(examine: Examine) -> None:
    found = examine(
        database_url="postgresql://nobody@127.0.0.1:1/none",
        broker_url="redis://127.0.0.1:1/0",
        events_url="amqp://guest:guest@127.0.0.1:1/%2F",
        smtp_url="smtp://127.0.0.1:1",
    )
    wrong = {name for name, each in found.items() if each.state == "wrong"}
    assert wrong == {"database", "broker", "events queue", "mail"}
    assert all(found[name].mend for name in wrong)


def test_a_database_that_was_never_migrated(examine: Examine, engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text("DROP TABLE alembic_version"))
    assert examine()["migrations"] == diagnosis.Finding(
        "migrations", "wrong", "no tables yet", "run `parcours db upgrade`"
    )


def test_a_home_that_cannot_be_written_to(examine: Examine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    # Root may write anywhere; a file is no folder for anybody.
    assert examine(home=tmp_path / "file")["home"].state == "wrong"


def test_clocks_that_differ(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(UTC) - timedelta(seconds=30)

    monkeypatch.setattr(diagnosis, "datetime", Late)
    found = examine()["clock"]
    assert (found.state, "differ by 30.0 s" in found.says or "differ by 29." in found.says) == ("warning", True)


def test_dead_letters_and_stuck_sweeps(examine: Examine, engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text("INSERT INTO dead_letter (at, origin, reason, body) VALUES (now(), 'event', 'r', 'b')"))
        conn.execute(
            text(
                "INSERT INTO sweep (kind, scope, at, asked_at, started_at) VALUES "
                "('update', '{}', now(), now() - interval '11 minutes', NULL), "
                "('update', '{}', now(), now() - interval '11 minutes', now() - interval '10 minutes'), "
                "('update', '{}', now(), now() - interval '2 hours', now() - interval '2 hours')"
            )
        )
    found = examine()
    assert (found["dead letters"].state, found["dead letters"].says) == ("warning", "there are 1")
    assert (found["sweeps"].state, found["sweeps"].says) == ("wrong", "unfinished and not in progress: 1, 3")


def test_a_hot_table_full_of_dead_rows(examine: Examine, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "DEAD_ROWS", -1)
    monkeypatch.setattr(health, "DEAD_SHARE", -1)
    found = examine()["vacuum"]
    assert found.state == "warning"
    assert found.mend is not None
    assert "VACUUM ANALYZE" in found.mend


def test_partitions_that_this_user_may_not_make(examine: Examine, engine: Engine) -> None:
    with engine.begin() as conn:
        conn.execute(text("CREATE ROLE guest_of_the_doctor NOLOGIN"))
        conn.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest_of_the_doctor"))
    try:
        with engine.connect() as conn:
            conn.execute(text("SET LOCAL ROLE guest_of_the_doctor"))
            missing, may_make = health.partition_makers(conn)
        assert (len(missing), may_make) == (2, False)
    finally:
        with engine.begin() as conn:
            conn.execute(text("DROP OWNED BY guest_of_the_doctor"))
            conn.execute(text("DROP ROLE guest_of_the_doctor"))


def test_json(run: Any) -> None:
    found = json.loads(run("doctor", "--json").stdout)
    assert {"about": "dead letters", "state": "ok", "says": "none", "mend": None} in found


class Pooled:
    """A connection through a pooler: each transaction is in whatever session is free."""

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids

    def execute(self, _: Any) -> Pooled:
        return self

    def scalar_one(self) -> int:
        self.pids.append(self.pids.pop(0))
        return self.pids[-1]

    def rollback(self) -> None:
        """The session is free again."""


@pytest.mark.parametrize("pids", [[7], [7, 8], [7, 8, 9]])
def test_a_transaction_pooler_is_told_from_a_server(examine: Examine, pids: list[int]) -> None:
    found = diagnosis._sessions(Pooled(pids), Pooled(pids))  # type: ignore[arg-type]
    assert found.state == "wrong"
    assert "PgBouncer" in found.says
    assert "pool_mode = session" in (found.mend or "")
    assert examine()["sessions"].state == "ok"


def test_a_pooler_that_drops_the_options_of_sessions_is_told(engine: Engine) -> None:
    plain = create_engine(engine.url.difference_update_query(["options"]))
    with plain.connect() as one, plain.connect() as other:
        found = diagnosis._sessions(one, other)
    plain.dispose()
    assert (found.state, "drops the options" in found.says, "1.20" in (found.mend or "")) == ("wrong", True, True)
