"""`parcours check`."""

from __future__ import annotations

from itertools import chain
from typing import Annotated, Any

import typer

from parcours.cli.session import session
from parcours.db.checks import invariants
from parcours.services import rule_check

app = typer.Typer()


@app.command()
def check(
    full: Annotated[
        bool,
        typer.Option("--full", help="Evaluate segment rules for all contacts. Default: for a sample of about 2,000."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the invariants of the database. Exits with 1 and shows examples if one is violated. Changes nothing."""
    here = session()
    checked = []
    for each in chain(invariants.run(here.engine), rule_check.run(here.engine, full=full, zone=here.zone)):
        checked.append(each)
        if as_json:
            continue
        if not each.violations:
            here.say(f"holds: {each.says}")
            continue
        here.say(f"VIOLATED: {each.says}; {each.violations:,} violations, for example")
        for example in each.examples:
            here.say("  " + ", ".join(f"{name} {_plain(value)}" for name, value in example.items()))
    if as_json:
        here.print_json(
            {"holds": all(not each.violations for each in checked), "invariants": [each._asdict() for each in checked]}
        )
    if any(each.violations for each in checked):
        raise typer.Exit(1)


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)
