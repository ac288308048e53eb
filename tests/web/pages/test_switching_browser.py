"""The list of campaigns in a real browser: every button is in sight, in the longer language too."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import CHROMIUM
from tests.workers.worlds import World

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
STEPS = "- {step: first, action: contact.points, with: {points: 1}}"


def test_no_button_of_the_list_of_campaigns_is_out_of_sight(address: str, world: World, tab: Page) -> None:
    world.segment("everyone")
    world.campaign(STEPS, name="Spring sale", publish_from="2199-06-01T09:00:00Z")
    tab.goto(f"{address}/campaigns")
    tab.get_by_role("button", name="Français").click()
    for width in (1000, 1100, 1281):
        tab.set_viewport_size({"width": width, "height": 700})
        # The edge of the table cuts off some of the space below the last one.
        expect(tab.get_by_role("link", name="Supprimer")).to_be_in_viewport(ratio=0.85)
    tab.close()


def test_a_click_beside_a_question_loses_nothing_that_was_typed_in_it(address: str, world: World, tab: Page) -> None:
    world.segment("everyone")
    world.campaign(STEPS, name="Spring sale")
    tab.goto(f"{address}/campaigns")
    tab.get_by_role("link", name="Copy").click()
    dialog, name = tab.locator("dialog"), tab.locator("dialog").get_by_label("Name")
    expect(name).to_have_value("Spring sale (copy)")
    name.fill("Summer sale")
    tab.mouse.click(5, 5)
    expect(name).to_have_value("Summer sale")
    expect(dialog).to_be_visible()
    # Where nothing was typed, it closes the question.
    name.fill("Spring sale (copy)")
    tab.mouse.click(5, 5)
    expect(dialog).not_to_be_visible()
    tab.close()
