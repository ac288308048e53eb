"""Statements in `sql/TOPIC.sql`, each under a `-- name:` line."""

import re
from functools import cache
from pathlib import Path

from sqlalchemy import TextClause, text

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def statements(topic: str) -> dict[str, TextClause]:
    """Return the statements of `sql/{topic}.sql` by name.

    Comment lines are dropped before binding, since a `:word` in them would become a
    parameter.
    """
    source = (Path(__file__).parent / "sql" / f"{topic}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(source)
    found: dict[str, TextClause] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
        found[name] = text("\n".join(lines).strip().rstrip(";"))
    return found
