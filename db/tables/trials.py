"""The table `trial` and its counters: who came into a campaign that has a goal, and whether they reached it."""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.domain.goal import Tried

sql = statements(__file__)


class NewTrial(NamedTuple):
    """A contact, or a run of one, that begins; `number` is its rotation. `until` None: for ever."""

    contact_id: int
    number: int
    key: str
    control: bool
    began_at: datetime
    until: datetime | None


class Conversion(NamedTuple):
    """What a contact did that may reach a goal; `key` None: of the run that began last."""

    contact_id: int
    key: str | None
    at: datetime
    value: Decimal | None


class PartTaken(NamedTuple):
    """What a contact came through in a campaign, in a run by its number; None: the only one."""

    contact_id: int
    run: int | None
    part: str


def begin(conn: Connection, campaign_id: int, beginning: Sequence[NewTrial]) -> None:
    """Watch contacts, whose locks the caller holds, from when they begin."""
    if beginning:
        contact_ids, numbers, keys, controls, begun, until = map(list, zip(*beginning, strict=True))
        parameters = {
            "campaign_id": campaign_id,
            "contact_ids": contact_ids,
            "numbers": numbers,
            "keys": keys,
            "controls": controls,
            "begun": begun,
            "until": until,
        }
        conn.execute(sql["begin"], parameters)


def take_part(conn: Connection, campaign_id: int, parts: Collection[PartTaken], *, now: datetime) -> None:
    """Remember what contacts, whose locks the caller holds, came through on the way to the goal: each once a trial."""
    if parts:
        parameters = {
            "campaign_id": campaign_id,
            "contact_ids": [each.contact_id for each in parts],
            "runs": [each.run for each in parts],
            "parts": [each.part for each in parts],
            "now": now,
        }
        conn.execute(sql["take_part"], parameters)


def reach(conn: Connection, campaign_id: int, done: Sequence[Conversion], *, after: bool = False) -> list[int]:
    """Let contacts, whose locks the caller holds, reach the goal; return for whom that was the first time.

    Each contact at most once. What came before they began, or too late, counts nothing; with `after`, what came at the
    instant at which they began does not either.
    """
    if not done:
        return []
    contact_ids, keys, ats, values = map(list, zip(*done, strict=True))
    parameters = {
        "campaign_id": campaign_id,
        "contact_ids": contact_ids,
        "keys": keys,
        "ats": ats,
        "values": values,
        "after": after,
    }
    return list(conn.execute(sql["reach"], parameters).scalars())


def figures(conn: Connection, campaign_id: int) -> dict[str, Tried]:
    """Return the counters of a campaign, by part."""
    rows = conn.execute(sql["figures"], {"campaign_id": campaign_id})
    return {row.part: Tried(row.entered, row.reached, row.value) for row in rows}


def note_sent(conn: Connection, keys: Sequence[str], *, now: datetime) -> None:
    """Remember which variants of emails, by the keys of messages to contacts whose locks the caller holds, went out."""
    parts: dict[int, list[PartTaken]] = {}
    for row in conn.execute(sql["sent"], {"keys": list(keys)}):
        parts.setdefault(row.campaign_id, []).append(PartTaken(row.contact_id, row.run, row.part))
    for campaign_id, taken in sorted(parts.items()):
        take_part(conn, campaign_id, taken, now=now)
