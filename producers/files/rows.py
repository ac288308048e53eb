"""A row of a file, and one that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

# What a cell holds that says nothing. None is the null that a JSON object says.
BLANK = ""


class RowError(Exception):
    """Why a row is rejected."""


class RejectedRow(NamedTuple):
    """A row that cannot be used, as it was in the file, without its line ending."""

    line: int
    reason: str
    row: str


class FileRow(NamedTuple):
    """A row of a file: its first line, its cells in the order of the columns, and how it was written."""

    line: int
    cells: list[Any]
    text: str


class Table(Protocol):
    """A file with columns."""

    @property
    def names(self) -> list[str]:
        """The names of the columns; of objects, those that were met so far."""

    def rows(self) -> Iterator[FileRow | RejectedRow]:
        """Yield the rows that are not blank, from the beginning."""
