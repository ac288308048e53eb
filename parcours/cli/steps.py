"""`parcours steps`: the step types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from parcours.cli.session import session
from parcours.domain.errors import NotFoundError
from parcours.domain.steps.catalogue import page
from parcours.domain.steps.registry import UnknownTypeError, all_types, step_type
from parcours.domain.steps.types import Kind, StepType

app = typer.Typer(no_args_is_help=True, help="List and show step types.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List all step types with their properties."""
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
                    "refers_to": {name: what.value for name, what in each.refers_to.items()},
                }
                for each in types
            ]
        )
        return
    here.print_table(
        "",
        ("kind", "type", "properties", "description"),
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
def show(type_: Annotated[str, typer.Argument(metavar="TYPE", help="Name of a step type, printed by `list`.")]) -> None:
    """Show a step type. An action and a condition can have the same name."""
    here = session()
    found = []
    for kind in Kind:
        # Of a package that cannot be imported, the error says what to do.
        with suppress(UnknownTypeError):
            found.append(step_type(kind, type_))
    if not found:
        raise NotFoundError("step type", type_, "run `parcours steps list` to see all step types")
    for each in found:
        here.say(f"{each.kind.value} {each.name}" + (f" ({each.reference} in Mautic)" if each.reference else ""))
        here.say(each.description)
        rows = []
        for name, field in each.properties.model_fields.items():
            default = "" if field.is_required() else str(field.get_default(call_default_factory=True))
            rows.append((field.alias or name, "yes" if field.is_required() else "no", default, field.description or ""))
        if rows:
            here.print_table("", ("property", "required", "default", "meaning"), rows)


@app.command()
def catalogue(
    tests: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of tests: list, for each type, the files that use it."),
    ] = None,
) -> None:
    """Print all step types as Markdown, with descriptions, properties and outcomes."""
    types = all_types()
    renew = "parcours steps catalogue" + ("" if tests is None else f" --tests {tests}")
    typer.echo(page(types, {} if tests is None else _tests_of(types, tests), renew=renew), nl=False)


def _tests_of(types: Sequence[StepType], folder: Path) -> dict[tuple[Kind, str], list[str]]:
    """Return the test files of each type: those that call its function, else those that use it in a campaign."""
    texts = {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sorted(folder.rglob("test_*.py"))}
    found = {}
    for each in types:
        package, _, module = each.run.__module__.rpartition(".")
        imported = re.compile(rf"^from {re.escape(package)} import .*\b{module}\b", re.MULTILINE)
        called = re.compile(rf"\b{module}\.{each.run.__name__}\b")
        used = re.compile(rf"\b{each.kind.value}: {re.escape(each.name)}\b")
        files = [path for path, text in texts.items() if imported.search(text) and called.search(text)]
        found[each.kind, each.name] = files or [path for path, text in texts.items() if used.search(text)]
    return found
