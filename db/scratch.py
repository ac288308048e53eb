"""A schema beside the real one, with the same tables and definitions, that is gone when its user is."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event, text

from parcours.db import schema
from parcours.db.engine import connect

PREFIX = "parcours_scratch_"
# Any number, as long as nobody else locks by it: whoever works in a scratch schema holds it with the schema's number.
SCRATCH_LOCK = 72726879
# Ids of campaigns and steps are also numbers of advisory locks, which schemas of a database share.
FIRST_ID = 1_500_000_000

# What campaigns refer to, copied as it is; of contacts and campaigns nothing is.
DEFINITIONS = ("category", "stage", "point_group", "segment", "form", "email", "template", "policy", "company")


@contextmanager
def scratch(real: Engine) -> Iterator[Engine]:
    """Yield an engine on a new schema in the database of another, which it leaves as it is.

    The schema is dropped at the end. One whose process died without that is dropped by the next that asks.
    """
    number = secrets.randbelow(2**31 - 1)
    name = f"{PREFIX}{number}"
    with real.connect() as holder:
        # For as long as this connection lives.
        holder.execute(text("SELECT pg_advisory_lock(:lock, :number)"), {"lock": SCRATCH_LOCK, "number": number})
        holder.commit()
        _drop_the_abandoned(holder)
        source = holder.execute(text("SELECT current_schema()")).scalar_one()
        holder.execute(text(f"CREATE SCHEMA {name}"))
        holder.commit()
        # What is lost with the server is worth nothing, so nothing waits for the disk.
        engine = connect(
            real.url.render_as_string(hide_password=False),
            options=f"-c search_path={name} -c synchronous_commit=off",
        )
        event.listen(engine, "connect", _keep_plans)
        try:
            schema.upgrade(engine)
            with engine.begin() as conn:
                _copy(conn, str(source))
            yield engine
        finally:
            engine.dispose()
            _drop(holder, name)
            holder.execute(text("SELECT pg_advisory_unlock(:lock, :number)"), {"lock": SCRATCH_LOCK, "number": number})
            holder.commit()


def _keep_plans(connection: Any, _: Any) -> None:
    # Batches are small here, so that planning would be most of a statement's cost.
    connection.prepare_threshold = 3


def _copy(conn: Connection, source: str) -> None:
    for table in DEFINITIONS:
        conn.execute(text(f'INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM "{source}".{table}'))
    for table in ("category", "segment", "form", "email", "company"):
        # Ids were copied, so that the sequence has to go on behind them.
        sequence = f"pg_get_serial_sequence('{table}', 'id')"
        conn.execute(text(f"SELECT setval({sequence}, (SELECT coalesce(max(id), 0) + 1 FROM {table}))"))
    # By the process, so that two simulations do not lock each other out either.
    first = FIRST_ID + os.getpid() % 100_000 * 1_000
    for table in ("campaign", "step"):
        conn.execute(text(f"ALTER TABLE {table} ALTER COLUMN id RESTART WITH {first}"))


def _drop_the_abandoned(holder: Connection) -> None:
    names = holder.execute(
        text("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, :prefix)"), {"prefix": PREFIX}
    ).scalars()
    for name in names.all():
        number = name.removeprefix(PREFIX)
        if not number.isdecimal():
            continue
        lock = {"lock": SCRATCH_LOCK, "number": int(number)}
        if holder.execute(text("SELECT pg_try_advisory_lock(:lock, :number)"), lock).scalar_one():
            _drop(holder, name)
            holder.execute(text("SELECT pg_advisory_unlock(:lock, :number)"), lock)
    holder.commit()


def _drop(holder: Connection, name: str) -> None:
    holder.execute(text(f"DROP SCHEMA IF EXISTS {name} CASCADE"))
    holder.commit()
