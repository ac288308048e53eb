"""`catch_up` from outside: a campaign that is shown, exported, paused and published again."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from tests.conftest import Run

FILE = """\
campaign: slow
published: true
catch_up: {catch_up}
sources: {{segments: [news]}}
steps:
  - {{step: later, action: contact.points, with: {{points: 1}}, after: 1 day}}
"""


@pytest.fixture
def file(run: Run, tmp_path: Path) -> Path:
    people = tmp_path / "people.csv"
    people.write_text("key\na\n")
    assert run("contacts", "import", people).returncode == 0
    assert run("segments", "create", "news").returncode == 0
    assert run("segments", "add", "news", "a").returncode == 0
    return tmp_path / "slow.yaml"


@pytest.mark.parametrize(
    ("catch_up", "shown"),
    [
        ("{skip: 1 day}", "after a pause: skips steps overdue by more than 1 day"),
        ("shift", "after a pause: delays due times by the length of the pause"),
    ],
)
def test_what_is_applied_is_shown_and_exported(run: Run, file: Path, catch_up: str, shown: str) -> None:
    file.write_text(FILE.format(catch_up=catch_up))
    assert run("campaigns", "apply", file, "--yes").returncode == 0
    assert shown in run("campaigns", "show", "slow").stdout
    assert "catch_up" in json.loads(run("campaigns", "show", "slow", "--json").stdout)["definition"]
    file.write_text(run("campaigns", "export", "slow").stdout)
    assert run("campaigns", "plan", file).stdout == "slow: no changes\n"


def test_publish_moves_what_is_due_by_the_length_of_the_pause(run: Run, file: Path, engine: Engine) -> None:
    file.write_text(FILE.format(catch_up="shift"))
    for arguments in (("apply", file, "--yes"), ("pause", "slow")):
        assert run("campaigns", *arguments).returncode == 0
    moment = text("SELECT due_at, anchor_at FROM wait")
    with engine.begin() as conn:
        conn.execute(text("UPDATE campaign_pause SET paused_at = paused_at - interval '3 days'"))
        conn.execute(
            text(
                "INSERT INTO wait (contact_id, step_id, campaign_id, rotation, passage, reason, anchor_at, due_at) "
                "SELECT contact.id, step.id, step.campaign_id, 1, 1, 'delay', now() - interval '4 days', "
                "now() - interval '2 days' FROM contact, step"
            )
        )
        before = conn.execute(moment).one()
    assert run("campaigns", "publish", "slow").stdout.splitlines()[0] == "slow is published."
    with engine.connect() as conn:
        after = conn.execute(moment).one()
        pause = conn.execute(text("SELECT paused_at, resumed_at FROM campaign_pause")).one()
    assert after.due_at - before.due_at == pause.resumed_at - pause.paused_at >= timedelta(days=3)
    assert after.anchor_at - before.anchor_at == after.due_at - before.due_at
