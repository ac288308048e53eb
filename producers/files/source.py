"""A file as bytes: opened, told from what is no file of contacts, and read line by line."""

from __future__ import annotations

import io
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Literal

from parcours.domain.errors import CampaignError
from parcours.producers.files.encodings import Encoding, encoding_of
from parcours.producers.files.options import Options

Advance = Callable[[int], None]
Kind = Literal["csv", "json", "workbook"]

# Characters of a line. What is longer is no row of anything.
MAX_LINE = 1_000_000
_NOTED_LINES = 2_000
_HEAD = 4_096

_JSON_ENDINGS = (".ndjson", ".jsonl", ".json")
_CSV_ENDINGS = (".csv", ".tsv")

_SAVE = "export your contacts as CSV, or save the sheet as CSV UTF-8 or XLSX"
# How a file begins, and what it is.
_SIGNATURES = (
    (b"\x89PNG", "is a PNG image"),
    (b"\xff\xd8\xff", "is a JPEG image"),
    (b"GIF8", "is a GIF image"),
    (b"%PDF", "is a PDF document"),
    (b"{\\rtf", "is an RTF document"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"BZh", "is compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "is compressed with xz; unpack it first"),
    (b"7z\xbc\xaf", "is a 7-Zip archive; unpack it first"),
    (b"Rar!", "is a RAR archive; unpack it first"),
    (b"SQLite format 3", "is a SQLite database"),
    (b"PAR1", "is a Parquet file"),
    (b"\x7fELF", "is a program"),
    (b"BEGIN:VCARD", "holds vCards"),
    (
        b"\xd0\xcf\x11\xe0",
        "is a workbook of Excel 97-2003 (.xls) or one with a password; open it, and save it as .xlsx "
        "without a password or as CSV UTF-8",
    ),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


class LongLine(str):
    """The beginning of a line that is too long."""

    __slots__ = ()


@dataclass(slots=True)
class FileSource:
    """An open file that can be read several times."""

    # As a person calls it.
    name: str
    ending: str
    binary: BinaryIO
    advance: Advance
    options: Options
    # What was guessed, for a person.
    notes: list[str] = field(default_factory=list)
    _encoding: Encoding | None = None

    def is_empty(self) -> CampaignError:
        """Return what is said of a file in which nothing stands."""
        return CampaignError(f"{self.name} is empty; a list of contacts has a header and a row for each contact")

    def kind(self) -> Kind:
        """Return what the file is; raises CampaignError when it cannot be a list of contacts."""
        self.binary.seek(0)
        head = self.binary.read(_HEAD)
        if head.startswith(b"PK\x03\x04"):
            return self._zipped()
        for signature, says in _SIGNATURES:
            if head.startswith(signature):
                hint = "" if ";" in says else f", not a list of contacts; {_SAVE}"
                raise CampaignError(f"{self.name} {says}{hint}")
        if head.lstrip().lower().startswith(_PAGES):
            raise CampaignError(f"{self.name} is a web page or XML, not a list of contacts; {_SAVE}")
        if self.encoding.is_bytes(head):
            raise CampaignError(f"{self.name} is not text; {_SAVE}")
        first = next((text for _, line in self.lines() if (text := line.strip())), None)
        if first is None:
            raise self.is_empty()
        is_json = self.ending in _JSON_ENDINGS or (self.ending not in _CSV_ENDINGS and first[0] == "{")
        if is_json and first[0] == "[":
            raise CampaignError(f"{self.name} is a JSON array; write one object per line, without the brackets")
        return "json" if is_json else "csv"

    @property
    def encoding(self) -> Encoding:
        """How its bytes are text; the first call may read the whole file."""
        if self._encoding is None:
            self._encoding = encoding_of(self.binary, self.options.encoding)
            if self._encoding.told:
                self.notes.append(self._encoding.told)
        return self._encoding

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield all lines with their numbers and endings, from the beginning; of a long one its beginning.

        Raises CampaignError for bytes that stop the reading.
        """
        self.binary.seek(0)
        # newline="" leaves line endings to the csv module, which knows those inside quotes.
        text = TextIOWrapper(self.binary, encoding=self.encoding.codec, errors=self.encoding.errors, newline="")
        number = 0
        try:
            readline = text.readline
            while line := readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE and line[-1] not in "\r\n":
                    line = LongLine(line[:80])
                    while (rest := readline(MAX_LINE)) and rest[-1] not in "\r\n":
                        pass
                yield number, line
                if number % _NOTED_LINES == 0:
                    self.advance(self.binary.tell())
        except UnicodeError as error:
            raise CampaignError(
                f"{self.name} cannot be read as {self.encoding.name} after line {number}: "
                f"{getattr(error, 'reason', error)}; give its encoding with --encoding"
            ) from None
        finally:
            # Otherwise the end of the wrapper closes the file. Who stops reading early may have closed it before.
            with suppress(ValueError):
                text.detach()

    def _zipped(self) -> Kind:
        try:
            with zipfile.ZipFile(self.binary) as archive:
                names = set(archive.namelist())
                mime = archive.read("mimetype")[:80] if "mimetype" in names else b""
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
            raise CampaignError(
                f"{self.name} is a damaged workbook (XLSX); open it in your spreadsheet program and "
                "save it again as XLSX or CSV UTF-8"
            ) from None
        if "xl/workbook.xml" in names:
            return "workbook"
        if "xl/workbook.bin" in names:
            raise CampaignError(f"{self.name} is a binary workbook (.xlsb); save it as XLSX or CSV UTF-8")
        if b"opendocument.spreadsheet" in mime:
            raise CampaignError(f"{self.name} is an OpenDocument sheet (.ods); save it as XLSX or CSV UTF-8")
        raise CampaignError(f"{self.name} is a ZIP archive, not a list of contacts; unpack it first")


def is_standard_input(path: Path) -> bool:
    """Return whether a path means what is piped into the command."""
    return str(path) in ("-", "/dev/stdin")


@contextmanager
def opened(path: Path, options: Options, advance: Advance) -> Iterator[FileSource]:
    """Open a file, or what comes through a pipe, which goes to a temporary file first.

    Raises OSError when it cannot be opened.
    """
    if is_standard_input(path):
        name = "standard input"
        binary: BinaryIO = sys.stdin.buffer if isinstance(sys.stdin, io.TextIOWrapper) else path.open("rb")
    else:
        name, binary = str(path), path.open("rb")
    try:
        if not binary.seekable() or not stat.S_ISREG(os.fstat(binary.fileno()).st_mode):
            spool = tempfile.TemporaryFile()  # noqa: SIM115
            shutil.copyfileobj(binary, spool)
            if not is_standard_input(path):
                binary.close()
            binary = spool
        ending = "" if is_standard_input(path) else path.suffix.lower()
        yield FileSource(name, ending, binary, advance, options)
    finally:
        if binary is not getattr(sys.stdin, "buffer", None):
            binary.close()
