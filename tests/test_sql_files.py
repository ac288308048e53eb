"""Where SQL stands: in `.sql` files beside the Python that runs it, and nowhere else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent
ROOMS = ("parcours/cli", "web", "services", "workers", "ops", "producers", "db", "domain")
# What begins like this is a statement; English has no words in capitals.
_STATEMENT = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE \w+|DELETE FROM|MERGE INTO|WITH \w+ AS|VALUES ?\(|TRUNCATE|COPY|ANALYZE|VACUUM"
    r"|(CREATE|ALTER|DROP|LOCK|COMMENT ON) (TABLE|SCHEMA|INDEX|SYSTEM|SEQUENCE|TYPE)|SET (LOCAL )?\w+ ?(=|TO)"
    r"|RESET \w+|SHOW \w+|LISTEN|NOTIFY)(?!\w)"
)
# Files that may hold some, each with its reason.
ALLOWED = {
    "db/migrations": "a migration is written once and stays as it ran",
    "db/statements.py": "makes statements of what it reads in the files",
}


def modules() -> list[Path]:
    found = [path for room in ROOMS for path in sorted((HERE / room).rglob("*.py"))]
    return [path for path in found if not any(path.relative_to(HERE).is_relative_to(each) for each in ALLOWED)]


def inline(tree: ast.AST) -> Iterator[int]:
    """Yield the lines on which a text begins like a statement, or makes one with `text`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _STATEMENT.match(node.value):
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
            yield from (node.lineno for each in node.names if each.name in ("text", "DDL"))
        if isinstance(node, ast.Attribute) and node.attr == "exec_driver_sql":
            yield node.lineno


@pytest.mark.parametrize("source", ['run("SELECT 1")', 'run(f"SET LOCAL x = {1}")', "from sqlalchemy import text"])
def test_inline_sql_is_recognized(source: str) -> None:
    assert list(inline(ast.parse(source))) == [1]


def test_no_module_has_sql_in_it() -> None:
    found = {
        f"{path.relative_to(HERE)}:{line}"
        for path in modules()
        for line in inline(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not found


def test_what_may_hold_sql_is_there() -> None:
    assert [place for place in ALLOWED if not (HERE / place).exists()] == []


def named(path: Path) -> set[str]:
    """Return the texts of a module that may be names of statements, as patterns: parts of some are filled in."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "\\w+" for part in node.values]
            found.add("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return {each for each in found if re.fullmatch(r"(?!(\\w\+)+$)(\w|\\w\+)+", each)}


def test_every_statement_of_a_file_is_run_by_the_module_beside_it() -> None:
    unused = []
    texts = {path: named(path) for path in modules()}
    for path in (each for room in ROOMS for each in (HERE / room).rglob("*.sql") if "migrations" not in each.parts):
        # Another module of the folder may name the file.
        users = [
            names
            for module, names in texts.items()
            if module == path.with_suffix(".py") or (module.parent == path.parent and path.stem in names)
        ]
        names = re.findall(r"^-- name: (\w+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(names) == len(set(names)), f"{path.name} has a name twice"
        said = re.compile("|".join({each for user in users for each in user}))
        unused += [f"{path.name}: {name}" for name in names if not said.fullmatch(name)]
    assert not unused
