"""`parcours emails`: apply, list, show with figures, send a test, and show what a contact would get."""

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from parcours.cli.session import session
from parcours.db.tables import contacts, emails, outbox, runs
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.messages.templates import RenderError
from parcours.domain.time.text import shown
from parcours.ops.tokens import tokens_of
from parcours.producers.files.documents import stop_at
from parcours.producers.files.emails import read
from parcours.services import email_templates, removal
from parcours.services.email_figures_json import figures_json
from parcours.services.template_notes import notes
from parcours.workers.delivery import render

app = typer.Typer(no_args_is_help=True, help="Apply email templates, list, show, preview, test and delete them.")


@app.command()
def apply(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="YAML files: key, subject, html, text, from, category, variants, …"),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Create or update email templates. If a file has an error, nothing is changed."""
    here = session()
    wanted, problems = read(files)
    stop_at(problems, here.warn)
    now = datetime.now(UTC)
    with here.begin() as conn:
        done = [(emails.save(conn, email, now=now), email.key) for email in wanted]
        noted = notes(conn, ((f"email {email.key}", _texts(email)) for email in wanted))
    if as_json:
        outcomes = ("created", "updated", "unchanged")
        here.print_json({outcome: [key for stored, key in done if stored == outcome] for outcome in outcomes})
    else:
        for stored, key in done:
            here.say(f"{stored} {key}")
    for note in noted:
        here.warn(f"note: {note}")


def _texts(email: emails.Email) -> Iterator[str | None]:
    """Yield all that an email says, in its variants and translations too."""
    translated = [*email.translations.values(), *(c for v in email.variants for c in v.translations.values())]
    yield from (email.subject, email.html, email.text)
    for content in (*translated, *(variant.content for variant in email.variants)):
        yield from (content.subject, content.html, content.text)


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the email templates."""
    here = session()
    with here.engine.connect() as conn:
        found = emails.listed(conn)
    if as_json:
        here.print_json(
            [
                {
                    "key": email.key,
                    "subject": email.subject,
                    "from": email.sender,
                    "category": email.category,
                    "published": email.published,
                    "html": email.html is not None,
                    "text": email.text is not None,
                    "tracking": email.tracking,
                    "variants": {variant.name: variant.weight for variant in email.variants},
                    "translations": sorted(email.translations),
                    "winner": None if email.winner is None else email.winner.as_data(),
                }
                for email in found
            ]
        )
        return
    here.print_table(
        "Emails",
        ["key", "subject", "from", "category", "published", "parts", "variants", "translations"],
        [
            (
                email.key,
                email.subject,
                email.sender,
                email.category,
                "yes" if email.published else "no",
                " and ".join(part for part, body in (("html", email.html), ("text", email.text)) if body),
                ", ".join(f"{variant.name} {variant.weight:g} %" for variant in email.variants),
                ", ".join(sorted(email.translations)),
            )
            for email in found
        ],
    )


@app.command()
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of the email.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show an email and its figures: sent, delivered, opened, clicked, bounced, unsubscribed and failed."""
    here = session()
    key = key.strip()
    with here.engine.connect() as conn:
        figures = figures_json(conn, key)
        found = emails.listed(conn, [key])
    if as_json:
        email = email_templates.email_json(found[0]) if found else {"key": key, "deleted": True}
        here.print_json({**email, "figures": figures})
        return
    here.say(f"{key}: {found[0].subject}" if found else f"{key}: the email was deleted; its figures stay")
    counted = list(figures["total"])
    rows: list[list[Any]] = [["total", "", "", *figures["total"].values()]]
    rows += [
        [part["campaign"], part["step"], part["variant"] or "main version", *(part[name] for name in counted)]
        for part in figures["parts"]
    ]
    here.print_table("", ["campaign", "step", "variant", *counted], rows)
    if figures["winners"]:
        here.print_table(
            "Winners",
            ["campaign", "step", "tested since", "winner"],
            [
                (each["campaign"], each["step"], _time(each["started_at"], here.zone), _winner(each, here.zone))
                for each in figures["winners"]
            ],
        )
    if figures["links"]:
        here.print_table("Links", ["link", "clicks"], [(each["url"], each["clicks"]) for each in figures["links"]])


def _winner(test: dict[str, Any], zone: ZoneInfo) -> str:
    if test["decided_at"] is not None:
        return f"{test['variant'] or 'main version'}, since {_time(test['decided_at'], zone)}"
    return "none" if test["ends_at"] is None else f"none yet; chosen from {_time(test['ends_at'], zone)} on"


def _time(text: str, zone: ZoneInfo) -> str:
    return shown(datetime.fromisoformat(text), zone)


@app.command()
def delete(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of the email.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete an email that nothing uses. Its figures and the messages that were sent stay."""
    here = session()
    key = key.strip()
    with here.engine.begin() as conn:
        email_templates.find(conn, key)
        if not yes and sys.stdin.isatty() and sys.stdout.isatty():
            typer.confirm(f"Delete the email {key}? Its figures stay.", abort=True)
        removal.delete_email(conn, key)
    here.say(f"Email {key} is deleted. Its figures stay: parcours emails show {key}")


@app.command("test")
def send_test(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of the email.")],
    to: Annotated[str, typer.Option(help="Email address that receives the test.")],
    contact: Annotated[str | None, typer.Option(help="Key of the contact for the placeholders.")] = None,
) -> None:
    """Send a test of an email to an address. Nothing is counted."""
    here = session()
    with here.engine.connect() as conn:
        email = email_templates.find(conn, key.strip())
    said = email_templates.send_test(here.engine, here.settings, email, to.strip(), contact=contact)
    here.say(f"{said[:1].upper()}{said[1:]}.")


@app.command()
def preview(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Key of the email.")],
    contact: Annotated[str, typer.Option(help="Key of the contact.")],
    html: Annotated[bool, typer.Option("--html", help="Print only the HTML, as it would be sent.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Print only the text.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show an email as a contact would receive it, in their variant and translation.

    Nothing is sent. Campaign and step are shown as `preview`.
    """
    here = session()
    if html + text + as_json > 1:
        raise typer.BadParameter("choose one of --html, --text and --json")
    with here.engine.connect() as conn:
        found = emails.listed(conn, [key])
        if not found:
            raise NotFoundError("email", key, "run `parcours emails list` to see all emails")
        id_ = contacts.find(conn, contact)
        if id_ is None:
            raise NotFoundError("contact", contact)
        recipient = outbox.recipients(conn, [id_])[id_]
        entry = runs.last_entry_of_any(conn, id_)
    (email,) = found
    links = render.Links(tokens_of(here.engine, here.settings), here.settings.public_url)
    chosen = email.content_for(recipient.id, render.language_of(recipient))
    try:
        mail = render.mail_to_contact(
            email,
            chosen,
            render.preview_values(recipient, entry),
            links,
            key=render.PREVIEW.key,
            at=datetime.now(UTC),
            address=recipient.email or "",
            marketing=True,
        )
    except RenderError as error:
        raise CampaignError(f"email {key!r}, for contact {contact!r}: {error}") from None
    if as_json:
        here.print_json(
            {
                "email": key,
                "contact": contact,
                "variant": chosen.variant,
                "locale": chosen.locale,
                "from": mail.sender or here.settings.mail_from,
                "to": recipient.email,
                "subject": mail.subject,
                "html": mail.html,
                "text": mail.text,
            }
        )
    elif html or text:
        body = mail.html if html else mail.text
        if body is None:
            raise CampaignError(f"email {key!r} has no HTML; omit --html")
        typer.echo(body)
    else:
        for name, value in (
            ("From", mail.sender or here.settings.mail_from or "(default sender)"),
            ("To", recipient.email or "(no email address)"),
            ("Variant", chosen.variant or "main version"),
            ("Locale", chosen.locale or "default"),
            ("Subject", mail.subject),
        ):
            here.say(f"{name}: {value}")
        typer.echo(f"\n{mail.text}")
