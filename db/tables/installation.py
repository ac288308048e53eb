"""What all processes of an installation share and nobody has to set."""

from __future__ import annotations

import json
import secrets
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine

from parcours.db.statements import statements

sql = statements(__file__)

# A worker that ended without a word is remembered so long.
FORGOTTEN_AFTER = timedelta(hours=1)
_WORKER = "worker "


class WorkerSeen(NamedTuple):
    """A worker process: its name (host and process id), since when it runs, when it last said so, what it works on."""

    name: str
    since: datetime
    at: datetime
    threads: int
    queues: tuple[str, ...]


def secret_key(engine: Engine) -> str:
    """Return the secret that signs links and sessions, made the first time that somebody asks.

    It stands in the database, so that every machine has the same one.
    """
    with engine.begin() as conn:
        conn.execute(sql["make_secret_key"], {"made": secrets.token_urlsafe(32)})
        return str(conn.execute(sql["secret_key"]).scalar_one())


def rename(conn: Connection) -> str:
    """Give a copy of an installation a name of its own, which is returned; what still waits to leave has it too.

    Otherwise the copy's messages would bear the keys of the original's.
    """
    name = secrets.token_hex(4)
    before = conn.execute(sql["name"]).scalar_one()
    conn.execute(sql["rename"], {"name": name})
    conn.execute(sql["rename_messages"], {"before": f"-{before}", "length": len(before) + 1, "name": name})
    return name


def erasure_key(conn: Connection) -> str:
    """Return the secret with which the keys of erased contacts are hashed; every installation has its own."""
    return str(conn.execute(sql["erasure_key"]).scalar_one())


def beat(conn: Connection, seen: WorkerSeen) -> None:
    """Note that a worker runs; forget those that have been silent for long."""
    said = {"since": seen.since.isoformat(), "at": seen.at.isoformat(), "threads": seen.threads, "queues": seen.queues}
    conn.execute(sql["beat"], {"name": f"{_WORKER}{seen.name}", "value": json.dumps(said)})
    conn.execute(sql["forget_silent"], {"before": seen.at - FORGOTTEN_AFTER})


def forget_worker(conn: Connection, name: str) -> None:
    """Forget a worker, which has ended."""
    conn.execute(sql["forget_worker"], {"name": f"{_WORKER}{name}"})


def workers(conn: Connection) -> list[WorkerSeen]:
    """Return the workers that run, and those that ended without a word within the last hour, by name."""
    found = []
    for row in conn.execute(sql["workers"]):
        said = json.loads(row.value)
        since, at = (datetime.fromisoformat(said[name]) for name in ("since", "at"))
        found.append(WorkerSeen(row.name.removeprefix(_WORKER), since, at, said["threads"], tuple(said["queues"])))
    return found
