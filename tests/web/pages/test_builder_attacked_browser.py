"""The builder in a real browser: in haste, in two tabs, and with Escape; and lists on narrow screens."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from parcours.db.tables import users
from parcours.domain.campaign_file import edit
from tests.conftest import CHROMIUM
from tests.web.pages.builder_keys import heard
from tests.web.pages.served import Served
from tests.web.pages.test_drawing_browser import STEPS, build, file_of, signed_in, world
from tests.web.pages.test_sign_in import given_user
from tests.workers.worlds import World

__all__ = ["build", "world"]
pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")


def test_a_step_that_is_added_by_a_double_click_is_added_once(build: str, world: World, tab: Page) -> None:
    tab.goto(build)
    tab.locator("#plus-end").click()
    tab.locator("#panel [value='action contact.tags']").dblclick()
    expect(tab.locator("#said")).to_have_text("Added: Add or remove tags")
    expect(tab.locator("#with-add")).to_be_focused()
    # Whatever was asked for before has been answered when this is.
    tab.locator("#card-last").click()
    expect(tab.locator("#name")).to_have_value("Say goodbye")
    assert edit.keys(file_of(world)) == ["hello", "visited", "hot", "last", "contact-tags"]
    tab.close()


def test_a_new_campaign_is_begun_without_a_way_to_its_fields(build: str, tab: Page) -> None:
    problems = heard(tab)
    tab.goto(build[: build.index("/campaigns")] + "/drafts/+new")
    expect(tab.locator("#name")).to_be_focused()
    tab.locator("[value=empty]").check()
    tab.locator("#name").fill("New")
    tab.locator("#name").press("Enter")
    expect(tab.locator("#panel-title")).to_have_text("Settings")
    # From the settings of a campaign without steps, one goes on to the first one.
    tab.locator("#name").focus()
    tab.keyboard.press("Escape")
    expect(tab.locator("#plus-first")).to_be_focused()
    tab.keyboard.press("a")
    expect(tab.locator("#panel-title")).to_have_text("Add a step")
    # Settings and review are one key away.
    tab.keyboard.press("s")
    expect(tab.locator("#panel-title")).to_have_text("Settings")
    tab.keyboard.press("Escape")
    tab.keyboard.press("r")
    expect(tab.locator("h1")).to_have_text("Review: New")
    assert problems == []
    tab.close()


def test_escape_leads_back_to_what_opened_a_panel(build: str, tab: Page) -> None:
    problems = heard(tab)
    tab.goto(build)
    for opener, opened in (
        ("#open-settings", "Settings"),
        ("#open-yaml", "The whole campaign"),
        ("#open-keys", "Keys"),
    ):
        tab.locator(opener).press("Enter")
        expect(tab.locator("#panel-title")).to_have_text(opened)
        expect(tab.locator("#panel :focus")).to_have_count(1)
        tab.keyboard.press("Escape")
        expect(tab.locator(opener)).to_be_focused()
    tab.locator("#plus-yes-visited").press("Enter")
    expect(tab.locator("#panel-title")).to_have_text("Add a step")
    expect(tab.locator("#panel :focus")).to_have_count(1)
    tab.keyboard.press("Escape")
    expect(tab.locator("#plus-yes-visited")).to_be_focused()
    # A step that is not moved after all is gone to as it was before.
    tab.locator("#card-last").press("m")
    expect(tab.locator("#moving-title")).to_be_focused()
    tab.keyboard.press("Escape")
    expect(tab.locator("#card-last")).to_be_focused()
    assert problems == []
    tab.close()


def test_what_is_typed_while_another_tab_changes_the_draft_stays_and_is_saved_when_one_goes_on(
    build: str, world: World, tab: Page
) -> None:
    tab.goto(f"{build}?step=hello")
    tab.locator("#name").fill("Before")
    tab.keyboard.press("Tab")
    expect(tab.locator("#said")).to_have_text("Changed: Before")
    other = tab.context.new_page()
    other.goto(f"{build}?step=last")
    other.locator("#name").fill("Of the other tab")
    other.keyboard.press("Tab")
    expect(other.locator("#said")).to_have_text("Changed: Of the other tab")
    tab.locator("#note").fill("typed meanwhile")
    tab.keyboard.press("Tab")
    expect(tab.locator("#unsaved")).to_contain_text("The draft was changed in another tab")
    expect(tab.locator("#note")).to_have_value("typed meanwhile")
    # The tree is the one that there is now, and the address is still the one of the panel.
    expect(tab.locator("#card-last")).to_have_text("Of the other tab")
    assert "step=hello" in tab.url
    assert _step(world, "hello").get("note") is None
    tab.locator("#card-last").click()
    expect(tab.locator("#name")).to_have_value("Of the other tab")
    assert _step(world, "hello")["note"] == "typed meanwhile"
    assert _step(world, "last")["name"] == "Of the other tab"
    other.close()
    tab.close()


def test_whose_role_was_taken_away_is_told_so_and_keeps_what_was_typed(world: World, tab: Page) -> None:
    given_user(world.engine)
    with Served(world.engine, open_to_all=False) as address:
        signed_in(tab, address, "/campaigns/c/build?step=hello")
        with world.engine.begin() as conn:
            users.edit(conn, "ada@example.com", role="viewer")
        tab.locator("#note").fill("typed before")
        tab.keyboard.press("Tab")
        expect(tab.locator("#flashes")).to_have_text(
            "You have read-only access; ask an administrator for the role “editor”."
        )
        expect(tab.locator("#note")).to_have_value("typed before")
        tab.close()


def _step(world: World, key: str) -> dict[str, Any]:
    return edit.find(file_of(world), key).step


@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_list_of_campaigns_is_not_pushed_aside_at_768_pixels(world: World, tab: Page, language: str) -> None:
    world.campaign(STEPS, key="long", name="A campaign with a name of several words, as marketers write them")
    with Served(world.engine) as address:
        tab.set_extra_http_headers({"accept-language": language})
        for width in (768, 800, 900, 1024):
            tab.set_viewport_size({"width": width, "height": 900})
            tab.goto(f"{address}/campaigns")
            hidden = tab.locator(".table-wrap").evaluate("each => each.scrollWidth - each.clientWidth")
            assert hidden <= 0, width
        tab.close()
