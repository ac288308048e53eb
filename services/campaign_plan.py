"""What applying a campaign file would change, before anything changes."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from itertools import chain
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.clock import now as database_now
from parcours.db.reads import alignment
from parcours.db.reads.alignment import Movement
from parcours.db.tables import campaigns, companies, contacts, dates, entrants, scores, templates, waits
from parcours.db.tables import membership as memberships
from parcours.db.tables import stages as stages_table
from parcours.db.tables.campaigns import StoredStep
from parcours.domain.campaign import Status
from parcours.domain.campaign_file.build import contact_date, exit_rule, to_data
from parcours.domain.campaign_file.check import MOST_PROBLEMS, first_of
from parcours.domain.campaign_file.difference import Difference, differences
from parcours.domain.campaign_file.model import AtFile, CampaignFile, DateSourceFile, Problem, StepFile
from parcours.domain.campaign_file.sentences import near, quoted, short
from parcours.domain.errors import CampaignError
from parcours.domain.segments import parsing
from parcours.domain.segments import rule as tree
from parcours.domain.segments.rule import Rule
from parcours.domain.steps.properties import empty_choices
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.templated import texts_in
from parcours.domain.steps.types import Kind, RefersTo
from parcours.domain.time.dates import ContactDate, coming, moment
from parcours.domain.time.zones import zone_of
from parcours.services import campaign_effects, segment_rules
from parcours.services.campaign_effects import CampaignEffect
from parcours.services.circles import INSTEAD_OF_CIRCLE, Asker, Circles
from parcours.services.entry_rules import entry_rules, rules_by_setting
from parcours.services.template_notes import notes

FilePlace = tuple[str | int, ...]

# Names in a file that say what type a step is of, and how one calls a step of it.
KINDS = tuple(kind.value for kind in Kind)
# Contacts at steps that change and keep them, that a plan counts one by one, shared by these steps.
MOST_WAITING = 100_000
_A = {"action": "an action", "decision": "a decision", "condition": "a condition"}

# Templates that `parcours messages apply` brings, by their kind in the table.
_TEMPLATES: dict[RefersTo, templates.Kind] = {
    RefersTo.SMS: "sms",
    RefersTo.PUSH: "push",
    RefersTo.MESSAGE: "message",
}


class Reference(NamedTuple):
    """A name in a file of something outside it."""

    place: FilePlace
    what: RefersTo
    key: str
    # Rules are told of changes by what they name, so it has to be there.
    in_rule: bool = False


@dataclass(frozen=True)
class CampaignPlan:
    """What applying a file would do."""

    file: CampaignFile
    campaign_id: int | None
    version: int
    unchanged: bool
    publishes: bool | None = None
    # It was deleted, and comes back.
    returns: bool = False
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
    # Those of them that go by a date of the contact, or did: they never keep an earlier timing.
    by_date: list[str] = field(default_factory=list)
    # Decisions whose rule is another now, and how many wait there; and those that wait for no rule any more.
    rules_asked: dict[str, int] = field(default_factory=dict)
    rules_dropped: list[str] = field(default_factory=list)
    # Whether members are asked whether they are out now, by rules that were no exits before.
    asks_exits: bool = False
    # Dates by which contacts enter from now on, and how many contacts have them ahead of them; and those by which
    # they do no more.
    dates: dict[ContactDate, int] = field(default_factory=dict)
    dates_removed: list[ContactDate] = field(default_factory=list)
    new_roots: list[str] = field(default_factory=list)
    # Other new steps, with the step above, which contacts may have passed already.
    new_below: dict[str, str] = field(default_factory=dict)
    # Steps that return, with how many contacts wait there again whose wait was cancelled when it was removed.
    restored: dict[str, int] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)
    point_groups: list[str] = field(default_factory=list)
    # What lets contacts in and out, in sentences, and no longer does.
    rules_added: list[str] = field(default_factory=list)
    rules_removed: list[str] = field(default_factory=list)
    # The present version, of which these were; None where there is none.
    before: CampaignFile | None = None
    # Settings whose change these tell, or `dates`.
    told_by_rules: set[str] = field(default_factory=set)
    # What the file says otherwise than the present version, of settings and of steps that both have.
    differences: list[Difference] = field(default_factory=list)
    # Steps that change, and how many contacts wait there; more than that at those that are `crowded`.
    waiting: dict[str, int] = field(default_factory=dict)
    crowded: list[str] = field(default_factory=list)
    # What the settings do to contacts, and whom the update moves that follows; None: nobody was counted.
    effects: list[CampaignEffect] = field(default_factory=list)
    moves: Movement | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """A name of what the plan does; how many contacts it touches may change while one reads."""
        said = {
            "file": to_data(self.file),
            "version": self.version,
            "published": self.file.published,
            "publishes": self.publishes,
            "redirected": self.redirected,
            "added": self.added,
            "changed": self.changed,
            "removed": sorted(self.removed),
            "becomes": sorted(self.becomes),
            "retimed": sorted(self.retimed),
            "dates": sorted(map(str, self.dates)),
            "new_roots": self.new_roots,
            "restored": sorted(self.restored),
        }
        return sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:32]

    @property
    def settings(self) -> list[Difference]:
        """Settings that differ, but for those that `rules_added`, `dates` and their like tell."""
        return [each for each in self.differences if each.step is None and each.name not in self.told_by_rules]

    def of_step(self, key: str) -> list[Difference]:
        """Return what a step says otherwise than before."""
        return self._by_step.get(key, [])

    @cached_property
    def _by_step(self) -> dict[str | None, list[Difference]]:
        by_step: dict[str | None, list[Difference]] = {}
        for each in self.differences:
            by_step.setdefault(each.step, []).append(each)
        return by_step

    @cached_property
    def steps(self) -> dict[str, StepFile]:
        """The steps of the file, by key."""
        return {step.step: step for step in self.file.walk()}

    @cached_property
    def becomes(self) -> dict[str, StepFile]:
        """Those of the `removed` steps that stay as steps of another kind; what waits there is no wait for that."""
        return {step.step: step for step in self.file.walk() if step.step in self.removed}

    @cached_property
    def moved_branches(self) -> dict[str, int]:
        """The `moved` steps that stand below no other one, with how many of the others stand below each."""
        moved = set(self.moved) - set(self.added) - set(self.removed)
        found: dict[str, int] = {}
        tops: dict[str, str] = {}
        for step, (parent, _branch, _kind) in _standing(self.file.steps):
            if parent in tops:
                tops[step.step] = tops[parent]
            elif step.step in moved:
                tops[step.step] = step.step
            if step.step in moved:
                top = tops[step.step]
                found[top] = found.get(top, -1) + 1
        return found

    @property
    def cancels(self) -> int:
        """How many waiting contacts the removed steps lose."""
        return sum(waiting for key, waiting in self.removed.items() if key not in self.redirected)

    @property
    def leaves(self) -> int:
        """How many members leave by what the settings say from now on."""
        out = ("leaves", "leaves_after_grace", "exits", "rule_exits")
        return sum(each.n for each in self.effects if each.what in out)

    @property
    def would_change(self) -> bool:
        """Whether applying changes anything, with no more asked of it than what the file says."""
        return not self.unchanged or self.publishes is not None

    @property
    def changes_nothing(self) -> bool:
        """Whether the file says what the campaign is already."""
        return self.unchanged and self.publishes is None and not any(self.retimed.values())

    def lines(self, *, backfill: bool = False, reschedule: bool = False) -> list[str]:
        """Return the plan in sentences, with what is asked of it besides."""
        if self.changes_nothing:
            return [f"{self.file.campaign}: no changes"]
        new = self.campaign_id is None
        lines = [f"{self.file.campaign}: {'creates the campaign' if new else f'creates version {self.version}'}"]
        if self.unchanged:
            lines = [f"{self.file.campaign}: no changes to steps"]
        if new:
            n = len(list(self.file.walk()))
            lines.append(f"  {n:,} step{'' if n == 1 else 's'}")
        lines += [f"  ~ {each.name}: {each.words()}" for each in self.settings]
        lines += [f"  + {rule}" for rule in self.rules_added]
        lines += [f"  - {rule}" for rule in self.rules_removed]
        for key in self.added if not new else ():
            lines.append(f"  + step {key}{self._again(key)}")
        for key in self.changed:
            changes = ", ".join(f"{each.name.removeprefix('with.')} {each.words()}" for each in self.of_step(key))
            waiting = self.waiting.get(key, 0)
            said = f"{'more than ' if key in self.crowded else ''}{_waiting(waiting)} there"
            there = f"; {said}" if waiting and key not in self.retimed else ""
            if waiting and any(each.name in KINDS for each in self.of_step(key)):
                there = f"; {said} and get the new type"
                there = there.replace("and get", "and gets") if waiting == 1 else there
            lines.append(f"  ~ step {key}: {changes}{there}")
        for key, below in self.moved_branches.items():
            more = f" with {below} step{'' if below == 1 else 's'} below it" if below else ""
            lines.append(
                f"  > step {key} moves{more}: waiting contacts stay, and no contact runs a step twice in one rotation"
            )
        becomes = self.becomes
        for key, waiting in self.removed.items():
            if key in becomes:
                now = f"becomes {_A[becomes[key].kind.value]} ({becomes[key].type})"
                lines.append(f"  ~ step {key} {now}{self._fate(key, waiting)}{self._again(key)}")
            else:
                lines.append(f"  - step {key}{self._fate(key, waiting)}")
        for key, waiting in self.retimed.items():
            if waiting and key in self.by_date:
                moved = "it is" if waiting == 1 else "they are"
                lines.append(f"  {_waiting(waiting)} at {key}, whose date changes; {moved} rescheduled")
            elif waiting:
                changes = "changed before" if key in self.retimed_before else "changes"
                moved = "it is rescheduled" if waiting == 1 else "they are rescheduled"
                offer = f"--reschedule moves {'it' if waiting == 1 else 'them'}"
                done = moved if reschedule else offer
                lines.append(f"  {_waiting(waiting)} at {key}, whose timing {changes}; {done}")
        lines += [
            f"  {_waiting(waiting)} at {key}, whose rule or deadline changes; the rule is evaluated again"
            for key, waiting in self.rules_asked.items()
            if waiting
        ]
        lines += [
            f"  + contacts will enter {date}; {n:,} {'contact has' if n == 1 else 'contacts have'} this date ahead"
            for date, n in self.dates.items()
        ]
        lines += [f"  - contacts will no longer enter {date}" for date in self.dates_removed]
        lines += [f"  {each}" for each in self._starts(backfill=backfill)]
        lines += [f"  creates stage {key}" for key in self.stages]
        lines += [f"  creates point group {key}" for key in self.point_groups]
        if self.publishes is not None:
            lines.append(f"  {'publishes it' if self.publishes else 'pauses it: contacts keep their places'}")
        signs = {"added": "+ ", "removed": "- ", "note": ""}
        lines += [f"  {signs[each.kind]}{each.sentence}" for each in self.effects]
        return lines + [f"  note: {warning}" for warning in self.warnings]

    def _starts(self, *, backfill: bool) -> Iterator[str]:
        """Yield for each new step whether it starts for those inside, but for those who wait there again."""
        for key in self.new_roots:
            without = self.members - self.restored.get(key, 0)
            who = "1 existing member" if without == 1 else f"{without:,} existing members"
            if without and backfill:
                yield f"{who} {'starts' if without == 1 else 'start'} {key}"
            elif without:
                yield f"{who} {'does' if without == 1 else 'do'} not start {key}; use --backfill to start it for them"
        for key, above in self.new_below.items():
            if self.restored.get(key, 0) < self.members:
                who = f"{'other ' if self.restored.get(key) else ''}existing members who passed {above}"
                yield (
                    f"{who} start {key}"
                    if backfill
                    else (f"{who} do not start {key}; use --backfill to start it for them")
                )

    def _fate(self, key: str, waiting: int) -> str:
        """Return what happens to those who wait at a step that goes."""
        if not waiting:
            return "; no contacts wait there"
        one = waiting == 1
        if key in self.redirected:
            return f"; {_waiting(waiting)} there and {'goes' if one else 'go'} to {self.redirected[key]}"
        return f"; {_waiting(waiting)} there; {'its wait is' if one else 'their waits are'} cancelled"

    def _again(self, key: str) -> str:
        n = self.restored.get(key, 0)
        return f"; {_waiting(n)} there again" if n else ""

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
            "becomes": {key: {"kind": step.kind.value, "type": step.type} for key, step in self.becomes.items()},
            "retimed": self.retimed,
            "retimed_before": self.retimed_before,
            "by_date": self.by_date,
            "rules_asked": self.rules_asked,
            "asks_exits": self.asks_exits,
            "dates": {str(date): n for date, n in self.dates.items()},
            "dates_removed": list(map(str, self.dates_removed)),
            "new_roots": self.new_roots,
            "new_below": self.new_below,
            "restored": self.restored,
            "rules_added": self.rules_added,
            "rules_removed": self.rules_removed,
            "publishes": self.publishes,
            "digest": self.digest,
            "changes": self.would_change,
            "differences": [each.to_json() for each in self.differences],
            "waiting": self.waiting,
            "crowded": self.crowded,
            "effects": [each.to_json() for each in self.effects],
            "people": None if self.moves is None else self.moves._asdict(),
            "warnings": self.warnings,
        }


def _waiting(n: int) -> str:
    return "1 contact waits" if n == 1 else f"{n:,} contacts wait"


def references(file: CampaignFile) -> Iterator[Reference]:
    """Yield everything outside a file that it names."""
    for what, keys in ((RefersTo.SEGMENT, file.sources.segments), (RefersTo.FORM, file.sources.forms)):
        for index, key in enumerate(keys):
            yield Reference(("sources", what.value, index), what, key)
    for index, each in enumerate(file.exit):
        if each.segment is not None:
            yield Reference(("exit", index, "segment"), RefersTo.SEGMENT, each.segment)
        if each.rule is not None:
            yield from _of_rule(file, ("exit", index), exit_rule(each.rule))
    for place, step in _placed(file.steps, ("steps",)):
        type_ = step_type(step.kind, step.type)
        for name, what, key in type_.references(step.with_):
            if what is RefersTo.STEP or (what is RefersTo.CAMPAIGN and key in ("this", file.campaign)):
                continue
            yield Reference((*place, "with", name), what, key)
        if type_.rule_of is not None:
            yield from _of_rule(file, (*place, "with"), type_.rule_of(type_.properties.model_validate(step.with_)))


def _of_rule(file: CampaignFile, place: FilePlace, rule: Rule) -> Iterator[Reference]:
    for path, what, key in tree.references(rule):
        if what is not RefersTo.CAMPAIGN or key not in ("this", file.campaign):
            yield Reference((*place, *path), what, key, in_rule=True)


def _placed(steps: tuple[StepFile, ...], place: FilePlace) -> Iterator[tuple[FilePlace, StepFile]]:
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
    return first_of(
        chain(_check_named(conn, file), _check_circle(conn, file), _check_goal(conn, file), _check_redirect(conn, file))
    )


def _check_circle(conn: Connection, file: CampaignFile) -> Iterator[Problem]:
    """Yield that who is in the campaign follows from who is in it, over the rules of segments or exits."""
    through = Circles(conn, campaigns={file.campaign: file}).through(Asker("campaign", file.campaign))
    if through is not None:
        sentence = f"the campaign depends on itself: {through}; {INSTEAD_OF_CIRCLE}"
        yield Problem(("sources",), short(sentence))


def _check_goal(conn: Connection, file: CampaignFile) -> Iterator[Problem]:
    """Yield what is wrong with the rule of the goal, and what it names that is not there."""
    if file.goal is None or file.goal.rule is None:
        return
    rule, problems = parsing.parse(file.goal.rule, path=("goal", "rule"))
    yield from problems
    if rule is not None:
        yield from segment_rules.unknown(conn, rule, {})


def _check_named(conn: Connection, file: CampaignFile) -> Iterator[Problem]:
    found = list(references(file))
    segments = campaigns.named(conn, "segments", {each.key for each in found if each.what is RefersTo.SEGMENT})
    forms = campaigns.named(conn, "forms", {each.key for each in found if each.what is RefersTo.FORM})
    there = {row.key for row in campaigns.listing(conn)} if any(each.in_rule for each in found) else set()
    for place, what, key, in_rule in found:
        source = place[0] == "sources"
        sentence = None
        if what is RefersTo.SEGMENT:
            row = segments.get(key)
            if row is None:
                sentence = f"there is no segment {key!r}; create it with `parcours segments create {key}`"
            elif source and not row.public:
                sentence = f"segment {key!r} is private; only public segments can be sources"
            elif source and not row.published:
                sentence = f"segment {key!r} is not published; only published segments can be sources"
        elif what is RefersTo.FORM:
            row = forms.get(key)
            if row is None:
                sentence = f"there is no form {key!r}; create it with `parcours forms create {key}`"
            elif source and row.standalone:
                sentence = f"form {key!r} is standalone; only campaign forms can be sources"
        elif what is RefersTo.CAMPAIGN and in_rule and key not in there:
            sentence = f"there is no campaign {key!r}; apply its file first"
        if sentence:
            yield Problem(place, short(sentence, key))


def _check_redirect(conn: Connection, file: CampaignFile) -> Iterator[Problem]:
    """Yield which redirected steps are none that this version drops.

    A file that was applied already may be applied again, and one whose step an earlier version dropped too.
    """
    row = campaigns.stored(conn, file.campaign) if file.redirect else None
    if row is None or row.version == 0 or row.key != file.campaign:
        sentence = "the campaign is new, so no contacts wait at its steps; remove 'redirect'"
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
            yield Problem(
                ("redirect", key), f"{quoted(key)} is still a step of this version; waiting contacts stay there"
            )


def plan(
    conn: Connection, file: CampaignFile, *, zone: ZoneInfo, now: datetime | None = None, counted: bool = True
) -> CampaignPlan:
    """Return what applying a file would do, with counts of the contacts touched.

    `now` is the time of the database unless given. Not `counted`: without whom it lets in and out, for whoever
    applies it at once.
    """
    now = database_now(conn) if now is None else now
    named = list(references(file))
    warnings = _in_short(_warnings(conn, file, named))
    stages = _missing(named, RefersTo.STAGE, stages_table.keys(conn))
    point_groups = _missing(named, RefersTo.POINT_GROUP, {group.key for group in scores.groups(conn)})
    row = campaigns.stored(conn, file.campaign)
    if row is None or row.key != file.campaign or row.version == 0:
        ahead, unreadable_dates = _dates(conn, file, (), now=now, zone=zone)
        return CampaignPlan(
            file,
            None,
            1,
            unchanged=False,
            publishes=True if file.published else None,
            added=[step.step for step in file.walk()],
            dates=ahead,
            stages=stages,
            point_groups=point_groups,
            rules_added=entry_rules(file),
            **(_new_effects(conn, file, now=now, zone=zone) if counted else {}),
            warnings=warnings + unreadable_dates,
        )
    before, _, unreadable = campaigns.read_version(conn, row.key, row.id, row.version)
    if unreadable is not None:
        warnings.insert(0, f"the current version cannot be read ({unreadable.why}); this version replaces it")
    ahead, unreadable_dates = _dates(conn, file, before.sources.dates, now=now, zone=zone)
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
    gone = [key for key in there if key not in new or new[key].kind.value != known[key].kind]
    kept = [key for key in there if key in old and key not in gone]
    # Who waits for a rule is asked again, by the present timing.
    retimed = [key for key in kept if _timing_of(old[key]) != _timing_of(new[key]) and _rule_of(new[key]) is None]
    since = {ids[key]: at for key in kept if key not in retimed and (at := known[key].retimed_at) is not None}
    from_before = waits.count_from_before(conn, since)
    retimed_before = [key for key in kept if ids[key] in from_before]
    members = memberships.count_active(conn, row.id)
    changed = [key for key in kept if old[key].own != new[key].own]
    asked = [key for key in kept if _rule_of(new[key]) not in (None, _rule_of(old[key]))]
    # Of steps that stay as they are, however many wait there, nothing is said.
    waiting = waits.count_at(conn, [ids[key] for key in {*gone, *retimed, *asked}])
    # Where only what a step does changes, nobody moves, and it is enough to know that they are many.
    staying, crowded = _staying(conn, [ids[key] for key in changed if key not in {*retimed, *asked}])
    waiting |= staying
    differing = differences(before, file)
    effects: list[CampaignEffect] = []
    moves = None
    if counted:
        was = Status(False) if not published else campaigns.status_of(published[0])
        on = alignment.is_on(conn, file.category)
        will = Status(wants, file.publish_from, file.publish_until, on)
        if wants == was.published:
            effects += campaign_effects.switched(was, will, members, now=now, zone=zone)
        runs = will.why_not(now) is None
        starts = (runs and was.why_not(now) is not None) or row.deleted
        moves, others = _effects(
            conn, row.id, before, file, differing, members=members, runs=runs, starts=starts, now=now, zone=zone
        )
        effects += others
    return CampaignPlan(
        file,
        row.id,
        row.version + 1,
        unchanged=bool(published)
        and unreadable is None
        and not differing
        # Where no value differs, these say most of it, and faster.
        and (before.steps == file.steps or _same_version(before, file)),
        publishes=None if wants == was_published else wants,
        returns=row.deleted,
        members=members,
        added=[key for key in new if key not in there],
        changed=changed,
        moved=moved(before, file, ids),
        removed={key: waiting.get(ids[key], 0) for key in gone},
        redirected={key: file.redirect[key] for key in gone if key in file.redirect},
        retimed={
            **{key: waiting.get(ids[key], 0) for key in retimed},
            **{key: from_before[ids[key]] for key in retimed_before},
        },
        retimed_before=retimed_before,
        by_date=[key for key in retimed if any(isinstance(each[key].at, AtFile) for each in (old, new))],
        rules_asked={key: waiting.get(ids[key], 0) for key in asked},
        asks_exits=any(rule not in _exit_rules(before) for rule in _exit_rules(file)),
        rules_dropped=[key for key in kept if _rule_of(old[key]) is not None and _rule_of(new[key]) is None],
        dates=ahead,
        dates_removed=_gone(before, file),
        new_roots=[step.step for step in file.steps if step.step not in {each.step for each in before.steps}],
        new_below={
            step.step: place[0] for step, place in _standing(file.steps) if step.step not in there and place[0] in kept
        },
        restored=_restored(
            conn, row.id, [known[key] for key in new if key in known and (key not in there or key in gone)], new
        ),
        stages=stages,
        point_groups=point_groups,
        rules_added=[rule for rule in entry_rules(file) if rule not in entry_rules(before)],
        rules_removed=[rule for rule in entry_rules(before) if rule not in entry_rules(file)],
        before=before,
        told_by_rules=_told_by_rules(before, file),
        differences=differing,
        waiting={key: n for key in changed if (n := waiting.get(ids[key], 0))},
        crowded=[key for key in changed if ids[key] in crowded],
        effects=effects,
        moves=moves,
        warnings=warnings + unreadable_dates,
    )


def _staying(conn: Connection, step_ids: Sequence[int]) -> tuple[dict[int, int], set[int]]:
    """Return how many wait at steps, up to a number that they share, and at which of them more do."""
    most = max(1, MOST_WAITING // max(1, len(step_ids)))
    campaigns.read_by_index(conn)
    found = waits.count_up_to(conn, step_ids, most + 1)
    return {id_: min(n, most) for id_, n in found.items()}, {id_ for id_, n in found.items() if n > most}


def _effects(
    conn: Connection,
    campaign_id: int,
    before: CampaignFile,
    file: CampaignFile,
    differing: Sequence[Difference],
    *,
    members: int,
    runs: bool,
    starts: bool,
    now: datetime,
    zone: ZoneInfo,
) -> tuple[Movement | None, list[CampaignEffect]]:
    """Return whom the update that follows moves, None if it has no reason to, and what happens to contacts."""
    effects = list(campaign_effects.settings(conn, campaign_id, file, differing))
    new_exits = [exit_rule(rule) for rule in _exit_rules(file) if rule not in _exit_rules(before)]
    if new_exits and members:
        effects += campaign_effects.out_by_rules(conn, campaign_id, new_exits, now=now, zone=zone)
    # Without a grace period, whoever it kept leaves at once.
    ends_grace = before.grace is not None and file.grace is None
    moving = any(each.step is None and each.name in campaign_effects.MOVES for each in differing)
    if not (starts or ends_grace or moving):
        return None, effects
    moves = campaign_effects.moved_by(conn, campaign_id, file, now=now, zone=zone)
    entered = entrants.ever(conn, campaign_id)
    return moves, effects + list(campaign_effects.people(file, moves, runs=runs, entered=entered))


def _restored(
    conn: Connection, campaign_id: int, returning: Sequence[StoredStep], new: Mapping[str, StepFile]
) -> dict[str, int]:
    """Return which steps return as what they were, and how many contacts wait there again."""
    keys = {step.id: step.key for step in returning}
    asked = [waits.Returning(step.id, new[step.key].kind.value, step.kind) for step in returning]
    lost = waits.count_lost(conn, campaign_id, asked) if asked else {}
    return {keys[step_id]: n for step_id, n in lost.items()}


def _new_effects(conn: Connection, file: CampaignFile, *, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """Return whom a campaign lets in that does not exist yet."""
    moves = campaign_effects.moved_by(conn, 0, file, now=now, zone=zone)
    will = Status(bool(file.published), file.publish_from, file.publish_until, alignment.is_on(conn, file.category))
    effects = campaign_effects.people(file, moves, runs=will.why_not(now) is None)
    return {"moves": moves, "effects": list(effects)}


def _dates(
    conn: Connection, file: CampaignFile, before: Iterable[DateSourceFile], *, now: datetime, zone: ZoneInfo
) -> tuple[dict[ContactDate, int], list[str]]:
    """Return by which dates contacts enter and did not before, with how many have them ahead, and notes on the others.

    A date in the past, and what is no date, lets nobody in.
    """
    known = set(map(contact_date, before))
    found: dict[ContactDate, int] = {}
    unreadable: dict[str, int] = {}
    for date in map(contact_date, file.sources.dates):
        if date in known:
            continue
        found[date] = unreadable[date.field] = 0
        for value, name, n in dates.values(conn, date.field):
            if moment(value) is None:
                unreadable[date.field] += n
            elif coming(date, value, zone_of(name, zone), since=now, last=None) is not None:
                found[date] += n
    return found, [
        f"1 contact has a value in the field {name!r} that is not a date; it does not enter by it"
        if n == 1
        else f"{n:,} contacts have a value in the field {name!r} that is not a date; they do not enter by it"
        for name, n in unreadable.items()
        if n
    ]


def _gone(before: CampaignFile, after: CampaignFile) -> list[ContactDate]:
    new = set(map(contact_date, after.sources.dates))
    return [date for date in map(contact_date, before.sources.dates) if date not in new]


def _told_by_rules(before: CampaignFile, after: CampaignFile) -> set[str]:
    """Return the settings whose change is told by rules and dates that come and go: sentences may be too short."""
    old, new = ({**rules_by_setting(file), "sources.dates": _said_dates(file)} for file in (before, after))
    return {name for name in new if old[name] != new[name]}


def _said_dates(file: CampaignFile) -> list[str]:
    return list(map(str, map(contact_date, file.sources.dates)))


def _missing(named: Sequence[Reference], what: RefersTo, known: set[str]) -> list[str]:
    return sorted({each.key for each in named if each.what is what} - known)


def moved(before: CampaignFile, after: CampaignFile, known: Collection[str]) -> list[str]:
    """Return which steps that the campaign knows can be reached by another way than before."""
    old = {step.step: place for step, place in _standing(before.steps)}
    found: list[str] = []
    for step, place in _standing(after.steps):
        if place[0] in found or (step.step in known and old.get(step.step) != place):
            found.append(step.step)
    return [key for key in found if key in known]


def _standing(steps: tuple[StepFile, ...]) -> Iterator[tuple[StepFile, tuple[str | None, str | None, Kind]]]:
    """Yield steps, those above first, with the key of the step above, the branch and the kind."""
    left: list[tuple[StepFile, str | None, str | None]] = [(step, None, None) for step in reversed(steps)]
    while left:
        step, parent, branch = left.pop()
        yield step, (parent, branch, step.kind)
        below = [(each, step.step, name) for name, children in step.branches() for each in children]
        left += reversed(below)


def has_rules(file: CampaignFile) -> bool:
    """Return whether a campaign has rules of its own."""
    return (
        any(_rule_of(step) is not None for step in file.walk())
        or bool(_exit_rules(file))
        or (file.goal is not None and file.goal.rule is not None)
    )


def _exit_rules(file: CampaignFile) -> list[Any]:
    return [each.rule for each in file.exit if each.rule is not None]


def _rule_of(step: StepFile) -> Any:
    """Return the rule that a decision waits for, with what its deadline goes by; None where it waits for none."""
    if step.kind is not Kind.DECISION:
        return None
    try:
        type_ = step_type(step.kind, step.type)
    # Of an earlier version, whose package is gone.
    except CampaignError:
        return None
    return None if type_.rule_of is None else (step.with_, _timing_of(step))


def _timing_of(step: StepFile) -> Any:
    """Return what decides when a step's waits are due: its timing; for a decision, what closes it."""
    own = (step.after, step.at, step.hour, step.between, step.days, step.within)
    return own if step.kind is not Kind.DECISION else (own, [_timing_of(child) for child in step.no])


def _same_version(one: CampaignFile, other: CampaignFile) -> bool:
    """Return whether two files make the same version of a campaign, switched on or off."""
    first, second = (to_data(file.model_copy(update={"published": None})) for file in (one, other))
    return first == second


def _date_notes(conn: Connection, file: CampaignFile) -> Iterator[str]:
    named = {step.at.field for step in file.walk() if isinstance(step.at, AtFile)}
    named |= {source.field for source in file.sources.dates}
    for name in sorted(contacts.fields_of_nobody(conn, named)):
        yield f"no contact has the field {name!r} yet; contacts wait until it contains a date"
    once = [source.field for source in file.sources.dates if source.every is None]
    if once and file.reentry == "never":
        yield (
            f"a contact enters by {once[0]!r} only once, because re-entry is never; "
            "use 'reentry: always' to let it enter again for each new date"
        )


def _once_notes(file: CampaignFile) -> Iterator[str]:
    """Yield which emails a contact gets once in a campaign that it is meant to enter again and again."""
    if not (any(each.every for each in file.sources.dates) or any(each.key for each in file.sources.events)):
        return
    for step in file.walk():
        if step.kind is Kind.ACTION and step.type == "email.send":
            given = step.with_ if isinstance(step.with_, Mapping) else {}
            if not given.get("again") and given.get("email_type") != "transactional":
                yield (
                    f"step {step.step}: a contact gets this email only once, although it enters again; "
                    "set 'again' to send it each time"
                )


def _in_short(warnings: Sequence[str]) -> list[str]:
    shown = [short(each) for each in warnings[:MOST_PROBLEMS]]
    return (
        [*shown, f"there are more notes: a plan shows at most {MOST_PROBLEMS}"] if warnings[MOST_PROBLEMS:] else shown
    )


def _warnings(conn: Connection, file: CampaignFile, found: Sequence[Reference]) -> list[str]:
    emails = {each.key for each in found if each.what is RefersTo.EMAIL}
    missing = sorted(emails - set(campaigns.named(conn, "emails", emails)))
    warnings = [
        f"there is no email {key!r} yet; its step is skipped until you create it with `parcours emails apply`"
        for key in missing
    ]
    for what, kind in _TEMPLATES.items():
        keys = {each.key for each in found if each.what is what}
        warnings += [
            f"there is no {kind} {key!r} yet; its step is skipped until you create it with `parcours messages apply`"
            for key in sorted(keys - templates.known(conn, kind, keys))
        ]
    firms = {each.key for each in found if each.what is RefersTo.COMPANY}
    warnings += [
        f"there is no company {key!r} yet; its step is skipped until you create it with `parcours companies create`"
        for key in sorted(firms - companies.existing(conn, firms))
    ]
    warnings += _date_notes(conn, file)
    warnings += _once_notes(file)
    warnings += [
        f"step {step.step}: '{name}' is empty, so the answer is always no; give at least one"
        for step in file.walk()
        for name in empty_choices(step_type(step.kind, step.type).properties, step.with_)
    ]
    warnings += [
        f"segment {each.segment!r} is a source and an exit: contacts who enter by it leave at once; remove it from one"
        for each in file.exit
        if each.segment in file.sources.segments
    ]
    warnings += notes(conn, ((f"step {step.step}", texts_in(step.with_)) for step in file.walk()))
    others = {each.key for each in found if each.what is RefersTo.CAMPAIGN}
    known = {row.key for row in campaigns.listing(conn)} if others else set()
    return warnings + [f"there is no campaign {key!r} yet; no contact can be in it" for key in sorted(others - known)]
