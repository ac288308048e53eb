"""`parcours policies`: apply, list and delete."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from parcours.cli.session import session
from parcours.db.tables import policies
from parcours.domain.errors import NotFoundError
from parcours.producers.files.documents import stop_at
from parcours.producers.files.policies import read

app = typer.Typer(no_args_is_help=True, help="Manage frequency caps, quiet hours and closed days of channels.")


@app.command()
def apply(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="YAML files, one policy per channel: channel, cap, quiet_hours, blackout, holidays, spread, over.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Create or replace channel policies. If a file has an error, nothing is changed."""
    here = session()
    wanted, problems = read(files)
    stop_at(problems, here.warn)
    now = datetime.now(UTC)
    with here.begin() as conn:
        done = {channel: policies.save(conn, channel, rules, now=now) for channel, rules in wanted.items()}
    if as_json:
        here.print_json(done)
        return
    for channel, stored in done.items():
        here.say(f"{stored} {channel}")


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the policies."""
    here = session()
    with here.engine.connect() as conn:
        found = policies.listed(conn)
    if as_json:
        here.print_json([{"channel": channel, **rules} for channel, rules in found.items()])
        return
    here.print_table(
        "Policies",
        ["channel", "cap", "quiet hours", "closed days", "spread", "over"],
        [
            (
                channel,
                _cap(rules),
                _quiet_hours(rules),
                _closed(rules),
                rules.get("spread"),
                rules.get("over", "next_slot"),
            )
            for channel, rules in found.items()
        ],
    )


@app.command()
def delete(channel: Annotated[str, typer.Argument(help="Channel of the policy.")]) -> None:
    """Delete a channel's policy. Contacts it already holds back keep their assigned send time."""
    here = session()
    channel = channel.strip().lower()
    with here.begin() as conn:
        if not policies.delete(conn, channel):
            raise NotFoundError("policy of the channel", channel, "run `parcours policies list` to see all policies")
    here.say(f"Deleted the policy of {channel}.")


def _cap(rules: Mapping[str, Any]) -> str | None:
    cap = rules.get("cap")
    return cap and f"{cap['number']} a {cap['period']}"


def _quiet_hours(rules: Mapping[str, Any]) -> str | None:
    quiet = rules.get("quiet_hours")
    if not quiet:
        return None
    days = f" on {', '.join(quiet['days'])}" if quiet.get("days") else ""
    return f"{quiet['between'][0]} to {quiet['between'][1]}{days}"


def _closed(rules: Mapping[str, Any]) -> str | None:
    days = [*(rules.get("blackout") or ())]
    if rules.get("holidays"):
        days.append(f"public holidays of {rules['holidays']}")
    return ", ".join(days) or None
