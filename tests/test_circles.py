"""No module imports itself in a circle, not even for its types."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

HERE = Path(__file__).parent.parent
ROOMS = {
    "parcours.cli": "parcours/cli",
    **{f"parcours.{room}": room for room in ("web", "services", "workers", "ops", "producers", "db", "domain")},
}


def modules() -> dict[str, Path]:
    found = {}
    for name, folder in ROOMS.items():
        for path in (HERE / folder).rglob("*.py"):
            parts = path.relative_to(HERE / folder).with_suffix("").parts
            found[".".join((name, *(part for part in parts if part != "__init__")))] = path
    return found


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """Return what a module imports as it is loaded, or would for its types; not what its functions import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{each.name}" for each in node.names if f"{node.module}.{each.name}" in known}
            found |= {node.module} if any(f"{node.module}.{each.name}" not in known for each in node.names) else set()
        waiting += ast.iter_child_nodes(node)
    return found & set(known)


def test_no_circle_of_imports() -> None:
    known = modules()
    try:
        TopologicalSorter({name: imported(path, known) - {name} for name, path in known.items()}).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
