"""Delivery: emails a second into a mail server of this machine, with one worker process and with four.

    python -m tests.benchmarks.delivery [--short]

PostgreSQL has all its safeguards; the mail server is Python's, in a process of its own, and takes its share of
the machine. `outside SMTP` is the share of the connections' time in which they did not talk to it: waiting for a
claim, for rendering, and for their last result to be committed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import make_url, text

from parcours.db import schema
from parcours.db.engine import connect
from parcours.domain.messages.results import Result
from parcours.ops.settings import Settings
from parcours.workers.delivery.channels import delivery_of
from parcours.workers.delivery.deliver import deliver_once
from parcours.workers.delivery.providers import smtp as mail
from parcours.workers.delivery.render import Mail
from tests import servers
from tests.mailbox import MailServer
from tests.workers.delivery.test_delivery_processes import outbox

ROOT = Path(__file__).parents[2]
ZONE = ZoneInfo("UTC")


def sink() -> None:
    """Take mail until standard input ends; the URL is the only line that is printed."""

    class Sink(MailServer):
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            return "250 OK"

    with Sink().running() as running:
        sys.stdout.write(running.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


def worker(database: str, smtp: str, connections: int) -> None:
    """Send until nothing is left; print what that took."""
    spent = [0.0]
    send = mail.SmtpProvider.send

    def timed(self: mail.SmtpProvider, batch: Sequence[Mail]) -> list[Result]:
        began = time.perf_counter()
        try:
            return send(self, batch)
        finally:
            spent[0] += time.perf_counter() - began

    mail.SmtpProvider.send = timed  # type: ignore[method-assign]
    engine = connect(database)
    delivery = delivery_of(engine, Settings(smtp_url=smtp, delivery_connections=connections))
    sys.stdin.readline()
    began, sent = time.perf_counter(), 0
    while (done := deliver_once(engine, delivery, "email", zone=ZONE)).claimed:
        sent += done.counts["sent"]
    seconds = time.perf_counter() - began
    sys.stdout.write(json.dumps({"sent": sent, "seconds": seconds, "smtp": spent[0], "connections": connections}))


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.delivery", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()


def measure(database: str, smtp: str, workers: int, connections: int) -> list[dict[str, float]]:
    """Return what each of some workers that begin together says."""
    running = [started("--worker", database, smtp, str(connections)) for _ in range(workers)]
    processes = [each.__enter__() for each in running]
    try:
        time.sleep(3)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return [json.loads(process.stdout.read()) for process in processes if process.stdout is not None]
    finally:
        for each in running:
            each.__exit__(None, None, None)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer emails")
    parser.add_argument("--sink", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.sink:
        sink()
        return
    if options.worker:
        database, smtp, connections = options.worker
        worker(database, smtp, int(connections))
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    postgresql = servers.PostgreSQL()
    emails = 2_000 if options.short else 10_000
    try:
        sys.stdout.write(f"{'workers':>8}{'connections':>13}{'emails/s':>10}{'outside SMTP':>14}\n")
        for workers, connections in ((1, 1), (1, 4), (4, 4)):
            name = f"delivery_{workers}_{connections}"
            admin = connect(postgresql.url)
            with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
                conn.execute(text(f"CREATE DATABASE {name}"))
            admin.dispose()
            url = make_url(postgresql.url).set(database=name).render_as_string(hide_password=False)
            engine = connect(url)
            schema.upgrade(engine)
            outbox(engine, "email", emails)
            engine.dispose()
            with started("--sink") as mails:
                assert mails.stdout is not None
                found = measure(url, mails.stdout.readline().strip(), workers, connections)
            assert sum(each["sent"] for each in found) == emails
            rate = emails / max(each["seconds"] for each in found)
            there = sum(each["smtp"] for each in found)
            whole = sum(each["seconds"] * each["connections"] for each in found)
            sys.stdout.write(f"{workers:>8}{connections:>13}{rate:>10,.0f}{1 - there / whole:>14.0%}\n")
            sys.stdout.flush()
    finally:
        postgresql.close()


if __name__ == "__main__":
    main()
