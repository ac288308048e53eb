"""Whoever leaves a page with something typed is asked first, and whoever deletes a draft as well."""

from __future__ import annotations

import re

from fastapi.testclient import TestClient

from parcours.web.pages.rendering import TEMPLATES
from tests.web.pages.test_overview_pages import text_of
from tests.web.pages.test_sign_in import token_of
from tests.workers.worlds import World

# Where each change is stored at once, what is typed is only looked at, or one comes to type one word or a password.
NOTHING_TO_LOSE = {
    *("build/panel.html", "build/page.html", "build/settings.html", "build/parts.html"),
    *("overview/try.html", "overview/ahead.html", "campaigns/review.html"),
    *("confirm.html", "invitation.html", "sign_in.html"),
}
# What somebody types into.
TYPED = re.compile(
    r"<textarea|(?:text|area|contact)_field\(|<input(?![^>]*type=\"(?:hidden|checkbox|radio|file)\")",
)


def test_a_form_that_one_types_into_asks_before_it_is_left() -> None:
    lost = [
        name
        for path in sorted(TEMPLATES.rglob("*.html"))
        if (name := str(path.relative_to(TEMPLATES))) not in NOTHING_TO_LOSE
        for form in re.findall(r'(?s)<form\b[^>]*method="post".*?</form>', path.read_text(encoding="utf-8"))
        if TYPED.search(form) and "data-unsaved" not in form
    ]
    assert lost == []


def test_a_draft_is_deleted_after_a_question(http: TestClient, world: World) -> None:
    token = token_of(http.get("/drafts/+new"))
    draft = http.post("/drafts", data={"csrf": token, "name": "Spring", "template": "empty"}).url.path
    listed = http.get("/drafts").text
    assert f'href="{draft}/delete"' in listed
    assert f'action="{draft}/delete"' not in listed
    asked = http.get(f"{draft}/delete")
    assert "Delete the draft “Spring”?" in text_of(asked.text)
    assert "this cannot be undone" in text_of(asked.text)
    assert "Spring" in text_of(http.get("/drafts").text)
    gone = http.post(f"{draft}/delete", data={"csrf": token_of(asked)})
    assert "The draft was deleted." in text_of(gone.text)
    # In another tab it is still listed.
    assert http.get(f"{draft}/delete").status_code == 404
    assert "The draft was gone already." in text_of(http.post(f"{draft}/delete", data={"csrf": token_of(asked)}).text)
