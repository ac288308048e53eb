"""Contacts as files that leave: everything about one, and the members of a segment as CSV or NDJSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from parcours.db.reads import exports as reads
from parcours.db.reads.exports import ExportedContact
from parcours.db.tables import contacts, refusals, segments
from parcours.domain.errors import NotFoundError
from parcours.domain.time.text import iso
from parcours.domain.time.zones import zone_of
from parcours.services.contact_json import contact_json

Format = Literal["csv", "ndjson"]
MEDIA_TYPES: dict[Format, str] = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}

_COLUMNS = ("key", "email", "timezone", "points", "stage", "owner", "tags", "company", "do_not_contact")
# What a spreadsheet would take for a formula; numbers and telephone numbers are none.
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d ().])")


def whole_contact(conn: Connection, key: str, zone: ZoneInfo) -> dict[str, Any]:
    """Return all that is known of a contact as JSON data. Raises NotFoundError."""
    found = contacts.show(conn, key)
    if found is None:
        raise NotFoundError("contact", key)
    own = contact_json(found, zone_of(found.timezone, zone))
    return {**own, **{name: list(map(_plain, rows)) for name, rows in reads.history(conn, found.id).items()}}


def segment_lines(engine: Engine, key: str, format_: Format) -> Iterator[str]:
    """Yield a file of the active members of a segment, a part at a time. Raises NotFoundError before the first.

    Memory does not grow with the segment. CSV is read by `contacts import` as it is.
    """
    with engine.connect() as conn:
        segment = segments.find(conn, key)
        if segment is None:
            raise NotFoundError("segment", key)
        names = reads.field_names(conn, segment.id) if format_ == "csv" else []
    return _lines(engine, segment.id, format_, names)


def _lines(engine: Engine, segment_id: int, format_: Format, names: list[str]) -> Iterator[str]:
    with engine.connect() as conn:
        if format_ == "csv":
            yield _csv([[*_COLUMNS, *names]])
        for rows in reads.members(conn, segment_id):
            silent = refusals.of_contacts(conn, [row.id for row in rows])
            if format_ == "csv":
                yield _csv(_cells(row, "email" in silent.get(row.id, {}), names) for row in rows)
            else:
                yield "".join(json.dumps(_object(row, silent), ensure_ascii=False) + "\n" for row in rows)


def _csv(rows: Iterable[list[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _cells(row: ExportedContact, refuses: bool, names: list[str]) -> list[Any]:
    own = [row.key, row.email, row.timezone, row.points, row.stage, row.owner, ";".join(row.tags), row.company]
    return [_cell(each) for each in (*own, "yes" if refuses else "", *(row.fields.get(name) for name in names))]


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def _object(row: ExportedContact, silent: dict[int, dict[str, str]]) -> dict[str, Any]:
    own = {name: getattr(row, name) for name in ("key", "email", "timezone", "points", "stage", "owner", "tags")}
    # An object of what an import reads: custom fields stand beside the others.
    said = {**own, "company": row.company, "do_not_contact": "email" in silent.get(row.id, {})}
    return {name: value for name, value in {**row.fields, **said}.items() if value is not None}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: iso(value) if hasattr(value, "astimezone") else value for name, value in row.items()}
