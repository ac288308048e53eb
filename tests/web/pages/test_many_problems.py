"""A campaign with thousands of faults is checked at once, and told of in a hundred sentences, wherever one asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from tests.conftest import Run
from tests.web.conftest import Client
from tests.web.pages.test_campaign_form import filled, posted
from tests.web.pages.test_overview_pages import text_of
from tests.workers.worlds import START, World

MORE = "there may be more errors: the check stops at 100; fix these first"
WORD = "x" * 5_000
# No longer than the names in JSON may be.
NAME = "x" * 200
STEP = {"step": "a", "action": "contact.points", "with": {"points": 1}}
YAML = {"content-type": "application/yaml"}
# By what is wrong in it; the last two are wrong only to whoever knows the database.
FAULTS: dict[str, dict[str, Any]] = {
    "types": {"steps": [{"action": f"{WORD}{nth}"} for nth in range(150)]},
    "names": {"steps": [STEP], **{f"{NAME}{nth}": 1 for nth in range(150)}},
    "sources": {"sources": {"segments": [f"{WORD}{nth}" for nth in range(150)]}, "steps": [STEP]},
    "redirects": {"name": "another", "steps": [STEP], "redirect": {f"{NAME}{nth}": "a" for nth in range(150)}},
}


@pytest.fixture
def http(client: Client, engine: Engine, tmp_path: Path) -> TestClient:
    ensure_partitions(engine, START)
    World(engine, tmp_path).campaign(f"[{json.dumps(STEP)}]")
    return client()


def short(told: list[str]) -> None:
    assert len(told) == 101
    assert told[-1] == MORE
    assert all(0 < each.count("x") <= 300 for each in told[:-1]), told[0]


@pytest.mark.parametrize("what", FAULTS)
def test_a_hundred_problems_are_told_and_the_last_says_that_there_may_be_more(
    http: TestClient, run: Run, tmp_path: Path, what: str
) -> None:
    data = {"campaign": "c", "sources": {"segments": ["everyone"]}, **FAULTS[what]}
    for given in ({"json": data}, {"content": json.dumps(data), "headers": YAML}):
        answer = http.post("/api/campaigns/c/plan", **given)
        assert answer.status_code == 422
        problems = answer.json()["problems"]
        short([each["error"].removeprefix("line 1: ") for each in problems])
        assert all(len(each["path"]) < 300 for each in problems)
        assert len(answer.text) < 100_000
    (tmp_path / "many.yaml").write_text(json.dumps(data))
    planned = run("campaigns", "plan", "many.yaml")
    assert planned.returncode == 1
    assert planned.stderr.strip().splitlines()[-1].endswith(MORE)
    assert len(planned.stderr.splitlines()) == 101
    if what in ("types", "names"):
        for command in (("validate", "many.yaml"), ("validate", "many.yaml", "many.yaml", "many.yaml")):
            validated = run("campaigns", *command, "--json")
            short([each["error"] for each in json.loads(validated.stdout)])
            assert run("campaigns", *command).stderr.strip().splitlines()[-1].endswith(MORE)


def test_the_page_tells_a_hundred_and_says_that_there_may_be_more_without_a_line(http: TestClient) -> None:
    steps = json.dumps([{"action": f"{WORD}{nth}"} for nth in range(150)])
    page = posted(http, "/campaigns/+new", **filled(steps=steps), do="review")
    assert page.status_code == 422
    told = text_of(page.text)
    assert told.count("unknown action") + told.count("Unknown action") == 100
    assert "There may be more errors: the check stops at 100; fix these first." in told
    assert "Line 1 More may be wrong" not in told


def test_a_campaign_that_is_too_long_is_refused_before_it_is_read(http: TestClient) -> None:
    text = json.dumps({"campaign": "c", "steps": [STEP], "description": "x" * 1_000_000})
    for headers in (YAML, {"content-type": "application/json"}):
        answer = http.post("/api/campaigns/c/plan", content=text, headers=headers)
        assert answer.status_code == 413
        assert "more than 1,000,000 characters; split it into several campaigns" in answer.json()["detail"]
    page = posted(http, "/campaigns/+new", **filled(steps="#" * 1_000_001), do="review")
    assert (page.status_code, "more than 1,000,000 characters" in text_of(page.text)) == (422, True)


def test_a_plan_notes_a_hundred_things_and_says_that_there_is_more(http: TestClient) -> None:
    change = {"action": "campaign.change", "with": {"add": [f"{WORD}{nth}" for nth in range(150)]}}
    data = {"campaign": "c", "sources": {"segments": ["everyone"]}, "steps": [change]}
    warnings = http.post("/api/campaigns/c/plan", json=data).json()["warnings"]
    assert len(warnings) == 101
    assert warnings[-1] == "there are more notes: a plan shows at most 100"
    assert all(each.count("x") <= 300 for each in warnings)
