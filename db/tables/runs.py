"""The table `run`: how often, and by which events, a contact is in a campaign at once."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.domain.contacts.membership import Arrival, Departure
from parcours.domain.walk.rows import Jumped, Member

sql = statements(__file__)


class StoredRun(NamedTuple):
    """A run as it is stored, without its data."""

    contact_id: int
    number: int
    key: str
    rotation: int
    manual: bool
    began_at: datetime
    left_at: datetime | None
    departure: Departure | None


class Beginning(NamedTuple):
    """A run that begins, or begins again, in a rotation that was given to it."""

    contact_id: int
    key: str
    rotation: int
    entry: Mapping[str, Any]
    arrival: Arrival
    manual: bool


class Ended(NamedTuple):
    """A run that somebody left."""

    contact_id: int
    number: int
    key: str
    rotation: int


def open_of(conn: Connection, campaign_id: int, members: Mapping[int, Member]) -> None:
    """Add to memberships the runs that go on."""
    parameters = {"campaign_id": campaign_id, "contact_ids": list(members)}
    for contact_id, number, key, rotation, entry in conn.execute(sql["open_of"], parameters).all():
        whole = members[contact_id]
        whole.runs = {**whole.runs, rotation: Member(rotation, whole.active, number, key, entry, whole)}


def of_keys(conn: Connection, campaign_id: int, keys: Mapping[int, str]) -> dict[int, StoredRun]:
    """Return the run of each contact that has a key, ended or not; who has none of it is left out."""
    parameters = {"campaign_id": campaign_id, "contact_ids": list(keys), "keys": list(keys.values())}
    rows = conn.execute(sql["of_keys"], parameters)
    return {
        row.contact_id: StoredRun(
            row.contact_id,
            row.number,
            row.key,
            row.rotation,
            row.manual,
            row.began_at,
            row.left_at,
            None if row.departure is None else Departure(row.departure),
        )
        for row in rows
    }


def numbers(conn: Connection, campaign_id: int, contact_ids: Iterable[int]) -> dict[tuple[int, int], int]:
    """Return the numbers of the runs of contacts by (contact, present rotation); mostly there are none."""
    parameters = {"campaign_id": campaign_id, "contact_ids": sorted(set(contact_ids))}
    return {(row.contact_id, row.rotation): row.number for row in conn.execute(sql["numbers"], parameters)}


def waiting(conn: Connection, campaign_id: int, contact_ids: Iterable[int], *, least: int) -> set[int]:
    """Return which contacts have so many runs, or more, in which they wait for something."""
    parameters = {"campaign_id": campaign_id, "contact_ids": list(contact_ids), "least": least}
    return set(conn.execute(sql["waiting"], parameters).scalars())


def begin(conn: Connection, campaign_id: int, beginning: Sequence[Beginning], *, now: datetime) -> dict[int, int]:
    """Write runs that begin, or begin again, of contacts whose locks the caller holds; return the number of each."""
    contact_ids, keys, rotations, entries, arrivals, manuals = map(list, zip(*beginning, strict=True))
    parameters = {
        "campaign_id": campaign_id,
        "contact_ids": contact_ids,
        "keys": keys,
        "rotations": rotations,
        "entries": [json.dumps(dict(entry), default=str) for entry in entries],
        "arrivals": [arrival.value for arrival in arrivals],
        "manuals": manuals,
        "now": now,
    }
    return {row.contact_id: row.number for row in conn.execute(sql["begin"], parameters)}


def rotate(conn: Connection, campaign_id: int, jumped: Sequence[Jumped]) -> None:
    """Write the new rotations of runs that jumped."""
    ours = [each for each in jumped if each.number is not None]
    if ours:
        parameters = {
            "campaign_id": campaign_id,
            "contact_ids": [each.contact_id for each in ours],
            "numbers": [each.number for each in ours],
            "rotations": [each.after for each in ours],
        }
        conn.execute(sql["rotate"], parameters)


def end(
    conn: Connection,
    campaign_id: int,
    contact_ids: Iterable[int],
    departure: Departure,
    *,
    only: Collection[tuple[int, str]] | None = None,
    reason: str | None,
    now: datetime,
) -> list[Ended]:
    """End the open runs of contacts, all or `only` those of (contact, key); return them."""
    parameters = {
        "campaign_id": campaign_id,
        "contact_ids": list(contact_ids),
        "all": only is None,
        "only_contacts": [contact_id for contact_id, _ in only or ()],
        "only_keys": [key for _, key in only or ()],
        "departure": departure.value,
        "reason": reason,
        "now": now,
    }
    return [Ended(*row) for row in conn.execute(sql["end"], parameters)]


def still_in(conn: Connection, campaign_id: int, contact_ids: Iterable[int]) -> dict[int, bool]:
    """Return which contacts have an open run, and whether none of these came by a segment."""
    parameters = {"campaign_id": campaign_id, "contact_ids": list(contact_ids)}
    return {row.contact_id: row.manual for row in conn.execute(sql["still_in"], parameters)}


def last_entry_of_any(conn: Connection, contact_id: int) -> dict[str, Any]:
    """Return the data of the event that began a contact's last run, in whatever campaign; empty without one."""
    found = conn.execute(sql["last_entry_of_any"], {"contact_id": contact_id}).scalar()
    return found if isinstance(found, dict) else {}


def last_entry(conn: Connection, contact_id: int, campaign_id: int) -> dict[str, Any]:
    """Return the data of the event that began a contact's last run; empty without one."""
    found = conn.execute(sql["last_entry"], {"contact_id": contact_id, "campaign_id": campaign_id}).scalar()
    return found if isinstance(found, dict) else {}
