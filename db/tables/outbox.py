"""The outbox: what is to leave, in whose hands it is, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db import touched
from parcours.db.scope import Scope
from parcours.db.statements import statements
from parcours.db.tables import refusals as refused
from parcours.domain.contacts.touched import EMAILS
from parcours.domain.messages.circuit import Circuit
from parcours.domain.messages.results import Claimed
from parcours.domain.messages.settle import MessageRow

sql = statements(__file__)
# Messages that are counted one by one: of those that are done, and of those that wait or failed, so many each.
COUNTED = 50_000


class Lane(NamedTuple):
    """Messages of one channel, campaign, kind and priority, of which the first is due at `due_at`."""

    channel: str
    campaign_id: int
    marketing: bool
    priority: int
    due_at: datetime
    deleted: bool


class Recorded(NamedTuple):
    """A message whose state was written."""

    key: str
    contact_id: int
    campaign_id: int
    channel: str
    state: str
    to_contact: bool


class Recipient(NamedTuple):
    """What a template may say of a contact."""

    id: int
    key: str
    email: str | None
    timezone: str | None
    points: int
    stage: str | None
    owner: str | None
    fields: dict[str, Any]
    tags: list[str]
    # The primary one: key, name, points and its own fields.
    company: dict[str, Any] | None = None


class Counted(NamedTuple):
    """How many messages of a channel are in a state. `about`: they are too many to count."""

    channel: str
    state: str
    messages: int
    about: bool


class StepName(NamedTuple):
    id: int
    key: str
    campaign_id: int
    campaign: str
    campaign_name: str


class StoredTemplate(NamedTuple):
    key: str
    published: bool
    content: dict[str, Any]


class FailedMessage(NamedTuple):
    key: str
    at: datetime
    campaign: str | None
    step: str | None
    contact: str
    channel: str
    template: str | None
    attempts: int
    error: str | None


def lanes(conn: Connection, *, now: datetime, scope: Scope) -> list[Lane]:
    """Return the lanes with work in them: transactional before marketing, then priority, then what was due first."""
    parameters = {
        "now": now,
        "campaign_ids": None if scope.campaign_ids is None else list(scope.campaign_ids),
        "excluded": list(scope.excluded),
    }
    return [Lane(*row) for row in conn.execute(sql["lanes"], parameters)]


def claim(
    conn: Connection, lane: Lane, *, now: datetime, leased_until: datetime, limit: int, scope: Scope
) -> list[Claimed]:
    """Take the next due messages of a lane into the caller's hands, until the lease ends."""
    parameters = {**_of(lane), "now": now, "leased_until": leased_until, "limit": limit, **scope.contacts()}
    return [Claimed(*row) for row in conn.execute(sql["claim"], parameters)]


def cancel_deleted(conn: Connection, lane: Lane, *, now: datetime, limit: int) -> int:
    """Cancel so many messages of a deleted campaign; return how many there were."""
    return conn.execute(sql["cancel_deleted"], {**_of(lane), "now": now, "limit": limit}).rowcount


def _of(lane: Lane) -> dict[str, Any]:
    return {
        "channel": lane.channel,
        "campaign_id": lane.campaign_id,
        "marketing": lane.marketing,
        "priority": lane.priority,
    }


def refusals(conn: Connection, contact_ids: Iterable[int], channels: Iterable[str]) -> dict[tuple[int, str], str]:
    """Return why contacts must not be contacted on channels, by contact and channel; who may be is left out."""
    wanted = set(channels)
    return {
        (id_, channel): reason
        for id_, reasons in refused.of_contacts(conn, contact_ids).items()
        for channel, reason in reasons.items()
        if channel in wanted
    }


def departed(conn: Connection, written: Iterable[tuple[int, int, int | None]]) -> set[tuple[int, int, int | None]]:
    """Return the (contact, campaign, run) of which the contact is out, unless by the campaign's own tree.

    The run is None where the contact has only one.
    """
    asked = sorted(set(written), key=lambda each: (each[0], each[1], each[2] or 0))
    parameters = {
        "contact_ids": [contact_id for contact_id, _, _ in asked],
        "campaign_ids": [campaign_id for _, campaign_id, _ in asked],
        "runs": [run for _, _, run in asked],
    }
    return {(row.contact_id, row.campaign_id, row.run) for row in conn.execute(sql["departed"], parameters)}


def told_already(conn: Connection, keys: Collection[str]) -> set[str]:
    """Return which of these emails to contacts say what another message to the same contact said, or will say."""
    return set(conn.execute(sql["told_already"], {"keys": list(keys)}).scalars()) if keys else set()


def recipients(conn: Connection, contact_ids: Iterable[int]) -> dict[int, Recipient]:
    """Return what templates may say of contacts, by id."""
    return {row.id: Recipient(*row) for row in conn.execute(sql["contacts"], {"ids": list(contact_ids)})}


def step_names(conn: Connection, step_ids: Iterable[int]) -> dict[int, StepName]:
    """Return how steps and their campaigns are called, by step; the removed ones too."""
    return {row.id: StepName(*row) for row in conn.execute(sql["steps"], {"ids": list(step_ids)})}


def templates(conn: Connection, kind: str, keys: Collection[str]) -> dict[str, StoredTemplate]:
    """Return templates of another kind than email that exist, by key."""
    rows = conn.execute(sql["templates"], {"kind": kind, "keys": list(keys)})
    return {row.key: StoredTemplate(*row) for row in rows}


def record(conn: Connection, rows: Sequence[MessageRow], *, now: datetime) -> list[Recorded]:
    """Write what became of messages; return those that were still the caller's to write."""
    if not rows:
        return []
    names = (
        *("keys", "leases", "states", "channels", "templates", "addresses", "payloads", "attempts", "due", "errors"),
        *("variants", "locales", "bounced", "helds"),
    )
    columns: dict[str, Any] = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    columns["payloads"] = [json.dumps(row.payload, default=str) if row.payload else None for row in rows]
    recorded = [Recorded(*row) for row in conn.execute(sql["record"], {**columns, "now": now})]
    touched.note(conn, EMAILS, (each.contact_id for each in recorded if each.channel == "email"))
    return recorded


def look_again(conn: Connection, contact_ids: Iterable[int], *, now: datetime) -> None:
    """Make due what quiet hours of contacts, whose locks the caller holds, hold back: they are asked again."""
    conn.execute(sql["look_again"], {"ids": list(contact_ids), "now": now})


def hurry(conn: Connection) -> datetime:
    """Let this transaction's commit not wait for the disk, and return when it began; others see it all the same.

    For records of what was sent: a server that loses power forgets those of its last moment, and their
    messages leave again when their lease ends, as they do when a worker dies.
    """
    began: datetime = conn.execute(sql["hurry"]).one().now
    return began


def stopped(conn: Connection, campaign_ids: Iterable[int], *, now: datetime) -> set[int]:
    """Return which of some campaigns do not run."""
    return set(conn.execute(sql["stopped"], {"ids": list(campaign_ids), "now": now}).scalars())


# Providers: circuits, and how much may leave.


def circuits(conn: Connection) -> dict[str, Circuit]:
    """Return what is remembered of providers that failed lately, by name."""
    return {row.provider: Circuit(*row[1:]) for row in conn.execute(sql["circuits"])}


def lock_circuit(conn: Connection, provider: str) -> Circuit | None:
    """Return a provider's circuit, which stays locked until the transaction ends; None when it works."""
    row = conn.execute(sql["lock_circuit"], {"provider": provider}).first()
    return None if row is None else Circuit(*row)


def save_circuit(conn: Connection, provider: str, circuit: Circuit | None, *, now: datetime) -> None:
    """Write a provider's circuit; None forgets it."""
    if circuit is None:
        conn.execute(sql["forget_circuit"], {"provider": provider})
        return
    values = {
        "state": circuit.state,
        "failures": circuit.failures,
        "trips": circuit.trips,
        "opened_until": circuit.opened_until,
        "error": circuit.error,
    }
    conn.execute(sql["save_circuit"], {"provider": provider, **values, "now": now})


def refill(conn: Connection, name: str, *, per_second: float, now: datetime) -> float:
    """Return how many messages of a name may leave now; the bucket stays locked until the transaction ends.

    A bucket holds what comes in within a second, and at least one.
    """
    parameters = {"name": name, "per_second": per_second, "burst": max(1.0, per_second), "now": now}
    return float(conn.execute(sql["refill"], parameters).scalar_one())


def spend(conn: Connection, name: str, n: int) -> None:
    """Take messages out of a bucket."""
    conn.execute(sql["spend"], {"name": name, "n": n})


# For people.


def counts(conn: Connection) -> list[Counted]:
    """Return how many messages there are, by channel and state; of what is more than `COUNTED`, an estimate."""
    percent = min(100.0, 100 * COUNTED / max(1.0, conn.execute(sql["about"]).scalar_one()))
    sampled = {(row.channel, row.state): row.n for row in conn.execute(sql["sample"], {"percent": percent})}
    found = []
    for states in (("queued", "sending"), ("failed",)):
        rows = conn.execute(sql[f"count_{states[0]}"], {"limit": COUNTED}).all()
        if sum(row.n for row in rows) < COUNTED:
            found += [Counted(row.channel, row.state, row.n, about=False) for row in rows]
        else:
            # As many as were counted are there.
            least = {(row.channel, row.state): row.n for row in rows}
            there = {each: n for each, n in sampled.items() if each[1] in states} | least
            found += [Counted(*each, max(sampled.get(each, 0), n), about=True) for each, n in there.items()]
    open_ = ("queued", "sending", "failed")
    found += [Counted(*each, n, percent < 100) for each, n in sampled.items() if each[1] not in open_]
    return sorted(found)


def failed(conn: Connection, *, keys: Sequence[str] | None = None, limit: int) -> list[FailedMessage]:
    """Return messages that were given up, the latest first."""
    parameters = {"keys": None if keys is None else list(keys), "limit": limit}
    return [FailedMessage(*row) for row in conn.execute(sql["failed"], parameters)]


def retry(conn: Connection, keys: Sequence[str] | None, *, now: datetime) -> int:
    """Put failed messages back, all of them without keys, with their attempts before them; return how many."""
    return conn.execute(sql["retry"], {"keys": None if keys is None else list(keys), "now": now}).rowcount


def retry_step(conn: Connection, campaign_id: int, step_id: int, why: str | None, *, now: datetime) -> int:
    """Put back the messages of a step that failed for this reason, with their attempts before them; return how many.

    Without a reason, all that failed.
    """
    given = {"campaign_id": campaign_id, "step_id": step_id, "why": why, "now": now}
    return conn.execute(sql["retry_step"], given).rowcount
