"""`parcours emails`: apply and list."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from db import emails
from producers.documents import stop_at
from producers.email_files import read
from producers.session import session

app = typer.Typer(no_args_is_help=True, help="Apply email templates.")


@app.command()
def apply(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="YAML: key, subject, html, text, from, category, published.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Create or update email templates: all of them, or none if anything is wrong."""
    here = session()
    wanted, problems = read(files)
    stop_at(problems, here.warn)
    now = datetime.now(UTC)
    with here.engine.begin() as conn:
        done = [(emails.save(conn, email, now=now), email.key) for email in wanted]
    if as_json:
        outcomes = ("created", "updated", "unchanged")
        here.print_json({outcome: [key for stored, key in done if stored == outcome] for outcome in outcomes})
        return
    for stored, key in done:
        here.say(f"{stored} {key}")


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
                }
                for email in found
            ]
        )
        return
    here.print_table(
        "Emails",
        ["key", "subject", "from", "category", "published", "parts"],
        [
            (
                email.key,
                email.subject,
                email.sender,
                email.category,
                "yes" if email.published else "no",
                " and ".join(part for part, body in (("html", email.html), ("text", email.text)) if body),
            )
            for email in found
        ],
    )
