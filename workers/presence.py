"""Worker processes say that they run, so that whoever looks at the status sees which do."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from datetime import datetime
from typing import Any

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from parcours.db.clock import now as database_now
from parcours.db.tables import installation
from parcours.db.tables.installation import WorkerSeen

BEAT_SECONDS = 10.0


class Presence(Middleware):
    """Tells from the start of a worker to its end, every ten seconds, that it runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._since: datetime | None = None
        # As the machine is called: what it may be called elsewhere is of any length.
        self.name = f"{socket.gethostname()[:200]}:{os.getpid()}"

    def after_worker_boot(self, broker: Broker, worker: Any) -> None:
        """Begin to tell; what cannot be told now is told next time."""
        self.name = f"{socket.gethostname()[:200]}:{os.getpid()}"
        queues = tuple(sorted(worker.consumer_whitelist or broker.queues))
        self._thread = threading.Thread(
            target=self._run, args=(worker.worker_threads, queues), name="presence", daemon=True
        )
        self._thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Any) -> None:
        """End, and take the name off the list."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def _run(self, threads: int, queues: tuple[str, ...]) -> None:
        while True:
            # Without the database nobody can be told; whoever looks sees then that this worker has been silent.
            with suppress(SQLAlchemyError):
                self.beat(threads, queues)
            if self._ended.wait(BEAT_SECONDS):
                break
        with suppress(SQLAlchemyError), self._engine.begin() as conn:
            installation.forget_worker(conn, self.name)

    def beat(self, threads: int, queues: tuple[str, ...]) -> None:
        """Tell once."""
        with self._engine.begin() as conn:
            now = database_now(conn)
            self._since = self._since or now
            installation.beat(conn, WorkerSeen(self.name, self._since, now, threads, queues))
