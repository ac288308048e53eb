"""Text messages and notifications into files, in place of sending them."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from parcours.db.folders import private_folder
from parcours.domain.messages.results import Result, Retry, Sent
from parcours.workers.delivery.payloads import Note


class NoteFiles:
    """Writes notes as lines of JSON, into one file a day."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, batch: Sequence[Note]) -> list[Result]:
        private_folder(self._folder)
        path = self._folder / f"{datetime.now(UTC):%Y-%m-%d}.ndjson"
        lines = [json.dumps({"at": note.at.isoformat(), **note.data()}, ensure_ascii=False) + "\n" for note in batch]
        # One write to the end of the file, so that the lines of several workers do not mix.
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # Whoever takes out the lines of an erased contact is done before.
            fcntl.flock(file, fcntl.LOCK_EX)
            os.write(file, "".join(lines).encode())
        except OSError as error:
            return [Retry(f"{path}: {error.strerror}", away=True)] * len(batch)
        finally:
            os.close(file)
        return [Sent()] * len(batch)

    def close(self) -> None:
        """Each write closes its file."""
