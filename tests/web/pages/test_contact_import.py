"""A file of contacts is uploaded, looked at, mapped and imported in the browser, as the command would."""

from __future__ import annotations

import json
import re
import threading
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from openpyxl import Workbook
from sqlalchemy import Engine

from parcours.db.tables import imports
from parcours.services import contact_import, uploaded_import
from tests.conftest import Run
from tests.web.conftest import Client, eventually
from tests.web.i18n.test_french import ENGLISH, QUOTED
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import given_user, sign_in, token_of
from tests.workers.worlds import World

EXPORT = (
    "E-Mail;Prénom;Né le;Solde;Désinscrit;Notes\n"
    "ann@example.com;Ann;31/12/1990;1.234,50;non;x\n"
    "ben@example.com;Ben;01/02/1985;7,00;oui;y\n"
    "no address;Cy;01/02/1985;1,00;non;z\n"
).encode("cp1252")
HTML = {"accept": "text/html"}


def uploaded(http: TestClient, content: bytes, name: str = "export.csv", **fields: Any) -> Any:
    token = token_of(http.get("/contacts"))
    return http.post("/contacts/+import", data={"csrf": token, **fields}, files={"file": (name, content)}, headers=HTML)


def chosen(http: TestClient, path: str, **fields: Any) -> Any:
    return http.post(path, data={"csrf": token_of(http.get("/contacts")), **fields}, headers=HTML)


def finished(http: TestClient, path: str) -> str:
    """Return the page of an import as soon as it has ended."""

    def ended() -> str:
        page: str = http.get(path).text
        return "" if "being imported" in page else page

    return str(eventually(ended))


def ended(world: World) -> int:
    """Return how many imports have ended, with what they held given back."""
    with world.engine.connect() as conn:
        found = imports.latest(conn, 10)
        return sum(each.state in ("done", "failed") and not imports.is_held(conn, each.id) for each in found)


WORKBOOK = [
    ["Email", "Name", "Since"],
    ["no address", "Cy; the second", "2026-01-02"],
    ["dan@example.com", "Dan", "2026-01-03"],
]


def as_workbook(rows: list[list[str]]) -> bytes:
    book, out = Workbook(), BytesIO()
    sheet = book.create_sheet(index=0)
    for row in rows:
        sheet.append(row)
    book.save(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "kept"),
    [
        (
            "a.csv",
            b'email;name;note\nno address;Cy;"a; b\nc"\ndan@example.com;Dan;\n',
            {"name": "Cy", "note": "a; b\nc"},
        ),
        ("a.csv", "email\tname\nno address\tZo\u00e9\ndan@example.com\tDan\n".encode("utf-16"), {"name": "Zo\u00e9"}),
        ("a.ndjson", b'{"email": "no address", "n": 1}\n{"email": "dan@example.com"}\n', {"n": 1}),
        ("a.xlsx", as_workbook(WORKBOOK), {"Name": "Cy; the second", "Since": "2026-01-02"}),
    ],
    ids=["csv", "utf-16", "ndjson", "xlsx"],
)
@pytest.mark.parametrize("language", ["en", "fr"])
def test_rejected_rows_are_corrected_in_their_file_and_uploaded_again(
    http: TestClient, world: World, language: str, name: str, content: bytes, kept: dict[str, Any]
) -> None:
    http.headers["accept-language"] = language
    path = uploaded(http, content, name=name).url.path
    chosen(http, path, **{"import": "1"})
    eventually(lambda: ended(world) == 1)
    answer = http.get(f"{path}/rejected")
    assert f'.{name.split(".")[1].replace("xlsx", "csv")}"' in answer.headers["content-disposition"]
    again = answer.content.replace(b"no address", b"cy@example.com")
    # The reason names it too.
    assert again.count(b"cy@example.com") == 2
    path = uploaded(http, again, name=f"rejected.{name.split('.')[1].replace('xlsx', 'csv')}").url.path
    chosen(http, path, **{"import": "1"})
    eventually(lambda: ended(world) == 2)
    assert http.get("/api/contacts/cy@example.com").json()["fields"] == kept
    assert len(world.read("SELECT FROM contact")) == 2


def test_a_row_that_belongs_to_somebody_else_is_rejected_as_it_is_in_the_file(http: TestClient, world: World) -> None:
    world.contacts("ann", email="ann@example.com")
    path = uploaded(http, b"key,email,city\nben,ann@example.com,Paris\n").url.path
    chosen(http, path, **{"import": "1"}, same_address="reject")
    finished(http, path)
    assert "ben,ann@example.com,Paris" in http.get(f"{path}/rejected").text


def test_a_file_that_waits_for_another_says_so(http: TestClient, world: World) -> None:
    first, second = (int(uploaded(http, b"email\na@example.com\n").url.path.rsplit("/", 1)[1]) for _ in "ab")
    world.write("UPDATE contact_import SET state = 'running', read_bytes = 10 WHERE id = :id", id=first)
    world.write("UPDATE contact_import SET state = 'running' WHERE id = :id", id=second)
    with world.engine.connect() as one, world.engine.connect() as other:
        assert imports.hold(one, first)
        assert imports.hold(other, second)
        assert "Another file is being imported; this one follows." in text_of(
            http.get(f"/contacts/+import/{second}").text
        )
        assert "The file is being imported." in text_of(http.get(f"/contacts/+import/{first}").text)
        imports.release(one, first)
        imports.release(other, second)


def test_a_file_is_looked_at_mapped_and_imported_and_its_rejected_rows_are_downloaded(
    http: TestClient, world: World, run: Run, tmp_path: Path
) -> None:
    world.segment("press")
    page = uploaded(http, EXPORT, segment="press")
    path = page.url.path
    shown = text_of(page.text)
    assert page.status_code == 200
    # What the command's dry run says.
    (tmp_path / "export.csv").write_bytes(EXPORT)
    dry = json.loads(run("contacts", "import", "export.csv", "--dry-run", "--json").stdout)
    means = [each["means"] for each in dry["columns"]]
    assert means[1:3] == ["field first_name", "field Né le"]
    assert means[4] in shown
    # Above the fold: what comes of it, and the columns by what people call them.
    assert page.text.index("result-head") < page.text.index("columns-head") < page.text.index("rows-head")
    assert "E-Mail Email ann@example.com" in shown
    assert "Prénom First name Ann" in shown
    assert "Solde Solde 1,234.5" in shown
    assert "Né le Né le 31 Dec 1990" in shown
    assert "first_name" not in shown
    assert "2 rows can be imported. 1 row would be rejected. 1 row sets “do not contact”." in shown
    assert world.read("SELECT FROM contact") == []
    mapping = {
        "column": ["E-Mail", "Prénom", "Né le", "Solde", "Désinscrit", "Notes"],
        "target": ["email", "field", "auto", "field", "dnc:sms", "ignore"],
        "own_field": ["", "given_name", "", "balance", "", ""],
        "dates": "DMY",
        "segment": "press",
    }
    checked = chosen(http, path, check="1", **mapping)
    assert "Prénom Given name Ann" in text_of(checked.text)
    assert "do not contact (sms)" in text_of(checked.text)
    assert chosen(http, path, **{"import": "1"}, **mapping).status_code == 200
    done = text_of(finished(http, path))
    assert "Added 2" in done
    assert "Rejected 1" in done
    ann = http.get("/api/contacts/ann@example.com").json()
    assert ann["fields"] == {"given_name": "Ann", "Né le": "1990-12-31", "balance": 1234.5}
    assert ann["segments"] == ["press"]
    assert [each["channel"] for each in http.get("/api/contacts/ben@example.com").json()["refusals"]] == ["sms"]
    rejected = http.get(f"{path}/rejected")
    assert "attachment" in rejected.headers["content-disposition"]
    head, row = rejected.text.removeprefix("\ufeff").splitlines()
    assert head.startswith("Rejected line;Reason for the rejection;E-Mail;")
    assert row.startswith("4;'no address' is not an email address")
    assert ";no address;Cy" in row
    # The file itself is no longer kept, and a second start changes nothing.
    assert world.read("SELECT FROM contact_import_part WHERE kind = 'file'") == []
    chosen(http, path, again="1")
    assert "Added 2" in text_of(finished(http, path))
    assert "export.csv" in http.get("/contacts/+import").text


def test_a_file_that_names_nobody_shows_its_columns_so_that_a_person_can_say_who(
    http: TestClient, world: World
) -> None:
    page = uploaded(http, b"who,age\nann@example.com,3\n")
    assert "No column says who the contacts are" in page.text
    assert 'name="import"' not in page.text
    fixed = chosen(http, page.url.path, check="1", column=["who", "age"], target=["email", "auto"], own_field=["", ""])
    assert 'name="import"' in fixed.text
    assert "1 row can be imported" in text_of(fixed.text)


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"", "empty.csv", "empty.csv is empty"),
        (b"\x89PNG\r\n", "face.png", "face.png is a PNG image"),
        (b"PK\x03\x04 broken", "book.xlsx", "damaged workbook"),
        ("email\n\ud83d".encode("utf-16", "surrogatepass"), "half.csv", "half.csv"),
    ],
)
def test_what_is_no_file_of_contacts_is_told_in_a_sentence_that_names_the_file(
    http: TestClient, content: bytes, name: str, said: str
) -> None:
    page = uploaded(http, content, name)
    assert page.status_code == 200
    assert said in text_of(page.text)
    assert "parcours-import" not in page.text
    assert "--" not in text_of(page.text).split("How the file is read")[0]


def test_a_file_that_is_too_large_or_none_is_refused_before_it_is_kept(
    http: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parcours.web.pages import contact_import as page_module

    monkeypatch.setattr(page_module, "MOST_BYTES", 1_000_000)
    assert uploaded(http, b"x" * 3_000_000).status_code == 413
    token = token_of(http.get("/contacts"))
    assert http.post("/contacts/+import", headers={**HTML, "x-csrf-token": token}).status_code == 400
    broken = {"content-type": "multipart/form-data; boundary=x", "x-csrf-token": token}
    assert http.post("/contacts/+import", content=b"--y", headers=broken).status_code == 400
    assert http.post("/contacts/+import", files={"file": ("a.csv", b"email")}).status_code == 403
    assert world.read("SELECT FROM contact_import") == []
    assert http.get("/contacts/+import/999999").status_code == 404
    assert http.get(f"/contacts/+import/{10**20}").status_code == 404


def test_an_import_that_fails_or_whose_process_died_changed_nothing_and_starts_again(
    http: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = uploaded(http, b"email\nann@example.com\n").url.path
    id_ = int(path.rsplit("/", 1)[1])
    work = contact_import.run

    def breaks(*_given: Any, **_named: Any) -> Any:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(contact_import, "run", breaks)
    chosen(http, path, **{"import": "1"})
    assert "Nothing was imported." in finished(http, path)
    assert "out of luck" not in http.get(path).text
    monkeypatch.setattr(contact_import, "run", work)
    # As a process leaves it that was killed.
    world.write("UPDATE contact_import SET state = 'running'")
    assert "The import was interrupted" in http.get(path).text
    chosen(http, path, again="1")
    assert "Added 1" in text_of(finished(http, path))
    # While somebody is at work on one, nobody else begins, and nobody deletes it.
    other = int(uploaded(http, b"email\nben@example.com\n").url.path.rsplit("/", 1)[1])
    with world.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        assert imports.start(conn, other)
        assert imports.hold(conn, other)
        with world.engine.begin() as second:
            assert not imports.hold(second, other)
            imports.delete(second, other)
        assert "The file is being imported" in http.get(f"/contacts/+import/{other}").text
        imports.release(conn, other)
    chosen(http, f"/contacts/+import/{other}/delete")
    assert [row.id for row in world.read("SELECT id FROM contact_import")] == [id_]


def test_the_memory_of_an_import_does_not_grow_with_its_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploaded_import, "LOOKED_AT", 3)
    lines = iter([b"email\n", *(f"c{n}@example.com\n".encode() for n in range(50))])
    id_ = uploaded_import.store(world.engine, "many.csv", lines, who="ada", segment=None)
    with world.engine.connect() as conn:
        stored = imports.find(conn, id_)
    assert stored is not None
    found = uploaded_import.look(world.engine, stored)
    assert (found.usable, found.whole) == (3, False)


def test_a_viewer_uploads_nothing(client: Client, world: World, engine: Engine) -> None:
    given_user(engine, "viewer")
    http = client(open_to_all=False)
    sign_in(http)
    assert uploaded(http, EXPORT).status_code == 403
    assert 'type="file"' not in http.get("/contacts/+import").text
    assert world.read("SELECT FROM contact_import") == []


def test_an_import_that_has_not_begun_to_work_is_not_called_interrupted(
    http: TestClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, released = uploaded_import._work, threading.Event()

    def late(*arguments: Any) -> None:
        released.wait()
        work(*arguments)

    monkeypatch.setattr(uploaded_import, "_work", late)
    path = uploaded(http, b"email\nann@example.com\n").url.path
    try:
        assert "The file is being imported." in chosen(http, path, **{"import": "1"}).text
    finally:
        released.set()
    assert "Added 1" in text_of(finished(http, path))


def test_an_import_makes_the_segment_that_is_named(http: TestClient, world: World) -> None:
    path = uploaded(http, b"email\nann@example.com\n").url.path
    checked = chosen(http, path, check="1", new_segment="Été 2026")
    assert 'value="Été 2026"' in checked.text
    assert world.read("SELECT FROM segment") == []
    refused = chosen(http, path, **{"import": "1"}, new_segment="x" * 300)
    assert refused.status_code == 400
    assert "Enter at most 255 characters." in text_of(refused.text)
    chosen(http, path, **{"import": "1"}, new_segment="Été 2026")
    assert "1 contact joined the segment “Été 2026”." in text_of(finished(http, path))
    assert http.get("/api/contacts/ann@example.com").json()["segments"] == ["ete-2026"]
    # Who is in it already does not join.
    again = uploaded(http, b"email\nann@example.com\nben@example.com\n", segment="ete-2026").url.path
    chosen(http, again, **{"import": "1"}, segment="ete-2026")
    assert "1 contact joined the segment “Été 2026”." in text_of(finished(http, again))
    assert "manually or by an import" in text_of(http.get("/segments/ete-2026").text)
    # A name that is there is that segment, and one of other letters gets a key of its own.
    for name, key in (("ete 2026", "ete-2026"), ("日本", "segment"), ("中国", "segment-2")):
        path = uploaded(http, f"email\n{key}@example.com\n".encode()).url.path
        chosen(http, path, **{"import": "1"}, new_segment=name)
        finished(http, path)
        assert http.get(f"/api/contacts/{key}@example.com").json()["segments"] == [key]
    assert [(row.key, row.name) for row in world.read("SELECT key, name FROM segment ORDER BY id")] == [
        ("ete-2026", "Été 2026"), ("segment", "日本"), ("segment-2", "中国")
    ]  # fmt: skip


def test_deleting_a_file_asks_before_and_is_there_after_the_import_too(http: TestClient, world: World) -> None:
    rows = "".join(f"no address {n}\n" for n in range(contact_import.SHOWN + 2))
    path = uploaded(http, f"email\nann@example.com\n{rows}".encode()).url.path
    page = http.get(path).text
    assert f'formaction="{path}/delete"' not in page
    assert "2 more rows are not shown here." in text_of(page)
    assert "what was chosen for its columns is lost" in text_of(http.get(f"{path}/delete").text)
    chosen(http, path, **{"import": "1"})
    assert f'href="{path}/delete"' in finished(http, path)
    assert "The imported contacts stay." in text_of(http.get(f"{path}/delete").text)
    assert "The file was deleted." in text_of(chosen(http, f"{path}/delete").text)
    assert http.get(path).status_code == 404
    assert http.get("/api/contacts/ann@example.com").status_code == 200


def test_the_import_speaks_french(http: TestClient, world: World) -> None:
    http.headers["accept-language"] = "fr"
    page = text_of(uploaded(http, EXPORT).text)
    for said in (
        "Prénom Prénom Ann",
        "Solde Solde 1 234,5",
        "ne pas contacter (e-mail), quand la cellule dit oui",
        "2 lignes peuvent être importées",
    ):
        assert said in page


def test_what_is_noted_of_a_file_is_told_in_french(http: TestClient, world: World) -> None:
    columns = {
        "Naissance": ("31/12/1990", "01/02/1985", "03/04/1999"),
        "Visite": ("3 mars 2020", "4 mars 2020", "5 mars 2020"),
        "Rappel": ("02/03/2020", "04/05/2021", "06/07/2022"),
        "Solde": ("1.234,50", "7,00", "8,25"),
        "Total": ("1.234", "5.678", "9.012"),
        "Mixte": ("1,50", "2.25", "3,75"),
        "Fête": ("12/31", "11/30", "10/29"),
        "Deux": ("31/12/1990", "12/31/1990", "30/11/1990"),
    }
    rows = [";".join(("E-mail", *columns))]
    rows += [";".join((f"a{n}@example.com", *(cells[n] for cells in columns.values()))) for n in range(3)]
    http.headers["accept-language"] = "fr"
    page = uploaded(http, "\n".join(rows).encode("cp1252"), name="fichier.csv").text
    notes = [text_of(each.split("</li>")[0]) for each in page.split('id="result-head"')[1].split("<li>")[1:]]
    assert len(notes) >= 5
    left = [note for note in notes if ENGLISH.search(QUOTED.sub("", note)) or "Column" in note]
    assert left == []
    assert "Windows-1252 (Europe occidentale)" in page.split('name="encoding"')[1].split("</select>")[0]


def test_a_file_of_thousands_of_columns_is_looked_at_and_its_form_can_be_sent(http: TestClient, world: World) -> None:
    names = ["email", *(f"c{n}" for n in range(3_000))]
    page = uploaded(http, f"{','.join(names)}\nann@example.com{',1' * 3_000}\n".encode())
    assert "2501 more columns become fields of their own names." in text_of(page.text).replace(",", "")
    assert len(page.text) < 1_500_000
    sent = {name: re.findall(rf'name="{name}" value="([^"]*)"', page.text) for name in ("column", "own_field")}
    assert len(sent["column"]) == 500
    answer = chosen(http, page.url.path, **sent, target=["auto"] * 500, check="")
    assert answer.status_code == 200
    same = uploaded(http, f"email{',phone' * 3_000}\nann@example.com{',1' * 3_000}\n".encode())
    assert "1 row can be imported." in text_of(same.text)


def test_a_file_with_only_a_header_offers_no_import(http: TestClient, world: World) -> None:
    page = uploaded(http, b"email,first_name\n").text
    assert "there is nothing to import" in text_of(page)
    assert 'name="import"' not in page


def test_what_is_wrong_with_rows_and_columns_is_told_in_french(http: TestClient, world: World) -> None:
    http.headers["accept-language"] = "fr"
    rows = b'email,name,email\na@example.com,"Ann,b@example.com\nc@example.com,Cy,d@example.com\n'
    page = text_of(uploaded(http, rows).text)
    assert "un guillemet n’est pas fermé sur cette ligne ; les lignes suivantes sont lues séparément" in page
    assert "La colonne 3 a le même nom 'email' qu’une colonne précédente ; elle devient le champ 'email 2'." in page


def test_who_adds_contacts_for_a_draft_comes_back_to_its_review_and_campaigns_have_names(
    http: TestClient, world: World
) -> None:
    world.segment("news")
    world.campaign("- {action: contact.points, with: {points: 1}}", name="Welcome series", segments=("news",))
    token = token_of(http.get("/campaigns/+new"))
    made = http.post("/drafts", data={"csrf": token, "name": "Second", "template": ""}, headers=HTML)
    (draft,) = re.findall(r"/drafts/\d+", str(made.url.path))
    (revision,) = set(re.findall(r'data-revision="(\d+)"', made.text))
    file = "sources: {segments: [news]}\nsteps: [{action: contact.points, with: {points: 1}}]"
    http.post(draft, data={"csrf": token, "revision": revision, "do": "yaml", "text": file}, headers=HTML)
    (link,) = re.findall(r'href="([^"]+)">Add contacts', http.get(f"{draft}/review", headers=HTML).text)
    assert f'name="back" value="{draft}/review"' in http.get(unescape(link)).text
    preview = uploaded(http, EXPORT, segment="news", back=f"{draft}/review")
    assert f'name="back" value="{draft}/review"' in preview.text
    again = chosen(http, str(preview.url.path), check="1", segment="news", back=f"{draft}/review")
    assert f'name="back" value="{draft}/review"' in again.text
    done = chosen(http, str(preview.url.path), segment="news", back=f"{draft}/review")
    page = finished(http, f"{done.url.path}?{done.url.query.decode()}")
    assert re.search(rf'href="{draft}/review"[^>]*>(<span>)?Back to the draft', page)
    assert "Welcome series" in text_of(page)
    # Nothing else is led to.
    assert "Back to the draft" not in http.get(f"{done.url.path}?back=https://example.com/drafts/1/review").text
