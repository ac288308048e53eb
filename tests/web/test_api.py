"""REST under `/api/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from db.partitions import ensure_partitions
from tests.conftest import Run
from tests.web.conftest import Client
from tests.web.test_overview_pages import travelled
from tests.workers.worlds import START, World

STEP = {"step": "hello", "action": "contact.points", "with": {"points": 1}}
YAML = {"content-type": "application/yaml"}


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    made = World(engine, tmp_path)
    made.segment("everyone")
    return made


@pytest.fixture
def http(client: Client, world: World) -> TestClient:
    return client()


def file(key: str = "c", **more: Any) -> dict[str, Any]:
    return {"campaign": key, "name": key, "sources": {"segments": ["everyone"]}, "steps": [STEP], **more}


def walked(http: TestClient, path: str, limit: int) -> list[dict[str, Any]]:
    """Return the items of all pages of a list."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = http.get(path, params={"limit": limit, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert len(body["items"]) <= limit
        found += body["items"]
        cursor = body["next"]
        if cursor is None:
            return found


# Campaigns.


def test_a_campaign_is_made_got_changed_and_deleted(http: TestClient) -> None:
    made = http.post("/api/campaigns", json=file())
    assert (made.status_code, made.headers["location"]) == (201, "/api/campaigns/c"), made.text
    got = http.get("/api/campaigns/c")
    assert got.json() == made.json()
    assert got.headers["etag"] == made.headers["etag"]
    assert (got.json()["version"], got.json()["state"], got.json()["published"]) == (1, "paused", False)
    changed = http.put("/api/campaigns/c", json={**got.json()["definition"], "name": "Other"})
    assert (changed.status_code, changed.json()["version"], changed.json()["name"]) == (200, 2, "Other")
    assert http.delete("/api/campaigns/c").status_code == 204
    assert http.get("/api/campaigns/c").status_code == 404
    assert http.delete("/api/campaigns/c").status_code == 404


def test_a_campaign_may_come_as_yaml(http: TestClient) -> None:
    text = (
        "campaign: c\nname: Hello\nsources: {segments: [everyone]}\n"
        "steps:\n  - {step: hello, action: contact.points, with: {points: 1}, hour: 09:00}\n"
    )
    made = http.post("/api/campaigns", content=text, headers=YAML)
    assert made.status_code == 201, made.text
    assert made.json()["definition"]["steps"][0]["hour"] == "09:00"
    wrong = http.post("/api/campaigns", content="campaign: d\nsteps: [", headers=YAML)
    assert wrong.status_code == 422
    assert http.post("/api/campaigns", content="x", headers={"content-type": "text/plain"}).status_code == 415


def test_a_key_that_is_taken_is_a_conflict(http: TestClient) -> None:
    assert http.post("/api/campaigns", json=file()).status_code == 201
    again = http.post("/api/campaigns", json=file(name="Another"))
    assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")
    assert http.get("/api/campaigns/c").json()["name"] == "c"
    assert http.post("/api/campaigns/c/clone", json={"key": "c"}).status_code == 409


def test_everything_that_is_wrong_is_said_with_its_path(http: TestClient) -> None:
    wrong = file(steps=[{"step": "a", "action": "contact.points", "with": {"points": "x"}}, {"step": "b"}])
    answer = http.post("/api/campaigns", json=wrong)
    assert answer.status_code == 422
    paths = [each["path"] for each in answer.json()["problems"]]
    assert any(path.startswith("steps[0]") for path in paths)
    assert any(path.startswith("steps[1]") for path in paths)
    answer = http.post("/api/campaigns", json=file(sources={"segments": ["nowhere"]}))
    assert [each["path"] for each in answer.json()["problems"]] == ["sources.segments[0]"]
    # Nothing of it is there.
    assert http.get("/api/campaigns").json() == {"items": [], "next": None}


@pytest.mark.parametrize("body", ["", "{", "nonsense", '{"campaign": NaN}', "[" * 5000])
def test_what_is_no_json_is_refused(http: TestClient, body: str) -> None:
    answer = http.post("/api/campaigns", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["status"]) == (400, 400)


@pytest.mark.parametrize(
    "body", ['"\\u0000"', '"\\ud800"', "1e999", "[" * 100 + "]" * 100, '{"campaign": "c", "steps": [1e999]}', "null"]
)
def test_what_cannot_be_stored_is_refused(http: TestClient, body: str) -> None:
    answer = http.post("/api/campaigns", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text


def test_of_two_writers_the_second_is_told_that_the_campaign_changed(http: TestClient) -> None:
    tag = http.post("/api/campaigns", json=file()).headers["etag"]
    first = http.put("/api/campaigns/c", json=file(name="First"), headers={"if-match": tag})
    assert first.status_code == 200
    assert first.headers["etag"] != tag
    second = http.put("/api/campaigns/c", json=file(name="Second"), headers={"if-match": tag})
    assert (second.status_code, second.headers["etag"]) == (412, first.headers["etag"])
    assert http.get("/api/campaigns/c").json()["name"] == "First"
    for path, method in (("", "DELETE"), ("/publish", "POST"), ("/pause", "POST")):
        assert http.request(method, f"/api/campaigns/c{path}", headers={"if-match": tag}).status_code == 412
    for matching in ('"2"', "*", f'"9.0", {first.headers["etag"]}'):
        same = http.put("/api/campaigns/c", json=file(name="First"), headers={"if-match": matching})
        assert (same.status_code, same.json()["version"]) == (200, 2)


def test_who_switches_it_on_changes_what_others_saw(http: TestClient) -> None:
    tag = http.post("/api/campaigns", json=file()).headers["etag"]
    on = http.post("/api/campaigns/c/publish")
    assert (on.status_code, on.json()["running"], on.json()["why_not"]) == (200, True, None)
    assert http.put("/api/campaigns/c", json=file(), headers={"if-match": tag}).status_code == 412
    off = http.post("/api/campaigns/c/pause")
    assert (off.json()["running"], off.json()["state"]) == (False, "paused")


def test_a_key_stays_for_good(http: TestClient) -> None:
    http.post("/api/campaigns", json=file())
    answer = http.put("/api/campaigns/c", json=file("d"))
    assert (answer.status_code, answer.json()["problems"][0]["path"]) == (422, "campaign")
    assert http.put("/api/campaigns/d", json=file("d")).status_code == 404


def test_a_plan_changes_nothing(http: TestClient) -> None:
    new = http.post("/api/campaigns/c/plan", json=file())
    assert (new.status_code, new.json()["creates"], new.json()["added"]) == (200, True, ["hello"])
    assert http.get("/api/campaigns/c").status_code == 404
    http.post("/api/campaigns", json=file())
    more = file(steps=[STEP, {**STEP, "step": "more"}])
    planned = http.post("/api/campaigns/c/plan", json=more).json()
    assert (planned["version"], planned["added"], planned["new_roots"]) == (2, ["more"], ["more"])
    assert http.get("/api/campaigns/c").json()["version"] == 1


def test_new_first_steps_reach_members_where_that_is_asked_for(http: TestClient, world: World) -> None:
    world.crowd(2, segment="everyone")
    http.post("/api/campaigns", json=file(published=True))
    world.update()
    more = file(published=True, steps=[STEP, {**STEP, "step": "more", "after": "1 day"}])
    assert http.put("/api/campaigns/c?backfill=true", json=more).status_code == 200
    assert {wait.contact for wait in world.waits() if wait.step == "more"} == {"c1", "c2"}


def test_a_copy_is_switched_off(http: TestClient) -> None:
    http.post("/api/campaigns", json=file(published=True))
    made = http.post("/api/campaigns/c/clone", json={"key": "d"})
    assert (made.status_code, made.headers["location"]) == (201, "/api/campaigns/d"), made.text
    assert made.json()["published"] is False
    assert http.post("/api/campaigns/c/clone", json={"key": "no key"}).status_code == 422
    assert http.post("/api/campaigns/c/clone", json={}).json()["problems"][0]["path"] == "key"


def test_the_overview_is_what_the_command_prints(http: TestClient, world: World, run: Run) -> None:
    travelled(world)
    assert http.get("/api/campaigns/c/overview").json() == json.loads(run("overview", "c", "--json").stdout)


def test_every_page_of_campaigns_comes_once(http: TestClient) -> None:
    keys = [f"c{number}" for number in range(7)]
    for key in keys:
        http.post("/api/campaigns", json=file(key))
    for limit in (1, 2, 3, 7, 500):
        assert [each["campaign"] for each in walked(http, "/api/campaigns", limit)] == keys[::-1]


# Who may.


def test_roles(client: Client, world: World, key: Any) -> None:
    http = client(open_to_all=False)
    world.campaign(json.dumps([STEP]))
    assert http.get("/api/campaigns").status_code == 401
    assert http.get("/api/campaigns", headers={"x-api-key": "prc_unknown"}).status_code == 401
    # Before the body is looked at.
    assert http.post("/api/campaigns", content="{").status_code == 401
    may = {role: {"x-api-key": key(role)} for role in ("publish", "read", "manage")}
    assert http.get("/api/campaigns", headers=may["publish"]).status_code == 403
    assert http.get("/api/campaigns", headers=may["read"]).status_code == 200
    for role, status in (("publish", 403), ("read", 403), ("manage", 200)):
        assert http.post("/api/campaigns/c/pause", headers=may[role]).status_code == status
    assert http.get("/api/campaigns/c", headers=may["read"]).json()["activity"][0]["who"] == "key test"


# Lists.


@pytest.mark.parametrize("cursor", ["", "x", "!", "W10", "WyJjYW1wYWlnbnMiXQ", "é", "bnVsbA", "NQ"])
def test_what_is_no_cursor_is_refused(http: TestClient, cursor: str) -> None:
    answer = http.get("/api/campaigns", params={"cursor": cursor})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize("limit", ["0", "501", "x", "-1"])
def test_a_page_has_one_to_five_hundred_items(http: TestClient, limit: str) -> None:
    assert http.get("/api/campaigns", params={"limit": limit}).status_code == 422


def test_an_unknown_address_is_a_problem(http: TestClient) -> None:
    answer = http.get("/api/nothing", headers={"accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
