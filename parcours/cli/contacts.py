"""`parcours contacts`: import, create, change, show, merge, export and erase, and what contacts want of channels."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from parcours.cli import file_options
from parcours.cli.session import session
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.keys import checked_key
from parcours.domain.time.text import shown

if TYPE_CHECKING:
    from parcours.db.tables.contacts import Shown
    from parcours.db.tables.scores import PointsLogged, StageLogged
    from parcours.domain.messages.policy import Rule

# Each command imports what it needs: showing a contact is quick, and reads no file.
app = typer.Typer(
    no_args_is_help=True,
    help="Import, create, change, list, show, merge, export and delete contacts; set their channel preferences.",
)


@app.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV, NDJSON or XLSX file; - reads standard input. Rows are matched by key, else by email."
        ),
    ],
    segment: Annotated[str | None, typer.Option(help="Add all contacts to this segment.")] = None,
    column_map: file_options.Map = None,
    do_not_contact: file_options.DoNotContact = None,
    columns: file_options.Columns = None,
    encoding: file_options.Encoding = None,
    delimiter: file_options.Delimiter = None,
    dates: file_options.Dates = None,
    decimal: file_options.Decimal = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show how the columns and first rows are read, without importing.")
    ] = False,
    allow_rejected: file_options.AllowRejected = False,
    same_address: Annotated[
        Literal["merge", "reject"],
        typer.Option(help="What to do with a new contact whose address belongs to another contact: merge or reject."),
    ] = "merge",
    as_json: Annotated[bool, typer.Option("--json", help="Print counts as JSON.")] = False,
) -> None:
    """Add or update contacts from a file, in one transaction.

    The columns email, timezone, points, stage, owner, tags and company (the primary company) set built-in attributes;
    every other column sets a custom field. Exports of common programs work without options. Blank cells and missing
    columns change nothing. An address belongs to one contact unless PARCOURS_SHARED_ADDRESSES is `allow`; see
    --same-address. Rejected rows are written to FILE.rejected with line number and reason, and the exit code is 1. An
    import never removes a do-not-contact entry.
    """
    from parcours.cli.dry_run import show_dry_run
    from parcours.cli.progress import reading
    from parcours.cli.rejected_rows import RejectFile
    from parcours.producers.files.contacts import contact_file
    from parcours.producers.files.options import parse as parse_options
    from parcours.services import contact_import

    here = session()
    options = parse_options(
        columns=column_map or (),
        refusals=do_not_contact or (),
        header=columns,
        encoding=encoding,
        delimiter=delimiter,
        dates=dates,
        decimal=decimal,
    )
    if dry_run:
        with reading(file) as advance, contact_file(file, options, advance) as opened:
            show_dry_run(here, opened, as_json=as_json)
        return
    with RejectFile(file) as rejects, reading(file) as advance, contact_file(file, options, advance) as opened:
        allowed = here.settings.shared_addresses == "allow"
        imported, awaiting, joined = contact_import.run(
            here.engine,
            opened,
            segment,
            rejects.add,
            same_address="allow" if allowed else same_address,
            now=datetime.now(UTC),
            zone=here.zone,
            begin=here.begin,
        )
    if as_json:
        here.print_json(
            {
                "added": imported.added,
                "updated": imported.updated,
                "unchanged": imported.unchanged,
                "merged": imported.merged,
                "rejected": rejects.count,
                "rejected_file": rejects.written,
                "silenced": imported.silenced,
                "kept_by_hand": imported.kept_by_hand,
                "notes": opened.notes,
                "awaiting_update": awaiting,
                "joined": joined,
            }
        )
    else:
        file_options.tell(here, opened.notes)
        here.say(
            f"{imported.added:,} added, {imported.updated:,} updated, {imported.unchanged:,} unchanged, "
            f"{rejects.count:,} rejected" + (f" (see {rejects.written})." if rejects.count else ".")
        )
        if segment is not None:
            are = "1 contact" if joined == 1 else f"{joined:,} contacts"
            here.say(f"{are} joined the segment {segment.strip()}.")
        if imported.merged:
            rows = (
                "1 row has the address of another contact and was"
                if imported.merged == 1
                else f"{imported.merged:,} rows have the address of another contact and were"
            )
            here.say(f"{rows} merged into it. Use --same-address reject to reject such rows.")
        if imported.silenced:
            are = "1 contact is" if imported.silenced == 1 else f"{imported.silenced:,} contacts are"
            here.say(f"{are} marked as do not contact, as stated in the file.")
        if imported.kept_by_hand:
            whom = "1 contact" if imported.kept_by_hand == 1 else f"{imported.kept_by_hand:,} contacts"
            here.say(
                f"The file says that {whom} unsubscribed, but a manual do-not-contact entry exists. The manual entry "
                "stays; a later subscription does not remove it."
            )
        if awaiting:
            campaigns = "campaign" if len(awaiting) == 1 else "campaigns"
            here.say(f"Run `parcours update` to add the contacts to the {campaigns} {', '.join(awaiting)}.")
    file_options.end(here, rejects, allowed=allow_rejected)


@app.command()
def show(
    key: Annotated[str, typer.Argument(help="Key or email address of the contact.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a contact's data and its place in every campaign."""
    from parcours.db.tables import contacts
    from parcours.domain.time.zones import zone_of
    from parcours.services.contact_json import contact_json

    here = session()
    with here.engine.connect() as conn:
        contact = contacts.show(conn, key.strip())
    if contact is None:
        raise NotFoundError("contact", key)
    zone = zone_of(contact.timezone, here.zone)
    if as_json:
        here.print_json(contact_json(contact, zone))
    else:
        _print(contact, zone)


Key = Annotated[str, typer.Argument(metavar="KEY", help="Key of the contact.")]
NewEmail = Annotated[str | None, typer.Option(help='Email address; "" removes it.')]
Timezone = Annotated[str | None, typer.Option(help='IANA timezone, such as Europe/Paris; "" removes it.')]
Owner = Annotated[str | None, typer.Option(help='Owner; "" removes it.')]
Stage = Annotated[str | None, typer.Option(help='Key of the stage; "" removes it.')]
Company = Annotated[str | None, typer.Option(help='Key of the primary company; "" removes it.')]
FieldOption = Annotated[
    list[str] | None,
    typer.Option("--field", metavar="NAME=VALUE", help="Set a custom field; an empty value removes it; repeatable."),
]
Tag = Annotated[list[str] | None, typer.Option("--tag", help="Add this tag; repeatable.")]
Untag = Annotated[list[str] | None, typer.Option("--untag", help="Remove this tag; repeatable.")]
Refuse = Annotated[
    list[str] | None,
    typer.Option("--do-not-contact", metavar="CHANNEL", help="Mark as do not contact on this channel; repeatable."),
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--contact-again", metavar="CHANNEL", help="Remove do not contact on this channel; repeatable."),
]


@app.command()
def create(
    key: Key,
    email: NewEmail = None,
    timezone: Timezone = None,
    owner: Owner = None,
    stage: Stage = None,
    company: Company = None,
    field: FieldOption = None,
    tag: Tag = None,
    do_not_contact: Refuse = None,
) -> None:
    """Create a contact. Campaigns are updated immediately."""
    from parcours.db.tables import contacts

    here = session()
    key = checked_key("contact", key)
    with here.engine.connect() as conn:
        if contacts.find(conn, key) is not None:
            raise CampaignError(f"contact {key!r} already exists; use `parcours contacts update` to change it")
    own = {"email": email, "timezone": timezone, "owner": owner, "stage": stage, "company": company}
    _change(key, own, field, tag, None, do_not_contact, None)
    here.say(f"Contact {key} is created.")


@app.command()
def update(
    key: Key,
    email: NewEmail = None,
    timezone: Timezone = None,
    owner: Owner = None,
    stage: Stage = None,
    company: Company = None,
    field: FieldOption = None,
    tag: Tag = None,
    untag: Untag = None,
    do_not_contact: Refuse = None,
    contact_again: Allow = None,
) -> None:
    """Change a contact. Options you leave out change nothing. Campaigns are updated immediately."""
    from parcours.db.tables import contacts

    here = session()
    key = key.strip()
    with here.engine.connect() as conn:
        if contacts.find(conn, key) is None:
            raise NotFoundError("contact", key, "use `parcours contacts create` for a new one")
    own = {"email": email, "timezone": timezone, "owner": owner, "stage": stage, "company": company}
    if not any((*own.values(), field, tag, untag, do_not_contact, contact_again)) and set(own.values()) == {None}:
        raise CampaignError("nothing to change; `parcours contacts update --help` lists the options")
    _change(key, own, field, tag, untag, do_not_contact, contact_again)
    here.say(f"Contact {key} is updated.")


def _change(
    key: str,
    own: dict[str, str | None],
    fields: list[str] | None,
    tags: list[str] | None,
    untag: list[str] | None,
    refuse: list[str] | None,
    allow: list[str] | None,
) -> None:
    from parcours.domain.events.parsing import EventError
    from parcours.domain.keys import field_value
    from parcours.services import contact_changes
    from parcours.services.contact_changes import ContactChange

    here = session()
    data: dict[str, Any] = {name: value or None for name, value in own.items() if value is not None}
    if fields:
        data["fields"] = {name: value or None for name, value in map(field_value, fields)}
    if tags or untag:
        data["tags"] = {"add": tags or [], "remove": untag or []}
    channels = [[checked_key("channel", each).lower() for each in given or ()] for given in (refuse, allow)]
    change = ContactChange(data, refuse=channels[0], allow=channels[1])
    try:
        contact_changes.apply(here.engine, here.settings, key, change, source="parcours/command")
    except EventError as error:
        # It tells of the event that changes a contact; whoever typed the command knows of none.
        raise CampaignError(str(error).replace(" of contact.changed", "", 1)) from error


@app.command()
def export(
    what: Annotated[
        str,
        typer.Argument(metavar="KEY|FILE", help="Key of a contact; with --segment, the file to write (- for stdout)."),
    ],
    segment: Annotated[str | None, typer.Option(help="Export the active members of this segment.")] = None,
    format_: Annotated[
        Literal["csv", "ndjson"] | None,
        typer.Option("--format", help="Format of the file (default: by its ending, else CSV)."),
    ] = None,
) -> None:
    """Print all data about a contact as JSON, or write the members of a segment to a file.

    The file has all attributes and custom fields, and `contacts import` reads it.
    """
    from parcours.services import contact_export

    here = session()
    if segment is None:
        if format_ is not None:
            raise CampaignError("--format is for the members of a segment; add --segment, or leave out --format")
        with here.engine.connect() as conn:
            here.print_json(contact_export.whole_contact(conn, what.strip(), here.zone))
        return
    by_ending: Literal["csv", "ndjson"] = "ndjson" if what.endswith((".ndjson", ".jsonl")) else "csv"
    parts = contact_export.segment_lines(here.engine, segment.strip(), format_ or by_ending)
    if what == "-":
        for part in parts:
            typer.echo(part, nl=False)
        return
    try:
        with Path(what).open("w", encoding="utf-8", newline="") as file:
            for part in parts:
                file.write(part)
    except OSError as error:
        raise CampaignError(
            f"{what} cannot be written ({error.strerror}); name a file in a folder that exists, or - for stdout"
        ) from error
    here.say(f"Members of {segment} were written to {what}.")


@app.command()
def delete(
    key: Key,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt as JSON.")] = False,
) -> None:
    """Erase a contact and all data about it. This cannot be undone."""
    from parcours.db.tables import contacts
    from parcours.services import contact_changes

    here = session()
    key = key.strip()
    with here.engine.connect() as conn:
        if contacts.find(conn, key) is None:
            raise NotFoundError("contact", key)
    if not yes:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise CampaignError("erasing cannot be undone; add --yes to erase without a question")
        typer.confirm(f"Erase {key} and all data about this contact? This cannot be undone.", abort=True)
    receipt = contact_changes.erase(here.engine, here.settings, key, source="parcours/command")
    if as_json:
        here.print_json(receipt.to_json())
        return
    counted = ", ".join(f"{n:,} {kind if n > 1 else kind.removesuffix('s')}" for kind, n in receipt.rows.items() if n)
    more = f": {counted}." if counted else "."
    here.say(f"Contact {receipt.contact} was erased at {here.time(receipt.erased_at)}{more}")


@app.command("list")
def list_(
    beginning: Annotated[
        str | None,
        typer.Argument(
            metavar="[BEGINNING]",
            help="Only contacts whose key, email, first or last name starts with this text, or FIELD=VALUE.",
        ),
    ] = None,
    segment: Annotated[str | None, typer.Option(help="Only active members of this segment.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Only contacts in this campaign (key or id).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Contacts per page.")] = 100,
    before: Annotated[
        int | None, typer.Option(min=1, help="Show the page after this position, which the previous page printed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List contacts, newest first, one page at a time."""
    from parcours.db.reads import listings
    from parcours.db.tables import campaigns, segments
    from parcours.services.contact_json import contact_line

    here = session()
    if segment is not None and campaign is not None:
        raise CampaignError("use --segment or --campaign, not both")
    with here.engine.connect() as conn:
        found = listings.search(conn, beginning or "")
        segment_id = None
        if segment is not None:
            known = segments.find(conn, segment.strip())
            if known is None:
                raise NotFoundError("segment", segment, "run `parcours segments list` to see all segments")
            segment_id = known.id
        page = listings.contacts(
            conn,
            found=found,
            before=before or listings.FIRST,
            limit=limit,
            segment_id=segment_id,
            campaign_id=None if campaign is None else campaigns.find(conn, campaign).id,
        )
    if found is not None and found.more:
        here.warn(f"more than {listings.FOUND_AT_MOST:,} contacts match; enter a longer text to see all")
    if as_json:
        here.print_json({"contacts": list(map(contact_line, page.rows)), "before": page.after})
        return
    columns = ("key", "email", "name", "timezone", "points", "stage", "created_at", "last_active_at", "tags")
    here.print_table("", columns, [[_shown(getattr(line, column)) for column in columns] for line in page.rows])
    if page.after is not None:
        here.say(f"More contacts: use --before {page.after} for the next page.")


def _shown(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, list) else value


@app.command()
def merge(
    gone: Annotated[str, typer.Argument(metavar="FROM", help="Key of the contact to merge and remove.")],
    into: Annotated[str, typer.Argument(metavar="INTO", help="Key of the contact to keep.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Merge one contact into another.

    This cannot be undone. FROM's data moves to INTO; where both have a value, INTO keeps its own. FROM's key then
    refers to INTO. In campaigns with both contacts, INTO continues and FROM's waits are cancelled.
    """
    from parcours.db import merge_locks, partitions
    from parcours.db.tables import merging
    from parcours.workers import local_time, rules

    here = session()
    gone, into = checked_key("contact", gone), checked_key("contact", into)
    if gone == into:
        raise CampaignError(f"cannot merge contact {into!r} into itself; give two different contacts")
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        typer.confirm(f"Merge {gone} into {into}? This cannot be undone.", abort=True)
    now = partitions.begin(here.engine)
    with here.begin() as conn:
        merge_locks.shut_out_imports(conn)
        ids = merging.lock(conn, [gone, into])
        led = merging.aliases(conn, [gone, into])
        for key in (gone, into):
            if key in led:
                hint = f"run `parcours contacts show {key}` to see which contact"
                raise CampaignError(f"contact {key!r} is already merged into another contact; {hint}")
            if key not in ids:
                raise NotFoundError("contact", key)
        merged = merging.merge(conn, {ids[gone]: ids[into]}, now=now)
        local_time.follow(conn, now=now, zone=here.zone, of=[ids[into]])
        rules.follow(conn, now=now, zone=here.zone)
    if as_json:
        here.print_json({"from": gone, "into": into, **merged._asdict()})
        return
    here.say(f"Merged {gone} into {into}. The key {gone} now refers to {into}.")
    if merged.memberships_dropped:
        here.say(
            f"Campaigns with both contacts: {merged.memberships_dropped:,}. Waits of {gone} cancelled: "
            f"{merged.waits_cancelled:,}."
        )


@app.command()
def channel(
    key: Annotated[str, typer.Argument(help="Key of the contact.")],
    channel: Annotated[str, typer.Argument(help="Channel, such as email, sms or push.")],
    number: Annotated[int | None, typer.Option(min=1, help="Maximum number of messages per period.")] = None,
    period: Annotated[Literal["day", "week", "month"] | None, typer.Option(help="Period of --number.")] = None,
    preferred: Annotated[
        bool | None, typer.Option("--preferred/--not-preferred", help="Try this channel first.")
    ] = None,
    pause_from: Annotated[
        str | None,
        typer.Option(help="Start of a pause in sending: ISO 8601 date or time, in the contact's timezone."),
    ] = None,
    pause_until: Annotated[str | None, typer.Option(help="End of the pause (default: no end).")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove earlier settings first.")] = False,
) -> None:
    """Set a contact's preferences for a channel. Options you leave out change nothing."""
    from parcours.db.clock import now as database_now
    from parcours.db.reads import batch
    from parcours.db.tables import contacts, policies
    from parcours.domain.messages.policy import as_data, parse_rule
    from parcours.domain.time.zones import zone_of

    here = session()
    channel = checked_key("channel", channel).lower()
    given = {"number": number, "period": period, "preferred": preferred}
    if not clear and all(value is None for value in (*given.values(), pause_from, pause_until)):
        raise CampaignError("nothing to set; use --number and --period, --preferred, --pause-from or --pause-until")
    with here.begin() as conn:
        contact = contacts.show(conn, key.strip())
        if contact is None or not batch.lock(conn, [contact.id]):
            raise NotFoundError("contact", key)
        zone = zone_of(contact.timezone, here.zone)
        before = policies.rules(conn, [contact.id]).get(contact.id, {})
        data = {} if clear or channel not in before else as_data(before[channel])
        data |= {name: value for name, value in given.items() if value is not None}
        for name, option, text in (
            ("paused_from", "--pause-from", pause_from),
            ("paused_until", "--pause-until", pause_until),
        ):
            if text is not None:
                data[name] = _moment(option, text, zone)
        try:
            rule = parse_rule(data)
        except ValueError as error:
            raise CampaignError(f"{channel}: {error}") from None
        policies.set_rule(conn, contact.id, channel, None if rule.says_nothing else rule, now=database_now(conn))
    here.say(f"{contact.key}, {channel}: {_in_words(rule, zone)}.")


def _moment(option: str, text: str, zone: ZoneInfo) -> str:
    from parcours.domain.operators import instant

    found = instant(text, zone)
    if found is None:
        raise CampaignError(
            f"{option} {text!r} is not a date or time; write it like 2026-12-24 or 2026-12-24T09:00+01:00"
        )
    return found.isoformat()


def _in_words(rule: Rule, zone: ZoneInfo) -> str:
    """Return what a contact wants of a channel, for a person."""
    words = []
    if rule.preferred:
        words.append("preferred")
    if rule.cap is not None:
        words.append(f"at most {rule.cap.number} a {rule.cap.period}")
    if rule.paused_from is not None or rule.paused_until is not None:
        ends = [
            f"{word} {shown(at, zone)}"
            for word, at in (("from", rule.paused_from), ("until", rule.paused_until))
            if at is not None
        ]
        words.append(f"paused {' '.join(ends)}")
    return ", ".join(words) or "no preferences"


def _print(contact: Shown, zone: ZoneInfo) -> None:
    here = session()
    attributes = [
        ("email", contact.email),
        ("timezone", contact.timezone or f"none ({zone.key} is used)"),
        ("points", str(contact.points)),
        *((f"points in {group}", str(points)) for group, points in sorted(contact.scores.items())),
        ("stage", contact.stage),
        ("owner", contact.owner),
        *((name, str(value)) for name, value in sorted(contact.fields.items())),
        *sorted(contact.utm.items()),
        ("tags", ", ".join(contact.tags)),
        ("segments", ", ".join(contact.segments)),
        ("merged with", ", ".join(contact.aliases)),
        ("companies", ", ".join(contact.companies)),
        *((f"by {channel}", _in_words(rule, zone)) for channel, rule in contact.rules.items()),
    ]
    known = [(name, value) for name, value in attributes if value]
    here.print_table(f"Contact {contact.key}", ["", "value"], known)
    if contact.refusals:
        refused = [
            (each.channel, each.address or "any", each.reason, shown(each.at, zone), each.comment or "")
            for each in contact.refusals
        ]
        here.print_table("Do not contact", ["channel", "address", "reason", "since", "comment"], refused)
    if not contact.campaigns:
        here.say("Not in any campaign.")
    for standing in contact.campaigns:
        title = f"Campaign {standing.campaign}, rotation {standing.rotation}, joined {shown(standing.added_at, zone)}"
        if standing.left_at is not None:
            title += f", left {shown(standing.left_at, zone)} ({standing.departure})"
        rows = [(passed.step, passed.result, shown(passed.at, zone)) for passed in standing.outcomes]
        for wait in standing.waits:
            due = "no deadline" if wait.due_at is None else shown(wait.due_at, zone)
            failed = f"; the last attempt failed: {wait.error}" if wait.error else ""
            rows.append((wait.step, f"waits ({wait.waiting}){failed}", due))
        here.print_table(title, ["step", "result", "at or due"], rows)
    _print_logs(contact, zone)


def _print_logs(contact: Shown, zone: ZoneInfo) -> None:
    here = session()
    if contact.point_log:
        points = [
            (shown(each.at, zone), f"{each.change:+}", each.points, each.group, _by(each)) for each in contact.point_log
        ]
        here.print_table("Latest points", ["at", "change", "points", "group", "by"], points)
    if contact.stage_log:
        stages = [(shown(each.at, zone), each.before, each.after, _by(each)) for each in contact.stage_log]
        here.print_table("Latest stages", ["at", "from", "to", "by"], stages)


def _by(logged: PointsLogged | StageLogged) -> str:
    return logged.source or f"{logged.campaign} / {logged.step}"
