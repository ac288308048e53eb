"""`parcours steps`: the catalogue."""

from __future__ import annotations

from typing import Annotated

import typer

from domain.errors import NotFoundError
from domain.steps.registry import all_types
from producers.session import session

app = typer.Typer(no_args_is_help=True, help="The catalogue of step types.")

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List every type, with its properties."""
    here = session()
    types = all_types()
    if as_json:
        here.print_json(
            [
                {
                    "type": each.name,
                    "kind": each.kind.value,
                    "description": each.description,
                    "reference": each.reference,
                    "properties": each.properties.model_json_schema(),
                }
                for each in types
            ]
        )
        return
    here.print_table(
        "",
        ("kind", "type", "properties", "what it does"),
        [
            (
                each.kind.value,
                each.name,
                ", ".join(info.alias or name for name, info in each.properties.model_fields.items()),
                each.description.split("\n\n")[0].replace("\n", " "),
            )
            for each in types
        ],
    )


@app.command()
def show(type_: Annotated[str, typer.Argument(metavar="TYPE")]) -> None:
    """Show a type; an action and a condition may share a name."""
    here = session()
    found = [each for each in all_types() if each.name == type_]
    if not found:
        raise NotFoundError("step type", type_, "`parcours steps list` shows all of them")
    for each in found:
        here.say(
            f"{each.kind.value} {each.name}"
            + (f" ({each.reference} in the reference engine)" if each.reference else "")
        )
        here.say(each.description)
        rows = []
        for name, field in each.properties.model_fields.items():
            default = "" if field.is_required() else str(field.get_default(call_default_factory=True))
            rows.append((field.alias or name, "yes" if field.is_required() else "no", default, field.description or ""))
        if rows:
            here.print_table("", ("property", "required", "default", "meaning"), rows)
