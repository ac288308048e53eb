"""A schema beside the real one, with the same tables and definitions, that is gone when its user is."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

from parcours.db import schema
from parcours.db.engine import connect
from parcours.db.statements import filled, statements

sql = statements(__file__)

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
        holder.execute(sql["lock"], {"lock": SCRATCH_LOCK, "number": number})
        holder.commit()
        _drop_the_abandoned(holder)
        source = holder.execute(sql["current"]).scalar_one()
        holder.execute(filled(sql["create"], schema=name))
        holder.commit()
        # What is lost with the server is worth nothing, so nothing waits for the disk.
        engine = connect(
            real.url.render_as_string(hide_password=False),
            options=f"-c search_path={name} -c synchronous_commit=off",
        )
        event.listen(engine, "connect", keep_plans)
        try:
            schema.upgrade(engine)
            with engine.begin() as conn:
                _copy(conn, str(source))
            yield engine
        finally:
            engine.dispose()
            _drop(holder, name)
            holder.execute(sql["unlock"], {"lock": SCRATCH_LOCK, "number": number})
            holder.commit()


def keep_plans(connection: Any, _: Any) -> None:
    """Prepare statements early, as a listener for new connections."""
    # Batches are small here, so that planning would be most of a statement's cost.
    connection.prepare_threshold = 3


def _copy(conn: Connection, source: str) -> None:
    for table in DEFINITIONS:
        conn.execute(filled(sql["copy"], table=table, source=source))
    conn.execute(sql["forget_rules"])
    for table in ("category", "segment", "form", "email", "company"):
        # Ids were copied, so that the sequence has to go on behind them.
        conn.execute(filled(sql["go_on_behind"], table=table), {"table": table})
    # By the process, so that two simulations do not lock each other out either.
    first = FIRST_ID + os.getpid() % 100_000 * 1_000
    for table in ("campaign", "step"):
        conn.execute(sql["begin_at"], {"table": table, "first": first})


def _drop_the_abandoned(holder: Connection) -> None:
    for name in holder.execute(sql["present"], {"prefix": PREFIX}).scalars().all():
        number = name.removeprefix(PREFIX)
        if not number.isdecimal():
            continue
        lock = {"lock": SCRATCH_LOCK, "number": int(number)}
        if holder.execute(sql["try_to_lock"], lock).scalar_one():
            _drop(holder, name)
            holder.execute(sql["unlock"], lock)
    holder.commit()


def _drop(holder: Connection, name: str) -> None:
    holder.execute(filled(sql["drop"], schema=name))
    holder.commit()
