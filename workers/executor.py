"""One unit of work: a batch of contacts at one step, read, decided and written in one transaction."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from parcours.db.reads import batch
from parcours.db.reads.batch import Facts
from parcours.db.scope import Scope
from parcours.db.statements import statements
from parcours.db.tables import campaigns, companies, erasure, outcomes, scores, segments, sweeps, trials, waits
from parcours.db.tables.trials import PartTaken
from parcours.db.tables.waits import EVERYTHING
from parcours.domain.campaign import Campaign, Step, StopRule
from parcours.domain.contacts.membership import Arrival, Departure
from parcours.domain.events.reading import Entry
from parcours.domain.goal import of_branches
from parcours.domain.time.intervals import Interval
from parcours.domain.walk.rows import Claim, Failure, Plan
from parcours.domain.walk.walk import decide, fail, take, why
from parcours.ops.logs import described, where
from parcours.workers import membership, rules
from parcours.workers.isolation import in_halves

log = structlog.get_logger()
sql = statements(__file__)

BY_DEFAULT = StopRule()

# At most so many workers are at one step at a time; hints beyond that have nothing to add.
HANDS = 16
# Several times what a batch makes and lets go of.
OBJECTS_BETWEEN_COLLECTIONS = 50_000


@cache
def _spare_the_collector() -> None:
    # A batch makes so many small objects that the garbage collector goes through them, and through all
    # that was ever imported, some forty times a batch. None of them are in circles, so they go by themselves;
    # measured, looking for some was a third of the time, and half of that without what was imported.
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)


@dataclass(frozen=True, slots=True)
class Executed:
    """What a batch came to. `more` says that the step may have further due waits."""

    campaign_id: int
    claimed: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    more: bool = False


def execute_due(
    conn: Connection,
    step_id: int,
    *,
    now: datetime,
    limit: int,
    zone: ZoneInfo,
    scope: Scope = EVERYTHING,
    sweep_id: int | None = None,
    stop: StopRule = BY_DEFAULT,
) -> Executed:
    """Run one batch of due waits at a step, with all that is due at once below it.

    `zone` is the timezone of contacts who have none. Nothing happens when the campaign does not
    run, or when as many workers as make sense are at this step already.
    """
    _spare_the_collector()
    campaign_id = campaigns.of_step(conn, step_id)
    if conn.execute(sql["free_hand"], {"step_id": step_id, "hands": HANDS}).first() is None:
        return Executed(campaign_id)
    campaign, status = campaigns.enter(conn, campaign_id, zone)
    if status.why_not(now) is not None or step_id not in campaign.steps:
        return Executed(campaign_id)
    claims = waits.claim_due(conn, step_id, now=now, limit=limit, scope=scope)
    if not claims:
        # What is due here, if anything, is in other hands, or nobody's.
        erasure.clean_up(conn, waits.of_nobody(conn, [step_id], now=now, limit=limit), now=now)
        return Executed(campaign_id)
    claimed = _with_siblings(conn, campaign, step_id, claims, now=now)
    counts = _Unit(conn, campaign, now, zone, stop).do(claimed)
    if sweep_id is not None:
        sweeps.count(conn, sweep_id, campaign_id, counts)
    return Executed(campaign_id, len(claims), counts, more=len(claims) == limit)


@dataclass
class _Unit:
    """What was claimed, on its way through the tree: together, unless somebody is among them who cannot be done."""

    conn: Connection
    campaign: Campaign
    now: datetime
    zone: ZoneInfo
    stop: StopRule
    counts: Counter[str] = field(default_factory=Counter)

    def do(self, claimed: Sequence[tuple[Step, Sequence[Claim]]]) -> Counter[str]:
        """Decide and write; for whom that raises has a failed attempt, and all others go on."""
        by_contact: dict[int, list[tuple[Step, Claim]]] = {}
        for step, claims in claimed:
            for claim in claims:
                by_contact.setdefault(claim.contact_id, []).append((step, claim))
        in_halves(self.conn, list(by_contact.values()), self._together, self._one_by_one)
        return self.counts

    def _together(self, contacts: Sequence[Sequence[tuple[Step, Claim]]]) -> None:
        by_step: dict[int, list[Claim]] = {}
        for claims in contacts:
            for step, claim in claims:
                by_step.setdefault(step.id, []).append(claim)
        claimed = [(step, by_step[step.id]) for step in self.campaign.steps.values() if step.id in by_step]
        known = self._load(claimed)
        plan = decide(
            self.campaign,
            claimed,
            known.contacts,
            known.members,
            world=known.world,
            now=self.now,
            default_zone=self.zone,
            pauses=campaigns.pauses(self.conn, self.campaign.id)
            if isinstance(self.campaign.catch_up, Interval)
            else (),
        )
        self._write(known, plan)

    def _one_by_one(self, claims: Sequence[tuple[Step, Claim]], error: Exception) -> None:
        """Several roots of one contact: those that are not guilty begin."""
        if len(claims) == 1:
            self._fail(claims[0], error)
        else:
            in_halves(self.conn, claims, lambda some: self._together([some]), self._fail)

    def _fail(self, claimed: tuple[Step, Claim], error: Exception) -> None:
        step, claim = claimed
        known = self._load([(step, [claim])], look_back=False)

        def plan(*, go_on: bool) -> Plan:
            return fail(
                self.campaign,
                step,
                claim,
                known.contacts,
                known.members,
                error,
                reason=reason_of(error),
                world=known.world,
                now=self.now,
                default_zone=self.zone,
                go_on=go_on,
            )

        # What goes on below may be what raised.
        in_halves(
            self.conn,
            [claim],
            lambda _: self._write(known, plan(go_on=True)),
            lambda _, again: self._write(known, plan(go_on=False)),
        )

    def _load(self, claimed: Sequence[tuple[Step, Sequence[Claim]]], *, look_back: bool = True) -> Facts:
        needs = frozenset(need for step, _ in claimed for need in self.campaign.needs(step))
        ids = list(dict.fromkeys(claim.contact_id for _, claims in claimed for claim in claims))
        known = batch.load(self.conn, self.campaign, ids, needs, now=self.now)
        return batch.look_back(self.conn, known, claimed) if look_back else known

    def _write(self, known: Facts, plan: Plan) -> None:
        write(self.conn, self.campaign, known, plan, now=self.now, zone=self.zone, stop=self.stop)
        self.counts += plan.counts()


def reason_of(error: Exception) -> str:
    """Return why something failed, as people read it in outcomes, failures and dead letters."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return f"the database rejected a value: {str(error.orig).strip().splitlines()[0]}"
    return why(error)


def tell(campaign: Campaign, failures: Sequence[Failure]) -> None:
    """Write what steps raised to the log: each error once a batch, with its traceback and how many it met."""
    alike: dict[tuple[int, str, str], list[Failure]] = {}
    for each in failures:
        if each.raised is not None:
            place = (each.step_id, type(each.raised).__name__, where(each.raised.__traceback__))
            alike.setdefault(place, []).append(each)
    for (step_id, *_), (first, *others) in alike.items():
        assert first.raised is not None
        step = campaign.step(step_id)
        log.error(
            "step_raised",
            campaign=campaign.key,
            step=step.key,
            type=step.type.name,
            contact_id=first.contact_id,
            contacts=1 + len(others),
            attempt=first.attempts,
            **described(first.raised),
        )


def _with_siblings(
    conn: Connection, campaign: Campaign, step_id: int, claims: Sequence[Claim], *, now: datetime
) -> list[tuple[Step, Sequence[Claim]]]:
    """Return the claims with all else that their contacts are to begin now, in the order of the file.

    The root steps of a new member begin in one transaction, so "remove from this campaign" before
    another root means the same with one worker or twenty.
    """
    beginners = [claim.contact_id for claim in claims if claim.reason == "kickoff"]
    claimed: dict[int, list[Claim]] = {step_id: list(claims)}
    if beginners and len(campaign.roots) > 1:
        for other_id, claim in waits.take_kickoffs(conn, campaign.id, beginners, now=now):
            claimed.setdefault(other_id, []).append(claim)
    return [(step, claimed[step.id]) for step in campaign.steps.values() if step.id in claimed]


def take_armed(
    conn: Connection,
    campaign_id: int,
    step_id: int,
    passages: Mapping[int, int],
    details: Mapping[int, Mapping[str, Any]],
    *,
    at: Mapping[int, datetime],
    now: datetime,
    zone: ZoneInfo,
    stop: StopRule = BY_DEFAULT,
) -> Counter[str]:
    """Take an armed decision for contacts that did what it waited for; their "yes" branch runs.

    The caller has locked the contacts. `passages` says in which passage each was found armed,
    `details` what to remember of the fact, and `at` when it was. Whose wait is gone (the deadline,
    the same fact before, or a new start that the fact led to) is left out.
    """
    campaign, status = campaigns.enter(conn, campaign_id, zone)
    if status.why_not(now) is not None or step_id not in campaign.steps:
        return Counter()
    claims: Sequence[Claim] = waits.take_armed(conn, step_id, passages)
    if not claims:
        return Counter()
    step = campaign.step(step_id)
    known = batch.load(conn, campaign, [claim.contact_id for claim in claims], campaign.needs(step), now=now)
    plan = take(
        campaign,
        step,
        claims,
        known.contacts,
        known.members,
        details,
        at=at,
        world=known.world,
        now=now,
        default_zone=zone,
    )
    write(conn, campaign, known, plan, now=now, zone=zone, stop=stop)
    return plan.counts()


def write(
    conn: Connection,
    campaign: Campaign,
    known: Facts,
    plan: Plan,
    *,
    now: datetime,
    zone: ZoneInfo,
    stop: StopRule = BY_DEFAULT,
) -> None:
    """Write a plan, set-wise: the number of statements does not depend on the number of contacts."""
    changed = batch.save(conn, known, now=now)
    scores.log(conn, plan.points, plan.stages, now=now)
    outcomes.record(conn, plan.outcomes)
    if campaign.goal is not None:
        passed = [(each.contact_id, each.run, each.step_id, each.result) for each in plan.outcomes]
        trials.take_part(conn, campaign.id, [PartTaken(*each) for each in of_branches(passed)], now=now)
    if plan.moved:
        membership.move(conn, campaign.id, plan.moved)
    waits.arm(conn, plan.waits)
    batch.send(conn, campaign.id, plan.messages, now=now)
    _save_segments(conn, changed, now=now, zone=zone)
    _change_campaigns(conn, plan, now=now, zone=zone)
    _change_runs(conn, campaign, plan, now=now, zone=zone)
    rules.follow(conn, now=now, zone=zone)
    # Late, since other contacts have these companies as well, and whoever holds their locks waits for nobody.
    companies.change(conn, plan.company_points, plan.company_fields)
    write_failures(conn, campaign, plan.failures, now=now, stop=stop)
    if plan.erased:
        # Last, so that whatever the walk wrote of these contacts goes as well.
        erasure.erase(conn, dict.fromkeys(plan.erased, now))


def write_failures(
    conn: Connection, campaign: Campaign, failures: Sequence[Failure], *, now: datetime, stop: StopRule
) -> None:
    """Write failed attempts, and to the log what steps raised; too many of them stop the campaign."""
    if failures:
        tell(campaign, failures)
        outcomes.fail(conn, failures, now=now)
        stop_if_failing(conn, campaign, (failure.step_id for failure in failures), stop, now=now)


def _save_segments(conn: Connection, changed: batch.SegmentChanges, *, now: datetime, zone: ZoneInfo) -> None:
    """Segments that steps changed reach the campaigns that they feed at once, this one included."""
    for pairs, change in ((changed.added, segments.add_members), (changed.removed, segments.remove_members)):
        by_key: dict[str, list[int]] = {}
        for contact_id, key in pairs:
            by_key.setdefault(key, []).append(contact_id)
        known = campaigns.named(conn, "segments", by_key) if by_key else {}
        for key, contact_ids in sorted(by_key.items()):
            if key in known:
                change(conn, known[key].id, contact_ids, manual=True, now=now)
                membership.segment_changed(conn, known[key].id, contact_ids, now=now, zone=zone)


def _change_campaigns(conn: Connection, plan: Plan, *, now: datetime, zone: ZoneInfo) -> None:
    """Adds first, then removals; each campaign by itself, so that one's refusal is not another's."""
    for key, contact_ids in plan.joins.items():
        other = _other(conn, key)
        if other is not None:
            tree, _ = campaigns.enter_readable(conn, other, zone)
            membership.arrive(conn, tree, contact_ids, Arrival.ACTION, now=now, zone=zone)
    for key, contact_ids in plan.leaves.items():
        other = _other(conn, key)
        if other is not None:
            campaigns.enter(conn, other, zone)
            membership.depart(conn, other, contact_ids, Departure.ACTION, now=now)


def _change_runs(conn: Connection, campaign: Campaign, plan: Plan, *, now: datetime, zone: ZoneInfo) -> None:
    """What steps did to the run in which a contact stood: it begins again, or ends; the contact's others go on."""
    # One statement deals with a contact once.
    for nth in membership.in_turns(plan.restarted):
        entries = {contact_id: Entry(member.key or "", member.entry) for contact_id, member in nth}
        membership.arrive(conn, campaign, list(entries), Arrival.ACTION, now=now, zone=zone, entries=entries)
    if plan.ended:
        only = {(contact_id, member.key or "") for contact_id, member in plan.ended}
        membership.end_runs(conn, campaign.id, only, Departure.ACTION, now=now)


def _other(conn: Connection, key: str) -> int | None:
    """Return the id of a campaign that a step names, or None when it is deleted: there is nobody to tell any more."""
    found = campaigns.stored(conn, key)
    return None if found is None or found.deleted else found.id


def stop_if_failing(
    conn: Connection, campaign: Campaign, step_ids: Iterable[int], stop: StopRule, *, now: datetime
) -> None:
    """Switch the campaign off when one of the steps fails for too many; once, whoever notices.

    Source: Mautic 5 counts attempts over all members; distinct contacts within a while
    and a minimum sample keep one contact that fails again and again from stopping everybody.
    """
    steps = sorted(campaign.steps.keys() & set(step_ids))
    failing = outcomes.failing_step(conn, steps, stop, now=now)
    if failing is None or not campaigns.set_published(conn, campaign.id, False, now=now):
        return
    step = campaign.step(failing.step_id)
    log.warning("campaign_paused", campaign=campaign.key, who="parcours")
    minutes = stop.within // timedelta(minutes=1)
    within = "an hour" if minutes == 60 else f"{minutes} minutes"
    campaigns.audit(
        conn,
        campaign.id,
        who="parcours",
        what=f"stopped: {failing.failed} contacts failed at step {step.key!r} within {within}",
        now=now.astimezone(UTC),
        detail={"step": step.key, "failed": failing.failed, "passed": failing.passed, "minutes": minutes},
    )
