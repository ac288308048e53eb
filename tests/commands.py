"""Runs the command in processes that a warm server forks: as apart from the tests as real ones, without the imports.

Tests call the command some thousand times, and most of the time that one takes is for its imports.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.warm"])


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


def run(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    stdin: str | None,
    seconds: float,
    path: Path | None = None,
) -> Ran:
    """Run the command in a folder; `path` has further packages. Raises TimeoutError when it takes longer."""
    with tempfile.TemporaryDirectory() as kept:
        files = [Path(kept, name) for name in ("stdin", "stdout", "stderr")]
        for file in files:
            file.touch()
        files[0].write_text(stdin or "", encoding="utf-8")
        given = (list(arguments), dict(environment), folder, files)
        process = _server.Process(target=_command, args=given, kwargs={"path": path})
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"parcours {' '.join(arguments)} took longer than {seconds:.0f} s")
        stdout, stderr = (file.read_bytes().decode() for file in files[1:])
        return Ran(process.exitcode, stdout, stderr)


class Started:
    """A command that runs, with what one asks a `Popen`."""

    def __init__(self, arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path, log: Path) -> None:
        log.touch()
        given = (list(arguments), dict(environment), folder, [Path(os.devnull), log, log])
        self._process = _server.Process(target=_command, args=given, kwargs={"apart": True})
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        # Whoever kills its group next must find that.
        with contextlib.suppress(ProcessLookupError):
            while os.getpgid(self.pid) != self.pid:
                time.sleep(0.001)

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Return how it ended; a signal is a number below 0. Raises TimeoutExpired when it goes on."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", seconds)
        return self._process.exitcode


def _command(
    arguments: list[str],
    environment: dict[str, str],
    folder: Path,
    files: list[Path],
    *,
    apart: bool = False,
    path: Path | None = None,
) -> None:
    from parcours import cli

    if path is not None:
        # What is installed is looked for when it is first asked for, which nobody has done here.
        sys.path.insert(0, str(path))
        # A test changes a package within the second by which Python tells that one changed.
        sys.dont_write_bytecode = True
    if apart:
        # Whoever ends its group ends it with all that it started, and nobody else.
        os.setsid()
    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR | (os.O_APPEND if apart else 0))
        os.dup2(opened, number)
        os.close(opened)
    # Others than those that the server began with: line by line, and encoded as the command's would be.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["parcours", *arguments]
    # A process that starts itself anew looks here how it was started.
    sys.orig_argv = [sys.executable, "-m", "parcours", *arguments]
    cli.main()
