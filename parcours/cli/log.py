"""`parcours log`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Row

from parcours.cli.explain import because
from parcours.cli.session import ROOMY, session
from parcours.db.tables import campaigns, outcomes
from parcours.domain.errors import CampaignError
from parcours.domain.events.parsing import CLAIMED, claim_of
from parcours.domain.operators import instant
from parcours.domain.time.text import shown
from parcours.services.log_json import filters, log_json, waiting_json

app = typer.Typer()


@app.command("log")
def show(
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Key or id of the campaign.")],
    contact: Annotated[str | None, typer.Option(help="Only this contact.")] = None,
    step: Annotated[str | None, typer.Option(help="Only this step.")] = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="List open waits instead of outcomes.")] = False,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="ISO", help="Only outcomes at or after this time; with --waiting, waits due at or after it."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of lines.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value per line.")] = False,
) -> None:
    """List outcomes, oldest first. With --waiting, list open waits."""
    here = session()
    with here.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
        contact_id, step_id = filters(conn, found, contact, step)
        at = None if since is None else moment("--since", since, here.zone)
        rows: Iterable[Row[Any]]
        if waiting:
            columns: tuple[str, ...] = ("contact", "step", "rotation", "run", "waiting", "due_at", "reason")
            rows = outcomes.waiting(
                conn,
                found.id,
                contact_id=contact_id,
                step_id=step_id,
                after=None if at is None else outcomes.Waiting(at, 0, 0, 0),
                limit=limit,
            )
            as_line, as_sentence = waiting_json, _waiting_sentence
        else:
            columns = ("contact", "step", "rotation", "run", "result", "at", "due_at", "detail")
            rows = outcomes.log(
                conn,
                found.id,
                contact_id=contact_id,
                step_id=step_id,
                after=None if at is None else outcomes.Logged(at, 0, 0, 0, 0),
                limit=limit,
            )
            as_line, as_sentence = log_json, _sentence
        if as_json:
            for row in rows:
                here.print_json(as_line(row))
        elif here.console.width < ROOMY:
            for row in rows:
                here.say(as_sentence(row, as_line(row), here.zone))
        else:
            here.print_table(
                "", columns, ([_cell(row, as_line(row), column, here.zone) for column in columns] for row in rows)
            )


def moment(option: str, text: str, zone: ZoneInfo) -> datetime:
    """Return the instant that an option names; without an offset it is meant in the zone. Raises CampaignError."""
    found = instant(text, zone)
    if found is None:
        raise CampaignError(
            f"{option} {text!r} is not a date or time; write it like 2026-12-24 or 2026-12-24T09:00+01:00"
        )
    return found


def _sentence(row: Row[Any], line: dict[str, Any], zone: ZoneInfo) -> str:
    """Return an outcome as `explain` has it, with its contact."""
    why = because(line["detail"]) or _text(line["detail"], zone)
    return f"{shown(row.at, zone)}  {_place(line)}: {line['result']}{f' ({why})' if why else ''}"


def _waiting_sentence(row: Row[Any], line: dict[str, Any], zone: ZoneInfo) -> str:
    due = "until the event happens" if row.due_at is None else f"until {shown(row.due_at, zone)}"
    why = f"; {line['reason']}" if line["reason"] else ""
    return f"{_place(line)}: waits ({line['waiting']}) {due}{why}"


def _place(line: dict[str, Any]) -> str:
    run = "" if line["run"] is None else f" of run {line['run']}"
    rotation = "" if line["rotation"] == 1 else f", rotation {line['rotation']}"
    return f"{line['contact']}  {line['step']}{run}{rotation}"


_NOT_ARRIVED = {"failed": "not delivered", "queued": "not yet delivered", "sending": "not yet delivered"}


def _cell(row: Row[Any], line: dict[str, Any], column: str, zone: ZoneInfo) -> object:
    """Return a cell; a message that did not arrive, and a time in the future, are told as such."""
    if column in ("at", "due_at"):
        return getattr(row, column)
    if column == "result":
        state = (line["detail"].get("message") or {}).get("state")
        return f"{line['result']}, {_NOT_ARRIVED[state]}" if state in _NOT_ARRIVED else line["result"]
    claimed = claim_of(line["detail"]) if column == "detail" else None
    if claimed is not None:
        return _text({**line["detail"], CLAIMED: f"{claimed} is in the future; the arrival time is used"}, zone)
    return _text(line[column], zone)


def _text(value: object, zone: ZoneInfo) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(each, zone)}" for name, each in value.items())
    at = instant(value, zone) if isinstance(value, str) and "T" in value else None
    return value if at is None else shown(at, zone)
