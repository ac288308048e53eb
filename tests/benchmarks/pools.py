"""Pools of worker processes on one queue: what a second and a fourth process add, and what each holds in memory."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from sqlalchemy import Engine, text

from parcours.db.scope import Scope
from parcours.db.tables.sweeps import ask
from parcours.domain.jobs import RunSweep
from parcours.producers.broker import make_broker, publish
from tests import servers
from tests.benchmarks import worlds
from tests.benchmarks.server import Server, a_server
from tests.benchmarks.worlds import NOW

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 600
WARM_UP_SECONDS = 2.0
STEPS_A_CONTACT = 3


# Of the sessions of this database, how many wait for each other at this moment.
_WAITING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type IN ('Lock', 'LWLock', 'BufferPin')"
)


class Run(NamedTuple):
    """One measurement: how busy all cores were (0 to 1), and how many sessions waited for others on average."""

    seconds: float
    peak_bytes: int
    busy: float
    waiting: float


class Pool(NamedTuple):
    """A number of processes, and what is the median of the runs but for memory, of which it is the most."""

    processes: int
    steps_a_second: float
    peak_bytes: int
    busy: float
    waiting: float


def compare(numbers: Sequence[int], contacts: int, rounds: int, say: Callable[[str], None]) -> list[Pool]:
    """Measure pools of these sizes in turn; nothing where there is no Redis."""
    runs: dict[int, list[Run]] = {number: [] for number in numbers}
    with servers.broker("redis") as broker, a_server(contacts) as server:
        say(f"{contacts:,} contacts: building the world of the workers")
        worlds.make_joined(server, contacts)
        for turn in range(rounds):
            for number in numbers:
                runs[number].append(_run(server, broker.url, number, contacts))
            say(f"workers: round {turn + 1} of {rounds}")
    return [_summed_up(number, runs[number], contacts * STEPS_A_CONTACT) for number in numbers]


def _summed_up(number: int, runs: Sequence[Run], steps: int) -> Pool:
    return Pool(
        number,
        steps / statistics.median(run.seconds for run in runs),
        max(run.peak_bytes for run in runs),
        statistics.median(run.busy for run in runs),
        statistics.median(run.waiting for run in runs),
    )


def _run(server: Server, broker_url: str, number: int, contacts: int) -> Run:
    """Let so many processes do what is due."""
    with server.copy("joined") as name, server.engine(name) as engine:
        with _processes(number, server.url(name), broker_url) as pool:
            _until(lambda: len(psutil.Process(pool.pid).children(recursive=True)) >= number)
            # All of them have imported what they need before the work comes.
            time.sleep(WARM_UP_SECONDS)
            with engine.begin() as conn:
                sweep_id = ask(conn, "trigger", Scope(), at=NOW)
            broker = make_broker(broker_url)
            began = time.perf_counter()
            publish(broker, RunSweep(sweep_id))
            peak, waiting = 0, list[int]()
            psutil.cpu_percent()

            def done() -> bool:
                nonlocal peak
                peak = max(peak, _memory(pool))
                waiting.append(_value(engine, _WAITING))
                return _value(engine, "SELECT sum(n) FROM step_count") >= contacts * STEPS_A_CONTACT

            _until(done)
            seconds = time.perf_counter() - began
            busy = psutil.cpu_percent() / 100
            broker.close()
        return Run(seconds, peak, busy, statistics.mean(waiting))


def _value(engine: Engine, question: str) -> int:
    with engine.connect() as conn:
        return int(conn.execute(text(question)).scalar_one() or 0)


def _memory(process: subprocess.Popen[bytes]) -> int:
    """Return the memory of the largest process of a tree, in bytes, without what it shares."""
    try:
        root = psutil.Process(process.pid)
        return max(each.memory_full_info().uss for each in (root, *root.children(recursive=True)))
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


@contextmanager
def _processes(number: int, url: str, broker_url: str) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")}
        environment |= {
            "PARCOURS_DATABASE_URL": url,
            "PARCOURS_BROKER_URL": broker_url,
            "PARCOURS_HOME": folder,
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "parcours", "worker", "--processes", str(number), "--threads", "1"]
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(f"not done within {PATIENCE_SECONDS} s")
        time.sleep(0.05)
