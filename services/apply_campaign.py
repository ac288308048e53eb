"""Campaign files into the database: what a file refers to, what applying it would do, and doing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db import merge_locks
from parcours.db.tables import campaigns, erasure, named, outcomes, rules, runs, scores, segments, waits
from parcours.db.tables import membership as memberships
from parcours.db.tables.campaigns import StoredStep
from parcours.db.tables.membership import Root
from parcours.db.tables.waits import Displaced, Returning
from parcours.domain.campaign import Campaign, Step
from parcours.domain.campaign_file.build import build
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.contacts.touched import CAMPAIGNS
from parcours.domain.errors import CampaignError
from parcours.domain.segments import rule as tree
from parcours.domain.steps.types import Kind, RefersTo
from parcours.domain.time import schedule
from parcours.domain.time.text import iso
from parcours.domain.time.zones import zone_of
from parcours.domain.walk.rows import Member, OutcomeRow, Wait
from parcours.domain.walk.walk import deadline, first_due
from parcours.services import segment_rules
from parcours.services.campaign_plan import CampaignPlan, has_rules, references
from parcours.workers import membership

# Characters of a message that says why.
MOST_MESSAGE = 500
# Waits that one statement cancels or moves.
AT_ONCE = 5_000
# Contact ids in which one statement looks for waits that a removed step lost.
IDS_AT_ONCE = 50_000


class OutdatedPlanError(CampaignError):
    """Somebody else changed the campaign since the plan was made."""


def apply(
    conn: Connection,
    planned: CampaignPlan,
    *,
    backfill: bool,
    reschedule: bool,
    who: str,
    now: datetime,
    zone: ZoneInfo,
    message: str | None = None,
) -> int:
    """Do what a plan says, in the caller's transaction; return the campaign's id.

    Batches at work in the campaign are waited for, and none begins before the transaction ends. `message` says why,
    for the list of versions.
    Raises OutdatedPlanError when somebody else has changed the campaign since the plan was made.
    """
    file = planned.file
    message = checked_message(message)
    # Before anything else is held: a merge at work may wait for the campaign.
    merge_locks.shut_out_merges(conn)
    campaign_id = campaigns.create(conn, file.campaign, now=now)
    if has_rules(file) or rules.watchers_of(conn, campaign_id) or segments.goal_of(conn, campaign_id) is not None:
        # Before the campaign, for which whoever changes the rule of a segment may wait.
        rules.begin_to_change(conn)
    campaigns.close(conn, campaign_id)
    if campaigns.version_of(conn, campaign_id) != planned.version - 1:
        raise OutdatedPlanError(
            f"{file.campaign} was changed by someone else at the same time; nothing was applied; check the "
            "plan and apply again"
        )
    if planned.stages:
        campaigns.make_stages(conn, planned.stages)
    if planned.point_groups:
        scores.make_groups(conn, planned.point_groups)
    published = planned.publishes
    if published is None:
        rows = campaigns.listing(conn, [campaign_id])
        published = bool(rows) and bool(rows[0].published)
    why = {} if message is None else {"message": message}
    if planned.unchanged:
        if planned.publishes is not None:
            campaigns.set_published(conn, campaign_id, planned.publishes, now=now)
            _tell(conn, campaign_id, "published" if planned.publishes else "paused", who=who, now=now, detail=why)
        if reschedule and any(planned.retimed.values()):
            stored = {step.key: step.id for step in campaigns.steps(conn, campaign_id)}
            version = planned.version - 1
            same = build(file, campaign_id=campaign_id, version=version, step_ids=stored, zone=zone)
            _retime(conn, same, planned, reschedule=True, now=now, zone=zone)
            detail = {"waits": sum(planned.retimed.values()), "retimed": planned.retimed, **why}
            _tell(conn, campaign_id, "rescheduled", who=who, now=now, detail=detail)
        return campaign_id
    _keep_named(conn, file)
    sources = campaigns.named(conn, "segments", file.sources.segments)
    forms = campaigns.named(conn, "forms", file.sources.forms)
    before = {step.key: step for step in campaigns.steps(conn, campaign_id)}
    step_ids = campaigns.save(
        conn,
        campaign_id,
        file,
        published=published,
        version=planned.version,
        segment_ids=[row.id for row in sources.values()],
        form_ids=[row.id for row in forms.values()],
        step_kinds=[(step.step, step.kind.value, step.type) for step in file.walk()],
        now=now,
        who=who,
        message=message,
    )
    campaign = build(file, campaign_id=campaign_id, version=planned.version, step_ids=step_ids, zone=zone)
    for decision in campaign.steps.values():
        if callable(decision.type.events):
            campaigns.save_events(conn, decision.id, decision.events)
    campaigns.save_dates(conn, campaign, now=now)
    _save_goal(conn, campaign_id, file, now=now)
    _save_rules(conn, campaign)
    campaigns.mark_moved(conn, [step_ids[key] for key in planned.moved])
    _move_people(
        conn, campaign, planned, before, step_ids, backfill=backfill, reschedule=reschedule, now=now, zone=zone
    )
    if planned.returns:
        segment_rules.ask_who_reads(conn, campaign_id, now=now)
    what = "created" if planned.campaign_id is None else f"changed to version {planned.version}"
    detail = {"added": planned.added, "changed": planned.changed, "removed": planned.removed, **why}
    _tell(conn, campaign_id, what, who=who, now=now, detail=detail)
    if planned.publishes is not None:
        _tell(conn, campaign_id, "published" if planned.publishes else "paused", who=who, now=now)
    return campaign_id


def _keep_named(conn: Connection, file: CampaignFile) -> None:
    """Let nobody delete what a file names before it is stored. Raises OutdatedPlanError when somebody just did."""
    keys: dict[RefersTo, set[str]] = {}
    for each in references(file):
        keys.setdefault(each.what, set()).add(each.key)
    for what in (RefersTo.EMAIL, RefersTo.SEGMENT, RefersTo.FORM):
        gone = keys.get(what, set()) - named.keep(conn, what, keys.get(what, set()))
        # An email may come later.
        if gone and what is not RefersTo.EMAIL:
            raise OutdatedPlanError(
                f"{what.value} that {file.campaign} names were deleted at the same time: {', '.join(sorted(gone))}; "
                "nothing was applied; remove them from the campaign and apply again"
            )


def _move_people(
    conn: Connection,
    campaign: Campaign,
    planned: CampaignPlan,
    before: Mapping[str, StoredStep],
    step_ids: Mapping[str, int],
    *,
    backfill: bool,
    reschedule: bool,
    now: datetime,
    zone: ZoneInfo,
) -> None:
    """Give those inside the places and times that a new version has for them.

    `before` has the steps as they were, and `step_ids` the ids that they have now, by key.
    """
    campaign_id = campaign.id
    if planned.removed:
        kinds = {before[key].id: before[key].kind for key in planned.removed}
        dropped = list(kinds)
        campaigns.remove_steps(conn, campaign_id, [id_ for id_ in dropped if id_ not in step_ids.values()], now=now)
        targets = {before[key].id: campaign.by_key[to] for key, to in planned.redirected.items()}
        _leave_steps(conn, campaign, kinds, targets, now=now, zone=zone)
    if planned.restored:
        _restore(conn, campaign, {key: before[key].kind for key in planned.restored}, zone=zone)
    if any(each.name == "sources.segments" for each in planned.settings):
        memberships.stay_in_sources(conn, campaign_id)
    _retime(conn, campaign, planned, reschedule=reschedule, now=now, zone=zone)
    _ask_rules(conn, campaign, planned, now=now, zone=zone)
    if backfill and planned.new_roots:
        _backfill(conn, campaign, planned.new_roots, now=now, zone=zone)
    if backfill and planned.new_below:
        _backfill_below(conn, campaign, list(planned.new_below), now=now, zone=zone)


def checked_message(message: str | None) -> str | None:
    """Return why somebody changes a campaign, on one line; None for nothing. Raises CampaignError."""
    text = " ".join((message or "").replace("\0", " ").split())
    if len(text) > MOST_MESSAGE:
        raise CampaignError(f"the message has {len(text):,} characters; use at most {MOST_MESSAGE}")
    return text or None


def _save_rules(conn: Connection, campaign: Campaign) -> None:
    """Write what the rules of a version read, so that they are asked when that changes."""
    named: dict[int | None, frozenset[str]] = {}
    this = f"{CAMPAIGNS}.this"
    for step in campaign.steps.values():
        if step.rule is not None:
            tokens = tree.reads(step.rule)
            own = {f"{CAMPAIGNS}.{campaign.key}"} if this in tokens else set()
            named[step.id] = rules.ids_named(conn, tokens - {this} | own)
    if campaign.rule_exits:
        named[None] = rules.ids_named(conn, {token for rule in campaign.rule_exits for token in tree.reads(rule)})
    rules.save_watchers(conn, campaign.id, named)


def _ask_rules(conn: Connection, campaign: Campaign, planned: CampaignPlan, *, now: datetime, zone: ZoneInfo) -> None:
    """Let those whom a rule concerns that is another now be asked at once, by whoever is at work then."""
    if planned.asks_exits or (planned.returns and campaign.rule_exits):
        memberships.ask_exits(conn, campaign.id, now=now)
    for step in campaign.steps.values():
        if step.rule is not None and (planned.returns or step.key in planned.rules_asked):
            waits.ask_rules(conn, step.id, now=now)
        elif step.key in planned.rules_dropped:
            # When the rule was to be asked next is no deadline of what the decision waits for now.
            _reschedule(conn, campaign, step, now=now, zone=zone)


def _goal_rule(file: CampaignFile) -> Any:
    return None if file.goal is None else file.goal.rule


def _save_goal(conn: Connection, campaign_id: int, file: CampaignFile, *, now: datetime) -> None:
    """Write the rule of the goal as that of a segment which people do not see, or that there is none any more."""
    key, rule = segments.goal_of(conn, campaign_id), _goal_rule(file)
    if key is None and rule is None:
        return
    if key is None:
        key = f"goal of {file.campaign}"
        if segments.find(conn, key) is not None:
            raise CampaignError(
                f"the rule of the goal is stored under {key!r}, which is the key of a segment; rename it"
            )
        segments.make_goal(conn, key, campaign_id)
    segment_rules.put(conn, key, rule, now=now)


def _tell(conn: Connection, campaign_id: int, what: str, *, who: str, now: datetime, detail: Any = None) -> None:
    campaigns.audit(conn, campaign_id, who=who, what=what, now=now, detail=detail)


def _leave_steps(
    conn: Connection,
    campaign: Campaign,
    kinds: Mapping[int, str],
    targets: dict[int, Step],
    *,
    now: datetime,
    zone: ZoneInfo,
) -> None:
    """End the waits at steps that are dropped, by id and kind; those who have a target wait there instead."""
    step_ids = list(kinds)
    gone_for_good = "the step was removed from the campaign"
    other = "the step is of another kind now"
    there = {step.id for step in campaign.steps.values()}
    details = {
        step_id: {"reason": other if step_id in there else gone_for_good, "kind": kinds[step_id]}
        | ({"redirected_to": targets[step_id].key} if step_id in targets else {})
        for step_id in step_ids
    }
    # Where a target is dropped itself, as another kind of step, its old waits go before new ones come.
    later: list[tuple[Step, list[Displaced]]] = []
    rotated: dict[tuple[int, int], int] = {}
    for step_id in step_ids:
        target = targets.get(step_id)
        while gone := waits.cancel_steps(conn, [step_id], limit=AT_ONCE):
            detail = details[step_id]
            numbers = runs.numbers(conn, campaign.id, [each.contact_id for each in gone])
            outcomes.record(
                conn,
                [
                    OutcomeRow(
                        each.contact_id,
                        step_id,
                        each.rotation,
                        each.passage,
                        now,
                        each.due_at,
                        "cancelled",
                        # From here the wait counts again if the step returns.
                        {**detail, "since": iso(each.anchor_at)},
                        numbers.get((each.contact_id, each.rotation)),
                    )
                    for each in gone
                ],
            )
            if target is not None and target.id in step_ids:
                later.append((target, gone))
            elif target is not None:
                _wait_at(conn, campaign, target, gone, rotated, zone=zone)
    erasure.clean_up(conn, waits.of_nobody(conn, step_ids, now=None, limit=AT_ONCE), now=now)
    for target, gone in later:
        _wait_at(conn, campaign, target, gone, rotated, zone=zone)


def _wait_at(
    conn: Connection,
    campaign: Campaign,
    step: Step,
    coming: list[Displaced],
    rotated: dict[tuple[int, int], int],
    *,
    zone: ZoneInfo,
) -> None:
    """Let contacts wait at a step, by its timing from when they passed what was above the step that is gone.

    Who waits there already in the same passage keeps that wait. Who passed the step before does so again in a
    new rotation, as after a jump, unless they wait there anyway: a passage is only once. `rotated` holds (contact,
    rotation) to the rotation that it became by that, and is added to.
    """
    there = waits.standing(conn, step.id, [each.contact_id for each in coming])
    again = outcomes.passed(conn, step.id, [(each.contact_id, each.passage) for each in coming])
    standing = {(contact_id, rotation) for contact_id, _, rotation in there}
    passages_there = {(contact_id, passage) for contact_id, passage, _ in there}
    # What was read before a contact jumped for another of the dropped steps has its old rotation.
    coming = [each._replace(rotation=_present(each, rotated)) for each in coming]
    coming = [
        each
        for each in coming
        if (each.contact_id, each.passage) not in passages_there
        and not ((each.contact_id, each.rotation) in standing and (each.contact_id, each.passage) in again)
    ]
    members = memberships.members(conn, campaign.id, sorted({each.contact_id for each in coming}))
    found = [None if each.contact_id not in members else members[each.contact_id].at(each.rotation) for each in coming]
    moved: dict[tuple[int, int], Member] = {}
    before: dict[int, int] = {}
    passages = []
    for each, member in zip(coming, found, strict=True):
        passage = each.passage
        if (each.contact_id, passage) in again and member is not None:
            moved[each.contact_id, before.setdefault(id(member), member.rotation)] = member
            passage = member.jump()
        passages.append(passage)
    membership.move(conn, campaign.id, moved)
    rotated.update({(id_, was): member.rotation for (id_, was), member in moved.items()})
    arriving = []
    for each, passage, member in zip(coming, passages, found, strict=True):
        reason, due = first_due(campaign, step, since=each.anchor_at, zone=zone_of(each.timezone, zone))
        if step.kind is not Kind.DECISION:
            reason = "delay"
        rotation = each.rotation if member is None else member.rotation
        arriving.append(Wait(each.contact_id, step.id, campaign.id, rotation, passage, 0, reason, each.anchor_at, due))
    waits.arm(conn, arriving)


def _restore(conn: Connection, campaign: Campaign, kinds: Mapping[str, str], *, zone: ZoneInfo) -> None:
    """Let contacts wait again at steps that return, where their removal cancelled that and nothing took its place.

    The passage goes on, and its end is taken back: otherwise the step would count the contact twice. `kinds` has the
    kind of each until now, by its key.
    """
    steps = [campaign.by_key[key] for key in kinds]
    returning = [Returning(step.id, step.kind.value, kinds[step.key]) for step in steps]
    whole = memberships.id_range(conn, campaign.id, [])
    if whole is None:
        return
    by_id = {step.id: step for step in steps}
    for first in range(whole.first_id, whole.last_id + 1, IDS_AT_ONCE):
        lost: dict[int, list[Displaced]] = {}
        for each in waits.lost_with_steps(conn, campaign.id, returning, first, first + IDS_AT_ONCE - 1):
            lost.setdefault(each.step_id, []).append(each)
        for step_id, cancelled in sorted(lost.items()):
            there = waits.standing(conn, step_id, [each.contact_id for each in cancelled])
            standing = {(contact_id, rotation) for contact_id, _, rotation in there}
            coming = [each for each in cancelled if (each.contact_id, each.rotation) not in standing]
            back = [(each.contact_id, each.rotation, each.passage) for each in coming]
            outcomes.take_back(conn, step_id, back, "cancelled")
            _wait_at(conn, campaign, by_id[step_id], coming, {}, zone=zone)


def _present(displaced: Displaced, rotated: Mapping[tuple[int, int], int]) -> int:
    """Return the rotation that a contact is in by now."""
    rotation = displaced.rotation
    while (displaced.contact_id, rotation) in rotated:
        rotation = rotated[displaced.contact_id, rotation]
    return rotation


def _retime(
    conn: Connection, campaign: Campaign, planned: CampaignPlan, *, reschedule: bool, now: datetime, zone: ZoneInfo
) -> None:
    """Give those who wait by an earlier timing the present one, or remember that there are some."""
    waiting = [campaign.by_key[key] for key, n in planned.retimed.items() if n]
    moving = [step for step in waiting if reschedule or step.key in planned.by_date]
    if not reschedule:
        # Whoever comes from now on follows the present timing.
        kept = [step.id for step in waiting if step not in moving and step.key not in planned.retimed_before]
        campaigns.mark_retimed(conn, kept, now)
    for step in moving:
        _reschedule(conn, campaign, step, now=now, zone=zone)
    campaigns.mark_retimed(conn, [step.id for step in moving], None)


def _reschedule(conn: Connection, campaign: Campaign, step: Step, *, now: datetime, zone: ZoneInfo) -> None:
    """Give everybody who waits at a step the due time that its present timing asks for, earlier or later."""
    after = (0, 0)
    while rows := campaigns.waiting_at(conn, step.id, after=after, limit=AT_ONCE):
        after = (rows[-1].contact_id, rows[-1].passage)
        due: dict[tuple[int, int], datetime | None] = {}
        for row in rows:
            own = zone_of(row.timezone, zone)
            at: datetime | None
            if step.rule is not None:
                # Whoever asks the rule then says when it ends.
                at = now
            elif step.kind is Kind.DECISION:
                at = deadline(campaign, step, since=row.anchor_at, zone=own)
            elif step.timing.date is not None:
                # Whoever looks then asks the date.
                at = now
            else:
                at = schedule.due_at(step.timing, since=row.anchor_at, zone=own)
            due[row.contact_id, row.passage] = at
        campaigns.reschedule(conn, step.id, due)


def _backfill_below(
    conn: Connection, campaign: Campaign, keys: Sequence[str], *, now: datetime, zone: ZoneInfo
) -> None:
    """Start steps that are new below others for those who passed these already, from now on."""
    whole = memberships.id_range(conn, campaign.id, [])
    if whole is None:
        return
    for name in memberships.zones(conn, whole):
        for key in keys:
            step = campaign.by_key[key]
            assert step.parent is not None
            root = Root(name, step.id, *first_due(campaign, step, since=now, zone=zone_of(name or None, zone)))
            memberships.backfill_below(conn, campaign.id, root, step.parent, step.branch or "done", now=now)


def _backfill(conn: Connection, campaign: Campaign, keys: list[str], *, now: datetime, zone: ZoneInfo) -> None:
    whole = memberships.id_range(conn, campaign.id, [])
    if whole is None:
        return
    roots = [
        Root(name, campaign.by_key[key].id, *first_due(campaign, campaign.by_key[key], since=now, zone=own))
        for name in memberships.zones(conn, whole)
        for own in (zone_of(name or None, zone),)
        for key in keys
    ]
    memberships.backfill(conn, campaign.id, roots, now=now)
