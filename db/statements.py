"""Statements in `.sql` files beside the module that runs them, each under a `-- name:` line.

Two things can't be parameters of a statement, and both are written in the file as well: another form of some of its
lines (`-- when`), which `variant` takes, and names of tables, columns and schemas (`{table}`), which `filled` puts in.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path

from sqlalchemy import TextClause, text

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)
# Under a line: what stands in its place in the variant of that name.
_WHEN = re.compile(r"^\s*-- when (\w+):(.*)$")
Name = str | tuple[str, ...]
_GAP = re.compile(r"\{(\w+)\}")


@cache
def statements(module: str, name: str | None = None) -> dict[str, TextClause]:
    """Return the statements of the file beside a module (`__file__`), of its own name or another, by their names."""
    place = Path(module)
    return {each: _statement(source) for each, source in _sources(place.with_stem(name or place.stem)).items()}


@cache
def variant(module: str, name: str, *forms: str) -> TextClause:
    """Return a statement with the lines that its `-- when FORM:` comments give, each in place of the line above."""
    return _statement(_sources(Path(module))[name], forms)


def filled(statement: TextClause, **gaps: Name | Sequence[Name] | datetime) -> TextClause:
    """Return a statement with its gaps (`{table}`) filled: with a name, with several, or with the bound of a partition.

    Names are quoted, so that nothing but a name comes of them; one of a tuple has dots between its parts.
    """
    return text(_GAP.sub(lambda gap: _written(gaps[gap[1]]), statement.text))


def composed(statement: TextClause, **parts: str) -> TextClause:
    """Return a statement whose gaps (`{rule}`) are filled with parts of other statements, and with nothing else.

    Values are bound as ever: whoever writes a part has made it of files alone.
    """
    return text(_GAP.sub(lambda gap: parts[gap[1]], statement.text))


@cache
def _sources(module: Path) -> dict[str, str]:
    source = module.with_suffix(".sql").read_text(encoding="utf-8")
    parts = _NAME.split(source)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _statement(source: str, forms: Sequence[str] = ()) -> TextClause:
    lines: list[str] = []
    for line in source.splitlines():
        other = _WHEN.match(line)
        if other is not None:
            if other[1] in forms:
                above = lines[-1]
                lines[-1] = above[: len(above) - len(above.lstrip())] + other[2].strip()
        # Other comments are dropped before binding, since a `:word` in them would become a parameter.
        elif not line.lstrip().startswith("--"):
            lines.append(line)
    return text("\n".join(lines).strip().rstrip(";"))


def _written(value: Name | Sequence[Name] | datetime) -> str:
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'"
    if isinstance(value, str):
        # A colon would become a parameter.
        return '"' + value.replace('"', '""').replace(":", "\\:") + '"'
    return ("." if isinstance(value, tuple) else ", ").join(map(_written, value))


def like(event_type: str) -> str:
    """Return a pattern for LIKE of an event type in which `*` is anything."""
    return re.sub(r"([%_\\])", r"\\\1", event_type).replace("*", "%")
