"""`parcours events`: publish contact events."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import uuid4

import typer

from parcours.cli.dead_letters import tell_dead
from parcours.cli.instants import Now, given, instant
from parcours.cli.outbox import send_out
from parcours.cli.session import Session, session
from parcours.db.clock import now as database_now
from parcours.db.scope import Scope
from parcours.db.tables import contacts
from parcours.domain import gate
from parcours.domain.errors import CampaignError
from parcours.domain.events.parsing import ContactEvent, EventError, parse
from parcours.domain.time.text import iso
from parcours.producers import event_queue
from parcours.workers import events, intake
from parcours.workers.delivery.channels import Delivery, delivery_of

app = typer.Typer(no_args_is_help=True, help="Publish contact events.")

# Events of one message, or of one transaction with --inline.
BATCH = 100


@app.callback()
def group() -> None:
    """Publish contact events."""


@app.command()
def publish(
    file: Annotated[
        Path | None, typer.Argument(help="File of CloudEvents (NDJSON, or one JSON value); - reads standard input.")
    ] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Event type, to publish a single event.")] = None,
    contact: Annotated[str | None, typer.Option(help="Key of the contact.")] = None,
    data: Annotated[str, typer.Option(help="Event data, a JSON object.")] = "{}",
    source: Annotated[str, typer.Option(help="Event source.")] = "parcours",
    id_: Annotated[str | None, typer.Option("--id", help="Event id (default: a new one).")] = None,
    time: Annotated[str | None, typer.Option(help="When it happened, ISO 8601 (default: now).")] = None,
    inline: Annotated[
        bool, typer.Option("--inline", help="Process events in this process, with all effects; no broker needed.")
    ] = False,
    now: Now = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print counts as JSON.")] = False,
) -> None:
    """Publish events from a file, or one event given by options.

    All events are validated first. Invalid events are listed with their line and the reason, and the exit code is 1.
    Valid events are published, or with --inline processed.
    """
    here = session()
    if (file is None) == (type_ is None):
        raise typer.BadParameter("give a FILE, or --type and --contact")
    as_of = given(now)
    if as_of is not None and not inline:
        raise typer.BadParameter("--now needs --inline: others process published events by their own clock")
    if type_ is not None:
        if contact is None:
            raise typer.BadParameter("--type needs --contact")
        values = [(0, _one(type_, contact, data, source, id_, time))]
    else:
        assert file is not None
        values = list(_read(file))
    with here.engine.connect() as conn:
        at = instant(conn, now)
    parsed: list[tuple[int, ContactEvent]] = []
    wrong: list[_Rejected] = []
    for index, (line, value) in enumerate(values):
        place = f"{file}:{line}: " if line else ""
        value.setdefault("time", iso(at)) if isinstance(value, dict) else None
        try:
            if isinstance(value, EventError):
                raise value
            parsed.append((index, parse(value, now=at)))
        except EventError as error:
            wrong.append(_Rejected(index, place, str(error)))
    if inline:
        _take_in(parsed, wrong, [f"{file}:{line}: " if line else "" for line, _ in values], as_of, as_json=as_json)
        return
    url = here.settings.events_broker_url
    if url is None:
        raise CampaignError(
            "no events queue is configured; set PARCOURS_EVENTS_URL or PARCOURS_BROKER_URL, or use --inline"
        )
    good = [values[index][1] for index, _ in parsed]
    with event_queue.publisher(url) as send:
        for first in range(0, len(good), BATCH):
            send(good[first : first + BATCH])
    _tell({"published": len(good)}, f"{len(good):,} published", wrong, as_json=as_json)


class _Rejected(NamedTuple):
    """An event that was not taken in; `place` is where it stands in a file, if it comes from one."""

    nth: int
    place: str
    error: str


def _take_in(
    parsed: list[tuple[int, ContactEvent]],
    wrong: list[_Rejected],
    places: list[str],
    as_of: datetime | None,
    *,
    as_json: bool,
) -> None:
    """Take in events, each with its place among all that were given; raises typer.Exit when one was rejected."""
    here = session()
    delivery = delivery_of(here.engine, here.settings)
    accepted = duplicates = dead = 0
    for first in range(0, len(parsed), BATCH):
        indexes, batch = zip(*parsed[first : first + BATCH], strict=True)
        done = intake.take_in(here.engine, batch, unknown_contacts=here.settings.unknown_contacts, now=as_of)
        accepted, duplicates = accepted + done.accepted, duplicates + done.duplicates
        wrong += [_Rejected(indexes[nth], places[indexes[nth]], reason) for nth, reason in done.rejected]
        keys = [event.contact for event in batch]
        did = events.act_on_all(here.engine, keys, zone=here.zone, stop=here.settings.stop_rule, now=as_of)
        dead += did["dead letters"]
        _send_out(here, delivery, keys, as_of, quiet=as_json)
    tell_dead(here, dead)
    counts = f"{accepted:,} accepted, {duplicates:,} duplicates"
    _tell({"accepted": accepted, "duplicates": duplicates}, counts, wrong, as_json=as_json)


def _tell(counts: dict[str, int], done: str, wrong: list[_Rejected], *, as_json: bool) -> None:
    """Say what was done and what was rejected; raises typer.Exit when something was."""
    here = session()
    rejected = sorted(wrong)
    if as_json:
        told = [{"index": each.nth, "error": each.error} for each in rejected]
        here.print_json({**counts, "rejected": told})
    else:
        here.say(f"{done}, {len(rejected):,} rejected.")
        for each in rejected:
            here.warn(f"{each.place or f'event {each.nth + 1}: '}{each.error}")
    if rejected:
        raise typer.Exit(1)


def _send_out(here: Session, delivery: Delivery, keys: list[str], as_of: datetime | None, *, quiet: bool) -> None:
    with here.engine.connect() as conn:
        now = as_of or database_now(conn)
        ids = contacts.named(conn, keys)
    if ids:
        send_out(here, delivery, Scope(contact_ids=tuple(sorted(ids.values()))), now=now, quiet=quiet)


def _one(type_: str, contact: str, data: str, source: str, id_: str | None, time: str | None) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"--data is not JSON: {gate.why_not_json(error)}") from None
    event = {"specversion": "1.0", "id": id_ or str(uuid4()), "source": source, "type": type_, "subject": contact}
    return {**event, **({"time": time} if time else {}), "data": value}


def _read(file: Path) -> Iterator[tuple[int, Any]]:
    """Yield each event with its line, or an EventError for a line that cannot be read."""
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CampaignError(f"{file} is not UTF-8; save it as UTF-8") from None
    if not text.strip():
        raise CampaignError(f"{file} is empty")
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        # Other ends of lines, such as U+2028, may stand within a text.
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield number, _read_line(line)
        return
    for value in whole if isinstance(whole, list) else [whole]:
        yield 1, value


def _read_line(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return EventError(
            f"this line is not valid JSON ({gate.why_not_json(error)}); write one event per line, as a JSON object"
        )
