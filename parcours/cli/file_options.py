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
        help='Assign a column to an attribute or field, or "ignore" it: --map "Email Address=email"; repeatable.',
    ),
]
DoNotContact = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN[=CHANNEL]",
        help="Mark contacts as do not contact where this column says yes (default channel: email); repeatable. "
        "Common column names, such as unsubscribed, are recognized.",
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(metavar="NAMES", help='Column names for a file without a header: "email,city".'),
]
Encoding = Annotated[str | None, typer.Option(help="Encoding, such as cp1252 or utf-16 (default: detected).")]
Delimiter = Annotated[str | None, typer.Option(help='Delimiter, such as ";" or tab (default: detected).')]
Dates = Annotated[
    str | None, typer.Option(help="Date format: DD/MM/YYYY, MM/DD/YYYY or YYYY-MM-DD (default: detected).")
]
Decimal = Annotated[str | None, typer.Option(help='Decimal separator: "," or "." (default: detected).')]
AllowRejected = Annotated[
    bool, typer.Option("--allow-rejected", help="Exit with 0 even if rows were rejected (default: 1).")
]


def tell(here: Session, notes: Sequence[str]) -> None:
    """Print what was guessed, and what was left alone."""
    for note in notes:
        here.say(f"note: {note}")


def end(here: Session, rejects: RejectFile, *, allowed: bool) -> None:
    """End the command with 1 when rows were lost and nobody said that this may be; raises typer.Exit."""
    if rejects.count and not allowed:
        rows, them = ("1 row was", "it") if rejects.count == 1 else (f"{rejects.count:,} rows were", "them")
        here.warn(
            f"parcours: {rows} rejected, with reasons in {rejects.written}; all others were imported. Fix and import "
            f"{them}, or use --allow-rejected"
        )
        raise typer.Exit(1)
