"""`parcours steps`: the step types."""

import re

import pytest
from typer.testing import CliRunner

from parcours.cli.steps import app
from parcours.domain.steps.registry import all_types
from tests.conftest import ROOT, Run


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> str:
    """The page as the command prints it now."""
    monkeypatch.chdir(ROOT)
    printed = CliRunner().invoke(app, ["catalogue", "--tests", "tests"])
    assert printed.exit_code == 0, printed.output
    return printed.output


def test_every_type_and_property_is_on_the_page_explained_and_tested(page: str) -> None:
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert list(sections) == [f"{each.kind.value} {each.name}" for each in all_types()]
    rows = {tuple(row.split(" | ")[:2]): row for row in page.splitlines() if row.startswith("| ")}
    for each in all_types():
        section = sections[f"{each.kind.value} {each.name}"]
        assert each.description.strip() in section
        assert "Outcomes: " in section
        for name, field in each.properties.model_fields.items():
            row = next(line for line in section.splitlines() if line.startswith(f"| `{name}` | "))
            assert field.description, f"{name} of {each.name} has no description"
            assert row.count(" | ") >= 3
            assert ("**required**" in row) is field.is_required()
        anchor = f"{each.kind.value}-{each.name.replace('.', '')}"
        row = rows[f"| {each.kind.value}", f"[`{each.name}`](#{anchor})"]
        assert re.search(r"test_\w+\.py", row), f"no test names {each.kind.value} {each.name}"


def test_without_tests_the_command_works_anywhere_and_a_missing_folder_is_wrong_usage(run: Run) -> None:
    done = run("steps", "catalogue")
    assert done.returncode == 0
    assert done.stdout.startswith("# Step types\n\nPrinted by `parcours steps catalogue` from")
    assert run("steps", "catalogue", "--tests", "nowhere").returncode == 2
