"""`parcours doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from parcours.cli.session import session
from parcours.services import diagnosis

app = typer.Typer()


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check connections, versions, migrations and clocks, and say how to fix problems.

    Exits with 1 on errors, not on warnings.
    """
    here = session()
    findings = []
    for finding in diagnosis.examine(here.settings):
        findings.append(finding)
        if not as_json:
            mend = f"; {finding.mend}" if finding.mend else ""
            here.say(f"{finding.state:<8} {finding.about}: {finding.says}{mend}")
    if as_json:
        here.print_json([finding._asdict() for finding in findings])
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)
