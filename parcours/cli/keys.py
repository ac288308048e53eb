"""`parcours keys`: API keys."""

from __future__ import annotations

from typing import Annotated

import typer

from parcours.cli.session import session
from parcours.db.tables import api_keys
from parcours.db.tables.api_keys import Role
from parcours.domain.errors import CampaignError, NotFoundError

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")

MAX_ID = 2**31 - 1
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Name of the key: who or what uses it.")],
    role: Annotated[
        Role, typer.Option(help="publish: post events; read: read everything; manage: read and change everything.")
    ],
    as_json: Json = False,
) -> None:
    """Create a key and print it. It is shown only once; only its hash is stored."""
    here = session()
    name = name.strip()
    if not name or "\0" in name:
        raise CampaignError("the name of a key cannot be blank; use a name such as --name shop")
    with here.begin() as conn:
        key, kept = api_keys.create(conn, name, role)
    if as_json:
        here.print_json({"id": kept.id, "name": kept.name, "role": kept.role, "key": key})
        return
    # Alone on standard output, so that KEY=$(parcours keys create …) has it.
    here.warn(f"Key {kept.id} ({kept.name!r}, role {kept.role}). It is shown only once:")
    typer.echo(key)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List keys by number. The secret keys are not shown."""
    here = session()
    with here.engine.connect() as conn:
        found = api_keys.listing(conn)
    if as_json:
        here.print_json([each._asdict() for each in found])
        return
    here.print_table(
        "",
        ("id", "name", "role", "created_at", "revoked_at"),
        [(str(each.id), each.name, each.role, each.created_at, each.revoked_at) for each in found],
    )


@app.command()
def revoke(
    number: Annotated[int, typer.Argument(metavar="ID", min=1, max=MAX_ID, help="Number printed by `list`.")],
) -> None:
    """Revoke a key immediately. This cannot be undone."""
    here = session()
    with here.begin() as conn:
        kept = api_keys.revoke(conn, number)
    if kept is None:
        raise NotFoundError("key", str(number), "run `parcours keys list` to see the numbers")
    assert kept.revoked_at is not None
    here.say(f"Revoked key {kept.id} ({kept.name!r}) at {here.time(kept.revoked_at)}.")
