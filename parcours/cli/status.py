"""`parcours status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from parcours.cli.session import Session, session
from parcours.db.clock import now as database_now
from parcours.db.reads import overview
from parcours.db.tables import campaigns, events, outbox, rebuilds, rules
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.time.text import iso
from parcours.producers.broker import BrokerAwayError, queue_depths

app = typer.Typer()


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show backlog, oldest due wait, rate and time to drain; inbox, queues, sweeps, outbox and dead letters."""
    here = session()
    with here.engine.connect() as conn:
        now = database_now(conn)
        backlog = overview.backlog(conn, now=now)
        per_second = overview.steps_in_last_minute(conn, now=now) / 60
        messages = outbox.counts(conn)
        due_messages = outbox.lanes(conn, now=now, scope=EVERYTHING)
        circuits = outbox.circuits(conn)
        waiting_events, oldest_event = events.backlog(conn)
        dead_letters = events.count_dead_letters(conn)
        sweeps = overview.open_sweeps(conn)
        aside = campaigns.set_aside(conn)
        asked = _rules(conn, now)
    queues, broker_away = _queues(here.settings.broker_url)
    due = sum(each.due for each in backlog if each.published)
    oldest = min((each.oldest_due_at for each in backlog if each.published and each.oldest_due_at), default=None)
    rows: list[dict[str, Any]] = [
        {
            "campaign": each.campaign,
            "published": each.published,
            "due": each.due,
            "waiting": each.waiting,
            "about": each.about,
            "oldest_due_seconds": None
            if each.oldest_due_at is None
            else round((now - each.oldest_due_at).total_seconds(), 1),
        }
        for each in backlog
    ]
    whole = {
        "at": iso(now),
        "due": due,
        "oldest_due_seconds": None if oldest is None else round((now - oldest).total_seconds(), 1),
        "steps_per_second": round(per_second, 1),
        "seconds_to_drain": round(due / per_second) if due and per_second else (0 if not due else None),
    }
    inbox = {
        "events": waiting_events,
        "oldest_seconds": None if oldest_event is None else round((now - oldest_event).total_seconds(), 1),
    }
    outbox_age = _seconds(min((lane.due_at for lane in due_messages if not lane.deleted), default=None), now)
    away = [
        {"provider": name, "state": circuit.state, "until": iso(circuit.opened_until), "error": circuit.error}
        for name, circuit in circuits.items()
    ]
    if as_json:
        states: Counter[str] = Counter()
        for counted in messages:
            states[counted.state] += counted.messages
        more = {
            "inbox": inbox,
            "outbox": dict(states),
            "outbox_channels": [counted._asdict() for counted in messages],
            "outbox_oldest_due_seconds": outbox_age,
            "circuits": away,
            "dead_letters": dead_letters,
            "sweeps": sweeps,
            "set_aside": [{"campaign": key, "error": why} for key, why in aside.items()],
            "rules": asked,
        }
        here.print_json({**whole, "campaigns": rows, "queues": queues, "broker_error": broker_away, **more})
        return
    age = _age(whole["oldest_due_seconds"])
    here.say(f"{due:,} due{age}; {whole['steps_per_second']:,} steps per second in the last minute")
    columns = ("campaign", "published", "due", "waiting", "oldest_due_seconds")
    lines = [{**row, "waiting": _about(row["waiting"], about=row["about"])} for row in rows]
    here.print_table("", columns, [[line[column] for column in columns] for line in lines])
    here.say(f"{waiting_events:,} events in the inbox{_age(inbox['oldest_seconds'])}; {dead_letters:,} dead letters")
    if broker_away is not None:
        here.warn(f"The queue lengths are unknown: {broker_away}.")
    elif queues is None:
        here.say("No broker is configured; the queues are inside `parcours up`.")
    else:
        here.print_table("", ("queue", "messages"), list(queues.items()))
    _alarm(here, aside, asked)
    for sweep in sweeps:
        started = "started" if sweep["started_at"] else "not started"
        here.say(f"{sweep['kind']} {sweep['id']} requested {here.time(sweep['asked_at'])}, {started}")
    if messages:
        shown = [(each.channel, each.state, _about(each.messages, about=each.about)) for each in messages]
        here.print_table("", ("outbox", "state", "messages"), shown)
    if outbox_age is not None:
        here.say(f"The oldest due message is {outbox_age:,} s old.")
    for name, circuit in circuits.items():
        here.say(f"{name}: {circuit.state} until {_until(here, circuit.opened_until)}; {circuit.error}")
    if here.settings.smtp_url is None:
        here.say(f"PARCOURS_SMTP_URL is not set; mail is written to {here.settings.home / 'mail'}.")


def _queues(url: str | None) -> tuple[dict[str, int] | None, str | None]:
    """Return how many messages the queues hold, and why nobody knows while the broker is away."""
    if url is None:
        return None, None
    try:
        return queue_depths(url), None
    except BrokerAwayError as error:
        return None, str(error)


def _until(here: Session, at: datetime | None) -> str:
    return "the next failure" if at is None else here.time(at)


def _age(seconds: Any) -> str:
    return "" if seconds is None else f", the oldest for {seconds:,} s"


def _rules(conn: Connection, now: datetime) -> dict[str, Any]:
    """Return how rules of segments do: those set aside, what is left of asking everybody, the oldest one due."""
    since = rules.oldest_due(conn, now=now)
    return {
        "set_aside": [{"segment": key, "error": why} for key, why in rules.set_aside(conn).items()],
        "ranges_left": sum(each.chunks for each in rebuilds.left(conn, list(rules.book(conn).rules))),
        "oldest_due_seconds": _seconds(since, now),
    }


def _seconds(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else round(max(0.0, (now - since).total_seconds()), 1)


def _alarm(here: Session, aside: Mapping[str, str], asked: Mapping[str, Any]) -> None:
    for key, why in aside.items():
        here.say(f"Alarm: campaign {key} is stopped: {why}.")
    for each in asked["set_aside"]:
        here.say(
            f"Alarm: the rule of segment {each['segment']} fails: {each['error']}. "
            "Membership does not change where it fails."
        )
    if asked["ranges_left"]:
        here.say(f"Segment rules are being evaluated; {asked['ranges_left']:,} contact ranges left.")


def _about(n: int, *, about: bool) -> str:
    return f"≈ {n:,}" if about else f"{n:,}"
