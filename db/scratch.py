"""A schema beside the real one, with the same tables and definitions, that is gone when its user is."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, event

from parcours.db import schema
from parcours.db.engine import connect
from parcours.db.partitions import leave_to_default
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
        event.listen(engine, "connect", _keep_plans)
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


def _keep_plans(connection: Any, _: Any) -> None:
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


# Whole databases, for what is thrown away and made often.


def forget_the_disk(server: Engine) -> None:
    """Let a server, of which nothing is kept, not wait for the disk."""
    _administer(server, sql["forget_the_disk"], sql["reload"])


@contextmanager
def template(server: Engine) -> Iterator[str]:
    """Yield the name of a new, migrated database that nobody is connected to; it is dropped at the end.

    The user must be allowed to create databases.
    """
    name = f"parcours_worlds_{secrets.token_hex(6)}"
    _administer(server, filled(sql["create_database"], database=name))
    try:
        engine = connect(_url(server, name))
        try:
            schema.upgrade(engine)
        finally:
            engine.dispose()
        yield name
    finally:
        _administer(server, filled(sql["drop_database"], database=name))


@contextmanager
def clone(server: Engine, template_name: str) -> Iterator[Engine]:
    """Yield an engine on a copy of a template, made in some hundredths of a second, which is dropped at the end."""
    name = f"{template_name}_{secrets.token_hex(4)}"
    _administer(server, filled(sql["clone_database"], database=name, template=template_name))
    try:
        engine = connect(_url(server, name), options="-c synchronous_commit=off")
        event.listen(engine, "connect", _keep_plans)
        try:
            with leave_to_default(engine):
                yield engine
        finally:
            engine.dispose()
    finally:
        _administer(server, filled(sql["drop_database"], database=name))


def _administer(engine: Engine, *statements: TextClause) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in statements:
            connection.execute(statement)


def _url(server: Engine, database: str) -> str:
    return server.url.set(database=database).render_as_string(hide_password=False)
