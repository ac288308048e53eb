"""`parcours campaigns`."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from parcours.cli.instants import Now, begin, given, instant
from parcours.cli.session import session
from parcours.db.clock import now as database_now
from parcours.db.tables import campaigns
from parcours.db.tables.campaigns import Inside
from parcours.domain.campaign_file.build import contact_date
from parcours.domain.campaign_file.model import AtFile, CampaignFile, SkipFile, StepFile
from parcours.domain.campaign_file.schema import file_schema
from parcours.domain.errors import CampaignError
from parcours.producers.files.campaigns import CampaignFileError, FileProblem, first_of, read, write
from parcours.services import apply_campaign, campaign_changes, campaign_plan
from parcours.services.campaign_changes import definition_of
from parcours.services.campaign_json import campaign_json, campaign_line
from parcours.services.entry_rules import event_source, exit_of, limit_of

app = typer.Typer(no_args_is_help=True, help="Validate, plan, apply, list, show, publish and pause campaigns.")

Files = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Campaign files (YAML).")]
Key = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Key or id of the campaign.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def validate(files: Files, as_json: Json = False) -> None:
    """Report every error in campaign files without using the database. `plan` checks the database too."""
    here = session()
    problems: list[FileProblem] = []
    for path in files:
        try:
            read(path, default_zone=here.zone)
        except CampaignFileError as error:
            problems += error.problems
    problems = first_of(problems)
    if as_json:
        here.print_json([{"file": str(p.file), "line": p.line, "path": p.path, "error": p.sentence} for p in problems])
    elif not problems:
        here.say(f"{len(files)} file{'s are' if len(files) > 1 else ' is'} valid.")
    if problems:
        if as_json:
            raise typer.Exit(1)
        raise CampaignFileError(problems)


@app.command()
def plan(files: Files, as_json: Json = False) -> None:
    """Show what applying files would change, with the number of contacts affected."""
    here = session()
    read_files = _read_all(files)
    with here.engine.connect() as conn:
        plans = _plans(conn, read_files)
    if as_json:
        here.print_json([each.to_json() for each in plans])
    else:
        for each in plans:
            for line in each.lines():
                here.say(line)


@app.command()
def apply(
    files: Files,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    backfill: Annotated[bool, typer.Option(help="Also start new root steps for existing members.")] = False,
    reschedule: Annotated[bool, typer.Option(help="Apply changed delays and dates to waiting contacts.")] = False,
    now: Now = None,
) -> None:
    """Create or update campaigns from files. Shows the plan first. Applies all files or none."""
    here = session()
    given(now)
    read_files = _read_all(files)
    with here.engine.connect() as conn:
        plans = _plans(conn, read_files)
    for each in plans:
        for line in each.lines():
            here.say(line)
    # With no transaction open: a person may take their time, and whoever changes a campaign meanwhile is noticed.
    _confirm(plans, yes=yes)
    at = begin(here.engine, now)
    with here.engine.begin() as conn:
        for each in plans:
            apply_campaign.apply(
                conn, each, backfill=backfill, reschedule=reschedule, who=user(), now=at, zone=here.zone
            )
    asked = backfill or reschedule
    here.say("Applied." if asked or not all(each.changes_nothing for each in plans) else "There was nothing to apply.")


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the campaigns."""
    here = session()
    with here.engine.connect() as conn:
        now = database_now(conn)
        found = campaigns.listing(conn)
        unreadable = campaigns.unreadable(conn, found)
    if as_json:
        here.print_json([campaign_line(row, unreadable.get(row.id), now=now) for row in found])
        return
    columns = ("id", "campaign", "name", "category", "published", "running", "version", "changed_at")
    here.print_table(
        "",
        columns,
        [
            (
                str(row.id),
                row.key,
                row.name,
                row.category,
                row.published,
                campaigns.status_of(row, unreadable.get(row.id)).why_not(now) is None,
                row.version,
                row.changed_at,
            )
            for row in found
        ],
    )
    for row in found:
        if row.id in unreadable:
            here.warn(
                f"Cannot read campaign {row.key}: {unreadable[row.id].why}. "
                f"Run `parcours campaigns show {row.key}` for details."
            )


@app.command()
def show(campaign: Key, as_json: Json = False) -> None:
    """Show the settings and the steps of a campaign."""
    here = session()
    with here.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
        now = database_now(conn)
        if as_json:
            here.print_json(campaign_json(conn, found, now=now))
            return
        row = campaigns.listing(conn, [found.id])[0]
        version = campaigns.read_version(conn, found.key, found.id, found.version)
        why_not = campaigns.status_of(row, version.unreadable).why_not(now)
    file, unreadable = version.file, version.unreadable
    if unreadable is not None:
        here.say(f"{found.name} ({found.key}, id {found.id}) is not running: {unreadable}.")
        for problem in version.problems():
            here.say(f"  {problem}")
        here.say(
            "If a step type is unknown, install its package on every machine and restart Parcours. Otherwise print "
            f"the file with `parcours campaigns export {found.key}`, fix it and apply it."
        )
        return
    from rich.markup import escape
    from rich.tree import Tree

    runs = "runs" if why_not is None else f"not running: {why_not}"
    about = f"({found.key}, id {found.id}, version {found.version}) {runs}"
    tree = Tree(f"[bold]{escape(found.name)}[/bold] {escape(about)}")
    sources = [f"segment {key}" for key in file.sources.segments] + [f"form {key}" for key in file.sources.forms]
    sources += map(event_source, file.sources.events)
    sources += [str(contact_date(date)) for date in file.sources.dates]
    tree.add(escape(f"from {', '.join(sources)}{'' if file.sources.existing else ', who enter from now on'}"))
    if file.entry is not None:
        tree.add(escape(limit_of(file.entry)))
    for each in file.exit:
        tree.add(escape(exit_of(each)))
    if isinstance(file.catch_up, SkipFile):
        tree.add(escape(f"after a pause: skips steps overdue by more than {file.catch_up.skip}"))
    elif file.catch_up == "shift":
        tree.add("after a pause: delays due times by the length of the pause")
    if file.priority != "normal":
        tree.add(f"priority: {file.priority}")
    pending: list[tuple[Tree, str | None, StepFile]] = [(tree, None, step) for step in file.steps]
    for parent, branch, step in pending:
        timing = " ".join(
            f"{name} {value}"
            for name, value in (("after", step.after), ("at", _at(step)), ("hour", step.hour), ("within", step.within))
            if value
        )
        label = f"{branch + ': ' if branch else ''}{step.step}  {step.kind.value} {step.type}  {timing}"
        node = parent.add(escape(label.rstrip()))
        pending += [(node, below, child) for below, children in step.branches() for child in children]
    here.console.print(tree)


def _at(step: StepFile) -> object:
    return contact_date(step.at) if isinstance(step.at, AtFile) else step.at


@app.command()
def export(campaign: Key) -> None:
    """Print a campaign as YAML for `apply`."""
    here = session()
    with here.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
        version = campaigns.read_version(conn, found.key, found.id, found.version)
        published = campaigns.listing(conn, [found.id])[0].published
    if version.unreadable is not None:
        here.warn(
            f"This is the stored file of {found.key}, which this installation cannot read: {version.unreadable.why}."
        )
    typer.echo(write(definition_of(version, published)), nl=False)


@app.command()
def clone(campaign: Key, key: Annotated[str, typer.Argument(metavar="NEW-KEY", help="Key of the copy.")]) -> None:
    """Copy a campaign's steps and sources to a new, unpublished campaign."""
    here = session()
    with here.engine.begin() as conn:
        found = campaigns.find(conn, campaign)
        campaign_changes.clone(conn, found, key, who=user(), now=database_now(conn), zone=here.zone)
    here.say(f"Copied {found.key} to {key} (unpublished).")


@app.command()
def publish(campaign: Key, now: Now = None) -> None:
    """Publish a campaign."""
    _switch(campaign, True, now)


@app.command()
def pause(campaign: Key, now: Now = None) -> None:
    """Pause a campaign. Contacts keep their places; when the command returns, no step is running."""
    _switch(campaign, False, now)


@app.command()
def delete(
    campaign: Key, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
) -> None:
    """Delete a campaign. Its history stays in the database. Applying its file restores it, unpublished."""
    here = session()
    with here.engine.begin() as conn:
        found = campaigns.find(conn, campaign)
        if not yes and _interactive():
            typer.confirm(f"Delete {found.key}?", abort=True)
        campaign_changes.delete(conn, found, who=user(), now=database_now(conn))
    here.say(f"Deleted {found.key}.")


@app.command()
def schema() -> None:
    """Print the JSON Schema of campaign files, for use in editors."""
    session().print_json(file_schema())


def _switch(campaign: str, published: bool, now: str | None) -> None:
    here = session()
    with here.engine.begin() as conn:
        found = campaigns.find(conn, campaign)
        done = campaign_changes.switch(
            conn, found, published, who=user(), now=instant(conn, now), told=_tell_whom_it_waits_for
        )
    word = "published" if published else "paused"
    here.say(f"{found.key} {'is' if done.changed else 'was already'} {word}.")
    if published and done.why_not:
        here.say(f"It is not running yet: {done.why_not}.")


def _tell_whom_it_waits_for(at_work: Sequence[Inside]) -> None:
    named = [
        f"database process {each.pid} (session '{each.name}' from {each.machine or 'the same machine'}), running for "
        f"{each.seconds:,.0f} s"
        for each in at_work
    ]
    session().warn(f"Waiting for a running batch of this campaign: {'; '.join(named) or 'it is ending now'}.")


def _read_all(files: list[Path]) -> list[tuple[Path, CampaignFile]]:
    """Return the campaigns of files; every problem of every file is reported together."""
    here = session()
    found, problems = [], []
    for path in files:
        try:
            found.append((path, read(path, default_zone=here.zone)))
        except CampaignFileError as error:
            problems += error.problems
    if problems:
        raise CampaignFileError(problems)
    keys = [file.campaign for _, file in found]
    for key in keys:
        if keys.count(key) > 1:
            raise CampaignError(f"two files define campaign {key!r}; give each campaign once")
    return found


def _plans(conn: Connection, files: list[tuple[Path, CampaignFile]]) -> list[campaign_plan.CampaignPlan]:
    here = session()
    problems = []
    for path, file in files:
        found = campaign_plan.check_references(conn, file)
        if found:
            try:
                read(path, default_zone=here.zone, also=found)
            except CampaignFileError as error:
                problems += error.problems
    if problems:
        raise CampaignFileError(problems)
    return [campaign_plan.plan(conn, file, zone=here.zone) for _, file in files]


def _confirm(plans: list[campaign_plan.CampaignPlan], *, yes: bool) -> None:
    cancels = sum(each.cancels for each in plans)
    if yes or all(each.unchanged and each.publishes is None for each in plans):
        return
    if _interactive():
        typer.confirm("Apply?", abort=True)
    elif cancels:
        raise CampaignError(f"this cancels {cancels:,} waiting contacts; add --yes to confirm")


def _interactive() -> bool:
    import sys

    return sys.stdin.isatty() and sys.stdout.isatty()


def user() -> str:
    """Return who calls the command, for the audit."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "command"
