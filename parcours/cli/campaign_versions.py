"""`parcours campaigns versions`, `diff` and `rollback`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from parcours.cli.campaigns import Inline, Json, Key, Message, align, confirm_plans, user
from parcours.cli.instants import Now, begin, instant
from parcours.cli.scenario_test import app
from parcours.cli.session import session
from parcours.db.tables import campaigns
from parcours.services import apply_campaign, campaign_versions
from parcours.services.apply_campaign import OutdatedPlanError
from parcours.services.campaign_versions import rollback_message, versions_json

__all__ = ["app"]


@app.command()
def versions(campaign: Key, as_json: Json = False) -> None:
    """List the versions of a campaign, newest first: when each was applied, by whom and why.

    Changes that made no version, such as publishing, follow if they have a reason (`--message`).
    """
    here = session()
    with here.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
        lines = versions_json(conn, found)
    if as_json:
        here.print_json(lines)
        return
    here.print_table(
        f"Versions of {found.key}",
        ("version", "applied at", "by", "why"),
        [
            (
                f"{line['version']} (present)" if line["present"] else str(line["version"]),
                datetime.fromisoformat(line["at"]),
                line["who"],
                line["message"],
            )
            for line in lines
        ],
    )
    for line in lines:
        for each in line["changes"]:
            at = here.time(datetime.fromisoformat(each["at"]))
            here.say(f"{at}  {each['who']}: {each['what']}, at version {line['version']}: {each['message']}")


@app.command()
def diff(
    campaign: Key,
    a: Annotated[int | None, typer.Argument(metavar="A", help="Earlier version; default: the one before B.")] = None,
    b: Annotated[int | None, typer.Argument(metavar="B", help="Later version; default: the present one.")] = None,
    as_json: Json = False,
) -> None:
    """Show what differs between two versions of a campaign."""
    here = session()
    with here.engine.connect() as conn:
        found = campaign_versions.difference(conn, campaigns.find(conn, campaign), a, b)
    if as_json:
        here.print_json(found.to_json())
        return
    for line in found.lines():
        here.say(line)


@app.command()
def rollback(
    campaign: Key,
    version: Annotated[int, typer.Argument(metavar="VERSION", help="Version to return to.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    backfill: Annotated[
        bool, typer.Option(help="Also start returning steps for members who passed the step above.")
    ] = False,
    reschedule: Annotated[bool, typer.Option(help="Apply changed delays and dates to waiting contacts.")] = False,
    message: Message = None,
    inline: Inline = False,
    now: Now = None,
) -> None:
    """Return to an earlier version of a campaign. Shows the plan first.

    The earlier version is applied as a new one. Contacts whose waits were cancelled because their step was removed
    wait there again. The campaign stays published or paused as it is.
    """
    here = session()
    while True:
        with here.engine.connect() as conn:
            found = campaigns.find(conn, campaign)
            planned = campaign_versions.plan_rollback(conn, found, version, zone=here.zone, now=instant(conn, now))
        for line in planned.lines(backfill=backfill, reschedule=reschedule):
            here.say(line)
        if planned.unchanged:
            here.say("There was nothing to apply.")
            return
        asked = confirm_plans([planned], yes=yes)
        at = begin(here.engine, now)
        try:
            with here.begin() as conn:
                apply_campaign.apply(
                    conn,
                    planned,
                    backfill=backfill,
                    reschedule=reschedule,
                    who=user(),
                    now=at,
                    zone=here.zone,
                    message=rollback_message(version, message),
                )
        except OutdatedPlanError as error:
            if not asked:
                raise
            here.warn(f"{error}.")
            continue
        break
    here.say(f"{found.key} is back at version {version}, as version {planned.version}.")
    align([planned], inline=inline, now=now)
