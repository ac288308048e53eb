"""The campaign builder in a real browser, by keyboard alone, with everything running."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from parcours.db.tables import campaigns
from tests.conftest import CHROMIUM
from tests.ops.test_health_and_metrics import free_port
from tests.web.conftest import WAIT_MS, Start, count, eventually
from tests.web.pages.builder_keys import begin_empty, choose, heard, launch, pick, reach, take_first_segment
from tests.web.test_processes import is_ready
from tests.workers.worlds import World

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")


def test_a_campaign_is_built_by_keyboard_launched_with_a_segment_and_moves(
    start: Start, world: World, tab: Page
) -> None:
    world.contacts(*(f"contact-{n}" for n in range(20)), segment="newsletter")
    world.email("hello")
    problems = heard(tab)
    port = free_port()
    with start("up", "--port", port):
        eventually(lambda: is_ready(port))
        keys = tab.keyboard
        begin_empty(tab, f"http://127.0.0.1:{port}", "Keys only")
        # The segment that existed before.
        expect(tab.locator("#panel-title")).to_have_text("Settings")
        take_first_segment(tab)
        tab.evaluate("window.notReloaded = true")
        # The first step: an email.
        reach(tab, "#plus-first")
        keys.press("Enter")
        expect(tab.locator("#panel-title")).to_have_text("Add a step")
        choose(tab, "Send an email")
        expect(tab.locator("#panel-title")).to_have_text("Send an email")
        reach(tab, "#with-email")
        keys.type("hello")
        keys.press("Enter")
        expect(tab.locator("#card-email-send")).to_have_text("Send “hello”")
        # After it, whether it was opened: yes, points; no, a tag.
        keys.press("Escape")
        expect(tab.locator("#card-email-send")).to_be_focused()
        keys.press("a")
        expect(tab.locator("#panel-title")).to_have_text("Add a step")
        choose(tab, "Opens the email")
        expect(tab.locator("#card-email-open")).to_be_visible()
        keys.press("Escape")
        keys.press("y")
        expect(tab.locator("#panel-title")).to_have_text("Add a step")
        choose(tab, "Change points")
        reach(tab, "#with-points")
        keys.type("5")
        keys.press("Enter")
        expect(tab.locator("#card-contact-points")).to_have_text("+5 points")
        keys.press("Escape")
        keys.press("ArrowLeft")
        expect(tab.locator("#card-email-open")).to_be_focused()
        keys.press("n")
        expect(tab.locator("#panel-title")).to_have_text("Add a step")
        choose(tab, "Add or remove tags")
        reach(tab, "#with-add")
        keys.type("cold")
        keys.press("Escape")
        expect(tab.locator("#card-contact-tags")).to_have_text("Add the tags cold")
        # Moved, cut, pasted, undone: the tree is what it was, and each is told.
        tab.locator("#card-contact-tags").focus()
        keys.press("Control+c")
        expect(tab.locator("#said")).to_contain_text("Copied: Add the tags cold.")
        keys.press("Control+v")
        expect(tab.locator("#card-contact-tags-2")).to_be_visible()
        expect(tab.locator("#said")).to_have_text("Copied: Add the tags cold")
        keys.press("Control+z")
        expect(tab.locator("#card-contact-tags-2")).to_have_count(0)
        keys.press("/")
        expect(tab.locator("#find")).to_be_focused()
        keys.type("points")
        keys.press("Enter")
        expect(tab.locator("#matches-title")).to_have_text("1 step found")
        expect(tab.locator("#effects")).to_contain_text("The campaign will be created with 4 steps.")
        assert tab.evaluate("window.notReloaded")
        # Launched.
        launch(tab)
        eventually(lambda: count(world.engine, "membership") == 20, seconds=30)
        eventually(lambda: len(world.read("SELECT FROM wait")) == 20, seconds=40)
        expect(tab.locator("#tile-added")).to_have_text("20", timeout=WAIT_MS)
        assert problems == []
        tab.close()


def test_rules_of_an_exit_the_goal_and_a_decision_are_built_by_keyboard(address: str, world: World, tab: Page) -> None:
    world.contacts("anna", country="FR", points=50)
    world.contacts("berta", country="US")
    world.contacts("carl", country="FR", segment="newsletter")
    problems = heard(tab)
    keys = tab.keyboard
    begin_empty(tab, address, "Rules only")
    take_first_segment(tab)
    tab.evaluate("window.notReloaded = true")

    def condition(rule: str, type_: str, letters: str) -> None:
        """Add a condition of a type to a rule; its choice has the focus then."""
        reach(tab, f"#{rule}-root-new")
        pick(tab, letters, type_)
        reach(tab, f"[name={rule}_do][value='add:']")
        keys.press("Enter")
        expect(tab.locator(f"#{rule}-0--type")).to_be_focused()

    # An exit by rule, whose editor has the focus when it is there.
    reach(tab, "[value='add:exit:rule']")
    keys.press("Enter")
    expect(tab.locator("#exit-0-rule-root-new")).to_be_focused()
    condition("exit-0-rule", "contact.field", "Fie")
    reach(tab, "#exit-0-rule-0-field")
    keys.type("country")
    reach(tab, "#exit-0-rule-0-operator")
    reach(tab, "#exit-0-rule-0-value")
    keys.type("FR")
    expect(tab.locator("#exit-0-rule-count")).to_have_text("2 of 3 contacts match.", timeout=WAIT_MS)
    # The goal by rule.
    reach(tab, "#goal-kind")
    keys.press("ArrowDown")
    expect(tab.locator("#goal-event")).to_be_visible()
    expect(tab.locator("#goal-kind")).to_be_focused()
    keys.press("ArrowDown")
    expect(tab.locator("#goal-rule-root-new")).to_be_visible()
    expect(tab.locator("#goal-kind")).to_be_focused()
    condition("goal-rule", "contact.points", "Poi")
    reach(tab, "#goal-rule-0-points")
    keys.type("50")
    expect(tab.locator("#goal-rule-count")).to_have_text("1 of 3 contacts matches.", timeout=WAIT_MS)
    reach(tab, "#goal-within")
    keys.type("14")
    reach(tab, "#goal-within-unit")
    # A decision by rule.
    reach(tab, "#plus-first")
    keys.press("Enter")
    expect(tab.locator("#panel-title")).to_have_text("Add a step")
    choose(tab, "A rule becomes true")
    condition("with-rule", "contact.field", "Fie")
    reach(tab, "#with-rule-0-field")
    keys.type("country")
    reach(tab, "#with-rule-0-operator")
    expect(tab.locator("#with-rule-0-value")).to_be_visible()
    pick(tab, "is empty", "empty")
    # What needs no value has no field for one.
    expect(tab.locator("#with-rule-0-value")).to_have_count(0)
    expect(tab.locator("#with-rule-0-operator")).to_be_focused()
    expect(tab.locator("#with-rule-count")).to_have_text("0 of 3 contacts match.", timeout=WAIT_MS)
    expect(tab.locator("#effects")).to_contain_text("The campaign will be created")
    assert tab.evaluate("window.notReloaded")
    reach(tab, "#effects .button.primary")
    keys.press("Enter")
    reach(tab, "button.primary")
    keys.press("Enter")
    expect(tab.locator("#state")).to_be_visible()
    with world.engine.connect() as conn:
        found = campaigns.find(conn, "rules-only")
        file = campaigns.read_version(conn, found.key, found.id, found.version).file
    in_france = {"condition": "contact.field", "with": {"field": "country", "operator": "=", "value": "FR"}}
    assert file.exit[0].rule == {"all": [in_france]}
    assert file.goal is not None
    assert file.goal.rule is not None
    assert (file.goal.within, file.goal.rule["all"][0]["condition"]) == ("14 days", "contact.points")
    no_country = {"condition": "contact.field", "with": {"field": "country", "operator": "empty"}}
    assert file.steps[0].with_ == {"rule": {"all": [no_country]}}
    assert problems == []
    tab.close()


def test_on_a_phone_a_message_covers_neither_the_effects_nor_their_buttons(
    address: str, world: World, tab: Page
) -> None:
    world.segment("newsletter")
    begin_empty(tab, address, "Short")
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.locator("#plus-first").click()
    tab.locator("#panel [value='action contact.points']").click()
    said, effects = tab.locator("#flashes .said"), tab.locator("#effects")
    expect(said).to_be_visible()
    # Both at the same moment, since the message goes away by itself.
    upper, lower = tab.evaluate(
        "() => [document.querySelector('#flashes .said').getBoundingClientRect().bottom,"
        " document.querySelector('#effects').getBoundingClientRect().top]"
    )
    assert upper <= lower
    expect(effects).to_be_visible()
    # What is behind the message can be tapped.
    assert said.evaluate("each => getComputedStyle(each).pointerEvents") == "none"
    tab.close()
