"""`explain` for who is not in, source by source, and for who waits for a rule; plans of segments and limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Run

CAMPAIGN = """
format: 2
campaign: welcome
published: true
reentry: after_exit
entry: {rate: 2 per hour}
exit:
  - rule: {condition: contact.tags, with: {tags: [customer]}}
sources:
  segments: [french, friends]
  forms: [signup]
  events: [{type: cart.updated}]
steps:
  - step: rich
    decision: contact.matches
    with: {rule: {all: [{condition: contact.points, with: {operator: gte, points: 50}}]}}
    within: 3 days
"""
FRENCH = "segment: french\nrule: {condition: contact.field, with: {field: country, operator: '=', value: FR}}\n"


def said(run: Run, *words: str | Path) -> str:
    done = run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def welcome(run: Run, tmp_path: Path) -> Run:
    people = "".join(f"fr{number},FR,\n" for number in range(5))
    (tmp_path / "people.csv").write_text(f"key,country,tags\nann,BE,\nben,BE,customer\n{people}")
    (tmp_path / "french.yaml").write_text("segment: french\n")
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    said(run, "contacts", "import", tmp_path / "people.csv")
    said(run, "segments", "apply", tmp_path / "french.yaml", "--yes")
    said(run, "segments", "create", "friends")
    said(run, "forms", "create", "signup")
    said(run, "campaigns", "apply", tmp_path / "campaign.yaml", "--yes")
    (tmp_path / "french.yaml").write_text(FRENCH)
    return run


def test_from_a_list_to_a_rule_the_plan_says_who_comes_and_whom_the_limit_holds(welcome: Run, tmp_path: Path) -> None:
    plan = said(welcome, "segments", "plan", tmp_path / "french.yaml")
    assert "members: 5 added, 0 removed; 0 now" in plan
    assert "campaign welcome: 5 contacts join, 0 leave" in plan
    assert "campaign welcome: 3 of them enter later, because of its limit" in plan
    (told,) = json.loads(said(welcome, "segments", "plan", tmp_path / "french.yaml", "--json"))
    assert (told["campaigns"][0]["held"], told["campaigns"][0]["refused"]) == (3, 0)


def test_who_left_the_segment_is_told_until_when_the_grace_runs(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "campaign: c\npublished: true\nsources: {segments: [news]}\nexit_on_leave: true\ngrace: 2 days\n"
        "steps: [{step: a, action: contact.points, with: {points: 1}, after: 9 days}]\n"
    )
    said(run, "segments", "create", "news")
    said(run, "contacts", "create", "ann")
    said(run, "segments", "add", "news", "ann", "--now", "2030-01-01T09:00Z")
    said(run, "campaigns", "apply", file, "--yes", "--now", "2030-01-01T09:00Z")
    said(run, "update", "--inline", "--now", "2030-01-01T09:00Z")
    assert "grace" not in said(run, "explain", "c", "ann")
    said(run, "segments", "remove", "news", "ann", "--now", "2030-01-02T09:00Z")
    said(run, "update", "--inline", "--now", "2030-01-02T09:00Z")
    assert (
        "Is in none of its sources any more. It leaves on 2030-01-04 09:00:00 UTC, unless it comes back before "
        "(grace)." in said(run, "explain", "c", "ann").splitlines()
    )
    assert json.loads(said(run, "explain", "c", "ann", "--json"))["grace_until"] == "2030-01-04T09:00:00Z"


def test_who_never_was_in_is_told_source_by_source(welcome: Run, tmp_path: Path) -> None:
    said(welcome, "segments", "apply", tmp_path / "french.yaml", "--yes")
    assert said(welcome, "explain", "welcome", "ben").splitlines() == [
        "ben was never in welcome and is in none of its segments.",
        "An event begins a run for it: cart.updated.",
        "Source segment french: ben is not in it.",
        "    no: country is FR; now: BE",
        "Source segment friends: ben is not in it.",
        "Source form signup: a contact enters when it submits the form.",
        "An exit rule is true of ben, so only a person can add it:",
        "  yes: the contact has the tag customer; now: customer",
        "Re-entry is `after_exit`: a contact that left can enter again.",
    ]


def test_who_is_in_a_source_but_kept_out_by_an_exit_is_not_told_that_an_update_adds_it(welcome: Run) -> None:
    said(welcome, "segments", "add", "friends", "ben")
    assert said(welcome, "explain", "welcome", "ben").splitlines()[0] == (
        "ben was never in welcome. It is in its source segment friends, but an exit keeps it out."
    )


def test_who_waits_for_a_rule_is_told_condition_by_condition(welcome: Run) -> None:
    said(welcome, "campaigns", "add", "welcome", "ann")
    said(welcome, "trigger", "--inline", "--quiet")
    waits, first, second = said(welcome, "explain", "welcome", "ann").splitlines()[-3:]
    assert waits.startswith("waits at rich (decision) until its rule is true, until ")
    assert waits.endswith("UTC at the latest")
    assert (first, second) == ("  no: all of", "    no: the number of points is at least 50; now: 0")
