"""`parcours forms`."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import urlsplit
from uuid import uuid4

import typer

from parcours.cli.dead_letters import tell_dead
from parcours.cli.instants import Now, given, instant
from parcours.cli.session import session
from parcours.db.tables import contacts, forms
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.events.parsing import parse
from parcours.domain.keys import checked_key, field_value
from parcours.domain.urls import origin_of
from parcours.producers import form_fields
from parcours.services import removal
from parcours.workers import events, intake

app = typer.Typer(no_args_is_help=True, help="Create, submit and delete forms.")

Key = Annotated[str, typer.Argument(metavar="KEY", help="Key of the form.")]


@app.command()
def create(
    key: Key,
    name: Annotated[str | None, typer.Option(help="Display name (default: the key).")] = None,
    standalone: Annotated[bool, typer.Option("--standalone", help="The form cannot be a campaign source.")] = False,
    redirect: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Redirect after submitting an HTML form (default: a thank-you page)."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="Origin allowed to submit the form, such as https://example.com; repeatable."
        ),
    ] = None,
    names_contact: Annotated[
        bool | None,
        typer.Option(
            "--names-contact/--no-names-contact",
            help="Allow submissions to name a contact key. Unsafe on public forms: anyone could submit for any "
            "contact. Use it only behind your own sign-in.",
        ),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=ATTRIBUTE",
            help="Map a form field to a contact attribute, such as tel=phone; it replaces the value. FIELD= maps to "
            "nothing. Repeatable; replaces the whole mapping.",
        ),
    ] = None,
    no_map: Annotated[bool, typer.Option("--no-map", help="Remove the mapping.")] = False,
) -> None:
    """Create a form, or update the given values of an existing one.

    It is submitted to /forms/KEY over HTTP. Without --allow-origin, pages of any site can submit it. Fields with common
    names (email, first_name, last_name, phone, company, city, country, zip, language, timezone, in several languages)
    fill empty attributes of the contact.
    """
    if map_ and no_map:
        raise typer.BadParameter("use --map or --no-map, not both")
    here = session()
    key = checked_key("form", key)
    if redirect is not None and origin_of(redirect) is None:
        raise typer.BadParameter(f"--redirect {redirect!r} is not a URL; it must start with http:// or https://")
    origins = None if not allow_origin else [_origin(each) for each in allow_origin]
    mapping = form_fields.checked_mapping(map(form_fields.mapped_pair, map_ or [])) if map_ or no_map else None
    with here.begin() as conn:
        made = forms.create(conn, key, name or key, standalone)
        changed = forms.place(
            conn, key, redirect=redirect, allowed_origins=origins, names_contact=names_contact, mapping=mapping
        )
    if made:
        here.say(f"Form {key} is created.")
    elif changed:
        here.say(f"Form {key} existed and is updated.")
    else:
        here.say(f"Form {key} existed already; nothing changed.")


def _origin(given: str) -> str:
    origin = origin_of(given)
    if origin is None or urlsplit(given).path not in ("", "/"):
        raise typer.BadParameter(f"--allow-origin {given!r} is not an origin; write it like https://example.com")
    return origin


@app.command()
def delete(
    key: Key, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
) -> None:
    """Delete a form that nothing uses, with its submissions. The contacts and their history stay."""
    here = session()
    with here.engine.begin() as conn:
        if forms.find(conn, key) is None:
            raise NotFoundError("form", key)
        if not yes and sys.stdin.isatty() and sys.stdout.isatty():
            typer.confirm(f"Delete the form {key} and its submissions?", abort=True)
        removal.delete_form(conn, key)
    here.say(f"Form {key} is deleted.")


@app.command()
def submit(
    key: Key,
    contact: Annotated[str, typer.Argument(metavar="CONTACT", help="Key or email address of the contact.")],
    field: Annotated[
        list[str] | None, typer.Option("--field", metavar="K=V", help="Field as NAME=VALUE; repeatable.")
    ] = None,
    now: Now = None,
) -> None:
    """Submit a form for a contact, with all effects on campaigns and decisions."""
    here = session()
    fields = dict(field_value(each) for each in field or [])
    with here.engine.connect() as conn:
        at = instant(conn, now)
        form = forms.find(conn, key)
        if form is None:
            raise NotFoundError("form", key, f"create it with `parcours forms create {key}`")
        contact = contact.strip()
        if contacts.find(conn, contact) is None:
            raise NotFoundError(
                "contact", contact, "check the key or the email address, or add it with `parcours contacts import`"
            )
    described = {
        "specversion": "1.0",
        "source": "parcours",
        "id": str(uuid4()),
        "type": "form.submitted",
        "subject": contact,
        "data": {"form": form.key, "fields": fields},
    }
    taken = intake.take_in(here.engine, [parse(described, now=at)], unknown_contacts="reject", now=given(now))
    if taken.rejected:
        raise CampaignError(taken.rejected[0][1])
    done = events.act_on_all(here.engine, [contact], zone=here.zone, stop=here.settings.stop_rule, now=given(now))
    with here.engine.connect() as conn:
        (lost,) = form_fields.lost(conn, form, [(contact, fields)])
    for each in lost:
        here.say(f"Note: {each.note}.")
    tell_dead(here, done.pop("dead letters", 0))
    did = ", ".join(f"{n} {what}" for what, n in sorted(done.items()) if n)
    here.say(f"{contact} submitted {form.key}{': ' + did if did else ''}.")
