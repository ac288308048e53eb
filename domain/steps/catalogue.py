"""The catalogue of step types as a page of Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parcours.domain.steps.types import Kind, StepType

# What may become of a contact at a step, by its kind; waits that end early are `cancelled` besides.
_OUTCOMES = {
    Kind.ACTION: "`done`, `skipped` with the reason, `failed` after the last attempt",
    Kind.DECISION: "`yes` when it happens, `no` at the deadline",
    Kind.CONDITION: "`yes`, `no`",
}


def page(types: Sequence[StepType], tests: Mapping[tuple[Kind, str], Sequence[str]], *, renew: str) -> str:
    """Return the page: a table of all types, then each with its description, properties and outcomes.

    `tests` has the paths of the test files that name a type: without any, the table has no column for them. `renew` is
    the command that prints the page.
    """
    columns = ["kind", "type", "Mautic", *(["tests"] if tests else [])]
    lines = [
        "# Step types",
        "",
        f"Printed by `{renew}` from the types themselves; change those, not this page.",
        "",
        *_table(
            columns,
            [
                [
                    each.kind.value,
                    f"[`{each.name}`](#{_anchor(each)})",
                    f"`{each.reference}`" if each.reference else "",
                    ", ".join(tests.get((each.kind, each.name), ())),
                ][: len(columns)]
                for each in types
            ],
        ),
    ]
    for each in types:
        lines += ["", *_section(each)]
    return "\n".join(lines) + "\n"


def _section(found: StepType) -> Iterator[str]:
    yield f"## {found.kind.value} {found.name}"
    yield ""
    yield found.description.strip()
    yield ""
    rows = list(_properties(found))
    if rows:
        yield from _table(("property", "type", "default", "meaning"), rows)
    else:
        yield "No properties."
    yield ""
    if found.refers_to:
        named = (f"`{name}` ({what.replace('_', ' ')})" for name, what in found.refers_to.items())
        yield f"Refers to others by their keys: {', '.join(named)}."
        yield ""
    if found.kind is Kind.DECISION:
        events = "those that its properties name" if callable(found.events) else _codes(sorted(found.events))
        yield f"Looks at events: {events}."
        yield ""
    yield f"Outcomes: {_OUTCOMES[found.kind]}." + (" Nothing can follow it." if found.last else "")


def _properties(found: StepType) -> Iterator[tuple[str, str, str, str]]:
    schema = found.properties.model_json_schema(by_alias=False)
    for name, each in schema.get("properties", {}).items():
        default = "" if name in schema.get("required", ()) else f"`{json.dumps(each.get('default'))}`"
        required = "**required**" if name in schema.get("required", ()) else default
        yield f"`{name}`", _type(each, schema.get("$defs", {})), required, each.get("description", "")


def _type(schema: Mapping[str, Any], named: Mapping[str, Any]) -> str:
    """Return what a property takes in a few words."""
    if "$ref" in schema:
        return _type(named[schema["$ref"].rsplit("/", 1)[-1]], named)
    if "enum" in schema or "const" in schema:
        return _codes(schema.get("enum", [schema.get("const")]))
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        # That it may be left out is said by its default.
        return " or ".join(dict.fromkeys(_type(each, named) for each in choices if each != {"type": "null"}))
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}), named)}"
        case "object" if schema.get("properties"):
            return "mapping of " + ", ".join(f"`{name}`" for name in schema["properties"])
        case "object":
            return f"mapping to {_type(schema['additionalProperties'], named)}" if _maps(schema) else "mapping"
        case "string":
            return "text"
        case "integer":
            return "whole number"
        case "number":
            return "number"
        case "boolean":
            return "`true`, `false`"
    return "any value"


def _maps(schema: Mapping[str, Any]) -> bool:
    return isinstance(schema.get("additionalProperties"), Mapping)


def _codes(values: Sequence[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _anchor(found: StepType) -> str:
    return f"{found.kind.value}-{found.name.replace('.', '')}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
