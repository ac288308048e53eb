"""Point groups, the logs of points and stages, and where contacts came from last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db import touched
from parcours.db.statements import statements
from parcours.db.stored import Stored
from parcours.domain.contacts.contact import PointChange, StageChange
from parcours.domain.events.utm import NAMES

sql = statements(__file__)


class PointGroup(NamedTuple):
    """A point group, and how many contacts have points in it."""

    key: str
    name: str
    contacts: int


class PointsLogged(NamedTuple):
    """A change of a contact's points, by a step of a campaign or else a source; without a group, its own points."""

    at: datetime
    campaign: str | None
    step: str | None
    source: str | None
    group: str | None
    change: int
    points: int


class StageLogged(NamedTuple):
    """A change of a contact's stage, by a step of a campaign or else a source."""

    at: datetime
    campaign: str | None
    step: str | None
    source: str | None
    before: str | None
    after: str | None


def save_group(conn: Connection, key: str, *, name: str | None) -> Stored:
    """Create a point group or rename it; without a name, a new one is named by its key."""
    row = conn.execute(sql["save_group"], {"key": key, "name": name}).one_or_none()
    if row is None:
        return "unchanged"
    return "created" if row.created else "updated"


def make_groups(conn: Connection, keys: Iterable[str]) -> None:
    """Make the point groups that do not exist yet."""
    conn.execute(sql["make_groups"], {"keys": sorted(keys)})


def groups(conn: Connection) -> list[PointGroup]:
    """Return all point groups, by key."""
    return [PointGroup(*row) for row in conn.execute(sql["groups"])]


def log(conn: Connection, points: Sequence[PointChange], stages: Sequence[StageChange], *, now: datetime) -> None:
    """Log what steps made of points and stages: one statement for each, none when nothing changed."""
    if points:
        contact_ids, step_ids, of_groups, changes, after = map(list, zip(*points, strict=True))
        parameters = {"contact_ids": contact_ids, "step_ids": step_ids, "groups": of_groups}
        conn.execute(sql["log_points"], {**parameters, "changes": changes, "points": after, "now": now})
    _log_stages(conn, stages, source=None, now=now)


def log_said(conn: Connection, stages: Mapping[int, tuple[str | None, str | None]], *, now: datetime) -> None:
    """Log the stages, before and after, that events gave to contacts."""
    rows = [(contact_id, None, before, after) for contact_id, (before, after) in stages.items()]
    _log_stages(conn, rows, source="event", now=now)


def _log_stages(
    conn: Connection,
    rows: Sequence[tuple[int, int | None, str | None, str | None]],
    *,
    source: Literal["event"] | None,
    now: datetime,
) -> None:
    if rows:
        contact_ids, step_ids, befores, afters = map(list, zip(*rows, strict=True))
        parameters = {"contact_ids": contact_ids, "step_ids": step_ids, "befores": befores, "afters": afters}
        conn.execute(sql["log_stages"], {**parameters, "source": source, "now": now})


def of_contacts(conn: Connection, contact_ids: Iterable[int]) -> dict[int, dict[str, int]]:
    """Return contacts' points by group; who has none in any is left out."""
    return {row.contact_id: row.scores for row in conn.execute(sql["of_contacts"], {"ids": list(contact_ids)})}


def utm(conn: Connection, contact_ids: Iterable[int]) -> dict[int, dict[str, str]]:
    """Return where contacts came from last, by name of the parameter; of whom nothing is known is left out."""
    rows = conn.execute(sql["utm"], {"ids": list(contact_ids)})
    return {
        contact_id: {name: value for name, value in zip(NAMES, values, strict=True) if value is not None}
        for contact_id, *values in rows
    }


def points_of(conn: Connection, contact_id: int, *, limit: int) -> list[PointsLogged]:
    """Return the latest changes of a contact's points, newest first."""
    rows = conn.execute(sql["points_of"], {"contact_id": contact_id, "limit": limit})
    return [PointsLogged(*row) for row in rows]


def stages_of(conn: Connection, contact_id: int, *, limit: int) -> list[StageLogged]:
    """Return the latest changes of a contact's stage, newest first."""
    rows = conn.execute(sql["stages_of"], {"contact_id": contact_id, "limit": limit})
    return [StageLogged(*row) for row in rows]


def came_from(conn: Connection, seen: Mapping[int, tuple[datetime, Mapping[str, str]]]) -> None:
    """Remember where contacts came from, by name of the parameter, and when, unless something newer is known."""
    if seen:
        values = {f"{name}s": [said.get(name) for _, said in seen.values()] for name in NAMES}
        parameters = {"contact_ids": list(seen), "ats": [at for at, _ in seen.values()], **values}
        conn.execute(sql["came_from"], parameters)
        touched.note(conn, "utm", seen)
