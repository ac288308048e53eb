"""What becomes of a batch of contacts at one step: the whole chain that is due at once, in pure code.

`decide` is the middle of a unit of work. Before it, waits were claimed and contacts locked and
loaded; after it, its plan is written set-wise. It reads no clock and does no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from parcours.domain.campaign import Branch, Campaign, Step
from parcours.domain.contacts.contact import EMAIL, Contact, scored, states
from parcours.domain.contacts.identity import in_use, same_address
from parcours.domain.events.parsing import remembered
from parcours.domain.gate import clean
from parcours.domain.retries import step_delay
from parcours.domain.segments.judging import Judged, judged
from parcours.domain.segments.rule import Rule
from parcours.domain.steps.batch import Batch, Company, Fact, Knowledge, Standing
from parcours.domain.steps.types import (
    ChangeCompany,
    Done,
    Erase,
    Failed,
    Join,
    Jump,
    Kind,
    Leave,
    Outbound,
    Postponed,
    Result,
    Skipped,
)
from parcours.domain.time import dates, schedule
from parcours.domain.time.intervals import Interval
from parcours.domain.time.zones import zone_of
from parcours.domain.walk.catch_up import Pause, fell_due_in
from parcours.domain.walk.rows import Claim, Failure, Member, Message, OutcomeRow, Plan, Reason, Verdict, Wait

_NEVER = datetime.max.replace(tzinfo=UTC)

TOO_LATE = "it became due while the campaign was not running"

PASSED = "it was already in the past, according to the contact's date"

# So late an event may reach us and still be followed by another in its order.
HEARD_LATE = timedelta(minutes=15)

# When a rule that failed for a contact is asked again.
RULE_RETRY = timedelta(hours=1)

# When a campaign that this process cannot read is looked at again by whom a step lets into it.
READ_AGAIN = timedelta(minutes=5)

# What is kept with a wait, and in the history, of a decision whose rule was found true: since when.
MATCHED_AT = "matched_at"

# Characters of an error that are kept.
ERROR_LIMIT = 500


def came_at(at: datetime, now: datetime) -> datetime:
    """Return since when what a contact does answers the decision that it comes to `now`, by an event of `at`.

    Events reach us a little late, and often several together: what the contact did after the one that led it
    there counts, though that was before now. What was published much later than it happened counts from now.
    """
    return max(min(at, now), now - HEARD_LATE)


def why(error: BaseException) -> str:
    """Return what is kept of an exception: its class and what it says, in text that can be stored."""
    try:
        said = str(error)
    # The step type of another package raised it, and that class may be broken too.
    except Exception:
        said = "no details"
    return clean(f"{type(error).__name__}: {said}")[:ERROR_LIMIT]


def is_of_another_passage(fact: Fact, campaign: Campaign, contact_id: int, passage: int) -> bool:
    """Return whether a fact is about a message that a campaign wrote to a contact in another passage than this.

    Where a contact has several runs, opening the email of one says nothing of the others.
    """
    # Of the campaign, the step, the contact and the passage.
    named = str(fact.data.get("message") or "").split("-")[:4]
    return (
        len(named) == 4
        and named[0] == str(campaign.id)
        and named[2:] != [str(contact_id), str(passage)]
        and (named[2] == str(contact_id))
    )


def looks_back(step: Step, claim: Claim) -> bool:
    """Return whether a claim is of somebody who arrived at a decision that looks back, and did not arm it yet."""
    return step.look_back is not None and claim.reason in ("kickoff", "retry")


def decide(
    campaign: Campaign,
    claimed: Sequence[tuple[Step, Sequence[Claim]]],
    contacts: Mapping[int, Contact],
    members: Mapping[int, Member],
    *,
    world: Knowledge,
    now: datetime,
    default_zone: ZoneInfo,
    pauses: Sequence[Pause] = (),
) -> Plan:
    """Return what becomes of contacts whose waits at steps were claimed; changes them in place.

    Step after step as they are given. A claim of somebody who is no longer in the campaign, or whose
    rotation is not the member's present one, is cancelled. A step whose window or weekday forbids
    `now` is postponed. Where the campaign says so, an action that fell due too long ago in one of its
    `pauses` is skipped. The rest runs, and so does everything below that is due at once.
    """
    walk = _Walk(campaign, world, now, default_zone, pauses)
    if any(step.moved for step in campaign.steps.values()):
        walk.already_passed = {
            *world.already_passed,
            *((claim.contact_id, step.id, claim.passage) for step, claims in claimed for claim in claims),
        }
    for step, claims in claimed:
        for group in apart(claims):
            walk.start(step, [passing for claim in group if (passing := walk.enter(step, claim, contacts, members))])
    walk.run_jumps()
    return walk.finish()


def apart(claims: Sequence[Claim]) -> list[list[Claim]]:
    """Return claims in groups in which nobody is twice, the older passages first.

    After a jump, or two, a contact may be due at one step in several passages. A step meets a contact once
    in a batch, and the second time as the first time left it.
    """
    nth: Counter[int] = Counter()
    groups: list[list[Claim]] = []
    ordered = claims
    if len({claim.contact_id for claim in claims}) < len(claims):
        ordered = sorted(claims, key=lambda claim: (claim.due_at or _NEVER, claim.passage))
    for claim in ordered:
        if nth[claim.contact_id] == len(groups):
            groups.append([])
        groups[nth[claim.contact_id]].append(claim)
        nth[claim.contact_id] += 1
    return groups


def take(
    campaign: Campaign,
    step: Step,
    claims: Sequence[Claim],
    contacts: Mapping[int, Contact],
    members: Mapping[int, Member],
    details: Mapping[int, Mapping[str, Any]],
    *,
    at: Mapping[int, datetime],
    world: Knowledge,
    now: datetime,
    default_zone: ZoneInfo,
) -> Plan:
    """Return what follows when contacts did what an armed decision waited for: its "yes" branch starts.

    `details` holds, for each contact, what to remember of the fact, and `at` when it was. A claim whose deadline has
    passed is still a "yes": whoever takes the wait wins.
    """
    walk = _Walk(campaign, world, now, default_zone)
    taken: list[_Passing] = []
    for claim in claims:
        contact, member = contacts[claim.contact_id], _of(claim, members)
        if member is None or not member.active or member.rotation != claim.rotation:
            continue
        since = came_at(at.get(contact.id, now), now)
        passing = _Passing(contact, member, claim.passage, 0, claim.anchor_at, claim.due_at, since=since)
        walk.record(passing, step, "yes", details.get(contact.id))
        taken.append(passing)
    walk.follow(step, "yes", taken)
    walk.run_jumps()
    return walk.finish()


def fail(
    campaign: Campaign,
    step: Step,
    claim: Claim,
    contacts: Mapping[int, Contact],
    members: Mapping[int, Member],
    error: BaseException,
    *,
    reason: str | None = None,
    world: Knowledge,
    now: datetime,
    default_zone: ZoneInfo,
    go_on: bool = True,
) -> Plan:
    """Return what becomes of a claimed contact for whom the step, or what follows at once, raised an error.

    It is a failed attempt as any other. `reason` says it in other words than the exception's. Without
    `go_on`, nothing below runs even where the step says that a failure does not end the path.
    """
    walk = _Walk(campaign, world, now, default_zone)
    contact, member = contacts.get(claim.contact_id), _of(claim, members)
    if contact is None or member is None or not member.active or member.rotation != claim.rotation:
        walk.enter(step, claim, contacts, members)
        return walk.finish()
    passing = _Passing(contact, member, claim.passage, claim.attempt, claim.anchor_at, claim.due_at, claim.held)
    if walk.fail(passing, step, Failed(reason or why(error)), error) and go_on:
        walk.follow(step, None, [passing])
        walk.run_jumps()
    return walk.finish()


def _of(claim: Claim, members: Mapping[int, Member]) -> Member | None:
    """Return the run that a claim is of, or the membership where that is the only one."""
    member = members.get(claim.contact_id)
    return member.at(claim.rotation) if member is not None and member.runs else member


@dataclass(slots=True)
class _Passing:
    """A contact on its way through the tree within this batch."""

    contact: Contact
    member: Member
    passage: int
    attempt: int = 0
    anchor_at: datetime | None = None
    due_at: datetime | None = None
    held: Mapping[str, Any] | None = None
    # When the contact did what led here; None: it was only time that passed.
    since: datetime | None = None


class _Walk:
    def __init__(
        self,
        campaign: Campaign,
        world: Knowledge,
        now: datetime,
        default_zone: ZoneInfo,
        pauses: Sequence[Pause] = (),
    ) -> None:
        self.campaign = campaign
        self.world = world
        self.now = now
        self.default_zone = default_zone
        self.pauses = pauses
        self.plan = Plan()
        # Where contacts are not to come a second time, of steps that moved.
        self.already_passed = world.already_passed
        # Rotations are read at the end, since a jump still moves the waits made before it.
        self._waits: list[tuple[_Passing, Step, int, int, Reason, datetime, datetime | None]] = []
        # Who entered the step in hand too late.
        self._late: list[tuple[_Passing, str]] = []
        self._jumps: list[tuple[Step, list[_Passing]]] = []
        # What the step in hand raised, by contact.
        self._raised: dict[int, BaseException] = {}
        # To whom steps gave addresses, (contact id, key), which nobody else can see yet.
        self._given: dict[str, list[tuple[int, str]]] = {}
        # In which rotation those who jump were found, by the identity of the member.
        self._found: dict[int, int] = {}
        self._due: dict[tuple[int, datetime, ZoneInfo], datetime] = {}
        self._deadlines: dict[tuple[int, ZoneInfo], datetime | None] = {}

    # One step, and what is below it.

    def enter(
        self, step: Step, claim: Claim, contacts: Mapping[int, Contact], members: Mapping[int, Member]
    ) -> _Passing | None:
        """Return a claimed contact as one that may run the step now, or None when something else became of it."""
        contact, member = contacts.get(claim.contact_id), _of(claim, members)
        if contact is None or member is None or not member.active or member.rotation != claim.rotation:
            self.plan.outcomes.append(
                OutcomeRow(
                    claim.contact_id,
                    step.id,
                    claim.rotation,
                    claim.passage,
                    self.now,
                    claim.due_at,
                    "cancelled",
                    {"reason": "the contact is no longer in this rotation of the campaign"},
                    None if member is None else member.number,
                )
            )
            return None
        passing = _Passing(contact, member, claim.passage, claim.attempt, claim.anchor_at, claim.due_at, claim.held)
        if step.kind is Kind.DECISION:
            if looks_back(step, claim):
                self.look_back(step, passing)
                return None
            return passing
        if step.timing.date is not None and claim.reason != "retry" and not claim.held:
            # The date says when, and not the wait, which may be from before the date was changed.
            due = self._by_date(step, passing, anchor=claim.anchor_at)
            if due is None:
                return None
            if self._has_passed(step, due, passing):
                self._late.append((replace(passing, due_at=due), PASSED))
                return None
        # A kickoff did not fall due in a pause: its contact came then, and begins when it is over.
        if claim.reason != "kickoff" and self.is_too_late(step, claim.due_at, contact):
            self._late.append((passing, TOO_LATE))
            return None
        until = self.postponed_until(step, contact)
        if until is None:
            return passing
        self.wait(passing, step, until, claim.reason, anchor=claim.anchor_at, attempt=claim.attempt)
        return None

    def start(self, step: Step, passings: list[_Passing]) -> None:
        """Run a step for claimed contacts, and pass over it for those who are too late.

        Jumps are put off until everything else is done.
        """
        late, self._late = [each for each in self._late if each[0].member.active], []
        for reason in dict.fromkeys(reason for _, reason in late):
            self.skip(step, [passing for passing, why in late if why == reason], reason)
        if _is_jump(step):
            self._jumps.append((step, passings))
        elif passings:
            self._run(step, passings)

    def run_jumps(self) -> None:
        """Run the jumps; always last, so that all that was due in the old rotation is done in it."""
        while self._jumps:
            step, passings = self._jumps.pop(0)
            self._run(step, passings)

    def _run(self, step: Step, passings: list[_Passing]) -> None:
        passings = [passing for passing in passings if passing.member.active]
        if not passings:
            return
        if step.rule is not None:
            self._match(step, step.rule, passings)
        elif step.kind is Kind.DECISION:
            self._close(step, passings)
        elif step.kind is Kind.CONDITION:
            self._test(step, passings)
        else:
            self._act(step, passings)

    def look_back(self, step: Step, passing: _Passing) -> None:
        """Take a decision whose fact came before the contact did, or arm it from when the contact arrived."""
        assert step.look_back is not None
        assert passing.anchor_at is not None
        zone = zone_of(passing.contact.timezone, self.default_zone)
        member = passing.member
        standing = Standing(self.campaign, step, self.campaign.email_upstream(step), member.key)
        for fact in self.world.past.get(passing.contact.id, ()):
            # In a loop, the fact that led on before does not do so again.
            place = (passing.contact.id, member.number, step.id, fact.type, fact.at.isoformat())
            if place in self.world.answered or self._of_another_run(fact, passing):
                continue
            young = fact.at >= passing.anchor_at or schedule.add(step.look_back, fact.at, zone) >= passing.anchor_at
            if young and step.looks_at(fact.type) and step.type.run(step.properties, fact, standing):
                self.record(passing, step, "yes", {**remembered(fact), "looked_back": True})
                self.follow(step, "yes", [passing])
                return
        due = deadline(self.campaign, step, since=passing.anchor_at, zone=zone)
        self.wait(passing, step, due, "decision", anchor=passing.anchor_at)

    def _of_another_run(self, fact: Fact, passing: _Passing) -> bool:
        return passing.member.whole is not None and is_of_another_passage(
            fact, self.campaign, passing.contact.id, passing.passage
        )

    def _match(self, step: Step, rule: Rule, passings: list[_Passing]) -> None:
        """Ask the rule that a decision waits for: "yes" once it is true, "no" at the deadline, and else wait on.

        Of whom it was found true when something changed, it is not asked again.
        """
        yes = [replace(each, since=_matched_at(each)) for each in passings if _matched_at(each) is not None]
        asked = [each for each in passings if _matched_at(each) is None]
        no: list[_Passing] = []
        for passing, told in zip(asked, self._judged(rule, asked), strict=True):
            since = passing.anchor_at or self.now
            until = deadline(self.campaign, step, since=since, zone=self._zone(passing))
            if told.answer is True:
                yes.append(passing)
                continue
            if isinstance(told.answer, Failed):
                self.plan.failures.append(Failure(passing.contact.id, step.id, 1, told.answer.error))
            if until is not None and until <= self.now:
                no.append(passing)
            else:
                self.wait(passing, step, next_look(told, until, self.now), "decision", anchor=since)
        for passing in yes:
            self.record(passing, step, "yes", None)
        self.follow(step, "yes", yes)
        self._close(step, no)

    def _judged(self, rule: Rule, passings: list[_Passing]) -> list[Judged]:
        for passing in passings:
            if passing.member.whole is not None:
                passing.contact.entry = passing.member.entry
        contacts = [passing.contact for passing in passings]
        return judged(rule, contacts, self.world, self.now, self.default_zone, campaign=self.campaign)

    def _zone(self, passing: _Passing) -> ZoneInfo:
        return zone_of(passing.contact.timezone, self.default_zone)

    def _close(self, step: Step, passings: list[_Passing]) -> None:
        """Nobody did what the decision waited for: the "no" branch, counted from when each arrived."""
        for passing in passings:
            self.record(passing, step, "no", None)
        # With its own `within`, the branch's delays count from its closing; without, they are
        # the deadline themselves and count from the arrival.
        self.follow(step, "no", passings, from_anchor=step.within is None)

    def _test(self, step: Step, passings: list[_Passing]) -> None:
        branches: dict[Branch, list[_Passing]] = {"yes": [], "no": []}
        for passing, answer in zip(passings, self._results(step, passings), strict=True):
            if isinstance(answer, Failed):
                self.fail(passing, step, answer, self._raised.get(passing.contact.id))
                continue
            branch: Branch = "yes" if answer else "no"
            self.record(passing, step, branch, None)
            branches[branch].append(passing)
        for branch, group in branches.items():
            self.follow(step, branch, group)

    def _act(self, step: Step, passings: list[_Passing]) -> None:
        aside = next((key for key in step.joined if key in self.world.set_aside), None)
        if aside is not None:
            # Nobody fails for what is wrong with this process, and another may be able to read it.
            reason = f"the campaign {aside!r} cannot be read: {self.world.set_aside[aside]}"
            for passing in passings:
                self._postpone(passing, step, Postponed(self.now + READ_AGAIN, {"held_because": reason}))
            return
        passed: list[_Passing] = []
        jumped: dict[str, list[_Passing]] = {}
        for passing, result in zip(passings, self._results(step, passings), strict=True):
            if isinstance(result, Failed):
                if self.fail(passing, step, result, self._raised.get(passing.contact.id)):
                    passed.append(passing)
                continue
            if isinstance(result, Postponed):
                self._postpone(passing, step, result)
                continue
            if isinstance(result, Skipped):
                self.record(passing, step, "skipped", {"reason": result.reason, **(result.detail or {})})
                passed.append(passing)
                continue
            self.record(passing, step, "done", result.detail)
            for effect in result.effects:
                match effect:
                    case Outbound():
                        self._send(passing, step, effect)
                    case Join(campaign):
                        self._count_pass(passing, step)
                        if campaign == self.campaign.key and passing.member.whole is not None:
                            self.plan.restarted.append((passing.contact.id, passing.member))
                        else:
                            self.plan.joins.setdefault(campaign, []).append(passing.contact.id)
                    case Leave(campaign) if campaign == self.campaign.key and passing.member.whole is not None:
                        # The other runs of the contact go on.
                        self.plan.ended.append((passing.contact.id, passing.member))
                        passing.member.active = False
                    case Leave(campaign):
                        self.plan.leaves.setdefault(campaign, []).append(passing.contact.id)
                        if campaign == self.campaign.key:
                            passing.member.active = False
                    case Erase():
                        self.plan.erased.append(passing.contact.id)
                        passing.member.end()
                    case ChangeCompany():
                        self._change_company(effect)
                    case Jump(to):
                        self._count_pass(passing, step)
                        jumped.setdefault(to, []).append(passing)
            passed.append(passing)
        self.follow(step, None, passed)
        for to, group in jumped.items():
            self._jump(to, group)

    def skip(self, step: Step, passings: list[_Passing], reason: str = TOO_LATE) -> None:
        """Pass over an action whose time went by; what is below counts from now."""
        for passing in passings:
            due = passing.due_at and passing.due_at.isoformat()
            self.record(passing, step, "skipped", {"reason": reason, "was_due_at": due})
        self.follow(step, None, passings)

    def _jump(self, to: str, passings: list[_Passing]) -> None:
        """A new rotation begins at the target; open waits of the run move along, so that armed decisions stay armed."""
        landed = []
        for passing in passings:
            member = passing.member
            before = self._found.setdefault(id(member), member.rotation)
            self.plan.moved[passing.contact.id, before] = member
            landed.append(_Passing(passing.contact, member, passage=member.jump(), since=passing.since))
        self._reach(self.campaign.by_key[to], landed, from_anchor=False)

    def follow(self, step: Step, branch: Branch | None, passings: list[_Passing], *, from_anchor: bool = False) -> None:
        """Send contacts on to the steps below: now, or into a wait."""
        onward = [
            _Passing(passing.contact, passing.member, passing.passage, anchor_at=passing.anchor_at, since=passing.since)
            for passing in passings
            if passing.member.active
        ]
        if onward:
            for child in self.campaign.children(step, branch):
                self._reach(child, onward, from_anchor=from_anchor)

    def _reach(self, step: Step, passings: list[_Passing], *, from_anchor: bool) -> None:
        if step.moved:
            # A passage is only once, also when a new version leads to the step by another way.
            passings = [
                each for each in passings if (each.contact.id, step.id, each.passage) not in self.already_passed
            ]
        if step.kind is Kind.DECISION and step.asks_on_arrival:
            # Due at once: whoever takes it next looks at what the contact did before, or asks the rule.
            for passing in passings:
                self.wait(passing, step, self.now, "kickoff", anchor=self.now)
            return
        if step.kind is Kind.DECISION:
            # What the contact does from then on answers it, though we may hear of that later than of what led here.
            for passing in passings:
                since = passing.since or self.now
                self.wait(passing, step, self._deadline(step, passing.contact), "decision", anchor=since)
            return
        timing = step.timing
        now = self.now
        if timing == schedule.Timing():
            ready = passings
        elif timing.date is not None:
            ready = self._those_due_by_date(step, passings)
        else:
            ready, late = [], []
            for passing in passings:
                since = (from_anchor and passing.anchor_at) or now
                due: datetime | None = self._due_at(step, since, passing.contact)
                if from_anchor and self.is_too_late(step, due, passing.contact):
                    late.append(replace(passing, due_at=due))
                    continue
                if due is not None and due <= now:
                    # What was due before now may not be allowed any more.
                    due = self.postponed_until(step, passing.contact) if since < now else None
                if due is None:
                    ready.append(passing)
                else:
                    self.wait(passing, step, due, "delay", anchor=since)
            if late:
                self.skip(step, late)
        if _is_jump(step):
            self._jumps.append((step, ready))
        elif ready:
            self._run(step, ready)

    def _those_due_by_date(self, step: Step, passings: list[_Passing]) -> list[_Passing]:
        """Return who is due at a step that they just reached; who is too late passes it, all others wait."""
        ready, late = [], []
        for passing in passings:
            due = self._by_date(step, passing, anchor=self.now)
            if due is not None and self._has_passed(step, due, passing):
                late.append(replace(passing, due_at=due))
            elif due is not None:
                ready.append(passing)
        if late:
            self.skip(step, late, PASSED)
        return ready

    def _by_date(self, step: Step, passing: _Passing, *, anchor: datetime) -> datetime | None:
        """Return when a contact was due at a step by its date; None: it is not yet, and waits, or has no date."""
        date = step.timing.date
        assert date is not None
        contact = passing.contact
        due = dates.due_at(date, contact.fields.get(date.field), zone_of(contact.timezone, self.default_zone))
        if due is not None and due <= self.now:
            return due
        self.wait(passing, step, due, "delay", anchor=anchor)
        return None

    def _has_passed(self, step: Step, due: datetime, passing: _Passing) -> bool:
        """Return whether an action was due before the contact came to it, or before the date was changed."""
        came = passing.due_at or self.now
        return step.kind is Kind.ACTION and step.late == "skip" and dates.is_late(due, came)

    # What a step says of each contact.

    def _results(self, step: Step, passings: list[_Passing]) -> Iterable[Any]:
        """Return one answer a contact. An error in the step's code is a failure of the contacts it meets.

        The whole batch is tried first; after an error each contact by itself, so that
        one bad contact does not stop the others.
        """
        contacts = [passing.contact for passing in passings]
        for passing in passings:
            if passing.member.whole is not None:
                passing.contact.entry = passing.member.entry
        before = states(contacts)
        self._raised = {}
        try:
            results: list[Any] = self._call(step, contacts)
        except Exception:
            results = []
            for contact, state in zip(contacts, before, strict=True):
                contact.restore(state)
                try:
                    results += self._call(step, [contact])
                except Exception as error:
                    contact.restore(state)
                    self._raised[contact.id] = error
                    results.append(Failed(why(error)))
        if step.kind is Kind.ACTION:
            self._keep_addresses_apart(contacts, before, results)
            points, stages = scored(step.id, contacts, before)
            self.plan.points += points
            self.plan.stages += stages
        return results

    def _keep_addresses_apart(
        self, contacts: Sequence[Contact], before: Sequence[tuple[Any, ...]], results: list[Any]
    ) -> None:
        """Undo the step for contacts to whom it gave the address of another one; of two at once, the first has it."""
        given = {
            contact.id: same_address(contact.email)
            for contact, was in zip(contacts, before, strict=True)
            # Every action asks this of every contact, and hardly any gives one an address.
            if contact.email != was[EMAIL]
            if contact.email and same_address(contact.email) != same_address(was[EMAIL] or "")
        }
        if not given or self.world.holders is None:
            return
        holders = self.world.holders(given.values())
        for nth, (contact, was) in enumerate(zip(contacts, before, strict=True)):
            if contact.id not in given:
                continue
            address = given[contact.id]
            owners = [*holders.get(address, ()), *self._given.get(address, ())]
            if owners and contact.id not in {id_ for id_, _ in owners}:
                results[nth] = Skipped(in_use(contact.email or address, owner=owners[0][1], key=contact.key))
                contact.restore(was)
            else:
                self._given.setdefault(address, []).append((contact.id, contact.key))

    def _call(self, step: Step, contacts: list[Contact]) -> list[Result | bool]:
        batch = Batch(step.properties, contacts, self.now, self.campaign, step, self.world, self.default_zone)
        results = list(step.type.run(batch))
        if len(results) != len(contacts):
            raise ValueError(f"{step.type.name} returned results for {len(results)} of {len(contacts)} contacts")
        if step.kind is Kind.ACTION:
            for result in results:
                if not isinstance(result, (Done, Skipped, Failed, Postponed)):
                    raise TypeError(f"{step.type.name} returned {result!r}, which is not a result")
                if isinstance(result, Postponed) and result.until <= self.now:
                    # It would be due again at once, for ever.
                    raise ValueError(
                        f"{step.type.name} postponed to {result.until.isoformat()}, which is not in the future"
                    )
        return results

    def _postpone(self, passing: _Passing, step: Step, postponed: Postponed) -> None:
        """Keep a contact at the step; the outcome that comes one day says why, and since when."""
        since = (passing.held or {}).get("held_since") or self.now.isoformat()
        passing.held = {"held_since": since, **postponed.detail}
        anchor = passing.anchor_at or self.now
        self.wait(passing, step, postponed.until, "delay", anchor=anchor, attempt=passing.attempt)

    def fail(self, passing: _Passing, step: Step, failed: Failed, raised: BaseException | None = None) -> bool:
        """Try again later, or give up; return whether the contact goes on below."""
        attempt = passing.attempt + 1
        contact_id = passing.contact.id
        error = clean(str(failed.error))[:ERROR_LIMIT]
        self.plan.failures.append(Failure(contact_id, step.id, attempt, error, raised))
        if failed.retry and attempt < step.max_attempts:
            due = self.now + (failed.after or step_delay(attempt, contact_id, step.id))
            self.wait(passing, step, due, "retry", anchor=passing.anchor_at or self.now, attempt=attempt)
            return False
        self.record(passing, step, "failed", {"error": error, "attempts": attempt})
        return step.on_failure == "continue"

    # Rows.

    def record(self, passing: _Passing, step: Step, result: Verdict, detail: Mapping[str, Any] | None) -> None:
        if passing.held:
            detail = {**passing.held, **(detail or {})}
        self.plan.outcomes.append(
            OutcomeRow(
                passing.contact.id,
                step.id,
                passing.member.rotation,
                passing.passage,
                self.now,
                passing.due_at,
                result,
                detail,
                passing.member.number,
            )
        )

    def wait(
        self,
        passing: _Passing,
        step: Step,
        due: datetime | None,
        reason: Reason,
        *,
        anchor: datetime,
        attempt: int = 0,
    ) -> None:
        self._waits.append((passing, step, passing.passage, attempt, reason, anchor, due))

    def _send(self, passing: _Passing, step: Step, outbound: Outbound) -> None:
        contact_id, member = passing.contact.id, passing.member
        key = f"{self.campaign.id}-{step.id}-{contact_id}-{passing.passage}"
        if member.whole is not None:
            run = {"number": member.number, "entry": member.entry}
            outbound = replace(outbound, payload={**outbound.payload, "run": run})
        self.plan.messages.append(Message(contact_id, key, step.id, member.rotation, outbound))

    def _change_company(self, change: ChangeCompany) -> None:
        key = change.company
        before = self.world.companies.get(key) or Company(key, key)
        after = before._replace(points=before.points + change.points, fields={**before.fields, **change.fields})
        self.world.companies[key] = after
        if change.points:
            self.plan.company_points[key] += change.points
        if change.fields:
            self.plan.company_fields.setdefault(key, {}).update(change.fields)

    def _count_pass(self, passing: _Passing, step: Step) -> None:
        place = (passing.contact.id, step.id)
        self.world.recent_passes[place] = self.world.recent_passes.get(place, 0) + 1

    def finish(self) -> Plan:
        """Return the plan; who left on the way does not wait for anything any more."""
        cancelled = {"reason": "the contact left the campaign"}
        for passing, step, passage, attempt, reason, anchor, due in self._waits:
            contact_id, rotation = passing.contact.id, passing.member.rotation
            if passing.member.active:
                self.plan.waits.append(
                    Wait(
                        contact_id,
                        step.id,
                        self.campaign.id,
                        rotation,
                        passage,
                        attempt,
                        reason,
                        anchor,
                        due,
                        passing.held,
                    )
                )
            else:
                self.plan.outcomes.append(
                    OutcomeRow(
                        contact_id,
                        step.id,
                        rotation,
                        passage,
                        self.now,
                        due,
                        "cancelled",
                        cancelled,
                        passing.member.number,
                    )
                )
        return self.plan

    # Time.

    def is_too_late(self, step: Step, due_at: datetime | None, contact: Contact) -> bool:
        """Return whether an action fell due in a pause, longer ago than the campaign catches up with."""
        interval = self.campaign.catch_up
        if step.kind is not Kind.ACTION or due_at is None or not self.pauses or not isinstance(interval, Interval):
            return False
        zone = zone_of(contact.timezone, self.default_zone)
        return fell_due_in(self.pauses, due_at) and schedule.add(interval, due_at, zone) < self.now

    def postponed_until(self, step: Step, contact: Contact) -> datetime | None:
        if step.timing.between is None and not step.timing.days:
            return None
        return schedule.postponed_until(step.timing, now=self.now, zone=zone_of(contact.timezone, self.default_zone))

    def _due_at(self, step: Step, since: datetime, contact: Contact) -> datetime:
        place = (step.id, since, zone_of(contact.timezone, self.default_zone))
        due = self._due.get(place)
        if due is None:
            due = self._due[place] = schedule.due_at(step.timing, since=since, zone=place[2])
        return due

    def _deadline(self, step: Step, contact: Contact) -> datetime | None:
        place = (step.id, zone_of(contact.timezone, self.default_zone))
        if place not in self._deadlines:
            self._deadlines[place] = deadline(self.campaign, step, since=self.now, zone=place[1])
        return self._deadlines[place]


def deadline(campaign: Campaign, step: Step, *, since: datetime, zone: ZoneInfo) -> datetime | None:
    """Return when a decision that a contact reaches at `since` takes its "no" branch; None without one."""
    children = [child.timing for child in campaign.children(step, "no")]
    return schedule.deadline(step.within, children, since=since, zone=zone)


def next_look(told: Judged, until: datetime | None, now: datetime) -> datetime | None:
    """Return when a decision that waits for a rule is looked at next, as things are: the answer may change, or its
    deadline is over. Of whom the rule cannot tell, it is asked again after a while."""
    again = _later(now) if isinstance(told.answer, Failed) else told.changes_at
    return min((at for at in (until, again) if at is not None), default=None)


def _later(now: datetime) -> datetime | None:
    try:
        return now + RULE_RETRY
    except OverflowError:
        return None


def _matched_at(passing: _Passing) -> datetime | None:
    at = (passing.held or {}).get(MATCHED_AT)
    return datetime.fromisoformat(at) if isinstance(at, str) else None


def due_elsewhere(
    campaign: Campaign, step: Step, *, since: datetime, zone: ZoneInfo, now: datetime | None
) -> datetime | None:
    """Return when a wait that began at `since` is due now that its contact's timezone is another; None: as it was.

    Only what goes by the clock moves: an hour, a window, weekdays, and the deadline of a decision whose "no"
    branch has one of them. `now` is None for what is due already: it stays so, or turns out to be too early.
    """
    if step.kind is not Kind.DECISION:
        timings = [step.timing]
    else:
        timings = [child.timing for child in campaign.children(step, "no")] if step.within is None else []
    if not any(map(schedule.goes_by_clock, timings)):
        return None
    if step.rule is not None:
        # Whoever asks its rule next says when it ends.
        return now
    if now is None:
        return min(schedule.due_at(timing, since=since, zone=zone) for timing in timings)
    return min(schedule.due_ahead(timing, since=since, now=now, zone=zone) for timing in timings)


def first_due(campaign: Campaign, step: Step, *, since: datetime, zone: ZoneInfo) -> tuple[Reason, datetime | None]:
    """Return the reason and due time of the wait of a contact that joins at `since`, for a root step."""
    if step.kind is Kind.DECISION and step.asks_on_arrival:
        return "kickoff", since
    if step.kind is Kind.DECISION:
        return "decision", deadline(campaign, step, since=since, zone=zone)
    due = schedule.due_at(step.timing, since=since, zone=zone)
    return ("kickoff" if due <= since else "delay"), due


def _is_jump(step: Step) -> bool:
    return step.type.jumps is not None
