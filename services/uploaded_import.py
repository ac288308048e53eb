"""A file of contacts that was uploaded: kept in the database, looked at, and imported behind the scenes.

The file is in the database so that any process can show and import it. Whoever imports holds a lock, so that an import
whose process died is known as such, and can be started again: it had imported nothing.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import structlog
from sqlalchemy import Connection, Engine

from parcours.db.scope import Scope
from parcours.db.tables import imports
from parcours.db.tables.imports import StoredImport
from parcours.domain.errors import CampaignError
from parcours.ops.logs import where
from parcours.ops.settings import Settings
from parcours.producers.files.contacts import ContactFile, contact_file
from parcours.producers.files.options import Options
from parcours.producers.files.rows import RejectedRow
from parcours.services import contact_import
from parcours.services.ask_sweep import ask_sweep
from parcours.services.contact_import import FileLook
from parcours.services.rejected_rows import FileForm

log = structlog.get_logger()

# The largest file, in bytes.
MOST_BYTES = 200_000_000
# Of a file that is kept, in one row.
PART_BYTES = 1_000_000
# Rows that a look reads: what is behind them is read by the import alone.
LOOKED_AT = 20_000
# Seconds between two notes of how far an import is.
_NOTED = 0.3
# Imports of one process, each with the memory and the connections of one.
_turns = threading.Semaphore(1)


def store(engine: Engine, name: str, parts: Iterable[bytes], *, who: str, segment: str | None) -> int:
    """Keep a file and return the number of its import. What is a week old goes."""
    with engine.begin() as conn:
        imports.forget_old(conn)
        id_ = imports.create(conn, Path(name).name[:200] or "file", who=who, segment=segment)
        size = 0
        for number, part in enumerate(parts):
            imports.add_part(conn, id_, "file", number, part)
            size += len(part)
        imports.set_size(conn, id_, size)
    return id_


def options_of(stored: StoredImport) -> Options:
    """Return how a file is to be read, as it was chosen."""
    given = stored.options
    return Options(
        columns=dict(given.get("columns", {})),
        refusals=tuple(given.get("refusals", ())),
        header=tuple(given.get("header", ())),
        encoding=given.get("encoding"),
        delimiter=given.get("delimiter"),
        dates=given.get("dates"),
        decimal=given.get("decimal"),
    )


@contextmanager
def opened(engine: Engine, stored: StoredImport, advance: Any = lambda _: None) -> Iterator[ContactFile]:
    """Open the file of an import. Raises CampaignError, in which the file has the name that it was uploaded by."""
    with tempfile.TemporaryDirectory(prefix="parcours-import-") as folder:
        path = Path(folder, f"contacts{Path(stored.name).suffix.lower()}")
        with path.open("wb") as file, engine.connect() as conn:
            for part in imports.parts(conn, stored.id, "file"):
                file.write(part)
        try:
            with contact_file(path, options_of(stored), advance, anybody=True) as found:
                yield found
        except CampaignError as error:
            raise CampaignError(str(error).replace(str(path), stored.name)) from None


def look(engine: Engine, stored: StoredImport) -> FileLook:
    """Return what an import would make of the beginning of its file. Raises CampaignError."""
    with opened(engine, stored) as file:
        return contact_import.look(file, most=LOOKED_AT)


def begin(engine: Engine, settings: Settings, id_: int) -> None:
    """Import a file behind the scenes. Nothing happens when it is under way or done."""
    conn = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    # Held before it says that it runs: what runs and is held by nobody was left by a process that died.
    try:
        if imports.hold(conn, id_):
            if imports.start(conn, id_):
                work = threading.Thread(
                    target=_work, args=(engine, settings, conn, id_), name=f"import-{id_}", daemon=True
                )
                work.start()
                return
            imports.release(conn, id_)
    except BaseException:
        # The lock goes with the session, and not back into the pool.
        conn.invalidate()
        conn.close()
        raise
    conn.close()


def _work(engine: Engine, settings: Settings, conn: Connection, id_: int) -> None:
    """Import a file that `conn` holds."""
    with conn:
        try:
            with _turns:
                result = _import(engine, settings, conn, id_)
            imports.finish(conn, id_, "done", result)
        except CampaignError as error:
            imports.finish(conn, id_, "failed", {"error": str(error)})
        except Exception as error:
            log.error("import_failed", number=id_, error=type(error).__name__, where=where(error.__traceback__))
            imports.finish(conn, id_, "failed", {"error": "unexpected error; see the log"})
        finally:
            imports.release(conn, id_)


def _import(engine: Engine, settings: Settings, noting: Connection, id_: int) -> dict[str, Any]:
    """Import the file and return the counts. `noting` is a connection of its own, on which others see how far it is."""
    stored = imports.find(noting, id_)
    assert stored is not None
    noted = 0.0

    def advance(done: int) -> None:
        nonlocal noted
        if time.monotonic() - noted >= _NOTED:
            noted = time.monotonic()
            imports.note_progress(noting, id_, done)

    same = "allow" if settings.shared_addresses == "allow" else stored.options.get("same_address", "merge")
    now = datetime.now(UTC)
    with opened(engine, stored, advance) as file:
        rejects = _Rejects(noting, id_)
        done = contact_import.run(
            engine,
            file,
            stored.segment,
            rejects.add,
            same_address=cast(Literal["merge", "reject", "allow"], same),
            now=now,
            zone=settings.zone,
        )
        rejects.write()
        notes = list(file.notes)
        form = FileForm.of_file(file)
    if done.awaiting:
        # Campaigns of the segment let the contacts in with the next sweep, which somebody else may do.
        ask_sweep(engine, settings.broker_url, "update", Scope(), at=now)
    counts = done.counts
    return {
        "added": counts.added,
        "updated": counts.updated,
        "unchanged": counts.unchanged,
        "merged": counts.merged,
        "rejected": rejects.count,
        "form": form._asdict(),
        "silenced": counts.silenced,
        "kept_by_hand": counts.kept_by_hand,
        "notes": notes,
        "awaiting_update": done.awaiting,
        "joined": done.joined,
    }


class _Rejects:
    """The rows that were rejected, written in parts: in each line its number, the reason and the row."""

    def __init__(self, conn: Connection, id_: int) -> None:
        self.count = 0
        self._conn, self._id = conn, id_
        self._parts = 0
        self._held: list[bytes] = []
        self._size = 0
        imports.drop_parts(conn, id_, "rejected")

    def add(self, row: RejectedRow) -> None:
        line = f"{json.dumps(row)}\n".encode()
        self.count += 1
        self._held.append(line)
        self._size += len(line)
        if self._size >= PART_BYTES:
            self.write()

    def write(self) -> None:
        if self._held:
            imports.add_part(self._conn, self._id, "rejected", self._parts, b"".join(self._held))
            self._parts += 1
            self._held, self._size = [], 0


def rejected(engine: Engine, id_: int) -> Iterator[RejectedRow]:
    """Yield the rows that were rejected."""
    with engine.connect() as conn:
        for part in imports.parts(conn, id_, "rejected"):
            # A line ends in a part, and nothing in it breaks it.
            yield from map(_row, part.splitlines())


def _row(line: bytes) -> RejectedRow:
    # Earlier versions wrote them as a table, which is shown as it is.
    return RejectedRow(*json.loads(line)) if line[:1] == b"[" else RejectedRow(0, "", line.decode(errors="replace"))


def form_of(stored: StoredImport) -> FileForm:
    """Return the form in which an import found its file."""
    return FileForm.of_data((stored.result or {}).get("form", {"kind": "sheet"}))


def choices(names: Sequence[str], targets: Sequence[str], fields: Sequence[str]) -> Mapping[str, Any]:
    """Return the options that a person chose for columns: `auto`, `ignore`, `field`, `dnc:CHANNEL` or an attribute."""
    columns, refusals = {}, []
    for name, target, own in zip(names, targets, fields, strict=False):
        kind, _sign, channel = target.partition(":")
        if kind == "dnc" and channel:
            refusals.append(f"{name}={channel}")
        elif kind == "field":
            columns[name] = own.strip() or name
        elif kind not in ("", "auto"):
            columns[name] = target
    return {"columns": columns, "refusals": refusals}
