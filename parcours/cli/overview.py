"""`parcours overview`."""

from __future__ import annotations

from typing import Annotated

import typer

from parcours.cli.session import ROOMY, Session, session
from parcours.db.clock import now as database_now
from parcours.db.reads.overview import RESULTS, Overview
from parcours.db.tables import campaigns
from parcours.domain.goal import Tried
from parcours.services import weak_emails
from parcours.services.goal_figures import GoalFigures, goal_figures, verdict
from parcours.services.overview_json import DELIVERIES, insights, look_up, overview_json
from parcours.services.standing import Standings, said
from parcours.services.weak_emails import WeakEmails

app = typer.Typer()


@app.command("overview")
def show(
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Key or id of the campaign.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a campaign's statistics: contacts added, active and left, and outcomes per step.

    It also names the email that does worst, and the steps at which contacts are longer than planned.
    """
    here = session()
    with here.engine.connect() as conn:
        if as_json:
            here.print_json(overview_json(conn, campaign, here.zone))
            return
        about, why_not, figures = look_up(conn, campaign, here.zone)
        loaded = campaigns.load(conn, about["id"], about["version"], here.zone)
        goal = goal_figures(conn, loaded)
        emails, standing = insights(conn, loaded, figures, why_not=why_not, now=database_now(conn))
    state = "runs" if why_not is None else f"not running: {why_not}"
    print_overview(here, f"{about['name']} ({about['key']}): {state}", figures)
    if "entry" in about:
        entry = about["entry"]
        most = "" if entry["most"] is None else f" of {entry['most']:,} at most"
        here.say(f"limit: {entry['entered']:,} entered{most}; {entry['held_back']:,} held back")
    if goal is not None:
        print_goal(here, goal)
    print_insights(here, emails, standing)


def print_insights(here: Session, emails: WeakEmails, standing: Standings) -> None:
    """Print which email does worst, and where contacts are longer than planned or have not answered."""
    if emails.comparison.why_none != "one":
        here.say(f"{'worst email' if emails.named else 'emails'}: {weak_emails.said(emails)}")
    for each in standing.stuck:
        here.say(f"longer than planned at {each.step}: {'; '.join(map(said, standing.causes(each)))}")
    for each in standing.unanswered:
        since = "" if each.median_since is None else f", half of them since {here.time(each.median_since)} or before"
        here.say(f"no answer yet at {each.step}: {each.answer:,} contacts{since}")


def print_goal(here: Session, figures: GoalFigures) -> None:
    """Print what the goal came to, against the control group, and by branch and variant."""
    goal = figures.file.goal
    if goal is not None:
        what = f"event {goal.event}" if goal.event is not None else "its rule is true"
        within = "" if goal.within is None else f" within {goal.within}"
        here.say(f"goal: {what}{within}")
    rows = [("contacts in the campaign" if figures.compares else "contacts", *_cells(figures.treated))]
    if figures.compares:
        rows.append(("control group", *_cells(figures.control)))
    for part in figures.parts:
        name = part.name if part.kind == "branch" else f"variant {part.name}" if part.name else "main content"
        rows.append((f"  {part.step}: {name}", *_cells(part.tried)))
    here.print_table("", ("", "entered", "reached", "rate", "value"), rows)
    if figures.compares:
        found = figures.lift
        if found is not None:
            here.say(
                f"difference: {100 * found.difference:+.1f} percentage points, "
                f"95 % interval {100 * found.low:+.1f} to {100 * found.high:+.1f}"
            )
        here.say(verdict(figures))


def _cells(tried: Tried) -> tuple[int, int, str, str]:
    rate = "–" if tried.rate is None else f"{100 * tried.rate:.1f} %"
    return tried.entered, tried.reached, rate, f"{tried.value:,.2f}"


def print_overview(here: Session, title: str, figures: Overview) -> None:
    """Print the figures as a person reads them: the tree indented, shares of what reached each step."""
    here.say(title)
    erased = f", {figures.erased:,} erased" if figures.erased else ""
    here.say(
        f"{figures.added:,} contact{'' if figures.added == 1 else 's'} added, {figures.active:,} active, "
        f"{figures.left:,} left{erased}; {figures.emails_sent:,} emails sent, {figures.page_views:,} page views"
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
        here.say(f"{here.time(each['at'])}  {each['who']}: {each['what']}")
