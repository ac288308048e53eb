"""A file of contacts, read: what its columns mean, and its rows as contacts to be imported."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, NamedTuple

from parcours.db.tables.contacts import Incoming
from parcours.domain.contacts import identity, tags
from parcours.domain.errors import CampaignError
from parcours.domain.keys import KEY_LENGTH
from parcours.producers.files.columns import FileColumn, place_of, understand
from parcours.producers.files.csv_rows import CsvTable, open_csv
from parcours.producers.files.headers import FIELD_NAMES
from parcours.producers.files.ndjson import JsonTable
from parcours.producers.files.options import Options
from parcours.producers.files.refusals import is_gone, is_plain, refuses
from parcours.producers.files.rows import FileRow, RejectedRow, RowError, Table
from parcours.producers.files.shapes import TEXT, Seen, shape_of
from parcours.producers.files.source import Advance, FileSource, opened
from parcours.producers.files.workbook import open_workbook

# So many rows say what a column is; more are read only while nothing says whether a day or a month comes first.
SAMPLE = 2_000

_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_POINTS = range(-(2**31), 2**31)
# Fields whose digits are no numbers.
_TEXTS = frozenset(FIELD_NAMES)
# What Google puts between several values in one cell.
_SEVERAL = " ::: "


class Named(NamedTuple):
    """A row that says who it is: by key or, in a file or object without keys, by email address."""

    line: int
    by_email: bool
    name: str
    row: str


@dataclass(slots=True)
class _Told:
    """Values of one kind that were left as they are: how many, and the first."""

    line: int
    example: str
    count: int = 1


@dataclass(slots=True)
class ContactFile:
    """An open file of contacts."""

    source: FileSource
    table: Table
    columns: list[FileColumn]
    _notes: list[str]
    _told: dict[str, _Told] = field(default_factory=dict)
    _key_at: int | None = None
    _email_at: int | None = None

    def __post_init__(self) -> None:
        self._key_at, self._email_at = place_of(self.columns, "key"), place_of(self.columns, "email")

    @property
    def notes(self) -> list[str]:
        """What was guessed and what was left alone, in sentences; more come while rows are read."""
        later = [
            f"{says}: {told.count:,} {'cell' if told.count == 1 else 'cells'}, the first in line {told.line:,}: "
            f"{told.example!r}."
            for says, told in self._told.items()
        ]
        return [*self.source.notes, *self._notes, *later]

    def contacts(self) -> Iterator[Incoming | RejectedRow]:
        """Yield the rows as contacts; what cannot be used comes between them."""
        build = _Builder(self)
        for row in self.table.rows():
            if isinstance(row, RejectedRow):
                yield row
                continue
            try:
                yield build(row)
            except RowError as error:
                yield RejectedRow(row.line, str(error), row.text)

    def names(self) -> Iterator[Named | RejectedRow]:
        """Yield who the rows name."""
        for row in self.table.rows():
            if isinstance(row, RejectedRow):
                yield row
                continue
            try:
                self.follow()
                key, email = self.who(row.cells)
                yield Named(row.line, key is None, key or email or "", row.text)
            except RowError as error:
                yield RejectedRow(row.line, str(error), row.text)

    def who(self, cells: list[Any]) -> tuple[str | None, str | None]:
        """Return the key and the address of a row, one of which may be None; raises RowError when both are."""
        key = None if self._key_at is None else _key(cells[self._key_at])
        email = None if self._email_at is None else _email(cells[self._email_at])
        if key is None and email is None:
            raise RowError(_nobody(self._key_at, self._email_at))
        return key, email

    def follow(self) -> bool:
        """Take in columns that turned up since, as properties of objects do; return whether there were any."""
        if len(self.columns) == len(self.table.names):
            return False
        self.columns[:] = _with_shapes_of(self.columns, understand(self.table.names, self.source.options)[0])
        self.__post_init__()
        return True

    def tell(self, says: str, line: int, example: Any) -> None:
        """Count a cell that was left as it is."""
        told = self._told.get(says)
        if told is None:
            self._told[says] = _Told(line, str(example)[:60])
        else:
            told.count += 1


@contextmanager
def contact_file(
    path: Path,
    options: Options | None = None,
    advance: Advance = lambda _: None,
    *,
    plain: bool = False,
    anybody: bool = False,
) -> Iterator[ContactFile]:
    """Open a file of contacts; `advance` is called now and then with the number of bytes read.

    With `plain`, a file of one column may be a list of keys without a header. With `anybody`, no column has to say who
    somebody is: all rows are then rejected, and a person sees the columns.

    Raises CampaignError for a file that cannot be read as a whole; OSError when it cannot be opened.
    """
    options = options or Options()
    with opened(path, options, advance) as source:
        table = _table(source, plain=plain)
        sample = _sample(table)
        columns, notes = understand(table.names, options)
        if getattr(table, "plain", False):
            columns = [FileColumn(table.names[0], "own", "key")]
        elif not anybody:
            _check(source, table, columns)
        if isinstance(table, CsvTable):
            table.email_at, table.key_at = place_of(columns, "email"), place_of(columns, "key")
        file = ContactFile(source, table, columns, notes)
        if not getattr(table, "plain", False):
            _find_shapes(file, sample)
        yield file


def contacts(
    path: Path, advance: Advance = lambda _: None, options: Options | None = None
) -> Iterator[Incoming | RejectedRow]:
    """Yield the rows of a file of contacts. Raises as `contact_file` does."""
    with contact_file(path, options, advance) as file:
        yield from file.contacts()


def names(
    path: Path, advance: Advance = lambda _: None, options: Options | None = None
) -> Iterator[Named | RejectedRow]:
    """Yield who a file names: a plain list of keys, one a line, or what `contacts` reads. Raises as it does."""
    with contact_file(path, options, advance, plain=True) as file:
        yield from file.names()


def _table(source: FileSource, *, plain: bool) -> CsvTable | JsonTable | Table:
    kind = source.kind()
    if kind == "workbook":
        return open_workbook(source, plain=plain)
    return JsonTable(source) if kind == "json" else open_csv(source, plain=plain)


def _sample(table: Table) -> list[FileRow]:
    """Return the first rows. It also makes known which properties objects have."""
    found: list[FileRow] = []
    for number, row in enumerate(table.rows(), 1):
        if isinstance(row, FileRow):
            found.append(row)
        if number >= SAMPLE:
            break
    return found


def _check(source: FileSource, table: Table, columns: list[FileColumn]) -> None:
    if place_of(columns, "key") is not None or place_of(columns, "email") is not None:
        return
    found = ", ".join(repr(column.name) for column in columns if column.name)[:300]
    if isinstance(table, JsonTable):
        # Each line says by itself what is wrong with it.
        return
    raise CampaignError(
        f"{source.name} has no column 'key' or 'email'; its columns are: {found}. Say which one it is, like "
        f'--map "{columns[0].name}=email", or give all names with --columns if the first line is not a header'
    )


def _find_shapes(file: ContactFile, sample: list[FileRow]) -> None:
    """Find out in which shape each field is written, from the sample and, if that leaves it open, the rest."""
    options, columns = file.source.options, file.columns
    places = [place for place, column in enumerate(columns) if column.role == "field" and column.target not in _TEXTS]
    seen = {place: Seen() for place in places}
    for row in sample:
        for place in places:
            if place < len(row.cells) and isinstance(row.cells[place], str):
                seen[place].see(row.cells[place])
    open_ = [place for place in places if seen[place].needs_order]
    if (
        open_
        and options.dates is None
        and len(sample) >= SAMPLE
        and not any(s.day_first or s.month_first for s in seen.values())
    ):
        for number, each in enumerate(file.table.rows(), 1):
            if number > SAMPLE and isinstance(each, FileRow):
                for place in open_:
                    if place < len(each.cells) and isinstance(each.cells[place], str):
                        seen[place].see(each.cells[place])
                if any(seen[place].day_first or seen[place].month_first for place in open_):
                    break
    delimiter = getattr(file.table, "delimiter", ",")
    every = list(seen.values())
    for place in places:
        column = columns[place]
        column.shape, told = shape_of(column.name, seen[place], every, options, comma_likely=delimiter == ";")
        if told is not None:
            file._notes.append(told)
    _tell_of_nameless(file, sample)


def _tell_of_nameless(file: ContactFile, sample: list[FileRow]) -> None:
    for place, column in enumerate(file.columns):
        value = next((row.cells[place] for row in sample if not column.name and str(row.cells[place]).strip()), None)
        if value is not None:
            file._notes.append(
                f"Column {place + 1} has no name and is ignored; it contains values such as {str(value)[:40]!r}."
            )


def _with_shapes_of(before: list[FileColumn], after: list[FileColumn]) -> list[FileColumn]:
    for old, new in zip(before, after, strict=False):
        if old.target == new.target:
            new.shape = old.shape
    return after


class _Builder:
    """Makes contacts of rows. A million rows pass here: what is the same for all is worked out before."""

    def __init__(self, file: ContactFile) -> None:
        self._file = file
        self._prepare()

    def _prepare(self) -> None:
        columns = self._file.columns
        at = {name: place_of(columns, name) for name in ("timezone", "points", "stage", "owner", "tags", "company")}
        self._zone_at, self._points_at, self._stage_at = at["timezone"], at["points"], at["stage"]
        self._owner_at, self._tags_at, self._company_at = at["owner"], at["tags"], at["company"]
        self._fields: list[tuple[int, str, FileColumn | None]] = [
            # A column of text needs nothing but quotes.
            (
                place,
                encode_basestring(column.target) + ":",
                column if column.shape != TEXT or column.target in _TEXTS else None,
            )
            for place, column in enumerate(columns)
            if column.role == "field"
        ]
        self._refusing = [(place, column) for place, column in enumerate(columns) if column.refusal or column.is_status]

    def __call__(self, row: FileRow) -> Incoming:
        file = self._file
        if len(file.columns) != len(file.table.names) and file.follow():
            self._prepare()
        cells = row.cells
        key, email = file.who(cells)
        zone = points = stage = owner = tagged = company = None
        if self._zone_at is not None:
            zone = _timezone(cells[self._zone_at])
        if self._points_at is not None:
            points = _points(cells[self._points_at])
        if self._stage_at is not None:
            stage = _text(cells[self._stage_at], "stage")
        if self._owner_at is not None:
            owner = _text(cells[self._owner_at], "owner")
        if self._tags_at is not None:
            tagged = _tags(cells[self._tags_at])
        if self._company_at is not None:
            company = _company(cells[self._company_at])
        fields = []
        for place, name, column in self._fields:
            cell = cells[place]
            if cell.__class__ is str:
                if not cell or cell.isspace():
                    continue
                if column is None or column.shape is TEXT:
                    fields.append(name + encode_basestring(cell))
                else:
                    fields.append(name + self._shaped(row.line, column, cell))
            else:
                fields.append(name + self._json(column, cell))
        return Incoming(
            row.line,
            key is None,
            key or email or "",
            email,
            zone,
            points,
            stage,
            owner,
            "{" + ",".join(fields) + "}" if fields else None,
            tagged,
            company,
            self._refused(row) if self._refusing else None,
        )

    def _shaped(self, line: int, column: FileColumn, cell: str) -> str:
        value = column.shape.read(cell)
        if value is None:
            says = f"Column {column.name!r} is read as {column.shape.words}; other values are kept as text"
            self._file.tell(says, line, cell)
            return encode_basestring(cell)
        return json.dumps(value, ensure_ascii=False)

    def _json(self, column: FileColumn | None, cell: Any) -> str:
        if (
            column is not None
            and column.target in _TEXTS
            and isinstance(cell, int | float)
            and not isinstance(cell, bool)
        ):
            # A workbook keeps a telephone number as a number.
            return encode_basestring(str(cell))
        return json.dumps(cell, ensure_ascii=False, allow_nan=False)

    def _refused(self, row: FileRow) -> str | None:
        found: dict[str, str] = {}
        for place, column in self._refusing:
            cell = row.cells[place]
            if column.refusal is None:
                if is_gone(cell):
                    found["email"] = "unsubscribed"
                continue
            if refuses(cell, on_no=column.refusal.on_no):
                if not column.refusal.on_no and not is_plain(cell):
                    self._file.tell(
                        f"Column {column.name!r} sets do not contact; values other than yes or no count as yes",
                        row.line,
                        cell,
                    )
                for channel in column.refusal.channels:
                    # What a person said outranks what a mail server said.
                    if found.get(channel) != "unsubscribed":
                        found[channel] = column.refusal.reason
        return json.dumps(found) if found else None


def _nobody(key_at: int | None, email_at: int | None) -> str:
    if key_at is None:
        return "no email address"
    return "no key" if email_at is None else "no key and no email address"


def _key(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        return None
    if not isinstance(value, str):
        raise RowError("key is not a text")
    key = value.strip()
    if len(key) > KEY_LENGTH:
        raise RowError(f"the key has {len(key)} characters; the maximum is {KEY_LENGTH}")
    return key or None


def _email(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise RowError(f"not an email address: {str(value)[:60]!r}")
    text = value.strip()
    if _SEVERAL in text:
        text = text.split(_SEVERAL)[0].strip()
    if not text:
        return None
    try:
        return identity.address(text)
    except identity.IdentityError as error:
        raise RowError(str(error)) from None


def _text(value: Any, name: str) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise RowError(f"{name} is not a text")
    return (value or "").strip() or None


def _company(value: Any) -> str | None:
    company = _text(value, "company")
    if company is not None and len(company) > KEY_LENGTH:
        raise RowError(f"the company is longer than {KEY_LENGTH} characters")
    return company


def _timezone(value: Any) -> str | None:
    name = _text(value, "timezone")
    if name is None:
        return None
    zone, error = _known_zone(name)
    if error is not None:
        raise RowError(error)
    return zone


@lru_cache(maxsize=4_096)
def _known_zone(name: str) -> tuple[str | None, str | None]:
    """Return a timezone or why it is none: looking for the nearest name takes a while, and files repeat few."""
    try:
        # As HubSpot writes it.
        return identity.timezone(name.replace("_slash_", "/")), None
    except identity.IdentityError as error:
        return None, str(error)


def _points(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        if _INTEGER.fullmatch(text):
            value = int(text)
    if not isinstance(value, int) or isinstance(value, bool):
        shown = value[:60] if isinstance(value, str) else json.dumps(value)[:60]
        raise RowError(f"points is not a whole number: {shown!r}")
    if value not in _POINTS:
        raise RowError(f"points out of range: {str(value)[:60]}")
    return value


def _tags(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        # Mailchimp puts each into quotes of its own, Google a star before those of the system.
        found = [tag.strip('"').removeprefix("* ").strip() for tag in tags.split(value)]
    elif isinstance(value, list) and all(isinstance(tag, str) for tag in value):
        found = [tag.strip() for tag in value]
        for tag in found:
            if why := tags.why_not_one(tag):
                raise RowError(f"tags: {why}")
    else:
        raise RowError("tags is not a list of texts")
    encoded = [encode_basestring(tag) for tag in dict.fromkeys(found) if tag]
    return "[" + ",".join(encoded) + "]" if encoded else None
