"""Rules in campaigns follow what changes: of whom one is true now, the decision is taken, or they are out.

Only who waits at such a decision, or is in such a campaign, is asked, and only about rules that read what changed. When
time alone may change an answer, the wait itself is due then (`walk.next_look`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Connection

from parcours.db.reads import batch
from parcours.db.tables import campaigns, outcomes, waits
from parcours.db.tables import membership as memberships
from parcours.db.tables.rules import Watcher
from parcours.db.tables.waits import AtRule
from parcours.domain.campaign import Campaign, Step
from parcours.domain.segments.judging import judged
from parcours.domain.steps.types import Failed
from parcours.domain.time.text import iso
from parcours.domain.time.zones import zone_of
from parcours.domain.walk.rows import Failure
from parcours.domain.walk.walk import MATCHED_AT, RULE_RETRY, deadline, next_look
from parcours.workers import exits, membership

log = structlog.get_logger()


def ask(conn: Connection, watched: Mapping[Watcher, Collection[int]], *, now: datetime, zone: ZoneInfo) -> None:
    """Ask rules of campaigns about contacts, whose locks the caller holds and of whom something changed."""
    of_steps = {each.step_id: set(ids) for each, ids in watched.items() if each.step_id is not None}
    if of_steps:
        _ask_decisions(conn, of_steps, now=now, zone=zone)
    for each, ids in sorted(watched.items(), key=lambda found: found[0].campaign_id):
        if each.step_id is None:
            _ask_exits(conn, each.campaign_id, sorted(ids), now=now, zone=zone)


def _ask_exits(
    conn: Connection, campaign_id: int, contact_ids: Sequence[int], *, now: datetime, zone: ZoneInfo
) -> None:
    """Let members out of whom an exit by rule is true; in a paused campaign too, as all exits."""
    inside = sorted(memberships.active(conn, campaign_id, contact_ids))
    campaign, status = campaigns.enter(conn, campaign_id, zone)
    outside = sorted(set(contact_ids).difference(inside))
    if outside and status.why_not(now) is None:
        # Whom the rule kept out may come in.
        sources = campaigns.sources(conn, campaign_id)
        membership.join_from(conn, campaign, sources, outside, now=now, zone=zone, since=None)
    if not inside:
        return
    if status.unreadable is not None:
        memberships.set_exit_due(conn, campaign_id, dict.fromkeys(inside, now + RULE_RETRY))
    if status.deleted or not campaign.rule_exits:
        return
    answers = exits.told(conn, campaign, inside, now=now, zone=zone)
    for reason, ids in exits.by_reason(answers).items():
        membership.exit_all(conn, campaign, ids, reason, now=now)
    staying = {id_: each.asked_at for id_, each in answers.items() if each.reason is None}
    memberships.set_exit_due(conn, campaign_id, staying)


def _ask_decisions(conn: Connection, of_steps: Mapping[int, Collection[int]], *, now: datetime, zone: ZoneInfo) -> None:
    waiting: dict[int, list[AtRule]] = {}
    for each in waits.at_rules(conn, of_steps, set().union(*of_steps.values())):
        if each.contact_id in of_steps[each.step_id]:
            waiting.setdefault(each.campaign_id, []).append(each)
    for campaign_id, found in sorted(waiting.items()):
        campaign, status = campaigns.enter(conn, campaign_id, zone)
        if status.why_not(now) is None:
            _judge(conn, campaign, found, now=now, zone=zone)
        elif not status.deleted:
            # It is asked when the campaign runs again.
            waits.move_to(conn, [(each, now) for each in found if each.due_at is None or each.due_at > now])


def _judge(conn: Connection, campaign: Campaign, found: Sequence[AtRule], *, now: datetime, zone: ZoneInfo) -> None:
    ids = sorted({each.contact_id for each in found})
    wanted = {each.step_id for each in found}
    steps = [step for step in campaign.steps.values() if step.id in wanted]
    known = batch.load_rules(conn, [step.rule for step in steps if step.rule is not None], ids, now=now)
    members = memberships.members(conn, campaign.id, ids) if any(each.runs for each in found) else {}
    true: list[AtRule] = []
    moved: list[tuple[AtRule, datetime | None]] = []
    failures: list[Failure] = []
    for step in steps:
        if step.rule is None:
            continue
        for group in _apart([each for each in found if each.step_id == step.id and each.contact_id in known.contacts]):
            contacts = [known.contacts[each.contact_id] for each in group]
            for each, contact in zip(group, contacts, strict=True):
                member = members.get(contact.id)
                run = None if member is None else member.at(each.rotation)
                contact.entry = {} if run is None else run.entry
            answers = judged(step.rule, contacts, known.world, now, zone, campaign=campaign)
            for each, contact, told in zip(group, contacts, answers, strict=True):
                if told.answer is True:
                    true.append(each)
                    continue
                if isinstance(told.answer, Failed):
                    failures.append(Failure(contact.id, step.id, 1, told.answer.error))
                own = zone_of(contact.timezone, zone)
                due = next_look(told, deadline(campaign, step, since=each.anchor_at, zone=own), now)
                if due != each.due_at:
                    moved.append((each, due))
    waits.found_true(conn, true, {MATCHED_AT: iso(now)}, now=now)
    waits.move_to(conn, moved)
    outcomes.fail(conn, failures, now=now)
    _tell(campaign, failures)


def _apart(found: Sequence[AtRule]) -> list[list[AtRule]]:
    """Return waits at one step in groups in which nobody is twice: runs have data of their own."""
    nth: Counter[int] = Counter()
    groups: list[list[AtRule]] = []
    for each in found:
        if nth[each.contact_id] == len(groups):
            groups.append([])
        groups[nth[each.contact_id]].append(each)
        nth[each.contact_id] += 1
    return groups


def _tell(campaign: Campaign, failures: Sequence[Failure]) -> None:
    alike: dict[tuple[int, str], list[Failure]] = {}
    for each in failures:
        alike.setdefault((each.step_id, each.error), []).append(each)
    for (step_id, error), several in alike.items():
        step: Step = campaign.step(step_id)
        log.error("decision_rule_failed", campaign=campaign.key, step=step.key, contacts=len(several), error=error)
