"""The overview in a real browser, with everything running: it follows the contacts by itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, Route, expect

from tests.conftest import CHROMIUM
from tests.ops.test_health_and_metrics import free_port
from tests.web.conftest import WAIT_MS, Start, eventually
from tests.web.test_processes import is_ready
from tests.workers.worlds import World

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
TREE = """
- step: tag
  name: Tag as new
  action: contact.tags
  with: {add: [new]}
  then:
    - {step: visited, decision: page.hit, with: {url: "*"}, within: 3 days}
"""


def test_a_campaign_is_switched_on_contacts_come_and_the_overview_follows(
    start: Start, world: World, tab: Page
) -> None:
    world.segment("everyone")
    world.contacts("anna", "berta", "<b>carl</b>")
    world.campaign(TREE, name="First steps", published=False)
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    port = free_port()
    with start("up", "--port", port):
        eventually(lambda: is_ready(port))
        address = f"http://127.0.0.1:{port}"
        # Switched on from its own page.
        tab.goto(f"{address}/campaigns/c")
        expect(tab.locator("#tile-added")).to_have_text("0")
        tab.get_by_role("link", name="Switch on").click()
        tab.locator("dialog").get_by_role("button", name="Switch on").click()
        expect(tab.locator("#flashes")).to_contain_text("First steps")
        # Who watches the overview sees the contacts come whom somebody adds elsewhere.
        tab.goto(f"{address}/campaigns/c")
        expect(tab.locator("#state")).to_have_text("Running")
        tab.evaluate("window.notReloaded = true")
        other = tab.context.new_page()
        other.goto(f"{address}/segments/everyone")
        other.get_by_label("Add or remove contacts").fill("anna\nberta\n<b>carl</b>")
        other.get_by_role("button", name="Add").click()
        expect(other.locator("#flashes")).to_have_text("3 contacts added.")
        other.close()
        tab.bring_to_front()
        expect(tab.locator("#tile-added")).to_have_text("3", timeout=WAIT_MS)
        expect(tab.locator(f"#step-{world.step_id('tag')}")).to_contain_text("done 3", timeout=WAIT_MS)
        expect(tab.locator(f"#step-{world.step_id('visited')}")).to_contain_text("waiting 3", timeout=WAIT_MS)
        expect(tab.locator("#chart")).to_contain_text("Contacts added 3")
        assert tab.evaluate("window.notReloaded")
        # The tabs change the address and not the page; a step leads to its contacts.
        tab.get_by_role("link", name="Actions").click()
        expect(tab).to_have_url(f"{address}/campaigns/c/actions")
        expect(tab).to_have_title("First steps · Actions · Parcours")
        expect(tab.get_by_role("link", name="Actions")).to_be_focused()
        tab.get_by_role("link", name="Overview").click()
        tab.locator(f"#step-{world.step_id('visited')}").get_by_role("link", name="waiting").click()
        tab.wait_for_url("**/contacts?step=visited&at=waiting")
        tab.get_by_role("link", name="<b>carl</b>", exact=True).click()
        expect(tab.locator("h1")).to_have_text("<b>carl</b>")
        # Held still, the figures stay.
        tab.goto(f"{address}/campaigns/c")
        live = tab.get_by_role("button", name="Live")
        live.click()
        expect(tab.get_by_role("button", name="Paused")).to_have_attribute("aria-pressed", "false")
        # Pointing at a day tells its figures.
        tab.locator(".column").last.hover()
        expect(tab.locator(".chart-tip")).to_contain_text("Contacts added: 3")
        assert problems == []
        tab.close()


@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_wider_than_its_screen(address: str, world: World, tab: Page, width: int) -> None:
    world.segment("everyone")
    long = "a" * 60
    world.contacts("anna", long, segment="everyone")
    world.campaign(TREE, name="First steps", description="Words " * 60)
    world.form("signup")
    world.email("hello")
    tab.set_viewport_size({"width": width, "height": 800})
    for path in (
        *("/campaigns/c", "/campaigns/c/actions", "/campaigns/c/contacts", "/campaigns/c/failures"),
        *("/contacts", f"/contacts/{long}", "/segments", "/segments/everyone", "/forms", "/forms/signup"),
        *("/emails", "/emails/hello"),
    ):
        tab.goto(f"{address}{path}")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, path
    tab.close()


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_when_something_is_due_next_is_never_cut_off(address: str, world: World, tab: Page, width: int) -> None:
    world.contacts("anna", segment="everyone")
    world.campaign("- {step: later, action: contact.points, with: {points: 1}, after: 40 minutes}")
    world.update(datetime.now(UTC))
    tab.set_viewport_size({"width": width, "height": 800})
    tab.context.add_cookies([{"name": "parcours_language", "value": "fr", "url": address}])
    tab.goto(f"{address}/campaigns/c")
    expect(tab.locator("#tile-due")).to_contain_text("minutes")
    cut = tab.evaluate(
        "[...document.querySelectorAll('.tile')].filter(each => each.scrollWidth > each.clientWidth).length"
    )
    assert cut == 0
    tab.close()


def test_a_name_that_was_typed_before_the_script_ran_gives_the_key(address: str, world: World, tab: Page) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    tab.route("**/editor.js*", hold)
    tab.goto(f"{address}/campaigns/+new?as=yaml", wait_until="commit")
    tab.get_by_label("Name").fill("Summer")
    held[0].continue_()
    expect(tab.get_by_label("Key")).to_have_value("summer")


def test_a_campaign_is_made_in_the_browser_errors_and_all(address: str, world: World, tab: Page) -> None:
    world.segment("everyone")
    world.contacts("anna", segment="everyone")
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(f"{address}/campaigns")
    tab.get_by_role("link", name="New campaign").click()
    tab.get_by_role("link", name="Write it as YAML").click()
    tab.get_by_label("Name").fill("Série d’été")
    expect(tab.get_by_label("Key")).to_have_value("serie-d-ete")
    tab.get_by_label("everyone").check()
    tab.get_by_label("Switched on").check()
    steps = tab.locator("#steps")
    steps.fill("- step: tag\n  action: contact.tags\n  with: {ad: [new]}\n")
    # While one types, with its line, which is marked.
    expect(tab.locator("#problems")).to_contain_text("did you mean 'add'?")
    expect(tab.locator(".gutter .wrong")).to_have_text("3")
    steps.fill("- step: tag\n  action: contact.tags\n  with: {add: [new]}\n")
    expect(tab.locator("#problems")).to_contain_text("No errors.")
    tab.get_by_role("button", name="Review").click()
    expect(tab.get_by_text("The campaign will be created with 1 step.")).to_be_visible()
    tab.get_by_role("button", name="Apply").click()
    expect(tab.locator("#state")).to_have_text("Running")
    assert problems == []
