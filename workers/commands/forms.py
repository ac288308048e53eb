"""`parcours forms`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit
from uuid import uuid4

import typer

from db import contacts, forms
from db.clock import now as database_now
from domain.addresses import origin_of
from domain.errors import NotFoundError
from domain.events import ContactEvent
from producers.keys import checked_key, field_value
from producers.session import session
from workers import events

app = typer.Typer(no_args_is_help=True, help="Create forms and submit them.")

Key = Annotated[str, typer.Argument(metavar="KEY", help="The form's key.")]


@app.command()
def create(
    key: Key,
    name: Annotated[str | None, typer.Option(help="For people; default: the key.")] = None,
    standalone: Annotated[bool, typer.Option("--standalone", help="Never the source of a campaign.")] = False,
    redirect: Annotated[
        str | None, typer.Option(metavar="URL", help="Where people go after an HTML form; default: a thank-you page.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="A site whose pages may submit it, such as https://example.com; repeatable."
        ),
    ] = None,
    names_contact: Annotated[
        bool | None,
        typer.Option(
            "--names-contact/--no-names-contact",
            help="Whether who submits it may give the key of a contact. Anybody could give anybody's: only for forms "
            "behind a sign-in of your own.",
        ),
    ] = None,
) -> None:
    """Create a form, which /forms/KEY takes over HTTP; of one that exists, change where it stands and leads.

    Without --allow-origin, pages of every site may submit it.
    """
    here = session()
    key = checked_key("form", key)
    if redirect is not None and origin_of(redirect) is None:
        raise typer.BadParameter(f"--redirect {redirect!r} is not an address that starts with http:// or https://")
    origins = None if not allow_origin else [_origin(each) for each in allow_origin]
    with here.engine.begin() as conn:
        made = forms.create(conn, key, name or key, standalone)
        changed = forms.place(conn, key, redirect=redirect, allowed_origins=origins, names_contact=names_contact)
    if made:
        here.say(f"Form {key} is created.")
    elif changed:
        here.say(f"Form {key} existed already; where it stands and leads is changed.")
    else:
        here.say(f"Form {key} existed already; nothing changed.")


def _origin(given: str) -> str:
    origin = origin_of(given)
    if origin is None or urlsplit(given).path not in ("", "/"):
        raise typer.BadParameter(f"--allow-origin {given!r} is not an origin; write it like https://example.com")
    return origin


@app.command()
def submit(
    key: Key,
    contact: Annotated[str, typer.Argument(metavar="CONTACT", help="The contact's key or address.")],
    field: Annotated[list[str] | None, typer.Option("--field", metavar="K=V", help="A field; repeatable.")] = None,
) -> None:
    """Submit a form for a contact, effects included: campaigns joined, decisions taken."""
    here = session()
    fields = dict(field_value(each) for each in field or [])
    with here.engine.connect() as conn:
        now = database_now(conn)
        form = forms.find(conn, key)
        if form is None:
            raise NotFoundError("form", key, f"make it with `parcours forms create {key}`")
        contact = contact.strip()
        if contacts.find(conn, contact) is None:
            raise NotFoundError("contact", contact)
    data = {"form": form.key, "fields": fields}
    event = ContactEvent("parcours", str(uuid4()), "form.submitted", contact, now, data)
    events.take_in(here.engine, [event], unknown_contacts="reject")
    done = events.act_on_all(here.engine, [contact], zone=here.zone, stop=here.settings.stop_rule)
    did = ", ".join(f"{n} {what}" for what, n in sorted(done.items()) if n)
    here.say(f"{contact} submitted {form.key}{': ' + did if did else ''}.")
