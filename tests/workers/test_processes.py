"""Real processes that overlap, and real brokers whose workers are killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, text

from parcours.db.engine import connect
from parcours.db.scope import Scope
from parcours.db.tables import installation
from parcours.producers.files import campaigns
from parcours.services import apply_campaign, campaign_plan
from parcours.workers.sweeps import trigger_inline, update_inline
from tests import commands
from tests.conftest import Run, cloned

ROOT = Path(__file__).parents[2]
ZONE = ZoneInfo("UTC")
START = datetime(2026, 3, 2, 9, tzinfo=UTC)
LATER = START + timedelta(days=4)
CONTACTS = 1500

CAMPAIGN = """
campaign: crowd
published: true
sources: {segments: [everybody]}
steps:
  - step: greet
    action: contact.tags
    with: {add: [new]}
    then:
      - step: local
        condition: contact.field
        with: {field: country, operator: "=", value: FR}
        yes:
          - {step: plus, action: contact.points, with: {points: 5}}
        no:
          - {step: minus, action: contact.points, with: {points: -1}}
  - step: visit
    decision: page.hit
    no:
      - {step: cold, action: contact.tags, with: {add: [cold]}, after: 2 days}
      - {step: colder, action: contact.points, with: {points: -2}, after: 3 days}
  - step: later
    action: contact.points
    with: {points: 1}
    after: 1 day
    then:
      - {step: again, action: campaign.jump, with: {to: greet}, after: 1 day}
"""


def a_world(engine: Engine, folder: Path) -> None:
    """1,500 contacts in a segment that feeds a campaign of all kinds of steps; nobody has joined."""
    path = folder / "crowd.yaml"
    path.write_text(CAMPAIGN, encoding="utf-8")
    with engine.begin() as conn:
        conn.execute(
            text(
                "INSERT INTO contact (key, fields) SELECT 'c' || n, jsonb_build_object('country', "
                "CASE WHEN n % 3 = 0 THEN 'FR' ELSE 'DE' END) FROM generate_series(1, :n) AS n"
            ),
            {"n": CONTACTS},
        )
        conn.execute(text("INSERT INTO segment (key, name) VALUES ('everybody', 'Everybody')"))
        conn.execute(
            text("INSERT INTO segment_member (contact_id, segment_id, changed_at) SELECT id, 1, :now FROM contact"),
            {"now": START},
        )
        plan = campaign_plan.plan(conn, campaigns.read(path, default_zone=ZONE), zone=ZONE)
        apply_campaign.apply(conn, plan, backfill=False, reschedule=False, who="test", now=START, zone=ZONE)


def everything(engine: Engine) -> dict[str, list[Any]]:
    """Return all that the engine wrote, without the instants at which it happened to write it."""
    questions = {
        "outcomes": "SELECT c.key, s.key, o.rotation, o.passage, o.result::text FROM outcome o "
        "JOIN contact c ON c.id = o.contact_id JOIN step s ON s.id = o.step_id ORDER BY 1, 2, 3, 4",
        "waits": "SELECT c.key, s.key, w.rotation, w.passage, w.reason::text FROM wait w "
        "JOIN contact c ON c.id = w.contact_id JOIN step s ON s.id = w.step_id ORDER BY 1, 2",
        "contacts": "SELECT key, points FROM contact ORDER BY 1",
        "tags": "SELECT c.key, t.tag FROM contact_tag t JOIN contact c ON c.id = t.contact_id ORDER BY 1, 2",
        "members": "SELECT c.key, m.rotation, m.left_at IS NULL FROM membership m "
        "JOIN contact c ON c.id = m.contact_id ORDER BY 1",
        "counts": "SELECT s.key, n.result::text, sum(n.n)::bigint FROM step_count n "
        "JOIN step s ON s.id = n.step_id GROUP BY 1, 2 ORDER BY 1, 2",
    }
    with engine.connect() as conn:
        return {name: [tuple(row) for row in conn.execute(text(sql))] for name, sql in questions.items()}


def calm_run(engine: Engine) -> None:
    update_inline(engine, Scope(), now=START, zone=ZONE)
    trigger_inline(engine, Scope(), now=START, zone=ZONE, batch_size=1000)
    trigger_inline(engine, Scope(), now=LATER, zone=ZONE, batch_size=1000)


def sweep_at_once(url: str, gate: Any) -> None:
    """Two updates and two triggers at the same moment, in threads of a process of its own."""
    engine = connect(url)

    def update() -> None:
        gate.wait()
        update_inline(engine, Scope(), now=START, zone=ZONE)

    def trigger() -> None:
        gate.wait()
        # The first finds what is joined so far; the second all the rest.
        trigger_inline(engine, Scope(batch_limit=100), now=START, zone=ZONE, batch_size=100)

    with ThreadPoolExecutor(4) as pool:
        for each in [pool.submit(work) for work in (update, trigger, update, trigger)]:
            each.result()
    engine.dispose()


def finish(url: str, gate: Any) -> None:
    engine = connect(url)
    gate.wait()
    trigger_inline(engine, Scope(batch_limit=70), now=START, zone=ZONE, batch_size=70)
    trigger_inline(engine, Scope(batch_limit=70), now=LATER, zone=ZONE, batch_size=70)
    engine.dispose()


@pytest.fixture
def second_engine(server: str, template: str) -> Iterator[Engine]:
    yield from cloned(server, template)


def in_processes(work: Callable[[str, Any], None], url: str, *, processes: int, parties: int) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        gate = manager.Barrier(parties)
        running = [context.Process(target=work, args=(url, gate)) for _ in range(processes)]
        for each in running:
            each.start()
        for each in running:
            each.join(600)
        assert [each.exitcode for each in running] == [0] * processes


def test_ten_updates_and_ten_triggers_at_once_give_the_same_rows_as_one(
    engine: Engine, second_engine: Engine, tmp_path: Path
) -> None:
    for each in (engine, second_engine):
        a_world(each, tmp_path)
    calm_run(second_engine)
    url = engine.url.render_as_string(hide_password=False)
    in_processes(sweep_at_once, url, processes=5, parties=20)
    in_processes(finish, url, processes=4, parties=4)
    assert everything(engine) == everything(second_engine)


# With a broker.


@pytest.fixture(params=["redis", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


class Pool:
    """Worker pools as an operator starts them; the ones still running are ended with the test."""

    def __init__(self, engine: Engine, broker_url: str, folder: Path, **settings: str) -> None:
        self.log = folder / "workers.log"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")},
            "PARCOURS_DATABASE_URL": engine.url.render_as_string(hide_password=False),
            "PARCOURS_BROKER_URL": broker_url,
            "PARCOURS_HOME": str(folder),
            "PARCOURS_BATCH_SIZE": "100",
            "PYTHONPATH": str(ROOT),
            **settings,
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "parcours", *arguments],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def run(self, *arguments: str) -> str:
        done = commands.run(arguments, environment=self._environment, folder=self.log.parent, stdin=None, seconds=600)
        assert done.returncode == 0, done.stderr + self.log.read_text(encoding="utf-8")[-3000:]
        return done.stdout

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(600)

    def close(self) -> None:
        for process in self._started:
            self.kill(process)


@pytest.fixture
def pool(engine: Engine, broker_url: str, tmp_path: Path) -> Iterator[Pool]:
    pool = Pool(engine, broker_url, tmp_path)
    yield pool
    pool.close()


def eventually(true: Callable[[], bool], *, within: float = 600) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def waits_for_a_lock(engine: Engine) -> bool:
    with engine.connect() as conn:
        found = conn.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'outcome'::regclass"))
        return bool(found.scalar_one())


def test_workers_on_a_broker_do_what_one_process_does(
    engine: Engine, second_engine: Engine, pool: Pool, tmp_path: Path
) -> None:
    for each in (engine, second_engine):
        a_world(each, tmp_path)
    calm_run(second_engine)
    for _ in range(2):
        pool.start("worker", "--threads", "2")
    pool.run("update", "--wait", "--now", START.isoformat())
    pool.run("trigger", "--wait", "--now", START.isoformat())
    printed = pool.run("trigger", "--wait", "--json", "--now", LATER.isoformat())
    assert '"campaign": "crowd"' in printed
    assert everything(engine) == everything(second_engine)


def test_a_killed_worker_loses_nothing_and_repeats_nothing(
    engine: Engine, second_engine: Engine, pool: Pool, tmp_path: Path
) -> None:
    for each in (engine, second_engine):
        a_world(each, tmp_path)
        update_inline(each, Scope(), now=START, zone=ZONE)
    trigger_inline(second_engine, Scope(), now=START, zone=ZONE, batch_size=1000)
    victim = pool.start("worker", "--threads", "2")
    with engine.begin() as gate:  # The victim stops at its first write, holding its claim and its message.
        gate.execute(text("LOCK TABLE outcome IN ACCESS EXCLUSIVE MODE"))
        pool.run("trigger", "--now", START.isoformat())
        eventually(lambda: waits_for_a_lock(engine))
        pool.kill(victim)
    pool.start("worker", "--threads", "2")
    pool.start("tick")

    def nothing_is_due() -> bool:
        with engine.connect() as conn:
            return not conn.execute(text("SELECT count(*) FROM sweep WHERE finished_at IS NULL")).scalar_one()

    eventually(nothing_is_due)
    first = [row for row in everything(engine)["outcomes"] if row[1] in ("greet", "local", "plus", "minus")]
    assert first == everything(second_engine)["outcomes"]


def test_a_stopped_worker_finishes_its_batch(engine: Engine, pool: Pool, tmp_path: Path) -> None:
    a_world(engine, tmp_path)
    update_inline(engine, Scope(), now=START, zone=ZONE)
    worker = pool.start("worker", "--threads", "1")
    with engine.begin() as gate:
        gate.execute(text("LOCK TABLE outcome IN ACCESS EXCLUSIVE MODE"))
        pool.run("trigger", "--now", START.isoformat())
        eventually(lambda: waits_for_a_lock(engine))
        os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(600) in (0, -signal.SIGTERM)
    with engine.connect() as conn:
        done = conn.execute(
            text("SELECT count(*) FROM outcome o JOIN step s ON s.id = o.step_id WHERE s.key = 'greet'")
        )
        # Whole batches of 100, none half done.
        assert done.scalar_one() % 100 == 0


def test_two_ticks_have_one_leader_and_another_leads_after_its_death(engine: Engine, pool: Pool) -> None:
    first = pool.start("tick")
    eventually(lambda: leaders(engine) == 1)
    pool.start("tick")
    pool.kill(first)
    eventually(lambda: pool.log.read_text(encoding="utf-8").count("tick_leads") == 2)
    assert leaders(engine) == 1


def leaders(engine: Engine) -> int:
    from parcours.producers.tick import LEADER_LOCK

    with engine.connect() as conn:
        found = conn.execute(
            text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :lock AND granted"),
            {"lock": LEADER_LOCK},
        )
        return int(found.scalar_one())


def test_trigger_without_workers_says_that_nobody_has_started_it(run: Run) -> None:
    done = run("trigger", "--inline", "-i", "nobody")
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == "parcours: there is no campaign 'nobody'; run `parcours campaigns list` to see all campaigns"
    )


def test_a_killed_process_of_a_pool_is_replaced_and_a_stopped_pool_ends(engine: Engine, pool: Pool) -> None:
    def workers() -> set[int]:
        """Return the pool's own child processes."""
        listed = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text(encoding="ascii").split()
        return set(map(int, listed))

    def working() -> int:
        with engine.connect() as conn:
            return len(installation.workers(conn))

    worker = pool.start("worker", "--processes", "2", "--threads", "1")
    # Whom it starts just then, a pool waits for, for half a minute.
    eventually(lambda: len(workers()) == 2 and working() == 2)
    first = workers()
    os.kill(min(first), signal.SIGKILL)
    eventually(lambda: len(workers()) == 2 and not workers() & first)
    assert "A worker process was killed; the pool restarts." in pool.log.read_text(encoding="utf-8")
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(600) is not None
