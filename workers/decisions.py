"""What contacts did, against the decisions that wait for it: each armed decision is taken once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from db import campaigns, waits
from domain.campaign import StopRule
from domain.steps.registry import Fact, Kind, Standing, all_types
from workers import executor
from workers.executor import BY_DEFAULT


@cache
def types_waiting_for(event_type: str) -> tuple[str, ...]:
    """Return the decision types that may look at events of a type."""
    return tuple(each.name for each in all_types() if each.kind is Kind.DECISION and each.may_look_at(event_type))


def react(
    conn: Connection,
    happened: Mapping[int, Sequence[Fact]],
    *,
    now: datetime,
    zone: ZoneInfo,
    stop: StopRule = BY_DEFAULT,
) -> Counter[str]:
    """Take the armed decisions that facts satisfy, in every campaign; return what followed.

    `happened` holds each contact's facts in their order; the caller has locked the contacts.
    A decision that a fact arms on its way is not satisfied by the same fact.
    """
    done: Counter[str] = Counter()
    rounds = max((len(facts) for facts in happened.values()), default=0)
    for nth in range(rounds):
        once = {id_: facts[nth] for id_, facts in happened.items() if nth < len(facts)}
        done += _react_once(conn, once, now, zone, stop)
    return done


def _react_once(
    conn: Connection, happened: Mapping[int, Fact], now: datetime, zone: ZoneInfo, stop: StopRule
) -> Counter[str]:
    event_types = {fact.type for fact in happened.values()}
    types = {name for event_type in event_types for name in types_waiting_for(event_type)}
    if not types:
        return Counter()
    taken: dict[tuple[int, int, int], dict[int, Mapping[str, Any]]] = {}
    passages: dict[tuple[int, int, int], dict[int, int]] = {}
    # A contact may stand at a step in several passages; they are taken one after the other, oldest first.
    nth: Counter[tuple[int, int]] = Counter()
    armed = waits.armed(conn, happened, types, event_types)
    entered = {id_: campaigns.enter(conn, id_, zone) for id_ in sorted({each.campaign_id for each in armed})}
    for contact_id, step_id, campaign_id, passage in armed:
        campaign, status = entered[campaign_id]
        if status.why_not(now) is not None or step_id not in campaign.steps:
            continue
        step, fact = campaign.step(step_id), happened[contact_id]
        standing = Standing(campaign, step, campaign.email_upstream(step))
        if step.looks_at(fact.type) and step.type.run(step.properties, fact, standing):
            detail = {"event": fact.type, "at": fact.at.isoformat()}
            place = (campaign_id, step_id, nth[contact_id, step_id])
            nth[contact_id, step_id] += 1
            taken.setdefault(place, {})[contact_id] = detail
            passages.setdefault(place, {})[contact_id] = passage
    done: Counter[str] = Counter()
    for place, details in sorted(taken.items(), key=lambda each: each[0]):
        campaign_id, step_id, _ = place
        done += executor.take_armed(conn, campaign_id, step_id, passages[place], details, now=now, zone=zone, stop=stop)
    return done
