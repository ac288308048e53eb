"""Files that are broken, enormous or strange: what can be used of them is, and the rest is told line by line."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.db.tables.contacts import Incoming
from parcours.domain.errors import CampaignError
from parcours.producers.files import dates, numbers
from parcours.producers.files.contacts import contact_file, contacts, names
from parcours.producers.files.options import parse
from parcours.producers.files.rows import RejectedRow
from parcours.producers.files.source import MAX_LINE

TEN_MB = "x" * 10_000_000


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(content: str | bytes, name: str = "people.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


def told(rows: list[Incoming | RejectedRow]) -> list[str | tuple[int, str]]:
    """Return the keys of the good rows, and (line, reason) of the others."""
    return [(row.line, row.reason) if isinstance(row, RejectedRow) else row.key for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("people.csv", f"key,note\na,fine\nb,{TEN_MB}\nc,fine\nd,fine\n"),
        ("people.csv", f'key,note\na,fine\nb,"{TEN_MB}"\nc,fine\nd,fine\n'),
        ("people.csv", f'key,note\r\na,fine\r\nb,"{TEN_MB}\r\nc,fine\r\nd,fine\r\n'),
        ("people.jsonl", '{"key": "a"}\n{"key": "b", "x": "' + TEN_MB + '"}\n{"key": "c"}\n{"key": "d"}\n'),
    ],
)
def test_a_line_of_ten_megabytes_is_lost_alone(write: Callable[..., Path], name: str, content: str) -> None:
    rows = list(contacts(write(content, name)))
    assert told(rows) == [
        "a",
        ((3 if name.endswith("csv") else 2), "the line has more than 1,000,000 characters"),
        "c",
        "d",
    ]
    (rejected,) = [row for row in rows if isinstance(row, RejectedRow)]
    assert len(rejected.row) < 200, "what is told of it has room on a screen"


def test_a_line_of_ten_megabytes_in_a_list_of_names_is_lost_alone(write: Callable[..., Path]) -> None:
    rows = list(names(write(f"a\n{TEN_MB}\nb\n")))
    assert [row.name if not isinstance(row, RejectedRow) else row.line for row in rows] == ["a", 2, "b"]


def test_a_line_as_long_as_may_be_is_read(write: Callable[..., Path]) -> None:
    note = "x" * (MAX_LINE - len('{"key": "a", "note": ""}') - 1)
    (row,) = contacts(write('{"key": "a", "note": "' + note + '"}\n', "a.jsonl"))
    assert isinstance(row, (Incoming, RejectedRow))
    assert "the line has more than" not in str(getattr(row, "reason", ""))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_what_programs_write_is_read_as_it_was_meant(
    write: Callable[..., Path], encoding: str, delimiter: str, ending: str
) -> None:
    table = [["key", "email", "name"], ["a", "a@example.com", 'Zoë "Z" Müller'], ["b", "", "Ça va"]]
    sheet = io.StringIO()
    csv.writer(sheet, delimiter=delimiter, lineterminator=ending).writerows(table)
    rows = list(contacts(write(sheet.getvalue().encode(encoding))))
    assert all(isinstance(row, Incoming) for row in rows), rows
    fields = [json.loads(row.fields or "{}") for row in rows if isinstance(row, Incoming)]
    assert [list(each.values()) for each in fields] == [['Zoë "Z" Müller'], ["Ça va"]]


cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@given(st.lists(st.tuples(cells, cells), max_size=6), st.sampled_from(",;\t|"), st.sampled_from(["\n", "\r\n"]))
def test_every_cell_that_a_program_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str, ending: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    sheet = io.StringIO(newline="")
    writer = csv.writer(sheet, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerow(["key", "first note", "second note"])
    writer.writerows([f"k{n}", *row] for n, row in enumerate(rows))
    path.write_text(sheet.getvalue(), encoding="utf-8", newline="")
    found = list(contacts(path))
    assert [row.key for row in found if isinstance(row, Incoming)] == [f"k{n}" for n in range(len(rows))], found
    for row, written in zip(found, rows, strict=True):
        assert isinstance(row, Incoming)
        kept = json.loads(row.fields or "{}")
        for name, cell in zip(("first note", "second note"), written, strict=True):
            # A blank cell says nothing; a number or a date may be kept as one.
            value = next((value for key, value in kept.items() if key.startswith(name.split()[0])), "")
            assert not cell.strip() or value != "", (cell, kept)
            if isinstance(value, str) and cell.strip() and not any(map(str.isdigit, cell)):
                assert value.strip() == cell.strip()


@given(st.binary(max_size=300))
def test_whatever_bytes_a_file_has_it_is_read_or_refused_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.csv"
    for start in (b"", b"key,email\n", b'{"key": "a"}\n'):
        path.write_bytes(start + content)
        rows: list[Incoming | RejectedRow] = []
        # Anything else would be a traceback.
        with contextlib.suppress(CampaignError):
            rows = list(contacts(path))
        for row in rows:
            # Rows go to the database next, which has neither.
            if isinstance(row, Incoming):
                "".join(str(part) for part in row).encode()
                assert "\0" not in row.key


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        ('{"key": "a"}\n{"key": "b", "x": "\\ud83d"}\n{"key": "c"}\n', "a.jsonl", "incomplete character"),
        (b'{"key": "a"}\n{"key": "b", "x": "\xf0\x9f"}\n{"key": "c"}\n', "a.jsonl", None),
        (b"key,x\na,1\nb,\xed\xa0\xbd\nc,\xc3\xa9\n", "a.csv", "is not UTF-8"),
        ("key,x\na,1\nb,\ud83d\nc,2\n".encode("utf-16", "surrogatepass"), "a.csv", "incomplete character"),
        ('key,x\na,1\nb,"open\nc,2\n', "a.csv", None),
    ],
)
def test_half_an_emoji_and_an_open_quote_are_never_kept_and_told(
    write: Callable[..., Path], content: str | bytes, name: str, reason: str | None
) -> None:
    rows = list(contacts(write(content, name)))
    assert told(rows)[0] == "a"
    bad = [row for row in rows if isinstance(row, RejectedRow)]
    if reason is not None:
        assert [row.key for row in rows if isinstance(row, Incoming)] == ["a", "c"]
        assert reason in bad[0].reason
    for row in rows:
        str(row).encode()
    if not bad:
        # Where bytes are guessed to be of another encoding, nothing is lost.
        assert [row.key for row in rows if isinstance(row, Incoming)] == ["a", "b", "c"]


def workbook(*rows: list[Any]) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("cell", "kept"),
    [
        (
            datetime(9999, 12, 31, 23, 59, 59),  # noqa: DTZ001
            "9999-12-31 23:59:59",
        ),
        (date(9999, 12, 31), "9999-12-31"),
        (date(1900, 3, 1), "1900-03-01"),
        (time(9, 30), "09:30:00"),
        (timedelta(hours=30), None),
        (1e15, None),
        (3.0, 3),
        (2.5, 2.5),
        (True, True),
        ("#N/A", None),
        ("x" * 32_767, "x" * 32_767),
    ],
)
def test_cells_of_a_workbook_are_kept_as_json_has_them(write: Callable[..., Path], cell: Any, kept: Any) -> None:
    rows = list(contacts(write(workbook(["key", "thing"], ["a", cell], ["b", "x"]), "people.xlsx")))
    assert told(rows) == ["a", "b"]
    first = rows[0]
    assert isinstance(first, Incoming)
    if kept is not None:
        assert json.loads(first.fields or "{}") == {"thing": kept}


def test_numbers_that_excel_has_for_no_date_are_no_end_of_the_file(write: Callable[..., Path]) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["key", "born"], ["a", 10**9], ["b", -1e9], ["c", 1]):
        sheet.append(row)
    for row_number in (2, 3, 4):
        sheet.cell(row_number, 2).number_format = "yyyy-mm-dd"
    content = io.BytesIO()
    book.save(content)
    assert told(list(contacts(write(content.getvalue(), "people.xlsx")))) == ["a", "b", "c"]


@given(
    st.text(max_size=45) | st.from_regex(r"[0-9]{1,4}[./ -][0-9]{1,2}[./ -][0-9]{1,4}( [0-9:]{1,8})?", fullmatch=True)
)
def test_what_is_read_as_a_date_is_one(written: str) -> None:
    for order in ("DMY", "MDY", "YMD"):
        found = dates.read(written, order)
        if found is not None:
            assert date.fromisoformat(found[:10])
            assert order in dates.orders(written.strip()) or written != written.strip()


@given(st.integers(-(10**15) + 1, 10**15 - 1), st.sampled_from(" '’\u202f\xa0"), st.sampled_from([".", ","]))
def test_a_number_is_read_however_its_thousands_are_divided(number: int, sign: str, decimal: Any) -> None:
    assert numbers.read(f"{number:,}".replace(",", sign), decimal) == number
    assert numbers.read(str(number), decimal) == number


@given(st.text(max_size=60))
def test_what_is_no_number_is_none_and_never_an_error(written: str) -> None:
    for decimal in (".", ","):
        found = numbers.read(written, decimal)
        assert found is None or (isinstance(found, (int, float)) and abs(found) < 10**15)


@pytest.mark.parametrize(
    ("written", "order", "kept"),
    [
        ("3/4/2027", "MDY", "2027-03-04"),
        ("3/4/2027", "DMY", "2027-04-03"),
        ("27/3/04", "YMD", "2027-03-04"),
        ("31/12/9999", "DMY", "9999-12-31"),
        ("31/12/9999", "MDY", None),
    ],
)
def test_a_date_is_read_in_its_order(written: str, order: Any, kept: str | None) -> None:
    assert dates.read(written, order) == kept


def test_a_year_of_9999_in_a_column_of_dates_is_a_date(write: Callable[..., Path]) -> None:
    path = write("key;until\na;31.12.9999\nb;01.02.2027\nc;25.12.2026\n")
    with contact_file(path, parse()) as file:
        rows = list(file.contacts())
    values = [json.loads(row.fields or "{}").get("until") for row in rows if isinstance(row, Incoming)]
    assert values == ["9999-12-31", "2027-02-01", "2026-12-25"]


def test_a_file_of_separators_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "blank.csv"
    path.write_text(",,\n,,\n", encoding="utf-8")
    with pytest.raises(CampaignError, match="has no names of columns"):
        list(contacts(path))
