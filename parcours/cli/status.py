"""`parcours status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from parcours.cli.session import Session, session
from parcours.services import installation_status

app = typer.Typer()


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show backlog, oldest due wait, rate and time to drain; inbox, queues, sweeps, outbox and dead letters."""
    here = session()
    found = installation_status.status(here.engine, here.settings)
    if as_json:
        here.print_json(found)
        return
    whole, rows, inbox, queues = found, found["campaigns"], found["inbox"], found["queues"]
    due, broker_away, away = found["due"], found["broker_error"], found["circuits"]
    aside = {each["campaign"]: each["error"] for each in found["set_aside"]}
    asked, sweeps, outbox_age = found["rules"], found["sweeps"], found["outbox_oldest_due_seconds"]
    waiting_events, dead_letters = inbox["events"], found["dead_letters"]
    age = _age(whole["oldest_due_seconds"])
    here.say(f"{due:,} due{age}; {whole['steps_per_second']:,} steps per second in the last minute")
    columns = ("campaign", "published", "due", "waiting", "oldest_due_seconds", "undelivered")
    lines = [
        {**row, "waiting": _about(row["waiting"], about=row["about"]), "undelivered": row["undelivered"] or None}
        for row in rows
    ]
    here.print_table("", columns, [[line[column] for column in columns] for line in lines])
    here.say(f"{waiting_events:,} events in the inbox{_age(inbox['oldest_seconds'])}; {dead_letters:,} dead letters")
    if broker_away is not None:
        here.warn(f"The queue lengths are unknown: {broker_away}.")
    elif queues is None:
        here.say("No broker is configured; the queues are inside `parcours up`.")
    else:
        here.print_table("", ("queue", "messages"), list(queues.items()))
    _tell_workers(here, found["workers"])
    _alarm(here, aside, asked)
    for sweep in sweeps:
        started = "started" if sweep["started_at"] else "not started"
        here.say(f"{sweep['kind']} {sweep['id']} requested {here.time(sweep['asked_at'])}, {started}")
    if found["outbox_channels"]:
        shown = [
            (each["channel"], each["state"], _about(each["messages"], about=each["about"]))
            for each in found["outbox_channels"]
        ]
        here.print_table("", ("outbox", "state", "messages"), shown)
    if outbox_age is not None:
        here.say(f"The oldest due message is {outbox_age:,} s old.")
    for each in away:
        here.say(_outage(here, each))
    if here.settings.smtp_url is None:
        here.say(f"PARCOURS_SMTP_URL is not set; mail is written to {here.settings.home / 'mail'}.")


def _tell_workers(here: Session, workers: Sequence[Mapping[str, Any]]) -> None:
    alive = sum(each["alive"] for each in workers)
    here.say(f"{alive:,} worker process{'' if alive == 1 else 'es'} running.")
    for each in workers:
        if not each["alive"]:
            here.say(f"Worker {each['worker']} has not reported for {each['seen_seconds']:,} s.")


def _outage(here: Session, circuit: Mapping[str, Any]) -> str:
    provider, until, error = circuit["provider"], circuit["until"], circuit["error"]
    if until is None:
        return f"{provider}: the last attempt failed ({error}); sending continues."
    at = here.time(datetime.fromisoformat(until))
    return f"{provider}: sending is paused; one message is tried at {at}. Last error: {error}"


def _age(seconds: Any) -> str:
    return "" if seconds is None else f", the oldest for {seconds:,} s"


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
