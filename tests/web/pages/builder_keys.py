"""What a person does in the builder by keyboard alone, for tests in a browser."""

from __future__ import annotations

from playwright.sync_api import Page, expect


def choose(page: Page, name: str) -> None:
    """Go to a button or a box by its tab stop, and press it."""
    button = page.locator(".offer", has_text=name).first
    for _ in range(120):
        if button.evaluate("each => each === document.activeElement"):
            page.keyboard.press("Enter")
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no way to {name}")


def reach(page: Page, selector: str) -> None:
    """Press Tab until something has the focus."""
    expect(page.locator(selector).first).to_be_visible()
    for _ in range(120):
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"no way to {selector}")


def pick(page: Page, letters: str, value: str) -> None:
    """Choose an option of the list that has the focus by typing its first letters."""
    if page.evaluate("document.activeElement.value") != value:
        page.keyboard.type(letters)
    expect(page.locator(":focus")).to_have_value(value)


def heard(page: Page) -> list[str]:
    """Return a list to which every error of a page is added."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    return problems


def begin_empty(page: Page, address: str, name: str) -> None:
    """Begin a campaign without a template, by keyboard alone."""
    page.goto(f"{address}/drafts/+new")
    reach(page, "#name")
    page.keyboard.type(name)
    reach(page, "[name=template]")
    for _ in range(6):
        if page.evaluate("document.activeElement.value") == "empty":
            break
        page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")


def take_first_segment(page: Page) -> None:
    """Choose the first segment of the settings as a source."""
    reach(page, "[name=segments]")
    page.keyboard.press("Space")
    expect(page.locator("#flashes")).to_contain_text("Settings changed.")


def launch(page: Page) -> None:
    """Review the draft, switch the campaign on and apply it, until its page says that it runs."""
    reach(page, "#effects .button.primary")
    page.keyboard.press("Enter")
    reach(page, "[name=published]")
    page.keyboard.press("Space")
    reach(page, "button.primary")
    page.keyboard.press("Enter")
    expect(page.locator("#state")).to_have_text("Running")
