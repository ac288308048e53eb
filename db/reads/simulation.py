"""What a simulation asks of its own database."""

from datetime import date, datetime
from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)


def contact_ids(conn: Connection) -> list[int]:
    """Return the ids of all contacts, in their order."""
    return list(conn.execute(sql["contact_ids"]).scalars())


class SimulatedWait(NamedTuple):
    """A decision that a contact stands at; `due_at`: until when, None: for good."""

    contact_id: int
    step_id: int
    passage: int
    due_at: datetime | None


def armed_at(conn: Connection, campaign_id: int, now: datetime) -> list[SimulatedWait]:
    """Return the decisions that were armed at an instant and are open."""
    return [SimulatedWait(*row) for row in conn.execute(sql["armed_at"], {"campaign_id": campaign_id, "now": now})]


def next_due(conn: Connection) -> datetime | None:
    """Return when the next wait is due, somebody enters by a date, or time may change what a rule says; None: never."""
    found: datetime | None = conn.execute(sql["next_due"]).scalar_one()
    return found


def volume(conn: Connection, campaign_id: int) -> list[tuple[str, date, str, int]]:
    """Return how many outcomes each step had on each day (UTC): (step key, day, result, how many)."""
    rows = conn.execute(sql["volume"], {"campaign_id": campaign_id})
    return [(row.step, row.day, row.result, row.n) for row in rows]


class HeldBackOnDay(NamedTuple):
    """How many messages a rule of a channel's policy held back until a day (UTC)."""

    day: date
    rule: str
    channel: str
    n: int


def held(conn: Connection) -> list[HeldBackOnDay]:
    """Return how many messages the policies held back, by the day until which they did."""
    return [HeldBackOnDay(*row) for row in conn.execute(sql["held"])]


def held_at_the_door(conn: Connection, campaign_id: int) -> int:
    """Return how many contacts a campaign's limit still keeps from entering."""
    return int(conn.execute(sql["held_at_the_door"], {"campaign_id": campaign_id}).scalar_one())


def busiest_hours(conn: Connection) -> list[tuple[str, datetime, int]]:
    """Return the hour in which most messages of each channel are due: (channel, hour, how many)."""
    return [(row.channel, row.hour, row.n) for row in conn.execute(sql["busiest_hours"])]


def messages(conn: Connection) -> list[tuple[date, str, int]]:
    """Return how many messages each day (UTC) brought to each channel: (day, channel, how many)."""
    return [(row.day, row.channel, row.n) for row in conn.execute(sql["messages"])]


def begin_ids_at(conn: Connection, contact_id: int) -> None:
    """Let the first contact that is made in an empty schema have this id."""
    conn.execute(sql["begin_ids_at"], {"id": contact_id})
