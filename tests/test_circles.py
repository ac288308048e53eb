"""No module imports itself in a circle, not even for its types or inside its functions."""

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


# What functions import of ours, each with its reason: so that something starts faster or stays smaller, never to hide a
# circle. Commands (`parcours.cli`) import what they need as they are called, and are not listed.
INSIDE_FUNCTIONS = {
    ("db.tables.campaigns", "domain.campaign_file.build"): "what reads campaign files is loaded with the first of them",
    ("db.tables.campaigns", "domain.campaign_file.check"): "only campaigns that cannot be read are checked",
    ("db.tables.refusals", "db.tables.campaigns"): "showing a contact needs no campaigns, erasing one does",
    ("db.tables.rules", "domain.segments.parsing"): "what reads rules is loaded with the first of them",
    ("domain.messages.templates", "domain.messages.bounded_liquid"): "Liquid is loaded with the first template",
    ("domain.messages.templates", "domain.messages.liquid_errors"): "and so is what explains its mistakes",
    ("ops.health", "producers.event_queue"): "kombu is for brokers that are neither Redis nor RabbitMQ",
    ("producers.broker", "producers.redis_queues"): "no process loads the library of a broker that it does not use",
    ("services.open_database", "db.embedded"): "most installations have a server of their own",
}


def imported(path: Path, known: dict[str, Path], *, inside: bool = True) -> set[str]:
    """Return what a module imports as it is loaded, or would for its types; and `inside` its functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not inside:
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


def test_what_functions_import_is_listed_with_its_reason() -> None:
    known = modules()
    found = {
        (name.removeprefix("parcours."), each.removeprefix("parcours."))
        for name, path in known.items()
        if not name.startswith("parcours.cli")
        for each in imported(path, known) - imported(path, known, inside=False)
    }
    assert found == set(INSIDE_FUNCTIONS)
