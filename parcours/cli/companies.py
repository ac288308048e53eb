"""`parcours companies`."""

from __future__ import annotations

from typing import Annotated

import typer
from sqlalchemy import Connection

from parcours.cli.session import session
from parcours.db.reads import batch
from parcours.db.tables import companies, contacts
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.keys import checked_key, field_value

app = typer.Typer(no_args_is_help=True, help="Create and list companies; add and remove contacts.")

Key = Annotated[str, typer.Argument(help="Key of the company.")]
Contacts = Annotated[list[str], typer.Argument(metavar="CONTACT…", help="Keys of contacts.")]

SHOWN = 100


@app.command()
def create(
    key: Key,
    name: Annotated[str | None, typer.Option(help="Display name (default: the key).")] = None,
    field: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Field as NAME=VALUE; repeatable.")
    ] = None,
) -> None:
    """Create a company, or update the given values of an existing one."""
    here = session()
    key = checked_key("company", key)
    if name is not None:
        name = checked_key("company", name)
    fields = dict(field_value(each) for each in field or ())
    for taken in sorted(fields.keys() & {"key", "name", "points"}):
        raise CampaignError(f"--field cannot set the built-in attribute {taken}; use another name")
    with here.begin() as conn:
        stored = companies.save(conn, key, name=name, fields=fields)
    here.say(
        {
            "created": f"Company {key} is created.",
            "updated": f"Company {key} existed and is updated.",
            "unchanged": f"Company {key} existed already; nothing changed.",
        }[stored]
    )


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List companies with their number of contacts."""
    here = session()
    with here.engine.connect() as conn:
        found = companies.listed(conn)
    if as_json:
        here.print_json([each._asdict() for each in found])
    else:
        here.print_table("Companies", ["key", "name", "points", "contacts"], found)


@app.command()
def show(key: Key, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show a company's points, fields and contacts."""
    here = session()
    with here.engine.connect() as conn:
        found = companies.find(conn, key.strip())
        if found is None:
            raise _unknown(key)
        members = companies.members(conn, found.key, limit=SHOWN + 1)
    if as_json:
        inside = [{"contact": contact, "primary": primary} for contact, primary in members[:SHOWN]]
        here.print_json({**found._asdict(), "contacts": inside, "more": len(members) > SHOWN})
        return
    here.say(f"{found.name} ({found.key}): {found.points:,} points")
    if found.fields:
        here.print_table("", ["field", "value"], [(name, str(value)) for name, value in sorted(found.fields.items())])
    for contact, primary in members[:SHOWN]:
        here.say(f"  {contact}{' (its primary company)' if primary else ''}")
    if len(members) > SHOWN:
        here.say("  (more contacts not shown)")


@app.command()
def add(
    key: Key,
    contact: Contacts,
    primary: Annotated[bool, typer.Option("--primary", help="Make it their primary company.")] = False,
) -> None:
    """Add contacts to a company. It becomes the primary company of contacts without one."""
    here = session()
    with here.begin() as conn:
        ids = _locked(conn, key, contact)
        found = companies.of_contacts(conn, ids)
        first = [id_ for id_ in ids if primary or found.get(id_, companies.NOWHERE).primary is None]
        companies.join(conn, [(id_, key.strip()) for id_ in ids])
        companies.set_primary(conn, dict.fromkeys(first, key.strip()))
        new = [id_ for id_ in ids if key.strip() not in found.get(id_, companies.NOWHERE).companies]
    here.say(f"{len(new):,} contacts added to {key.strip()}, {len(ids) - len(new):,} already in it.")


@app.command()
def remove(key: Key, contact: Contacts) -> None:
    """Remove contacts from a company."""
    here = session()
    with here.begin() as conn:
        ids = _locked(conn, key, contact)
        gone = companies.leave(conn, [(id_, key.strip()) for id_ in ids])
    here.say(f"{len(gone):,} contacts removed from {key.strip()}, {len(ids) - len(gone):,} not in it.")


def _locked(conn: Connection, key: str, named: list[str]) -> list[int]:
    """Return the ids of contacts by key, locked. Raises CampaignError when one, or the company, does not exist."""
    if companies.find(conn, key.strip()) is None:
        raise _unknown(key)
    keys = [each.strip() for each in named]
    known = contacts.named(conn, keys)
    missing = [each for each in keys if each not in known]
    if missing:
        raise NotFoundError("contact", missing[0])
    return batch.lock(conn, set(known.values()))


def _unknown(key: str) -> CampaignError:
    return NotFoundError("company", key.strip(), "create it with `parcours companies create`")
