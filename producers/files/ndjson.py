"""NDJSON: an object a line; its properties are the columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from parcours.domain import gate
from parcours.producers.files.headers import OWN
from parcours.producers.files.rows import BLANK, FileRow, RejectedRow, RowError
from parcours.producers.files.source import MAX_LINE, FileSource, LongLine

# More than any program exports; each costs a place in every row.
MAX_PROPERTIES = 2_000


@dataclass(slots=True)
class JsonTable:
    """A file of objects; a property that was not met before is one more column."""

    source: FileSource
    names: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def rows(self) -> Iterator[FileRow | RejectedRow]:
        """Yield the objects as rows; what an object does not say is blank."""
        for number, line in self.source.lines():
            text = line.rstrip("\r\n")
            if not text.strip():
                continue
            try:
                if isinstance(line, LongLine):
                    raise RowError(f"the line has more than {MAX_LINE:,} characters")
                yield FileRow(number, self._cells(_object(text)), text)
            except RowError as error:
                yield RejectedRow(number, str(error), text)

    def _cells(self, given: dict[str, Any]) -> list[Any]:
        cells: list[Any] = [BLANK] * len(self.names)
        for written, value in given.items():
            # A contact's own attributes are known in any capitals, which may differ from object to object.
            name = written.lower() if written.lower() in OWN else written
            place = self._places.get(name)
            if place is None:
                if len(self.names) >= MAX_PROPERTIES:
                    raise RowError(f"the file has more than {MAX_PROPERTIES:,} different properties")
                place = self._places[name] = len(self.names)
                self.names.append(name)
                cells.append(BLANK)
            if name != written and name in given and given[name] != value:
                raise RowError(f"it contains {name} twice, as {name!r} and as {written!r}")
            cells[place] = value
        return cells


def _object(text: str) -> dict[str, Any]:
    if "\0" in text:
        raise RowError("a NUL character")
    try:
        given = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise RowError("JSON is nested too deeply") from None
    except ValueError as error:
        raise RowError(f"not JSON: {gate.why_not_json(error)}") from None
    if not isinstance(given, dict):
        raise RowError("not a JSON object")
    try:
        gate.check(given, "the object")
    except gate.GateError as error:
        raise RowError(str(error)) from None
    return given


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
