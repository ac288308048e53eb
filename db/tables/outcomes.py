"""The table `outcome` and the counters that go with it: what became of each wait."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Row

from parcours.db.adapters import column
from parcours.db.statements import statements, variant
from parcours.domain.campaign import StopRule
from parcours.domain.gate import clean_json
from parcours.domain.walk.rows import Failure, OutcomeRow

sql = statements(__file__)
_FAILED_OF_A_REASON = variant(__file__, "failed_at", "of_a_reason")


class FailingStep(NamedTuple):
    step_id: int
    failed: int
    passed: int


class Logged(NamedTuple):
    """The place of an outcome in a campaign's history."""

    at: datetime
    contact_id: int
    rotation: int
    step_id: int
    passage: int


class Waiting(NamedTuple):
    """The place of a wait among those of a campaign; `at` is None for one without a deadline."""

    at: datetime | None
    contact_id: int
    step_id: int
    passage: int


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def record(conn: Connection, outcomes: Sequence[OutcomeRow]) -> None:
    """Write history and its counters, which therefore always agree."""
    if not outcomes:
        return
    contacts, steps, rotations, passages, ats, due, results, details, runs = map(list, zip(*outcomes, strict=True))
    written: dict[int, str] = {}
    conn.execute(
        sql["record"],
        {
            "contact_ids": contacts,
            "step_ids": steps,
            "rotations": rotations,
            "passages": passages,
            "ats": ats,
            "due": due,
            "results": results,
            # Most rows of a batch share the same few details.
            "details": column(
                [(written.get(id(detail)) or _written(written, detail)) if detail else None for detail in details]
            ),
            "runs": column(runs),
        },
    )
    # Most rows of a batch happen at one instant.
    days = {at: at.astimezone(UTC).date() for at in set(ats)}
    counted = Counter(zip(steps, map(days.__getitem__, ats), results, strict=True))
    places = list(counted)
    conn.execute(
        sql["count"],
        {
            "step_ids": [step for step, _, _ in places],
            "days": [day for _, day, _ in places],
            "results": [result for _, _, result in places],
            "ns": list(counted.values()),
        },
    )


def take_back(
    conn: Connection, step_id: int, ended: Sequence[tuple[int, int, int]], result: Literal["cancelled", "failed"]
) -> None:
    """Delete the ends of passages that go on, and count them no more: (contact id, rotation, passage)."""
    if ended:
        contacts, rotations, passages = map(list, zip(*ended, strict=True))
        given = {"step_id": step_id, "contact_ids": contacts, "rotations": rotations, "passages": passages}
        conn.execute(sql["take_back"], {**given, "result": result})


class FailedAt(NamedTuple):
    """The place of a failure among those of a step."""

    at: datetime
    contact_id: int


class FailedPassage(NamedTuple):
    """A passage of a contact that ended at a step with a failure."""

    contact_id: int
    rotation: int
    passage: int
    at: datetime
    due_at: datetime | None


def failed_at(conn: Connection, step_id: int, why: str | None, *, past: FailedAt, limit: int) -> list[FailedAt]:
    """Return who failed at a step for good, for this reason or for any, the latest first."""
    given = {"step_id": step_id, "why": why, "at": past.at, "contact_id": past.contact_id, "limit": limit}
    statement = sql["failed_at"] if why is None else _FAILED_OF_A_REASON
    return [FailedAt(*row) for row in conn.execute(statement, given)]


def failures_of(conn: Connection, step_id: int, why: str | None, contact_ids: Iterable[int]) -> list[FailedPassage]:
    """Return the failures of contacts at a step, whose locks the caller holds."""
    given = {"step_id": step_id, "why": why, "contact_ids": list(contact_ids)}
    return [FailedPassage(*row) for row in conn.execute(sql["failures_of"], given)]


def _written(written: dict[int, str], detail: Any) -> str:
    text = json.dumps(detail, default=str)
    if "\\u" in text:
        # A step type of another package may say what the database cannot hold.
        text = json.dumps(clean_json(detail), default=str)
    return written.setdefault(id(detail), text)


def count_campaign(conn: Connection, counted: Counter[tuple[int, datetime, str]]) -> None:
    """Add to the counters of campaigns: (campaign, instant, what) to how many."""
    hours: Counter[tuple[int, datetime, str]] = Counter()
    for (campaign_id, at, what), n in counted.items():
        hours[campaign_id, at.astimezone(UTC).replace(minute=0, second=0, microsecond=0), what] += n
    places = [place for place, n in hours.items() if n]
    if places:
        parameters = {
            "campaign_ids": [campaign_id for campaign_id, _, _ in places],
            "hours": [hour for _, hour, _ in places],
            "whats": [what for _, _, what in places],
            "ns": [hours[place] for place in places],
        }
        conn.execute(sql["count_campaign"], parameters)


def fail(conn: Connection, failures: Sequence[Failure], *, now: datetime) -> None:
    """Remember the last failed attempt of contacts at steps."""
    if failures:
        # One statement writes a row once.
        last = {(each.contact_id, each.step_id): each for each in failures}.values()
        parameters = {
            "contact_ids": [each.contact_id for each in last],
            "step_ids": [each.step_id for each in last],
            "attempts": [each.attempts for each in last],
            "errors": [each.error for each in last],
            "now": now,
        }
        conn.execute(sql["fail"], parameters)


def forgive(conn: Connection, failed: Sequence[tuple[int, int]]) -> None:
    """Forget the failed attempts of contacts at steps: (contact id, step id)."""
    if failed:
        parameters = {"contact_ids": [each[0] for each in failed], "step_ids": [each[1] for each in failed]}
        conn.execute(sql["forgive"], parameters)


def failing_step(conn: Connection, step_ids: Iterable[int], stop: StopRule, *, now: datetime) -> FailingStep | None:
    """Return a step at which so many contacts failed lately that its campaign is to stop."""
    parameters = {
        "step_ids": list(step_ids),
        "now": now,
        "at_least": stop.at_least,
        "share": stop.share,
        "within": stop.within,
    }
    row = conn.execute(sql["failing_step"], parameters).first()
    return None if row is None else FailingStep(*row)


def recent_passes(
    conn: Connection, contact_ids: Iterable[int], step_ids: Iterable[int], *, now: datetime
) -> dict[tuple[int, int], int]:
    """Return how often each contact passed each step within the last day; zeros are left out."""
    parameters = {"contact_ids": list(contact_ids), "step_ids": list(step_ids), "now": now}
    return {(row.contact_id, row.step_id): row.n for row in conn.execute(sql["recent_passes"], parameters)}


def answered(conn: Connection, step_id: int, contact_ids: Sequence[int]) -> set[tuple[int, int | None, int, str, str]]:
    """Return the facts that led contacts on from a decision since they joined: (contact, run, step, type, time)."""
    if not contact_ids:
        return set()
    rows = conn.execute(sql["answered"], {"step_id": step_id, "contact_ids": list(contact_ids)})
    return {(row.contact_id, row.run, step_id, row.event, row.happened_at) for row in rows}


def passed(conn: Connection, step_id: int, passages: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the (contact, passage) among these that have an outcome of a step."""
    parameters = {
        "step_id": step_id,
        "contact_ids": [contact_id for contact_id, _ in passages],
        "passages": [passage for _, passage in passages],
    }
    return {(row.contact_id, row.passage) for row in conn.execute(sql["passed"], parameters)}


def log(
    conn: Connection,
    campaign_id: int,
    *,
    contact_id: int | None,
    step_id: int | None,
    after: Logged | None = None,
    limit: int | None = None,
) -> Iterator[Row[Any]]:
    """Yield the outcomes of a campaign, oldest first, without holding them all in memory; a page: `limit` past `after`.

    A page of a whole campaign costs a read of all that came later; that of a contact reads only theirs.
    """
    place = after or Logged(_LONG_AGO, 0, 0, 0, 0)
    yield from _stream(conn, "log", place, campaign_id, contact_id, step_id, limit)


def waiting(
    conn: Connection,
    campaign_id: int,
    *,
    contact_id: int | None,
    step_id: int | None,
    after: Waiting | None = None,
    limit: int | None = None,
) -> Iterator[Row[Any]]:
    """Yield the open waits of a campaign, next due first; a page: `limit` past `after`."""
    place = after or Waiting(_LONG_AGO, 0, 0, 0)
    yield from _stream(conn, "waiting", place, campaign_id, contact_id, step_id, limit)


def _stream(
    conn: Connection,
    name: str,
    place: Logged | Waiting,
    campaign_id: int,
    contact_id: int | None,
    step_id: int | None,
    limit: int | None,
) -> Iterator[Row[Any]]:
    after = {f"after_{part}": value for part, value in place._asdict().items()}
    after["after_at"] = place.at or "infinity"
    given = {"campaign_id": campaign_id, "contact_id": contact_id, "step_id": step_id, "limit": limit, **after}
    yield from conn.execution_options(stream_results=True, yield_per=2000).execute(sql[name], given)
