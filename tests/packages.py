"""Packages of examples as an installer would leave them: their code and their entry points."""

from __future__ import annotations

import tomllib
from pathlib import Path


def install(package: Path, folder: Path) -> Path:
    """Install an example into a folder, which must then be on the path; return the folder."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{key} = {value}" for key, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    for module in package.glob("*.py"):
        (folder / module.name).write_bytes(module.read_bytes())
    return folder
