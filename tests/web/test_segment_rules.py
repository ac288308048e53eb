"""Segments by rule over REST and on their page."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from tests.web.conftest import Client
from tests.workers.worlds import START, World

FRENCH = {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
FILE = {"segment": "french", "name": "In France", "rule": {"all": [FRENCH]}}


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    made = World(engine, tmp_path)
    made.contacts("ann", country="FR")
    made.contacts("ben", country="US")
    return made


@pytest.fixture
def http(client: Client, world: World) -> TestClient:
    return client()


def test_a_rule_is_planned_put_got_and_explained(http: TestClient, world: World) -> None:
    planned = http.post("/api/segments/french/plan", json=FILE)
    assert planned.status_code == 200, planned.text
    assert [(each["segment"], each["creates"], each["comes"]) for each in planned.json()] == [("french", True, 1)]
    assert http.get("/api/segments/french").status_code == 404
    put = http.put("/api/segments/french", json=FILE)
    assert put.status_code == 200, put.text
    assert (put.json()["members"], put.json()["rule"], put.json()["ranges_left"]) == (1, FILE["rule"], 0)
    assert http.get("/api/segments/french").json() == put.json()
    why = http.get("/api/segments/french/explain/ben").json()
    assert (why["inside"], why["answer"], why["rule"]["kind"]) == (False, False, "all")
    yaml = "segment: french\nrule: {not: {condition: contact.tags, with: {tags: [x]}}}\n"
    put = http.put("/api/segments/french", content=yaml, headers={"content-type": "application/yaml"})
    assert (put.status_code, put.json()["members"], put.json()["name"]) == (200, 2, "In France")
    assert http.put("/api/segments/french", json={"segment": "french"}).json()["rule"] is None
    assert http.get("/api/segments").json()["items"][0]["by_rule"] is False


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ({"segment": "other"}, "segment"),
        ({**FILE, "rule": {"condition": "contact.tag"}}, "rule.condition"),
        ({**FILE, "rule": {"condition": "contact.segments", "with": {"segments": ["gone"]}}}, "rule.with.segments"),
        ({**FILE, "rule": {"condition": "contact.segments", "with": {"segments": ["french"]}}}, "rule"),
        ({**FILE, "rulse": 1}, "rulse"),
    ],
)
def test_what_is_wrong_with_a_rule_is_answered_with_its_place(
    http: TestClient, file: dict[str, object], path: str
) -> None:
    for answer in (http.put("/api/segments/french", json=file), http.post("/api/segments/french/plan", json=file)):
        assert answer.status_code == 422
        assert [each["path"] for each in answer.json()["problems"]] == [path]
    assert http.get("/api/segments/french").status_code == 404


def test_the_page_of_a_segment_shows_its_rule_in_words(http: TestClient, world: World) -> None:
    assert http.put("/api/segments/french", json=FILE).status_code == 200
    page = http.get("/segments/french")
    assert page.status_code == 200
    for text in ("Members are the contacts that match:", "all of", "country"):
        assert text in page.text
    assert "by rule" in http.get("/segments").text
    world.write("UPDATE segment SET rule_error = 'it raised' WHERE key = 'french'")
    assert "This rule fails: it raised." in http.get("/segments/french").text
