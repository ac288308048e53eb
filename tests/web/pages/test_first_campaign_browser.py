"""The campaign of `examples/welcome`, built by keyboard alone, until its contacts went through."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from parcours.db.tables import campaigns
from parcours.domain.campaign_file.build import to_data
from parcours.domain.campaign_file.model import BRANCH_NAMES
from parcours.producers.files.campaigns import read_text
from tests.conftest import CHROMIUM
from tests.ops.test_health_and_metrics import free_port
from tests.web.conftest import ROOT, WAIT_MS, Start, count, eventually
from tests.web.pages.builder_keys import begin_empty, choose, heard, launch, pick, reach, take_first_segment
from tests.web.test_processes import is_ready
from tests.workers.worlds import World

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
EXAMPLE = ROOT / "examples" / "welcome" / "campaign.yaml"


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    return World(engine, tmp_path)


def tree_of(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps of a file with what is below them, without their names."""
    return [
        {
            name: tree_of(value) if name in BRANCH_NAMES else value
            for name, value in step.items()
            if name != "name" and value is not None
        }
        for step in steps
    ]


def opened(address: str, contact: str) -> None:
    """Say that a contact opened the first email, as an upstream system does."""
    event = {"specversion": "1.0", "id": "1", "source": "test", "type": "email.opened", "subject": contact}
    body = json.dumps({**event, "data": {"email": "welcome"}}).encode()
    headers = {"Content-Type": "application/cloudevents+json"}
    with urllib.request.urlopen(urllib.request.Request(f"{address}/events", body, headers), timeout=60) as answer:
        assert answer.status in (200, 202)


def send(page: Page, letters: str, email: str, name: str, card: str) -> None:
    """Add the step that sends an email, by the panel that has the focus; it has a name then."""
    choose(page, "Send an email")
    expect(page.locator("#panel-title")).to_have_text("Send an email")
    reach(page, "#with-email")
    pick(page, letters, email)
    reach(page, "#name")
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.locator(f"#card-{card}")).to_have_text(name)


def test_the_welcome_example_is_built_by_keyboard_and_its_contacts_go_through(
    start: Start, world: World, tab: Page, tmp_path: Path
) -> None:
    world.contacts(*(f"reader-{n}" for n in range(20)), segment="newsletter")
    for email in ("welcome", "guide", "first-steps"):
        world.email(email)
    problems = heard(tab)
    port = free_port()
    with start("up", "--port", port):
        eventually(lambda: is_ready(port))
        keys = tab.keyboard
        begin_empty(tab, f"http://127.0.0.1:{port}", "Welcome")
        # The segment that existed before.
        take_first_segment(tab)
        reach(tab, "#plus-first")
        keys.press("Enter")
        send(tab, "w", "welcome", "Hello", "hello")
        # Below it, what is waited for.
        keys.press("Escape")
        expect(tab.locator("#card-hello")).to_be_focused()
        keys.press("a")
        choose(tab, "Opens the email")
        expect(tab.locator("#within")).to_have_value("3")
        reach(tab, "#name")
        keys.type("Opened")
        keys.press("Enter")
        expect(tab.locator("#card-opened")).to_have_text("Opened")
        # On one side an email a day later.
        keys.press("Escape")
        expect(tab.locator("#card-opened")).to_be_focused()
        keys.press("y")
        send(tab, "g", "guide", "Guide", "guide")
        reach(tab, "[name=when]")
        keys.press("ArrowDown")
        expect(tab.locator("#after")).to_be_visible()
        reach(tab, "#after")
        keys.type("1")
        keys.press("Enter")
        expect(tab.locator("[data-card=guide]")).to_contain_text("after 1 day")
        # On the other one at once.
        keys.press("Escape")
        expect(tab.locator("#card-guide")).to_be_focused()
        keys.press("ArrowLeft")
        expect(tab.locator("#card-opened")).to_be_focused()
        keys.press("n")
        send(tab, "f", "first-steps", "First steps", "first-steps")
        expect(tab.locator("#effects")).to_contain_text("The campaign will be created with 4 steps.")
        expect(tab.locator("#effects")).to_contain_text("20 contacts will join.")
        # Launched.
        launch(tab)
        with world.engine.connect() as conn:
            found = campaigns.find(conn, "welcome")
            made = to_data(campaigns.read_version(conn, found.key, found.id, found.version).file)
        example = to_data(read_text(EXAMPLE.read_text(), name=EXAMPLE, default_zone=ZoneInfo("UTC")))
        assert tree_of(made["steps"]) == tree_of(example["steps"])
        assert made["sources"]["segments"] == example["sources"]["segments"]
        # Everybody comes in, gets the first email, and is waited for.
        eventually(lambda: len(mails(tmp_path)) == 20, seconds=120)
        expect(tab.locator("#tile-added")).to_have_text("20", timeout=WAIT_MS)
        opened(f"http://127.0.0.1:{port}", "reader-7")
        eventually(lambda: world.read("SELECT FROM outcome WHERE result = 'yes'"), seconds=60)
        # The days go by: the guide for who opened it, the first steps for the others.
        world.write("UPDATE wait SET due_at = now()")
        eventually(lambda: len(mails(tmp_path)) == 40, seconds=120)
        assert len(world.read("SELECT FROM outcome WHERE result = 'no'")) == 19
        assert count(world.engine, "wait") == 0
        expect(tab.locator("[id^=fork-][id$=-yes]")).to_contain_text("yes 5.0% 1", timeout=WAIT_MS)
        assert problems == []
        tab.close()


def mails(home: Path) -> list[Path]:
    return list((home / "mail").glob("*.eml"))
