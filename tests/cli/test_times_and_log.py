"""How the command shows times, and outcomes on a narrow terminal."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console
from sqlalchemy import Engine

from parcours.cli import log
from parcours.cli.session import Session, begin_session
from parcours.domain.time.text import shown
from parcours.ops.settings import Settings
from tests.conftest import Run

TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d\S*(?: \S+)?")
CAMPAIGN = """
campaign: c
published: true
sources: {segments: [s]}
steps:
  - step: point
    action: contact.points
    with: {points: 1}
    then:
      - {step: mail, action: email.send, with: {email: none}}
      - {step: seen, decision: page.hit, yes: [{step: hot, action: contact.points, with: {points: 1}}]}
      - {step: later, action: contact.points, with: {points: 1}, after: 1 day}
"""


@pytest.fixture
def moved(run: Run, tmp_path: Path) -> Run:
    """The command, after contacts moved through a campaign."""
    (tmp_path / "people.csv").write_text("key,timezone\nann,Europe/Paris\n", encoding="utf-8")
    (tmp_path / "c.yaml").write_text(CAMPAIGN, encoding="utf-8")
    for words in ("segments create s", "contacts import people.csv --segment s", "campaigns apply c.yaml --yes"):
        assert run(*words.split()).returncode == 0
    assert run("update", "--inline").returncode == 0
    assert run("trigger", "--inline").returncode == 0
    seen = ("--type", "page.hit", "--contact", "ann", "--data", '{"url": "https://example.com/"}')
    assert run("events", "publish", *seen, "--inline").returncode == 0
    return run


def test_an_instant_is_shown_to_the_second_in_a_timezone_that_is_named() -> None:
    at = datetime(2026, 6, 1, 9, 0, 5, 999_999, tzinfo=UTC)
    assert shown(at, ZoneInfo("Europe/Paris")) == "2026-06-01 11:00:05 Europe/Paris"


@pytest.mark.parametrize(
    ("words", "zone"),
    [
        (("explain", "c", "ann"), "Europe/Paris"),
        (("contacts", "show", "ann"), "Europe/Paris"),
        (("overview", "c"), "UTC"),
        (("log", "c"), "UTC"),
        (("log", "c", "--waiting"), "UTC"),
        (("contacts", "list"), "UTC"),
        (("campaigns", "list"), "UTC"),
    ],
)
def test_all_times_of_a_command_are_of_one_form(moved: Run, words: tuple[str, ...], zone: str) -> None:
    times = TIME.findall(moved(*words).stdout)
    assert times
    for each in times:
        assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d {zone}[,.]?", each), each


def test_an_outcome_is_a_sentence_where_a_table_has_no_room(
    moved: Run, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Session(Settings.model_construct(home=tmp_path, database_url=engine.url.render_as_string(False)))
    here.__dict__["console"] = Console(highlight=False, width=80, file=io.StringIO())
    begin_session(here)
    for waiting in (False, True):
        log.show("c", None, None, waiting, None, None, False)
    here.engine.dispose()
    lines = here.console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    outcomes = [json.loads(line) for line in moved("log", "c", "--json").stdout.splitlines()]
    said = [line.split("  ", 1)[1] for line in lines[:4]]
    assert said[:2] == ["ann  point: done", f"ann  mail: skipped ({outcomes[1]['detail']['reason']})"]
    assert "ann  hot: done" in said
    assert re.fullmatch(r"ann  later: waits \(action\) until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", lines[4])
