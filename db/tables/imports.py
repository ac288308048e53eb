"""Files of contacts that were uploaded, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)

State = Literal["uploaded", "running", "done", "failed"]
Part = Literal["file", "rejected"]


class StoredImport(NamedTuple):
    """An import as it stands; `result` has its counts, or `error`."""

    id: int
    name: str
    size: int
    who: str
    created_at: datetime
    options: dict[str, Any]
    segment: str | None
    state: State
    read_bytes: int
    finished_at: datetime | None
    result: dict[str, Any] | None


def create(conn: Connection, name: str, *, who: str, segment: str | None) -> int:
    """Make an import and return its number."""
    return int(conn.execute(sql["create"], {"name": name, "who": who, "segment": segment}).scalar_one())


def add_part(conn: Connection, id_: int, kind: Part, number: int, data: bytes) -> None:
    conn.execute(sql["add_part"], {"id": id_, "kind": kind, "number": number, "data": data})


def drop_parts(conn: Connection, id_: int, kind: Part) -> None:
    conn.execute(sql["drop_parts"], {"id": id_, "kind": kind})


def parts(conn: Connection, id_: int, kind: Part) -> Iterator[bytes]:
    """Yield the parts of a file in their order, one statement each."""
    number = 0
    while (data := conn.execute(sql["part"], {"id": id_, "kind": kind, "number": number}).scalar()) is not None:
        yield bytes(data)
        number += 1


def set_size(conn: Connection, id_: int, size: int) -> None:
    conn.execute(sql["set_size"], {"id": id_, "size": size})


def find(conn: Connection, id_: int) -> StoredImport | None:
    """Return an import, or None."""
    row = conn.execute(sql["found"], {"id": id_, "limit": 1}).one_or_none()
    return None if row is None else StoredImport(*row)


def latest(conn: Connection, limit: int) -> list[StoredImport]:
    """Return the latest imports, newest first."""
    return [StoredImport(*row) for row in conn.execute(sql["found"], {"id": None, "limit": limit})]


def choose(conn: Connection, id_: int, options: Mapping[str, Any], segment: str | None) -> None:
    """Keep how a file is to be read, unless its import has begun."""
    conn.execute(sql["choose"], {"id": id_, "options": json.dumps(options), "segment": segment})


def start(conn: Connection, id_: int) -> bool:
    """Say that an import begins, of whoever holds it; False when it is done."""
    return conn.execute(sql["start"], {"id": id_}).one_or_none() is not None


def note_progress(conn: Connection, id_: int, read_bytes: int) -> None:
    conn.execute(sql["note_progress"], {"id": id_, "read_bytes": read_bytes})


def finish(conn: Connection, id_: int, state: State, result: Mapping[str, Any]) -> None:
    """Say what became of an import. The file of one that is done is no longer needed."""
    conn.execute(sql["finish"], {"id": id_, "state": state, "result": json.dumps(result)})
    if state == "done":
        drop_parts(conn, id_, "file")


def delete(conn: Connection, id_: int) -> None:
    """Forget an import and its file, unless it is under way."""
    conn.execute(sql["delete"], {"id": id_})


def forget_old(conn: Connection) -> None:
    """Delete imports of a week ago, with their files."""
    conn.execute(sql["forget_old"])


def hold(conn: Connection, id_: int) -> bool:
    """Take the lock of whoever does an import; False when somebody has it. It goes with the connection."""
    return bool(conn.execute(sql["hold"], {"id": id_}).scalar_one())


def release(conn: Connection, id_: int) -> None:
    conn.execute(sql["release"], {"id": id_})


def is_held(conn: Connection, id_: int) -> bool:
    """Return whether somebody is at work on an import."""
    return bool(conn.execute(sql["is_held"], {"id": id_}).scalar_one())
