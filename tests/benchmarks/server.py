"""A PostgreSQL of the benchmarks' own, and the databases on it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine, make_url, text

from parcours.db import embedded
from parcours.db.engine import connect


class Server:
    """A server of our own in a temporary folder, and the databases on it."""

    def __init__(self, url: str, contacts: int) -> None:
        self._url = url
        self._copies = 0
        # Copying files costs two checkpoints, copying through the log costs by the page.
        self._strategy = "file_copy" if contacts > 100_000 else "wal_log"

    def url(self, name: str) -> str:
        return make_url(self._url).set(database=name).render_as_string(hide_password=False)

    def administer(self, *statements: str) -> None:
        with psycopg.connect(_plain(self._url), autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement.encode())

    def clone(self, template: str, name: str) -> None:
        self.administer(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {self._strategy}")

    def wal_bytes(self) -> int:
        """Return how much was ever written to the log; nobody else writes to this server."""
        with psycopg.connect(_plain(self._url), autocommit=True) as conn:
            row = conn.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        return int(row[0])

    def rows_written(self, name: str) -> int:
        """Return how many rows were ever inserted, changed or deleted in a database that nobody is connected to."""
        with psycopg.connect(_plain(self._url), autocommit=True) as conn:
            row = conn.execute(
                "SELECT tup_inserted + tup_updated + tup_deleted FROM pg_stat_database WHERE datname = %s", (name,)
            ).fetchone()
        assert row is not None
        return int(row[0])

    def settle(self, name: str) -> None:
        """Vacuum and analyze, as autovacuum would have done by and by."""
        with self.bare(name) as conn:
            conn.execute("VACUUM ANALYZE")

    @contextmanager
    def copy(self, template: str) -> Iterator[str]:
        """Yield the name of a database like the template, for one measurement."""
        self._copies += 1
        name = f"copy_{self._copies}"
        self.clone(template, name)
        try:
            yield name
        finally:
            self.administer(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def engine(self, name: str) -> Iterator[Engine]:
        engine = connect(self.url(name))
        try:
            with engine.connect() as conn:
                conn.execute(text("SELECT 1"))
            yield engine
        finally:
            engine.dispose()

    @contextmanager
    def bare(self, name: str) -> Iterator[psycopg.Connection[Any]]:
        # One process against one process: nobody may use a second core for a read.
        options = "-c timezone=UTC -c jit=off -c max_parallel_workers_per_gather=0"
        with psycopg.connect(_plain(self.url(name)), options=options, autocommit=True) as conn:
            yield conn


def _plain(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@contextmanager
def a_server(contacts: int) -> Iterator[Server]:
    # The embedded server's library warns when nobody said where sockets go.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    home = Path(tempfile.mkdtemp(prefix="parcours-bench-"))
    # As root, the server runs as another user, who must get in.
    home.chmod(0o755)
    try:
        # Some settings count from the second start on.
        embedded.start(home)
        embedded.stop(home)
        yield Server(embedded.start(home), contacts)
    finally:
        embedded.stop(home)
        shutil.rmtree(home, ignore_errors=True)
