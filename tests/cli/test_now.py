"""`--now`: a whole campaign in simulated time, from outside; and what is no such time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.conftest import Run

CAMPAIGN = """
campaign: c
sources: {segments: [s], forms: [f]}
reentry: always
published: true
steps:
  - step: hello
    action: contact.points
    with: {points: 1}
    after: 1 day
    then:
      - step: paid
        decision: event.happened
        with: {type: order.paid}
        within: 2 days
"""


def said(run: Run, *words: object) -> str:
    done = run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_campaign_goes_from_outside_through_a_month_that_is_long_past(run: Run, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CAMPAIGN, encoding="utf-8")
    (tmp_path / "people.csv").write_text("key\nann\nben\ncem\n", encoding="utf-8")
    said(run, "contacts", "import", "people.csv")
    said(run, "segments", "create", "s")
    said(run, "forms", "create", "f")
    said(run, "campaigns", "apply", "c.yaml", "--yes", "--now", "2021-03-01T08:00:00Z")
    said(run, "segments", "add", "s", "ann", "--now", "2021-03-01T09:00:00Z")
    said(run, "update", "--inline", "--now", "2021-03-01T09:00:00Z")
    said(run, "forms", "submit", "f", "ben", "--now", "2021-03-01T10:00:00Z")
    said(run, "campaigns", "add", "c", "cem", "--now", "2021-03-01T11:00:00Z")
    said(run, "trigger", "--inline", "--now", "2021-03-02T10:30:00Z")
    one = ("events", "publish", "--inline", "--type", "order.paid")
    said(run, *one, "--contact", "ben", "--now", "2021-03-02T12:00:00Z")
    said(run, "campaigns", "pause", "c", "--now", "2021-03-02T13:00:00Z")
    said(run, "campaigns", "publish", "c", "--now", "2021-03-03T13:00:00+01:00")
    said(run, "trigger", "--inline", "--now", "2021-03-04T12:00:00Z")
    said(run, "campaigns", "remove", "c", "cem", "--now", "2021-03-04T13:00:00Z")
    said(run, "segments", "remove", "s", "ann", "--now", "2021-03-04T13:00:00Z")
    lines = [json.loads(line) for line in said(run, "log", "c", "--json").splitlines()]
    assert sorted((line["contact"], line["step"], line["result"], line["at"]) for line in lines) == [
        ("ann", "hello", "done", "2021-03-02T10:30:00Z"),
        ("ann", "paid", "no", "2021-03-04T12:00:00Z"),
        ("ben", "hello", "done", "2021-03-02T10:30:00Z"),
        ("ben", "paid", "yes", "2021-03-02T12:00:00Z"),
        ("cem", "hello", "done", "2021-03-04T12:00:00Z"),
        ("cem", "paid", "cancelled", "2021-03-04T13:00:00Z"),
    ]
    shown = json.loads(said(run, "contacts", "show", "cem", "--json"))["campaigns"][0]
    assert (shown["added_at"], shown["left_at"]) == ("2021-03-01T11:00:00Z", "2021-03-04T13:00:00Z")


QUIET = """
segment: quiet
rule: {condition: contact.field, with: {field: last_active_at, operator: older_than, value: 90 days}}
"""
BIRTHDAY = """
campaign: b
sources: {segments: [quiet], dates: [{field: birthday, every: year, before: 7 days}]}
published: true
steps: [{step: hello, action: contact.points, with: {points: 1}}]
"""


def test_a_segment_by_rule_and_what_explains_it_go_by_a_time_that_is_long_past(run: Run, tmp_path: Path) -> None:
    (tmp_path / "quiet.yaml").write_text(QUIET, encoding="utf-8")
    (tmp_path / "b.yaml").write_text(BIRTHDAY, encoding="utf-8")
    one = ("events", "publish", "--inline", "--contact", "ann", "--now", "2021-03-01T08:00:00Z")
    said(run, *one, "--type", "contact.changed", "--data", '{"fields": {"birthday": "1990-09-20"}}')
    said(run, *one, "--type", "page.hit", "--data", '{"url": "https://example.com"}')
    for now, comes in (("2021-03-02T08:00:00Z", 0), ("2021-06-10T08:00:00Z", 1)):
        assert f"members: {comes} added" in said(run, "segments", "plan", "quiet.yaml", "--now", now)
    said(run, "segments", "apply", "quiet.yaml", "--yes", "--now", "2021-03-02T08:00:00Z")
    assert "0 members" in said(run, "segments", "show", "quiet")
    before = said(run, "segments", "explain", "quiet", "ann", "--now", "2021-03-02T08:00:00Z")
    assert "ann is not in quiet." in before
    assert "can next change with time at 2021-05-30" in before
    said(run, "campaigns", "apply", "b.yaml", "--yes", "--now", "2021-03-02T08:00:00Z")
    said(run, "update", "--inline", "--now", "2021-03-02T08:00:00Z")
    assert "Enters on 2021-09-13" in said(run, "explain", "b", "ann", "--now", "2021-03-02T09:00:00Z")
    said(run, "update", "--inline", "--now", "2021-06-10T08:00:00Z")
    assert "1 members" in said(run, "segments", "show", "quiet")
    assert "Joined 2021-06-10" in said(run, "explain", "b", "ann", "--now", "2021-06-10T09:00:00Z")


COMMANDS = [
    ("update", "--inline"),
    ("trigger", "--inline"),
    ("events", "publish", "--inline", "--type", "order.paid", "--contact", "ann"),
    ("campaigns", "add", "c", "ann"),
    ("campaigns", "remove", "c", "ann"),
    ("campaigns", "publish", "c"),
    ("campaigns", "pause", "c"),
    ("campaigns", "apply", "c.yaml", "--yes"),
    ("segments", "add", "s", "ann"),
    ("segments", "remove", "s", "ann"),
    ("segments", "plan", "quiet.yaml"),
    ("segments", "apply", "quiet.yaml", "--yes"),
    ("segments", "explain", "s", "ann"),
    ("explain", "c", "ann"),
    ("forms", "submit", "f", "ann"),
    ("simulate", "c.yaml", "--contacts", "1"),
]


def test_a_time_at_which_no_campaign_can_run_is_refused_and_leaves_nothing(
    run: Run, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(CAMPAIGN, encoding="utf-8")
    (tmp_path / "quiet.yaml").write_text(QUIET, encoding="utf-8")
    (tmp_path / "people.csv").write_text("key\nann\n", encoding="utf-8")
    said(run, "contacts", "import", "people.csv")
    said(run, "segments", "create", "s")
    said(run, "forms", "create", "f")
    said(run, "campaigns", "apply", "c.yaml", "--yes")

    def tables() -> list[str]:
        with engine.connect() as conn:
            return list(conn.execute(text("SELECT relname FROM pg_class WHERE relkind = 'r' ORDER BY 1")).scalars())

    before = tables()
    wrong = ["1800-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "soon"]
    for nth, command in enumerate(COMMANDS):
        now = wrong[nth % 4] if nth >= 4 else wrong[0]
        done = run(*command, "--now", now)
        assert done.returncode == 2, (command, done.stderr)
        told = " ".join(done.stderr.replace("│", " ").split())
        expected = "--now 'soon' is not a time" if now == "soon" else "use a time between 2000 and 2199"
        assert expected in told, told
        assert tables() == before


@pytest.mark.parametrize("now", ["2026-01-01T00:00:00Z"])
def test_events_for_a_queue_take_no_time(run: Run, now: str) -> None:
    done = run("events", "publish", "--type", "order.paid", "--contact", "ann", "--now", now)
    assert done.returncode == 2
    assert "--now needs --inline" in " ".join(done.stderr.split())
