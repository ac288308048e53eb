"""The tutorial and the README work word for word: their shell blocks run, and the tutorial's print what it shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import blocks

PAGE = "tutorial/first-campaign.md"
END = "--- end of a block ---"


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that the embedded server's user can reach."""
    made = Path(tempfile.mkdtemp(prefix="parcours-tutorial-"))
    made.chmod(0o755)
    yield made
    work = made / "first-campaign"
    if work.exists():
        command = [str(ROOT / ".venv" / "bin" / "parcours"), "db", "stop"]
        subprocess.run(command, cwd=work, env=_environment(made), capture_output=True, check=False)
    shutil.rmtree(made, ignore_errors=True)


@pytest.mark.skipif(not (ROOT / ".venv").exists(), reason="no .venv: run `make venv`")
def test_every_shell_block_runs_and_prints_what_the_page_shows(home: Path) -> None:
    found = [each for each in blocks(PAGE) if each.language in ("sh", "text")]
    script = "set -e\n" + "".join(f"{each.text}\necho '{END}'\n" for each in found if each.language == "sh")
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=_environment(home),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.split(END)
    ran = 0
    for each in found:
        if each.language == "sh":
            ran += 1
            continue
        before = {" ".join(line.split()) for line in "".join(printed[:ran]).splitlines()}
        missing = [line for line in each.text.splitlines() if line.strip() and " ".join(line.split()) not in before]
        assert not missing, f"docs/{PAGE} shows what is not printed: {missing}\n{done.stdout}"


@pytest.mark.skipif(not (ROOT / ".venv").exists(), reason="no .venv: run `make venv`")
def test_the_commands_of_the_readme_move_a_contact(home: Path) -> None:
    found = blocks("../README.md")
    (commands,) = (each.text for each in found if "parcours update" in each.text and each.language == "sh")
    (campaign,) = (each.text for each in found if each.language == "yaml")
    work = home / "first-campaign"
    work.mkdir()
    work.chmod(0o755)
    (work / "welcome.yaml").write_text(campaign, "utf-8")
    environment = _environment(home)
    environment["PATH"] = f"{ROOT / '.venv' / 'bin'}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 contact added, 1 active" in done.stdout


def _environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PARCOURS_", "PYTEST_"))}
    return {**kept, "HOME": str(home), "COLUMNS": "120"}
