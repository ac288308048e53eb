"""What applying segment files would do: who comes and goes, and what that does to campaigns. Nothing is changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.reads import batch
from parcours.db.reads import rules as in_sql
from parcours.db.tables import campaigns, entrants, events, rebuilds, rules, segments
from parcours.db.tables import membership as memberships
from parcours.db.tables.membership import Chunk
from parcours.db.tables.rules import RuleStanding
from parcours.db.tables.segments import Segment
from parcours.domain.campaign import Campaign
from parcours.domain.campaign_file.model import Problem
from parcours.domain.campaign_file.sentences import short
from parcours.domain.segments import rule as tree
from parcours.domain.segments.file import SegmentFile
from parcours.domain.segments.judging import judged
from parcours.domain.segments.rule import Rule
from parcours.domain.steps.types import Failed, RefersTo
from parcours.services.circles import INSTEAD_OF_CIRCLE, Asker, Circles
from parcours.services.segment_rules import digest_of, stamp_of, unknown
from parcours.workers import rules as asking

# Contacts that are loaded at once.
AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Effect:
    """What a segment that changes does to a campaign that it feeds, or of which it is an exit."""

    campaign: str
    running: bool
    joins: int
    comes_back: int
    leaves: int
    # Who comes into the segment and is in the campaign, or was, and is not started again.
    stays: int
    # Of those who join or return: who enters later, and who never does, because of the campaign's limit.
    held: int = 0
    refused: int = 0


@dataclass
class SegmentPlan:
    """What applying does to one segment. One that no file names follows, since its rule asks for another."""

    segment: str
    creates: bool = False
    follows: bool = False
    # What of name, public, published and rule differs.
    changed: list[str] = field(default_factory=list)
    # Whether it has a rule before and after.
    rule_before: bool = False
    rule_after: bool = False
    members: int = 0
    comes: int = 0
    goes: int = 0
    # Whom the rule would take out, or let in, and who was put in or taken out by hand.
    kept_in: int = 0
    kept_out: int = 0
    # Of whom the rule cannot tell, and why for one of them.
    unknown: int = 0
    why_unknown: str | None = None
    campaigns: list[Effect] = field(default_factory=list)
    # What was stored when this was made; it must be the same when it is applied.
    stamp: str | None = None
    file: SegmentFile | None = None

    @property
    def is_nothing(self) -> bool:
        """Whether nothing happens."""
        return not (self.creates or self.changed or self.comes or self.goes)

    def lines(self) -> list[str]:
        """Return the plan in sentences."""
        if self.is_nothing:
            return [f"{self.segment}: nothing changes"]
        first = "creates the segment" if self.creates else "depends on the above" if self.follows else "changes"
        named = f" {', '.join(self.changed)}" if self.changed and not self.creates else ""
        lines = [f"{self.segment}: {first}{named}"]
        if self.rule_before and not self.rule_after:
            lines.append("  removes its rule; the present members stay, and contacts are added manually and by events")
        elif self.rule_after and not self.rule_before and not self.creates:
            lines.append("  gets a rule; until now contacts were added manually and by events")
        if self.rule_after:
            lines.append(f"  members: {self.comes:,} added, {self.goes:,} removed; {self.members:,} now")
        if self.kept_in:
            lines.append(
                f"  {self.kept_in:,} members stay although they do not match the rule, because they were added "
                "manually; --reset-manual removes them"
            )
        if self.kept_out:
            lines.append(
                f"  {self.kept_out:,} contacts match the rule but stay out, because they were removed manually; "
                "--reset-manual adds them"
            )
        if self.unknown:
            lines.append(
                f"  the rule fails for {self.unknown:,} contacts, whose membership does not change: {self.why_unknown}"
            )
        return lines + [line for effect in self.campaigns for line in _lines_of(effect)]

    def to_json(self) -> dict[str, Any]:
        return {
            "segment": self.segment,
            "creates": self.creates,
            "follows": self.follows,
            "changed": self.changed,
            "rule": self.rule_after,
            "members": self.members,
            "comes": self.comes,
            "goes": self.goes,
            "kept_in": self.kept_in,
            "kept_out": self.kept_out,
            "unknown": self.unknown,
            "campaigns": [
                {
                    "campaign": each.campaign,
                    "running": each.running,
                    "joins": each.joins,
                    "comes_back": each.comes_back,
                    "leaves": each.leaves,
                    "stays": each.stays,
                    "held": each.held,
                    "refused": each.refused,
                }
                for each in self.campaigns
            ],
        }


def _lines_of(effect: Effect) -> Iterator[str]:
    if effect.joins or effect.comes_back or effect.leaves:
        again = f", {effect.comes_back:,} return" if effect.comes_back else ""
        idle = "" if effect.running else " (once it runs)"
        yield f"  campaign {effect.campaign}: {effect.joins:,} contacts join{again}, {effect.leaves:,} leave{idle}"
    if effect.held:
        yield f"  campaign {effect.campaign}: {effect.held:,} of them enter later, because of its limit"
    if effect.refused:
        yield f"  campaign {effect.campaign}: {effect.refused:,} of them do not enter, because of its limit"
    if effect.stays:
        again = "new members of the segment were in it before and do not start again"
        yield f"  campaign {effect.campaign}: {effect.stays:,} {again}"


def problems(conn: Connection, files: Sequence[SegmentFile]) -> list[tuple[SegmentFile, Problem]]:
    """Return what files name that is missing, circles they make, and what may not be: with the file of each."""
    found: list[tuple[SegmentFile, Problem]] = []
    keys = frozenset(file.segment for file in files)
    seen: set[str] = set()
    asks: dict[str, Rule | Collection[str]] = {
        each.key: known.rule
        for each in rules.stored(conn)
        for known in [rules.book(conn).rules.get(each.segment_id)]
        if known is not None and each.key not in keys
    }
    asks |= {file.segment: file.rule for file in files if file.rule is not None}
    circles = Circles(conn, {file.segment: file.rule for file in files})
    for file in files:
        if file.segment in seen:
            sentence = f"segment {file.segment!r} is there twice; keep one of them"
            found.append((file, Problem((*file.path, "segment"), short(sentence, file.segment))))
        seen.add(file.segment)
        if file.rule is not None:
            found += [(file, each) for each in unknown(conn, file.rule, {RefersTo.SEGMENT: keys})]
            circle = tree.circle(file.segment, asks)
            if circle is not None:
                sentence = (
                    f"the rules refer to each other in a circle: {' -> '.join(circle)}; remove one of the references"
                )
                found.append((file, Problem((*file.path, "rule"), short(sentence))))
            elif through := circles.through(Asker("segment", file.segment)):
                sentence = f"the rule depends on itself: {through}; {INSTEAD_OF_CIRCLE}"
                found.append((file, Problem((*file.path, "rule"), short(sentence))))
        found += [(file, each) for each in _unpublished(conn, file)]
    return found


def _unpublished(conn: Connection, file: SegmentFile) -> Iterator[Problem]:
    if file.published is not False:
        return
    stored = segments.find(conn, file.segment)
    users = [] if stored is None or not stored.published else segments.users(conn, stored.id)
    if users:
        sentence = f"it cannot be unpublished because it is a source of {', '.join(users)}; remove it there first"
        yield Problem((*file.path, "published"), short(sentence))


def plan(
    conn: Connection, files: Sequence[SegmentFile], *, forget: bool, now: datetime, zone: ZoneInfo
) -> list[SegmentPlan]:
    """Return what applying files, which have no problems, would do, in the order of the files; what follows comes last.

    `forget`: what was done by hand is forgotten, and the rule decides of these contacts as well.
    """
    return _Planning(conn, files, forget, now, zone).plan()


class _Planning:
    """One look at several segments at once, which may ask for each other."""

    def __init__(
        self, conn: Connection, files: Sequence[SegmentFile], forget: bool, now: datetime, zone: ZoneInfo
    ) -> None:
        self.conn, self.files, self.forget, self.now, self.zone = conn, files, forget, now, zone
        self.stored = {each.key: each for each in rules.stored(conn)}
        self.plans: dict[str, SegmentPlan] = {}
        # By key, who comes and goes: what other rules that ask for it will find.
        self.comes: dict[str, set[int]] = {}
        self.goes: dict[str, set[int]] = {}

    def plan(self) -> list[SegmentPlan]:
        found: dict[str, Segment | None] = {}
        wanted: dict[str, Rule] = {}
        for file in self.files:
            key = file.segment
            found[key] = segments.find(self.conn, key)
            self.plans[key] = self._outline(file, found[key])
            if file.rule is not None and ("rule" in self.plans[key].changed or self.forget):
                wanted[key] = file.rule
        book = rules.book(self.conn)
        others = {each.key: each.rule for each in book.rules.values() if each.key not in self.plans}
        unchanged = {file.segment: file.rule for file in self.files if file.rule is not None}
        every = {**others, **unchanged}
        for key in _in_order(every):
            if key in wanted:
                self._ask(key, every[key], found[key], None)
            elif moved := {id_ for other in tree.segments(every[key]) for id_ in self._moved(other)}:
                stored = segments.find(self.conn, key)
                self.plans.setdefault(key, SegmentPlan(key, follows=True, rule_before=True, rule_after=True))
                self._ask(key, every[key], stored, moved)
        return [each for each in self.plans.values() if not (each.follows and each.is_nothing)]

    def _moved(self, key: str) -> set[int]:
        return self.comes.get(key, set()) | self.goes.get(key, set())

    def _outline(self, file: SegmentFile, stored: Segment | None) -> SegmentPlan:
        rule = self.stored.get(file.segment)
        digest = None if file.data is None else digest_of(file.data)
        changed = [
            name
            for name in ("name", "public", "published")
            if stored is not None and getattr(file, name) is not None and getattr(file, name) != getattr(stored, name)
        ]
        if digest != (None if rule is None else rule.digest):
            changed.append("rule")
        return SegmentPlan(
            file.segment,
            creates=stored is None,
            changed=changed,
            rule_before=rule is not None,
            rule_after=file.rule is not None,
            stamp=stamp_of(stored, None if rule is None else rule.version),
            file=file,
        )

    def _ask(self, key: str, rule: Rule, stored: Segment | None, only: Collection[int] | None) -> None:
        """Ask a rule of everybody, or of some, and note who comes and goes."""
        planned = self.plans[key]
        comes, goes = self.comes.setdefault(key, set()), self.goes.setdefault(key, set())
        asked = frozenset(tree.segments(rule)) & (self.comes.keys() | self.goes.keys())
        for standing, answers in self._answers(rule, stored, only, asked):
            for contact_id in {**answers, **standing}:
                answer, how = answers.get(contact_id, False), standing.get(contact_id)
                if isinstance(answer, Failed):
                    planned.unknown += 1
                    planned.why_unknown = answer.error
                    continue
                moves = asking.moves(answer, how if how is None or not self.forget else untouched_by_hand(how))
                if moves is True:
                    comes.add(contact_id)
                elif moves is False:
                    goes.add(contact_id)
                elif how is not None and not self.forget:
                    planned.kept_in += not answer and how.active and how.manually_added
                    planned.kept_out += answer and not how.active and how.manually_removed
        planned.comes, planned.goes = len(comes), len(goes)
        if stored is not None:
            (line,) = segments.listed(self.conn, key=key)
            planned.members = line.members
            planned.campaigns = list(self._effects(stored.id, comes, goes))

    def _answers(
        self, rule: Rule, stored: Segment | None, only: Collection[int] | None, asked: Collection[str]
    ) -> Iterator[tuple[Mapping[int, RuleStanding], Mapping[int, bool | Failed]]]:
        """Yield how contacts are in a segment, and what its rule says of them; of whom it says nothing, it says no."""
        if only is not None:
            ids = sorted(only)
            for start in range(0, len(ids), AT_ONCE):
                some = ids[start : start + AT_ONCE]
                found = [] if stored is None else rules.standing(self.conn, [stored.id], some)
                yield {each.contact_id: each for each in found}, self._in_python(rule, some, asked)
            return
        whole = rebuilds.id_range(self.conn)
        for first in () if whole is None else range(whole.first_id, whole.last_id + 1, rebuilds.WIDTH):
            chunk = Chunk(first, first + rebuilds.WIDTH - 1)
            standing = {} if stored is None else rebuilds.members(self.conn, stored.id, chunk)
            if asked:
                yield standing, self._in_python(rule, rebuilds.ids(self.conn, chunk), asked)
                continue
            told = in_sql.judged(self.conn, rule, *chunk, now=self.now, zone=self.zone)
            yield standing, {id_: each.answer for id_, each in told.items()}

    def _in_python(self, rule: Rule, ids: Sequence[int], asked: Collection[str]) -> dict[int, bool | Failed]:
        """Return what a rule says of contacts who will be in other segments than now."""
        told: dict[int, bool | Failed] = {}
        for start in range(0, len(ids), AT_ONCE):
            facts = batch.load_rules(self.conn, [rule], ids[start : start + AT_ONCE], now=self.now)
            contacts = list(facts.contacts.values())
            for contact in contacts:
                contact.segments = self._to_come(contact.id, contact.segments, asked)
            answers = judged(rule, contacts, facts.world, self.now, self.zone, when=False)
            told |= {contact.id: each.answer for contact, each in zip(contacts, answers, strict=True)}
        return told

    def _to_come(self, contact_id: int, now: frozenset[str], asked: Iterable[str]) -> frozenset[str]:
        """Return the segments that somebody will be in, as far as these files change them."""
        for key in asked:
            if contact_id in self.comes.get(key, ()):
                now |= {key}
            elif contact_id in self.goes.get(key, ()):
                now -= {key}
        return now

    def _effects(self, segment_id: int, comes: Collection[int], goes: Collection[int]) -> Iterator[Effect]:
        for campaign_id, exit_ in events.campaigns_of_segment(self.conn, segment_id) if comes or goes else ():
            campaign, status = campaigns.enter(self.conn, campaign_id, self.zone)
            rows = campaigns.listing(self.conn, [campaign_id])
            key = rows[0].key if rows else campaign.key
            running = status.why_not(self.now) is None
            if exit_ is not None:
                out = len(memberships.active(self.conn, campaign_id, sorted(comes)))
                yield Effect(key, running, joins=0, comes_back=0, leaves=out, stays=0)
                continue
            others = [each.id for each in campaigns.sources(self.conn, campaign_id) if each.id != segment_id]
            joining = rebuilds.would_join(self.conn, campaign_id, comes)
            back = joining.back if campaign.reentry != "never" else 0
            leaves = rebuilds.would_leave(self.conn, campaign_id, goes, others=others) if campaign.exit_on_leave else 0
            stays = len(comes) - joining.fresh - back
            held, refused = self._beyond_limit(campaign, joining.fresh + back)
            yield Effect(key, running, joining.fresh, back, leaves, stays, held, refused)

    def _beyond_limit(self, campaign: Campaign, coming: int) -> tuple[int, int]:
        """Return how many of those who come enter later, and how many never do."""
        if campaign.entry is None:
            return 0, 0
        entered = entrants.entered(self.conn, campaign.id, campaign.entry, now=self.now)
        most, rate = campaign.entry.most, campaign.entry.rate
        ever = coming if most is None else max(0, min(coming, most - entered.ever - entered.held))
        now = ever if rate is None else max(0, min(ever, rate - entered.now - entered.held))
        return ever - now, coming - ever


def untouched_by_hand(standing: RuleStanding) -> RuleStanding:
    """Return how somebody is in a segment, as if nothing had been done by hand."""
    return standing._replace(manually_added=False, manually_removed=False)


def _in_order(every: Mapping[str, Rule]) -> list[str]:
    """Return keys so that each comes behind those that it asks for."""
    asks = {key: tree.segments(rule) & every.keys() for key, rule in every.items()}
    found: list[str] = []
    while len(found) < len(every):
        ready = [key for key in every if key not in found and asks[key] <= set(found)]
        # In a circle, which is a problem of its own, there is no order.
        found += ready or [key for key in every if key not in found]
    return found
