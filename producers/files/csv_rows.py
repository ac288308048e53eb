"""CSV: rows, and what a quote that is never closed would swallow of them."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from parcours.domain.contacts.identity import is_address
from parcours.domain.errors import CampaignError
from parcours.producers.files.headers import own_name
from parcours.producers.files.rows import BLANK, FileRow, RejectedRow
from parcours.producers.files.source import MAX_LINE, FileSource, LongLine

_DELIMITERS = ",;\t|"
_SEP = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)
_HALVES = re.compile("[\ud800-\udfff]")
_WORD = re.compile(r"\S{1,255}")


class _IsRow(Protocol):
    """Says whether a line, read by itself, is a row of a contact; `broken`: what it was read with is none."""

    def __call__(self, line: str, *, broken: bool) -> bool: ...


@dataclass(slots=True)
class CsvTable:
    """A CSV file: its columns, and its rows."""

    source: FileSource
    delimiter: str
    names: list[str]
    # The lines before the first row.
    skipped: int
    # Without a header, each line is one cell.
    plain: bool = False
    # The columns that say who somebody is.
    email_at: int | None = None
    key_at: int | None = None

    def rows(self) -> Iterator[FileRow | RejectedRow]:
        """Yield the rows after the header."""
        if self.plain:
            yield from self._plain_rows()
            return
        width = len(self.names)
        may_break = self.source.encoding.may_break
        for line, cells, text in _records(self._lines(), self.delimiter, width, self._is_row):
            if isinstance(cells, str):
                yield RejectedRow(line, cells, text)
                continue
            if len(cells) > width and (extra := next((cell for cell in cells[width:] if cell.strip()), None)):
                yield RejectedRow(
                    line, f"{len(cells)} cells, but the header has {width}: {extra[:40]!r} is too many", text
                )
                continue
            if "\0" in text:
                yield RejectedRow(line, "a NUL character", text)
            elif may_break and not text.isascii() and (half := _HALVES.search(text)):
                yield RejectedRow(line, _broken(half[0], self.source), text)
            else:
                # Programs leave out the blank cells at the end of a row, or add some.
                even = cells if len(cells) == width else cells[:width] + [BLANK] * (width - len(cells))
                yield FileRow(line, even, text)

    def _plain_rows(self) -> Iterator[FileRow | RejectedRow]:
        for number, line in self._lines():
            text = line.rstrip("\r\n")
            if isinstance(line, LongLine):
                yield RejectedRow(number, _too_long(), text)
            elif half := _HALVES.search(text):
                yield RejectedRow(number, _broken(half[0], self.source), text)
            elif text.strip():
                yield FileRow(number, [text], text)

    def _lines(self) -> Iterator[tuple[int, str]]:
        return (each for each in self.source.lines() if each[0] > self.skipped)

    def _is_row(self, line: str, *, broken: bool) -> bool:
        """Say whether a line that a quoted cell has swallowed would be a row by itself.

        Text that somebody wrote over several lines has neither as many cells, nor an address in the right one.
        """
        width = len(self.names)
        for cells in (_split(line, self.delimiter), [cell.strip('" ') for cell in line.split(self.delimiter)]):
            # When the whole makes no row, cells may also have been left out at the end.
            if len(cells) != width and not (broken and 1 < len(cells) < width):
                continue
            if self.email_at is not None:
                if self.email_at < len(cells) and is_address(cells[self.email_at]):
                    return True
            # A key may be any word, so that two columns prove nothing.
            elif self.key_at is not None and len(cells) == width > 2 and _WORD.fullmatch(cells[self.key_at].strip()):
                return True
        return False


def open_csv(source: FileSource, *, plain: bool = False) -> CsvTable:
    """Return a CSV file with what its first lines say.

    With `plain`, a file whose only column has no name that identifies anybody is a list without a header.

    Raises CampaignError for a header that cannot be one.
    """
    delimiter = source.options.delimiter
    skipped = 0
    first = ""
    for number, line in source.lines():
        if isinstance(line, LongLine):
            raise CampaignError(
                f"{source.name} is not a list of contacts: line {number} has more than {MAX_LINE:,} characters"
            )
        if (sep := _SEP.fullmatch(line.rstrip("\r\n"))) and not first:
            delimiter = delimiter or sep[1]
            skipped = number
        elif line.strip():
            first = line
            skipped = number - 1
            break
    if not first:
        raise source.is_empty()
    delimiter = delimiter or _delimiter(first)
    given = list(source.options.header)
    if given:
        return CsvTable(source, delimiter, given, skipped)
    lines = (each for each in source.lines() if each[0] > skipped)
    header = next(_records(lines, delimiter, 0, lambda _, broken: False), None)
    if header is None:
        raise CampaignError(f"{source.name} has no names of columns; add a first line that names them")
    first_line, cells, text = header
    if isinstance(cells, str):
        raise CampaignError(
            f"{source.name}: line {first_line} should contain the column names, but is not CSV: {cells}"
        )
    if "\0" in text or _HALVES.search(text):
        raise CampaignError(f"{source.name}: line {first_line} should contain the column names, but is not text")
    names = [" ".join(cell.split()) for cell in cells]
    if plain and len(names) == 1 and own_name(names[0]) not in ("key", "email"):
        return CsvTable(source, delimiter, names, skipped, plain=True)
    if any(is_address(name) for name in names):
        example = ",".join("email" if is_address(name) else f"column{place}" for place, name in enumerate(names, 1))
        raise CampaignError(
            f"{source.name}: line {first_line} contains an email address, so it is not a header; name the columns with "
            f'--columns "{example}", or add a first line that names them'
        )
    return CsvTable(source, delimiter, names, first_line - 1 + text.count("\n") + 1)


def _delimiter(line: str) -> str:
    """Return the sign that divides a header into columns that mean something, or into most."""

    def fits(sign: str) -> tuple[bool, int]:
        cells = _split(line, sign)
        knows = any(own_name(cell) in ("key", "email") for cell in cells)
        return knows and len(cells) > 1, len(cells)

    return max(_DELIMITERS, key=fits)


def _records(
    lines: Iterator[tuple[int, str]], delimiter: str, width: int, is_row: _IsRow
) -> Iterator[tuple[int, list[str] | str, str]]:
    """Yield the rows that are not blank: first line, cells or what is wrong, the text.

    When a quote swallowed lines that are rows by themselves, only the line with the quote is lost: the
    others are read again.
    """
    back: deque[tuple[int, str]] = deque()
    taken: list[tuple[int, str]] = []

    def noted() -> Iterator[str]:
        while True:
            each = back.popleft() if back else next(lines, None)
            if each is None:
                return
            taken.append(each)
            # Of a long line there is only the beginning, and a quote in it would swallow the lines that follow.
            yield "long\n" if isinstance(each[1], LongLine) else each[1]

    reader = csv.reader(noted(), delimiter=delimiter, strict=True)
    while True:
        taken.clear()
        cells: list[str] | str
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            cells = _in_words(error)
        number, text = taken[0]
        if isinstance(text, LongLine):
            cells = _too_long()
        if len(taken) > 1:
            broken = isinstance(cells, str) or len(cells) != width
            if any(is_row(line, broken=broken) for _, line in taken[1:]):
                back.extendleft(reversed(taken[1:]))
                reader = csv.reader(noted(), delimiter=delimiter, strict=True)
                cells = "a quote is not closed on this line; the following lines are read separately"
            else:
                if any(isinstance(line, LongLine) for _, line in taken):
                    cells = _too_long()
                text = "".join(line for _, line in taken)
        if isinstance(cells, str) or "".join(cells).strip():
            yield number, cells, text.rstrip("\r\n")


def _in_words(error: csv.Error) -> str:
    said = str(error)
    if "unexpected end of data" in said:
        return "a quote is not closed"
    if "field larger than field limit" in said:
        return f"a cell has more than {csv.field_size_limit():,} characters; check for an unclosed quote"
    return f"not CSV: {said}"


def _too_long() -> str:
    return f"the line has more than {MAX_LINE:,} characters"


def _broken(half: str, source: FileSource) -> str:
    # A byte that the codec does not know was escaped to U+DC80 ... U+DCFF.
    byte = ord(half) - 0xDC00
    if 0x80 <= byte <= 0xFF:
        return f"byte 0x{byte:02x} is not {source.encoding.name}; save the file as UTF-8"
    return "an incomplete character (a lone surrogate)"


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []
