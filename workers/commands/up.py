"""`parcours up`: database, workers and tick in one process."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import dramatiq
import typer

from db import embedded
from producers.broker import make_broker
from producers.logs import OneLineMiddleware, configure
from producers.session import session
from producers.tick import Tick
from workers.actors import Workshop, register

app = typer.Typer()

THREADS = 4


@app.command()
def up(
    port: Annotated[int, typer.Option(help="For the web pages, which are not part of this version yet.")] = 8080,
    host: Annotated[str, typer.Option(help="As --port.")] = "127.0.0.1",
) -> None:
    """Run everything in one process until Ctrl-C: database (embedded unless a URL is set), workers, tick."""
    here = session()
    configure(here.settings.log_format, here.settings.log_level)
    engine = here.engine
    # With a broker, this process is one pool more; without, the queues live in it.
    broker = make_broker(here.settings.broker_url, extra=[OneLineMiddleware()])
    dramatiq.set_broker(broker)
    register(Workshop(engine, broker, here.settings))
    stop = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop.set())
    worker = dramatiq.Worker(broker, worker_threads=THREADS, worker_timeout=100)
    worker.start()
    where = "your database" if here.settings.database_url else f"the embedded PostgreSQL of {here.settings.home}"
    here.say(f"Parcours is up on {where}: workers and tick. Stop it with Ctrl-C.")
    here.say("The web pages and the HTTP interface are not part of this version yet; nothing listens on a port.")
    try:
        Tick(engine, broker).run(stop)
    finally:
        # Batches in hand are finished; what is not begun is found again by the next tick.
        worker.stop(timeout=60_000)
        broker.close()
        engine.dispose()
        if here.settings.database_url is None:
            embedded.stop(here.settings.home)
    here.say("Stopped.")
