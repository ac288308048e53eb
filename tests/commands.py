"""Runs the command in processes that a warm server forks: as apart from the tests as real ones, without the imports.

Tests call the command some thousand times, and most of the time that one takes is for its imports.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
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
    arguments: Sequence[str], *, environment: Mapping[str, str], folder: Path, stdin: str | None, seconds: float
) -> Ran:
    """Run the command in a folder. Raises TimeoutError when it takes longer."""
    with tempfile.TemporaryDirectory() as kept:
        files = [Path(kept, name) for name in ("stdin", "stdout", "stderr")]
        for file in files:
            file.touch()
        files[0].write_text(stdin or "", encoding="utf-8")
        process = _server.Process(target=_command, args=(list(arguments), dict(environment), folder, files))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"parcours {' '.join(arguments)} took longer than {seconds:.0f} s")
        stdout, stderr = (file.read_bytes().decode() for file in files[1:])
        return Ran(process.exitcode, stdout, stderr)


def _command(arguments: list[str], environment: dict[str, str], folder: Path, files: list[Path]) -> None:
    from parcours import cli

    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    # Others than those that the server began with: line by line, and encoded as the command's would be.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["parcours", *arguments]
    cli.main()
