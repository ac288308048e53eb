"""The rows of an uploaded file that were rejected, in the form of that file.

Whoever corrects them there can upload it again: its columns are those of the file, and two more say where a row
stood and why it was rejected, which an import ignores.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from parcours.producers.files.contacts import ContactFile
from parcours.producers.files.csv_rows import CsvTable
from parcours.producers.files.headers import REJECTED_LINE, REJECTED_REASON
from parcours.producers.files.ndjson import JsonTable
from parcours.producers.files.rows import RejectedRow


class FileForm(NamedTuple):
    """How a file has its rows: as cells between delimiters, as those of a sheet, or as objects."""

    kind: Literal["csv", "sheet", "json"]
    names: Sequence[str] = ()
    delimiter: str = ","
    # Each line is one cell, and there is no header.
    plain: bool = False

    @classmethod
    def of_file(cls, file: ContactFile) -> FileForm:
        """Return the form of an open file."""
        table = file.table
        if isinstance(table, JsonTable):
            return cls("json")
        if isinstance(table, CsvTable):
            return cls("csv", list(table.names), "," if table.plain else table.delimiter, table.plain)
        return cls("sheet", list(table.names))

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> FileForm:
        """Return what `_asdict` gave."""
        return cls(**data)

    @property
    def ending(self) -> str:
        return "ndjson" if self.kind == "json" else "csv"


def written(form: FileForm, rows: Iterable[RejectedRow]) -> Iterator[str]:
    """Yield the lines of a file of rejected rows."""
    if form.kind == "json":
        for row in rows:
            yield json.dumps({REJECTED_LINE: row.line, REJECTED_REASON: row.reason, **_object(row.row)}) + "\n"
        return
    # Spreadsheet programs know by its first character what the file is written in.
    yield "\ufeff" + _cells((REJECTED_LINE, REJECTED_REASON, *form.names), form.delimiter) + "\n"
    for row in rows:
        yield form.delimiter.join((_cells((row.line, row.reason), form.delimiter), _row(form, row.row))) + "\n"


def _row(form: FileForm, text: str) -> str:
    """Return a row as the file has it; one with a quote that is never closed, which would swallow others, as a cell."""
    if form.kind == "sheet":
        return _cells(text.split("\t"), form.delimiter)
    return _cells((text,), form.delimiter) if form.plain or not _is_whole(text, form.delimiter) else text


def _is_whole(text: str, delimiter: str) -> bool:
    if '"' not in text:
        return "\n" not in text and "\r" not in text
    try:
        return len(list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))) == 1
    except csv.Error:
        return False


def _cells(values: Iterable[object], delimiter: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator="").writerow(values)
    return out.getvalue()


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"row": text}
