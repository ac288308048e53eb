"""`parcours campaigns`."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from parcours.cli.instants import Now, begin, given, instant
from parcours.cli.session import session
from parcours.db.clock import now as database_now
from parcours.db.reads.alignment import Movement
from parcours.db.scope import Scope
from parcours.db.tables import campaigns
from parcours.domain.campaign import NOT_PUBLISHED
from parcours.domain.campaign_file.build import contact_date
from parcours.domain.campaign_file.model import AtFile, CampaignFile, SkipFile, StepFile
from parcours.domain.campaign_file.schema import file_schema
from parcours.domain.errors import CampaignError
from parcours.producers.files.campaigns import CampaignFileError, FileProblem, first_of, read, write
from parcours.services import apply_campaign, campaign_changes, campaign_plan
from parcours.services.apply_campaign import OutdatedPlanError
from parcours.services.campaign_changes import definition_of
from parcours.services.campaign_json import campaign_json, campaign_line
from parcours.services.entry_rules import event_source, exit_of, limit_of
from parcours.services.launch import by_whom, launch
from parcours.services.try_again import try_again
from parcours.workers.sweeps import update_inline

app = typer.Typer(no_args_is_help=True, help="Validate, plan, apply, list, show, publish and pause campaigns.")

Files = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Campaign files (YAML).")]
Key = Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Key or id of the campaign.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Message = Annotated[
    str | None, typer.Option("--message", "-m", help="Reason for the change, shown in the list of versions.")
]
Inline = Annotated[
    bool, typer.Option("--inline", help="Also let contacts join and leave in this process; no broker needed.")
]
# Exit code of `plan --check` when something would change.
WOULD_CHANGE = 3


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
def plan(
    files: Files,
    check: Annotated[bool, typer.Option("--check", help="Exit with code 3 when something would change.")] = False,
    as_json: Json = False,
) -> None:
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
    if check and any(each.would_change for each in plans):
        raise typer.Exit(WOULD_CHANGE)


@app.command()
def apply(
    files: Files,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    backfill: Annotated[
        bool,
        typer.Option(help="Also start new steps for existing members: first steps, and steps below those they passed."),
    ] = False,
    reschedule: Annotated[bool, typer.Option(help="Apply changed delays and dates to waiting contacts.")] = False,
    message: Message = None,
    inline: Inline = False,
    now: Now = None,
) -> None:
    """Create or update campaigns from files. Shows the plan first. Applies all files or none.

    Contacts join and leave as the plan says, without `parcours update`, as soon as workers and tick run.
    """
    here = session()
    read_files = _read_all(files)
    apply_campaign.checked_message(message)
    given(now)
    while True:
        with here.engine.connect() as conn:
            plans = _plans(conn, read_files, now=instant(conn, now))
        for each in plans:
            for line in each.lines(backfill=backfill, reschedule=reschedule):
                here.say(line)
        # With no transaction open: a person may take their time, and whoever changes a campaign meanwhile is noticed.
        asked = confirm_plans(plans, yes=yes)
        at = begin(here.engine, now)
        try:
            with here.begin() as conn:
                for each in plans:
                    apply_campaign.apply(
                        conn,
                        each,
                        backfill=backfill,
                        reschedule=reschedule,
                        who=user(),
                        now=at,
                        zone=here.zone,
                        message=message,
                    )
        except OutdatedPlanError as error:
            if not asked:
                raise
            # Whoever said yes has seen another plan than the one that would be done now.
            here.warn(f"{error}.")
            continue
        break
    done = backfill or reschedule or not all(each.changes_nothing for each in plans)
    here.say("Applied." if done else "There was nothing to apply.")
    align(plans, inline=inline, now=now)


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
        why_not = campaigns.status_of(row, version.unreadable).why_not(now, here.zone)
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
    with here.begin() as conn:
        found = campaigns.find(conn, campaign)
        campaign_changes.clone(conn, found, key, who=user(), now=database_now(conn), zone=here.zone)
    here.say(f"Copied {found.key} to {key} (unpublished).")


@app.command()
def publish(campaign: Key, inline: Inline = False, now: Now = None) -> None:
    """Publish a campaign, and say how many contacts join.

    They join without `parcours update`, as soon as workers and tick run.
    """
    here = session()
    with here.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
        moves, effects = launch(conn, found, now=instant(conn, now), zone=here.zone)
    if _switch(campaign, True, now):
        for effect in effects:
            here.say(f"{effect.sentence[0].upper()}{effect.sentence[1:]}.")
        _align(found.key, [moves], inline=inline, now=now)


@app.command()
def pause(campaign: Key, now: Now = None) -> None:
    """Pause a campaign. Contacts keep their places; when the command returns, no step is running."""
    _switch(campaign, False, now)


@app.command()
def retry(
    campaign: Key,
    step: Annotated[str, typer.Argument(metavar="STEP", help="Key of the step.")],
    reason: Annotated[
        str | None, typer.Option("--reason", help="Only contacts who failed for this reason, in these words.")
    ] = None,
    now: Now = None,
) -> None:
    """Try a step again for contacts who failed there for good. Remove the cause first."""
    here = session()
    done = try_again(here.engine, campaign, step, reason, who=user(), zone=here.zone, now=begin(here.engine, now))
    here.say(f"{done.contacts:,} contact{'' if done.contacts == 1 else 's'} will be tried again.")
    if done.gone:
        here.say(f"{done.gone:,} have left the campaign or are elsewhere in it by now, and stay as they are.")


@app.command()
def delete(
    campaign: Key, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False
) -> None:
    """Delete a campaign. Its history stays in the database. Applying its file restores it, unpublished."""
    here = session()
    with here.engine.connect() as conn:
        found = campaigns.find(conn, campaign)
    if not yes and _interactive():
        typer.confirm(f"Delete {found.key}?", abort=True)
    with here.begin() as conn:
        campaign_changes.delete(conn, campaigns.find(conn, found.key), who=user(), now=database_now(conn))
    here.say(f"Deleted {found.key}.")


@app.command()
def schema() -> None:
    """Print the JSON Schema of campaign files, for use in editors."""
    session().print_json(file_schema())


def align(plans: Sequence[campaign_plan.CampaignPlan], *, inline: bool, now: str | None = None) -> None:
    """Let contacts join and leave after plans were applied, or say who does."""
    here = session()
    for each in plans:
        if not each.would_change:
            continue
        key = each.file.campaign
        with here.engine.connect() as conn:
            why_not = _why_not(conn, key, instant(conn, now))
        if why_not is None:
            _align(key, [each.moves], inline=inline, now=now)
        elif inline or each.campaign_id is None or by_whom([each.moves]) is not None:
            publish_it = f" Publish it with `parcours campaigns publish {key}`." if why_not == NOT_PUBLISHED else ""
            here.say(f"{key} is not running: {why_not}.{publish_it}")


def _align(key: str, moves: Sequence[Movement | None], *, inline: bool, now: str | None) -> None:
    here = session()
    with here.engine.connect() as conn:
        scope = Scope(campaign_ids=(campaigns.find(conn, key).id,))
        at = instant(conn, now)
        runs = _why_not(conn, key, at) is None
    if not inline:
        by = by_whom(moves) if runs else None
        if by is not None and here.settings.broker_url is None:
            here.say(by)
        return
    done = update_inline(here.engine, scope, now=at, zone=here.zone).get(key)
    if done is not None:
        here.say(f"{key}: {done['added']:,} added, {done['restarted']:,} restarted, {done['removed']:,} removed.")


def _why_not(conn: Connection, key: str, now: datetime) -> str | None:
    """Return why a campaign does not run, or None when it does."""
    (row,) = campaigns.listing(conn, [campaigns.find(conn, key).id])
    return campaigns.status_of(row).why_not(now, session().zone)


def _switch(campaign: str, published: bool, now: str | None) -> bool:
    """Publish or pause a campaign; return whether that changed anything."""
    here = session()
    with here.begin() as conn:
        found = campaigns.find(conn, campaign)
        done = campaign_changes.switch(conn, found, published, who=user(), now=instant(conn, now), zone=here.zone)
    word = "published" if published else "paused"
    here.say(f"{found.key} {'is' if done.changed else 'was already'} {word}.")
    if published and done.why_not:
        here.say(f"It is not running: {done.why_not}.")
    return done.changed


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


def _plans(
    conn: Connection, files: list[tuple[Path, CampaignFile]], *, now: datetime | None = None
) -> list[campaign_plan.CampaignPlan]:
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
    return [campaign_plan.plan(conn, file, zone=here.zone, now=now) for _, file in files]


def confirm_plans(plans: Sequence[campaign_plan.CampaignPlan], *, yes: bool) -> bool:
    """Ask whether plans are to be applied; return whether somebody was asked. Whoever cannot be asked says --yes."""
    cancels = sum(each.cancels for each in plans)
    if yes or all(each.unchanged and each.publishes is None for each in plans):
        return False
    if _interactive():
        typer.confirm("Apply?", abort=True)
        return True
    leaves = sum(each.leaves for each in plans)
    if leaves:
        who = "1 contact leaves" if leaves == 1 else f"{leaves:,} contacts leave"
        raise CampaignError(f"{who} by this; add --yes to confirm")
    if cancels:
        whose = "the wait of 1 contact" if cancels == 1 else f"the waits of {cancels:,} contacts"
        raise CampaignError(f"this cancels {whose}; add --yes to confirm")
    return False


def _interactive() -> bool:
    import sys

    return sys.stdin.isatty() and sys.stdout.isatty()


def user() -> str:
    """Return who calls the command, for the audit."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "command"
