"""The command works in a folder, and beside packages, whose modules have the names of our folders."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("settings", "db", "web", "domain", "workers", "producers", "services", "ops")


@pytest.mark.parametrize(
    "command", [["--help"], ["steps", "list"], ["db", "check"], ["web", "--help"], ["worker", "--help"]]
)
def test_python_m_parcours_beside_modules_of_the_same_names(command: list[str], tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('this is not for Parcours')\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PARCOURS_")}
    done = subprocess.run(
        [sys.executable, "-m", "parcours", *command],
        cwd=tmp_path,
        env={
            **environment,
            "PARCOURS_HOME": str(tmp_path / "home"),
            "PARCOURS_DATABASE_URL": "postgresql://127.0.0.1:9/none",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "this is not for Parcours" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == (1 if command == ["db", "check"] else 0), done.stderr
