"""Contacts are made, changed, found, exported and erased in the browser, by command and over REST, with one result."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.reads import listings
from tests.conftest import Run
from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import given_user, sign_in, token_of
from tests.workers.worlds import World

HTML = {"accept": "text/html"}


def posted(http: TestClient, path: str, **fields: Any) -> Any:
    return http.post(path, data={"csrf": token_of(http.get("/contacts")), **fields}, headers=HTML)


def test_a_contact_is_made_changed_silenced_and_erased_on_its_pages(http: TestClient, world: World) -> None:
    world.by_rule(
        "french", {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
    )
    made = posted(
        http,
        "/contacts/+new",
        first_name="Ann",
        last_name="Lee",
        email="ann@example.com",
        timezone="Europe/Paris",
        tags="vip, new",
        field=["country", "age", ""],
        value=["FR", "41", ""],
    )
    assert (made.status_code, made.url.path) == (200, "/contacts/ann%40example.com".replace("%40", "@"))
    assert "<h1>Ann Lee</h1>" in made.text
    assert world.inside("french") == {"ann@example.com"}
    shown = http.get("/api/contacts/ann@example.com").json()
    assert shown["fields"] == {"first_name": "Ann", "last_name": "Lee", "country": "FR", "age": "41"}
    # A value that is no text stays none; what the form does not touch is left alone.
    http.put("/api/contacts/ann@example.com", json={"fields": {"age": 41, "likes": ["tea"]}})
    form = text_of(http.get("/contacts/ann@example.com/edit").text)
    assert "Europe/Paris" in http.get("/contacts/ann@example.com/edit").text
    assert "Edit Ann Lee" in form
    saved = posted(
        http,
        "/contacts/ann@example.com/edit",
        first_name="Anna",
        last_name="Lee",
        email="ann@example.com",
        timezone="Europe/Paris",
        stage="lead",
        owner="bob",
        tags="vip",
        field=["age", "likes"],
        value=["42", '["tea"]'],
        refuse="email",
        comment="asked by phone",
    )
    assert saved.status_code == 200
    shown = http.get("/api/contacts/ann@example.com").json()
    assert shown["fields"] == {"first_name": "Anna", "last_name": "Lee", "age": 42, "likes": ["tea"]}
    assert (shown["tags"], shown["stage"], shown["owner"]) == (["vip"], "lead", "bob")
    assert {(each["channel"], each["reason"], each["comment"]) for each in shown["refusals"]} == {
        ("email", "manual", "asked by phone")
    }
    # At any address and at the one there is: one word, told once.
    told = text_of(http.get("/contacts/ann@example.com").text)
    assert told.count("do not contact by email") == told.count("asked by phone") == 1
    assert "at any address" in told
    assert world.inside("french") == set()
    posted(http, "/contacts/ann@example.com/edit", first_name="Anna", last_name="Lee", email="ann@example.com")
    assert http.get("/api/contacts/ann@example.com").json()["refusals"] == []
    exported = http.get("/contacts/ann@example.com/export")
    assert "attachment" in exported.headers["content-disposition"]
    assert [each["type"] for each in exported.json()["events"]] == ["contact.changed"] * 4
    assert "Erase Anna Lee?" in http.get("/contacts/ann@example.com/erase").text
    receipt = posted(http, "/contacts/ann@example.com/erase")
    assert "All data about ann@example.com was erased" in receipt.text
    assert "events 4" in text_of(receipt.text)
    assert http.get("/contacts/ann@example.com", headers=HTML).status_code == 404


def test_saving_what_is_unchanged_leaves_no_trace_in_the_history(http: TestClient, world: World) -> None:
    world.contacts("ann", email="ann@example.com", first_name="Ann", balance=1500.5)
    given = {"first_name": "Ann", "email": "ann@example.com", "field": ["balance"], "value": ["1500.5"]}
    assert "Nothing was changed." in posted(http, "/contacts/ann/edit", **given).text
    assert http.get("/api/contacts/ann/export").json()["events"] == []
    posted(http, "/contacts/ann/edit", **{**given, "first_name": "Anna"})
    assert len(http.get("/api/contacts/ann/export").json()["events"]) == 1


def test_a_number_is_shown_and_typed_as_the_reader_writes_it_and_stays_a_number(http: TestClient, world: World) -> None:
    world.contacts("ann", balance=1500.5, small=1e-7)
    http.headers["accept-language"] = "fr"
    page = http.get("/contacts/ann/edit").text
    assert 'value="1500,5"' in page
    given = {"field": ["balance", "small"], "value": ["1600,25", "1e-07"]}
    assert posted(http, "/contacts/ann/edit", **given).status_code == 200
    assert http.get("/api/contacts/ann").json()["fields"] == {"balance": 1600.25, "small": 1e-7}
    http.headers["accept-language"] = "en"
    assert 'value="1600.25"' in http.get("/contacts/ann/edit").text


def test_what_is_wrong_in_the_form_of_a_contact_comes_back_with_what_was_typed(http: TestClient, world: World) -> None:
    world.contacts("kim", email="kim@example.com")
    for fields, sentence in (
        ({}, "Enter a name, an email address or a key."),
        ({"email": "no address", "owner": "bob"}, "no address"),
        ({"email": "kim@example.com"}, "already exists"),
        ({"key": "kim"}, "already exists"),
        ({"key": "k" * 300}, "at most 255"),
        ({"key": "z", "timezone": "Europe/Pari"}, "Europe/Pari"),
        ({"key": "z", "field": "", "value": "lost"}, "A value has no name"),
        ({"key": "z", "field": "email", "value": "x"}, "cannot be the name of a custom field"),
        ({"key": "z", "owner": "o" * 10_000}, "at most 255"),
    ):
        answer = posted(http, "/contacts/+new", first_name="", **fields)
        assert answer.status_code == 400, fields
        assert sentence in answer.text
        assert all(value in answer.text for value in fields.values())
    assert [line["key"] for line in http.get("/api/contacts").json()["items"]] == ["kim"]
    taken = posted(http, "/contacts/+new", key="ann", email="KIM@example.com")
    assert (taken.status_code, "belongs to contact" in taken.text) == (400, True)
    french = http.post(
        "/contacts/+new",
        data={"csrf": token_of(http.get("/contacts")), "key": "ann", "email": "KIM@example.com"},
        headers={"accept-language": "fr"},
    )
    assert "est celle du contact" in french.text


def test_a_viewer_sees_contacts_and_changes_none(client: Client, world: World, engine: Engine) -> None:
    world.contacts("ann")
    given_user(engine, "viewer")
    http = client(open_to_all=False)
    sign_in(http)
    for path in ("/contacts", "/contacts/ann"):
        page = http.get(path).text
        assert "/edit" not in page
        assert "+new" not in page
    for path in ("/contacts/+new", "/contacts/ann/edit", "/contacts/ann/erase"):
        assert posted(http, path, first_name="X").status_code == 403
    assert len(world.read("SELECT FROM contact")) == 1


def test_contacts_are_found_by_names_keys_addresses_and_fields(http: TestClient, world: World, run: Run) -> None:
    world.contacts("k1", email="post@example.com", first_name="Ann", last_name="O'Neil", country="FR")
    world.contacts("k2", first_name="Berta", last_name="Annand", country="fr")
    world.contacts("k3", company="Ann & Co", vip=True)
    with world.engine.connect() as conn:
        for wanted, keys in {
            "ann": {"k1", "k2"},
            "O'N": {"k1"},
            "ann o'n": {"k1"},
            "O'Neil Ann": {"k1"},
            "berta x": set(),
            "POST@": {"k1"},
            "k": {"k1", "k2", "k3"},
            "country=FR": {"k1", "k2"},
            "country: fr": {"k1", "k2"},
            "vip=true": {"k3"},
            "no such=x": set(),
            "%": set(),
        }.items():
            found = listings.search(conn, wanted)
            assert found is not None
            assert {
                line.key for line in listings.contacts(conn, found=found, before=listings.FIRST, limit=9).rows
            } == keys
    page = http.get("/contacts", params={"q": "ann o'n"}).text
    assert "Ann O&#39;Neil</a>" in page
    assert "post@example.com · k1" in page
    assert http.get("/api/contacts?search=country%3DFR").json()["items"][0]["name"] == "Berta Annand"
    assert "Berta Annand" in run("contacts", "list", "berta").stdout


def test_the_command_makes_changes_exports_and_erases_a_contact(run: Run, http: TestClient, world: World) -> None:
    made = run("contacts", "create", "ann", "--email", "ann@example.com", "--field", "country=FR", "--tag", "vip")
    assert (made.returncode, made.stdout) == (0, "Contact ann is created.\n")
    assert "already exists" in run("contacts", "create", "ann").stderr
    assert "nothing to change" in run("contacts", "update", "ann").stderr
    assert run("contacts", "update", "nobody", "--owner", "x").returncode != 0
    changed = run(
        "contacts",
        "update",
        "ann",
        "--owner",
        "bob",
        "--field",
        "country=",
        "--untag",
        "vip",
        "--do-not-contact",
        "sms",
    )
    assert changed.returncode == 0, changed.stderr
    whole = json.loads(run("contacts", "export", "ann").stdout)
    assert (whole["owner"], whole["fields"], whole["tags"]) == ("bob", {}, [])
    assert [(each["channel"], each["reason"]) for each in whole["refusals"]] == [("sms", "manual")]
    assert whole == http.get("/api/contacts/ann/export").json()
    run("contacts", "update", "ann", "--contact-again", "sms", "--email", "")
    assert json.loads(run("contacts", "export", "ann").stdout)["refusals"] == []
    assert "add --yes" in run("contacts", "delete", "ann").stderr
    receipt = json.loads(run("contacts", "delete", "ann", "--yes", "--json").stdout)
    assert (receipt["contact"], receipt["rows"]["events"]) == ("ann", 3)
    assert run("contacts", "delete", "ann", "--yes").returncode != 0
    world.contacts("ben")
    over_rest = http.delete("/api/contacts/ben?receipt=true")
    assert (over_rest.status_code, over_rest.json()["contact"]) == (200, "ben")


def test_the_members_of_a_segment_leave_as_a_file_that_an_import_reads_back(
    run: Run, http: TestClient, world: World, tmp_path: Path
) -> None:
    world.contacts("ann", segment="all", country="FR", note='=1+1, "quoted"', phone="+33 1 23", big=[1, {"a": 2}])
    world.contacts("ben", segment="all", age=41)
    world.do_not_contact("ben")
    run("contacts", "update", "ann", "--tag", "vip", "--tag", "new")
    done = run("contacts", "export", "--segment", "all", "out.csv")
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "out.csv").read_text()
    assert written.splitlines()[0] == (
        "key,email,timezone,points,stage,owner,tags,company,do_not_contact,age,big,country,note,phone"
    )
    assert "'=1+1" in written
    assert ",+33 1 23" in written
    assert http.get("/api/segments/all/export").text == written
    lines = http.get("/api/segments/all/export?format=ndjson").text.splitlines()
    assert json.loads(lines[0])["big"] == [1, {"a": 2}]
    assert run("contacts", "export", "--segment", "all", "-", "--format", "ndjson").stdout.splitlines() == lines
    back = json.loads(run("contacts", "import", "out.csv", "--json").stdout)
    assert (back["added"], back["rejected"], back["silenced"]) == (0, 0, 1)
    assert http.get("/api/segments/none/export").status_code == 404


def test_a_name_without_end_is_refused_by_the_form_and_cut_where_an_event_brought_it(
    client: Client, world: World
) -> None:
    http = client()
    refused = posted(http, "/contacts/+new", first_name="x" * 300, email="ann@example.com")
    assert refused.status_code == 400
    assert "Enter at most 255 characters." in refused.text
    # What was typed is still there.
    assert "x" * 300 in refused.text
    world.contacts("ann", segment="everyone", first_name="y" * 50_000)
    for page in ("/contacts", "/contacts/ann"):
        assert "y" * 2_000 not in http.get(page).text


def test_a_contact_with_many_tags_and_fields_is_shown_in_short_and_loses_none_when_it_is_saved(
    http: TestClient, world: World
) -> None:
    names = [f"tag-{n:04}" for n in range(2_000)]
    fields = {f"field_{n}": "x" for n in range(600)}
    assert http.put("/api/contacts/ann", json={"tags": names, "fields": fields}).status_code == 201
    shown = http.get("/contacts/ann").text
    before, more = shown.split("<details", 1)
    assert (before.count('class="tag"'), more.count('class="tag"')) == (30, 1_970)
    assert "1,970 more tags" in text_of(shown)
    page = http.get("/contacts/ann/edit").text
    form = {
        "field": re.findall(r'name="field" value="([^"]*)"', page),
        "value": re.findall(r'name="value" value="([^"]*)"', page),
    }
    assert len(form["field"]) > 600
    posted(http, "/contacts/ann/edit", tags=", ".join([*names, "new"]), **form)
    kept = http.get("/api/contacts/ann").json()
    assert kept["fields"] == fields
    assert kept["tags"] == sorted([*names, "new"])
