"""What every command that reads a file of contacts can be told about it, and what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from parcours.cli.rejected_rows import RejectFile
    from parcours.cli.session import Session

Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="COLUMN=NAME",
        help='What a column is: --map "Email Address=email", the name of a field, or "ignore"; repeatable.',
    ),
]
DoNotContact = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN[=CHANNEL]",
        help="Nobody is written to whose cell says yes (by email, unless a channel is named); repeatable. "
        "The usual names, such as unsubscribed, are known.",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help='The names of the columns when the file has no header: "email,city".'),
]
Encoding = Annotated[str | None, typer.Option(help="Such as cp1252 or utf-16; default: found out from the file.")]
Delimiter = Annotated[str | None, typer.Option(help='Such as ";" or tab; default: found out from the file.')]
Dates = Annotated[
    str | None, typer.Option(help="DD/MM/YYYY, MM/DD/YYYY or YYYY-MM-DD; default: found out from the file.")
]
Decimal = Annotated[str | None, typer.Option(help='"," or "."; default: found out from the file.')]
AllowRejected = Annotated[
    bool, typer.Option("--allow-rejected", help="Exit with 0 although rows were rejected; default: 1.")
]


def tell(here: Session, notes: Sequence[str]) -> None:
    """Print what was guessed, and what was left alone."""
    for note in notes:
        here.say(f"note: {note}")


def end(here: Session, rejects: RejectFile, *, allowed: bool) -> None:
    """End the command with 1 when rows were lost and nobody said that this may be; raises typer.Exit."""
    if rejects.count and not allowed:
        rows = "1 row was" if rejects.count == 1 else f"{rejects.count:,} rows were"
        here.warn(
            f"parcours: {rows} rejected, with the reasons in {rejects.written}; all others are in. "
            "Mend and import them, or give --allow-rejected"
        )
        raise typer.Exit(1)
