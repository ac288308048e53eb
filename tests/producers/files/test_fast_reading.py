"""The fast reader of campaign files, of libyaml, reads what ours reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from parcours.producers.files import campaigns, comments
from parcours.producers.files.campaigns import Loader, document_of, fast_loader, write
from parcours.producers.files.comments import with_notes

FILE = Path("campaign.yaml")
PIECES = (
    *("a", "b: ", "- ", "\n", "\n  ", "\n    ", "{", "}", "[", "]", ",", ":", "|", "|-", "|2", " >", "#x", " # y", "'"),
    *('"', "&a ", "!!str ", "!x ", "---", "...", "é", "😀", "\x85", "\ufeff", "\t", "<<: ", "0o7", "01", "1.5", "~"),
    *(
        "yes",
        "\\x41",
        " ",
        "\r\n",
        "\r",
        "@",
        "`",
        "%",
        "-",
        ":a",
        "\u00a0",
        "''",
        "--- ",
        "\\\n",
        "2026-03-31",
        "09:30",
    ),
)
needs_libyaml = pytest.mark.skipif(not yaml.__with_libyaml__, reason="the YAML package is without libyaml")


def flat(node: yaml.Node) -> Any:
    """Return a node and all below it, with where each begins and ends."""
    value = node.value
    if isinstance(node, yaml.MappingNode):
        value = [(flat(name), flat(below)) for name, below in node.value]
    elif isinstance(node, yaml.SequenceNode):
        value = [flat(below) for below in node.value]
    marks = [(mark.line, mark.column, mark.index) for mark in (node.start_mark, node.end_mark)]
    # Where nothing stands, it may be before or behind a space.
    return node.tag, value, getattr(node, "style", None) or None, marks if value else marks[0][0]


@needs_libyaml
@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_what_the_fast_reader_takes_is_what_ours_reads(text: str) -> None:
    text += "\n"
    fast = fast_loader(text)
    if fast is None:
        return
    try:
        found = [flat(each) for each in yaml.compose_all(text, fast)]
    except yaml.YAMLError:
        # Read again by ours, which says why.
        return
    assert found == [flat(each) for each in yaml.compose_all(text, Loader)]


@needs_libyaml
def test_a_text_with_emoji_comments_and_blocks_is_read_fast_with_the_same_comments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = (
        "# 😀 first\nsteps:\n  - action: x  # é\n    with:\n      body: |  # head\n        # no comment\n        text\n"
    )
    assert fast_loader(text) is not None
    found, said = document_of(FILE, text).data, with_notes(FILE, text)
    for module in (campaigns, comments):
        monkeypatch.setattr(module, "fast_loader", lambda _text: None)
    assert (document_of(FILE, text).data, with_notes(FILE, text)) == (found, said)


def test_what_is_written_can_be_read_fast() -> None:
    text = write({"campaign": "c", "name": "Ready? Go: #1", "steps": [{"with": {"body": "one\ntwo"}}]})
    assert (fast_loader(text) is not None) == yaml.__with_libyaml__
    assert write(document_of(FILE, text).data) == text  # type: ignore[arg-type]
