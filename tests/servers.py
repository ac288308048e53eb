"""Servers of a test's own, which it may kill and start again: Redis, RabbitMQ and PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import pytest

from parcours.db import embedded, schema
from parcours.db.engine import connect

# Where there is a file system in memory, and the bytes that it must have free.
MEMORY = Path("/dev/shm")
ROOM = 4_000_000_000


def served_folder(prefix: str) -> Path:
    """Make a folder that a server's own user may enter, which pytest's are not; in memory where there is room.

    A database has some seven hundred files. To make and delete them on a disk takes ten times the processor's time.
    """
    in_memory = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=MEMORY if in_memory else None))
    made.chmod(0o755)
    return made


class Broker(Protocol):
    """What holds the queues, contact events and orders alike."""

    url: str

    def start(self) -> None: ...
    def kill(self) -> None: ...


class Redis:
    """A Redis without persistence: a restart loses everything that was in it."""

    def __init__(self, folder: Path) -> None:
        found = shutil.which("redis-server")
        if found is None:
            pytest.skip("no Redis: install redis-server")
        (self._port,) = free_ports(1)
        self._command = [found, "--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._command += ["--dir", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        self._process = _start(self._command, {})
        _await(self._port, self._process, 10)

    def kill(self) -> None:
        _kill(self._process)

    def close(self) -> None:
        self.kill()


class RabbitMQ:
    """A RabbitMQ node with its own epmd, on ports of its own; what it confirmed survives a restart."""

    def __init__(self, folder: Path) -> None:
        script, epmd = _rabbitmq_script(), shutil.which("epmd")
        if script is None or epmd is None:
            pytest.skip("no RabbitMQ: install rabbitmq-server")
        self._port, distribution, self._names = free_ports(3)
        (folder / "env.conf").write_text("", encoding="utf-8")
        (folder / "plugins").write_text("[].\n", encoding="utf-8")
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self._port}\ndisk_free_limit.absolute = 50MB\n"
            "log.console = true\nlog.console.level = warning\nlog.file = false\n",
            encoding="utf-8",
        )
        self._environment = {
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"parcours-test-{self._port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "none.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2",
        }
        self._script = script
        self._log = folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None
        # The virtual host "/" in the one spelling that pika and kombu both understand.
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}/%2F"
        self._epmd = _start([epmd, "-address", "127.0.0.1", "-port", str(self._names)], {})
        _await(self._names, self._epmd, 10)

    def start(self) -> None:
        # The name service must have noticed that the killed node is gone.
        end = time.monotonic() + 600
        while True:
            self._process = _start([self._script], self._environment, self._log)
            try:
                _await(self._port, self._process, 60)
                return
            except RuntimeError:
                _kill(self._process)
                if time.monotonic() > end:
                    raise
                time.sleep(0.5)

    def kill(self) -> None:
        _kill(self._process)
        # What we waited for is the script; the node below it dies a moment later.
        while answers(self.url):
            time.sleep(0.01)

    def close(self) -> None:
        self.kill()
        _kill(self._epmd)


class PostgreSQL:
    """An embedded server with all its safeguards on, unlike the one that the other tests share."""

    def __init__(self) -> None:
        self._home = served_folder("parcours-chaos-")
        self.url = embedded.start(self._home)
        engine = connect(self.url)
        schema.upgrade(engine)
        engine.dispose()

    def restart(self) -> None:
        """Restart it as after a power cut."""
        self._control("-w", "-m", "immediate", "restart")

    def kill(self) -> None:
        self._control("-w", "-m", "immediate", "stop")

    def start(self) -> None:
        embedded.start(self._home)

    def close(self) -> None:
        embedded.stop(self._home)
        shutil.rmtree(self._home, ignore_errors=True)

    def _control(self, *arguments: str) -> None:
        data = (self._home / "postgres").resolve()
        options = {"user": data.stat().st_uid} if os.geteuid() == 0 else {}
        embedded._library().pg_ctl(["-l", str(data / "log"), *arguments], pgdata=data, timeout=600, **options)


@contextlib.contextmanager
def broker(name: str) -> Iterator[Redis | RabbitMQ]:
    """A started broker of the test's own, by name; skips when it is not installed."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        made: Redis | RabbitMQ = Redis(Path(folder)) if name == "redis" else RabbitMQ(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.close()


def free_ports(number: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def answers(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1).close()
    except OSError:
        return False
    return True


def _rabbitmq_script() -> str | None:
    # Debian's command in the PATH changes the user and the home; the script behind it does not.
    debian = "/usr/lib/rabbitmq/bin/rabbitmq-server"
    places = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    return debian if os.access(debian, os.X_OK) else shutil.which("rabbitmq-server", path=places)


def _start(command: list[str], environment: dict[str, str], log: Path | None = None) -> subprocess.Popen[bytes]:
    with (log or Path(os.devnull)).open("ab") as output:
        return subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(600)


def _await(port: int, process: subprocess.Popen[bytes], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        if answers(f"tcp://127.0.0.1:{port}"):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port}")
