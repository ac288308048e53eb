"""Code blocks of the documentation's pages, for tests that run them."""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.conftest import ROOT


class Block(NamedTuple):
    """A fenced block: its language, what the fence says besides, and its text."""

    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the blocks of a page of docs/, in their order."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    found = re.findall(r"^( *)```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [Block(language, title, _outdented(body, len(indent))) for indent, language, title, body in found]


def titled(page: str, title: str) -> str:
    """Return the one block of a page with a title."""
    (found,) = (each for each in blocks(page) if each.title == title)
    return found.text


def _outdented(text: str, by: int) -> str:
    return "".join(line[by:] for line in text.splitlines(keepends=True))
