"""`parcours campaigns test` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sqlalchemy import Engine, text

from tests.conftest import Run

CAMPAIGN = """
campaign: welcome
sources: {segments: [newsletter]}
steps: [{step: hello, action: email.send, with: {email: welcome-1}, after: 1 day}]
"""
SCENARIO = """
scenario: A day later comes the first email
campaign: welcome.yaml
start: 2026-03-02T09:00:00+01:00
contacts: [{key: ann, timezone: Europe/Paris}]
steps:
  - {at: 0 days, enters: newsletter}
  - {at: 1 day, expect: {sent: hello}}
"""


def test_all_scenarios_run_whatever_the_others_do_and_your_data_is_not_touched(
    run: Run, engine: Engine, tmp_path: Path
) -> None:
    (tmp_path / "welcome.yaml").write_text(CAMPAIGN, encoding="utf-8")
    (tmp_path / "good.yaml").write_text(SCENARIO, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text(SCENARIO.replace("1 day", "23 hours"), encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("steps: [", encoding="utf-8")
    ran = run("campaigns", "test", "broken.yaml", "bad.yaml", "good.yaml", "--junit", "out.xml")
    assert (ran.returncode, ran.stderr) == (1, "")
    assert "bad.yaml:8: ann: expected hello sent; nothing was sent so far\n    Path of ann so far" in ran.stdout
    assert "ok    good.yaml: A day later comes the first email (" in ran.stdout
    assert ran.stdout.endswith("3 scenarios: 1 passed, 1 failed, 1 not run.\n")
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    assert [root.get(name) for name in ("tests", "failures", "errors")] == ["3", "1", "1"]
    with engine.connect() as conn:
        for table in ("contact", "campaign", "segment", "email", "message"):
            assert conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0, table
    lines = [json.loads(line) for line in run("campaigns", "test", "broken.yaml", "--json").stdout.splitlines()]
    assert [(each["scenario"], each["passed"], each["failures"][0]["line"]) for each in lines] == [
        ("broken.yaml", False, 1)
    ]


@pytest.mark.parametrize(
    "arguments", [(), ("good.yaml", "--junit", "nowhere/out.xml"), ("good.yaml", "--jnit", "out.xml")]
)
def test_wrong_usage_is_told_apart_from_failures(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run("campaigns", "test", *arguments)
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
