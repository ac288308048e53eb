"""The figures of a campaign, from counters that are kept with what they count."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Row

from parcours.db.statements import statements
from parcours.db.tables import campaigns, waits
from parcours.domain.campaign import Campaign

sql = statements(__file__)
RESULTS = ("done", "skipped", "failed", "yes", "no", "cancelled")
_ENDS = {"delivered": "sent", "undelivered": "failed", "withdrawn": "cancelled"}
# Waits of a campaign that a page may count one by one; beyond, it asks the planner.
WAITS_COUNTED = 100_000
# Messages of a campaign in the outbox that are counted one by one.
QUEUED_COUNTED = 10_000
# What is due by now is counted up to here.
DUE_COUNTED = 10_000
# More than any id.
LAST = 2**62

Bucket = Literal["day", "week", "month"]


@dataclass(frozen=True)
class StepFigures:
    """One step of the tree; `reached` are the contacts that came here: those that wait, and every outcome.

    Of the messages that a step wrote, `delivered` were taken by their provider, `undelivered` given up, and
    `withdrawn` before they went; `queued` are still in the outbox, to be sent for the first time or again. `about`:
    those that wait are too many to count, so `waiting` and `reached` are estimates; `about_queued`: so is `queued`.
    """

    step: str
    kind: str
    type: str
    parent: str | None
    branch: str | None
    reached: int
    waiting: int
    results: dict[str, int]
    about: bool = False
    delivered: int = 0
    undelivered: int = 0
    withdrawn: int = 0
    queued: int = 0
    about_queued: bool = False


@dataclass(frozen=True)
class Figures:
    """What the campaign came to so far. `erased`: those of `added` of whom no step counts anything any more."""

    added: int
    left: int
    erased: int
    emails_sent: int
    page_views: int
    steps: list[StepFigures]

    @property
    def active(self) -> int:
        return self.added - self.left

    @property
    def came(self) -> int:
        """How many came to the first steps, as far as these still count them: what shares of first steps are of."""
        return self.added - self.erased


@dataclass(frozen=True)
class Overview(Figures):
    """The figures with their days and the latest activity."""

    # Steps that the present version does not have and that contacts came to; they stand nowhere in the tree.
    removed: list[StepFigures]
    series: list[dict[str, Any]]
    activity: list[dict[str, Any]]


class Counts(NamedTuple):
    """What a bucket of time brought; `at` is its first instant, in UTC."""

    at: datetime
    added: int
    emails_sent: int
    page_views: int


class Days(NamedTuple):
    """The first and the last day in UTC of what a graph shows, and since when its hours are known too."""

    first: date
    last: date
    hours_from: datetime | None

    def has_hours_since(self, at: datetime) -> bool:
        """Tell whether all that happened since an instant is counted by the hour."""
        if self.hours_from is None:
            return False
        return self.hours_from <= at or self.hours_from.astimezone(UTC).date() <= self.first


class Due(NamedTuple):
    """What is due by now, counted up to a limit, and when the next wait will be."""

    now: int
    more: bool
    next_at: datetime | None


class ActivityPlace(NamedTuple):
    """An audit entry, before which a page of the activity begins."""

    at: datetime
    id: int


@dataclass(frozen=True)
class Backlog:
    """What is due and what waits in a campaign, and how many of its messages were given up.

    `about`: those that wait are too many to count.
    """

    campaign: str
    published: bool
    due: int
    waiting: int
    oldest_due_at: datetime | None
    about: bool
    undelivered: int


def of(conn: Connection, campaign: Campaign) -> Overview:
    """Return the figures of a campaign; their cost does not depend on its contacts, but for who waits now."""
    found = figures(conn, campaign)
    series = [dict(row._mapping) for row in conn.execute(sql["series"], {"campaign_id": campaign.id})]
    activity = [
        {"at": row.at, "who": row.who, "what": row.what, "message": (row.detail or {}).get("message")}
        for row in campaigns.activity(conn, campaign.id)
    ]
    return Overview(
        found.added,
        found.left,
        found.erased,
        found.emails_sent,
        found.page_views,
        found.steps,
        removed(conn, campaign),
        series,
        activity,
    )


def figures(conn: Connection, campaign: Campaign, *, waits_counted: int | None = None) -> Figures:
    """Return what the campaign came to so far.

    With `waits_counted` the cost is bounded: of a step at which more wait than its share of so many,
    the statistics of the table say about how many. Messages in the outbox are counted up to a limit then, too.
    """
    ids = list(campaign.steps)
    counted = _results(conn, ids)
    waiting, guessed = _waiting(conn, ids, waits_counted)
    ended = _ended(conn, ids)
    queued = _queued(conn, campaign.id, None if waits_counted is None else QUEUED_COUNTED)
    steps = [
        StepFigures(
            step.key,
            step.kind.value,
            step.type.name,
            None if step.parent is None else campaign.steps[step.parent].key,
            step.branch,
            waiting.get(step.id, 0) + sum(counted[step.id].values()),
            waiting.get(step.id, 0),
            counted[step.id],
            about=step.id in guessed,
            **_deliveries(ended, queued, step.id, counted[step.id]["done"]),
        )
        for step in campaign.steps.values()
    ]
    whole = conn.execute(sql["contacts"], {"campaign_id": campaign.id}).one()
    return Figures(whole.added, whole.left, whole.erased, whole.emails_sent, whole.page_views, steps)


def removed(conn: Connection, campaign: Campaign, *, queued_counted: int | None = None) -> list[StepFigures]:
    """Return the steps that the present version does not have any more and that somebody passed.

    Of more messages in the outbox than `queued_counted`, about how many there are.
    """
    gone = [step for step in campaigns.steps(conn, campaign.id) if step.id not in campaign.steps]
    if not gone:
        return []
    counted = _results(conn, [step.id for step in gone])
    waiting = waits.count_at(conn, [step.id for step in gone])
    ended = _ended(conn, [step.id for step in gone])
    queued = _queued(conn, campaign.id, queued_counted)
    found = [
        StepFigures(
            step.key,
            step.kind,
            step.type,
            None,
            None,
            waiting.get(step.id, 0) + sum(counted[step.id].values()),
            waiting.get(step.id, 0),
            counted[step.id],
            **_deliveries(ended, queued, step.id, counted[step.id]["done"]),
        )
        for step in gone
    ]
    return [step for step in found if step.reached]


def series(conn: Connection, campaign_id: int, bucket: Bucket, first: date, last: date) -> list[Counts]:
    """Return what the days from `first` to `last`, in UTC, brought; buckets with nothing are left out.

    Weeks begin on Monday; the buckets at both ends hold only what is within the days.
    """
    parameters = {"campaign_id": campaign_id, "bucket": bucket, "first": first, "last": last}
    return [Counts(*row) for row in conn.execute(sql["series_by"], parameters)]


def series_between(conn: Connection, campaign_id: int, bounds: Sequence[datetime], until: datetime) -> list[Counts]:
    """Return what the hours from each bound to the next, and from the last one to `until`, brought.

    Bounds rise; what begins at one and brought nothing is left out.
    """
    parameters = {"campaign_id": campaign_id, "bounds": list(bounds), "until": until}
    return [Counts(bounds[row.nth - 1], *row[1:]) for row in conn.execute(sql["series_between"], parameters)]


def days(conn: Connection, campaign_id: int) -> Days | None:
    """Return the days of which a graph has anything to show; None before there are any."""
    row = conn.execute(sql["days"], {"campaign_id": campaign_id}).one()
    return None if row.first is None else Days(*row)


def due(conn: Connection, step_ids: Sequence[int], *, now: datetime) -> Due:
    """Return what is due at steps, and when something will be."""
    parameters = {"step_ids": list(step_ids), "now": now, "limit": DUE_COUNTED + 1}
    row = conn.execute(sql["due"], parameters).one()
    return Due(min(row.n, DUE_COUNTED), row.n > DUE_COUNTED, row.next_at)


def activity(
    conn: Connection, campaign_id: int, place: ActivityPlace | None, *, limit: int
) -> tuple[Sequence[Row[Any]], ActivityPlace | None]:
    """Return a page of the audit, newest first, before a place; and where the next page begins."""
    place = place or ActivityPlace(datetime.max.replace(tzinfo=UTC), LAST)
    given = {"campaign_id": campaign_id, "at": place.at, "id": place.id, "limit": limit + 1}
    rows = conn.execute(sql["activity"], given).all()
    shown = rows[:limit]
    return shown, ActivityPlace(shown[-1].at, shown[-1].id) if len(rows) > limit else None


def _results(conn: Connection, step_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    counted: dict[int, dict[str, int]] = {id_: dict.fromkeys(RESULTS, 0) for id_ in step_ids}
    for row in conn.execute(sql["results"], {"step_ids": list(step_ids)}):
        counted[row.step_id][row.result] = row.n
    return counted


def _ended(conn: Connection, step_ids: Sequence[int]) -> dict[tuple[int, str], int]:
    """Return how many messages of steps came to each end."""
    return {(row.step_id, row.state): row.n for row in conn.execute(sql["deliveries"], {"step_ids": list(step_ids)})}


def _queued(conn: Connection, campaign_id: int, limit: int | None) -> tuple[dict[int, int], bool]:
    """Return how many messages of each step are in the outbox, and whether there are more than the limit."""
    given = {"campaign_id": campaign_id, "limit": None if limit is None else limit + 1}
    found = {row.step_id: row.n for row in conn.execute(sql["queued"], given)}
    return found, limit is not None and sum(found.values()) > limit


def _deliveries(
    ended: Mapping[tuple[int, str], int], queued: tuple[Mapping[int, int], bool], step_id: int, done: int
) -> dict[str, Any]:
    found = {name: ended.get((step_id, state), 0) for name, state in _ENDS.items()}
    counted, more = queued
    n, n_ended = counted.get(step_id, 0), sum(found.values())
    if more and (n or n_ended):
        # Of those who passed a step that writes messages, whose message has no end yet.
        return {**found, "queued": max(n, done - n_ended), "about_queued": True}
    return {**found, "queued": n}


def _waiting(conn: Connection, step_ids: Sequence[int], limit: int | None) -> tuple[dict[int, int], set[int]]:
    """Return how many wait at each step, and for which of them that is a guess."""
    if limit is None or not step_ids:
        return waits.count_at(conn, step_ids), set()
    campaigns.read_by_index(conn)
    # First a half of it shared by all steps, then what the others leave of it by those at which more wait.
    share = max(1, limit // 2 // len(step_ids))
    found = waits.count_up_to(conn, step_ids, share + 1)
    many = [step_id for step_id, n in found.items() if n > share]
    share = max(share, (limit - sum(n for n in found.values() if n <= share)) // max(1, len(many)))
    found |= waits.count_up_to(conn, many, share + 1)
    guessed = {step_id for step_id in many if found[step_id] > share}
    for step_id, n in waits.guess_at(conn, guessed).items():
        found[step_id] = max(found[step_id], n)
    return found, guessed


def backlog(conn: Connection, *, now: datetime) -> list[Backlog]:
    """Return what is due and what waits, by campaign; the cost follows what is due."""
    steps = {row.id: row.campaign for row in conn.execute(sql["steps"])}
    at_step, guessed = _waiting(conn, list(steps), WAITS_COUNTED)
    waiting = Counter[str]()
    for step_id, n in at_step.items():
        waiting[steps[step_id]] += n
    about = {steps[step_id] for step_id in guessed}
    return [
        Backlog(
            row.campaign,
            row.published,
            row.due,
            waiting[row.campaign],
            row.oldest_due_at,
            row.campaign in about,
            row.undelivered,
        )
        for row in conn.execute(sql["backlog"], {"now": now})
    ]


def steps_in_last_minute(conn: Connection, *, now: datetime) -> int:
    """Return how many outcomes were written in the minute before an instant."""
    return int(conn.execute(sql["recent"], {"now": now}).scalar_one())


def open_sweeps(conn: Connection) -> list[dict[str, Any]]:
    """Return the sweeps that are not finished: id, kind, asked_at, started_at."""
    return [dict(row._mapping) for row in conn.execute(sql["open_sweeps"])]
