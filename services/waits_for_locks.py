"""Saying whom a transaction waits for, while another session holds a lock that it needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from parcours.db.checks import blocking
from parcours.db.checks.blocking import LockHolder

# Between two looks. Only who is in the way at both is named: most waits are over at once.
LOOK_SECONDS = 1.0


@contextmanager
def waits_told(conn: Connection, tell: Callable[[str], None], *, pause: float = LOOK_SECONDS) -> Iterator[None]:
    """While the body works with a connection, pass a sentence to `tell` for each session that it waits for."""
    pid: int = conn.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    over = threading.Event()

    def watch() -> None:
        before: set[int] = set()
        named: set[int] = set()
        while not over.wait(pause):
            # Without an answer nobody is named, and the body itself says what is wrong with the database.
            with suppress(SQLAlchemyError), conn.engine.connect() as other:
                found = blocking.holders(other, pid)
                for holder in found:
                    if holder.pid in before - named and not over.is_set():
                        named.add(holder.pid)
                        tell(sentence(holder))
                before = {holder.pid for holder in found}

    looking = threading.Thread(target=watch, name="waits", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()


def sentence(holder: LockHolder) -> str:
    """Return whom a command waits for, as a person reads it."""
    machine = holder.machine or "the database's machine"
    return (
        f"Waiting for database process {holder.pid} (session '{holder.name}' from {machine}), whose transaction has "
        f"been running for {holder.seconds:,.0f} s."
    )
