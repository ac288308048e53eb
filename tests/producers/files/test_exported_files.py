"""Files as people's programs export them: each column means what its owner thinks, or a sentence says why not."""

import io
import json
import zipfile
from datetime import date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from parcours.db.tables.contacts import Incoming
from parcours.domain.errors import CampaignError
from parcours.producers.files import dates, numbers
from parcours.producers.files.contacts import contact_file, names
from parcours.producers.files.options import parse
from parcours.producers.files.rows import RejectedRow


def read(
    tmp_path: Path, content: str | bytes, name: str = "people.csv", **options: Any
) -> tuple[list[dict[str, Any]], list[RejectedRow], list[str]]:
    """Return the rows as dicts of what they say, those that are rejected, and the notes."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with contact_file(path, parse(**options)) as file:
        rows = list(file.contacts())
        notes = file.notes
    good = [said(row) for row in rows if isinstance(row, Incoming)]
    return good, [row for row in rows if isinstance(row, RejectedRow)], notes


def said(row: Incoming) -> dict[str, Any]:
    own = {name: value for name, value in row._asdict().items() if value is not None and name not in ("line", "fields")}
    for name in ("tags", "refusals"):
        if name in own:
            own[name] = json.loads(own[name])
    if own.pop("by_email"):
        own.pop("key")
    return {**own, **json.loads(row.fields or "{}")}


def workbook(*sheets: tuple[str, list[list[Any]]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for title, rows in sheets:
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


@pytest.mark.parametrize(
    ("header", "row", "wanted"),
    [
        (  # Mailchimp
            "Email Address,First Name,Last Name,Phone Number,TIMEZONE,TAGS,UNSUB_TIME",
            'ann@b.example,Ann,Li,123,Europe/Rome,"""news"",""vip""",2024-03-01 10:00:00',
            {
                "email": "ann@b.example",
                "first_name": "Ann",
                "last_name": "Li",
                "phone": "123",
                "timezone": "Europe/Rome",
                "tags": ["news", "vip"],
                "refusals": {"email": "unsubscribed"},
            },
        ),
        (  # HubSpot
            "Record ID,First Name,Last Name,Email,Phone Number,Company Name,Unsubscribed from all email,Time Zone",
            "51,Ann,Li,ann@b.example,,Acme,true,europe_slash_rome",
            {
                "Record ID": "51",
                "first_name": "Ann",
                "last_name": "Li",
                "email": "ann@b.example",
                "company": "Acme",
                "timezone": "Europe/Rome",
                "refusals": {"email": "unsubscribed"},
            },
        ),
        (  # Salesforce
            "Salutation,First Name,Last Name,Account Name,Email,Email Opt Out,Do Not Contact",
            "Ms.,Ann,Li,Acme,ann@b.example,0,1",
            {
                "Salutation": "Ms.",
                "first_name": "Ann",
                "last_name": "Li",
                "company": "Acme",
                "email": "ann@b.example",
                "refusals": {"email": "unsubscribed", "sms": "unsubscribed", "push": "unsubscribed"},
            },
        ),
        (  # Brevo
            "EMAIL;NOM;PRENOM;SMS;EMAIL_BLACKLIST",
            "ann@b.example;Li;Ann;33600000000;1",
            {
                "email": "ann@b.example",
                "last_name": "Li",
                "first_name": "Ann",
                "phone": "33600000000",
                "refusals": {"email": "unsubscribed"},
            },
        ),
        (  # Google
            "First Name,Last Name,Organization Name,Labels,E-mail 1 - Label,E-mail 1 - Value,Phone 1 - Value",
            "Ann,Li,Acme,Friends ::: * myContacts,* Work,ann@b.example ::: li@b.example,+1 202 555 0100",
            {
                "first_name": "Ann",
                "last_name": "Li",
                "company": "Acme",
                "tags": ["Friends", "myContacts"],
                "E-mail 1 - Label": "* Work",
                "email": "ann@b.example",
                "phone": "+1 202 555 0100",
            },
        ),
        (  # Outlook
            "First Name,Last Name,Company,Mobile Phone,E-mail Address,E-mail 2 Address",
            "Ann,Li,Acme,123,ann@b.example,li@b.example",
            {
                "first_name": "Ann",
                "last_name": "Li",
                "company": "Acme",
                "phone": "123",
                "email": "ann@b.example",
                "E-mail 2 Address": "li@b.example",
            },
        ),
        (  # Shopify
            "First Name,Email,Accepts Email Marketing",
            "Ann,ann@b.example,no",
            {"first_name": "Ann", "email": "ann@b.example", "refusals": {"email": "unsubscribed"}},
        ),
        (  # A list with a status.
            "email,Status",
            "ann@b.example,Unsubscribed",
            {"email": "ann@b.example", "Status": "Unsubscribed", "refusals": {"email": "unsubscribed"}},
        ),
    ],
)
def test_the_columns_of_common_programs_are_understood(
    tmp_path: Path, header: str, row: str, wanted: dict[str, Any]
) -> None:
    good, bad, _ = read(tmp_path, f"{header}\n{row}\n")
    assert (good, bad) == ([wanted], [])


def test_a_german_sheet_with_a_signature_and_points_is_understood(tmp_path: Path) -> None:
    content = "\ufeffVorname;Nachname;E-Mail-Adresse;Geburtsdatum;Umsatz\r\nJörg;Groß;j@b.example;3.4.1970;1.500\r\n"
    content += "Änne;Maß;a@b.example;25.12.68;-12.345,60 €\r\n"
    good, bad, notes = read(tmp_path, content)
    assert not bad
    assert [(row["first_name"], row["Geburtsdatum"], row["Umsatz"]) for row in good] == [
        ("Jörg", "1970-04-03", 1500),
        ("Änne", "2068-12-25", -12345.6),
    ]
    assert len(notes) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "cp1252"])
def test_the_encoding_is_found_out(tmp_path: Path, encoding: str) -> None:
    lines = "Prénom\tNom\tAdresse électronique\r\nInès\tGonçalves\tines@b.example\r\nNoël\tLefèvre\tnoel@b.example\r\n"
    good, bad, notes = read(tmp_path, lines.encode(encoding), "export.txt")
    assert [row["first_name"] for row in good] == ["Inès", "Noël"]
    assert not bad
    assert len(notes) == (encoding in ("cp1252", "utf-16-le", "utf-16-be"))


def test_one_broken_line_of_a_file_in_utf8_costs_that_line_alone(tmp_path: Path) -> None:
    good, bad, notes = read(tmp_path, b"email,n\na@b.example,\xc3\xa9\nb@b.example,\xe9\nc@b.example,\xc3\xa8\n")
    assert [row["n"] for row in good] == ["é", "è"]
    assert [(row.line, row.reason) for row in bad] == [(3, "byte 0xe9 is not UTF-8; save the file as UTF-8")]
    assert notes == []


def test_a_given_encoding_is_not_guessed(tmp_path: Path) -> None:
    good, _, notes = read(tmp_path, "email,n\na@b.example,Ż\n".encode("cp1250"), encoding="CP1250")
    assert (good[0]["n"], notes) == ("Ż", [])


def test_half_an_emoji_costs_its_row_alone(tmp_path: Path) -> None:
    content = "email,n\na@b.example,\ud83d\nb@b.example,x\n".encode("utf-16", "surrogatepass")
    good, bad, _ = read(tmp_path, content)
    assert [row["email"] for row in good] == ["b@b.example"]
    assert bad[0].reason == "an incomplete character (a lone surrogate)"


def test_a_line_that_says_the_delimiter_is_no_row(tmp_path: Path) -> None:
    good, bad, _ = read(tmp_path, 'sep=|\r\nemail|note\r\na@b.example|"x|y;z"\r\n')
    assert (good, bad) == ([{"email": "a@b.example", "note": "x|y;z"}], [])


def test_short_rows_blank_lines_and_nameless_columns_are_forgiven(tmp_path: Path) -> None:
    good, bad, notes = read(
        tmp_path, "email,a,,\nx@b.example\n,,,\n  \ny@b.example,1,,\nz@b.example,1,,,,\nw@b.example,2,9\n"
    )
    assert [row.get("a") for row in good] == [None, "1", "1", "2"]
    assert bad == []
    assert notes == ["Column 3 has no name and is ignored; it contains values such as '9'."]


def test_doubled_columns_are_kept_under_names_of_their_own(tmp_path: Path) -> None:
    good, _, notes = read(tmp_path, "email,Email,note,note,note\na@b.example,b@b.example,1,2,3\n")
    assert good == [{"email": "a@b.example", "Email 2": "b@b.example", "note": "1", "note 2": "2", "note 3": "3"}]
    assert len(notes) == 3


def test_a_row_without_a_key_goes_by_its_address(tmp_path: Path) -> None:
    good, bad, _ = read(tmp_path, "key,email\n7,\n,a@b.example\n8,b@b.example\n,\n")
    assert good == [{"key": "7"}, {"email": "a@b.example"}, {"key": "8", "email": "b@b.example"}]
    assert bad == []


def test_a_field_that_an_attribute_would_hide_is_ignored_and_told(tmp_path: Path) -> None:
    content = "email,last_active_at,utm_source\na@b.example,2026-01-01,news\n"
    good, _, notes = read(tmp_path, content)
    assert good == [{"email": "a@b.example"}]
    assert ["Parcours manages this value" in note for note in notes] == [True, True]
    good, _, _ = read(tmp_path, content, columns=["last_active_at=seen_at", "utm_source=ignore"])
    assert good == [{"email": "a@b.example", "seen_at": "2026-01-01"}]


@pytest.mark.parametrize("tags", ["lead;eu", "lead|eu", '"lead,eu"', '"lead\neu"', "lead;;eu;lead"])
def test_tags_are_divided_by_any_usual_sign(tmp_path: Path, tags: str) -> None:
    good, _, _ = read(tmp_path, f"email,tags\na@b.example,{tags}\n")
    assert good[0]["tags"] == ["lead", "eu"]


def test_objects_may_spell_their_properties_in_several_ways(tmp_path: Path) -> None:
    lines = [
        {"email": "a@b.example", "deep": {"a": [1]}, "unsubscribed": True},
        {"Email": "b@b.example", "First Name": "Bo", "unsubscribed": False},
        {"key": 12, "EMAIL": "c@b.example", "born": "31/12/1999", "new": 1},
    ]
    good, bad, _ = read(tmp_path, "\n".join(map(json.dumps, lines)), "people.ndjson")
    assert good == [
        {"email": "a@b.example", "deep": {"a": [1]}, "refusals": {"email": "unsubscribed"}},
        {"email": "b@b.example", "first_name": "Bo"},
        {"key": "12", "email": "c@b.example", "born": "1999-12-31", "new": 1},
    ]
    assert bad == []


def test_a_property_that_turns_up_late_is_a_field_too(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({"email": f"c{n}@b.example"}) for n in range(2_500))
    good, bad, _ = read(tmp_path, lines + '\n{"email": "z@b.example", "tags": "a;b", "late": 1}\n', "people.ndjson")
    assert (len(good), bad) == (2_501, [])
    assert good[-1] == {"email": "z@b.example", "tags": ["a", "b"], "late": 1}


@pytest.mark.parametrize(
    ("value", "options", "kept", "told"),
    [
        ("03/04/2020", {}, "03/04/2020", "can start with the day or the month"),
        ("03/04/2020", {"dates": "DD/MM/YYYY"}, "2020-04-03", None),
        ("03/04/2020", {"dates": "mm/dd/yyyy"}, "2020-03-04", None),
        ("31/04/2020", {"dates": "DD/MM/YYYY"}, "31/04/2020", None),
        ("2020-04-03", {}, "2020-04-03", None),
        ("3 avril 2020", {}, "2020-04-03", "becomes 2020-04-03"),
        ("12/31", {}, "12/31", "without a year"),
        ("1,5", {}, 1.5, "decimal comma"),
        ("1.234", {}, "1.234", None),
        ("1.234", {"decimal": ","}, 1234, "decimal comma"),
        ("$1,234.50", {}, 1234.5, "decimal point"),
        ("01234", {}, "01234", None),
        ("06 12 34 56 78", {}, "06 12 34 56 78", None),
        ("12345678901234567890,5", {}, "12345678901234567890,5", None),
        ("75001", {}, "75001", None),
    ],
)
def test_a_date_or_number_is_understood_or_told_about(
    tmp_path: Path, value: str, options: dict[str, Any], kept: Any, told: str | None
) -> None:
    good, _, notes = read(tmp_path, f'email,x\na@b.example,"{value}"\n', **options)
    assert good[0]["x"] == kept
    assert told is None or told in notes[0]


def test_a_late_row_says_whether_the_day_comes_first(tmp_path: Path) -> None:
    rows = [f"c{n}@b.example,01/02/2020" for n in range(2_500)]
    good, _, _ = read(tmp_path, "email,x\n" + "\n".join([*rows, "z@b.example,31/12/2020"]))
    assert (good[0]["x"], good[-1]["x"]) == ("2020-02-01", "2020-12-31")


def test_what_does_not_fit_the_shape_of_its_column_is_kept_and_told(tmp_path: Path) -> None:
    rows = [f"c{n}@b.example,31/12/2020" for n in range(10)]
    good, bad, notes = read(tmp_path, "email,x\n" + "\n".join([*rows, "z@b.example,soon"]))
    assert (good[-1]["x"], bad) == ("soon", [])
    assert "1 cell, the first in line 12: 'soon'" in notes[-1]


def test_a_column_that_is_dates_only_in_part_says_what_else_is_in_it(tmp_path: Path) -> None:
    values = ["31.12.1980", "1.1.1999", "24.12.2026", "yesterday", "29.02.2023"]
    good, _, notes = read(tmp_path, "email,x\n" + "\n".join(f"c{n}@b.example,{x}" for n, x in enumerate(values)))
    assert [row["x"] for row in good] == values
    assert "dates such as '31.12.1980' and too many other values ('yesterday')" in notes[-1]


def test_a_cell_of_several_lines_stays_one(tmp_path: Path) -> None:
    good, bad, _ = read(
        tmp_path, 'email,note,city\na@b.example,"Hello\n\nb, c, d\nx@y.example",Rome\nb@b.example,n,Oslo\n'
    )
    assert [row["city"] for row in good] == ["Rome", "Oslo"]
    assert bad == []


@pytest.mark.parametrize(
    "lost",
    [
        ['a@b.example,"Ann,Rome'],
        ['a@b.example,"Ann,Rome', 'b@b.example,"Bob,Rome'],
        ['a@b.example,",Rome', 'b@b.example,",Rome'],
        ['a@b.example,"Ann" "B",Rome'],
    ],
)
def test_a_quote_that_is_not_closed_costs_its_own_line(tmp_path: Path, lost: list[str]) -> None:
    others = [f"c{n}@b.example,Ann,Rome" for n in range(9_000)]
    lines = [*others[:3_000], *lost, *others[3_000:]]
    good, bad, _ = read(tmp_path, "email,name,city\n" + "\n".join(lines))
    assert [row["email"] for row in good] == [f"c{n}@b.example" for n in range(9_000)]
    assert [row.line for row in bad] == [3_002 + place for place in range(len(lost))]
    assert [row.row for row in bad] == lost


def test_a_very_long_line_costs_that_line_alone(tmp_path: Path) -> None:
    good, bad, _ = read(tmp_path, f"email,x\na@b.example,{'x' * 3_000_000}\nb@b.example,1\n")
    assert [row["email"] for row in good] == ["b@b.example"]
    assert [(row.line, row.reason) for row in bad] == [(2, "the line has more than 1,000,000 characters")]


def test_a_workbook_is_read_from_the_sheet_that_holds_contacts(tmp_path: Path) -> None:
    rows: list[list[Any]] = [
        ["E-mail", "Phone", "Born", "Seen", "Sum", "Vip", None],
        ["a@b.example", 33600000000, date(1980, 12, 31), datetime.fromisoformat("2024-01-05T10:30"), 12.5, True, None],
        [None] * 7,
        ["b@b.example", "0612", "13/02/1990", None, 3, None, None],
        ["nobody", None, None, None, None, None, None],
    ]
    content = workbook(("About", [["How to read this"]]), ("Contacts", rows))
    good, bad, notes = read(tmp_path, content, "people.xlsx")
    assert good == [
        {
            "email": "a@b.example",
            "phone": "33600000000",
            "Born": "1980-12-31",
            "Seen": "2024-01-05 10:30:00",
            "Sum": 12.5,
            "Vip": True,
        },
        {"email": "b@b.example", "phone": "0612", "Born": "1990-02-13", "Sum": 3},
    ]
    assert [(row.line, row.reason) for row in bad] == [(5, "'nobody' is not an email address: it has no @")]
    assert notes[0] == "The workbook has 2 sheets; only 'Contacts' is read."


def test_a_workbook_that_unpacks_to_too_much_or_holds_entities_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    content = workbook(("A", [["email"], ["a@b.example"]]))
    with monkeypatch.context() as patched:
        patched.setattr("parcours.producers.files.workbook.MAX_XML", 1_000)
        with pytest.raises(CampaignError, match="is too large when unpacked"):
            read(tmp_path, content, "bomb.xlsx")
    evil = io.BytesIO(content)
    with zipfile.ZipFile(evil, "a") as archive:
        archive.writestr("xl/evil.xml", '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x/>')
    with pytest.raises(CampaignError, match="not a valid workbook"):
        read(tmp_path, evil.getvalue(), "evil.xlsx")


def test_a_list_without_a_header_takes_names_for_its_columns(tmp_path: Path) -> None:
    good, _, _ = read(tmp_path, "a@b.example,Ann\nb@b.example,Bo\n", header="email, first_name")
    assert [row["first_name"] for row in good] == ["Ann", "Bo"]


def test_names_of_a_segment_are_read_by_the_same_reader(tmp_path: Path) -> None:
    path = tmp_path / "names.xlsx"
    path.write_bytes(workbook(("A", [["Adresse e-mail", "x"], ["a@b.example", 1]])))
    assert [row[2] for row in names(path)] == ["a@b.example"]
    path.write_bytes(workbook(("A", [["k1"], ["k2"]])))
    assert [row[2] for row in names(path)] == ["k1", "k2"]


def test_dates_and_numbers_that_are_none_are_not_read() -> None:
    for text in ("31/02/2020", "1.2.3.4", "2020", "10:30", "99/99/9999", "1/2/20203", "x" * 100, "12 foo 2020"):
        assert dates.read(text, "DMY") is None
    for text in ("", "-", "1,2,3", "1.23.456,7", "€", "0x10", "1e5", "٣,٥", "x" * 100, "1 23,4"):
        assert numbers.read(text, ",") is None
