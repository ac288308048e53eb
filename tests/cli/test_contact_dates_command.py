"""Campaigns that go by dates of contacts, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run

CAMPAIGN = """
campaign: birthday
published: true
sources: {dates: [{field: birthday, every: year, before: 7 days, hour: "09:00"}]}
steps:
  - step: call
    action: contact.points
    with: {points: 1}
    at: {field: call_at, before: 1 day}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "birthday.yaml"
    path.write_text(CAMPAIGN, encoding="utf-8")
    return path


def said(run: Run, *line: object) -> str:
    done = run(*line)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_a_birthday_from_the_plan_to_the_explanation(run: Run, file: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.csv"
    people.write_text(
        "key,timezone,birthday,call_at\nann,Europe/Paris,1990-03-09,\nben,,soon,\ncai,,,\ndan,,1990-03-09,2027-05-01\n"
    )
    said(run, "contacts", "import", people)
    plan = said(run, "campaigns", "plan", file, "--json")
    assert json.loads(plan)[0]["dates"] == {"1 week before birthday, every year, at 09:00": 2}
    shown = " ".join(said(run, "campaigns", "plan", file).split())
    assert "contacts will enter 1 week before birthday, every year, at 09:00; 2 contacts have this date ahead" in shown
    assert "1 contact has a value in the field 'birthday' that is not a date; it does not enter by it" in shown
    said(run, "campaigns", "apply", file, "--yes")
    said(run, "update", "--inline", "--quiet")
    assert "1 week before birthday, every year, at 09:00" in said(run, "campaigns", "show", "birthday")
    explained = said(run, "explain", "birthday", "ann")
    assert "ann was never in birthday.\n" in explained
    assert "A date that comes again lets it enter each time.\n" in explained
    assert "-03-02 09:00:00 Europe/Paris (1 week before birthday, every year, at 09:00).\n" in explained
    assert "'soon' is not a date" in said(run, "explain", "birthday", "ben")
    assert "the field is empty" in said(run, "explain", "birthday", "cai")
    told: dict[str, Any] = json.loads(said(run, "explain", "birthday", "ann", "--json"))
    (date,) = told["dates"]
    assert (date["field"], date["due_local"][4:]) == ("birthday", "-03-02T09:00:00+01:00")
    (found,) = json.loads(said(run, "update", "--inline", "--json", "--now", f"{date['due_at'][:4]}-03-02T12:00:00Z"))[
        "campaigns"
    ]
    assert found == {"campaign": "birthday", "added": 2, "removed": 0, "restarted": 0}
    said(run, "trigger", "--inline", "--quiet", "--now", f"{date['due_at'][:4]}-03-02T12:00:00Z")
    assert "waits at call (action) until the field 'call_at' contains a date" in said(run, "explain", "birthday", "ann")
    assert "until 2027-04-30 00:00:00 UTC (1 day before call_at)" in said(run, "explain", "birthday", "dan")
    again = said(run, "explain", "birthday", "ann")
    assert f"Enters again on {int(date['due_at'][:4]) + 1}-03-02 09:00:00 Europe/Paris" in again


def test_a_simulation_lets_made_up_contacts_in_by_their_dates(run: Run, file: Path) -> None:
    done = said(run, "simulate", file, "--contacts", 100, "--days", 366, "--now", "2026-06-01T09:00:00Z", "--json")
    found = json.loads(done)
    assert found["contacts"]["added"] == 100
    days = {row["day"][:7] for row in found["volume"]}
    assert len(days) > 6


def test_what_is_exported_can_be_applied_again(run: Run, file: Path, tmp_path: Path) -> None:
    said(run, "campaigns", "apply", file, "--yes")
    exported = tmp_path / "exported.yaml"
    exported.write_text(said(run, "campaigns", "export", "birthday"))
    assert exported.read_text().startswith("format: 2\ncampaign: birthday\n")
    assert "no changes" in said(run, "campaigns", "apply", exported, "--yes")
