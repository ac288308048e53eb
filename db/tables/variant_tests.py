"""The table `variant_test`: since when the versions of an email are tried in a step, and which one won."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from parcours.db.statements import statements

sql = statements(__file__)


class TriedPlace(NamedTuple):
    """An email in a step of a campaign; a changed set of variants begins the next round."""

    template: str
    campaign_id: int
    step_id: int
    round: int


class VariantTest(NamedTuple):
    """A test that began; `winner` is the name of a variant, '' for the main version, or None while there is none."""

    place: TriedPlace
    started_at: datetime
    decided_at: datetime | None
    winner: str | None


def begin(conn: Connection, places: Collection[TriedPlace], *, now: datetime) -> None:
    """Begin the tests that have not begun; what is recorded as sent from here on counts for them."""
    if places:
        conn.execute(sql["begin"], {**_columns(places), "now": now})


def of_places(conn: Connection, places: Collection[TriedPlace]) -> dict[TriedPlace, VariantTest]:
    """Return the tests that began."""
    if not places:
        return {}
    return {test.place: test for test in map(_test, conn.execute(sql["of_places"], _columns(places)))}


def figures(conn: Connection, place: TriedPlace) -> dict[str, dict[str, int]]:
    """Return what was counted by version since a test began."""
    found: dict[str, dict[str, int]] = {}
    for row in conn.execute(sql["figures"], place._asdict()):
        found.setdefault(row.variant, {})[row.what] = row.n
    return found


def decide(conn: Connection, place: TriedPlace, winner: str, *, now: datetime) -> tuple[VariantTest, bool]:
    """Record the winner of a test, unless one is recorded; return the test as it is, and whether this decided it.

    Who comes second waits until the first has committed, and gets the winner that is recorded.
    """
    done = conn.execute(sql["decide"], {**place._asdict(), "winner": winner, "now": now}).rowcount
    return of_places(conn, [place])[place], done == 1


def _test(row: Any) -> VariantTest:
    place = TriedPlace(row.template, row.campaign_id, row.step_id, row.round)
    return VariantTest(place, row.started_at, row.decided_at, row.winner)


def _columns(places: Iterable[TriedPlace]) -> dict[str, Any]:
    templates, campaign_ids, step_ids, rounds = map(list, zip(*sorted(set(places)), strict=True))
    return {"templates": templates, "campaign_ids": campaign_ids, "step_ids": step_ids, "rounds": rounds}
