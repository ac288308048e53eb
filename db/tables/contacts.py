"""Contacts: importing many, and showing one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sqlalchemy import Connection, TextClause
from sqlalchemy.exc import IntegrityError

from parcours.db.merge_locks import shut_out_merges
from parcours.db.statements import statements, variant
from parcours.db.tables import policies, refusals, scores
from parcours.db.tables.scores import PointsLogged, StageLogged
from parcours.domain.contacts.identity import is_address, same_address
from parcours.domain.gate import clean
from parcours.domain.messages.policy import Rule

if TYPE_CHECKING:
    # That module needs ours.
    from parcours.db.tables.refusals import Refusal

# How many changes of points, and of stages, are shown.
LATEST = 10
# Up to so many rows of a file, their contacts are looked up one by one rather than among all.
LOOKED_UP = 20_000
# So many contacts tell which fields there are.
LOOKED_AT = 20_000
# Fewer tell which are worth offering, and what is in them.
LOOKED_AT_FOR_NAMES = 5_000
LOOKED_AT_FOR_KINDS = 2_000


# What becomes of a row whose address is another contact's.
SameAddress = Literal["merge", "reject", "allow"]


class AddressConflict(NamedTuple):
    """A row that would give a contact the address of another, `owner`. `known`: the contact exists already."""

    line: int
    key: str
    email: str
    owner: str
    known: bool


class Incoming(NamedTuple):
    """A row of a file, in the columns of the staging table. None leaves what is there."""

    line: int
    # Whether the row has no key of its own, so that its address says who it is.
    by_email: bool
    key: str
    email: str | None
    timezone: str | None
    points: int | None
    stage: str | None
    owner: str | None
    # A JSON object, and a JSON array of texts.
    fields: str | None
    tags: str | None
    # The key of the company that becomes the primary one.
    company: str | None = None
    # A JSON object: channels on which the contact must not be written to, and why. Never takes one back.
    refusals: str | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, in rows: together they are as many as were staged.

    Of several rows of one new contact one is added. The others, and those of a known contact that changes,
    are updated as far as they differ from each other.
    """

    added: int
    updated: int
    unchanged: int
    # Contacts that are not written to on some channel from now on, and were before.
    silenced: int = 0
    # Rows of somebody new whose address is another contact's, and which became that contact's.
    merged: int = 0
    # Rows that were left out for their address.
    refused: tuple[AddressConflict, ...] = ()
    # Contacts that unsubscribed, by the file, and that a manual refusal keeps out already; that one stays.
    kept_by_hand: int = 0


@dataclass(frozen=True, slots=True)
class Passed:
    """The result of a step for a contact."""

    step: str
    rotation: int
    result: str
    at: datetime
    detail: Any
    # The key of the run, where it has one.
    run: str | None = None


@dataclass(frozen=True, slots=True)
class ContactWait:
    """A step that a contact stands at, and until when; None: without a deadline."""

    step: str
    waiting: str
    due_at: datetime | None
    # What holds its message back, and since when.
    held: Any = None
    # Why the last attempt failed.
    error: str | None = None
    run: str | None = None
    # Since when.
    anchor_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ContactRun:
    """One of several runs of a contact in a campaign, and the data of the event that began it."""

    key: str | None
    rotation: int
    began_at: datetime
    left_at: datetime | None
    departure: str | None
    reason: str | None
    entry: Any


@dataclass(slots=True)
class ContactStanding:
    """A contact's membership of one campaign."""

    campaign: str
    rotation: int
    added_at: datetime
    left_at: datetime | None
    departure: str | None
    # Why it exited, in words.
    reason: str | None = None
    # It is in the campaign's control group: nothing happens to it there.
    control: bool = False
    # When it reached the goal since it last began, until when it can, and what that was worth.
    goal_reached_at: datetime | None = None
    goal_until: datetime | None = None
    goal_value: Decimal | None = None
    # In the order in which they began; none: it is one run by itself.
    runs: list[ContactRun] = field(default_factory=list)
    outcomes: list[Passed] = field(default_factory=list)
    waits: list[ContactWait] = field(default_factory=list)


@dataclass(slots=True)
class Shown:
    """All that is known of one contact."""

    id: int
    key: str
    email: str | None
    timezone: str | None
    points: int
    stage: str | None
    owner: str | None
    fields: dict[str, Any]
    tags: list[str]
    segments: list[str]
    # The keys of contacts that were merged into this one.
    aliases: list[str]
    # Keys of its companies, the primary one first.
    companies: list[str]
    campaigns: list[ContactStanding] = field(default_factory=list)
    # What it wants of channels.
    rules: dict[str, Rule] = field(default_factory=dict)
    # What it must not be sent: by itself, by its mailbox, by its numbers.
    refusals: list[Refusal] = field(default_factory=list)
    # Points by group.
    scores: dict[str, int] = field(default_factory=dict)
    # Where it came from last.
    utm: dict[str, str] = field(default_factory=dict)
    # The latest changes, newest first.
    point_log: list[PointsLogged] = field(default_factory=list)
    stage_log: list[StageLogged] = field(default_factory=list)


# What compares a file with the contacts.
_OF_A_FILE = (
    "identify",
    "find_same_addresses",
    "add",
    "update",
    "add_tags",
    "refuse",
    "join_companies",
    "forget_primary_companies",
    "make_primary_companies",
    "incoming_ids",
)


def _statements(rows: int) -> dict[str, TextClause]:
    """Return the statements of an import of so many rows: few are looked up one by one, whatever statistics say."""
    if rows > LOOKED_UP:
        return statements(__file__)
    return statements(__file__) | {name: variant(__file__, name, "few") for name in _OF_A_FILE}


def stage(conn: Connection, rows: Iterable[Incoming]) -> int:
    """Copy rows to this transaction's staging table and return how many; memory does not grow with them.

    `merge` then brings them to the contacts.
    """
    sql = statements(__file__)
    conn.execute(sql["prepare"])
    driver = conn.connection.driver_connection
    assert driver is not None
    count = 0
    with driver.cursor() as cursor, cursor.copy(str(sql["stage"])) as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    conn.execute(sql["settle"])
    return count


def merge(conn: Connection, *, now: datetime, same_address: SameAddress = "merge") -> Imported:
    """Add and update contacts from the staged rows and return the counts.

    Fields merge with those that are there, tags are added, nothing is taken away. A row of somebody new
    with the address of another contact becomes that contact's, and its key leads there; or it is left out,
    as are rows that give the address of another to a contact that exists.
    """
    sql = statements(__file__)
    shut_out_merges(conn)
    conn.execute(sql["join_by_hash"])
    given = conn.execute(sql["given"]).one()
    sql = _statements(given.n)
    if given.addresses:
        conn.execute(sql["identify"])
    conn.execute(sql["follow_aliases"])
    merged, refused = _same_addresses(conn, same_address, sql)
    conn.execute(sql["merge_repeated"])
    named, rows = conn.execute(sql["named_and_rows"]).one()
    added, repeated = _add(conn, now, few=given.n <= LOOKED_UP)
    # A first import has nothing to compare.
    updated = conn.execute(sql["update"], {"now": now}).scalar_one() if added < named else 0
    if given.tags:
        conn.execute(sql["add_tags"])
    if given.companies:
        for name in ("make_companies", "join_companies", "forget_primary_companies", "make_primary_companies"):
            conn.execute(sql[name])
    silenced, kept_by_hand = conn.execute(sql["refuse"], {"now": now}).one() if given.refusals else (0, 0)
    if merged:
        conn.execute(sql["lead_same_addresses"], {"now": now})
    updated += repeated
    return Imported(added, updated, int(rows) - added - updated, silenced, merged, refused, kept_by_hand)


def _same_addresses(
    conn: Connection, asked: SameAddress, sql: Mapping[str, TextClause]
) -> tuple[int, tuple[AddressConflict, ...]]:
    """Keep addresses apart; return how many rows became another contact's, and which are left out."""
    if asked == "allow":
        return 0, ()
    found = conn.execute(sql["find_same_addresses"]).rowcount
    if not found:
        return 0, ()
    merging = {"merging": asked == "merge"}
    refused = tuple(AddressConflict(*row) for row in conn.execute(sql["same_addresses"], merging))
    conn.execute(sql["leave_out_same_addresses"], merging)
    if asked == "merge":
        conn.execute(sql["merge_same_addresses"])
    return found - len(refused), refused


def _add(conn: Connection, now: datetime, *, few: bool) -> tuple[int, int]:
    """Add who is new; return how many that were, and how many more rows of the file changed them.

    Looking out for each row that somebody else may add meanwhile takes a quarter of the time, so that is
    done only once it happened.
    """
    forms = ["few"] if few else []
    try:
        with conn.begin_nested():
            row = conn.execute(variant(__file__, "add", "alone", *forms), {"now": now}).one()
    except IntegrityError:
        row = conn.execute(variant(__file__, "add", *forms), {"now": now}).one()
    return row.added, row.repeated


def staged_ids(conn: Connection, size: int) -> Iterator[list[int]]:
    """Yield the ids of the contacts that were staged and merged, in order, so many at a time."""
    sql = statements(__file__)
    conn.execute(sql["join_by_hash"])
    sql = _statements(conn.execute(sql["given"]).one().n)
    with conn.execute(sql["incoming_ids"], execution_options={"yield_per": size}) as rows:
        for batch in rows.scalars().partitions(size):
            yield list(batch)


def analyze(conn: Connection) -> None:
    """Tell the planner about a bulk load now rather than when the autovacuum gets to it."""
    conn.execute(statements(__file__)["analyze"])


def named(conn: Connection, names: Iterable[str]) -> dict[str, int]:
    """Return the ids of contacts by the names that people and programs give them; unknown ones are left out.

    A name is a key (that of a merged contact leads to the survivor) or else an address, whose capitals make no
    difference. This is the one place that says whom a name means.
    """
    # What cannot be stored is nobody's name.
    wanted = sorted({name for name in names if clean(name) == name})
    if not wanted:
        return {}
    addresses = [same_address(name) if is_address(name) else None for name in wanted]
    rows = conn.execute(statements(__file__)["named"], {"names": wanted, "addresses": addresses})
    return {row.name: row.id for row in rows if row.id is not None}


def find(conn: Connection, name: str) -> int | None:
    """Return the id of the contact that a name means, as `named` does, or None."""
    return named(conn, [name]).get(name)


class Holder(NamedTuple):
    """A contact that has an address."""

    id: int
    key: str


def holders(conn: Connection, addresses: Iterable[str]) -> dict[str, list[Holder]]:
    """Return who has addresses, however they are spelled; the oldest contact first."""
    same = {address: same_address(address) for address in addresses}
    found: dict[str, list[Holder]] = {}
    rows = conn.execute(statements(__file__)["holders"], {"addresses": sorted(set(same.values()))})
    for address, id_, key in rows:
        found.setdefault(address, []).append(Holder(id_, key))
    return {address: found[spelled] for address, spelled in same.items() if spelled in found}


def show(conn: Connection, name: str) -> Shown | None:
    """Return the contact of a name, with its memberships, passed steps and open waits; None when there is none."""
    sql = statements(__file__)
    row = conn.execute(sql["show"], {"id": find(conn, name)}).one_or_none()
    if row is None:
        return None
    contact = Shown(*row)
    contact.rules = policies.rules(conn, [contact.id]).get(contact.id, {})
    contact.refusals = refusals.listed(conn, contact.id)
    contact.scores = scores.of_contacts(conn, [contact.id]).get(contact.id, {})
    contact.utm = scores.utm(conn, [contact.id]).get(contact.id, {})
    contact.point_log = scores.points_of(conn, contact.id, limit=LATEST)
    contact.stage_log = scores.stages_of(conn, contact.id, limit=LATEST)
    given = {"contact_id": contact.id}
    standings: dict[int, ContactStanding] = {}
    for campaign_id, *rest in conn.execute(sql["memberships"], given):
        standings[campaign_id] = ContactStanding(*rest)
    for campaign_id, *rest in conn.execute(sql["runs"], given):
        if campaign_id in standings:
            standings[campaign_id].runs.append(ContactRun(*rest))
    for campaign_id, *rest in conn.execute(sql["outcomes"], given):
        if campaign_id in standings:
            standings[campaign_id].outcomes.append(Passed(*rest))
    for campaign_id, *rest in conn.execute(sql["waits"], given):
        if campaign_id in standings:
            standings[campaign_id].waits.append(ContactWait(*rest))
    contact.campaigns = list(standings.values())
    return contact


def fields_of_nobody(conn: Connection, names: Iterable[str]) -> set[str]:
    """Return which custom fields no contact has, among the newest of them; none where there are no contacts."""
    wanted = sorted(set(names))
    if not wanted:
        return set()
    return set(
        conn.execute(statements(__file__)["fields_of_nobody"], {"names": wanted, "looked_at": LOOKED_AT}).scalars()
    )


def newest(conn: Connection) -> int | None:
    """Return the id of the contact that was made last."""
    found: int | None = conn.execute(statements(__file__)["newest"]).scalar()
    return found


def field_names(conn: Connection) -> list[str]:
    """Return the custom fields that the newest contacts have."""
    return list(conn.execute(statements(__file__)["field_names"], {"looked_at": LOOKED_AT_FOR_NAMES}).scalars())


def field_kinds(conn: Connection) -> dict[str, str]:
    """Return what the newest contacts have in each custom field: number, boolean, date, or text of any kind."""
    rows = conn.execute(statements(__file__)["field_kinds"], {"looked_at": LOOKED_AT_FOR_KINDS})
    return {str(row[0]): str(row[1]) for row in rows}
