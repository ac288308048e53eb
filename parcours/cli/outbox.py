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

app = typer.Typer(no_args_is_help=True, help="Messages that were given up: list them, try them again.")

Keys = Annotated[list[str] | None, typer.Argument(metavar="[KEY…]", help="Keys from `failed`.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


@app.command()
def failed(
    limit: Annotated[int, typer.Option(min=1, help="List so many at most.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the messages that were given up, the latest first, each with the reason."""
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
    """Put them back into the outbox, with all their attempts before them."""
    here = session()
    if bool(keys) == all_:
        raise typer.BadParameter("give the keys from `parcours outbox failed`, or --all")
    with here.engine.begin() as conn:
        if keys:
            known = {each.key for each in outbox.failed(conn, keys=keys, limit=len(keys))}
            for key in keys:
                if key not in known:
                    raise NotFoundError("failed message", key, "`parcours outbox failed` lists them")
        put_back = outbox.retry(conn, None if all_ else keys, now=database_now(conn))
    here.say(f"{put_back:,} put back; they leave as soon as a worker for the delivery queue gets to them.")


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
        here.warn("`parcours outbox failed` says why messages were given up.")
    for channel in sorted(channels & delivery.stopped.keys()):
        here.warn(f"{channel} messages stay in the outbox: {delivery.stopped[channel]}")
    with here.engine.connect() as conn:
        for provider, circuit in outbox.circuits(conn).items():
            # A channel has its own circuit, and webhooks have one for each host.
            stays = provider in channels or (not ends and "webhook" in channels and provider not in CHANNELS)
            if stays or circuit != before.get(provider):
                here.warn(f"{provider} is away, so messages stay in the outbox: {circuit.error}")
