"""`parcours check`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from parcours.cli.session import session
from parcours.db.checks import invariants

app = typer.Typer()


@app.command()
def check(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check the invariants of the database. Exits with 1 and shows examples if one is violated. Changes nothing."""
    here = session()
    checked = []
    for each in invariants.run(here.engine):
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
