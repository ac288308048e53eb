"""What somebody types before a script is there, or while an answer is on its way, stays; in a real browser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from fnmatch import fnmatch

import pytest
from playwright.sync_api import Dialog, Page, expect
from starlette.types import ASGIApp, Receive, Scope, Send

from parcours.domain.campaign_file import edit
from tests.conftest import CHROMIUM
from tests.web.conftest import eventually
from tests.web.pages.served import Served
from tests.web.pages.test_drawing_browser import STEPS, file_of
from tests.workers.worlds import World

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")


class Held:
    """Requests that the server does not look at until they are let go."""

    def __init__(self, method: str, address: str) -> None:
        self.method, self.address, self.holds = method, address, True
        self.waiting: list[bool] = []

    async def wait(self, scope: Scope) -> None:
        asked = scope["path"] + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        if not self.holds or scope["method"] != self.method or not fnmatch(asked, self.address):
            return
        number = len(self.waiting)
        self.waiting.append(True)
        while self.waiting[number]:
            await asyncio.sleep(0.01)

    def arrived(self, number: int = 1) -> None:
        """Wait until so many requests wait."""
        eventually(lambda: len(self.waiting) >= number, seconds=60)

    def let_go(self) -> None:
        """Let those go that wait, and all that come."""
        self.holds = False
        self.waiting = [False] * len(self.waiting)


class Gate:
    """A connection that is as slow as a test likes."""

    def __init__(self) -> None:
        self.held: list[Held] = []

    def hold(self, method: str, address: str) -> Held:
        """Hold the requests of a method to addresses that look like one."""
        self.held.append(Held(method, address))
        return self.held[-1]

    def around(self, app: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                for each in self.held:
                    await each.wait(scope)
            await app(scope, receive, send)

        return answer


@pytest.fixture
def world(world: World) -> World:
    world.contacts("anna", "berta", segment="everyone")
    world.campaign(STEPS, name="First steps")
    return world


def another_panel(tab: Page, gate: Gate) -> Held:
    """Ask for the panel of a step, whose answer is on its way until it is let go."""
    held = gate.hold("GET", "/campaigns/c/build[?]step=hello*")
    tab.locator("#card-hello").click()
    held.arrived()
    return held


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def address(world: World, gate: Gate) -> Iterator[str]:
    with Served(world.engine, around=gate.around) as served:
        yield served
        for each in gate.held:
            each.let_go()


def early(tab: Page, gate: Gate, address: str) -> Held:
    """Open a page whose scripts do not come yet."""
    held = gate.hold("GET", "/static/*.js*")
    tab.goto(address, wait_until="commit")
    expect(tab.locator("footer")).to_be_visible()
    return held


def test_a_box_that_was_ticked_before_the_script_ran_is_saved(
    address: str, gate: Gate, world: World, tab: Page
) -> None:
    world.segment("newsletter")
    held = early(tab, gate, f"{address}/campaigns/c/build?settings=1")
    tab.get_by_label("newsletter").check()
    tab.get_by_label("newsletter").focus()
    held.let_go()
    expect(tab.locator("#flashes")).to_contain_text("Settings changed.")
    assert "newsletter" in file_of(world)["sources"]["segments"]
    # Who went there by keyboard goes on from there.
    expect(tab.get_by_label("newsletter")).to_be_focused()


def test_who_types_before_the_script_ran_types_on_where_he_is(
    address: str, gate: Gate, world: World, tab: Page
) -> None:
    held = early(tab, gate, f"{address}/campaigns/c/build?step=last&focus=panel")
    tab.locator("#name").focus()
    tab.keyboard.press("End")
    tab.keyboard.type(" to")
    held.let_go()
    expect(tab.locator(".scripted")).to_be_attached()
    tab.wait_for_load_state()
    expect(tab.locator("#name")).to_be_focused()
    tab.keyboard.type(" all")
    tab.locator("#note").focus()
    expect(tab.locator("#card-last")).to_have_text("Say goodbye to all")


def test_what_was_searched_before_the_script_ran_is_found(address: str, gate: Gate, world: World, tab: Page) -> None:
    world.campaign("[{step: a, action: contact.points, with: {points: 1}}]", key="other", name="Other")
    held = early(tab, gate, f"{address}/campaigns")
    tab.locator("#q").fill("Other")
    held.let_go()
    expect(tab.locator("#results tbody tr")).to_have_count(1)
    expect(tab.locator("#q")).to_have_value("Other")


def test_steps_that_were_typed_before_the_script_ran_are_checked(address: str, gate: Gate, tab: Page) -> None:
    held = early(tab, gate, f"{address}/campaigns/+new?as=yaml")
    tab.locator("#steps").fill("- step: tag\n  action: contact.tags\n  with: {ad: [new]}\n")
    held.let_go()
    expect(tab.locator("#problems")).to_contain_text("did you mean 'add'?")
    expect(tab.locator(".gutter .wrong")).to_have_text("3")


def staying(asked: list[str]) -> Callable[[Dialog], None]:
    def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    return answer


def test_who_leaves_with_something_typed_before_the_script_ran_is_asked(address: str, gate: Gate, tab: Page) -> None:
    held = early(tab, gate, f"{address}/contacts/+new")
    tab.get_by_label("First name").fill("Cy")
    held.let_go()
    tab.wait_for_load_state()
    asked: list[str] = []
    tab.once("dialog", staying(asked))
    tab.get_by_role("link", name="Segments", exact=True).click(no_wait_after=True)
    eventually(lambda: tab.evaluate("1") and asked == ["beforeunload"], seconds=60)
    expect(tab.get_by_label("First name")).to_have_value("Cy")
    tab.close(run_before_unload=False)


def test_what_is_typed_while_a_change_is_saved_stays_and_is_saved_when_it_is_left(
    address: str, gate: Gate, world: World, tab: Page
) -> None:
    tab.goto(f"{address}/campaigns/c/build?step=last")
    held = gate.hold("POST", "/campaigns/c/build")
    tab.locator("#name").fill("Say bye")
    tab.locator("#note").focus()
    held.arrived()
    tab.keyboard.type("For Ann")
    held.let_go()
    expect(tab.locator("#card-last")).to_have_text("Say bye")
    expect(tab.locator("#note")).to_be_focused()
    expect(tab.locator("#note")).to_have_value("For Ann")
    # Nothing more is typed, and it is left.
    tab.locator("#card-hello").focus()
    expect(tab.locator("[data-card=last] .step-note")).to_have_text("For Ann")


def test_what_is_typed_in_a_first_name_that_is_being_saved_is_saved_when_it_is_left(
    address: str, gate: Gate, world: World, tab: Page
) -> None:
    steps = "[{step: contact-points, action: contact.points, with: {points: 1}}]"
    world.campaign(steps, key="nameless", name="Nameless")
    tab.goto(f"{address}/campaigns/nameless/build?step=contact-points")
    held = gate.hold("POST", "/campaigns/nameless/build")
    tab.locator("#with-points").fill("5")
    tab.locator("#with-points").press("Enter")
    held.arrived()
    tab.locator("#name").focus()
    tab.keyboard.type("Five")
    tab.locator("#note").focus()
    tab.keyboard.type("For Ann")
    held.let_go()
    expect(tab.locator(".step-title")).to_have_text("Five")
    expect(tab.locator("#note")).to_have_value("For Ann")
    expect(tab.locator("#note")).to_be_focused()
    tab.locator(".step-title").focus()
    expect(tab.locator(".step-note")).to_have_text("For Ann")


def test_what_is_typed_in_a_panel_while_another_one_is_on_its_way_is_saved(
    address: str, gate: Gate, world: World, tab: Page
) -> None:
    tab.goto(f"{address}/campaigns/c/build?step=last")
    held = another_panel(tab, gate)
    tab.locator("#note").focus()
    tab.keyboard.type("For Ann")
    held.let_go()
    expect(tab.locator("#name")).to_have_value("Say hello")
    expect(tab.locator("[data-card=last] .step-note")).to_have_text("For Ann")
    assert edit.find(file_of(world), "last").step["note"] == "For Ann"


def test_yaml_that_is_typed_while_another_panel_is_on_its_way_stays_if_one_likes(
    address: str, gate: Gate, world: World, tab: Page
) -> None:
    tab.goto(f"{address}/campaigns/c/build?yaml=1")
    held = another_panel(tab, gate)
    text = tab.locator("#text").input_value()
    tab.locator("#text").press("End")
    tab.keyboard.type("# mine")
    asked: list[str] = []
    tab.once("dialog", staying(asked))
    held.let_go()
    eventually(lambda: tab.evaluate("1") and asked == ["confirm"], seconds=60)
    expect(tab.locator("#text")).not_to_have_value(text)
    tab.close(run_before_unload=False)


def test_who_searches_while_an_answer_is_on_its_way_types_on(address: str, gate: Gate, world: World, tab: Page) -> None:
    tab.goto(f"{address}/campaigns/c/build")
    held = another_panel(tab, gate)
    tab.locator("#find").focus()
    tab.keyboard.type("good")
    held.let_go()
    expect(tab.locator("#name")).to_have_value("Say hello")
    expect(tab.locator("#find")).to_be_focused()
    tab.keyboard.type("bye")
    tab.keyboard.press("Enter")
    expect(tab.locator("#matches-title")).to_have_text("1 step found")


def test_a_box_that_was_ticked_keeps_the_focus_when_it_was_saved(
    address: str, gate: Gate, world: World, tab: Page
) -> None:
    world.segment("newsletter")
    tab.goto(f"{address}/campaigns/c/build?settings=1")
    tab.get_by_label("newsletter").focus()
    tab.keyboard.press("Space")
    expect(tab.locator("#flashes")).to_contain_text("Settings changed.")
    expect(tab.get_by_label("newsletter")).to_be_focused()


def test_what_a_step_says_is_said_for_what_was_typed_last(address: str, gate: Gate, world: World, tab: Page) -> None:
    world.campaign("[{step: text, action: sms.send, with: {text: Hello}}]", key="texts", name="Texts")
    tab.goto(f"{address}/campaigns/texts/build?step=text")
    saving = gate.hold("POST", "/campaigns/texts/build")
    tab.locator("#with-text").fill("Hello {{ contact.key }}")
    # A change that is saved meanwhile was shown for somebody else.
    tab.locator("#sample").fill("berta")
    expect(tab.locator("#with-text-shown")).to_contain_text("Hello berta")
    saving.let_go()
    expect(tab.locator("#flashes")).to_contain_text("Changed")
    expect(tab.locator("#with-text-shown")).to_contain_text("Hello berta")
    # An answer that was asked for before comes after.
    previews = gate.hold("POST", "/campaigns/texts/build/preview*")
    tab.locator("#sample").fill("anna")
    previews.arrived()
    tab.locator("#sample").fill("berta")
    previews.arrived(2)
    for number in (1, 0):
        with tab.expect_response("**/build/preview*") as answer:
            previews.waiting[number] = False
        answer.value.finished()
    expect(tab.locator("#with-text-shown")).to_contain_text("Hello berta")


def test_what_is_typed_in_a_rule_while_its_fields_are_on_their_way_stays(
    address: str, gate: Gate, world: World, tab: Page
) -> None:
    world.contacts("carl", country="FR")
    tab.goto(f"{address}/segments/+new")
    tab.get_by_label("Name").fill("In France")
    tab.get_by_role("button", name="Create and set a rule").click()
    tab.get_by_role("button", name="Add a rule").click()
    tab.get_by_role("button", name="Add condition").click()
    expect(tab.get_by_label("Field", exact=True)).to_be_visible()
    held = gate.hold("POST", "/segments/in-france/edit*")
    tab.get_by_label("Comparison").select_option("in")
    held.arrived()
    tab.get_by_label("Field", exact=True).fill("country")
    tab.get_by_label("Value").fill("FR")
    held.let_go()
    expect(tab.get_by_placeholder("separated by commas")).to_have_value("FR")
    expect(tab.get_by_label("Field", exact=True)).to_have_value("country")
    expect(tab.get_by_label("Value")).to_be_focused()
    expect(tab.locator("#rule-count")).to_have_text("1 of 3 contacts matches.")
    # What is removed goes, and what is typed below it meanwhile moves up with its condition.
    tab.get_by_role("button", name="Add condition").click()
    expect(tab.get_by_label("Field", exact=True)).to_have_count(2)
    held = gate.hold("POST", "/segments/in-france/edit*")
    tab.locator("#rule-0").get_by_role("button", name="Remove").click()
    held.arrived()
    tab.get_by_label("Field", exact=True).nth(1).fill("city")
    held.let_go()
    expect(tab.get_by_label("Field", exact=True)).to_have_count(1)
    expect(tab.get_by_label("Field", exact=True)).to_have_value("city")
    tab.close(run_before_unload=False)


def test_how_many_contacts_match_is_asked_when_the_rule_changes_and_not_again_by_itself(
    address: str, world: World, tab: Page
) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url) if "/count" in request.url else None)
    tab.clock.install()
    tab.goto(f"{address}/segments/+new")
    tab.get_by_label("Name").fill("Everybody")
    tab.get_by_role("button", name="Create and set a rule").click()
    tab.get_by_role("button", name="Add a rule").click()
    tab.get_by_role("button", name="Add condition").click()
    tab.get_by_label("Field", exact=True).fill("country")
    tab.clock.run_for(1000)
    expect(tab.locator("#rule-count")).not_to_be_empty()
    tab.evaluate("fetch('/segments')")
    before = len(asked)
    tab.clock.run_for(1000)
    tab.evaluate("fetch('/segments')")
    assert len(asked) == before
    tab.close(run_before_unload=False)
