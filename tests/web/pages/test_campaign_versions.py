"""Versions of a campaign on its pages and over REST: listed, compared, and gone back to after a review."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from tests.web.conftest import Client
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import token_of
from tests.workers.worlds import World

POINT = "action: contact.points, with: {points: 1}"
ONE = f"[{{step: keep, {POINT}, after: 2 days}}, {{step: old, {POINT}, after: 3 days}}]"
TWO = f"[{{step: keep, {POINT}, after: 5 days}}]"


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    made = World(engine, tmp_path)
    made.crowd(3, segment="everyone")
    made.campaign(ONE)
    made.update()
    made.campaign(TWO)
    return made


def post(http: TestClient, path: str, **fields: str) -> tuple[int, str]:
    answer = http.post(path, data={"csrf": token_of(http.get("/campaigns/+new")), **fields}, follow_redirects=False)
    return answer.status_code, text_of(answer.text)


def seen_on(page: str) -> str:
    (seen,) = re.findall(r'name="seen" value="([^"]+)"', page)
    return str(seen)


def test_pages_list_compare_and_roll_back_after_a_review(client: Client, world: World) -> None:
    http = client()
    listed = http.get("/campaigns/c/versions").text
    assert "Present version" in text_of(listed)
    assert 'href="/campaigns/c/versions/1/rollback"' in listed
    french = http.get("/campaigns/c", headers={"accept-language": "fr"}).text
    assert "a user on this machine" not in french
    # Nobody gave a reason.
    assert re.findall(r'<td data-label="Reason">(.*?)</td>', listed) == ["", ""]
    shown = text_of(http.get("/campaigns/c/versions/2?yaml=1").text)
    assert "- after: 2 days" in shown
    assert "+ after: 5 days" in shown
    path = "/campaigns/c/versions/1/rollback"
    review = http.get(path).text
    assert "Step “+1 point” will be added. 3 contacts will wait there again." in text_of(review)
    assert "Step “+1 point” will be changed: How long to wait: 5 days → 2 days." in text_of(review)
    # Somebody else is faster: the new plan is shown, and nothing is done.
    world.campaign(TWO, description="meanwhile")
    status, page = post(http, path, seen=seen_on(review))
    assert (status, "The campaign changed after your review" in page) == (200, True)
    assert post(http, path, seen=seen_on(http.get(path).text), message="too few")[0] == 303
    # What was cancelled goes on, and is cancelled no more.
    assert world.tally() == {}
    assert {wait.step for wait in world.waits()} == {"keep", "old"}
    assert "ollback to version 1: too few" in text_of(http.get("/campaigns/c/versions").text)
    assert "Some contacts still wait by an earlier time." in text_of(http.get("/campaigns/c/versions/4/rollback").text)
    assert http.get("/campaigns/c/versions/9").status_code == 404
    http.headers["accept-language"] = "fr"
    assert "etour à la version 1 : too few" in text_of(http.get("/campaigns/c/versions").text)


def test_the_page_of_a_version_draws_its_tree_with_what_it_changed(client: Client, world: World) -> None:
    world.campaign(f"[{{step: keep, {POINT}, after: 5 days}}, {{step: fresh, name: Welcome them, {POINT}}}]")
    http = client()
    first, second, third = (http.get(f"/campaigns/c/versions/{version}").text for version in (1, 2, 3))
    assert [re.findall(r'data-step="(\w+)"', each) for each in (first, second, third)] == [
        ["keep", "old"],
        ["keep"],
        ["keep", "fresh"],
    ]
    # The first one is no change of anything.
    assert 'class="step "' in first
    assert "No differences." not in text_of(first)
    assert "- step: old" not in text_of(first)
    assert 'href="/campaigns/c/versions/1?yaml=1"' in first
    changed, since = (text_of(http.get(f"/campaigns/c/versions/1?yaml={which}").text) for which in ("1", "present"))
    assert "+ - step: old" in changed
    assert "- - step: old" in since
    assert "Compare with the present version" not in third
    assert 'class="step changed"' in second
    assert "Removed steps: +1 point" in text_of(second)
    assert 'class="step added"' in third
    assert "Welcome them new" in text_of(third)


def test_a_version_that_names_what_is_gone_says_so(client: Client, world: World) -> None:
    world.write("UPDATE segment SET public = false")
    page = text_of(client().get("/campaigns/c/versions/1/rollback").text)
    assert "ersion 1 of c cannot be applied any more" in page


def test_rest_lists_compares_plans_and_rolls_back(client: Client, world: World) -> None:
    http = client()
    lines = http.get("/api/campaigns/c/versions").json()
    assert [(line["version"], line["who"], line["present"]) for line in lines] == [
        (2, "test", True),
        (1, "test", False),
    ]
    assert http.get("/api/campaigns/c/versions/1").json()["definition"]["steps"][0]["after"] == "2 days"
    diff = http.get("/api/campaigns/c/diff").json()
    assert (diff["from"], diff["to"], diff["removed"]) == (1, 2, ["old"])
    planned = http.post("/api/campaigns/c/versions/1/plan").json()
    assert planned["restored"] == {"old": 3}
    path = "/api/campaigns/c/versions/1/rollback"
    assert http.post(path, params={"plan": "another"}).status_code == 412
    done = http.post(path, params={"plan": planned["digest"], "message": "why"})
    assert (done.status_code, done.json()["version"]) == (200, 3)
    assert http.get("/api/campaigns/c/versions").json()[0]["message"] == "rollback to version 1: why"
    assert http.get("/api/campaigns/c/versions/77").status_code == 404


def test_put_applies_the_plan_that_was_seen_or_nothing_and_publishing_says_how_many_join(
    client: Client, world: World
) -> None:
    http = client()
    file = http.get("/api/campaigns/c").json()["definition"] | {"description": "new"}
    planned = http.post("/api/campaigns/c/plan", json=file).json()
    assert planned["differences"] == [{"step": None, "name": "description", "before": None, "after": "new"}]
    world.campaign(TWO, description="meanwhile")
    late = http.put("/api/campaigns/c", json=file, params={"plan": planned["digest"]})
    assert (late.status_code, "no longer holds" in late.text) == (412, True)
    planned = http.post("/api/campaigns/c/plan", json=file).json()
    given = {"plan": planned["digest"], "message": "m"}
    assert http.put("/api/campaigns/c", json=file, params=given).status_code == 200
    assert http.get("/api/campaigns/c/versions").json()[0]["message"] == "m"
    world.pause()
    world.contacts("late", segment="everyone")
    done = http.post("/api/campaigns/c/publish").json()
    assert done["people"]["joins"] == 1
    assert done["effects"][0]["sentence"] == "1 contact joins"
    assert http.post("/api/campaigns/c/publish").json()["people"] is None


def test_rest_tells_the_message_of_a_change_that_made_no_version(client: Client, world: World) -> None:
    http = client()
    data = {**http.get("/api/campaigns/c").json()["definition"], "published": False}
    assert http.put("/api/campaigns/c?message=a+wrong+price", json=data).status_code == 200
    newest, oldest = http.get("/api/campaigns/c/versions").json()
    (change,) = newest["changes"]
    assert oldest["changes"] == []
    assert (change["what"], change["message"]) == ("paused", "a wrong price")
    assert http.get("/api/campaigns/c").json()["activity"][0]["message"] == "a wrong price"
