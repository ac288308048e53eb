"""How the installation does, for operators: what waits and what fails, from the database and the broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine

from parcours.db.clock import now as database_now
from parcours.db.reads import overview
from parcours.db.tables import campaigns, events, installation, outbox, rebuilds, rules
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.time.text import iso
from parcours.ops.settings import Settings
from parcours.producers.broker import BrokerAwayError, queue_depths

# A worker says every ten seconds that it runs; one that has not for so long has died, or lost the database.
SILENT_AFTER = timedelta(seconds=35)


def status(engine: Engine, settings: Settings) -> dict[str, Any]:
    """Return the state of the installation, as `parcours status --json` prints it."""
    with engine.connect() as conn:
        found = _of_database(conn)
    queues, broker_error = _queues(settings.broker_url)
    return {**found, "queues": queues, "broker_error": broker_error}


def _of_database(conn: Connection) -> dict[str, Any]:
    now = database_now(conn)
    backlog = overview.backlog(conn, now=now)
    per_second = overview.steps_in_last_minute(conn, now=now) / 60
    messages = outbox.counts(conn)
    due_messages = outbox.lanes(conn, now=now, scope=EVERYTHING)
    waiting_events, oldest_event = events.backlog(conn)
    due = sum(each.due for each in backlog if each.published)
    oldest = min((each.oldest_due_at for each in backlog if each.published and each.oldest_due_at), default=None)
    states: Counter[str] = Counter()
    for counted in messages:
        states[counted.state] += counted.messages
    return {
        "at": iso(now),
        "due": due,
        "oldest_due_seconds": _age(oldest, now),
        "steps_per_second": round(per_second, 1),
        "seconds_to_drain": round(due / per_second) if due and per_second else (0 if not due else None),
        "campaigns": [
            {
                "campaign": each.campaign,
                "published": each.published,
                "due": each.due,
                "waiting": each.waiting,
                "about": each.about,
                "oldest_due_seconds": _age(each.oldest_due_at, now),
                "undelivered": each.undelivered,
            }
            for each in backlog
        ],
        "inbox": {"events": waiting_events, "oldest_seconds": _age(oldest_event, now)},
        "outbox": dict(states),
        "outbox_channels": [counted._asdict() for counted in messages],
        "outbox_oldest_due_seconds": _seconds(
            min((lane.due_at for lane in due_messages if not lane.deleted), default=None), now
        ),
        "circuits": [
            {"provider": name, "state": circuit.state, "until": iso(circuit.opened_until), "error": circuit.error}
            for name, circuit in outbox.circuits(conn).items()
        ],
        "dead_letters": events.count_dead_letters(conn),
        "sweeps": overview.open_sweeps(conn),
        "set_aside": [{"campaign": key, "error": why} for key, why in campaigns.set_aside(conn).items()],
        "rules": _rules(conn, now),
        "workers": _workers(conn, now),
    }


def _queues(url: str | None) -> tuple[Mapping[str, int] | None, str | None]:
    """Return how many messages the queues hold, and why nobody knows while the broker is away."""
    if url is None:
        return None, None
    try:
        return queue_depths(url), None
    except BrokerAwayError as error:
        return None, str(error)


def _rules(conn: Connection, now: datetime) -> dict[str, Any]:
    """Return how rules of segments do: those set aside, what is left of asking everybody, the oldest one due."""
    return {
        "set_aside": [{"segment": key, "error": why} for key, why in rules.set_aside(conn).items()],
        "ranges_left": sum(each.chunks for each in rebuilds.left(conn, list(rules.book(conn).rules))),
        "oldest_due_seconds": _seconds(rules.oldest_due(conn, now=now), now),
    }


def _workers(conn: Connection, now: datetime) -> list[dict[str, Any]]:
    """Return the worker processes that run, and those that ended without a word: `alive` is false for these."""
    return [
        {
            "worker": each.name,
            "alive": now - each.at <= SILENT_AFTER,
            "since": iso(each.since),
            "seen_seconds": _seconds(each.at, now),
            "threads": each.threads,
            "queues": list(each.queues),
        }
        for each in installation.workers(conn)
    ]


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round((now - since).total_seconds(), 1)


def _seconds(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round(max(0.0, (now - since).total_seconds()), 1)
