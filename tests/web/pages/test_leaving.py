"""Whoever leaves a page with something typed is asked first, wherever one types more than a word."""

from __future__ import annotations

import re

from parcours.web.pages.rendering import TEMPLATES

# Where each change is stored at once, what is typed is only looked at, or nothing is typed.
NOTHING_TO_LOSE = {
    *("build/panel.html", "build/page.html", "build/settings.html", "build/parts.html"),
    *("overview/try.html", "campaigns/review.html"),
}


def test_a_form_with_a_text_area_or_a_mapping_asks_before_it_is_left() -> None:
    lost = [
        name
        for path in sorted(TEMPLATES.rglob("*.html"))
        if (name := str(path.relative_to(TEMPLATES))) not in NOTHING_TO_LOSE
        for form in re.findall(r'(?s)<form\b[^>]*method="post".*?</form>', path.read_text(encoding="utf-8"))
        if re.search(r"<textarea|area_field\(|name=\"own_field\"", form) and "data-unsaved" not in form
    ]
    assert lost == []
