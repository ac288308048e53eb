"""What contacts did, against the decisions that wait for it: each armed decision is taken once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.tables import campaigns, outcomes, waits
from parcours.db.tables import membership as memberships
from parcours.db.tables.waits import Armed
from parcours.domain.campaign import Campaign, Step, StopRule
from parcours.domain.events.parsing import remembered
from parcours.domain.steps.batch import Fact, Standing
from parcours.domain.steps.registry import all_types
from parcours.domain.steps.types import Kind
from parcours.domain.time import schedule
from parcours.domain.walk.rows import Failure, Member
from parcours.domain.walk.walk import is_of_another_passage, why
from parcours.workers import executor
from parcours.workers.executor import BY_DEFAULT

UTC = ZoneInfo("UTC")


@cache
def types_waiting_for(event_type: str) -> tuple[str, ...]:
    """Return the decision types that may look at events of a type."""
    return tuple(each.name for each in all_types() if each.kind is Kind.DECISION and each.may_look_at(event_type))


class Unjudged(NamedTuple):
    """A decision that could not judge what a contact did, and why."""

    campaign: str
    step: str
    error: str

    @property
    def place(self) -> str:
        return f"{self.campaign}/{self.step}"

    def __str__(self) -> str:
        return f"the decision {self.step!r} of campaign {self.campaign!r} could not evaluate it: {self.error}"


@dataclass(slots=True)
class Reacted:
    """What followed from what contacts did, and which decisions could not judge it, by contact."""

    counts: Counter[str] = field(default_factory=Counter)
    raised: dict[int, list[Unjudged]] = field(default_factory=dict)


def react(
    conn: Connection,
    happened: Mapping[int, Sequence[Fact]],
    *,
    now: datetime,
    zone: ZoneInfo,
    stop: StopRule = BY_DEFAULT,
    only: Collection[str] | None = None,
) -> Reacted:
    """Take the armed decisions that facts satisfy, in every campaign; return what followed.

    `happened` holds each contact's facts in their order; the caller has locked the contacts.
    A decision that a fact arms on its way is not satisfied by the same fact, nor by one from before the
    contact came to it, unless it looks back. Where judging a fact raises, the decision stays armed, and
    the contact has a failed attempt there. `only`: the decisions of these places, CAMPAIGN/STEP, and no others;
    what they judge now is no failed attempt any more.
    """
    done = Reacted()
    rounds = max((len(facts) for facts in happened.values()), default=0)
    for nth in range(rounds):
        once = {id_: facts[nth] for id_, facts in happened.items() if nth < len(facts)}
        _react_once(conn, once, done, now, zone, stop, only)
    return done


def _react_once(
    conn: Connection,
    happened: Mapping[int, Fact],
    done: Reacted,
    now: datetime,
    zone: ZoneInfo,
    stop: StopRule,
    only: Collection[str] | None,
) -> None:
    event_types = {fact.type for fact in happened.values()}
    types = {name for event_type in event_types for name in types_waiting_for(event_type)}
    if not types:
        return
    taken: dict[tuple[int, int, int], dict[int, int]] = {}
    # A contact may stand at a step in several passages; they are taken one after the other, oldest first.
    nth: Counter[tuple[int, int]] = Counter()
    failures: dict[int, list[Failure]] = {}
    judged: list[tuple[int, int]] = []
    armed = waits.armed(conn, happened, types, event_types)
    entered = {id_: campaigns.enter(conn, id_, zone) for id_ in sorted({each.campaign_id for each in armed})}
    members = {
        id_: memberships.members(conn, id_, [each.contact_id for each in armed if each.campaign_id == id_])
        for id_, (campaign, _) in entered.items()
        if any(each.runs for each in armed if each.campaign_id == id_)
    }
    for each in armed:
        campaign, status = entered[each.campaign_id]
        if status.why_not(now) is not None or each.step_id not in campaign.steps:
            continue
        step, fact = campaign.step(each.step_id), happened[each.contact_id]
        if only is not None and f"{campaign.key}/{step.key}" not in only:
            continue
        try:
            satisfied = _satisfies(campaign, step, fact, each, members.get(campaign.id, {}).get(each.contact_id))
        # The code of a step type, ours or another package's, on what came from outside.
        except Exception as error:
            failures.setdefault(campaign.id, []).append(Failure(each.contact_id, step.id, 1, why(error), error))
            done.raised.setdefault(each.contact_id, []).append(Unjudged(campaign.key, step.key, why(error)))
            continue
        if only is not None:
            judged.append((each.contact_id, step.id))
        if satisfied:
            passages = taken.setdefault((campaign.id, step.id, nth[each.contact_id, step.id]), {})
            passages[each.contact_id] = each.passage
            nth[each.contact_id, step.id] += 1
    outcomes.forgive(conn, judged)
    for (campaign_id, step_id, _), passages in sorted(taken.items(), key=lambda found: found[0]):
        done.counts += executor.take_armed(
            conn,
            campaign_id,
            step_id,
            passages,
            {id_: remembered(happened[id_]) for id_ in passages},
            at={id_: happened[id_].at for id_ in passages},
            now=now,
            zone=zone,
            stop=stop,
        )
    for campaign_id, failed in sorted(failures.items()):
        executor.write_failures(conn, entered[campaign_id][0], failed, now=now, stop=stop)


def _satisfies(campaign: Campaign, step: Step, fact: Fact, armed: Armed, member: Member | None) -> bool:
    """Return whether a fact is what an armed decision waits for; `member` is of who has runs in the campaign."""
    if not step.looks_at(fact.type):
        return False
    since, key = armed.anchor_at, None
    if member is not None and member.runs:
        run = member.at(armed.rotation)
        key = None if run is None else run.key
        if is_of_another_passage(fact, campaign, armed.contact_id, armed.passage):
            return False
    if fact.at < since and not (step.look_back and schedule.add(step.look_back, fact.at, UTC) >= since):
        return False
    return bool(step.type.run(step.properties, fact, Standing(campaign, step, campaign.email_upstream(step), key)))
