"""A segment is made, given a rule in the editor, changed and deleted in the browser; without script as well."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from parcours.services import rule_count
from tests.conftest import Run
from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import given_user, sign_in, token_of
from tests.workers.worlds import START, World

HTML = {"accept": "text/html"}
IN_FRANCE = {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    made = World(engine, tmp_path)
    made.contacts("ann", country="FR", points=5)
    made.contacts("ben", country="US", points=50)
    made.contacts("cy", country="BE")
    return made


def fields_of(page: str) -> list[tuple[str, str]]:
    """Return the fields of the form of a page as a browser would send them, without its buttons."""
    form = max(re.findall(r"(?s)<form[^>]*method=\"post\".*?</form>", page), key=len)
    found = []
    pattern = r"(?s)<input ([^>]*)>|<select ([^>]*)>(.*?)</select>|<textarea ([^>]*)>\n?(.*?)</textarea>"
    for box, select, options, area, text in re.findall(pattern, form):
        name = re.search(r'name="([^"]*)"', box or select or area)
        if name is None or (re.search("checkbox|radio", box) and " checked" not in box):
            continue
        if select:
            chosen = re.findall(r'<option value="([^"]*)" selected', options)
            if not chosen and "multiple" not in select:
                chosen = re.findall(r'<option value="([^"]*)"', options)[:1]
            found += [(name[1], each) for each in chosen]
        else:
            value = re.search(r'value="([^"]*)"', box)
            found.append((name[1], text if area else "" if value is None else value[1]))
    return [(name, unescape(value)) for name, value in found]


class Editor:
    """The form of a segment in a browser without script."""

    def __init__(self, http: TestClient, key: str) -> None:
        self.http, self.path = http, f"/segments/{key}/edit"
        self.answer = http.get(self.path)

    def send(self, path: str | None = None, /, *, press: dict[str, str], **changed: Any) -> Any:
        self.answer = self.http.post(path or self.path, data={**self.fields(), **changed, **press}, headers=HTML)
        return self.answer

    def fields(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in fields_of(self.answer.text):
            found[name] = [*found.get(name, []), value]
        return found


def test_no_two_fields_of_a_rule_have_the_same_id_whatever_its_conditions(http: TestClient, world: World) -> None:
    world.segment("every")
    editor = Editor(http, "every")
    editor.send(press={"start_rule": "1"})
    (offers,) = re.findall(r'(?s)<select id="rule-root-new".*?</select>', editor.answer.text)
    types = re.findall(r'<option value="([^"]+)"', offers)
    assert "event.count" in types
    for each in types:
        editor.send(press={"rule_do": "add:"}, **{"rule_new.": each})
    ids = re.findall(r' id="([^"]+)"', editor.answer.text)
    assert [each for each in set(ids) if ids.count(each) > 1] == []
    assert [each for each in re.findall(r'<label[^>]* for="([^"]+)"', editor.answer.text) if each not in ids] == []


def test_a_rule_is_built_part_by_part_counted_reviewed_and_applied(http: TestClient, world: World) -> None:
    made = http.post(
        "/segments", data={"csrf": token_of(http.get("/segments/+new")), "name": "Warm leads", "by_rule": "1"}
    )
    assert made.url.path == "/segments/warm-leads/edit"
    editor = Editor(http, "warm-leads")
    assert "No rule." in editor.answer.text
    editor.send(press={"start_rule": "1"})
    assert editor.send(press={"review": "1"}).status_code == 400
    assert "Add at least one condition." in editor.answer.text
    editor.send(press={"rule_do": "add:"}, **{"rule_new.": "contact.field"})
    # The value's widget follows the operator.
    editor.send(press={"rule_do": "type"}, **{"rule.0.with.field": "country", "rule.0.with.operator": "in"})
    assert "separated by commas" in editor.answer.text
    editor.send(press={"rule_do": "group:"}, **{"rule.0.with.value": "FR, BE"})
    editor.send(press={"rule_do": "add:1"}, **{"rule_new.1": "contact.points"})
    editor.send(press={"rule_do": "add:1"}, **{"rule_new.1": "contact.tags", "rule.1.0.with.points": "x"})
    assert "Enter a whole number." in editor.answer.text
    wrong = editor.send(press={"review": "1"}, **{"rule.1.0.with.points": "40", "rule.1.0.with.operator": "gt"})
    assert wrong.status_code == 400
    assert "Enter at least one tag." in text_of(wrong.text)
    editor.send(press={"rule_do": "up:1.1"}, **{"rule.1.1.with.tags": "vip", "rule.1.1.negated": "1"})
    counted = http.post("/segments/warm-leads/count", data=editor.fields(), headers={"hx-request": "true"})
    assert counted.text.strip() == '<span class="">2 of 3 contacts match.</span>'
    review = text_of(editor.send(press={"review": "1"}).text)
    assert "2 contacts are added." in review
    assert world.inside("warm-leads") == set()
    done = editor.send("/segments/warm-leads/apply", press={})
    assert done.url.path == "/segments/warm-leads"
    assert world.inside("warm-leads") == {"ann", "cy"}
    assert http.get("/api/segments/warm-leads").json()["rule"] == {
        "all": [
            {"condition": "contact.field", "with": {"field": "country", "operator": "in", "value": ["FR", "BE"]}},
            {
                "any": [
                    {"not": {"condition": "contact.tags", "with": {"tags": ["vip"]}}},
                    {"condition": "contact.points", "with": {"operator": "gt", "points": 40}},
                ]
            },
        ]
    }


def test_every_rule_comes_back_from_the_form_as_it_was(http: TestClient, world: World) -> None:
    world.segment("other")
    rule = {
        "any": [
            {"not": {"all": [{"condition": "contact.segments", "with": {"segments": ["other"]}}]}},
            {"condition": "contact.field", "with": {"field": "age", "operator": "gt", "value": 5}},
            {"condition": "contact.field", "with": {"field": "a", "operator": "=", "value": {"field": "b"}}},
            {"condition": "contact.field", "with": {"field": "a", "operator": "empty"}},
            {"condition": "contact.email_valid"},
            {"condition": "event.count", "with": {"type": "order.*", "at_least": 2, "within": "90 days",
              "where": [{"field": "total", "operator": "gte", "value": 50}]}},
            {"condition": "contact.campaigns", "with": {"campaigns": ["c"], "added": {"within": "3 days"}}},
            {"condition": "contact.dnc", "with": {"channels": ["email", "sms"], "reason": "bounced", "match": "all"}},
        ]
    }  # fmt: skip
    world.campaign("- {step: s, action: contact.points, with: {points: 1}}")
    assert http.put("/api/segments/s", json={"segment": "s", "name": "S", "rule": rule}).status_code == 200
    review = Editor(http, "s").send(press={"review": "1"})
    assert review.status_code == 200, text_of(review.text)
    assert "Nothing changes." in review.text
    # And by way of YAML.
    editor = Editor(http, "s")
    editor.send(press={"rule_do": "yaml"})
    assert "order.*" in editor.answer.text
    editor.send(press={"rule_do": "form"})
    assert "Nothing changes." in editor.send(press={"review": "1"}).text
    editor = Editor(http, "s")
    editor.send(press={"rule_do": "yaml"})
    broken = editor.send(press={"review": "1"}, rule_yaml="{all: [{condition: contact.tag}]}")
    assert broken.status_code == 400
    assert "did you mean" in text_of(broken.text)


def test_the_review_says_what_a_change_does_to_campaigns_and_a_conflict_applies_nothing(
    http: TestClient, world: World
) -> None:
    world.by_rule(
        "french", {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
    )
    world.campaign("- {step: s, action: contact.points, with: {points: 1}}", name="Welcome", segments=("french",))
    world.run()
    editor = Editor(http, "french")
    review = text_of(editor.send(press={"review": "1"}, **{"rule.0.with.value": "BE", "name": "Belgian"}).text)
    for said in (
        "The name changes.",
        "1 contact is added.",
        "1 contact is removed.",
        "Welcome",
        "1 contact joins",
        "1 leaves",
    ):
        assert said in review
    http.put("/api/segments/french", json={"segment": "french", "name": "Elsewhere"})
    conflict = editor.send("/segments/french/apply", press={})
    assert conflict.status_code == 400
    assert "Somebody changed the segment meanwhile" in conflict.text
    assert "BE" in conflict.text
    # Without a rule, members stay.
    world.by_rule("kept", IN_FRANCE)
    editor = Editor(http, "kept")
    editor.send(press={"review": "1"}, by_rule="no", private="1")
    assert "The rule is removed." in editor.answer.text
    editor.send("/segments/kept/apply", press={})
    assert world.inside("kept") == {"ann"}
    assert http.get("/api/segments/kept").json()["public"] is False


def test_a_segment_is_deleted_when_nothing_uses_it_and_else_says_what_does(
    http: TestClient, world: World, run: Run
) -> None:
    world.segment("source")
    world.segment("asked")
    world.segment("free")
    world.enter("free", "ann")
    world.by_rule("asking", {"condition": "contact.segments", "with": {"segments": ["asked"]}})
    world.campaign(
        "- {step: s, condition: contact.segments, with: {segments: [asking]}}", name="Welcome", segments=("source",)
    )
    token = token_of(http.get("/segments/+new"))
    for key, user in (("source", "Welcome"), ("asked", "asking"), ("asking", "Welcome")):
        page = http.get(f"/segments/{key}/delete").text
        assert "cannot be deleted" in page
        assert user in page
        http.post(f"/segments/{key}/delete", data={"csrf": token})
        assert http.delete(f"/api/segments/{key}").status_code == 409
        assert f"segment {key!r} cannot be deleted: it is used by " in run("segments", "delete", key, "--yes").stderr
        assert http.get(f"/api/segments/{key}").status_code == 200
    assert "The contacts stay" in http.get("/segments/free/delete").text
    assert "was deleted" in http.post("/segments/free/delete", data={"csrf": token}).text
    assert http.get("/api/segments/free").status_code == 404
    assert http.get("/api/contacts/ann").json()["segments"] == []
    assert http.delete("/api/segments/free").status_code == 404
    world.segment("gone")
    assert run("segments", "delete", "gone", "--yes").stdout == "Segment gone is deleted.\n"
    assert http.get("/health/ready").status_code in (200, 503)


def test_many_segments_are_searched_and_paged(http: TestClient, world: World) -> None:
    world.write(
        "INSERT INTO segment (key, name) SELECT 's' || lpad(n::text, 3, '0'), 'List ' || n "
        "FROM generate_series(1, 120) AS n"
    )
    first = http.get("/segments").text
    assert first.count('class="main"') == 50
    assert "/segments?page=2" in first
    assert http.get("/segments?page=3").text.count('class="main"') == 20
    assert re.findall(r">(List \d+)<", http.get("/segments", params={"q": "list 11"}).text) == [
        "List 11", *(f"List {n}" for n in range(110, 120)),
    ]  # fmt: skip
    assert "No segment has a name" in http.get("/segments?q=%25").text
    assert "List 1" in http.get("/segments?page=x").text


def test_members_are_added_by_address_removed_one_by_one_and_exported(http: TestClient, world: World) -> None:
    world.segment("press")
    token = token_of(http.get("/segments/press"))
    http.post("/segments/press/members", data={"csrf": token, "contacts": "ann@example.com\nben", "add": "1"})
    assert world.inside("press") == {"ann", "ben"}
    page = http.get("/segments/press").text
    assert 'aria-label="Remove ann"' in page
    http.post("/segments/press/members", data={"csrf": token, "contacts": "ann", "remove": "1"})
    assert world.inside("press") == {"ben"}
    assert http.get("/segments/press/export").text.splitlines()[1].startswith("ben,ben@example.com,")
    assert "segment=press" in page


def test_a_large_number_of_contacts_is_estimated_and_a_small_one_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parcours.domain.segments import parsing

    world.crowd(200, country="FR")
    rule, _problems = parsing.parse(IN_FRANCE)
    assert rule is not None
    with world.engine.connect() as conn:
        assert rule_count.count(conn, rule, now=START, zone=world.zone) == (201, False, 0, 203)
        monkeypatch.setattr(rule_count, "MOST_ASKED", 50)
        monkeypatch.setattr(rule_count, "RANGE", 10)
        counted = rule_count.count(conn, rule, now=START, zone=world.zone)
    assert counted.about
    assert 150 < counted.matching < 210
    assert 150 < counted.total < 212


def test_a_viewer_changes_no_segment(client: Client, world: World, engine: Engine) -> None:
    world.segment("press")
    given_user(engine, "viewer")
    http = client(open_to_all=False)
    sign_in(http)
    assert "/edit" not in http.get("/segments/press").text
    token = token_of(http.get("/segments/press"))
    for path in ("edit", "apply", "delete", "count", "members"):
        assert http.post(f"/segments/press/{path}", data={"csrf": token}).status_code == 403
    assert "Review" not in http.get("/segments/press/edit").text


def test_contacts_that_were_typed_stay_when_one_of_them_is_unknown(http: TestClient, world: World) -> None:
    world.segment("press")
    world.contacts("anna")
    data = {"csrf": token_of(http.get("/segments/press")), "contacts": "anna\nnobody\n", "add": "1"}
    refused = http.post("/segments/press/members", data=data)
    assert "No contact has the key nobody. Nothing was changed." in refused.text
    field = refused.text.split('<textarea id="contacts"')[1].split("</textarea>")[0]
    assert field.split(">", 1)[1].split() == ["anna", "nobody"]
    assert world.inside("press") == set()


def test_a_french_reader_sees_a_segment_without_contacts_in_the_singular(http: TestClient, world: World) -> None:
    world.segment("presse")
    page = http.get("/segments/presse", headers={"accept-language": "fr"}).text
    assert "0 contact" in page
    assert "0 contacts" not in page
