"""The scenarios of the examples, and of the page about them, pass as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parcours.services.scenarios import run_scenarios
from parcours.testing import check_scenarios
from tests.conftest import ROOT
from tests.docs.pages import titled

EXAMPLES = ROOT / "examples"
# Examples that hold campaigns or segments, and no packages alone.
WITH_FILES = sorted(
    {
        path.parent
        for path in EXAMPLES.glob("*/*.yaml")
        if re.search("^(campaign|segment):", path.read_text("utf-8"), re.M)
    }
)


def test_every_example_with_a_campaign_or_a_segment_has_a_scenario_and_all_of_them_pass(server: str) -> None:
    files = [folder / "scenario.yaml" for folder in WITH_FILES]
    assert len(files) >= 5
    results = run_scenarios(files, server)
    assert [line for each in results if not each.passed for line in each.lines()] == []
    assert {each.file for each in results} == set(files)


def test_the_example_of_the_page_passes(server: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "test-campaigns.md").read_text("utf-8")
    named = re.findall(r"`([a-z-]+\.yaml)`:\n\n```yaml\n(.*?)```", page, re.DOTALL)
    for name, content in named:
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert [name for name, _ in named] == ["welcome.yaml", "scenario.yaml"]
    check_scenarios(tmp_path / "scenario.yaml", database_url=server)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(named[1][1].replace("points: 5", "points: 6"), encoding="utf-8")
    with pytest.raises(AssertionError, match="expected 6 points; it has 5"):
        check_scenarios(wrong, database_url=server)


def test_the_example_of_a_change_in_the_middle_passes(server: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "test-campaigns.md").read_text("utf-8")
    (welcome,) = re.findall(r"`welcome\.yaml`:\n\n```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "welcome.yaml").write_text(welcome, encoding="utf-8")
    (tmp_path / "second.yaml").write_text(welcome.replace("after: 3 days", "after: 2 days"), encoding="utf-8")
    (tmp_path / "change.yaml").write_text(titled("howto/test-campaigns.md", "change.yaml"), encoding="utf-8")
    check_scenarios(tmp_path / "change.yaml", database_url=server)
