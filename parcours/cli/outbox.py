"""`parcours outbox`: messages that were given up; and what commands do that send messages themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from parcours.cli.session import Session, session
from parcours.db.clock import now as database_now
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, outbox
from parcours.domain.errors import NotFoundError
from parcours.domain.time.text import iso
from parcours.workers.delivery.channels import Delivery
from parcours.workers.delivery.deliver import deliver_inline
from parcours.workers.delivery.registry import CHANNELS

app = typer.Typer(no_args_is_help=True, help="List and retry messages that could not be delivered.")

Keys = Annotated[list[str] | None, typer.Argument(metavar="[KEY…]", help="Keys printed by `failed`.")]
All = Annotated[bool, typer.Option("--all", help="Select all.")]


@app.command()
def failed(
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of lines.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List messages that could not be delivered, newest first, with reasons."""
    here = session()
    with here.engine.connect() as conn:
        found = outbox.failed(conn, limit=limit)
    if as_json:
        here.print_json([{**each._asdict(), "at": iso(each.at)} for each in found])
    else:
        columns = ("key", "at", "campaign", "step", "contact", "channel", "attempts", "error")
        here.print_table("", columns, [[getattr(each, column) for column in columns] for each in found])


@app.command()
def retry(keys: Keys = None, all_: All = False) -> None:
    """Return messages to the outbox with a full set of attempts."""
    here = session()
    if bool(keys) == all_:
        raise typer.BadParameter("give keys printed by `parcours outbox failed`, or --all")
    with here.begin() as conn:
        if keys:
            known = {each.key for each in outbox.failed(conn, keys=keys, limit=len(keys))}
            for key in keys:
                if key not in known:
                    raise NotFoundError("failed message", key, "run `parcours outbox failed` to see the keys")
        put_back = outbox.retry(conn, None if all_ else keys, now=database_now(conn))
    here.say(f"{put_back:,} messages returned to the outbox. A delivery worker will send them.")


def send_out(here: Session, delivery: Delivery, scope: Scope, *, now: datetime, quiet: bool) -> None:
    """Send what is due within a scope, and say how that went: of providers that are away, only what concerns it."""
    with here.engine.connect() as conn:
        before = outbox.circuits(conn)
        campaigns.read_by_index(conn)
        channels = {lane.channel for lane in outbox.lanes(conn, now=now, scope=scope)}
    ends = deliver_inline(here.engine, delivery, scope, now=now, zone=here.zone)
    delivery.close()
    if ends and not quiet:
        here.say(f"Messages: {', '.join(f'{n:,} {end}' for end, n in sorted(ends.items(), reverse=True))}.")
    if ends["failed"]:
        here.warn("Run `parcours outbox failed` to see why messages failed.")
    for channel in sorted(channels & delivery.stopped.keys()):
        here.warn(f"{channel} messages stay in the outbox: {delivery.stopped[channel]}")
    with here.engine.connect() as conn:
        for provider, circuit in outbox.circuits(conn).items():
            # A channel has its own circuit, and webhooks have one for each host.
            stays = provider in channels or (not ends and "webhook" in channels and provider not in CHANNELS)
            if stays or circuit != before.get(provider):
                here.warn(f"{provider} is unavailable; messages stay in the outbox: {circuit.error}")
