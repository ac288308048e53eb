"""A campaign run in simulated time: the engine is the real one, what contacts do is drawn from a seed."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from parcours.db.partitions import ensure_partitions
from parcours.db.reads import batch
from parcours.db.reads import simulation as rows
from parcours.db.scope import Scope
from parcours.db.tables import campaigns, emails, forms, segments
from parcours.domain.campaign import Campaign, Step
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.contacts.membership import Arrival
from parcours.domain.entry import EventSource
from parcours.domain.errors import CampaignError
from parcours.domain.events.reading import Entry
from parcours.domain.steps.types import RefersTo
from parcours.services import apply_campaign, campaign_plan
from parcours.workers import dates, membership
from parcours.workers.executor import take_armed
from parcours.workers.forms import submit
from parcours.workers.sweeps import trigger_inline, update_inline

# The clock goes in hours, and where less than that counts, in as little as a minute.
STEP = timedelta(hours=1)
FINEST = timedelta(minutes=1)
# What is waited for, or until when, falls on one of so many moments at least.
MOMENTS = 12
CONTACTS_AT_ONCE = 5_000
# What contacts do comes within a day or so of the waiting's beginning, and before its end. The percentage, which a
# decision's type says when nobody else does, is of those who arrive.
MEAN_HOURS = 20.0

# Who enters by a date of theirs, among the sources.
DATES = "dates"

Tell = Callable[["Simulation"], None]


class _Comer(NamedTuple):
    """A contact who is going to come in by a source."""

    at: datetime
    contact_id: int
    source: str


class _Act(NamedTuple):
    """What a contact is going to do: take an armed decision."""

    at: datetime
    contact_id: int
    step_id: int
    passage: int


@dataclass
class Simulation:
    """A campaign, contacts who are there already, and a clock, in a database of its own."""

    engine: Engine
    file: CampaignFile
    zone: ZoneInfo
    batch_size: int
    start: datetime
    days: int
    seed: int
    # Percent of contacts who do what a decision waits for, by step key.
    answers: Mapping[str, float] = field(default_factory=dict)
    # Days over which contacts come in, evenly; 0: all at the start.
    over: float = 0
    # After how many seconds contacts did it before, by step key; without, soon rather than late.
    seconds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    # How many contacts a day come in by each source, by its key or type; empty: all by the first source.
    arrivals: Mapping[str, float] = field(default_factory=dict)
    # Whether the clock goes to the instant at which something is due, as it may for few contacts.
    exact: bool = False
    # How many came in by each source on each day (UTC).
    arrived: Counter[tuple[date, str]] = field(default_factory=Counter)
    now: datetime = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)
    # What the file names and nobody has made yet.
    missing: list[str] = field(default_factory=list)

    def run(self, tell: Tell) -> Campaign:
        """Run the campaign to the end; `tell` is called after each moment at which something happened. Returns it."""
        self.now = self.start
        ensure_partitions(self.engine, self.now)
        with self.engine.begin() as conn:
            campaign = self._apply(conn)
            coming = self._arrivals(conn)
        dates.build_all(self.engine, zone=self.zone)
        self._campaign = campaign
        self._acts: list[_Act] = []
        self._owed: dict[str, float] = {}
        self._clock = min(map(_grid, _lengths(campaign)), default=STEP)
        end = self.start + timedelta(days=self.days)
        while self.now <= end:
            self._moment([coming.pop() for _ in range(len(coming)) if coming[-1][0] <= self.now])
            tell(self)
            following = self._next(coming)
            if following is None:
                break
            self.now = following
        self.now = min(self.now, end)
        return campaign

    def _apply(self, conn: Connection) -> Campaign:
        """Apply the file as a published campaign, with all that it names."""
        for what, key in sorted({(each.what, each.key) for each in campaign_plan.references(self.file)}):
            self._make(conn, what, key)
        file = self.file.model_copy(update={"published": True, "publish_from": None, "publish_until": None})
        problems = campaign_plan.check_references(conn, file)
        if problems:
            raise CampaignError(problems[0].sentence)
        planned = campaign_plan.plan(conn, file, zone=self.zone)
        id_ = apply_campaign.apply(
            conn, planned, backfill=False, reschedule=False, who="simulation", now=self.start, zone=self.zone
        )
        return campaigns.load(conn, id_, planned.version, self.zone)

    def _make(self, conn: Connection, what: RefersTo, key: str) -> None:
        if what not in (RefersTo.SEGMENT, RefersTo.FORM, RefersTo.EMAIL) or key in campaigns.named(conn, what, [key]):
            return
        self.missing.append(f"{what.removesuffix('s')} {key!r}")
        match what:
            case RefersTo.SEGMENT:
                segments.save(conn, key, name=None, public=None, published=None)
            case RefersTo.FORM:
                forms.create(conn, key, key, standalone=False)
            case RefersTo.EMAIL:
                emails.save(conn, emails.Email(key, key, None, key, None, True), now=self.start)

    def _arrivals(self, conn: Connection) -> list[_Comer]:
        """Return when each contact comes in, the last one first; none where they come by dates of theirs alone."""
        known = sources(self.file)
        if not known:
            return []
        ids = rows.contact_ids(conn)
        if self.arrivals:
            coming = sorted(
                (self.start + timedelta(days=nth / a_day), source)
                for source, a_day in self.arrivals.items()
                if a_day > 0
                for nth in range(int(a_day * self.days))
            )
            return [_Comer(at, id_, source) for (at, source), id_ in zip(coming, ids, strict=False)][::-1]
        span = timedelta(days=self.over) / max(1, len(ids))
        return [_Comer(self.start + span * nth, id_, known[0]) for nth, id_ in enumerate(ids)][::-1]

    def _moment(self, arrived: Sequence[_Comer]) -> None:
        """One moment, as a crontab would have it: contacts come and act, then `update` and `trigger`."""
        ensure_partitions(self.engine, self.now)
        if arrived:
            self._arrive(arrived)
        elif self.file.entry is not None:
            self._update()
        self._act()
        membership.grace_over_all(self.engine, now=self.now, zone=self.zone)
        by_date = dates.let_in_all(self.engine, now=self.now, zone=self.zone)
        self.counts += by_date
        if entered := by_date["added"] + by_date["restarted"]:
            self.arrived[self._today, DATES] += entered
        counts = trigger_inline(self.engine, Scope(), now=self.now, zone=self.zone, batch_size=self.batch_size)
        self.counts += sum(counts.values(), Counter())
        with self.engine.connect() as conn:
            armed = rows.armed_at(conn, self._campaign.id, self.now)
        by_step: dict[int, list[rows.SimulatedWait]] = {}
        for each in armed:
            by_step.setdefault(each.step_id, []).append(each)
        for step_id, arrived_there in by_step.items():
            self._plan(self._campaign.steps[step_id], arrived_there)

    @property
    def _today(self) -> date:
        return self.now.astimezone(UTC).date()

    def _arrive(self, arrived: Sequence[_Comer]) -> None:
        by_source: dict[str, list[int]] = {}
        for each in arrived:
            by_source.setdefault(each.source, []).append(each.contact_id)
        for source, ids in by_source.items():
            self.arrived[self._today, source] += len(ids)
            self._come_by(source, ids)
        self._update()

    def _come_by(self, source: str, ids: Sequence[int]) -> None:
        """Let contacts into a segment, a form or an event, and with it into the campaign."""
        with self.engine.begin() as conn:
            if source in self.file.sources.segments:
                found = segments.find(conn, source)
                assert found is not None
                segments.add_members(conn, found.id, ids, manual=False, now=self.now)
            elif source in self.file.sources.forms:
                form = forms.find(conn, source)
                assert form is not None
                for first in range(0, len(ids), CONTACTS_AT_ONCE):
                    submissions = {
                        id_: forms.StoredSubmission(self.now, {}) for id_ in ids[first : first + CONTACTS_AT_ONCE]
                    }
                    self.counts += submit(conn, form, submissions, now=self.now, zone=self.zone).counts
            else:
                began = next(each for each in self._campaign.event_sources if each.type == source)
                entries = {id_: made_up(began, id_) for id_ in ids}
                for first in range(0, len(ids), CONTACTS_AT_ONCE):
                    some = {id_: entries[id_] for id_ in ids[first : first + CONTACTS_AT_ONCE]}
                    self.counts += membership.arrive(
                        conn, self._campaign, list(some), Arrival.EVENT, now=self.now, zone=self.zone, entries=some
                    )

    def _update(self) -> None:
        for counts in update_inline(self.engine, Scope(), now=self.now, zone=self.zone).values():
            self.counts += counts

    def _plan(self, step: Step, armed: Sequence[rows.SimulatedWait]) -> None:
        """Draw who of those who arrived at a decision together does what it waits for, and when.

        So many of them do, to the contact; what is left of a percentage goes to those who come next.
        """
        percent = self.answers.get(step.key, step.type.likely)
        owed = self._owed.get(step.key, Random(f"{self.seed}/{step.key}").random()) + len(armed) * percent / 100
        self._owed[step.key] = owed % 1
        chances = {each: Random(f"{self.seed}/{each.contact_id}/{step.key}/{each.passage}") for each in armed}
        for each in sorted(armed, key=lambda each: chances[each].random())[: int(owed)]:
            length = None if each.due_at is None else each.due_at - self.now
            known = [seconds for seconds in self.seconds.get(step.key, ()) if _fits(seconds, length)]
            after = timedelta(seconds=chances[each].choice(known)) if known else _soon(chances[each], length)
            grid = _grid(length)
            at = self.now + max(grid, -(-after // grid) * grid)
            at = at if length is None else min(at, self.now + length)
            heapq.heappush(self._acts, _Act(at, each.contact_id, each.step_id, each.passage))

    def _act(self) -> None:
        """Contacts do what decisions wait for; where the deadline came first, nothing is there to be taken."""
        by_step: dict[tuple[int, int], dict[int, int]] = {}
        # Of several passages of a contact at a step, one after the other.
        nth: Counter[tuple[int, int]] = Counter()
        while self._acts and self._acts[0].at <= self.now:
            act = heapq.heappop(self._acts)
            by_step.setdefault((act.step_id, nth[act.contact_id, act.step_id]), {})[act.contact_id] = act.passage
            nth[act.contact_id, act.step_id] += 1
        for (step_id, _), passages in by_step.items():
            with self.engine.begin() as conn:
                present = batch.lock(conn, passages)
                self.counts += take_armed(
                    conn,
                    self._campaign.id,
                    step_id,
                    {id_: passages[id_] for id_ in present},
                    {id_: {"simulated": True} for id_ in present},
                    at={},
                    now=self.now,
                    zone=self.zone,
                )

    def _next(self, coming: Sequence[_Comer]) -> datetime | None:
        """Return the next moment at which somebody comes or acts, or something is due."""
        with self.engine.connect() as conn:
            due = rows.next_due(conn)
        instants = [
            None if due is None else self._up(due, self._clock),
            self._up(coming[-1][0], STEP) if coming else None,
            self._acts[0].at if self._acts else None,
        ]
        known = [at for at in instants if at is not None]
        return max(min(known), self.now + FINEST) if known else None

    def _up(self, at: datetime, grid: timedelta) -> datetime:
        """Return the first moment of a grid that is not before an instant."""
        if self.exact:
            return at
        return self.start - (self.start - at) // grid * grid


def sources(file: CampaignFile) -> list[str]:
    """Return by what contacts may be let into a campaign: keys of segments and forms, and types of events."""
    named = file.sources
    return list(dict.fromkeys([*named.segments, *named.forms, *(each.type for each in named.events)]))


def _fits(seconds: float, length: timedelta | None) -> bool:
    return length is None or seconds < length.total_seconds()


def made_up(source: EventSource, number: int) -> Entry:
    """Return the run that an event of a source begins, of which only what the source itself asks for is known."""
    data = {each.field: each.value for each in source.where if each.operator in ("=", "gte", "lte", ">=", "<=")}
    if source.key is None:
        return Entry("", data)
    return Entry(f"{source.key}-{number}", {**data, source.key: f"{source.key}-{number}"})


def _lengths(campaign: Campaign) -> Iterator[timedelta]:
    """Yield what the steps of a campaign wait."""
    for step in campaign.steps.values():
        by_date = None if step.timing.date is None else step.timing.date.offset
        for interval in (step.within, step.timing.after, by_date):
            if interval is not None:
                length = timedelta(days=interval.months * 28 + interval.days) + interval.exact
                if length or interval is not by_date:
                    yield length


def _grid(length: timedelta | None) -> timedelta:
    """Return how fine the clock has to be where something lasts so long: whole minutes, an hour at most."""
    if length is None:
        return STEP
    return min(STEP, max(FINEST, length // MOMENTS // FINEST * FINEST))


def _soon(chance: Random, length: timedelta | None) -> timedelta:
    """Draw when somebody acts: rather soon than late, and within a length of time if there is one."""
    mean = timedelta(hours=MEAN_HOURS)
    most = 1.0 if length is None else 1 - math.exp(-(length / mean))
    return mean * -math.log(1 - chance.random() * most)
