"""The tree of the builder in a real browser: dragged, moved by thumb, folded, searched, by keys, and by a viewer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Dialog, Page, expect

from parcours.db.tables import campaigns, drafts
from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.edit import StepPlace
from parcours.web.security.access import NEIGHBOUR
from tests.conftest import CHROMIUM
from tests.web.conftest import eventually
from tests.web.pages.served import Served
from tests.web.pages.test_sign_in import PASSWORD, given_user
from tests.workers.worlds import World

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")

STEPS = """
- step: hello
  name: Say hello
  action: contact.points
  with: {points: 1}
  after: 1 day
  then:
    - step: visited
      decision: page.hit
      with: {url: "*"}
      within: 3 days
      yes: [{step: hot, name: Mark as hot, action: contact.tags, with: {add: [hot]}}]
- step: last
  name: Say goodbye
  action: contact.points
  with: {points: 2}
"""
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture
def world(world: World) -> World:
    world.contacts("anna", "berta", segment="everyone")
    world.campaign(STEPS, name="First steps")
    return world


@pytest.fixture
def build(address: str) -> str:
    """The address of the builder of a campaign."""
    return f"{address}/campaigns/c/build"


def file_of(world: World, who: str = NEIGHBOUR.who) -> dict[str, Any]:
    """Return what stands in somebody's draft, which the first change in the browser begins."""

    def begun() -> dict[str, Any] | None:
        with world.engine.connect() as conn:
            known = drafts.of_campaign(conn, campaigns.find(conn, "c").id, who)
            draft = None if known is None else drafts.read(conn, known, who)
            return None if draft is None else draft.file

    found: dict[str, Any] = eventually(begun, seconds=60)
    return found


def place_of(world: World, key: str) -> StepPlace:
    return edit.find(file_of(world), key).place


def test_a_card_is_dragged_to_a_plus_that_may_take_it_and_one_undo_brings_it_back(
    build: str, world: World, tab: Page
) -> None:
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(build)
    tab.evaluate("window.notReloaded = true")
    card = tab.locator("[data-card=last]")
    card.drag_to(tab.locator("#plus-no-visited"))
    expect(tab.locator("#said")).to_have_text("Moved: Say goodbye. It is now below “Visits *”, if no.")
    assert place_of(world, "last") == ("visited", "no", 0)
    # A `+` that may not take it says so, and takes nothing: a decision never follows a decision.
    tab.locator("[data-card=visited]").hover()
    tab.mouse.down()
    tab.mouse.move(30, 400, steps=3)
    expect(tab.locator(".dragging #plus-first.fits")).to_be_visible()
    expect(tab.locator(".dragging #plus-yes-visited:not(.fits)")).to_be_visible()
    tab.mouse.up()
    expect(tab.locator(".dragging")).to_have_count(0)
    tab.locator("[data-card=hello]").drag_to(tab.locator("#plus-yes-visited"))
    expect(tab.locator("#said")).to_have_text("The step cannot stand there.")
    assert place_of(world, "hello") == (None, "steps", 0)
    tab.keyboard.press("Control+z")
    expect(tab.locator("#said")).to_contain_text("Undone: Moved: Say goodbye")
    assert place_of(world, "last") == (None, "steps", 1)
    # Keys stay, so that whoever waits at a step stays there.
    assert sorted(edit.keys(file_of(world))) == ["hello", "hot", "last", "visited"]
    assert tab.evaluate("window.notReloaded")
    assert problems == []
    tab.close()


def test_on_a_phone_every_place_that_may_take_a_step_reads_here(build: str, world: World, tab: Page) -> None:
    tab.set_viewport_size({"width": 390, "height": 800})
    tab.goto(f"{build}?step=last")
    tab.get_by_role("link", name="Move…").click()
    expect(tab.locator("#moving-title")).to_be_focused()
    here = tab.locator(".here button")
    expect(here.first).to_have_text("here")
    expect(tab.locator(".plus")).to_have_count(0)
    places = {each.get_attribute("id") for each in here.all()}
    # Not where it is, not below itself.
    assert places == {
        *("plus-first", "plus-then-hello", "plus-yes-visited", "plus-no-visited", "plus-then-hot"),
        *("beside-visited", "beside-hot"),
    }
    assert tab.evaluate(OVERFLOW) <= 0
    tab.locator("#plus-no-visited").click()
    expect(tab.locator("#card-last")).to_be_visible()
    eventually(lambda: place_of(world, "last") == ("visited", "no", 0), seconds=20)
    tab.close()


CUT_OFF = """() => {
  const end = document.querySelector('.building').getBoundingClientRect().right;
  return [...document.querySelectorAll('.building .step')].filter((each) => each.getBoundingClientRect().right > end)
    .map((each) => each.dataset.card);
}"""


def deep(levels: int) -> str:
    steps = ""
    for n in range(levels):
        name = f"Step {n} " + "Donaudampfschifffahrtsgesellschaft" * 2
        own = f'{{step: s{n}, name: "{name}", condition: contact.points, with: {{operator: gte, points: 1234567890}}'
        steps = f"{steps}{own}, yes: [" if n < levels - 1 else f"{steps}{own}}}"
    return f"[{steps}{']}' * (levels - 1)}]"


@pytest.mark.parametrize("width", [390, 1440])
def test_twelve_levels_of_long_names_make_no_page_wider_than_its_screen(
    build: str, world: World, tab: Page, width: int
) -> None:
    world.campaign(deep(12), key="deep", name="Deep")
    tab.set_viewport_size({"width": width, "height": 800})
    for asked in ("", "?step=s11", "?moving=s11", "?only=s5"):
        tab.goto(build.replace("/c/", "/deep/") + asked)
        expect(tab.locator("#card-s11")).to_be_attached()
        assert tab.evaluate(OVERFLOW) <= 0, asked
        # Nor is any card cut off in the tree.
        assert tab.evaluate(CUT_OFF) == [], asked
    # A card is wide enough to read, and a number stays whole.
    expect(tab.locator("[data-card=s11]")).to_contain_text("1,234,567,890")
    assert tab.locator("[data-card=s11]").bounding_box()["width"] > 150  # type: ignore[index]
    tab.close()


def test_a_branch_is_looked_at_alone_through_every_edit_and_stays_folded(build: str, world: World, tab: Page) -> None:
    tab.goto(build)
    tab.get_by_role("link", name="Only the branch of Visits *").click()
    expect(tab.locator("#card-hello")).to_have_count(0)
    crumbs = tab.locator(".building .crumb a")
    expect(crumbs).to_have_text(["All steps", "Say hello", "Visits *"])
    tab.locator("#card-hot").focus()
    tab.keyboard.press("Delete")
    expect(tab.locator("#card-hot")).to_have_count(0)
    expect(tab.locator("#card-hello")).to_have_count(0)
    tab.keyboard.press("Control+z")
    expect(tab.locator("#card-hot")).to_be_visible()
    crumbs.first.click()
    # Folded, it stays so after an edit and when the page is loaded anew.
    tab.locator("#card-visited").focus()
    tab.keyboard.press("f")
    expect(tab.locator("#card-hot")).to_be_hidden()
    tab.locator("#card-last").focus()
    tab.keyboard.press("Alt+ArrowUp")
    expect(tab.locator("#said")).to_have_text("Moved up: Say goodbye. It is now at the beginning.")
    expect(tab.locator("#card-hot")).to_be_hidden()
    tab.reload()
    expect(tab.locator("#card-visited")).to_be_visible()
    expect(tab.locator("#card-hot")).to_be_hidden()
    # What is found is seen.
    tab.keyboard.press("/")
    tab.keyboard.type("hot")
    tab.keyboard.press("Enter")
    tab.locator("#matches a", has_text="Mark as hot").click()
    expect(tab.locator("#card-hot")).to_be_visible()
    expect(tab.locator("#card-hot")).to_be_focused()
    tab.close()


def test_a_map_jumps_to_a_step_of_a_large_tree(build: str, world: World, tab: Page) -> None:
    world.campaign(deep(50), key="large", name="Large")
    tab.goto(build)
    expect(tab.locator("#map")).to_have_count(0)
    more = ", ".join(f"{{step: t{n}, action: contact.points, with: {{points: {n + 1}}}}}" for n in range(40))
    world.campaign(f"[{more}, {deep(30)[1:-1]}]", key="large", name="Large")
    tab.goto(build.replace("/c/", "/large/"))
    expect(tab.locator("#map a")).to_have_count(70)
    tab.locator("#map a[href='#card-t39']").click()
    expect(tab.locator("#card-t39")).to_be_focused()
    expect(tab.locator("#card-t39")).to_be_in_viewport()
    tab.close()


JUMPS = """
- step: hello
  name: Say hello to everybody who came in by the form of the summer fair
  action: contact.points
  with: {points: 1}
  then:
    - step: visited
      decision: page.hit
      with: {url: "*"}
      within: 3 days
      yes:
        - step: hot
          action: contact.tags
          with: {add: [hot]}
          then: [{step: back, action: campaign.jump, with: {to: hello}, after: 1 day}]
      no:
        - {step: again, name: Start again, action: campaign.jump, with: {to: hello}, after: 1 day}
        - {step: on, action: campaign.jump, with: {to: last}}
- step: last
  action: contact.points
  with: {points: 2}
"""
# The arrows that a tree has: where each leads, and whether it lies over words or figures.
ARROWS = """() => {
  const said = [...document.querySelectorAll(".tree .step-name > div, .step-figures")];
  const texts = said.map((each) => each.getBoundingClientRect());
  const hits = (box) => texts.some((text) =>
    box.left < text.right && text.left < box.right && box.top < text.bottom && text.top < box.bottom);
  return [...document.querySelectorAll("svg.jumps .jump-head")].map((head) => {
    const box = head.getBoundingClientRect(), middle = box.top + box.height / 2;
    const kind = [...document.querySelectorAll(".tree .kind")].find((each) => {
      const icon = each.getBoundingClientRect();
      return icon.top < middle && middle < icon.bottom && icon.left >= box.right - 1;
    });
    return [kind?.closest("[data-step]").dataset.step, hits(box)];
  });
}"""


@pytest.mark.parametrize("width", [390, 1440])
def test_jumps_are_arrows_in_the_builder_and_in_the_overview(build: str, world: World, tab: Page, width: int) -> None:
    world.campaign(JUMPS, key="jumps", name="Jumps")
    tab.set_viewport_size({"width": width, "height": 900})
    for address in (build.replace("/c/", "/jumps/"), build.replace("/c/build", "/jumps")):
        tab.goto(address)
        expect(tab.locator("svg.jumps .jump-head")).to_have_count(2)
        assert sorted(tab.evaluate(ARROWS)) == [["hello", False], ["last", False]], address
        # Who cannot see it hears the words.
        expect(tab.locator("svg.jumps")).to_have_attribute("aria-hidden", "true")
        expect(tab.locator("[data-step=again]")).to_contain_text(re.compile("jump to .?Say hello", re.I))
        assert tab.evaluate(OVERFLOW) <= 0
    # What is folded away has no arrow.
    tab.goto(build.replace("/c/", "/jumps/"))
    tab.locator("[data-fold=hello]").click()
    expect(tab.locator("svg.jumps .jump-head")).to_have_count(0)
    tab.locator("[data-fold=hello]").click()
    expect(tab.locator("svg.jumps .jump-head")).to_have_count(2)
    tab.close()


def test_every_key_does_what_the_help_says(build: str, world: World, tab: Page) -> None:
    tab.goto(build)
    keys, said = tab.keyboard, tab.locator("#said")

    def focused(key: str) -> None:
        expect(tab.locator(f"#card-{key}")).to_be_focused()

    def order() -> list[str]:
        return edit.keys(file_of(world))

    keys.press("ArrowDown")
    focused("hello")
    keys.press("ArrowDown")
    focused("visited")
    keys.press("ArrowRight")
    focused("hot")
    keys.press("ArrowDown")
    focused("last")
    keys.press("ArrowUp")
    focused("hot")
    keys.press("ArrowLeft")
    focused("visited")
    # Enter opens, Esc comes back.
    keys.press("Enter")
    expect(tab.locator("#panel-title")).to_have_text("Visits a page")
    keys.press("Escape")
    focused("visited")
    for key, branch in (("y", "yes"), ("n", "no")):
        keys.press(key)
        tab.wait_for_url(f"**branch={branch}**")
        expect(tab.locator("#panel-title")).to_have_text("Add a step")
        tab.locator("#card-visited").focus()
    tab.locator("#card-hot").focus()
    keys.press("a")
    tab.wait_for_url("**parent=hot&branch=then**")
    expect(tab.locator("#panel-title")).to_have_text("Add a step")
    # Past the step above, and back.
    tab.locator("#card-last").focus()
    keys.press("Alt+ArrowUp")
    expect(said).to_have_text("Moved up: Say goodbye. It is now at the beginning.")
    focused("last")
    assert order() == ["last", "hello", "visited", "hot"]
    keys.press("Alt+ArrowDown")
    expect(said).to_have_text("Moved down: Say goodbye. It is now at the beginning.")
    assert order() == ["hello", "visited", "hot", "last"]
    # Cut and pasted: what stands there comes below.
    keys.press("Control+x")
    expect(said).to_have_text("Cut: Say goodbye")
    tab.locator("#card-hello").focus()
    keys.press("Control+v")
    expect(said).to_have_text("Moved: Say goodbye. It is now below “Say hello”.")
    assert order() == ["hello", "last", "visited", "hot"]
    keys.press("Control+c")
    tab.locator("#card-hot").focus()
    keys.press("Control+v")
    expect(said).to_have_text("Copied: Say goodbye")
    assert "last-2" in order()
    keys.press("Control+z")
    expect(said).to_contain_text("Undone: Copied")
    keys.press("Control+y")
    expect(said).to_contain_text("Done again: Copied")
    keys.press("Control+z")
    expect(said).to_contain_text("Undone: Copied")
    tab.locator("#card-last").focus()
    keys.press("Shift+Delete")
    expect(said).to_contain_text("Deleted: Say goodbye")
    assert order() == ["hello", "visited", "hot"]
    tab.locator("#card-visited").focus()
    keys.press("m")
    expect(tab.locator("#moving-title")).to_be_focused()
    keys.press("Escape")
    expect(tab.locator("#moving-title")).to_have_count(0)
    tab.locator("#card-visited").focus()
    keys.press("Delete")
    expect(said).to_contain_text("Deleted: Visits *")
    assert order() == ["hello"]
    keys.press("/")
    expect(tab.locator("#find")).to_be_focused()
    keys.press("Escape")
    keys.press("?")
    expect(tab.locator("#panel-title")).to_have_text("Keys")
    told = tab.locator("#panel .keys kbd").all_inner_texts()
    # Each has an item in the menu of a step, on its card or in the bar.
    tab.goto(f"{build}?step=hello")
    shown = {
        each for item in tab.locator("[aria-keyshortcuts]").all() for each in [item.get_attribute("aria-keyshortcuts")]
    }
    assert {"A", "M", "Control+X", "Control+C", "Control+V", "Alt+ArrowUp", "Alt+ArrowDown", "Delete"} <= shown
    assert {"M", "Ctrl+Y"} <= set(told)
    for does, title in (("Copy", "Copied: Say hello. Paste it with Ctrl+V."), ("Cut", "Cut: Say hello")):
        tab.get_by_role("button", name=does, exact=False).first.click()
        expect(said).to_have_text(title)
    tab.close()


def answering(heard: list[str]) -> Callable[[Dialog], None]:
    """Return what stays where it is when it is asked, and remembers how and what it was asked."""

    def answer(dialog: Dialog) -> None:
        heard.extend(text for text in (dialog.type, dialog.message) if text)
        dialog.dismiss()

    return answer


def test_comments_are_kept_as_notes_and_a_text_that_is_no_yaml_stays_as_it_was_typed(
    build: str, world: World, tab: Page
) -> None:
    tab.goto(f"{build}?yaml=1")
    area = tab.locator("#text")
    text = area.input_value()
    area.fill(text.replace("steps:", "steps: ["))
    tab.get_by_role("button", name="Accept").click()
    expect(tab.locator("#text-errors")).to_contain_text("Line")
    expect(area).to_have_value(text.replace("steps:", "steps: [").rstrip("\n") + "\n")
    # Whoever goes elsewhere is asked first.
    asked: list[str] = []
    area.press("End")
    area.type(" ")
    tab.once("dialog", answering(asked))
    tab.locator("#card-hot").click()
    assert asked == ["confirm", "What you typed is not accepted yet. Leave it?"]
    expect(area).to_be_visible()
    commented = text.replace("  - step: hello", "  # Greets\n  # everybody\n  - step: hello # first").replace(
        "sources:", "# Made in May\nsources:"
    )
    area.fill(commented)
    tab.get_by_role("button", name="Accept").click()
    expect(tab.locator("#said")).to_have_text("YAML accepted.")
    expect(tab.locator("[data-card=hello] .step-note")).to_have_text("Greets\neverybody\nfirst")
    assert file_of(world)["note"] == "Made in May"
    # One entry to undo, and nothing to warn about any more.
    tab.keyboard.press("Escape")
    tab.keyboard.press("Control+z")
    expect(tab.locator("#said")).to_have_text("Undone: YAML accepted.")
    expect(tab.locator(".step-note")).to_have_count(0)
    tab.close()


def test_leaving_with_a_text_that_was_not_accepted_warns(build: str, world: World, tab: Page) -> None:
    tab.goto(f"{build}?yaml=1")
    tab.locator("#text").press("End")
    tab.locator("#text").type(" ")
    kinds: list[str] = []
    tab.once("dialog", answering(kinds))
    tab.get_by_role("link", name="Contacts", exact=True).click(no_wait_after=True)
    eventually(lambda: tab.evaluate("1") and kinds[:1] == ["beforeunload"], seconds=20)
    expect(tab.locator("#text")).to_be_visible()
    tab.close(run_before_unload=False)


def signed_in(tab: Page, address: str, path: str) -> None:
    tab.goto(f"{address}{path}")
    tab.get_by_label("Email address").fill("ada@example.com")
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_role("button", name="Sign in").click()
    tab.wait_for_url(f"**{path}")


def test_a_viewer_sees_the_tree_and_nothing_to_change_it(world: World, tab: Page) -> None:
    given_user(world.engine, role="viewer")
    with Served(world.engine, open_to_all=False) as address:
        signed_in(tab, address, "/campaigns/c/build")
        expect(tab.locator("#card-hot")).to_be_visible()
        for nothing in (".plus", "#effects", "#bench-bar button", ".menu"):
            expect(tab.locator(nothing)).to_have_count(0)
        tab.locator("#card-hot").click()
        expect(tab.locator("#panel-title")).to_have_text("Add or remove tags")
        expect(tab.locator("#with-add")).to_be_disabled()
        expect(tab.locator(".menu")).to_have_count(0)
        tab.locator("#card-hot").focus()
        for key in ("Delete", "a", "Control+z", "m"):
            tab.keyboard.press(key)
        tab.keyboard.press("ArrowUp")
        expect(tab.locator("#card-visited")).to_be_focused()
        expect(tab.locator("#flashes p")).to_have_count(0)
        for path in ("?add=1&parent=hot&branch=then&nth=0&around=", "?moving=hot", "?settings=1", "?yaml=1"):
            tab.goto(f"{address}/campaigns/c/build{path}")
            expect(tab.locator("#panel :is(button, input, textarea, select):enabled")).to_have_count(0)
        tab.goto(f"{address}/campaigns/c/build/review")
        expect(tab.get_by_role("button", name="Apply")).to_have_count(0)
        # That nothing changes is no warning.
        expect(tab.locator(".plan .note")).to_have_count(0)
        expect(tab.locator(".plan .same")).to_have_text("No changes.")
        tab.close()


def test_whose_session_ended_meanwhile_signs_in_and_what_was_typed_is_sent(world: World, tab: Page) -> None:
    given_user(world.engine)
    with Served(world.engine, open_to_all=False) as address:
        signed_in(tab, address, "/campaigns/c/build?step=hello")
        world.write("DELETE FROM sign_in")
        tab.locator("#name").fill("Say hello to everybody")
        tab.locator("#name").blur()
        expect(tab.get_by_text("Your session has ended. Sign in again; what you entered is kept.")).to_be_visible()
        tab.get_by_label("Email address").fill("ada@example.com")
        tab.get_by_label("Password").fill(PASSWORD)
        tab.get_by_role("button", name="Sign in").click()
        tab.get_by_role("button", name="Send it now").click()
        expect(tab.locator("#card-hello")).to_have_text("Say hello to everybody")
        expect(tab.locator("#name")).to_have_value("Say hello to everybody")
        assert edit.find(file_of(world, "ada@example.com"), "hello").step["name"] == "Say hello to everybody"
        tab.close()


def test_what_applying_does_is_always_in_view_with_its_choices(build: str, world: World, tab: Page) -> None:
    world.run()
    for width in (1440, 390):
        tab.set_viewport_size({"width": width, "height": 800})
        tab.goto(f"{build}?step=hello")
        expect(tab.locator("#effects .button.primary")).to_be_in_viewport()
        tab.mouse.wheel(0, 600)
        expect(tab.locator("#effects-title")).to_be_in_viewport()
    tab.set_viewport_size({"width": 1440, "height": 900})
    tab.goto(f"{build}?step=hello")
    tab.locator("#after").fill("5")
    tab.locator("#after").blur()
    effects = tab.locator("#effects")
    move = effects.get_by_label("Reschedule 2 waiting contacts")
    move.check()
    expect(tab.locator("#said")).to_have_text("Changed what happens to active contacts.")
    expect(move).to_be_checked()
    # It is no part of the file, and the review knows it.
    tab.goto(f"{build}?yaml=1")
    expect(tab.locator("#text")).not_to_have_value("choices")
    tab.goto(f"{build}/review")
    expect(tab.get_by_label("Reschedule 2 waiting contacts")).to_be_checked()
    # The step goes instead: where its contacts go is chosen beside the tree, or in the review.
    tab.goto(build)
    tab.locator("#card-hello").focus()
    tab.keyboard.press("Delete")
    expect(effects).to_contain_text("2 contacts wait at “Say hello”, which is removed.")
    tab.goto(f"{build}/review")
    tab.get_by_label("Where they go").select_option("last")
    tab.get_by_role("button", name="Save").click()
    expect(tab.locator(".plan")).to_contain_text("2 contacts waiting there will go to “Say goodbye”.")
    assert file_of(world)["redirect"] == {"hello": "last"}
    tab.close()
