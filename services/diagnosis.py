"""What `parcours doctor` looks at: every connection, the machine, and the database's health.

A look never raises for what it finds wrong: it says so, and how to mend it.
"""

from __future__ import annotations

import os
import smtplib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from kombu.exceptions import OperationalError as KombuError
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from parcours.db import embedded, schema
from parcours.db.checks import health
from parcours.db.checks.health import partition_makers, stuck_sweeps, unvacuumed
from parcours.db.engine import connect
from parcours.db.tables import campaigns, events, outbox
from parcours.domain.errors import CampaignError
from parcours.ops.settings import Settings
from parcours.producers import event_queue
from parcours.producers.broker import check_broker
from parcours.workers.delivery import registry, smtp_connection

State = Literal["ok", "warning", "wrong"]

POSTGRESQL, REDIS, RABBITMQ = 15, 6, 3
# The clocks of two machines may differ so much before due times look odd.
CLOCK_SECONDS = 2.0
SMTP_SECONDS = 5.0
# Transactions that tell a pooler from a server.
POOLER_LOOKS = 5
NEWER_POOLER = (
    "use PgBouncer 1.20 or newer without `options` in ignore_startup_parameters, or connect to PostgreSQL directly"
)


class Finding(NamedTuple):
    """One line of the doctor's: what was looked at, how it is, and what to do about it."""

    about: str
    state: State
    says: str
    mend: str | None = None


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, and yield what is found, connections first."""
    yield _home(settings.home)
    yield from _database(settings)
    answer = _broker("broker", settings.broker_url, "PARCOURS_BROKER_URL")
    yield answer
    if settings.events_url is not None:
        answer = _broker("events queue", settings.events_url, "PARCOURS_EVENTS_URL")
        yield answer
    if settings.events_broker_url is not None and answer.state != "wrong":
        yield _events(settings.events_broker_url)
    yield from _providers(settings)
    if registry.chosen(settings, "email") in ("smtp", "files"):
        yield from _smtp(settings)


def _home(home: Path) -> Finding:
    place = home
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        why = error.strerror or str(error)
        return Finding(
            "home", "wrong", f"{home} is not writable: {why}", "give this user write permission, or set PARCOURS_HOME"
        )
    return Finding("home", "ok", f"{home} is writable")


def _database(settings: Settings) -> Iterator[Finding]:
    engine = None
    try:
        engine = connect(settings.database_url or embedded.start(settings.home))
        with engine.connect() as conn:
            yield _postgresql(conn)
            yield _clock(conn)
        with engine.connect() as one, engine.connect() as other:
            yield _sessions(one, other)
        migrations = _migrations(engine)
        yield migrations
        if migrations.state == "ok":
            with engine.connect() as conn:
                yield from _tables(conn)
    except (SQLAlchemyError, CampaignError) as error:
        first = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        refused = "unsupported startup parameter" in first
        yield Finding(
            "database", "wrong", first, NEWER_POOLER if refused else "start PostgreSQL, or check PARCOURS_DATABASE_URL"
        )
    finally:
        if engine is not None:
            engine.dispose()


def _postgresql(conn: Connection) -> Finding:
    major = health.version(conn)
    if major < POSTGRESQL:
        return Finding("database", "wrong", f"the server is PostgreSQL {major}", f"upgrade it to {POSTGRESQL} or newer")
    return Finding("database", "ok", f"PostgreSQL {major} responds")


def _sessions(one: Connection, other: Connection) -> Finding:
    """Tell a server from a pooler that gives each transaction any session it has.

    Two connections that are open at once are never of one process of the server, and one keeps its own.
    """
    seen: tuple[set[int], set[int]] = (set(), set())
    for _ in range(POOLER_LOOKS):
        # Not in turns: a pooler that goes round two sessions would give each of us the same one every time.
        for conn, pids in ((one, seen[0]), (one, seen[0]), (other, seen[1])):
            pids.add(health.session_of(conn))
            conn.rollback()
    if max(map(len, seen)) > 1 or seen[0] & seen[1]:
        return Finding(
            "sessions",
            "wrong",
            "the connection goes through a pooler in transaction mode, such as PgBouncer, which loses session locks",
            "set PARCOURS_DATABASE_URL to the server, or set pool_mode = session in the pooler",
        )
    if not health.keeps_options(one):
        lost = "the connection goes through a pooler that drops the options of sessions, such as the timezone"
        return Finding("sessions", "wrong", lost, NEWER_POOLER)
    return Finding("sessions", "ok", "each connection has its own session")


def _clock(conn: Connection) -> Finding:
    before = datetime.now(UTC)
    theirs = health.clock(conn)
    after = datetime.now(UTC)
    # Between the two the answer was given; outside them by how much the clocks differ at least.
    apart = max((before - theirs).total_seconds(), (theirs - after).total_seconds(), 0.0)
    if apart > CLOCK_SECONDS:
        return Finding(
            "clock",
            "warning",
            f"the clocks of this machine and the database differ by {apart:,.1f} s; due times use the database's clock",
            "synchronize both clocks with NTP",
        )
    return Finding("clock", "ok", "matches the database's clock")


def _migrations(engine: Engine) -> Finding:
    unfit = schema.unfit(engine)
    if unfit is not None:
        says, _, mend = unfit.removeprefix("the database has ").removeprefix("the database is at ").partition("; ")
        return Finding("migrations", "wrong", says, mend)
    return Finding("migrations", "ok", f"revision {schema.current(engine)}")


def _tables(conn: Connection) -> Iterator[Finding]:
    missing, may_make = partition_makers(conn)
    if not missing:
        yield Finding("partitions", "ok", "current partitions exist")
    elif may_make:
        yield Finding("partitions", "ok", f"{', '.join(missing)} will be created when needed")
    else:
        mend = "make the user of PARCOURS_DATABASE_URL the owner of the tables, with CREATE permission on their schema"
        yield Finding(
            "partitions", "wrong", f"{', '.join(missing)} is missing and this user has no permission to create it", mend
        )
    slack = unvacuumed(conn)
    if slack:
        said = ", ".join(f"{name} ({dead:,} dead rows)" for name, dead in slack)
        tables = ", ".join(name for name, _ in slack)
        mend = f"run VACUUM ANALYZE {tables}; check that autovacuum is on and that no old snapshots are held"
        yield Finding("vacuum", "warning", said, mend)
    else:
        yield Finding("vacuum", "ok", "few dead rows")
    yield _campaigns(conn)
    letters = events.count_dead_letters(conn)
    if letters:
        mend = "see the reasons with `parcours dead-letters list`, then replay or discard them"
        yield Finding("dead letters", "warning", f"there are {letters:,}", mend)
    else:
        yield Finding("dead letters", "ok", "none")
    away = {name: each.error for name, each in outbox.circuits(conn).items() if each.state != "closed"}
    if away:
        said = "; ".join(f"{name}: {error}" for name, error in sorted(away.items()))
        mend = "fix the provider or its settings; waiting messages are then sent automatically"
        yield Finding("delivery", "warning", f"messages wait; unavailable: {said}", mend)
    else:
        yield Finding("delivery", "ok", "all providers are available")
    stuck = stuck_sweeps(conn)
    if stuck:
        mend = (
            "check that `parcours tick` and a `parcours worker` for the queues sweeps, membership and "
            "executor are running"
        )
        yield Finding("sweeps", "wrong", f"unfinished and not in progress: {', '.join(map(str, stuck))}", mend)
    else:
        yield Finding("sweeps", "ok", "none is stuck")


def _campaigns(conn: Connection) -> Finding:
    """Look for campaigns that this process cannot read, of which those that are published stand still."""
    rows = campaigns.listing(conn)
    why = campaigns.unreadable(conn, rows)
    if not why:
        return Finding("campaigns", "ok", "all can be read")
    said = "; ".join(f"{row.key} ({why[row.id].why})" for row in rows if row.id in why)
    stopped = any(row.published for row in rows if row.id in why)
    mend = (
        "install the missing packages and restart Parcours, or print the file with `parcours campaigns export "
        "CAMPAIGN`, correct it and apply it; until then, contacts keep their places"
    )
    return Finding("campaigns", "wrong" if stopped else "warning", f"cannot be read: {said}", mend)


def _broker(about: str, url: str | None, setting: str) -> Finding:
    if url is None:
        return Finding(about, "ok", "not configured; the queues are inside `parcours up`")
    mend = f"start it, or check {setting}"
    try:
        if about == "broker":
            check_broker(url)
        if url.startswith(("redis", "unix")):
            with Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5) as client:
                name, oldest, version = "Redis", REDIS, str(client.info("server")["redis_version"])
        elif url.startswith("amqp"):
            with event_queue.connection(url) as conn:
                conn.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=5)
                name, oldest, version = "RabbitMQ", RABBITMQ, str(conn.connection.server_properties["version"])
        else:
            with event_queue.connection(url) as conn:
                conn.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=5)
            return Finding(about, "ok", "answers")
    except CampaignError as error:
        return Finding(about, "wrong", str(error).split(";")[0], mend)
    except (RedisError, OSError, KombuError, *event_queue.connection(url).recoverable_connection_errors) as error:
        return Finding(about, "wrong", f"does not respond ({type(error).__name__})", mend)
    if int(version.split(".")[0]) < oldest:
        return Finding(
            about,
            "warning",
            f"{name} {version} is older than the supported versions",
            f"upgrade it to {oldest} or newer",
        )
    return Finding(about, "ok", f"{name} {version} responds")


def _events(url: str) -> Finding:
    """The queue itself, which connecting says nothing about."""
    try:
        waiting, taking = event_queue.depth(url), event_queue.consumers(url)
    except Exception as error:
        mend = "check that the user in the URL can declare and read `parcours.events`"
        return Finding("contact events", "wrong", f"the queue cannot be used ({type(error).__name__})", mend)
    if waiting and not taking:
        mend = "start `parcours consume` or `parcours up`; if it is running, check its log"
        return Finding(
            "contact events", "warning", f"{waiting:,} messages are in the queue and no process reads them", mend
        )
    return Finding("contact events", "ok", f"{waiting:,} messages in the queue")


def _providers(settings: Settings) -> Iterator[Finding]:
    """Every channel's provider, as far as it can be told without sending; mail servers are looked at after this."""
    for channel in registry.CHANNELS:
        name = registry.chosen(settings, channel)
        if channel == "email" and name in ("smtp", "files"):
            continue
        about = f"{channel} provider"
        try:
            registry.make(settings, channel, signing="").close()
        except registry.UnusableProviderError as error:
            says, _, mend = str(error).partition("; ")
            yield Finding(about, "wrong", f"{says}; {channel} messages wait", mend or "correct the setting")
        except Exception as error:
            yield Finding(about, "warning", f"{name} cannot be closed ({type(error).__name__})", "fix its package")
        else:
            yield Finding(about, "ok", name)
    if unused := registry.unclaimed(settings):
        mend = "remove them, or select their provider with a setting such as PARCOURS_SMS_PROVIDER=NAME"
        yield Finding("provider settings", "warning", f"not used by any selected provider: {', '.join(unused)}", mend)


def _smtp(settings: Settings) -> Iterator[Finding]:
    if settings.smtp_url is None:
        yield Finding("mail", "ok", f"SMTP is not configured; mail is written to {settings.home / 'mail'}")
        return
    try:
        server = smtp_connection.parse(settings.smtp_url)
    except CampaignError as error:
        says, _, mend = str(error).partition("; ")
        yield Finding("mail", "wrong", says, mend or smtp_connection.MEND)
        return
    mend = "check PARCOURS_SMTP_URL: smtp://user:password@host:587, or smtps://…:465"
    try:
        conn = smtp_connection.connect(replace(server, timeout=min(server.timeout, SMTP_SECONDS)))
        conn.close()
    except (smtplib.SMTPResponseException, smtplib.SMTPNotSupportedError) as error:
        yield Finding(
            "mail", "wrong", f"{server.host} refuses the connection ({' '.join(map(str, error.args))[:200]})", mend
        )
    except (OSError, smtplib.SMTPException) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else type(error).__name__
        yield Finding("mail", "wrong", f"{server.host} does not respond ({why})", mend)
    else:
        signed_in = "and accepts the sign-in" if server.user else ""
        yield Finding("mail", "ok", f"{server.host} responds{signed_in}")
    if settings.mail_from is None:
        says = "PARCOURS_MAIL_FROM is not set; emails without `from` use a default address"
        yield Finding("sender", "warning", says, "set it to your address")
