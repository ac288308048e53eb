"""Comments of campaign files: which step each is about, and that none is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.campaign_file import edit
from parcours.producers.files.campaigns import CampaignFileError, document_of, write
from parcours.producers.files.comments import with_notes

FILE = Path("campaign.yaml")
COMMENTED = """\
# Made in May
campaign: c  # the key stays
sources:
  # who comes
  segments: [s]
steps:
  # Greets everybody
  #
  # in two lines
  - step: hello  # the first
    action: contact.points
    with: {points: 1}  # one only
    then:
      # below
      - {step: a, action: contact.tags, with: {add: ["#new"]}}  # flow
      - step: b
        decision: page.hit
        # where
        with:
          url: "a#b"
        yes:  # for those
          - step: c
            action: webhook.send
            with:
              body: |  # what is sent
                # content
                text
        # about no
        no:
          - step: d
            action: x
  # the end
# really
"""


def notes(data: Any) -> dict[str | None, str]:
    found = {each.step["step"]: each.step["note"] for each in edit.walk(data) if "note" in each.step}
    return {None: data["note"], **found} if "note" in data else found


def test_a_comment_is_a_note_of_the_step_below_it_or_beside_it() -> None:
    data = with_notes(FILE, COMMENTED)
    assert notes(data) == {
        None: "Made in May\nthe key stays\nwho comes\nthe end\nreally",
        "hello": "Greets everybody\n\nin two lines\nthe first\none only",
        "a": "below\nflow",
        "b": "where\nfor those\nabout no",
        "c": "what is sent",
    }
    assert edit.find(data, "c").step["with"]["body"] == "# content\ntext\n"  # type: ignore[arg-type]


def test_what_is_written_again_has_the_same_notes() -> None:
    data = with_notes(FILE, COMMENTED)
    assert with_notes(FILE, write(data)) == data  # type: ignore[arg-type]


def test_a_note_that_is_there_comes_first_and_none_is_said_twice() -> None:
    text = "campaign: c\nsteps:\n  # more\n  # kept\n  - step: a\n    note: kept\n"
    assert notes(with_notes(FILE, text)) == {"a": "kept\nmore"}


def test_a_text_without_comments_is_what_it_says() -> None:
    text = 'campaign: c\nname: "#1 # no comment"\nsteps: [{step: a, name: b#c}]\n'
    assert with_notes(FILE, text) == document_of(FILE, text).data


def test_a_text_that_is_no_yaml_says_so() -> None:
    with pytest.raises(CampaignFileError):
        with_notes(FILE, "steps: [ # open")


words = st.text(st.characters(codec="utf-8", categories=("L", "N", "Po", "Zs")), min_size=1).map(str.strip)
comments = words.map(lambda text: text.lstrip("#").strip()).filter(bool)


@given(st.lists(st.tuples(st.integers(0, COMMENTED.count("\n")), st.integers(0, 12), comments), max_size=6))
def test_no_comment_is_lost_and_nothing_else_changes(more: list[tuple[int, int, str]]) -> None:
    lines = COMMENTED.replace("body: |  # what is sent\n                # content\n                text", "body: x")
    given_lines = lines.splitlines()
    for at, indent, text in more:
        given_lines.insert(min(at, len(given_lines)), f"{' ' * indent}# {text}")
    text = "\n".join(given_lines) + "\n"
    data = with_notes(FILE, text)
    said = "\n".join(notes(data).values())
    assert all(each in said for _at, _indent, each in more)

    def bare(whole: Any) -> Any:
        if isinstance(whole, dict):
            return {name: bare(value) for name, value in whole.items() if name != "note"}
        return [bare(each) for each in whole] if isinstance(whole, list) else whole

    assert bare(data) == document_of(FILE, text).data
