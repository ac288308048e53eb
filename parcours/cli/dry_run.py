"""What an import would make of a file."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

from parcours.cli.file_options import tell
from parcours.cli.session import Session
from parcours.producers.files.contacts import ContactFile
from parcours.services.contact_import import look, shape_of


def show_dry_run(here: Session, file: ContactFile, *, as_json: bool) -> None:
    """Read a whole file without touching the database; print its columns, first rows and counts."""
    found = look(file)
    if as_json:
        here.print_json(found.to_json())
        return
    columns = [(column.name, column.words, shape_of(column)) for column in found.columns]
    here.print_table("", ["column", "read as", "shape"], columns)
    heads = list(dict.fromkeys(chain.from_iterable(found.first)))
    here.print_table("First rows", heads, [[_cell(each.get(head)) for head in heads] for each in found.first])
    tell(here, found.notes)
    for row in found.rejections:
        here.say(f"line {row.line:,} is rejected: {row.reason}")
    here.say(
        f"Dry run: nothing was imported. {found.usable:,} rows can be imported, {found.rejected:,} would be rejected, "
        f"{found.silent:,} set do not contact."
    )


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
