"""What pages have in common: parts that are kept from one answer to the next."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest
from jinja2 import Environment

from parcours.web.i18n.language import Reader, speaking
from parcours.web.pages import rendering

WRITTEN = """{% macro greeting(name) %}<b>{{ _("Hello") }} {{ name }}</b>{% endmacro %}{{ once(greeting, name) }}"""


def _written(name: str, language: str) -> str:
    made = Environment(autoescape=True)
    made.globals.update(once=rendering.once, _=lambda text: f"{text} ({language})")
    with speaking(Reader(language, ZoneInfo("UTC"))):
        return made.from_string(WRITTEN).render(name=name)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_KEPT", {})


def test_a_part_is_made_once_for_what_it_is_given_and_for_each_language() -> None:
    assert _written("<Ann>", "en") == "<b>Hello (en) &lt;Ann&gt;</b>"
    assert _written("<Ann>", "fr") == "<b>Hello (fr) &lt;Ann&gt;</b>"
    assert _written("Zoé", "fr") == "<b>Hello (fr) Zoé</b>"
    assert len(rendering._KEPT) == 3
    _written("Zoé", "fr")
    assert len(rendering._KEPT) == 3


def test_no_more_is_kept_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "_MOST_KEPT", 5)
    for n in range(12):
        assert _written(str(n), "en") == f"<b>Hello (en) {n}</b>"
        assert len(rendering._KEPT) <= 5
