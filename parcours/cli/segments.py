"""`parcours segments`: create, fill and list."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Connection

from parcours.cli import file_options
from parcours.cli.progress import reading
from parcours.cli.rejected_rows import RejectFile
from parcours.cli.session import session
from parcours.db.tables import campaigns, contacts, segments
from parcours.db.tables.segments import Segment
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.keys import checked_key
from parcours.producers.files.contacts import Named, contact_file
from parcours.producers.files.options import parse as parse_options
from parcours.producers.files.rows import RejectedRow
from parcours.services.segment_json import segment_json

app = typer.Typer(no_args_is_help=True, help="Create, fill and list segments.")

NAMES_A_STATEMENT = 20_000

SegmentKey = Annotated[str, typer.Argument(metavar="KEY", help="Key of the segment.")]
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
    with here.engine.begin() as conn:
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
def add(key: SegmentKey, contact: ContactKeys) -> None:
    """Add contacts to a segment manually. Rules never remove them. Campaigns change with the next `update`."""
    here = session()
    with here.engine.begin() as conn:
        segment = _segment(conn, key)
        campaigns.read_by_index(conn)
        wanted = _contacts(conn, contact)
        entered = segments.add_members(conn, segment.id, wanted, manual=True, now=datetime.now(UTC))
    here.say(f"{len(entered):,} added to {segment.key}, {len(wanted) - len(entered):,} already in it.")


@app.command()
def remove(key: SegmentKey, contact: ContactKeys) -> None:
    """Remove contacts from a segment manually. Rules never add them again. Campaigns change with the next `update`."""
    here = session()
    with here.engine.begin() as conn:
        segment = _segment(conn, key)
        campaigns.read_by_index(conn)
        wanted = _contacts(conn, contact)
        left = segments.remove_members(conn, segment.id, wanted, manual=True, now=datetime.now(UTC))
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
        with here.engine.begin() as conn:
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
            with here.engine.begin() as conn:
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
        ["key", "name", "public", "published", "members", "used by"],
        [
            (
                line.key,
                line.name,
                _yes(line.public),
                _yes(line.published),
                line.members,
                ", ".join(line.campaigns),
            )
            for line in found
        ],
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
        raise CampaignError(f"there {are} {few}; nothing was changed")
    return [found[key] for key in wanted]
