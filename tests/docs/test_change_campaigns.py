"""The how-to about changes works word for word: its commands run in its order, and print what it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.conftest import Run
from tests.docs.pages import blocks

PAGE = "howto/change-campaigns.md"
TAG: dict[str, Any] = {"step": "tag-new", "action": "contact.tags", "with": {"add": ["new"]}}
REMIND: dict[str, Any] = {"step": "remind", "action": "contact.points", "with": {"points": 1}, "after": "2 days"}
SURVEY: dict[str, Any] = {"step": "survey", "action": "contact.tags", "with": {"add": ["asked"]}, "after": "9 days"}
IF_NEW: dict[str, Any] = {"step": "survey", "condition": "contact.tags", "with": {"tags": ["new"]}}
LATER = {**REMIND, "after": "5 days"}


def file_of(*steps: dict[str, Any], segments: Sequence[str] = ("newsletter", "webinar")) -> dict[str, Any]:
    return {"campaign": "welcome", "published": True, "sources": {"segments": [*segments]}, "steps": [*steps]}


# What stands in the file when each command of the page is typed.
FIRST = file_of(TAG, REMIND, SURVEY)
STORY = [
    FIRST,
    file_of(TAG, REMIND, SURVEY, segments=["newsletter"]),
    *[file_of(TAG, LATER, SURVEY)] * 2,
    file_of(TAG, LATER),
    file_of(TAG, LATER, IF_NEW),
    *[file_of(TAG, LATER)] * 3,
]


class Shown(NamedTuple):
    """A command of the page, and what is printed below it."""

    command: str
    printed: list[str]


def commands_of(page: str) -> list[Shown]:
    found: list[Shown] = []
    for block in blocks(page):
        if block.language != "console":
            continue
        for line in block.text.splitlines():
            if line.startswith("$ "):
                found.append(Shown(line.removeprefix("$ "), []))
            else:
                found[-1].printed.append(line)
    return [each for each in found if each.printed]


def plain(line: str) -> str:
    """Return a line without what differs from day to day and from one person to the next."""
    line = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", line)
    line = re.sub(r"(TIME\s+)[\w.@-]+", r"\1WHO", line)
    return " ".join(re.sub("─+", "─", line).split())


def test_every_command_prints_what_the_page_shows(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "welcome.yaml"
    for segment, first, last in (("newsletter", 1, 8), ("webinar", 9, 12)):
        (tmp_path / "people.csv").write_text("key\n" + "".join(f"c{n}\n" for n in range(first, last + 1)))
        assert run("segments", "create", segment).returncode == 0
        assert run("contacts", "import", "people.csv", "--segment", segment).returncode == 0
    shown, story = commands_of(PAGE), [*STORY]
    # The page shows the step that becomes another kind beside the one that is removed, whose version it needs.
    shown.insert(4, shown.pop(5))
    story.insert(4, story.pop(5))
    assert len(shown) == len(story)
    for said, data in zip(shown, story, strict=True):
        file.write_text(yaml.safe_dump(data, sort_keys=False))
        program, *words = shlex.split(said.command)
        assert program == "parcours"
        done = run(*words, *(["--yes"] if words[1] in ("apply", "rollback") and "--yes" not in words else []))
        assert done.returncode == 0, (said.command, done.stderr)
        printed = [plain(line) for line in done.stdout.splitlines()]
        assert [plain(line) for line in said.printed] == [line for line in printed if line], said.command
