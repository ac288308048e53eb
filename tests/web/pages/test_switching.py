"""Switching campaigns on and off with the buttons of the list."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import token_of
from tests.workers.worlds import World

STEPS = "- {step: first, action: contact.points, with: {points: 1}}"


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "“C” was switched on. It is not running: it starts on 1 Jun 2199, 09:00."),
        ("fr", "est activée. Elle ne tourne pas : elle commence le 1er juin 2199 à 09:00."),
    ],
)
def test_a_campaign_that_does_not_run_yet_says_why_when_it_is_switched_on(
    http: TestClient, world: World, language: str, said: str
) -> None:
    headers = {"accept-language": language}
    world.campaign(STEPS, name="C", published=False, publish_from="2199-06-01T09:00:00Z")
    token = token_of(http.get("/campaigns"))
    done = http.post("/campaigns/c/publish", data={"csrf": token}, headers=headers)
    assert said in text_of(done.text)


def test_the_log_tells_who_switches_a_campaign(http: TestClient, world: World) -> None:
    world.campaign(STEPS)
    token = token_of(http.get("/campaigns"))
    with capture_logs() as logs:
        http.post("/campaigns/c/pause", data={"csrf": token})
        http.post("/campaigns/c/pause", data={"csrf": token})
        http.post("/api/campaigns/c/publish")
        http.post("/api/campaigns/c/publish")
    told = [each for each in logs if each["event"].startswith("campaign_")]
    assert [(each["event"], each["campaign"], bool(each["who"])) for each in told] == [
        ("campaign_paused", "c", True),
        ("campaign_published", "c", True),
    ]
