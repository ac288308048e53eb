"""In a real browser, from an empty installation: contacts are imported, a segment gets a rule, an email is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Dialog, Page, expect
from sqlalchemy import Engine

from tests.conftest import CHROMIUM
from tests.ops.test_health_and_metrics import free_port
from tests.web.conftest import Start, eventually
from tests.web.test_processes import is_ready
from tests.workers.worlds import World

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
LIST = "E-Mail;First name;Country\nann@example.com;Ann;FR\nben@example.com;Ben;US\nnobody;;\n"
# Controls that a screen reader could not name.
CONTROLS = "input:not([type=hidden]), select, textarea, button, a[href], iframe"
NAMELESS = f"""() => [...document.querySelectorAll('{CONTROLS}')]
  .filter((each) => each.checkVisibility())
  .filter((each) => !(each.labels && each.labels.length) && !each.getAttribute('aria-label') && !each.title
    && !each.textContent.trim())
  .map((each) => each.outerHTML)"""
TWICE = (
    "() => [...document.querySelectorAll('[id]')].map((each) => each.id).filter((id, n, all) => all.indexOf(id) !== n)"
)


def test_contacts_a_segment_and_an_email_come_about_without_a_shell(
    start: Start, engine: Engine, tab: Page, tmp_path: Path
) -> None:
    world = World(engine, tmp_path)
    tab.set_viewport_size({"width": 1440, "height": 900})
    problems: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        # What is written into an email must not run, and the browser says that it did not.
        if message.type == "error" and not message.text.startswith("Blocked script execution"):
            problems.append(message.text)

    tab.on("console", heard)
    tab.on("response", lambda answer: problems.append(answer.url) if answer.status >= 500 else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    (tmp_path / "list.csv").write_text(LIST)
    port = free_port()
    with start("up", "--port", port):
        eventually(lambda: is_ready(port))
        address = f"http://127.0.0.1:{port}"
        tab.goto(f"{address}/campaigns")
        tab.get_by_role("link", name="First steps").click()
        tab.get_by_role("link", name="Import contacts").click()
        tab.get_by_label("File").set_input_files(tmp_path / "list.csv")
        tab.get_by_role("button", name="Upload").click()
        expect(tab.get_by_text("2 rows can be imported. 1 row would be rejected.")).to_be_visible()
        tab.locator("summary", has_text="Country").click()
        tab.get_by_label("Import “Country” as").select_option("field")
        tab.get_by_label("Name of the field for “Country”").fill("country")
        tab.get_by_role("button", name="Import", exact=True).click()
        expect(tab.get_by_role("link", name="Download rejected rows")).to_be_visible()
        # A segment by rule: a change of the operator keeps the place and what is typed; the count follows.
        tab.goto(f"{address}/segments")
        tab.get_by_role("link", name="New segment").click()
        tab.get_by_label("Name").fill("In France")
        tab.get_by_role("button", name="Create and set a rule").click()
        tab.get_by_role("button", name="Add a rule").click()
        tab.get_by_role("button", name="Add condition").click()
        tab.get_by_label("Field", exact=True).fill("country")
        tab.get_by_label("Comparison").select_option("in")
        expect(tab.get_by_placeholder("separated by commas")).to_be_visible()
        expect(tab.get_by_label("Field", exact=True)).to_have_value("country")
        tab.get_by_label("Value").fill("FR, BE")
        expect(tab.locator("#rule-count")).to_have_text("1 of 2 contacts matches.")
        tab.get_by_role("button", name="Add group").click()
        expect(tab.locator("fieldset.rule-group")).to_have_count(2)
        tab.locator("#rule-1").get_by_role("button", name="Remove").click()
        expect(tab.locator("fieldset.rule-group")).to_have_count(1)
        assert tab.evaluate(NAMELESS) == []
        # Enter in a field reviews, and removes nothing.
        tab.get_by_label("Value").press("Enter")
        expect(tab.get_by_text("1 contact is added.")).to_be_visible()
        tab.get_by_role("button", name="Apply").click()
        expect(tab.get_by_role("link", name="Ann", exact=True)).to_be_visible()
        assert world.inside("in-france") == {"ann@example.com"}
        # An email whose preview follows, on a phone and in the dark, without running what is in it.
        tab.goto(f"{address}/emails/+new")
        tab.get_by_label("Subject").fill("Welcome {{ contact.first_name }}")
        tab.get_by_label("HTML").fill("<p id='dear'>Dear {{ contact['first_name'] }}</p><script>top.ran = 1</script>")
        tab.locator("#preview_contact").press_sequentially("ann")
        offered = tab.locator("#preview_contact-found option")
        expect(offered).to_have_count(1)
        assert "Ann" in (offered.get_attribute("label") or "")
        tab.locator("#preview_contact").fill(offered.get_attribute("value") or "")
        expect(tab.frame_locator("iframe.preview").locator("#dear")).to_have_text("Dear Ann")
        tab.get_by_label("Phone").check()
        assert tab.evaluate("window.ran") is None
        tab.get_by_role("button", name="Save").last.click()
        expect(tab.get_by_role("heading", name="welcome")).to_be_visible()
        expect(tab.get_by_text("There is no link to unsubscribe")).to_be_visible()
        # Every page fits, names its controls and uses no id twice.
        for width in (390, 1440):
            tab.set_viewport_size({"width": width, "height": 844})
            for path in (
                *(
                    "/start",
                    "/status",
                    "/users",
                    "/contacts",
                    "/contacts/+new",
                    "/contacts/+import",
                    "/contacts/+import/1",
                ),
                *("/contacts/ann@example.com", "/contacts/ann@example.com/edit", "/segments", "/segments/+new"),
                *("/segments/in-france", "/segments/in-france/edit", "/emails", "/emails/+new"),
                *("/emails/welcome", "/emails/welcome/edit"),
            ):
                tab.goto(f"{address}{path}")
                assert tab.evaluate("document.documentElement.scrollWidth") <= width, path
                assert tab.evaluate(NAMELESS) == [], path
                assert tab.evaluate(TWICE) == [], path
        # Whoever leaves with something typed is asked.
        tab.goto(f"{address}/contacts/+new")
        tab.get_by_label("First name").fill("Cy")
        asked: list[str] = []

        def leave(dialog: Dialog) -> None:
            asked.append(dialog.type)
            dialog.accept()

        tab.on("dialog", leave)
        tab.goto(f"{address}/contacts")
        assert asked == ["beforeunload"]
        tab.close()
    assert problems == []
