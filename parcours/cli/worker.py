"""`parcours worker`: a pool of processes and threads for some queues."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer

from parcours.cli.session import session
from parcours.domain.jobs import QUEUES
from parcours.ops import structlog_alone  # noqa: F401
from parcours.ops.health import HealthPort

app = typer.Typer()
# Before a pool that was killed starts again.
PAUSE_SECONDS = 1.0


def setup() -> None:
    """Called by dramatiq in each worker process: read the settings, connect, register the actors."""
    import dramatiq

    from parcours.db.engine import connect
    from parcours.ops.health import Health, start_server
    from parcours.ops.logs import OneLineMiddleware, configure
    from parcours.ops.metrics import MetricsMiddleware
    from parcours.ops.settings import read_settings
    from parcours.producers.broker import make_broker
    from parcours.workers.actors import Workshop, register
    from parcours.workers.presence import Presence

    settings = read_settings()
    configure(settings.log_format, settings.log_level)
    url = os.environ.get("_PARCOURS_WORKER_DATABASE") or settings.database_url
    assert url is not None
    engine = connect(url)
    extra = [MetricsMiddleware(), OneLineMiddleware(), Presence(engine)]
    broker = make_broker(settings.broker_url, extra=extra)
    dramatiq.set_broker(broker)
    register(Workshop(engine, broker, settings))
    if settings.health_port is not None:
        start_server(Health(engine.url, settings), settings.health_host, settings.health_port)


@app.command()
def worker(
    queues: Annotated[str, typer.Option(help=f"Comma-separated: {', '.join(QUEUES)}.")] = ",".join(QUEUES),
    processes: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads per process.")] = 4,
    health_port: HealthPort = None,
) -> None:
    """Process queues until stopped; the current batch is finished first.

    Needs PARCOURS_BROKER_URL. You can run any number of pools on any number of machines.
    """
    here = session()
    names = [name.strip() for name in queues.split(",") if name.strip()]
    unknown = [name for name in names if name not in QUEUES]
    if unknown or not names:
        raise typer.BadParameter(f"unknown queue {', '.join(unknown)!r}; known queues are {', '.join(QUEUES)}")
    # Said here in a sentence rather than by every process in its log.
    here.wait_for_servers(here.need_broker("worker"))
    # Checked, and the embedded server started, once here rather than in every process.
    os.environ["_PARCOURS_WORKER_DATABASE"] = here.engine.url.render_as_string(hide_password=False)
    here.engine.dispose()
    if health_port is not None:
        os.environ["PARCOURS_HEALTH_PORT"] = str(health_port)

    from dramatiq import cli

    arguments = ["parcours.cli.worker:setup", "--processes", str(processes), "--threads", str(threads)]
    arguments += ["--skip-logging", "--worker-shutdown-timeout", "60000", "--queues", *names]
    parsed = cli.make_argument_parser().parse_args(arguments)  # type: ignore[no-untyped-call]
    with _signals_noted() as noted:
        code = cli.main(parsed)  # type: ignore[no-untyped-call]
    if code == cli.RET_KILLED and not noted():
        # One of the processes was killed, by the machine that ran out of memory for instance. dramatiq then lets
        # the others finish and ends; nobody asked us to.
        here.warn("A worker process was killed; the pool restarts.")
        time.sleep(PAUSE_SECONDS)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    raise typer.Exit(code)


@contextmanager
def _signals_noted() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether this process was sent a signal, whoever handles it."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    # Those of child processes are their own business.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1) and None)

    def noted() -> bool:
        with suppress(BlockingIOError):
            return bool(reading.recv(1))
        return False

    try:
        yield noted
    finally:
        signal.set_wakeup_fd(before)
