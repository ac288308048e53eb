"""`parcours segments`: create, apply from files, fill, list and explain."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from parcours.cli import file_options
from parcours.cli.instants import Now, begin, given, instant
from parcours.cli.progress import reading
from parcours.cli.rejected_rows import RejectFile
from parcours.cli.session import session
from parcours.db import partitions
from parcours.db.tables import campaigns, contacts, rebuilds, rules, segments
from parcours.db.tables.segments import Segment
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.keys import checked_key
from parcours.producers.files.campaigns import CampaignFileError, write
from parcours.producers.files.contacts import Named, contact_file
from parcours.producers.files.options import parse as parse_options
from parcours.producers.files.rows import RejectedRow
from parcours.producers.files.segments import SegmentDocument, read
from parcours.services import manual_changes, removal, segment_explained, segment_plan, segment_rules
from parcours.services.segment_explained import in_words
from parcours.services.segment_json import definition, segment_json
from parcours.services.segment_plan import SegmentPlan
from parcours.workers import rebuilding

app = typer.Typer(
    no_args_is_help=True, help="Create segments, apply rules from files, add and list members, and explain."
)

NAMES_A_STATEMENT = 20_000

SegmentKey = Annotated[str, typer.Argument(metavar="KEY", help="Key of the segment.")]
OneContact = Annotated[str, typer.Argument(metavar="CONTACT", help="Key or email address of the contact.")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE…", help="Segment files (YAML).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ResetManual = Annotated[
    bool,
    typer.Option(
        "--reset-manual", help="Let the rules also decide about contacts that were added or removed manually."
    ),
]
RULE_WORDS = {"all": "all of", "any": "any of", "not": "not"}

ContactKeys = Annotated[list[str], typer.Argument(metavar="CONTACT...", help="Keys or email addresses of contacts.")]


@app.command()
def create(
    key: SegmentKey,
    name: Annotated[str | None, typer.Option(help="Display name (default: the key).")] = None,
    public: Annotated[
        bool | None,
        typer.Option("--public/--private", help="Only public segments can be campaign sources (default: public)."),
    ] = None,
    published: Annotated[bool | None, typer.Option("--published/--unpublished", help="Default: published.")] = None,
) -> None:
    """Create a segment, or update the given values of an existing one."""
    here = session()
    key = checked_key("segment", key)
    with here.begin() as conn:
        if published is False:
            _refuse_if_used(conn, key)
        stored = segments.save(conn, key, name=name, public=public, published=published)
    here.say(
        {
            "created": f"Segment {key} is created.",
            "updated": f"Segment {key} existed and is updated.",
            "unchanged": f"Segment {key} existed already; nothing changed.",
        }[stored]
    )


def _refuse_if_used(conn: Connection, key: str) -> None:
    segment = segments.find(conn, key)
    campaigns = [] if segment is None or not segment.published else segments.users(conn, segment.id)
    if campaigns:
        raise CampaignError(
            f"segment {key!r} cannot be unpublished because it is a source of {', '.join(campaigns)}; remove it "
            "there first"
        )


@app.command()
def plan(files: Files, reset_manual: ResetManual = False, now: Now = None, as_json: Json = False) -> None:
    """Show what applying segment files would change: members added and removed, and the effect on campaigns."""
    here = session()
    documents = _read(files)
    given(now)
    with here.engine.connect() as conn:
        plans = _plans(conn, documents, forget=reset_manual, now=instant(conn, now))
    if as_json:
        here.print_json([each.to_json() for each in plans])
        return
    for each in plans:
        for line in each.lines():
            here.say(line)


@app.command()
def apply(
    files: Files,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Apply without asking.")] = False,
    reset_manual: ResetManual = False,
    now: Now = None,
) -> None:
    """Create or update segments from files, all or none. The plan is shown first. Files can refer to each other.

    When the command returns, the members and the campaigns are updated.
    """
    here = session()
    documents = _read(files)
    given(now)
    with here.engine.connect() as conn:
        plans = _plans(conn, documents, forget=reset_manual, now=instant(conn, now))
    for each in plans:
        for line in each.lines():
            here.say(line)
    _confirm(plans, yes=yes)
    at = begin(here.engine, now)
    wanted = [file for document in documents for file in document.segments]
    with here.begin() as conn:
        stamps = {each.segment: each.stamp for each in plans if each.file is not None}
        asked = segment_rules.apply(conn, wanted, forget=reset_manual, now=at, stamps=stamps)
    with here.console.status("evaluating rules") as status:
        done = rebuilding.work_all(
            here.engine,
            asked,
            now=at,
            zone=here.zone,
            progress=lambda left: status.update(f"evaluating rules; {left:,} contact ranges left"),
        )
    here.say("Applied.")
    if not done:
        here.warn(
            "Some contacts are locked by other processes. Workers or the next `parcours update` evaluate the rules for "
            "them."
        )


@app.command()
def export(key: SegmentKey) -> None:
    """Print a segment as YAML for `apply`."""
    here = session()
    with here.engine.connect() as conn:
        typer.echo(write(definition(conn, key.strip())), nl=False)


@app.command()
def show(key: SegmentKey, as_json: Json = False) -> None:
    """Show a segment: its number of members, its campaigns, and its rule."""
    here = session()
    with here.engine.connect() as conn:
        segment = _segment(conn, key)
        (line,) = segments.listed(conn, key=segment.key)
        file = definition(conn, segment.key)
        book = rules.book(conn)
        aside = rules.set_aside(conn).get(segment.key)
        unfinished = rebuilds.left(conn, [segment.id])
    asked = sum(each.chunks for each in unfinished)
    if as_json:
        more = {"rule": file.get("rule"), "set_aside": aside, "ranges_left": asked}
        here.print_json({**segment_json(line), **more})
        return
    here.say(
        f"{line.name} ({line.key}): {line.members:,} members; public {_yes(line.public)}, "
        f"published {_yes(line.published)}; used by {', '.join(line.campaigns) or 'no campaign'}"
    )
    if segment.id in book.rules:
        here.say("Its members are the contacts that match:")
        for depth, kind, words in in_words(book.rules[segment.id].rule):
            here.say(f"{'  ' * (depth + 1)}{RULE_WORDS.get(kind or '', words)}")
    elif "rule" not in file:
        here.say("It has no rule. Contacts are added manually and by events.")
    if aside is not None:
        here.warn(f"Its rule fails: {aside}. Membership does not change where the rule fails.")
    if unfinished:
        here.say(f"The rule is being evaluated for all contacts; {asked:,} contact ranges left.")


@app.command()
def explain(segment: SegmentKey, contact: OneContact, now: Now = None, as_json: Json = False) -> None:
    """Explain why a contact is in a segment or not: the result of each condition, and manual changes."""
    here = session()
    given(now)
    with here.engine.connect() as conn:
        found = segment_explained.explain(
            conn, segment.strip(), contact.strip(), now=instant(conn, now), zone=here.zone
        )
    if as_json:
        here.print_json(found.to_json())
        return
    for sentence in found.sentences():
        here.say(sentence)


@app.command()
def release(key: SegmentKey, contact: ContactKeys) -> None:
    """Undo manual changes: the segment's rule decides about these contacts again."""
    here = session()
    now = partitions.begin(here.engine)
    with here.begin() as conn:
        segment = _segment(conn, key)
        wanted = _contacts(conn, contact)
        released = manual_changes.release(conn, segment.id, wanted, now=now, zone=here.zone)
    here.say(f"{released:,} released, {len(wanted) - released:,} had not been added or removed manually.")


@app.command()
def add(key: SegmentKey, contact: ContactKeys, now: Now = None) -> None:
    """Add contacts to a segment manually. Rules never remove them. Campaigns change with the next `update`."""
    here = session()
    with here.begin() as conn:
        segment = _segment(conn, key)
        campaigns.read_by_index(conn)
        wanted = _contacts(conn, contact)
        entered = segments.add_members(conn, segment.id, wanted, manual=True, now=instant(conn, now))
    here.say(f"{len(entered):,} added to {segment.key}, {len(wanted) - len(entered):,} already in it.")


@app.command()
def remove(key: SegmentKey, contact: ContactKeys, now: Now = None) -> None:
    """Remove contacts from a segment manually. Rules never add them again. Campaigns change with the next `update`."""
    here = session()
    with here.begin() as conn:
        segment = _segment(conn, key)
        campaigns.read_by_index(conn)
        wanted = _contacts(conn, contact)
        left = segments.remove_members(conn, segment.id, wanted, manual=True, now=instant(conn, now))
    here.say(f"{len(left):,} removed from {segment.key}, {len(wanted) - len(left):,} not in it.")


@app.command("import")
def import_(
    key: SegmentKey,
    file: Annotated[
        Path,
        typer.Argument(
            help="One contact key per line, or CSV, NDJSON or XLSX with a column key or email; - reads standard input."
        ),
    ],
    column_map: file_options.Map = None,
    columns: file_options.Columns = None,
    encoding: file_options.Encoding = None,
    delimiter: file_options.Delimiter = None,
    allow_rejected: file_options.AllowRejected = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print counts as JSON.")] = False,
) -> None:
    """Add the contacts in a file to a segment manually, in one transaction.

    Unknown contacts are written to FILE.rejected, and the exit code is then 1.
    """
    here = session()
    now = datetime.now(UTC)
    options = parse_options(columns=column_map or (), header=columns, encoding=encoding, delimiter=delimiter)
    added = named = 0
    with (
        RejectFile(file) as rejects,
        reading(file) as advance,
        contact_file(file, options, advance, plain=True) as opened,
    ):
        with here.begin() as conn:
            campaigns.read_by_index(conn)
            segment = _segment(conn, key)
            rows = opened.names()
            found: list[int] = []
            while batch := list(islice(rows, NAMES_A_STATEMENT)):
                found += _known(conn, batch, rejects)
                named += len(batch)
            # In the order of ids, in which everybody takes the locks of contacts.
            found = sorted(set(found))
            for start in range(0, len(found), NAMES_A_STATEMENT):
                ids = found[start : start + NAMES_A_STATEMENT]
                added += len(segments.add_members(conn, segment.id, ids, manual=True, now=now))
        if named >= NAMES_A_STATEMENT:
            with here.begin() as conn:
                contacts.analyze(conn)
    already = named - rejects.count - added
    if as_json:
        here.print_json(
            {"added": added, "already": already, "rejected": rejects.count, "rejected_file": rejects.written}
        )
    else:
        file_options.tell(here, opened.notes)
        here.say(
            f"{added:,} added to {segment.key}, {already:,} already in it, {rejects.count:,} rejected"
            + (f" (see {rejects.written})." if rejects.count else ".")
        )
    file_options.end(here, rejects, allowed=allow_rejected)


def _known(conn: Connection, batch: Sequence[Named | RejectedRow], rejects: RejectFile) -> list[int]:
    found = contacts.named(conn, [row.name for row in batch if isinstance(row, Named)])
    ids = []
    for row in batch:
        if isinstance(row, RejectedRow):
            rejects.add(row)
        elif row.name in found:
            ids.append(found[row.name])
        else:
            rejects.add(RejectedRow(row.line, f"unknown contact {row.name!r}", row.row))
    return ids


@app.command()
def delete(
    key: SegmentKey,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a segment that no campaign, no draft and no rule uses. Its contacts stay."""
    here = session()
    key = key.strip()
    with here.engine.begin() as conn:
        if not yes and sys.stdin.isatty() and sys.stdout.isatty():
            typer.confirm(f"Delete the segment {key}? Its contacts stay.", abort=True)
        removal.delete_segment(conn, key)
    here.say(f"Segment {key} is deleted.")


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List segments with their number of members and their campaigns."""
    here = session()
    with here.engine.connect() as conn:
        found = segments.listed(conn)
    if as_json:
        here.print_json(list(map(segment_json, found)))
        return
    here.print_table(
        "Segments",
        ["key", "name", "public", "published", "by rule", "members", "used by"],
        [
            (
                line.key,
                line.name,
                _yes(line.public),
                _yes(line.published),
                _yes(line.by_rule),
                line.members,
                ", ".join(line.campaigns),
            )
            for line in found
        ],
    )


def _read(paths: Sequence[Path]) -> list[SegmentDocument]:
    """Return the segments of files; every problem of every file is reported together."""
    found, problems = [], []
    for path in paths:
        try:
            found.append(read(path))
        except CampaignFileError as error:
            problems += error.problems
    if problems:
        raise CampaignFileError(problems)
    return found


def _plans(conn: Connection, documents: Sequence[SegmentDocument], *, forget: bool, now: datetime) -> list[SegmentPlan]:
    here = session()
    files = [file for document in documents for file in document.segments]
    of = {id(file): document for document in documents for file in document.segments}
    problems = [
        located for file, problem in segment_plan.problems(conn, files) for located in of[id(file)].located([problem])
    ]
    if problems:
        raise CampaignFileError(problems)
    return segment_plan.plan(conn, files, forget=forget, now=now, zone=here.zone)


def _confirm(plans: Sequence[SegmentPlan], *, yes: bool) -> None:
    if yes or all(each.is_nothing for each in plans):
        return
    if sys.stdin.isatty() and sys.stdout.isatty():
        typer.confirm("Apply?", abort=True)
        return
    leaving = sum(effect.leaves for each in plans for effect in each.campaigns)
    joining = sum(effect.joins + effect.comes_back for each in plans for effect in each.campaigns)
    if leaving or joining:
        raise CampaignError(
            f"this adds {joining:,} contacts to campaigns and removes {leaving:,}; to confirm, run it again with --yes"
        )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _segment(conn: Connection, key: str) -> Segment:
    segment = segments.find(conn, checked_key("segment", key))
    if segment is None:
        raise NotFoundError("segment", key, "run `parcours segments list` to see all segments")
    return segment


def _contacts(conn: Connection, keys: Sequence[str]) -> list[int]:
    wanted = list(dict.fromkeys(checked_key("contact", key) for key in keys))
    found = contacts.named(conn, wanted)
    unknown = [repr(key) for key in wanted if key not in found]
    if unknown:
        few = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
        are = "is no contact" if len(unknown) == 1 else "are no contacts"
        raise CampaignError(f"there {are} {few}; nothing was changed; `parcours contacts create` adds a contact")
    return [found[key] for key in wanted]
