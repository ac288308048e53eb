"""Values on their way to the server and back, where the driver's own way takes long for thousands of them.

A batch sends some thirty lists as array parameters, with a thousand values each, and reads a thousand
contacts with their fields.
"""

import json
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from psycopg.abc import Buffer, DumperKey
from psycopg.adapt import Loader, PyFormat
from psycopg.types import array


def _quoted(value: object) -> str:
    written = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{written}"'


_WRITERS: dict[type, Callable[[Any], str]] = {int: str, bool: str, str: _quoted, date: _quoted, datetime: _quoted}


class ListDumper(array.ListDumper):
    """Writes a list whose values are of one plain type, or None, in one go; others as the driver does.

    The driver's own writer looks at each value for its type and for what to escape. The parameter
    has no type of its own, so a statement says which it means: `CAST(:ids AS bigint[])`.
    """

    def get_key(self, obj: list[Any], format: PyFormat) -> DumperKey:  # noqa: A002
        return self.cls

    def dump(self, obj: list[Any]) -> Buffer | None:
        kinds = set(map(type, obj))
        if kinds == {int}:
            # Written by the interpreter in one call; the spaces do not matter.
            return f"{{{str(obj)[1:-1]}}}".encode()
        kinds -= {type(None)}
        if len(kinds) > 1 or not kinds <= _WRITERS.keys():
            return super().dump(obj)
        writer = _WRITERS[kinds.pop()] if kinds else str
        # Columns repeat themselves: a batch has few steps, results and instants.
        written = {value: "NULL" if value is None else writer(value) for value in set(obj)}
        return f"{{{','.join(map(written.__getitem__, obj))}}}".encode()


def column(values: list[Any]) -> list[Any] | None:
    """Return values for an `unnest` beside others; None where no row has one, which the server fills up with NULL."""
    return None if values.count(None) == len(values) else values


_decode = json.JSONDecoder().raw_decode


class JsonbLoader(Loader):
    """Reads a jsonb, which the server writes in UTF-8 and without blanks around it."""

    def load(self, data: Buffer) -> Any:
        return _decode(str(data, "utf-8"))[0]
