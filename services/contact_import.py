"""Importing contacts from a file: looking at it first, and then all of it in one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from parcours.db.tables import campaigns, contacts, events, rules, segments
from parcours.db.tables.contacts import Imported, Incoming, SameAddress
from parcours.domain.contacts.identity import in_use, taken
from parcours.domain.errors import NotFoundError
from parcours.producers.files.columns import FileColumn
from parcours.producers.files.contacts import ContactFile
from parcours.producers.files.rows import FileRow, RejectedRow
from parcours.workers import local_time
from parcours.workers import rules as following

# Rows and rejections that a look shows.
SHOWN = 5
MEMBERS_A_STATEMENT = 20_000
# From so many rows on, the planner should hear of it at once.
BULK = 10_000


Begin = Callable[[], AbstractContextManager[Connection]]


class ImportDone(NamedTuple):
    """What an import did, and the keys of the published campaigns that an update lets the contacts into."""

    counts: Imported
    awaiting: list[str]
    # Contacts who were not in the segment before.
    joined: int


@dataclass
class FileLook:
    """What an import would make of a file. `whole`: all its rows were read."""

    columns: list[FileColumn]
    first: list[dict[str, Any]] = field(default_factory=list)
    usable: int = 0
    rejected: int = 0
    silent: int = 0
    rejections: list[RejectedRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    whole: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the look as `contacts import --dry-run --json` prints it."""
        return {
            "columns": [{"column": each.name, "means": each.words, "shape": shape_of(each)} for each in self.columns],
            "rows": self.first,
            "usable": self.usable,
            "rejected": self.rejected,
            "rejections": [{"line": row.line, "reason": row.reason} for row in self.rejections],
            "do_not_contact": self.silent,
            "notes": self.notes,
        }


def look(file: ContactFile, *, most: int | None = None) -> FileLook:
    """Read a file, or its first `most` rows, without touching the database."""
    found = FileLook(file.columns)
    rows = file.contacts()
    for row in islice(rows, most):
        if isinstance(row, RejectedRow):
            found.rejected += 1
            if len(found.rejections) < SHOWN:
                found.rejections.append(row)
            continue
        found.usable += 1
        found.silent += row.refusals is not None
        if len(found.first) < SHOWN:
            found.first.append(_contact(row))
    found.whole = most is None or next(rows, None) is None
    # More of both may have come with the rows.
    found.columns, found.notes = list(file.columns), list(file.notes)
    return found


def shape_of(column: FileColumn) -> str:
    """Return in which shape the cells of a column are read, for a person."""
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


def run(
    engine: Engine,
    file: ContactFile,
    segment_key: str | None,
    reject: Callable[[RejectedRow], None],
    *,
    same_address: SameAddress,
    now: datetime,
    zone: ZoneInfo,
    begin: Begin | None = None,
) -> ImportDone:
    """Add or update the contacts of a file, in one transaction, whatever its size; memory does not grow with it.

    Each row that is left out goes to `reject`. `begin` begins the transaction, if not the engine. Raises CampaignError
    for a file that cannot be read, and NotFoundError when there is no such segment; then nothing is imported.
    """

    def usable() -> Iterator[Incoming]:
        for row in file.contacts():
            if isinstance(row, RejectedRow):
                reject(row)
            else:
                yield row

    with (begin or engine.begin)() as conn:
        segment, awaiting, joined = None, [], 0
        if segment_key is not None:
            segment = segments.find(conn, segment_key.strip())
            if segment is None:
                raise NotFoundError("segment", segment_key, "create it with `parcours segments create`")
        staged = contacts.stage(conn, usable())
        imported = contacts.merge(conn, now=now, same_address=same_address)
        rules.leave_imported(conn, now=now)
        texts = _texts(file, {row.line for row in imported.refused})
        for row in imported.refused:
            # Nobody can merge a contact that this row alone knows.
            why = in_use(row.email, owner=row.owner, key=row.key) if row.known else taken(row.email, owner=row.owner)
            reject(RejectedRow(row.line, why, texts.get(row.line, f"{row.key},{row.email}")))
        if segment is not None:
            for ids in contacts.staged_ids(conn, MEMBERS_A_STATEMENT):
                joined += len(segments.add_members(conn, segment.id, ids, manual=True, now=now))
            fed = [id_ for id_, _ in events.campaigns_of_segment(conn, segment.id)] if staged else []
            awaiting = sorted(row.key for row in campaigns.listing(conn, fed) if row.published)
    local_time.follow_all(engine, now=now, zone=zone)
    following.follow_all(engine, now=now, zone=zone)
    if staged >= BULK:
        with engine.begin() as conn:
            contacts.analyze(conn)
    return ImportDone(imported, awaiting, joined)


def _texts(file: ContactFile, lines: set[int]) -> dict[int, str]:
    """Return how rows of a file are written, which is read once more for them."""
    if not lines:
        return {}
    return {row.line: row.text for row in file.table.rows() if isinstance(row, FileRow) and row.line in lines}
