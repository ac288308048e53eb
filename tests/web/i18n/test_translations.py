"""Every text of the pages is there in every language, with the same names to fill in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from jinja2.ext import extract_from_ast

from parcours import web
from parcours.domain.events.table import EVENT_TYPES
from parcours.web.i18n.language import (
    LANGUAGES,
    Reader,
    _,
    _n,
    catalogue,
    chosen,
    day,
    instant,
    number,
    percent,
    speaking,
    typed_number,
)
from parcours.web.pages.rendering import TEMPLATES, environment

MARKS = ("_", "_n", "marked", "said")
OTHERS = [language for language in LANGUAGES if language != "en"]


def marked_texts() -> set[str]:
    """Return every text that templates and code mark for translation, and the labels of event types."""
    return {*_in_templates(), *_in_code(), *(each.label for each in EVENT_TYPES.values())}


def _in_templates() -> Iterator[str]:
    for path in TEMPLATES.rglob("*.*"):
        tree = environment().parse(path.read_text(encoding="utf-8"))
        for _line, function, texts in extract_from_ast(tree, gettext_functions=MARKS):
            found = texts if isinstance(texts, tuple) else (texts,)
            yield from [text for text in found if text][: 2 if function == "_n" else 1]


def _in_code() -> Iterator[str]:
    for path in Path(web.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MARKS:
                for argument in node.args[: 2 if node.func.id == "_n" else 1]:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield argument.value


@pytest.mark.parametrize("language", OTHERS)
def test_every_marked_text_has_a_translation_and_no_translation_is_left_over(language: str) -> None:
    marked, translated = marked_texts(), catalogue(language).keys()
    assert marked - translated == set()
    assert translated - marked == set()


@pytest.mark.parametrize("language", OTHERS)
def test_translations_fill_in_what_their_text_does(language: str) -> None:
    for text, translation in catalogue(language).items():
        assert sorted(re.findall(r"\{\w*\}", translation)) == sorted(re.findall(r"\{\w*\}", text)), text


@pytest.mark.parametrize(
    ("cookie", "accept", "language"),
    [
        (None, "fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        (None, "de, en;q=0.5, fr;q=0.7", "fr"),
        (None, "fr;q=0, en", "en"),
        (None, "en; q=0.5, fr; q=0.7", "fr"),
        (None, "de", "en"),
        (None, ";;q=x,,", "en"),
        ("fr", "en", "fr"),
        ("xx", "fr", "fr"),
    ],
)
def test_the_language_is_the_chosen_one_else_what_the_browser_likes_best(
    cookie: str | None, accept: str, language: str
) -> None:
    assert chosen(cookie, accept) == language


def test_dates_and_numbers_are_written_as_the_language_has_them() -> None:
    at = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
    with speaking(Reader("en", ZoneInfo("Europe/Paris"))):
        assert instant(at) == "2 Mar 2026, 00:30"
        assert [number(1234567), number(1234.56), percent(0.256)] == ["1,234,567", "1,234.6", "26%"]
        near = (0.0, 0.0001, 6 / 3300, 0.05, 0.0999, 0.995, 0.9999, 1.0)
        assert [percent(each) for each in near] == ["0%", "<0.1%", "0.2%", "5%", "10%", "99.5%", ">99.9%", "100%"]
        assert _n("{n} active contact.", "{n} active contacts.", 0) == "0 active contacts."
    with speaking(Reader("fr", UTC)):
        assert instant(at) == "1er mars 2026 à 23:30"
        assert day(date(2026, 8, 2)) == "2 août 2026"
        assert [number(1234567), number(1234.5)] == ["1\u202f234\u202f567", "1\u202f234,5"]
        assert percent(0.256) == "26\u202f%"
        assert _n("{n} active contact.", "{n} active contacts.", 0) == "0 contact actif."


@pytest.mark.parametrize(
    ("text", "french"),
    [
        ("1500,5", 1500.5),
        ("1 500,5", 1500.5),
        ("1\u202f500\u00a0000", 1500000),
        ("-3", -3),
        ("12 34", None),
        ("1500.5", None),
        ("1,5,5", None),
        ("Lyon", None),
        ("", None),
    ],
)
def test_a_number_is_typed_as_the_language_writes_it(text: str, french: float | None) -> None:
    assert typed_number(text) is None
    with speaking(Reader("fr", UTC)):
        assert typed_number(text) == french


def test_what_a_name_holds_is_not_filled_in_again() -> None:
    assert _("Copy “{name}”?", name="{0.__class__}") == "Copy “{0.__class__}”?"
