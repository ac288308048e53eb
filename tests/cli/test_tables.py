"""Tables on narrow terminals."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from parcours.cli.session import Session
from parcours.ops.settings import Settings

AT = datetime(2026, 6, 1, 9, tzinfo=UTC)
WHO, WHY = "ann.smith@example.com", "the server refused the recipient: 550 5.1.1 no such user here"
# The widest that there are, with what usually stands in them.
LISTINGS: dict[str, tuple[Sequence[str], Sequence[Any]]] = {
    "outbox failed": (
        ("key", "at", "campaign", "step", "contact", "channel", "attempts", "error"),
        ("c1-s12-1204-1-8f3a9c", AT, "welcome-series", "send-the-offer", WHO, "email", 5, WHY),
    ),
    "log": (
        ("contact", "step", "rotation", "result", "at", "due_at", "detail"),
        (WHO, "send-the-offer", 1, "skipped", AT, AT, f"reason: {WHY}"),
    ),
    "contacts list": (
        ("key", "email", "timezone", "points", "stage", "created_at", "last_active_at", "tags"),
        (WHO, WHO, "Europe/Paris", 12, "lead", AT, AT, "customer, newsletter"),
    ),
    "dead-letters list": (("id", "at", "origin", "reason"), ("12", AT, "event", WHY)),
}


def printed(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, width: int, title: str = "") -> str:
    here = Session(Settings())
    here.__dict__["console"] = Console(highlight=False, width=width, file=io.StringIO())
    here.print_table(title, columns, rows)
    return here.console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("name", LISTINGS)
@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_listing_breaks_no_word_however_narrow_the_terminal(name: str, width: int) -> None:
    columns, row = LISTINGS[name]
    said = printed(columns, [row, row], width=width)
    assert max(map(len, said.splitlines())) <= width
    for cell in row:
        for word in cell.split() if isinstance(cell, str) else ():
            assert len(re.findall(re.escape(word), said)) >= 2, word


def test_a_row_that_has_no_room_is_a_paragraph_with_the_names_of_its_cells() -> None:
    columns, row = LISTINGS["outbox failed"]
    assert printed(columns, [row, (*row[:2], None, None, *row[4:])], width=80, title="Given up").splitlines() == [
        "Given up",
        "c1-s12-1204-1-8f3a9c",
        "  at: 2026-06-01 09:00:00 UTC, campaign: welcome-series, step: send-the-offer,",
        "  contact: ann.smith@example.com, channel: email, attempts: 5, error: the server",
        "  refused the recipient: 550 5.1.1 no such user here",
        "c1-s12-1204-1-8f3a9c",
        "  at: 2026-06-01 09:00:00 UTC, contact: ann.smith@example.com, channel: email,",
        "  attempts: 5, error: the server refused the recipient: 550 5.1.1 no such user",
        "  here",
    ]


def test_a_table_that_has_room_is_one() -> None:
    columns, row = LISTINGS["outbox failed"]
    assert printed(columns, [row], width=200).splitlines()[0].split() == list(columns)


texts = st.text(st.sampled_from("ab [/]\n-é"), max_size=40)


@given(st.integers(1, 6).flatmap(lambda n: st.lists(st.lists(texts, min_size=n, max_size=n), min_size=1, max_size=4)))
def test_any_text_can_be_printed(rows: list[list[str]]) -> None:
    columns = [f"column-number-{nth}" for nth in range(len(rows[0]))]
    letters = "".join(printed(columns, rows, width=60))
    for letter in "é":
        assert letters.count(letter) == "".join(map("".join, rows)).count(letter)
