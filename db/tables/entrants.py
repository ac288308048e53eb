"""The tables `campaign_entry` and `entrant`: how many began in a campaign that limits them, and who is held back."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements
from parcours.domain.contacts.membership import Arrival
from parcours.domain.entry import EntryLimit

sql = statements(__file__)


class Room(NamedTuple):
    """How many may still begin, ever and now; None: any number. `queued`: others were held back before."""

    ever: int | None
    now: int | None
    queued: bool

    @property
    def free(self) -> int | None:
        """How many may begin now, whoever was first."""
        known = [each for each in (self.ever, self.now) if each is not None]
        return min(known, default=None)


class Held(NamedTuple):
    """Somebody who is held back, in the order of `seq`; `key` and `entry` are those of an event.

    `again`: whatever the campaign says of re-entry.
    """

    seq: int
    contact_id: int
    arrival: Arrival
    key: str | None
    entry: Mapping[str, Any] | None
    came_at: datetime
    again: bool = False


class HeldBack(NamedTuple):
    """What is held back of one contact: since when, and how many come before."""

    key: str | None
    came_at: datetime
    before: int


class Entered(NamedTuple):
    """How many began in a campaign, ever and in the present period, and how many are held back."""

    ever: int
    now: int
    held: int


def room(conn: Connection, campaign_id: int, limit: EntryLimit, *, now: datetime) -> Room:
    """Return how many may begin, and keep everybody else from asking until the transaction ends."""
    conn.execute(sql["make"], {"campaign_id": campaign_id})
    row = conn.execute(sql["lock"], {"campaign_id": campaign_id}).one()
    in_period = row.in_period if row.period == limit.period_of(now) else 0
    return Room(
        None if limit.most is None else max(0, limit.most - row.entered),
        None if limit.rate is None else max(0, limit.rate - in_period),
        row.queued,
    )


def took(conn: Connection, campaign_id: int, limit: EntryLimit, n: int, *, now: datetime) -> None:
    """Count entrants; the caller has asked for room."""
    conn.execute(sql["took"], {"campaign_id": campaign_id, "n": n, "period": limit.period_of(now)})


def hold(conn: Connection, campaign_id: int, held: Sequence[Held], *, until: datetime) -> None:
    """Hold contacts back; who waits already with the same key keeps the place."""
    _, contact_ids, arrivals, keys, entries, came, agains = map(list, zip(*held, strict=True))
    parameters = {
        "campaign_id": campaign_id,
        "contact_ids": contact_ids,
        "arrivals": [arrival.value for arrival in arrivals],
        "keys": keys,
        "entries": [None if entry is None else json.dumps(dict(entry), default=str) for entry in entries],
        "came": came,
        "agains": agains,
    }
    conn.execute(sql["hold"], parameters)
    look_again(conn, campaign_id, until)


def look_again(conn: Connection, campaign_id: int, at: datetime | None, *, more: bool | None = None) -> None:
    """Remember when somebody held back may begin, None: nobody is. `more`: whether an update has more to let in."""
    conn.execute(sql["look_again"], {"campaign_id": campaign_id, "at": at, "more": more})


def limited(conn: Connection, campaign_ids: Iterable[int]) -> set[int]:
    """Return which campaigns may hold somebody back: those that limit, or limited, who begins."""
    return set(conn.execute(sql["limited"], {"campaign_ids": list(campaign_ids)}).scalars())


def first(conn: Connection, campaign_id: int, *, limit: int) -> list[Held]:
    """Return who was held back first."""
    rows = conn.execute(sql["first"], {"campaign_id": campaign_id, "limit": limit})
    return [Held(row[0], row[1], Arrival(row[2]), *row[3:]) for row in rows.all()]


def take(conn: Connection, campaign_id: int, seqs: Sequence[int]) -> set[int]:
    """Let these no longer be held back; return those that were."""
    return set(conn.execute(sql["take"], {"campaign_id": campaign_id, "seqs": list(seqs)}).scalars())


def drop(conn: Connection, campaign_id: int, contact_ids: Iterable[int], *, key: str | None = None) -> None:
    """Forget contacts that are held back, or only what a key began."""
    conn.execute(sql["drop"], {"campaign_id": campaign_id, "contact_ids": list(contact_ids), "key": key})


def drop_all(conn: Connection, campaign_id: int) -> int:
    """Forget everybody who is held back: nobody may begin any more; return how many that were."""
    return conn.execute(sql["drop_all"], {"campaign_id": campaign_id}).rowcount


def has_more(conn: Connection, campaign_id: int) -> bool:
    """Return whether an update was cut short by the limit."""
    return bool(conn.execute(sql["has_more"], {"campaign_id": campaign_id}).scalar())


def first_due(conn: Connection, *, now: datetime) -> datetime | None:
    """Return since when somebody held back may begin in a campaign that runs; None: nobody."""
    found: datetime | None = conn.execute(sql["first_due"], {"now": now}).scalar_one()
    return found


def due(conn: Connection, *, now: datetime) -> list[int]:
    """Return the campaigns that run in which somebody held back may begin."""
    return list(conn.execute(sql["due"], {"now": now}).scalars())


def of_contact(conn: Connection, campaign_id: int, contact_id: int) -> list[HeldBack]:
    """Return what of a contact is held back."""
    rows = conn.execute(sql["of_contact"], {"campaign_id": campaign_id, "contact_id": contact_id})
    return [HeldBack(*row) for row in rows]


def entered(conn: Connection, campaign_id: int, limit: EntryLimit, *, now: datetime) -> Entered:
    """Return how many began in a campaign, for people."""
    row = conn.execute(sql["entered"], {"campaign_id": campaign_id, "period": limit.period_of(now)}).one()
    return Entered(*row)


def ever(conn: Connection, campaign_id: int) -> int:
    """Return how many count towards the limit of all who ever begin; who began while there was none does not."""
    return int(conn.execute(sql["ever"], {"campaign_id": campaign_id}).scalar() or 0)
