"""Files of contacts, CSV or NDJSON: read row by row, and checked.

A file is never held in memory. What cannot be used of it comes out as `Rejected`, between
the rows that can.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from json.encoder import encode_basestring
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from zoneinfo import available_timezones

from db.contacts import Incoming
from domain.errors import CampaignError

KEY_LENGTH = 255
# What a contact has by itself; every other column is a custom field.
OWN = ("key", "email", "timezone", "points", "stage", "owner", "tags", "company")

_JSON_ENDINGS = (".ndjson", ".jsonl", ".json")
_CSV_ENDINGS = (".csv", ".tsv")
_DELIMITERS = ",;\t"
_TAG_SEPARATORS = re.compile(r"[|,]")
# Enough to tell an address from something else; only sending to it says more.
_ADDRESS = re.compile(r"[^\s\0]+@[^\s@\0]+")
_INTEGER = re.compile(r"[+-]?[0-9]{1,10}")
_POINTS = range(-(2**31), 2**31)
_NOTED_LINES = 2_000

Advance = Callable[[int], None]


class Rejected(NamedTuple):
    """A row that cannot be used, as it was in the file, without its line ending."""

    line: int
    reason: str
    row: str


class Named(NamedTuple):
    """A row that says who it is: by key or, in a file or object without keys, by e-mail address."""

    line: int
    by_email: bool
    name: str
    row: str


class _RowError(Exception):
    """Why a row is rejected."""


@dataclass(frozen=True, slots=True)
class _Csv:
    """What the first line of a CSV file said."""

    delimiter: str
    columns: list[str]


def contacts(path: Path, advance: Advance = lambda _: None) -> Iterator[Incoming | Rejected]:
    """Yield the rows of a file of contacts.

    NDJSON is told from CSV by the file's ending or, when that says nothing, by its first
    character. `advance` is called now and then with the number of bytes read.

    Raises CampaignError for a file that cannot be read as a whole: it is empty, not UTF-8, or
    has neither a column `key` nor `email`; OSError when it cannot be opened.
    """
    with _Source(path, advance) as source:
        header = None if source.is_json() else source.header()
        yield from _from_ndjson(source) if header is None else _from_csv(source, header)


def names(path: Path, advance: Advance = lambda _: None) -> Iterator[Named | Rejected]:
    """Yield who a file names: a plain list of keys, one a line, or what `contacts` reads.

    A file with one column that is headed neither `key` nor `email` is a plain list.
    Raises as `contacts` does.
    """
    with _Source(path, advance) as source:
        header = None if source.is_json() else source.header(plain=True)
        if header is not None:
            yield from _names_in_csv(source, header)
            return
        is_json = source.is_json()
        for line, row in source.lines():
            try:
                by_email, name = _named(_object(row)) if is_json else (False, _key(row))
                yield Named(line, by_email, name, row)
            except _RowError as error:
                yield Rejected(line, str(error), row)


def _names_in_csv(source: "_Source", header: "_Csv") -> Iterator[Named | Rejected]:
    by_email = "key" not in header.columns
    place = header.columns.index("email" if by_email else "key")
    for line, cells, row in source.records(header):
        try:
            if isinstance(cells, _RowError):
                raise cells
            yield Named(line, by_email, _email(cells[place]) if by_email else _key(cells[place]), row)
        except _RowError as error:
            yield Rejected(line, str(error), row)


def _named(given: dict[str, Any]) -> tuple[bool, str]:
    by_email = "key" not in given and "email" in given
    return by_email, _email(given["email"]) if by_email else _key(given.get("key"))


class _Source:
    """An open file, and where in it we are."""

    def __init__(self, path: Path, advance: Advance) -> None:
        self.path = path
        self._advance = advance

    def __enter__(self) -> "_Source":
        self._bytes = self.path.open("rb")
        # newline="" leaves line endings to the csv module, which knows those inside quotes.
        self._text: TextIO = TextIOWrapper(self._bytes, encoding="utf-8-sig", newline="")
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()

    def is_json(self) -> bool:
        """Say whether this is NDJSON; raises CampaignError when there is nothing but blanks."""
        first = ""
        for line in self._physical():
            first = line.lstrip()[:1]
            if first:
                break
        if not first:
            raise CampaignError(f"{self.path} is empty")
        self._text.seek(0)
        ending = self.path.suffix.lower()
        is_json = ending in _JSON_ENDINGS or (ending not in _CSV_ENDINGS and first == "{")
        if is_json and first == "[":
            raise CampaignError(f"{self.path} is a JSON array; write one object a line, without the brackets")
        return is_json

    def header(self, *, plain: bool = False) -> _Csv | None:
        """Read the first line as the header of a CSV file.

        With `plain`, None for one column that names nobody; the file is then at its beginning.
        """
        line = next(line for line in self._physical() if line.strip())
        delimiter = max(_DELIMITERS, key=lambda sign: len(_split(line, sign)))
        columns = [_own_name(column.strip()) for column in _split(line, delimiter)]
        if "key" not in columns and "email" not in columns:
            if plain and len(columns) == 1:
                self._text.seek(0)
                return None
            found = ", ".join(columns)
            raise CampaignError(f"{self.path} has no column 'key' or 'email'; its columns are: {found}")
        for place, column in enumerate(columns):
            if not column or "\0" in column:
                raise CampaignError(f"{self.path}: column {place + 1} has no name")
            if column in columns[:place]:
                raise CampaignError(f"{self.path}: two columns are named {column!r}")
        return _Csv(delimiter, columns)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the lines that are not blank, with their numbers, from the beginning."""
        for number, line in enumerate(self._physical(), 1):
            if line.strip():
                yield number, line.rstrip("\r\n")

    def records(self, header: _Csv) -> Iterator[tuple[int, list[str] | _RowError, str]]:
        """Yield the rows after the header: number, cells or what is wrong with them, the row as it was."""
        self._text.seek(0)
        taken: list[str] = []
        width = len(header.columns)

        def noted() -> Iterator[str]:
            for line in self._physical():
                taken.append(line)
                yield line

        reader = csv.reader(noted(), delimiter=header.delimiter, strict=True)
        started = False
        while True:
            taken.clear()
            cells: list[str] | _RowError
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                cells = _RowError(f"not CSV: {error}")
            if not cells or not (started or "".join(taken).strip()):
                continue
            if not started:
                started = True
                continue
            row = taken[0] if len(taken) == 1 else "".join(taken)
            if isinstance(cells, list):
                if len(cells) != width:
                    cells = _RowError(f"{len(cells)} cells, but the header has {width}")
                elif "\0" in row:
                    cells = _RowError("a NUL character")
            yield reader.line_num - len(taken) + 1, cells, row.rstrip("\r\n")

    def _physical(self) -> Iterator[str]:
        try:
            for number, line in enumerate(self._text, 1):
                yield line
                if number % _NOTED_LINES == 0:
                    self._advance(self._bytes.tell())
        except UnicodeDecodeError:
            raise self._undecodable() from None

    def _undecodable(self) -> CampaignError:
        with self.path.open("rb") as again:
            for number, line in enumerate(again, 1):
                try:
                    line.decode()
                except UnicodeDecodeError as error:
                    return CampaignError(
                        f"{self.path} is not UTF-8: line {number}, byte {error.start + 1} "
                        f"is 0x{line[error.start]:02x}; save it as UTF-8"
                    )
        return CampaignError(f"{self.path} is not UTF-8; save it as UTF-8")


def _from_csv(source: _Source, header: _Csv) -> Iterator[Incoming | Rejected]:
    # This loop runs a million times: what does not change from row to row is worked out before it.
    places = {column: place for place, column in enumerate(header.columns)}
    by_email = "key" not in places
    key_at, email_at = places.get("key"), places.get("email")
    zone_at, points_at = places.get("timezone"), places.get("points")
    stage_at, owner_at, tags_at = places.get("stage"), places.get("owner"), places.get("tags")
    company_at = places.get("company")
    custom = [
        (place, encode_basestring(column) + ":") for place, column in enumerate(header.columns) if column not in OWN
    ]
    for line, cells, row in source.records(header):
        try:
            if isinstance(cells, _RowError):
                raise cells
            email = None
            if email_at is not None and (by_email or cells[email_at].strip()):
                email = _email(cells[email_at])
            if key_at is None:
                assert email is not None
                key = _key(email)
            else:
                key = _key(cells[key_at])
            points = None
            if points_at is not None and cells[points_at].strip():
                points = _points(cells[points_at])
            fields = ",".join(
                [name + encode_basestring(cells[place]) for place, name in custom if cells[place].strip()]
            )
            yield Incoming(
                line,
                by_email,
                key,
                email,
                None if zone_at is None else _timezone(cells[zone_at]),
                points,
                None if stage_at is None else cells[stage_at].strip() or None,
                None if owner_at is None else cells[owner_at].strip() or None,
                "{" + fields + "}" if fields else None,
                None if tags_at is None else _tags(_TAG_SEPARATORS.split(cells[tags_at])),
                None if company_at is None else _company(cells[company_at]),
            )
        except _RowError as error:
            yield Rejected(line, str(error), row)


def _from_ndjson(source: _Source) -> Iterator[Incoming | Rejected]:
    for line, row in source.lines():
        try:
            given = _object(row)
            email = _text(given, "email")
            by_email = "key" not in given
            if email is not None or (by_email and "email" in given):
                email = _email(email)
            key = _key(email if by_email else given["key"])
            fields = {name: value for name, value in given.items() if name not in OWN}
            points, zone, tags = given.get("points"), _text(given, "timezone"), given.get("tags")
            yield Incoming(
                line,
                by_email,
                key,
                email,
                None if zone is None else _timezone(zone),
                None if points is None or points == "" else _points(points),
                _text(given, "stage"),
                _text(given, "owner"),
                _encode(fields) if fields else None,
                None if tags is None else _tags(_tag_list(tags)),
                _company(_text(given, "company") or ""),
            )
        except _RowError as error:
            yield Rejected(line, str(error), row)


def _company(text: str) -> str | None:
    company = text.strip()
    if len(company) > KEY_LENGTH:
        raise _RowError(f"the company is longer than {KEY_LENGTH} characters")
    return company or None


def _object(row: str) -> dict[str, Any]:
    if "\0" in row:
        raise _RowError("a NUL character")
    try:
        given = json.loads(row, parse_constant=_no_constant)
    except RecursionError:
        raise _RowError("not JSON that can be used: nested too deep") from None
    except ValueError as error:
        raise _RowError(f"not JSON: {error}") from None
    if not isinstance(given, dict):
        raise _RowError("not a JSON object")
    # Only escapes can bring in what the database cannot store.
    if "\\u" in row:
        whole = _encode(given)
        try:
            whole.encode()
        except UnicodeEncodeError:
            raise _RowError("half of a surrogate pair") from None
        if _has_nul(given):
            raise _RowError("a NUL character")
    return given


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _encode(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise _RowError("a number too large to store") from None


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in name or _has_nul(inner) for name, inner in value.items())
    return isinstance(value, list) and any(_has_nul(inner) for inner in value)


def _text(given: dict[str, Any], name: str) -> str | None:
    value = given.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise _RowError(f"{name} is not a text")
    return (value or "").strip() or None


def _key(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None or value == "":
        raise _RowError("no key")
    if not isinstance(value, str):
        raise _RowError("key is not a text")
    key = value.strip()
    if not key:
        raise _RowError("no key")
    if "\0" in key:
        raise _RowError("a NUL character")
    if len(key) > KEY_LENGTH:
        raise _RowError(f"a key of {len(key)} characters; {KEY_LENGTH} is the most")
    return key


def _email(value: Any) -> str:
    email = value.strip() if isinstance(value, str) else ""
    if not email:
        raise _RowError("no key: no e-mail address")
    if not is_address(email):
        raise _RowError(f"not an e-mail address: {email!r}")
    return email


def is_address(text: str) -> bool:
    """Return whether a text looks like an e-mail address."""
    return _ADDRESS.fullmatch(text) is not None


def _timezone(value: str) -> str | None:
    name = value.strip()
    if not name:
        return None
    if name not in _timezones():
        raise _RowError(f"unknown timezone {name!r}")
    return name


def _points(value: Any) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise _RowError(f"points is not a whole number: {value!r}")
    if value not in _POINTS:
        raise _RowError(f"points out of range: {value}")
    return value


def _tag_list(value: Any) -> list[str]:
    if isinstance(value, str):
        return _TAG_SEPARATORS.split(value)
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        raise _RowError("tags is not a list of texts")
    return value


def _tags(tags: list[str]) -> str | None:
    trimmed = [encode_basestring(tag.strip()) for tag in tags if tag.strip()]
    return "[" + ",".join(trimmed) + "]" if trimmed else None


def _timezones() -> set[str]:
    if not _zones:
        _zones.update(available_timezones())
    return _zones


_zones: set[str] = set()


def _own_name(column: str) -> str:
    """Return an own attribute's name for a column in any capitals, so that "Email" is the address."""
    return column.lower() if column.lower() in OWN else column


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])
