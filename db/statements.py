"""Statements in `.sql` files beside the module that runs them, each under a `-- name:` line."""

import re
from functools import cache
from pathlib import Path

from sqlalchemy import TextClause, text

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def statements(module: str, name: str | None = None) -> dict[str, TextClause]:
    """Return the statements of the file beside a module (`__file__`), of its own name or another, by their names.

    Comment lines are dropped before binding, since a `:word` in them would become a
    parameter.
    """
    place = Path(module)
    source = place.with_name(f"{name or place.stem}.sql").read_text(encoding="utf-8")
    parts = _NAME.split(source)
    found: dict[str, TextClause] = {}
    for each, body in zip(parts[1::2], parts[2::2], strict=True):
        lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
        found[each] = text("\n".join(lines).strip().rstrip(";"))
    return found


def like(event_type: str) -> str:
    """Return a pattern for LIKE of an event type in which `*` is anything."""
    return re.sub(r"([%_\\])", r"\\\1", event_type).replace("*", "%")
