"""Campaign files into the database: what a file refers to, what applying it would do, and doing it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from db import campaigns, companies, erasure, merging, outcomes, scores, templates, waits
from db import membership as memberships
from db import stages as stages_table
from db.membership import Root
from db.waits import Displaced
from domain import schedule
from domain.campaign import Campaign, Step
from domain.decide import Outcome, Wait, deadline, first_due, zone_of
from domain.errors import CampaignError
from domain.file import MOST_PROBLEMS, CampaignFile, Problem, StepFile, build, first_of, near, quoted, short, to_data
from domain.steps.filled import texts_in
from domain.steps.registry import Kind
from producers.template_notes import notes

# Waits that one statement cancels or moves.
AT_ONCE = 5_000

Place = tuple[str | int, ...]
What = Literal[
    "segments", "forms", "emails", "stages", "point_groups", "campaigns", "sms", "push", "message", "companies"
]
# Templates that `parcours messages apply` brings; the words are kinds of the table.
_TEMPLATES: tuple[templates.Kind, ...] = ("sms", "push", "message")

# Which property of which type names something that must exist; `None` stands for `this`.
_REFERRING: dict[tuple[Kind, str], dict[str, What]] = {
    (Kind.ACTION, "contact.segments"): {"add": "segments", "remove": "segments"},
    (Kind.CONDITION, "contact.segments"): {"segments": "segments"},
    (Kind.DECISION, "form.submit"): {"forms": "forms"},
    (Kind.ACTION, "email.send"): {"email": "emails"},
    (Kind.ACTION, "email.send_to_user"): {"email": "emails"},
    (Kind.ACTION, "sms.send"): {"sms": "sms"},
    (Kind.ACTION, "push.send"): {"push": "push"},
    (Kind.ACTION, "message.send"): {"message": "message"},
    (Kind.ACTION, "contact.stage"): {"stage": "stages"},
    (Kind.ACTION, "contact.points"): {"group": "point_groups"},
    (Kind.CONDITION, "contact.points"): {"group": "point_groups"},
    (Kind.ACTION, "campaign.change"): {"add": "campaigns", "remove": "campaigns"},
    (Kind.CONDITION, "form.field"): {"form": "forms"},
    (Kind.ACTION, "company.add_contact"): {"company": "companies"},
}


class Reference(NamedTuple):
    """A name in a file of something outside it."""

    place: Place
    what: What
    key: str


@dataclass(frozen=True)
class Plan:
    """What applying a file would do."""

    file: CampaignFile
    campaign_id: int | None
    version: int
    unchanged: bool
    publishes: bool | None = None
    members: int = 0
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    # Steps that stood elsewhere in an earlier version, and what is below them.
    moved: list[str] = field(default_factory=list)
    # Step key to how many contacts wait there.
    removed: dict[str, int] = field(default_factory=dict)
    # Those of them whose contacts go on at another step.
    redirected: dict[str, str] = field(default_factory=dict)
    # Step key to how many contacts wait there by an earlier timing.
    retimed: dict[str, int] = field(default_factory=dict)
    # Those of them whose timing an earlier version changed, and this one does not.
    retimed_before: list[str] = field(default_factory=list)
    new_roots: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    point_groups: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def cancels(self) -> int:
        """How many waiting contacts the removed steps lose."""
        return sum(waiting for key, waiting in self.removed.items() if key not in self.redirected)

    def lines(self) -> list[str]:
        """Return the plan in sentences."""
        if self.unchanged and self.publishes is None and not any(self.retimed.values()):
            return [f"{self.file.campaign}: nothing changes"]
        new = self.campaign_id is None
        lines = [f"{self.file.campaign}: {'creates the campaign' if new else f'makes version {self.version}'}"]
        if self.unchanged:
            lines = [f"{self.file.campaign}: the steps stay as they are"]
        if new:
            lines.append(f"  {len(list(self.file.walk()))} steps")
        lines += [f"  + step {key}" for key in self.added if not new]
        lines += [f"  ~ step {key}" for key in self.changed]
        lines += [
            f"  > step {key} moves: who waits there stays, and nobody passes it twice in one rotation"
            for key in self.moved
            if key not in self.added and key not in self.removed
        ]
        for key, waiting in self.removed.items():
            end = f"go to {self.redirected[key]}" if key in self.redirected else "are cancelled"
            fate = f"; {waiting:,} contacts wait there and {end}" if waiting else "; nobody waits there"
            lines.append(f"  - step {key}{fate}")
        for key, waiting in self.retimed.items():
            if waiting:
                changes = "changed before" if key in self.retimed_before else "changes"
                lines.append(f"  {waiting:,} contacts wait at {key}, whose timing {changes}; --reschedule moves them")
        for key in self.new_roots:
            lines.append(f"  {self.members:,} members are past {key}; --backfill starts it for them too")
        lines += [f"  makes stage {key}" for key in self.stages]
        lines += [f"  makes point group {key}" for key in self.point_groups]
        if self.publishes is not None:
            lines.append(f"  {'publishes it' if self.publishes else 'pauses it: everybody stays where they are'}")
        return lines + [f"  note: {warning}" for warning in self.warnings]

    def to_json(self) -> dict[str, Any]:
        return {
            "campaign": self.file.campaign,
            "creates": self.campaign_id is None,
            "unchanged": self.unchanged,
            "version": self.version,
            "members": self.members,
            "added": self.added,
            "changed": self.changed,
            "moved": self.moved,
            "removed": self.removed,
            "redirected": self.redirected,
            "retimed": self.retimed,
            "retimed_before": self.retimed_before,
            "new_roots": self.new_roots,
            "publishes": self.publishes,
            "warnings": self.warnings,
        }


def references(file: CampaignFile) -> Iterator[Reference]:
    """Yield everything outside a file that it names."""
    for what, keys in (("segments", file.sources.segments), ("forms", file.sources.forms)):
        for index, key in enumerate(keys):
            yield Reference(("sources", what, index), what, key)  # type: ignore[arg-type]
    for place, step in _placed(file.steps, ("steps",)):
        for name, what in _REFERRING.get((step.kind, step.type), {}).items():
            value = step.with_.get(name) or ()
            for key in (value,) if isinstance(value, str) else value:
                if what == "campaigns" and key in ("this", file.campaign):
                    continue
                yield Reference((*place, "with", name), what, str(key))


def _placed(steps: tuple[StepFile, ...], place: Place) -> Iterator[tuple[Place, StepFile]]:
    for index, step in enumerate(steps):
        here = (*place, index)
        yield here, step
        for below in ("then", "yes", "no"):
            yield from _placed(getattr(step, below), (*here, below))


def check_references(conn: Connection, file: CampaignFile) -> list[Problem]:
    """Return what a file names that is missing or may not be used, with its place.

    Sources are public, published segments and campaign forms; other segments and forms
    must exist. Emails, other templates and campaigns may come later: a plan notes them.
    """
    return first_of(chain(_check_named(conn, file), _check_redirect(conn, file)))


def _check_named(conn: Connection, file: CampaignFile) -> Iterator[Problem]:
    found = list(references(file))
    segments = campaigns.named(conn, "segments", {each.key for each in found if each.what == "segments"})
    forms = campaigns.named(conn, "forms", {each.key for each in found if each.what == "forms"})
    for place, what, key in found:
        source = place[0] == "sources"
        sentence = None
        if what == "segments":
            row = segments.get(key)
            if row is None:
                sentence = f"there is no segment {key!r}; make it with `parcours segments create {key}`"
            elif source and not row.public:
                sentence = f"segment {key!r} is private; only public segments can be sources"
            elif source and not row.published:
                sentence = f"segment {key!r} is not published; only published segments can be sources"
        elif what == "forms":
            row = forms.get(key)
            if row is None:
                sentence = f"there is no form {key!r}; make it with `parcours forms create {key}`"
            elif source and row.standalone:
                sentence = f"form {key!r} is standalone; only campaign forms can be sources"
        if sentence:
            yield Problem(place, short(sentence, key))


def _check_redirect(conn: Connection, file: CampaignFile) -> Iterator[Problem]:
    """Yield which redirected steps are none that this version drops.

    A file that was applied already may be applied again, and one whose step an earlier version dropped too.
    """
    row = campaigns.stored(conn, file.campaign) if file.redirect else None
    if row is None or row.version == 0 or row.key != file.campaign:
        sentence = "the campaign is new, so nobody waits at any step of it; leave 'redirect' out"
        yield from (Problem(("redirect", key), sentence) for key in file.redirect)
        return
    # What is stored has its offsets; no date of it depends on a timezone.
    if _same_version(campaigns.read_version(conn, row.key, row.id, row.version).file, file):
        return
    before = {step.key: step for step in campaigns.steps(conn, row.id)}
    after = {step.step: step for step in file.walk()}
    for key in file.redirect:
        if key not in before:
            found = near(key, before)
            hint = f"; did you mean {found[0]!r}?" if found else ""
            yield Problem(("redirect", key), f"the campaign never had a step {quoted(key)}{hint}")
        elif key in after and after[key].kind == before[key].kind:
            yield Problem(("redirect", key), f"{quoted(key)} is still a step of this version, so who waits there stays")


def plan(conn: Connection, file: CampaignFile, *, zone: ZoneInfo) -> Plan:
    """Return what applying a file would do, with counts of the contacts touched."""
    warnings = [short(each) for each in _warnings(conn, file)]
    if len(warnings) > MOST_PROBLEMS:
        warnings = [*warnings[:MOST_PROBLEMS], f"there is more to note: a plan stops at {MOST_PROBLEMS} notes"]
    named = list(references(file))
    stages = _missing(named, "stages", {stage.key for stage in stages_table.listed(conn)})
    point_groups = _missing(named, "point_groups", {group.key for group in scores.groups(conn)})
    row = campaigns.stored(conn, file.campaign)
    if row is None or row.key != file.campaign or row.version == 0:
        return Plan(
            file,
            None,
            1,
            unchanged=False,
            publishes=True if file.published else None,
            added=[step.step for step in file.walk()],
            stages=stages,
            point_groups=point_groups,
            warnings=warnings,
        )
    before, _, unreadable = campaigns.read_version(conn, row.key, row.id, row.version)
    if unreadable is not None:
        warnings.insert(0, f"the version that it has now cannot be read here ({unreadable.why}); this one replaces it")
    published = campaigns.listing(conn, [row.id])
    # A deleted campaign is not listed; applying its file brings it back, unpublished unless it says so.
    was_published = bool(published) and bool(published[0].published)
    wants = was_published if file.published is None else file.published
    old = {step.step: step for step in before.walk()}
    new = {step.step: step for step in file.walk()}
    known = {step.key: step for step in campaigns.steps(conn, row.id)}
    ids = {key: step.id for key, step in known.items()}
    # The table names the steps of the present version too, whatever has become of its definition.
    there = [key for key in old if key in known]
    there += [key for key, step in known.items() if step.removed_at is None and key not in old]
    waiting = waits.count_at(conn, [ids[key] for key in there])
    gone = [key for key in there if key not in new or new[key].kind.value != known[key].kind]
    kept = [key for key in there if key in old and key not in gone]
    old_roots = {step.step for step in before.steps}
    retimed = [key for key in kept if _timing_of(old[key]) != _timing_of(new[key])]
    since = {ids[key]: at for key in kept if key not in retimed and (at := known[key].retimed_at) is not None}
    from_before = waits.count_from_before(conn, since)
    retimed_before = [key for key in kept if ids[key] in from_before]
    return Plan(
        file,
        row.id,
        row.version + 1,
        unchanged=bool(published) and unreadable is None and _same_version(before, file),
        publishes=None if wants == was_published else wants,
        members=memberships.count_active(conn, row.id),
        added=[key for key in new if key not in there],
        changed=[key for key in kept if _own(old[key]) != _own(new[key])],
        moved=_moved(before, file, ids),
        removed={key: waiting.get(ids[key], 0) for key in gone},
        redirected={key: file.redirect[key] for key in gone if key in file.redirect},
        retimed={
            **{key: waiting.get(ids[key], 0) for key in retimed},
            **{key: from_before[ids[key]] for key in retimed_before},
        },
        retimed_before=retimed_before,
        new_roots=[step.step for step in file.steps if step.step not in old_roots],
        stages=stages,
        point_groups=point_groups,
        warnings=warnings,
    )


def _missing(named: Sequence[Reference], what: What, known: set[str]) -> list[str]:
    return sorted({each.key for each in named if each.what == what} - known)


def apply(
    conn: Connection, planned: Plan, *, backfill: bool, reschedule: bool, who: str, now: datetime, zone: ZoneInfo
) -> int:
    """Do what a plan says, in the caller's transaction; return the campaign's id.

    Batches at work in the campaign are waited for, and none begins before the transaction ends.
    Raises CampaignError when somebody else has changed the campaign since the plan was made.
    """
    file = planned.file
    # Before anything else is held: a merge at work may wait for the campaign.
    merging.shut_out_merges(conn)
    campaign_id = campaigns.create(conn, file.campaign, now=now)
    campaigns.close(conn, campaign_id)
    if campaigns.version_of(conn, campaign_id) != planned.version - 1:
        raise CampaignError(
            f"somebody else applied {file.campaign} at the same moment; nothing of this was applied: "
            "look at the plan again, then apply"
        )
    if planned.stages:
        campaigns.make_stages(conn, planned.stages)
    if planned.point_groups:
        scores.make_groups(conn, planned.point_groups)
    published = planned.publishes
    if published is None:
        rows = campaigns.listing(conn, [campaign_id])
        published = bool(rows) and bool(rows[0].published)
    if planned.unchanged:
        if planned.publishes is not None:
            campaigns.set_published(conn, campaign_id, planned.publishes, now=now)
            _tell(conn, campaign_id, "published" if planned.publishes else "paused", who=who, now=now)
        if reschedule and any(planned.retimed.values()):
            stored = {step.key: step.id for step in campaigns.steps(conn, campaign_id)}
            version = planned.version - 1
            same = build(file, campaign_id=campaign_id, version=version, step_ids=stored, zone=zone)
            _retime(conn, same, planned, reschedule=True, now=now, zone=zone)
            detail = {"waits": sum(planned.retimed.values()), "retimed": planned.retimed}
            _tell(conn, campaign_id, "rescheduled", who=who, now=now, detail=detail)
        return campaign_id
    segments = campaigns.named(conn, "segments", file.sources.segments)
    forms = campaigns.named(conn, "forms", file.sources.forms)
    before = {step.key: step.id for step in campaigns.steps(conn, campaign_id)}
    step_ids = campaigns.save(
        conn,
        campaign_id,
        file,
        published=published,
        version=planned.version,
        segment_ids=[row.id for row in segments.values()],
        form_ids=[row.id for row in forms.values()],
        step_kinds=[(step.step, step.kind.value, step.type) for step in file.walk()],
        now=now,
    )
    campaign = build(file, campaign_id=campaign_id, version=planned.version, step_ids=step_ids, zone=zone)
    for decision in campaign.steps.values():
        if callable(decision.type.events):
            campaigns.save_events(conn, decision.id, decision.events)
    campaigns.mark_moved(conn, [step_ids[key] for key in planned.moved])
    if planned.removed:
        dropped = [before[key] for key in planned.removed]
        campaigns.remove_steps(conn, campaign_id, [id_ for id_ in dropped if id_ not in step_ids.values()], now=now)
        targets = {before[key]: campaign.by_key[to] for key, to in planned.redirected.items()}
        _leave_steps(conn, campaign, dropped, targets, now=now, zone=zone)
    _retime(conn, campaign, planned, reschedule=reschedule, now=now, zone=zone)
    if backfill and planned.new_roots:
        _backfill(conn, campaign, planned.new_roots, now=now, zone=zone)
    what = "created" if planned.campaign_id is None else f"changed to version {planned.version}"
    detail = {"added": planned.added, "changed": planned.changed, "removed": planned.removed}
    _tell(conn, campaign_id, what, who=who, now=now, detail=detail)
    if planned.publishes is not None:
        _tell(conn, campaign_id, "published" if planned.publishes else "paused", who=who, now=now)
    return campaign_id


def _tell(conn: Connection, campaign_id: int, what: str, *, who: str, now: datetime, detail: Any = None) -> None:
    campaigns.audit(conn, campaign_id, who=who, what=what, now=now, detail=detail)


def _leave_steps(
    conn: Connection,
    campaign: Campaign,
    step_ids: list[int],
    targets: dict[int, Step],
    *,
    now: datetime,
    zone: ZoneInfo,
) -> None:
    """End the waits at steps that are dropped; those who have a target wait there instead."""
    why = "the step was removed from the campaign"
    details = {
        step_id: {"reason": why} | ({"redirected_to": targets[step_id].key} if step_id in targets else {})
        for step_id in step_ids
    }
    # Where a target is dropped itself, as another kind of step, its old waits go before new ones come.
    later: list[tuple[Step, list[Displaced]]] = []
    for step_id in step_ids:
        target = targets.get(step_id)
        while gone := waits.cancel_steps(conn, [step_id], limit=AT_ONCE):
            detail = details[step_id]
            outcomes.record(
                conn,
                [
                    Outcome(
                        each.contact_id, step_id, each.rotation, each.passage, now, each.due_at, "cancelled", detail
                    )
                    for each in gone
                ],
            )
            if target is not None and target.id in step_ids:
                later.append((target, gone))
            elif target is not None:
                _wait_at(conn, campaign, target, gone, zone=zone)
    erasure.clean_up(conn, waits.of_nobody(conn, step_ids, now=None, limit=AT_ONCE), now=now)
    for target, gone in later:
        _wait_at(conn, campaign, target, gone, zone=zone)


def _wait_at(conn: Connection, campaign: Campaign, step: Step, coming: list[Displaced], *, zone: ZoneInfo) -> None:
    """Let contacts wait at a step, by its timing from when they passed what was above the step that is gone.

    Who waits there already in the same passage keeps that wait. Who passed the step before does so again in a
    new rotation, as after a jump, unless they wait there anyway: a passage is only once.
    """
    there = waits.standing(conn, step.id, [each.contact_id for each in coming])
    again = outcomes.passed(conn, step.id, [(each.contact_id, each.passage) for each in coming])
    standing = {contact_id for contact_id, _ in there}
    coming = [
        each
        for each in coming
        if (each.contact_id, each.passage) not in there
        and not (each.contact_id in standing and (each.contact_id, each.passage) in again)
    ]
    rotations = memberships.rotations(conn, campaign.id, sorted({each.contact_id for each in coming}))
    jumped: dict[int, int] = {}
    passages = []
    for each in coming:
        passage = each.passage
        if (each.contact_id, passage) in again and each.contact_id in rotations:
            passage = jumped[each.contact_id] = jumped.get(each.contact_id, rotations[each.contact_id]) + 1
        passages.append(passage)
    memberships.rotate(conn, campaign.id, jumped)
    waits.move(conn, campaign.id, jumped)
    arriving = []
    for each, passage in zip(coming, passages, strict=True):
        reason, due = first_due(campaign, step, since=each.anchor_at, zone=zone_of(each.timezone, zone))
        if step.kind is not Kind.DECISION:
            reason = "delay"
        # What was read before a contact jumped for another of the dropped steps has its old rotation.
        rotation = jumped.get(each.contact_id, rotations.get(each.contact_id, each.rotation))
        arriving.append(Wait(each.contact_id, step.id, campaign.id, rotation, passage, 0, reason, each.anchor_at, due))
    waits.arm(conn, arriving)


def _retime(
    conn: Connection, campaign: Campaign, planned: Plan, *, reschedule: bool, now: datetime, zone: ZoneInfo
) -> None:
    """Give those who wait by an earlier timing the present one, or remember that there are some."""
    waiting = [campaign.by_key[key] for key, n in planned.retimed.items() if n]
    if not reschedule:
        # Whoever comes from now on follows the present timing.
        campaigns.mark_retimed(conn, [step.id for step in waiting if step.key not in planned.retimed_before], now)
        return
    for step in waiting:
        _reschedule(conn, campaign, step, zone=zone)
    campaigns.mark_retimed(conn, [step.id for step in waiting], None)


def _reschedule(conn: Connection, campaign: Campaign, step: Step, *, zone: ZoneInfo) -> None:
    """Give everybody who waits at a step the due time that its present timing asks for, earlier or later."""
    after = (0, 0)
    while rows := campaigns.waiting_at(conn, step.id, after=after, limit=AT_ONCE):
        after = (rows[-1].contact_id, rows[-1].passage)
        due: dict[tuple[int, int], datetime | None] = {}
        for row in rows:
            own = zone_of(row.timezone, zone)
            if step.kind is Kind.DECISION:
                at = deadline(campaign, step, since=row.anchor_at, zone=own)
            else:
                at = schedule.due_at(step.timing, since=row.anchor_at, zone=own)
            due[row.contact_id, row.passage] = at
        campaigns.reschedule(conn, step.id, due)


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


def _moved(before: CampaignFile, after: CampaignFile, known: Collection[str]) -> list[str]:
    """Return which steps that the campaign knows can be reached by another way than before."""
    old = {step.step: place for step, place in _standing(before.steps, None, None)}
    found: list[str] = []
    for step, place in _standing(after.steps, None, None):
        if place[0] in found or (step.step in known and old.get(step.step) != place):
            found.append(step.step)
    return [key for key in found if key in known]


def _standing(
    steps: tuple[StepFile, ...], parent: str | None, branch: str | None
) -> Iterator[tuple[StepFile, tuple[str | None, str | None, Kind]]]:
    """Yield steps, those above first, with the key of the step above, the branch and the kind."""
    for step in steps:
        yield step, (parent, branch, step.kind)
        for below, children in step.branches():
            yield from _standing(children, step.step, below)


def _own(step: StepFile) -> dict[str, Any]:
    """Return what a step says of itself, without the steps below it."""
    return step.model_dump(exclude={"then", "yes", "no"})


def _timing_of(step: StepFile) -> Any:
    """Return what decides when a step's waits are due: its timing; for a decision, what closes it."""
    own = (step.after, step.at, step.hour, step.between, step.days, step.within)
    return own if step.kind is not Kind.DECISION else (own, [_timing_of(child) for child in step.no])


def _same_version(one: CampaignFile, other: CampaignFile) -> bool:
    """Return whether two files make the same version of a campaign, switched on or off."""
    first, second = (to_data(file.model_copy(update={"published": None})) for file in (one, other))
    return first == second


def _warnings(conn: Connection, file: CampaignFile) -> list[str]:
    found = list(references(file))
    emails = {each.key for each in found if each.what == "emails"}
    missing = sorted(emails - set(campaigns.named(conn, "emails", emails)))
    warnings = [
        f"there is no email {key!r} yet; until `parcours emails apply` brings it, its step is skipped"
        for key in missing
    ]
    for kind in _TEMPLATES:
        keys = {each.key for each in found if each.what == kind}
        warnings += [
            f"there is no {kind} {key!r} yet; until `parcours messages apply` brings it, its step is skipped"
            for key in sorted(keys - templates.known(conn, kind, keys))
        ]
    firms = {each.key for each in found if each.what == "companies"}
    warnings += [
        f"there is no company {key!r} yet; until `parcours companies create` makes it, its step is skipped"
        for key in sorted(firms - companies.existing(conn, firms))
    ]
    warnings += notes(conn, ((f"step {step.step}", texts_in(step.with_)) for step in file.walk()))
    others = {each.key for each in found if each.what == "campaigns"}
    known = {row.key for row in campaigns.listing(conn)}
    return warnings + [f"there is no campaign {key!r} yet; nobody can be added to it" for key in sorted(others - known)]
