"""`parcours update` and `parcours trigger`, with the options of Mautic's commands.

They store a request for a sweep, publish a hint and return; `--wait` waits for the sweep, `--inline` does it in this
process.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, Engine

from parcours.cli.instants import Now, instant
from parcours.cli.outbox import send_out
from parcours.cli.session import Session, session
from parcours.db.scope import Reason, Scope
from parcours.db.tables import campaigns, contacts, sweeps
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.services.ask_sweep import ask_sweep
from parcours.workers.delivery.channels import delivery_of
from parcours.workers.sweeps import Counts, finish_if_done, running, trigger_inline, update_inline

update_app = typer.Typer()
trigger_app = typer.Typer()

UPDATE_COLUMNS = ("added", "removed", "restarted")
TRIGGER_COLUMNS = ("done", "skipped", "failed", "yes", "no", "scheduled", "cancelled")

# A sweep that nobody has started after this long gets a word on standard error.
PATIENCE_SECONDS = 10

CampaignId = Annotated[str | None, typer.Option("-i", "--campaign-id", help="Only this campaign (id or key).")]
ContactId = Annotated[str | None, typer.Option("--contact-id", help="Only this contact (id or key).")]
ContactIds = Annotated[
    str | None, typer.Option("--contact-ids", help="Only these contacts: ids or keys, comma-separated.")
]
MinContact = Annotated[str | None, typer.Option("--min-contact-id", help="First contact of a range (id or key).")]
MaxContact = Annotated[str | None, typer.Option("--max-contact-id", help="Last contact of a range (id or key).")]
ThreadId = Annotated[
    int | None, typer.Option("--thread-id", min=1, help="Number of this partition of the contacts, from 1.")
]
MaxThreads = Annotated[int | None, typer.Option("--max-threads", min=1, help="Total number of partitions.")]
BatchLimit = Annotated[int | None, typer.Option("-l", "--batch-limit", min=1, help="Contacts per batch.")]
Exclude = Annotated[list[str] | None, typer.Option("-d", "--exclude", help="Exclude a campaign; repeatable.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until the sweep is done; show progress and counts.")]
Inline = Annotated[bool, typer.Option("--inline", help="Do the work in this process; no broker needed.")]
Json = Annotated[bool, typer.Option("--json", help="Print counts as JSON; needs --inline or --wait.")]
_IGNORED = "Ignored; accepted for compatibility with Mautic crontabs."
Env = Annotated[str | None, typer.Option("-e", "--env", hidden=True, help=_IGNORED)]
NoInteraction = Annotated[bool, typer.Option("-n", "--no-interaction", hidden=True, help=_IGNORED)]
Verbose = Annotated[int, typer.Option("-v", "--verbose", count=True, hidden=True, help=_IGNORED)]
Ansi = Annotated[bool, typer.Option("--ansi/--no-ansi", hidden=True, help=_IGNORED)]
NoDebug = Annotated[bool, typer.Option("--no-debug", hidden=True, help=_IGNORED)]


@update_app.command()
def update(
    campaign_id: CampaignId = None,
    contact_id: ContactId = None,
    contact_ids: ContactIds = None,
    min_contact_id: MinContact = None,
    max_contact_id: MaxContact = None,
    thread_id: ThreadId = None,
    max_threads: MaxThreads = None,
    batch_limit: BatchLimit = None,
    max_contacts: Annotated[
        int | None,
        typer.Option(
            "-m", "--max-contacts", min=0, help="Maximum number of contacts to move per campaign; 0: no limit."
        ),
    ] = None,
    exclude: Exclude = None,
    quiet: Quiet = False,
    wait: Wait = False,
    inline: Inline = False,
    now: Now = None,
    as_json: Json = False,
    env: Env = None,
    no_interaction: NoInteraction = False,
    verbose: Verbose = 0,
    ansi: Ansi = False,
    no_debug: NoDebug = False,
) -> None:
    """Synchronize members of one or all campaigns with their segments: add and remove contacts."""
    here = session()
    with here.engine.connect() as conn:
        at = instant(conn, now)
        scope = _scope(
            conn,
            campaign_id,
            contact_id,
            contact_ids,
            min_contact_id,
            max_contact_id,
            thread_id,
            max_threads,
            batch_limit,
            exclude,
            limit=max_contacts or None,
        )

    def work(engine: Engine, progress: Callable[[Counts], None]) -> Counts:
        return update_inline(engine, scope, now=at, zone=here.zone, progress=progress)

    _run(here, "update", scope, at, work, UPDATE_COLUMNS, quiet=quiet, wait=wait, inline=inline, as_json=as_json)


@trigger_app.command()
def trigger(
    campaign_id: CampaignId = None,
    campaign_limit: Annotated[
        int | None, typer.Option("--campaign-limit", min=1, help="Maximum number of contacts to process per campaign.")
    ] = None,
    contact_id: ContactId = None,
    contact_ids: ContactIds = None,
    min_contact_id: MinContact = None,
    max_contact_id: MaxContact = None,
    thread_id: ThreadId = None,
    max_threads: MaxThreads = None,
    kickoff_only: Annotated[bool, typer.Option("--kickoff-only", help="Only first steps of new members.")] = False,
    scheduled_only: Annotated[bool, typer.Option("--scheduled-only", help="Only delayed steps and retries.")] = False,
    inactive_only: Annotated[
        bool, typer.Option("--inactive-only", help='Only "no" paths of decisions whose deadline has passed.')
    ] = False,
    batch_limit: BatchLimit = None,
    exclude: Exclude = None,
    quiet: Quiet = False,
    wait: Wait = False,
    inline: Inline = False,
    now: Now = None,
    as_json: Json = False,
    env: Env = None,
    no_interaction: NoInteraction = False,
    verbose: Verbose = 0,
    ansi: Ansi = False,
    no_debug: NoDebug = False,
) -> None:
    """Run due steps of one or all campaigns: first steps, delayed steps, retries and "no" paths.

    With --inline, due messages are sent too.
    """
    here = session()
    reasons: list[Reason] = []
    if kickoff_only:
        reasons += ["kickoff"]
    if scheduled_only:
        reasons += ["delay", "retry"]
    if inactive_only:
        reasons += ["decision"]
    with here.engine.connect() as conn:
        at = instant(conn, now)
        scope = _scope(
            conn,
            campaign_id,
            contact_id,
            contact_ids,
            min_contact_id,
            max_contact_id,
            thread_id,
            max_threads,
            batch_limit,
            exclude,
            limit=campaign_limit,
            reasons=tuple(reasons) or None,
        )

    delivery = delivery_of(here.engine, here.settings) if inline else None

    def work(engine: Engine, progress: Callable[[Counts], None]) -> Counts:
        known = here.settings
        return trigger_inline(
            engine,
            scope,
            now=at,
            zone=here.zone,
            batch_size=known.batch_size,
            progress=progress,
            stop=known.stop_rule,
        )

    _run(here, "trigger", scope, at, work, TRIGGER_COLUMNS, quiet=quiet, wait=wait, inline=inline, as_json=as_json)
    if delivery is not None:
        send_out(here, delivery, scope, now=at, quiet=quiet or as_json)


def _run(
    here: Session,
    kind: sweeps.Kind,
    scope: Scope,
    at: datetime,
    work: Callable[[Engine, Callable[[Counts], None]], Counts],
    columns: tuple[str, ...],
    *,
    quiet: bool,
    wait: bool,
    inline: bool,
    as_json: bool,
) -> None:
    with here.engine.connect() as conn:
        names = [key for _, key in running(conn, scope, at)]
        idle = _why_idle(conn, scope, at)
    if idle and not quiet:
        here.warn(idle)
    if inline or wait:
        with _Progress(here, columns, shown=not (quiet or as_json)) as progress:
            counts = work(here.engine, progress.show) if inline else _watch(here, _ask(here, kind, scope, at), progress)
        counts = {**{name: Counter[str]() for name in names}, **counts}
        _print(here, counts, columns, quiet=quiet, as_json=as_json)
        return
    if not names:
        # Nothing would happen; a cron line should not leave rows behind.
        if as_json:
            here.print_json({"campaigns": []})
        return
    sweep_id = _ask(here, kind, scope, at)
    if as_json:
        here.print_json({"sweep": sweep_id})
    elif not quiet:
        by = "the workers" if here.settings.broker_url is not None else "`parcours up`; --inline does it at once"
        here.say(f"Queued {kind} of {', '.join(names)} as sweep {sweep_id}. It is done by {by}.")


def _ask(here: Session, kind: sweeps.Kind, scope: Scope, at: datetime) -> int:
    """Write the sweep down, then hint at it. Without a broker a running `parcours up` or tick finds it."""
    sweep_id, untold = ask_sweep(here.engine, here.settings.broker_url, kind, scope, at=at)
    if untold is not None:
        here.warn(untold)
    return sweep_id


def _watch(here: Session, sweep_id: int, progress: _Progress) -> Counts:
    asked, told = time.monotonic(), False
    while True:
        with here.begin() as conn:
            sweep = sweeps.find(conn, sweep_id)
            done = sweep is None or finish_if_done(conn, sweep)
            counts = sweeps.counts(conn, sweep_id)
        progress.show(counts)
        if sweep is None or done:
            return counts
        if sweep.started_at is None and not told and time.monotonic() - asked > PATIENCE_SECONDS:
            told = True
            here.warn(
                f"sweep {sweep_id} has not started yet; start `parcours up`, or a `parcours worker` for the queue "
                "sweeps. Ctrl-C ends the waiting; the sweep stays queued. --inline needs no worker"
            )
        time.sleep(0.1)


def _why_idle(conn: Connection, scope: Scope, at: datetime) -> str | None:
    """Return why the one campaign that was named does not run, or that none does."""
    rows = campaigns.listing(conn, scope.campaign_ids)
    unreadable = campaigns.unreadable(conn, rows)
    reasons = {
        row.key: campaigns.status_of(row, unreadable.get(row.id)).why_not(at, session().zone)
        for row in rows
        if row.id not in scope.excluded
    }
    if scope.campaign_ids is not None:
        return next(
            (f"campaign {key!r} is not running: {why}; nothing was done" for key, why in reasons.items() if why), None
        )
    return None if any(why is None for why in reasons.values()) else "no campaign is running; nothing was done"


def _print(here: Session, counts: Counts, columns: tuple[str, ...], *, quiet: bool, as_json: bool) -> None:
    if as_json:
        rows = [{"campaign": key, **{column: found[column] for column in columns}} for key, found in counts.items()]
        here.print_json({"campaigns": rows})
    elif not quiet:
        here.print_table(
            "", ("campaign", *columns), [(key, *(found[column] for column in columns)) for key, found in counts.items()]
        )


class _Progress:
    """One line that changes while a sweep goes on, on a terminal only."""

    def __init__(self, here: Session, columns: tuple[str, ...], *, shown: bool) -> None:
        self._columns = columns
        self._status = here.console.status("starting") if shown and here.console.is_terminal else None

    def __enter__(self) -> _Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._status is not None:
            self._status.stop()

    def show(self, counts: Counts) -> None:
        if self._status is not None:
            total: Counter[str] = sum(counts.values(), Counter())
            self._status.update(
                ", ".join(f"{column} {total[column]:,}" for column in self._columns if total[column]) or "…"
            )


def _scope(
    conn: Connection,
    campaign_id: str | None,
    contact_id: str | None,
    contact_ids: str | None,
    min_contact_id: str | None,
    max_contact_id: str | None,
    thread_id: int | None,
    max_threads: int | None,
    batch_limit: int | None,
    exclude: list[str] | None,
    *,
    limit: int | None,
    reasons: tuple[Reason, ...] | None = None,
) -> Scope:
    if (thread_id is None) != (max_threads is None):
        raise typer.BadParameter("use --thread-id and --max-threads together")
    if thread_id is not None and max_threads is not None and thread_id > max_threads:
        raise CampaignError(f"--thread-id {thread_id} is greater than --max-threads {max_threads}")
    named = [contact_id] if contact_id else [each.strip() for each in (contact_ids or "").split(",") if each.strip()]
    ids = _contact_ids(conn, named)
    # A single id goes before a list, a list before a range.
    ranged = not named
    return Scope(
        campaign_ids=None if campaign_id is None else (campaigns.find(conn, campaign_id).id,),
        excluded=() if campaign_id else _excluded(conn, exclude or []),
        contact_ids=tuple(sorted({ids[each] for each in named})) if named else None,
        min_id=_bound(conn, min_contact_id) if ranged else None,
        max_id=_bound(conn, max_contact_id) if ranged else None,
        thread=thread_id,
        threads=max_threads,
        reasons=reasons,
        batch_limit=batch_limit,
        campaign_limit=limit,
    )


def _excluded(conn: Connection, named: list[str]) -> tuple[int, ...]:
    """Return the ids of campaigns to leave out. One that is gone is left out anyway: the line goes on without it."""
    found = []
    for each in named:
        try:
            found.append(campaigns.find(conn, each).id)
        except NotFoundError as error:
            session().warn(f"--exclude: {error}; nothing to exclude")
    return tuple(found)


def _contact_ids(conn: Connection, named: list[str]) -> dict[str, int]:
    """Return the ids of contacts given by key or id; a key goes before an id that looks the same."""
    found = contacts.named(conn, named)
    for each in named:
        if each not in found and each.isdecimal():
            found[each] = int(each)
        elif each not in found:
            raise NotFoundError("contact", each)
    return found


def _bound(conn: Connection, named: str | None) -> int | None:
    return None if named is None else _contact_ids(conn, [named])[named]
