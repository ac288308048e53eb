"""A stored campaign that cannot be read: every way to look at it says so, and applying a mended file mends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from parcours.db.partitions import ensure_partitions
from parcours.db.tables import campaigns
from tests.conftest import Run
from tests.web.pages.test_campaign_form import hidden, posted, stamp
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import token_of
from tests.workers.worlds import START, World

FRENCH = {"accept-language": "fr"}
STEPS = """
- {step: first, action: contact.points, with: {points: 1}}
- {step: later, action: contact.points, with: {points: 2}, after: 1 day}
"""
UNKNOWN = "unknown action 'crm.note'"
# How a definition may be damaged, and a part of what is then said.
DAMAGES = {
    "a type that is not installed": ("jsonb_set(d, '{steps,0,action}', '\"crm.note\"')", UNKNOWN),
    "a value of the wrong kind": ("jsonb_set(d, '{steps,1,after}', '12')", "after"),
    "a property that is refused": ("jsonb_set(d, '{steps,1,with}', '{\"points\": \"many\"}')", "points"),
    "steps that are none": ("jsonb_set(d, '{steps}', '\"gone\"')", "steps"),
    "a list": ("'[]'", "mapping"),
    "a later format": ("jsonb_set(d, '{format}', '7')", "reads formats 1 to 2, not 7"),
}


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    ensure_partitions(engine, START)
    made = World(engine, tmp_path)
    made.contacts("ann", segment="everyone")
    made.campaign(STEPS, key="good")
    made.campaign(STEPS, key="bad")
    made.run()
    return made


def damage(world: World, how: str) -> str:
    """Damage the stored definition; return a part of what is said of it."""
    changed, said = DAMAGES[how]
    world.write(
        f"UPDATE campaign_version SET definition = CAST({changed.replace('d,', 'CAST(definition AS jsonb),')} AS json) "
        "WHERE campaign_id = (SELECT id FROM campaign WHERE key = 'bad')"
    )
    campaigns._loaded.clear()
    return said


def mended(run: Run, folder: Path, *, points: int = 5) -> dict[str, Any]:
    """Return the campaign as its owner has it in a file, with the later step changed."""
    data: dict[str, Any] = yaml.safe_load(run("campaigns", "export", "good").stdout)
    data["campaign"] = data["name"] = "bad"
    data["steps"][1]["with"] = {"points": points}
    (folder / "bad.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return data


@pytest.mark.parametrize("how", DAMAGES)
def test_the_list_marks_it_with_the_reason_and_its_page_says_what_to_do(
    http: TestClient, world: World, run: Run, how: str
) -> None:
    said = damage(world, how)
    for headers, words in (
        (
            {},
            ("Unreadable", "What to do", "install the package", "campaigns apply bad.yaml", "1 active contact"),
        ),
        (FRENCH, ("Illisible", "Que faire", "installez le paquet", "campaigns apply bad.yaml")),
    ):
        listed = text_of(http.get("/campaigns", headers=headers).text)
        assert words[0] in listed
        assert said in listed or headers == FRENCH
        for path in ("", "/decisions", "/contacts", "/failures", "/live"):
            page = http.get(f"/campaigns/bad{path}", headers=headers)
            assert page.status_code == 200
            shown = text_of(page.text)
            assert headers == FRENCH or said.casefold() in shown.casefold()
            assert [word for word in words if word not in text_of(page.text)] == []
    assert http.get("/campaigns?state=unreadable").text.count('href="/campaigns/bad"') == 1
    assert 'href="/campaigns/good"' not in http.get("/campaigns?state=unreadable").text
    lines = {each["campaign"]: each for each in http.get("/api/campaigns").json()["items"]}
    assert (lines["bad"]["state"], lines["bad"]["running"]) == ("unreadable", False)
    assert said in lines["bad"]["unreadable"]
    assert (lines["good"]["state"], lines["good"]["unreadable"]) == ("running", None)
    rows = {each["campaign"]: each for each in json.loads(run("campaigns", "list", "--json").stdout)}
    assert (rows["bad"]["running"], rows["good"]["running"], rows["good"]["unreadable"]) == (False, True, None)
    assert said in rows["bad"]["unreadable"]
    assert rows == lines
    told = run("campaigns", "list")
    assert (told.returncode, "Cannot read campaign bad: " in told.stderr) == (0, True)


@pytest.mark.parametrize("how", DAMAGES)
def test_every_other_page_and_command_about_it_answers(http: TestClient, world: World, run: Run, how: str) -> None:
    said = damage(world, how)
    for path in ("/contacts/ann", "/campaigns/bad/activity", "/campaigns/bad/pause", "/campaigns/bad/publish"):
        assert http.get(path).status_code == 200, path
    assert "Unreadable" in text_of(http.get("/contacts/ann").text)
    got = http.get("/api/campaigns/bad").json()
    assert (got["state"], said in str(got["problems"])) == ("unreadable", True)
    assert json.loads(run("campaigns", "show", "bad", "--json").stdout) == got
    shown = run("campaigns", "show", "bad")
    assert (shown.returncode, said in shown.stdout) == (0, True), shown.stderr
    assert "install its package" in shown.stdout
    assert said in run("campaigns", "export", "bad").stderr
    idle = run("trigger", "-i", "bad", "--inline")
    assert (idle.returncode, "this process cannot read" in idle.stdout + idle.stderr) == (0, True)
    joining = http.post("/contacts/ann/join", data={"csrf": token_of(http.get("/campaigns/+new")), "campaign": "bad"})
    assert "cannot be read, so contacts cannot join it" in text_of(joining.text)


@pytest.mark.parametrize("how", DAMAGES)
def test_applying_a_mended_file_mends_it_and_who_waits_goes_on(
    http: TestClient, world: World, run: Run, tmp_path: Path, how: str
) -> None:
    damage(world, how)
    mended(run, tmp_path)
    planned = run("campaigns", "plan", "bad.yaml")
    assert planned.returncode == 0, planned.stderr
    assert "note: the current version cannot be read" in planned.stdout
    assert "- step" not in planned.stdout
    applied = run("campaigns", "apply", "bad.yaml", "--yes")
    assert applied.returncode == 0, applied.stderr
    assert [wait.step for wait in world.waits(campaign="bad")] == ["later"]
    assert http.get("/api/campaigns/bad").json()["state"] == "running"
    assert "badge bad" not in http.get("/campaigns?q=bad").text
    assert run("campaigns", "list").stderr == ""


@pytest.mark.parametrize("how", DAMAGES)
def test_a_mended_definition_is_put_over_http(
    http: TestClient, world: World, run: Run, tmp_path: Path, how: str
) -> None:
    damage(world, how)
    data = mended(run, tmp_path)
    assert http.post("/api/campaigns/bad/plan", json=data).status_code == 200
    put = http.put("/api/campaigns/bad", json=data)
    assert (put.status_code, put.json()["state"], put.json()["version"]) == (200, "running", 2), put.text
    assert put.json()["definition"]["steps"] == data["steps"]


@pytest.mark.parametrize("how", DAMAGES)
def test_it_is_mended_on_its_page(http: TestClient, world: World, run: Run, tmp_path: Path, how: str) -> None:
    said = damage(world, how)
    form = http.get("/campaigns/bad/edit")
    assert form.status_code == 200
    if how in ("a type that is not installed", "a property that is refused", "a value of the wrong kind"):
        assert said in text_of(form.text).replace("Unknown", "unknown")
    data = mended(run, tmp_path)
    fields = {
        "name": "bad", "segments": ["everyone"], "published": "1", "reentry": "never", "catch_up": "run",
        "exit_on_leave": "1", "steps": yaml.safe_dump(data["steps"]), "stamp": stamp(form.text),
    }  # fmt: skip
    review = posted(http, "/campaigns/bad/edit", **fields, do="review")
    assert (review.status_code, "version cannot be read" in text_of(review.text)) == (200, True), text_of(review.text)
    done = posted(http, "/campaigns/bad/edit", **hidden(review.text), do="apply")
    assert done.status_code == 303, text_of(done.text)
    assert http.get("/api/campaigns/bad").json()["version"] == 2
    assert [wait.step for wait in world.waits(campaign="bad")] == ["later"]


def test_a_segment_is_not_deleted_while_nobody_can_know_whether_such_a_campaign_names_it(
    http: TestClient, world: World, run: Run
) -> None:
    world.contacts("ben", segment="other")
    world.write(
        "UPDATE campaign_version SET definition = CAST(jsonb_set(CAST(definition AS jsonb), '{steps,0,with}', "
        "'{\"list\": \"other\"}') AS json) WHERE campaign_id = (SELECT id FROM campaign WHERE key = 'bad')"
    )
    world.segment("free")
    said = damage(world, "a type that is not installed")
    told = "whether it is used cannot be checked in campaigns that cannot be read: bad (unknown action 'crm.note'"
    done = run("segments", "delete", "other", "--yes")
    assert (done.returncode, told in done.stderr, "is used by" in done.stderr) == (1, True, False), done.stderr
    assert "apply the campaign files, or delete these campaigns, and then try again" in done.stderr
    refused = http.delete("/api/segments/other")
    assert (refused.status_code, told in refused.json()["detail"]) == (409, True)
    page = text_of(http.get("/segments/other/delete").text)
    assert ("still used" in page, said in page, "cannot be checked in these campaigns" in page) == (False, True, True)
    french = text_of(http.get("/segments/other/delete", headers=FRENCH).text)
    assert "Impossible de vérifier s’il est utilisé" in french
    # Another segment does not stand in it, and what feeds it is known all the same.
    assert run("segments", "delete", "free", "--yes").returncode == 0
    both = run("segments", "delete", "everyone", "--yes").stderr
    assert "it is used by campaigns bad, good; remove it there first" in both.replace("good, bad", "bad, good")
    assert run("campaigns", "delete", "bad", "--yes").returncode == 0
    assert run("segments", "delete", "other", "--yes").returncode == 0


@pytest.mark.parametrize("published", [True, False])
def test_doctor_names_it_and_says_what_to_do(world: World, run: Run, published: bool) -> None:
    before = {each["about"]: each for each in json.loads(run("doctor", "--json").stdout)}
    assert (before["campaigns"]["state"], before["campaigns"]["says"]) == ("ok", "all can be read")
    damage(world, "a type that is not installed")
    if not published:
        run("campaigns", "pause", "bad")
    done = run("doctor", "--json")
    found = {each["about"]: each for each in json.loads(done.stdout)}["campaigns"]
    assert (done.returncode, found["state"]) == ((1, "wrong") if published else (0, "warning"))
    assert found["says"].startswith("cannot be read: bad (unknown action 'crm.note'")
    assert "good" not in found["says"]
    assert "install the missing packages" in found["mend"]


def test_a_step_that_the_damaged_definition_lost_is_dropped_as_planned_and_another_is_redirected(
    http: TestClient, world: World, run: Run, tmp_path: Path
) -> None:
    damage(world, "steps that are none")
    data = mended(run, tmp_path)
    data["steps"].pop()
    planned = http.post("/api/campaigns/bad/plan", json=data).json()
    assert (planned["removed"], planned["added"]) == ({"later": 1}, [])
    data["redirect"] = {"later": "first"}
    assert http.put("/api/campaigns/bad", json=data).status_code == 200
    assert [wait.step for wait in world.waits(campaign="bad")] == ["first"]


def test_the_same_file_applied_again_mends_a_step_whose_row_is_gone(world: World, run: Run, tmp_path: Path) -> None:
    world.campaign(STEPS, key="lost")
    run("campaigns", "export", "lost")
    (tmp_path / "lost.yaml").write_text(run("campaigns", "export", "lost").stdout)
    world.write("DELETE FROM step WHERE key = 'later' AND campaign_id = (SELECT id FROM campaign WHERE key = 'lost')")
    campaigns._loaded.clear()
    assert "the database has no row for the step 'later'" in run("campaigns", "list").stderr
    assert run("campaigns", "apply", "lost.yaml", "--yes").returncode == 0
    assert run("campaigns", "list").stderr == ""
