"""`parcours campaigns test`: run scenario files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from parcours.cli.campaign_members import app
from parcours.cli.session import session
from parcours.services import junit
from parcours.services.scenarios import ScenarioResult, each_result

__all__ = ["app"]

Files = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Scenario files (YAML).")]


@app.command("test")
def run_scenario_files(
    files: Files,
    report: Annotated[
        Path | None, typer.Option("--junit", metavar="OUT", help="Also write the results to this file, as JUnit XML.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line per scenario.")] = False,
) -> None:
    """Run scenarios: what contacts do in a campaign, and what is expected to happen to them.

    Each scenario runs with the real engine in simulated time, in a temporary database. Your data is not used, and
    nothing is sent. The exit code is 1 if a scenario fails.
    """
    here = session()
    if report is not None and (report.is_dir() or not report.absolute().parent.is_dir()):
        raise typer.BadParameter(f"--junit {str(report)!r} cannot be written; give a file in a folder that exists")
    results: list[ScenarioResult] = []
    for each in each_result(files, zone=here.zone):
        results.append(each)
        if as_json:
            here.print_json(_json(each))
        else:
            for line in each.lines():
                typer.echo(line)
    if report is not None:
        report.write_bytes(junit.document(results))
    if not as_json:
        typer.echo(_summary(results))
    if not all(each.passed for each in results):
        raise typer.Exit(1)


def _summary(results: Sequence[ScenarioResult]) -> str:
    counts = Counter("passed" if each.passed else "not run" if each.broken else "failed" for each in results)
    told = ", ".join(f"{counts[word]:,} {word}" for word in ("passed", "failed", "not run") if counts[word])
    return f"{len(results):,} scenario{'s' * (len(results) != 1)}: {told}."


def _json(result: ScenarioResult) -> dict[str, Any]:
    return {
        "scenario": result.name,
        "file": str(result.file),
        "line": result.line,
        "passed": result.passed,
        "seconds": round(result.seconds, 3),
        "failures": [
            {"file": str(each.file), "line": each.line, "error": each.sentence, "path": list(each.path)}
            for each in result.failures
        ],
    }
