"""Fields are inserted, and what a step says follows while one types, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from tests.conftest import CHROMIUM
from tests.workers.worlds import World

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")

STEPS = """
- {step: text, action: sms.send, with: {text: Hello}, after: 1 day, hour: "09:00"}
"""


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    made = World(engine, tmp_path)
    made.contacts("ben", first_name="Ben")
    made.contacts("ann", first_name="Ann", timezone="Europe/Paris")
    made.campaign(STEPS, name="First steps")
    made.email("hello")
    return made


def test_what_a_step_says_follows_what_is_typed(address: str, world: World, tab: Page) -> None:
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    tab.goto(f"{address}/campaigns/c/build?step=text")
    expect(tab.locator("#timing-words")).to_contain_text("For Ann:")
    expect(tab.locator("#timing-words")).to_contain_text("09:00 in Paris")
    # While one types, before anything is kept.
    tab.locator("#with-text").press_sequentially(" {{ contact.key | upcase }}")
    expect(tab.locator("#with-text-shown")).to_contain_text("ANN")
    tab.locator("#sample").fill("ben")
    expect(tab.locator("#with-text-shown")).to_contain_text("BEN")
    expect(tab.locator("#timing-words")).to_contain_text("For Ben:")
    # Put in at the cursor, and kept.
    tab.locator("[data-insert=with-text]").select_option("{{ contact.first_name }}")
    expect(tab.locator("#with-text-shown")).to_contain_text("BENBen")
    expect(tab.locator("#with-text")).to_be_focused()
    tab.keyboard.press("Tab")
    expect(tab.locator("#flashes")).to_contain_text("Changed")
    tab.goto(f"{address}/emails/hello/edit")
    tab.locator("#version-0-subject").focus()
    tab.keyboard.press("End")
    tab.locator("#insert").select_option("{{ contact.first_name }}")
    expect(tab.locator("#version-0-subject")).to_have_value("hello{{ contact.first_name }}")
    assert problems == []
