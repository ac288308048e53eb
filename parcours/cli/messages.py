"""`parcours messages`: apply and list."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from parcours.cli.session import session
from parcours.db.tables import campaigns, templates
from parcours.producers.files.documents import stop_at
from parcours.producers.files.messages import read
from parcours.services.template_notes import notes

app = typer.Typer(no_args_is_help=True, help="Apply text messages, push messages and marketing messages.")


@app.command()
def apply(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="YAML files: {sms: KEY, text}, {push: KEY, title, text, url} or {message: KEY, email, sms, push}.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Create or update templates. If a file has an error, nothing is changed."""
    here = session()
    wanted, problems = read(files)
    stop_at(problems, here.warn)
    now = datetime.now(UTC)
    with here.begin() as conn:
        done = [(templates.save(conn, each, now=now), each.kind, each.key) for each in wanted]
        named = [
            (each.key, channel, key)
            for each in wanted
            if each.kind == "message"
            for channel, key in each.content.items()
        ]
        emails = campaigns.named(conn, "emails", {key for _, channel, key in named if channel == "email"})
        noted = notes(
            conn,
            ((f"{each.kind} {each.key}", each.content.values()) for each in wanted if each.kind != "message"),
        )
        known = {("email", key) for key in emails} | {(each.kind, each.key) for each in templates.listed(conn)}
    for note in noted:
        here.warn(f"note: {note}")
    if as_json:
        outcomes = ("created", "updated", "unchanged")
        here.print_json(
            {outcome: [f"{kind} {key}" for stored, kind, key in done if stored == outcome] for outcome in outcomes}
        )
        return
    for stored, kind, key in done:
        here.say(f"{stored} {kind} {key}")
    for message, channel, key in named:
        if (channel, key) not in known:
            here.say(f"note: message {message} names {channel} {key!r}, which does not exist yet")


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the templates of channels other than email."""
    here = session()
    with here.engine.connect() as conn:
        found = templates.listed(conn)
    if as_json:
        here.print_json(
            [
                {"kind": each.kind, "key": each.key, "name": each.name, "published": each.published, **each.content}
                for each in found
            ]
        )
        return
    here.print_table(
        "Messages",
        ["kind", "key", "name", "published", "says"],
        [
            (
                each.kind,
                each.key,
                each.name,
                "yes" if each.published else "no",
                ", ".join(f"{channel} {key}" for channel, key in each.content.items())
                if each.kind == "message"
                else each.content["text"],
            )
            for each in found
        ],
        cut=["says"],
    )
