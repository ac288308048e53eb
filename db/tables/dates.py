"""Dates of contacts by which they enter campaigns: the sources, who is due when, and whose dates changed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db.scope import Scope
from parcours.db.statements import statements, variant
from parcours.db.tables.membership import Chunk
from parcours.domain.time.dates import ContactDate

sql = statements(__file__)
_EVERYTHING = Scope()
# Contact ids of one range whose entries are written together.
BUILD_WIDTH = 20_000
# Rows that are read at once of a field's values.
READ_AT_ONCE = 5_000


class DateSource(NamedTuple):
    """A date by which contacts enter a campaign; without `since` the campaign has not run with it yet."""

    id: int
    campaign_id: int
    rule: ContactDate
    version: int
    since: datetime | None


class Build(NamedTuple):
    """A range of contacts whose entries by a source are to be written as of an instant."""

    source: DateSource
    chunk: Chunk
    at: datetime
    # The source is gone, and so are its entries to be.
    removed: bool


class DatesChanged(NamedTuple):
    """A contact whose dates changed, and for how many seconds that has been known."""

    id: int
    timezone: str | None
    fields: Mapping[str, Any]
    age: float


class ValueOfField(NamedTuple):
    """What a custom field holds, for contacts of a timezone, and how many they are."""

    value: Any
    timezone: str | None
    n: int


class DateEntry(NamedTuple):
    """When a contact enters by a source, as it was written, and what its field holds now."""

    contact_id: int
    timezone: str | None
    value: Any
    due_at: datetime | None
    turn: str | None
    # Whether there is a row of it.
    written: bool


class DateOfContact(NamedTuple):
    """How a contact stands with a source: when it enters, in which turn it did last, what its field holds."""

    rule: ContactDate
    due_at: datetime | None
    turn: str | None
    value: Any
    # A change is known and not followed yet.
    pending: bool


# Whether one writes a range, or who is due in one.
_WRITE = {False: sql["write"], True: variant(__file__, "write", "range")}
_LOCK_DUE = {False: sql["lock_due"], True: variant(__file__, "lock_due", "range")}


def sources(conn: Connection, campaign_id: int | None = None) -> list[DateSource]:
    """Return the dates by which contacts enter a campaign, or any."""
    rows = conn.execute(sql["sources"], {"campaign_id": campaign_id})
    return [DateSource(*row)._replace(rule=ContactDate.of_data(row.rule)) for row in rows]


def save(conn: Connection, campaign_id: int, rules: Iterable[ContactDate], *, now: datetime) -> None:
    """Write by which dates contacts enter a campaign from now on; their entries are written range by range."""
    rules = list(rules)
    here = {"campaign_id": campaign_id, "now": now}
    changed = list(
        conn.execute(sql["remove_sources"], {**here, "names": [rule.name for rule in rules]}).scalars(),
    )
    for rule in rules:
        given = {**here, "name": rule.name, "field": rule.field, "rule": json.dumps(rule.to_data())}
        changed += conn.execute(sql["save_source"], given).scalars()
    if changed:
        conn.execute(sql["add_builds"], {"source_ids": changed, "width": BUILD_WIDTH, "now": now})


def begin(conn: Connection, campaign_id: int, start: datetime, *, now: datetime) -> None:
    """Write that a campaign runs from an instant on; nothing for sources with which it has run already."""
    conn.execute(sql["begin"], {"campaign_id": campaign_id, "start": start, "now": now})


def take_build(conn: Connection) -> Build | None:
    """Take one range that nobody else has; None when there is none, or not yet."""
    row = conn.execute(sql["take_build"]).first()
    if row is None:
        return None
    source = DateSource(row.source_id, row.campaign_id, ContactDate.of_data(row.rule), row.version, row.since)
    return Build(source, Chunk(row.first_id, row.last_id), row.at, row.removed)


def first_build(conn: Connection) -> datetime | None:
    """Return since when a range waits to be written; None when none does."""
    found: datetime | None = conn.execute(sql["first_build"]).scalar_one_or_none()
    return found


def values_in(conn: Connection, source: DateSource, chunk: Chunk) -> list[DateEntry]:
    """Return contacts in a range who have the field of a source, or of whom something is written."""
    parameters = {"source_id": source.id, "field": source.rule.field, **chunk._asdict()}
    return [DateEntry(*row) for row in conn.execute(sql["values_in"], parameters)]


def drop_in(conn: Connection, source: DateSource, chunk: Chunk) -> None:
    """Forget when contacts in a range would enter by a source that is gone."""
    conn.execute(sql["drop_in"], {"source_id": source.id, **chunk._asdict()})


def take_noted(conn: Connection, *, limit: int, of: Iterable[int] | None = None) -> list[DatesChanged]:
    """Take contacts whose dates changed, and their locks. Who is in other hands is left for later."""
    parameters = {"limit": limit, "ids": None if of is None else list(of)}
    return [DatesChanged(*row) for row in conn.execute(sql["take_noted"], parameters)]


def first_to_follow(conn: Connection) -> int | None:
    """Return the first contact whose timezone or dates changed and what waits is yet to move; None without any."""
    contact_id: int | None = conn.execute(sql["first_to_follow"]).scalar_one()
    return contact_id


def note(conn: Connection, contact_ids: Iterable[int]) -> None:
    """Say that dates of contacts are to be looked at; the database itself sees fields change."""
    conn.execute(sql["note"], {"ids": list(contact_ids)})


def entries(
    conn: Connection, contact_ids: Iterable[int], source_ids: Iterable[int]
) -> dict[tuple[int, int], tuple[datetime | None, str | None]]:
    """Return the due time and last turn that are written of contacts, by (source, contact)."""
    rows = conn.execute(sql["entries"], {"ids": list(contact_ids), "source_ids": list(source_ids)})
    return {(row.source_id, row.contact_id): (row.due_at, row.turn) for row in rows}


def write(
    conn: Connection,
    source: DateSource,
    found: Sequence[tuple[int, datetime | None, str | None]],
    *,
    of_range: bool = False,
) -> None:
    """Write when contacts enter next by a source, and the turn in which they did, if one is given.

    `of_range`: only over what an earlier rule of the source says.
    """
    if found:
        contact_ids, due, turns = map(list, zip(*found, strict=True))
        parameters = {"source_id": source.id, "version": source.version}
        conn.execute(_WRITE[of_range], {**parameters, "contact_ids": contact_ids, "due": due, "turns": turns})


def take_due(
    conn: Connection,
    source: DateSource,
    *,
    now: datetime,
    limit: int,
    chunk: Chunk | None = None,
    scope: Scope = _EVERYTHING,
) -> list[DateEntry]:
    """Take the locks of contacts who are due by a source, at most so many; return what is written of them."""
    parameters = {"source_id": source.id, "now": now}
    within = {} if chunk is None else chunk._asdict()
    given = {**parameters, **within, **scope.contacts(), "limit": limit}
    ids = list(conn.execute(_LOCK_DUE[chunk is not None], given).scalars())
    if not ids:
        if chunk is None:
            conn.execute(sql["of_nobody"], parameters)
        return []
    rows = conn.execute(sql["due"], {**parameters, "ids": ids, "field": source.rule.field})
    return [DateEntry(*row) for row in rows]


def due_campaigns(conn: Connection, *, now: datetime) -> dict[int, datetime]:
    """Return the running campaigns that somebody is due to enter by a date, and since when."""
    return {row.campaign_id: row.due_at for row in conn.execute(sql["due_campaigns"], {"now": now})}


def due_range(conn: Connection, campaign_id: int, *, now: datetime) -> Chunk | None:
    """Return the range of contact ids who are due to enter a campaign by a date; None when nobody is."""
    row = conn.execute(sql["due_range"], {"campaign_id": campaign_id, "now": now}).one()
    return None if row.first_id is None else Chunk(row.first_id, row.last_id)


def due_chunks(conn: Connection, campaign_id: int, whole: Chunk, *, width: int, now: datetime) -> list[Chunk]:
    """Return the parts of a range, each of so many contact ids, in which somebody is due to enter by a date."""
    parameters = {"campaign_id": campaign_id, **whole._asdict(), "width": width, "now": now}
    firsts = (whole.first_id + number * width for number in conn.execute(sql["due_chunks"], parameters).scalars())
    return [Chunk(first, min(first + width - 1, whole.last_id)) for first in firsts]


def of_contact(conn: Connection, campaign_id: int, contact_id: int) -> list[DateOfContact]:
    """Return how a contact stands with the dates by which a campaign lets people in."""
    rows = conn.execute(sql["of_contact"], {"campaign_id": campaign_id, "contact_id": contact_id})
    return [DateOfContact(*row)._replace(rule=ContactDate.of_data(row.rule)) for row in rows]


def values(conn: Connection, field: str) -> Iterator[ValueOfField]:
    """Yield what a custom field holds, whatever that is, with how many contacts have it; reads all contacts."""
    for row in conn.execute(sql["values"], {"field": field}, execution_options={"yield_per": READ_AT_ONCE}):
        yield ValueOfField(*row)


def save_steps(conn: Connection, fields: Mapping[int, str]) -> None:
    """Write by which custom fields contacts are due at steps."""
    for step_id, field in fields.items():
        conn.execute(sql["save_step"], {"step_id": step_id, "field": field})


def merge_turns(conn: Connection, pairs: Mapping[int, int]) -> None:
    """Keep the later of two turns in which contacts that are merged entered."""
    conn.execute(sql["merge_turns"], {"gone_ids": list(pairs), "into_ids": list(pairs.values())})
