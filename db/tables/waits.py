"""The table `wait`: who stands where until when."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db.adapters import column
from parcours.db.scope import Scope
from parcours.db.statements import statements, variant
from parcours.domain.walk.catch_up import Shift
from parcours.domain.walk.rows import Claim, Jumped, Reason, Wait

sql = statements(__file__)
EVERYTHING = Scope()
# Whether with a cap, and whether contacts are named.
_CLAIMS = {
    (False, False): sql["claim_due"],
    (True, False): variant(__file__, "claim_due", "in_order"),
    (False, True): variant(__file__, "claim_due", "by_name"),
    (True, True): variant(__file__, "claim_due", "in_order", "by_name"),
}


class DueStep(NamedTuple):
    step_id: int
    campaign_id: int
    # Of whoever waits there longest.
    due_at: datetime


class CancelledWait(NamedTuple):
    contact_id: int
    step_id: int
    rotation: int
    passage: int
    due_at: datetime | None


class Returning(NamedTuple):
    """A step that returns, with its kind then; `before`: that of the step while it was there last, or still is."""

    step_id: int
    kind: str
    before: str


class Displaced(NamedTuple):
    """A wait that a step lost, with what says when its contact is due elsewhere."""

    contact_id: int
    step_id: int
    rotation: int
    passage: int
    due_at: datetime | None
    anchor_at: datetime
    timezone: str | None


class ToCome(NamedTuple):
    """A wait with a due time."""

    contact_id: int
    step_id: int
    campaign_id: int
    passage: int
    reason: Reason
    anchor_at: datetime
    due_at: datetime
    held: Mapping[str, Any] | None


class Dated(NamedTuple):
    """A wait at a step that goes by a date of the contact; without `due_at` there is no date yet."""

    contact_id: int
    step_id: int
    campaign_id: int
    passage: int
    due_at: datetime | None


class AtRule(NamedTuple):
    """A decision that a contact stands at, which waits until a rule is true; `due_at`: when it is asked next."""

    contact_id: int
    step_id: int
    campaign_id: int
    passage: int
    anchor_at: datetime
    due_at: datetime | None
    rotation: int
    # Whether the contact may have several runs in the campaign.
    runs: bool


class Armed(NamedTuple):
    contact_id: int
    step_id: int
    campaign_id: int
    passage: int
    # When the contact came to the decision.
    anchor_at: datetime
    rotation: int
    # Whether the contact may have several runs in the campaign.
    runs: bool


def claim_due(conn: Connection, step_id: int, *, now: datetime, limit: int, scope: Scope = EVERYTHING) -> list[Claim]:
    """Take at most `limit` due waits of a step, and their contacts' locks, oldest due first."""
    claim = _CLAIMS[scope.campaign_limit is not None, scope.contact_ids is not None]
    rows = conn.execute(claim, {"step_id": step_id, "now": now, "limit": limit, **scope.waits()})
    return [Claim._make(row) for row in rows.all()]


def has_due(conn: Connection, step_ids: Sequence[int], *, now: datetime, scope: Scope = EVERYTHING) -> bool:
    """Return whether anything is due at these steps, in somebody's hands or not."""
    parameters = {"step_ids": list(step_ids), "now": now, **scope.waits()}
    return bool(conn.execute(sql["has_due"], parameters).scalar_one())


def of_nobody(conn: Connection, step_ids: Sequence[int], *, now: datetime | None, limit: int) -> list[int]:
    """Return ids that are due at steps, at any time without `now`, although there is no such contact any more."""
    parameters = {"step_ids": list(step_ids), "now": "infinity" if now is None else now, "limit": limit}
    return list(conn.execute(sql["of_nobody"], parameters).scalars())


def due_steps(conn: Connection, *, now: datetime, scope: Scope = EVERYTHING) -> list[DueStep]:
    """Return the steps of running campaigns at which something is due, newest campaign first."""
    parameters = {
        "now": now,
        "campaign_ids": None if scope.campaign_ids is None else list(scope.campaign_ids),
        "excluded": list(scope.excluded),
        **scope.waits(),
    }
    return [DueStep(*row) for row in conn.execute(sql["due_steps"], parameters)]


def arm(conn: Connection, waits: Sequence[Wait]) -> None:
    """Write waits; who already waits at a step in a passage keeps that wait."""
    if not waits:
        return
    names = (
        "contact_ids",
        "step_ids",
        "campaign_ids",
        "rotations",
        "passages",
        "attempts",
        "reasons",
        "anchors",
        "due",
        "helds",
    )
    parameters: dict[str, list[Any] | None] = dict(zip(names, map(list, zip(*waits, strict=True)), strict=True))
    parameters["helds"] = column([None if each.held is None else json.dumps(each.held) for each in waits])
    conn.execute(sql["arm"], parameters)


def take_armed(conn: Connection, step_id: int, passages: Mapping[int, int]) -> list[Claim]:
    """Take the armed decision of contacts that the caller has locked, in the passage that was found armed.

    Who is not there any more, or again in another passage, is left out.
    """
    parameters = {"step_id": step_id, "contact_ids": list(passages), "passages": list(passages.values())}
    return [Claim._make(row) for row in conn.execute(sql["take_armed"], parameters).all()]


def armed(conn: Connection, contact_ids: Iterable[int], types: Iterable[str], events: Iterable[str]) -> list[Armed]:
    """Return the armed decisions of some types, which may look at some of these events, at which contacts stand."""
    parameters = {"contact_ids": list(contact_ids), "types": list(types), "events": list(events)}
    return [Armed(*row) for row in conn.execute(sql["armed"], parameters)]


def move(conn: Connection, campaign_id: int, jumped: Sequence[Jumped]) -> None:
    """Move the open waits of contacts that jumped to the new rotation, those of the rotation that they left."""
    if jumped:
        parameters = {
            "contact_ids": [each.contact_id for each in jumped],
            "befores": [each.before for each in jumped],
            "rotations": [each.after for each in jumped],
            "campaign_id": campaign_id,
        }
        conn.execute(sql["move"], parameters)


def cancel(
    conn: Connection, campaign_id: int, contact_ids: Sequence[int], rotations: Sequence[int] | None = None
) -> list[CancelledWait]:
    """Delete every wait of contacts, which the caller has locked, in a campaign; return them.

    `rotations`: only those of one rotation, one for each place in `contact_ids`, where a contact may stand twice.
    """
    parameters: dict[str, Any] = {"campaign_id": campaign_id, "contact_ids": list(contact_ids)}
    if rotations is None:
        rows = conn.execute(sql["cancel"], parameters)
    else:
        rows = conn.execute(sql["cancel_rotations"], {**parameters, "rotations": list(rotations)})
    return [CancelledWait(*row) for row in rows]


def cancel_steps(conn: Connection, step_ids: Sequence[int], *, limit: int) -> list[Displaced]:
    """Delete at most `limit` waits at steps, with the campaign closed to workers; return them by contact."""
    rows = conn.execute(sql["cancel_steps"], {"step_ids": list(step_ids), "limit": limit})
    return sorted(Displaced(*row) for row in rows)


def shift(conn: Connection, campaign_id: int, moved: Shift, *, limit: int = 5_000) -> None:
    """Move a campaign's waits, with the campaign closed to workers, in statements of at most `limit` rows."""
    parameters = {"campaign_id": campaign_id, "since": moved.since, "until": moved.until, "limit": limit}
    # Passages of merged contacts may be below zero.
    place: Mapping[str, int] | None = {"contact_id": 0, "step_id": 0, "passage": 0}
    while place is not None:
        row = conn.execute(sql["shift"], {**parameters, **place}).first()
        place = None if row is None else row._asdict()


def standing(conn: Connection, step_id: int, contact_ids: Iterable[int]) -> set[tuple[int, int, int]]:
    """Return the (contact, passage, rotation) in which some of these contacts wait at a step."""
    parameters = {"step_id": step_id, "contact_ids": sorted(set(contact_ids))}
    return {(row.contact_id, row.passage, row.rotation) for row in conn.execute(sql["standing"], parameters)}


def count_at(conn: Connection, step_ids: Sequence[int]) -> dict[int, int]:
    """Return how many wait at each step; steps where nobody waits are left out."""
    if not step_ids:
        return {}
    return {row.step_id: row.n for row in conn.execute(sql["count_at"], {"step_ids": list(step_ids)})}


def count_up_to(conn: Connection, step_ids: Collection[int], limit: int) -> dict[int, int]:
    """Return how many wait at each step, `limit` where it is that or more; steps where nobody waits are left out."""
    if not step_ids:
        return {}
    rows = conn.execute(sql["count_up_to"], {"step_ids": list(step_ids), "limit": limit})
    return {row.step_id: row.n for row in rows}


def guess_at(conn: Connection, step_ids: Collection[int]) -> dict[int, int]:
    """Return about how many wait at each step, as the planner believes from its statistics."""
    if not step_ids:
        return {}
    return {row.step_id: row.n for row in conn.execute(sql["guess_at"], {"step_ids": list(step_ids)})}


def take_kickoffs(
    conn: Connection, campaign_id: int, contact_ids: Sequence[int], *, now: datetime
) -> list[tuple[int, Claim]]:
    """Take what contacts that the caller has locked are to begin in a campaign now: (step, claim) pairs."""
    parameters = {"campaign_id": campaign_id, "contact_ids": list(contact_ids), "now": now}
    return [(row[0], Claim._make(row[1:])) for row in conn.execute(sql["take_kickoffs"], parameters).all()]


def take_rezoned(conn: Connection, *, limit: int, of: Iterable[int] | None = None) -> dict[int, str | None]:
    """Take contacts whose timezone changed while they wait, and their locks; return the timezone of each.

    `of`: only those of these contacts. Who is in other hands is left for later.
    """
    parameters = {"limit": limit, "ids": None if of is None else list(of)}
    return {row.id: row.timezone for row in conn.execute(sql["take_rezoned"], parameters)}


def note_rezoned(conn: Connection, contact_ids: Iterable[int]) -> None:
    """Say that contacts have waits that were meant for another timezone; the database itself sees them change it."""
    conn.execute(sql["note_rezoned"], {"ids": list(contact_ids)})


def still_to_come(conn: Connection, contact_ids: Iterable[int]) -> list[ToCome]:
    """Return the delays and decisions of contacts, which the caller has locked, that have a due time."""
    rows = conn.execute(sql["still_to_come"], {"ids": list(contact_ids)})
    return [ToCome._make(row) for row in rows]


def by_date(conn: Connection, contact_ids: Iterable[int]) -> list[Dated]:
    """Return where contacts, which the caller has locked, wait for a date of theirs."""
    return [Dated(*row) for row in conn.execute(sql["by_date"], {"ids": list(contact_ids)})]


def at_rules(conn: Connection, step_ids: Iterable[int], contact_ids: Iterable[int]) -> list[AtRule]:
    """Return where contacts, which the caller has locked, wait at steps for a rule that was not found true yet."""
    parameters = {"step_ids": list(step_ids), "ids": list(contact_ids)}
    return [AtRule(*row) for row in conn.execute(sql["at_rules"], parameters)]


def found_true(conn: Connection, found: Sequence[AtRule], held: Mapping[str, Any], *, now: datetime) -> None:
    """Let decisions of contacts, which the caller has locked, be taken now, whatever their rule says later on."""
    if found:
        conn.execute(sql["found_true"], {**_places(found), "now": now, "held": json.dumps(held)})


def ask_rules(conn: Connection, step_id: int, *, now: datetime, limit: int = 5_000) -> None:
    """Let whoever takes waits next ask the rule of a decision for all who wait there, with the campaign closed."""
    parameters = {"step_id": step_id, "now": now, "limit": limit}
    while conn.execute(sql["ask_rules"], parameters).rowcount == limit:
        pass


def move_to(conn: Connection, moved: Sequence[tuple[ToCome | Dated | AtRule, datetime | None]]) -> None:
    """Give waits of contacts, which the caller has locked, other due times; None: never, as things are."""
    if moved:
        conn.execute(sql["move_to"], {**_places([wait for wait, _ in moved]), "due": [due for _, due in moved]})


def _places(found: Sequence[ToCome | Dated | AtRule]) -> dict[str, Any]:
    return {
        "contact_ids": [wait.contact_id for wait in found],
        "step_ids": [wait.step_id for wait in found],
        "passages": [wait.passage for wait in found],
    }


def lost_with_steps(
    conn: Connection, campaign_id: int, returning: Sequence[Returning], first_id: int, last_id: int
) -> list[Displaced]:
    """Return what removing steps cancelled of members in a range of ids, who are where they were then, by contact."""
    parameters = {"campaign_id": campaign_id, **_columns_of(returning), "first_id": first_id, "last_id": last_id}
    return sorted(Displaced(*row) for row in conn.execute(sql["lost_with_steps"], parameters))


def count_lost(conn: Connection, campaign_id: int, returning: Sequence[Returning]) -> dict[int, int]:
    """Return of how many members removing each step cancelled a wait that nothing took the place of."""
    parameters = {"campaign_id": campaign_id, **_columns_of(returning), "first_id": 0, "last_id": 2**62}
    return dict(Counter(row.step_id for row in conn.execute(sql["lost_with_steps"], parameters)))


def _columns_of(returning: Sequence[Returning]) -> dict[str, list[Any]]:
    return {
        "step_ids": [each.step_id for each in returning],
        "kinds": [each.kind for each in returning],
        "befores": [each.before for each in returning],
    }


def count_from_before(conn: Connection, befores: Mapping[int, datetime]) -> dict[int, int]:
    """Return how many wait at each step who came there before the instant given; zeros and retries are left out."""
    if not befores:
        return {}
    parameters = {"step_ids": list(befores), "befores": list(befores.values())}
    return {row.step_id: row.n for row in conn.execute(sql["count_from_before"], parameters)}
