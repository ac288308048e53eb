"""Workbooks (XLSX): the first sheet that holds contacts, read row by row."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from parcours.domain import gate
from parcours.domain.contacts.identity import is_address
from parcours.domain.errors import CampaignError
from parcours.producers.files.headers import own_name
from parcours.producers.files.rows import BLANK, FileRow, RejectedRow
from parcours.producers.files.source import FileSource

if TYPE_CHECKING:
    from openpyxl.workbook import Workbook

# Bytes of XML that a workbook may unpack to, and those of the texts that its cells share, which are held in
# memory. Excel's largest sheet of contacts has less.
MAX_XML = 2_000_000_000
MAX_SHARED = 200_000_000
# A document of entities that unpack one another begins so, and no spreadsheet program writes it.
_DOCTYPE = b"<!DOCTYPE"
_MAX_COLUMNS = 2_000
_ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!"})


@dataclass(slots=True)
class SheetTable:
    """A sheet of a workbook."""

    source: FileSource
    names: list[str]
    title: str
    # The rows up to the header.
    skipped: int
    plain: bool = False

    def rows(self) -> Iterator[FileRow | RejectedRow]:
        """Yield the rows after the header; dates are texts in ISO 8601."""
        width = len(self.names)
        workbook = _load(self.source)
        try:
            for number, cells in _cells(self.source, workbook, self.title):
                if number <= self.skipped or not any(cell is not BLANK and cell != "" for cell in cells):
                    continue
                text = "\t".join(str(cell) for cell in cells).rstrip("\t")
                extra = next((cell for cell in cells[width:] if str(cell).strip()), None)
                try:
                    gate.check(cells, "a cell")
                except gate.GateError as error:
                    yield RejectedRow(number, str(error), text)
                    continue
                if extra is not None:
                    yield RejectedRow(number, f"{str(extra)[:40]!r} is in a column without a header", text)
                    continue
                yield FileRow(number, cells[:width] + [BLANK] * (width - len(cells)), text)
        finally:
            workbook.close()


def open_workbook(source: FileSource, *, plain: bool = False) -> SheetTable:
    """Return the first sheet whose first row names a key or an address, else the first that holds anything.

    Raises CampaignError for a workbook that cannot be read or holds nothing.
    """
    _check_size(source)
    workbook = _load(source)
    tables = []
    try:
        for title in workbook.sheetnames:
            if not hasattr(workbook[title], "iter_rows"):
                # A chart fills a sheet of its own.
                continue
            for number, cells in _cells(source, workbook, title):
                names = [" ".join(str(cell).split()) for cell in cells]
                while names and not names[-1]:
                    names.pop()
                if names:
                    tables.append(SheetTable(source, names, title, number))
                    break
    finally:
        workbook.close()
    if not tables:
        raise CampaignError(f"{source.name} is an empty workbook")
    found = next((table for table in tables if _identifies(table.names)), tables[0])
    if len(workbook.sheetnames) > 1:
        source.notes.append(f"The workbook has {len(workbook.sheetnames)} sheets; only {found.title!r} is read.")
    if source.options.header:
        found.names, found.skipped = list(source.options.header), found.skipped - 1
    elif plain and len(found.names) == 1 and not _identifies(found.names):
        found.plain, found.skipped = True, found.skipped - 1
    elif any(is_address(name) for name in found.names):
        raise CampaignError(
            f"{source.name}: row {found.skipped} of sheet {found.title!r} contains an email address, so it is "
            "not a header; add a header row, or give column names with --columns"
        )
    return found


def _identifies(names: list[str]) -> bool:
    return any(own_name(name) in ("key", "email") for name in names)


def _check_size(source: FileSource) -> None:
    # What an archive says of the size of its files is also what is read of them at most.
    with zipfile.ZipFile(source.binary) as archive:
        parts = archive.infolist()
        shared = sum(part.file_size for part in parts if "sharedstrings" in part.filename.lower())
        if sum(part.file_size for part in parts) > MAX_XML or shared > MAX_SHARED or len(parts) > 10_000:
            raise CampaignError(f"{source.name} is too large when unpacked; save the sheet as CSV UTF-8")
        for part in parts:
            if part.filename.endswith((".xml", ".rels")):
                with archive.open(part) as opened:
                    if _DOCTYPE in opened.read(4_096):
                        raise CampaignError(
                            f"{source.name} is not a valid workbook; save it again in your spreadsheet program"
                        )


def _load(source: FileSource) -> Workbook:
    # Here, since it takes a while to load and most files are no workbooks.
    import openpyxl

    # Of a cell that is no date although it is formatted as one, say; nothing that a user of ours can do about.
    warnings.filterwarnings("ignore", category=UserWarning, module="openpyxl")
    source.binary.seek(0)
    try:
        return openpyxl.load_workbook(source.binary, read_only=True, data_only=True, keep_links=False)
    except Exception as error:
        # A workbook is what somebody sent: the package answers nonsense with errors of many types.
        raise _damaged(source, error) from None


def _cells(source: FileSource, workbook: Workbook, title: str) -> Iterator[tuple[int, list[Any]]]:
    try:
        # What the sheet says of its own size is often wrong.
        sheet = workbook[title]
        sheet.reset_dimensions()
        for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
            if number % 2_000 == 0:
                source.advance(source.binary.tell())
            yield number, [_value(cell) for cell in cells[:_MAX_COLUMNS]]
    except CampaignError:
        raise
    except Exception as error:
        raise _damaged(source, error) from None


def _damaged(source: FileSource, error: Exception) -> CampaignError:
    return CampaignError(
        f"{source.name} is a workbook that cannot be read ({type(error).__name__}); open it in your spreadsheet "
        "program and save it again as XLSX or CSV UTF-8"
    )


def _value(cell: Any) -> Any:
    """Return a cell as JSON has it; a formula without a value, and one that failed, is blank."""
    match cell:
        case None:
            return BLANK
        case str():
            return BLANK if cell in _ERRORS else cell
        case datetime():
            at = cell.replace(microsecond=0)
            return at.date().isoformat() if at.time() == time(0) else at.isoformat(" ")
        case date() | time():
            return cell.isoformat()
        case timedelta():
            return str(cell)
        case float() if cell.is_integer() and abs(cell) < 1e15:
            return int(cell)
        case bool() | int() | float():
            return cell
    return str(cell)
