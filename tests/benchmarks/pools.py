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

from db.scope import Scope
from db.sweeps import ask
from domain.orders import RunSweep
from producers.broker import make_broker, publish
from tests import servers
from tests.benchmarks import worlds
from tests.benchmarks.server import Server, a_server
from tests.benchmarks.worlds import NOW

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 600
WARM_UP_SECONDS = 2.0
STEPS_A_CONTACT = 3


class Pool(NamedTuple):
    """A number of processes, the median of their speed, and the most memory that one of them held."""

    processes: int
    steps_a_second: float
    peak_bytes: int


def compare(numbers: Sequence[int], contacts: int, rounds: int, say: Callable[[str], None]) -> list[Pool]:
    """Measure pools of these sizes in turn; nothing where there is no Redis."""
    speeds: dict[int, list[float]] = {number: [] for number in numbers}
    peaks = dict.fromkeys(numbers, 0)
    with servers.broker("redis") as broker, a_server(contacts) as server:
        say(f"{contacts:,} contacts: building the world of the workers")
        worlds.make_joined(server, contacts)
        for turn in range(rounds):
            for number in numbers:
                seconds, peak = _run(server, broker.url, number, contacts)
                speeds[number].append(contacts * STEPS_A_CONTACT / seconds)
                peaks[number] = max(peaks[number], peak)
            say(f"workers: round {turn + 1} of {rounds}")
    return [Pool(number, statistics.median(speeds[number]), peaks[number]) for number in numbers]


def _run(server: Server, broker_url: str, number: int, contacts: int) -> tuple[float, int]:
    """Return the seconds in which so many processes do what is due, and the most memory that one held."""
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
            peak = 0

            def done() -> bool:
                nonlocal peak
                peak = max(peak, _memory(pool))
                return _value(engine, "SELECT sum(n) FROM step_count") >= contacts * STEPS_A_CONTACT

            _until(done)
            seconds = time.perf_counter() - began
            broker.close()
        return seconds, peak


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
