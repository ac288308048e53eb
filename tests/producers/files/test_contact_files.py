"""Reading files of contacts: what is used, what is rejected and why."""

import json
from pathlib import Path

import pytest

from parcours.db.tables.contacts import Incoming
from parcours.domain.errors import CampaignError
from parcours.producers.files.contacts import Named, contacts, names
from parcours.producers.files.rows import RejectedRow


def read(tmp_path: Path, content: str | bytes, name: str = "people.csv") -> list[Incoming | RejectedRow]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(contacts(path))


def only(rows: list[Incoming | RejectedRow]) -> Incoming:
    (row,) = rows
    assert isinstance(row, Incoming), row
    return row


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n"])
def test_the_delimiter_is_found_in_the_header(tmp_path: Path, delimiter: str, start: str) -> None:
    lines = [["key", "email", "points", "tags", "city"], ["a", "a@b.c", "-3", "new|vip", 'Köln "x"\\']]
    quoted = "\r\n".join(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines)
    row = only(read(tmp_path, start + quoted))
    assert (row.key, row.email, row.points, row.by_email) == ("a", "a@b.c", -3, False)
    assert json.loads(row.fields or "") == {"city": 'Köln "x"\\'}
    assert json.loads(row.tags or "") == ["new", "vip"]


def test_blank_cells_say_nothing(tmp_path: Path) -> None:
    row = only(read(tmp_path, "key,email,timezone,points,stage,owner,tags,company,city\na,, ,,,,,,\n"))
    assert row[3:] == (None,) * 9


def test_a_file_without_a_key_column_goes_by_address(tmp_path: Path) -> None:
    row = only(read(tmp_path, "Email,city\na@b.c,Rome\n"))
    assert (row.by_email, row.key, row.email) == (True, "a@b.c", "a@b.c")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (",,Europe/Paris,", "no key and no email address"),
        ("   , ,,1", "no key and no email address"),
        ("k,a@b.c,,,x", "5 cells, but the header has 4: 'x' is too many"),
        ("k,nobody,,", "'nobody' is not an email address: it has no @"),
        ("k,,Europe/Pariss,", "unknown timezone 'Europe/Pariss'; did you mean 'Europe/Paris'?"),
        ("k,,,many", "points is not a whole number: 'many'"),
        ("k,,,1.5", "points is not a whole number: '1.5'"),
        ("k,,,3000000000", "points out of range: 3000000000"),
        ("k\0,,,", "a NUL character"),
        ("k" * 256 + ",,,", "the key has 256 characters; the maximum is 255"),
        ('"k"x,,,', "not CSV: ',' expected after '\"'"),
    ],
)
def test_a_bad_csv_row_is_rejected_alone(tmp_path: Path, bad: str, reason: str) -> None:
    rows = read(tmp_path, f"key,email,timezone,points\nfirst,,,\n\n{bad}\nlast,,,\n")
    assert [row.key if isinstance(row, Incoming) else row for row in rows] == [
        "first",
        RejectedRow(4, reason, bad),
        "last",
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ('{"key": "k"', "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"city": "x"}', "no key"),
        ('{"key": null}', "no key"),
        ('{"key": "k", "Key": "l"}', "it contains key twice"),
        ('{"key": true}', "key is not a text"),
        ('{"key": "k", "x": NaN}', "not JSON"),
        ('{"key": "k", "x": 1e999}', "the object contains inf"),
        ('{"key": "k", "x": ["\\u0000"]}', "the object contains a NUL character"),
        ('{"key": "k", "x": "\\ud800"}', "the object contains an incomplete character"),
        ('{"key": "k", "points": "x"}', "points is not a whole number"),
        ('{"key": "k", "points": true}', "points is not a whole number"),
        ('{"key": "k", "tags": [1]}', "tags is not a list of texts"),
        ('{"key": "k", "timezone": "Mars"}', "unknown timezone 'Mars'"),
        ('{"key": "k", "x": ' + "[" * 100_000 + "}", "JSON is nested too deeply"),
    ],
)
def test_a_bad_ndjson_row_is_rejected_alone(tmp_path: Path, bad: str, reason: str) -> None:
    first, rejected, last = read(tmp_path, f'{{"key": "first"}}\n{bad}\n\n{{"key": 2}}\n', "people.txt")
    assert isinstance(first, Incoming)
    assert isinstance(last, Incoming)
    assert (first.key, last.key, last.line) == ("first", "2", 4)
    assert isinstance(rejected, RejectedRow)
    assert (rejected.line, rejected.row) == (2, bad)
    assert rejected.reason.startswith(reason)


def test_ndjson_values_are_kept_as_they_are(tmp_path: Path) -> None:
    given = {"n": 1.5, "deep": {"a": [None, True]}, "text": "é\u2028\\u0000", "none": None}
    row = only(read(tmp_path, json.dumps({"key": "a", "tags": ["x,y"], **given}), "a.ndjson"))
    assert json.loads(row.fields or "") == given
    assert json.loads(row.tags or "") == ["x,y"]


def test_a_quoted_cell_may_hold_line_breaks_and_lines_are_still_counted(tmp_path: Path) -> None:
    good, bad = read(tmp_path, 'key,points,note\na,1,"one\ntwo"\nb,x,"three\nfour"\n')
    assert isinstance(good, Incoming)
    assert json.loads(good.fields or "") == {"note": "one\ntwo"}
    assert bad == RejectedRow(4, "points is not a whole number: 'x'", 'b,x,"three\nfour"')


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n  \n", "is empty"),
        (b"name,city\nx,y\n", "no column 'key' or 'email'; its columns are: 'name', 'city'. .*--map"),
        (b"ann@b.example,Ann\n", '--columns "email,column2"'),
        (b'email,"name\n', "line 1 should contain the column names, but is not CSV: a quote is not closed"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "is a PNG image, not a list of contacts"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "workbook of Excel 97-2003 .*save it as .xlsx"),
        (b"PK\x03\x04" + bytes(range(256)), "is a damaged workbook .XLSX."),
        (b"<!DOCTYPE html><p>", "is a web page"),
        (b"\0" * 5_000, "is not text"),
        (b"a" * 1_500_000, "line 1 has more than 1,000,000 characters"),
        ("email;x\na@b.example;".encode("utf-16") + b"\x41", "cannot be read as UTF-16 after line 1: truncated data"),
    ],
)
def test_a_file_that_cannot_be_used_at_all_says_why(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(CampaignError, match=sentence):
        read(tmp_path, content)


def test_a_json_array_is_told_to_be_lines(tmp_path: Path) -> None:
    with pytest.raises(CampaignError, match="one object per line"):
        read(tmp_path, '[{"key": "a"}]', "people.json")


def named(tmp_path: Path, content: str) -> list[Named | RejectedRow]:
    path = tmp_path / "names"
    path.write_text(content, encoding="utf-8")
    return list(names(path))


def test_names_come_from_a_plain_list_a_table_or_objects(tmp_path: Path) -> None:
    assert named(tmp_path, "a\n\n b \n") == [Named(1, False, "a", "a"), Named(3, False, "b", " b ")]
    assert named(tmp_path, "key\na\n") == [Named(2, False, "a", "a")]
    assert named(tmp_path, "x;email\n1;a@b.c\n2;no\n") == [
        Named(2, True, "a@b.c", "1;a@b.c"),
        RejectedRow(3, "'no' is not an email address: it has no @", "2;no"),
    ]
    assert named(tmp_path, '{"email": "a@b.c"}\n') == [Named(1, True, "a@b.c", '{"email": "a@b.c"}')]
