"""`parcours overview`."""

from __future__ import annotations

from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from sqlalchemy import Connection

from db import campaigns, overview
from db.clock import now as database_now
from db.overview import RESULTS, Overview, StepFigures
from producers.session import Session, iso, session

app = typer.Typer()

DELIVERIES = ("delivered", "undelivered", "withdrawn")
# Columns of a terminal from which on there is room for everything.
ROOMY = 110


@app.command("overview")
def show(
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="A key or an id.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """The figures of a campaign: who came, where they stand, what became of them at each step."""
    here = session()
    with here.engine.connect() as conn:
        about, why_not, figures = _look_up(conn, campaign, here.zone)
    if as_json:
        here.print_json({"campaign": about, **figures_json(figures)})
    else:
        state = "runs" if why_not is None else f"does not run: {why_not}"
        print_overview(here, f"{about['name']} ({about['key']}): {state}", figures)


def overview_json(conn: Connection, campaign: str, zone: ZoneInfo) -> dict[str, Any]:
    """Return the figures of a campaign, by key or id, as `overview --json` has them. Raises NotFoundError."""
    about, _, figures = _look_up(conn, campaign, zone)
    return {"campaign": about, **figures_json(figures)}


def _look_up(conn: Connection, campaign: str, zone: ZoneInfo) -> tuple[dict[str, Any], str | None, Overview]:
    found = campaigns.find(conn, campaign)
    row = campaigns.listing(conn, [found.id])[0]
    why_not = campaigns.status_of(row).why_not(database_now(conn))
    about = {
        "id": found.id,
        "key": found.key,
        "name": found.name,
        "description": row.description,
        "category": row.category,
        "published": row.published,
        "running": why_not is None,
        "version": found.version,
    }
    return about, why_not, overview.of(conn, campaigns.load(conn, found.id, found.version, zone))


def figures_json(figures: Overview) -> dict[str, Any]:
    """Return the figures as `overview --json` has them."""
    return {
        "contacts": {"added": figures.added, "active": figures.active, "left": figures.left},
        "emails_sent": figures.emails_sent,
        "page_views": figures.page_views,
        "steps": list(map(_figures, figures.steps)),
        "removed_steps": list(map(_figures, figures.removed)),
        "series": [{**each, "day": each["day"].isoformat()} for each in figures.series],
        "activity": [{**each, "at": iso(each["at"])} for each in figures.activity],
    }


def _figures(step: StepFigures) -> dict[str, Any]:
    return {
        "step": step.step,
        "kind": step.kind,
        "type": step.type,
        "parent": step.parent,
        "branch": step.branch,
        "reached": step.reached,
        "waiting": step.waiting,
        **step.results,
        **{name: getattr(step, name) for name in DELIVERIES},
    }


def print_overview(here: Session, title: str, figures: Overview) -> None:
    """Print the figures as a person reads them: the tree indented, shares of what reached each step."""
    here.say(title)
    here.say(
        f"{figures.added:,} contacts added, {figures.active:,} active, {figures.left:,} left; "
        f"{figures.emails_sent:,} emails sent, {figures.page_views:,} page views"
    )
    steps = [*figures.steps, *figures.removed]
    results = [name for name in RESULTS if any(step.results[name] for step in steps)]
    ends = [name for name in DELIVERIES if any(getattr(step, name) for step in steps)]
    # On a narrow terminal the figures go before the types, which the campaign's file has too.
    narrow = here.console.width < ROOMY
    indent = " " if narrow else "  "
    depth: dict[str | None, int] = {None: -1}
    rows = []
    for step in steps:
        depth[step.step] = depth[step.parent] + 1
        branch = f"{step.branch}: " if step.branch else ""
        name = indent * depth[step.step] + branch + step.step + (" (removed)" if step in figures.removed else "")
        type_ = () if narrow else (step.type,)
        rows.append(
            (
                *(name, *type_, step.reached, step.waiting or None),
                *(step.results[each] or None for each in results),
                *(getattr(step, each) or None for each in ends),
            )
        )
    columns = ("step", *(() if narrow else ("type",)), "reached", "waiting", *results, *ends)
    here.print_table("", columns, rows, cut=["step"])
    for each in figures.activity[:5]:
        here.say(f"{iso(each['at'])}  {each['who']}: {each['what']}")
