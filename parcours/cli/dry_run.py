"""What an import would make of a file."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

from parcours.cli.file_options import tell
from parcours.cli.session import Session
from parcours.db.tables.contacts import Incoming
from parcours.producers.files.contacts import ContactFile
from parcours.producers.files.rows import RejectedRow

SHOWN = 5


def show_dry_run(here: Session, file: ContactFile, *, as_json: bool) -> None:
    """Read a whole file without touching the database; print its columns, first rows and counts."""
    usable = silent = 0
    first: list[Incoming] = []
    rejected: list[RejectedRow] = []
    lost = 0
    for row in file.contacts():
        if isinstance(row, RejectedRow):
            lost += 1
            if len(rejected) < SHOWN:
                rejected.append(row)
            continue
        usable += 1
        silent += row.refusals is not None
        if len(first) < SHOWN:
            first.append(row)
    columns = [(column.name, column.words, _shape(column)) for column in file.columns]
    if as_json:
        here.print_json(
            {
                "columns": [{"column": name, "means": means, "shape": shape} for name, means, shape in columns],
                "rows": [_contact(row) for row in first],
                "usable": usable,
                "rejected": lost,
                "rejections": [{"line": row.line, "reason": row.reason} for row in rejected],
                "do_not_contact": silent,
                "notes": file.notes,
            }
        )
        return
    here.print_table("", ["column", "read as", "shape"], columns)
    shown = [_contact(row) for row in first]
    heads = list(dict.fromkeys(chain.from_iterable(shown)))
    here.print_table("First rows", heads, [[_cell(each.get(head)) for head in heads] for each in shown])
    tell(here, file.notes)
    for row in rejected:
        here.say(f"line {row.line:,} is rejected: {row.reason}")
    here.say(
        f"Dry run: nothing was imported. {usable:,} rows can be imported, {lost:,} would be rejected, {silent:,} set "
        "do not contact."
    )


def _shape(column: Any) -> str:
    if column.role != "field":
        return ""
    return column.shape.words if column.shape.dates or column.shape.decimal else "unchanged"


def _contact(row: Incoming) -> dict[str, Any]:
    """Return a row as the contact that it would make, without what it does not say."""
    own = {
        "key": None if row.by_email else row.key,
        "email": row.email,
        "timezone": row.timezone,
        "points": row.points,
        "stage": row.stage,
        "owner": row.owner,
        "tags": None if row.tags is None else json.loads(row.tags),
        "company": row.company,
        "do not contact": None if row.refusals is None else list(json.loads(row.refusals)),
    }
    fields = {} if row.fields is None else json.loads(row.fields)
    return {name: value for name, value in own.items() if value is not None} | fields


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
