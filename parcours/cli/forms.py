"""`parcours forms`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit
from uuid import uuid4

import typer

from parcours.cli.dead_letters import tell_dead
from parcours.cli.session import session
from parcours.db.clock import now as database_now
from parcours.db.tables import contacts, forms
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.events.parsing import parse
from parcours.domain.keys import checked_key, field_value
from parcours.domain.urls import origin_of
from parcours.producers import form_fields
from parcours.workers import events, intake

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
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=ATTRIBUTE",
            help="What a field becomes of the contact, such as tel=phone, and replaces there; FIELD= for nothing; "
            "repeatable, all at once.",
        ),
    ] = None,
    no_map: Annotated[bool, typer.Option("--no-map", help="Forget what --map said before.")] = False,
) -> None:
    """Create a form, which /forms/KEY takes over HTTP; of one that exists, change what is given.

    Without --allow-origin, pages of every site may submit it. Fields with usual names (email, first_name, last_name,
    phone, company, city, country, zip, language, timezone, in several languages) fill what is empty in the contact.
    """
    if map_ and no_map:
        raise typer.BadParameter("--map and --no-map contradict each other; give one of them")
    here = session()
    key = checked_key("form", key)
    if redirect is not None and origin_of(redirect) is None:
        raise typer.BadParameter(f"--redirect {redirect!r} is not an address that starts with http:// or https://")
    origins = None if not allow_origin else [_origin(each) for each in allow_origin]
    mapping = form_fields.checked_mapping(map(form_fields.mapped_pair, map_ or [])) if map_ or no_map else None
    with here.engine.begin() as conn:
        made = forms.create(conn, key, name or key, standalone)
        changed = forms.place(
            conn, key, redirect=redirect, allowed_origins=origins, names_contact=names_contact, mapping=mapping
        )
    if made:
        here.say(f"Form {key} is created.")
    elif changed:
        here.say(f"Form {key} existed already; what was given is changed.")
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
    described = {
        "specversion": "1.0",
        "source": "parcours",
        "id": str(uuid4()),
        "type": "form.submitted",
        "subject": contact,
        "data": {"form": form.key, "fields": fields},
    }
    taken = intake.take_in(here.engine, [parse(described, now=now)], unknown_contacts="reject")
    if taken.rejected:
        raise CampaignError(taken.rejected[0][1])
    done = events.act_on_all(here.engine, [contact], zone=here.zone, stop=here.settings.stop_rule)
    with here.engine.connect() as conn:
        (lost,) = form_fields.lost(conn, form, [(contact, fields)])
    for each in lost:
        here.say(f"Note: {each.note}.")
    tell_dead(here, done.pop("dead letters", 0))
    did = ", ".join(f"{n} {what}" for what, n in sorted(done.items()) if n)
    here.say(f"{contact} submitted {form.key}{': ' + did if did else ''}.")
