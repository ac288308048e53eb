"""Companies, and the contacts in them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db import touched
from parcours.db.statements import statements
from parcours.db.stored import Stored
from parcours.domain.steps.batch import Company

sql = statements(__file__)


class CompanyLine(NamedTuple):
    """A company as it is listed."""

    key: str
    name: str
    points: int
    contacts: int


class Membership(NamedTuple):
    """The keys of a contact's companies, and that of its primary one."""

    companies: frozenset[str]
    primary: str | None


NOWHERE = Membership(frozenset(), None)


def of_contacts(conn: Connection, contact_ids: Iterable[int]) -> dict[int, Membership]:
    """Return the companies of contacts; those in none are left out."""
    keys: dict[int, set[str]] = {}
    primary: dict[int, str] = {}
    for contact_id, key, is_primary in conn.execute(sql["of_contacts"], {"ids": list(contact_ids)}).all():
        keys.setdefault(contact_id, set()).add(key)
        if is_primary:
            primary[contact_id] = key
    return {id_: Membership(frozenset(found), primary.get(id_)) for id_, found in keys.items()}


def known(conn: Connection, contact_ids: Iterable[int], named: Iterable[str]) -> dict[str, Company]:
    """Return the companies that contacts are in, and those named by key or name, by key, the oldest first."""
    rows = conn.execute(sql["known"], {"ids": list(contact_ids), "named": sorted(named)}).all()
    return {row.key: Company(*row) for row in rows}


def existing(conn: Connection, keys: Iterable[str]) -> set[str]:
    """Return which of these keys are those of companies."""
    wanted = sorted(keys)
    return set(conn.execute(sql["named"], {"keys": wanted}).scalars()) if wanted else set()


def join(conn: Connection, pairs: Collection[tuple[int, str]]) -> None:
    """Make contacts, whose locks the caller holds, members of companies by key, which are made when they are new."""
    if not pairs:
        return
    contact_ids, keys = (list(column) for column in zip(*sorted(pairs), strict=True))
    conn.execute(sql["make"], {"keys": keys})
    conn.execute(sql["link"], {"contact_ids": contact_ids, "keys": keys})
    touched.note(conn, "companies", contact_ids)


def leave(conn: Connection, pairs: Collection[tuple[int, str]]) -> list[int]:
    """Take contacts out of companies; return those that were in."""
    if not pairs:
        return []
    contact_ids, keys = (list(column) for column in zip(*sorted(pairs), strict=True))
    left = list(conn.execute(sql["unlink"], {"contact_ids": contact_ids, "keys": keys}).scalars())
    touched.note(conn, "companies", left)
    return left


def set_primary(conn: Connection, primary: Mapping[int, str | None]) -> None:
    """Make companies by key the primary ones of contacts, whose locks the caller holds; None: none is any more.

    Who is not in the company yet joins it.
    """
    if not primary:
        return
    wanted = {contact_id: key for contact_id, key in primary.items() if key is not None}
    join(conn, list(wanted.items()))
    conn.execute(sql["forget_primary"], {"contact_ids": list(primary)})
    touched.note(conn, "companies", primary)
    if wanted:
        conn.execute(sql["make_primary"], {"contact_ids": list(wanted), "keys": list(wanted.values())})


def change(conn: Connection, points: Mapping[str, int], fields: Mapping[str, Mapping[str, Any]]) -> None:
    """Add points to companies and set fields of them, by key."""
    if not points and not fields:
        return
    conn.execute(sql["lock"], {"keys": sorted({*points, *fields})})
    if points:
        conn.execute(sql["add_points"], {"keys": list(points), "bys": list(points.values())})
    if fields:
        values = [json.dumps(dict(each), default=str) for each in fields.values()]
        conn.execute(sql["set_fields"], {"keys": list(fields), "fields": values})
    touched.note_companies(conn, [*points, *fields])


def save(conn: Connection, key: str, *, name: str | None, fields: Mapping[str, Any]) -> Stored:
    """Create a company, or change what is given of it; say what that changed."""
    given = {"key": key, "name": name, "fields": json.dumps(dict(fields))}
    if conn.execute(sql["create"], given).first() is not None:
        return "created"
    if conn.execute(sql["change"], given).first() is None:
        return "unchanged"
    touched.note_companies(conn, [key])
    return "updated"


def listed(conn: Connection) -> list[CompanyLine]:
    """Return all companies by key, with how many contacts are in each."""
    return [CompanyLine(*row) for row in conn.execute(sql["listed"])]


def find(conn: Connection, key: str) -> Company | None:
    """Return the company of a key, or None."""
    row = conn.execute(sql["show"], {"key": key}).first()
    return None if row is None else Company(*row)


def members(conn: Connection, key: str, *, limit: int) -> Sequence[tuple[str, bool]]:
    """Return the keys of contacts in a company, and whether it is their primary one, by key."""
    return [(row.key, row.is_primary) for row in conn.execute(sql["members"], {"key": key, "limit": limit})]
