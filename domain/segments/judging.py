"""The answers of rules: whether contacts belong to a segment, when that may change, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from parcours.domain.campaign import Campaign, Step
from parcours.domain.contacts.contact import Contact
from parcours.domain.segments import rule as rules
from parcours.domain.segments.rule import Condition, Rule
from parcours.domain.steps.batch import Batch, Knowledge
from parcours.domain.steps.types import Failed, words_from

# When to ask again where nobody can tell, and the least time until then where a type tells nonsense.
ONCE_A_DAY = timedelta(days=1)
SOON = timedelta(minutes=1)

# Characters of a rule that are repeated in a reason.
MOST_WORDS = 200

Answer = bool | Failed


class Judged(NamedTuple):
    """The answer for one contact, and when it may change by time alone; None: never."""

    answer: Answer
    changes_at: datetime | None


def judge(rule: Rule, contacts: Sequence[Contact], world: Knowledge, now: datetime, zone: ZoneInfo) -> list[Answer]:
    """Return, for each contact, whether a rule is satisfied, or why that cannot be told.

    Each condition is asked once for all contacts. One that raises for some contacts fails for these alone. A failed
    condition makes the rule's answer `Failed`, unless the others decide it. `zone` is of contacts who have none.
    """
    return [each.answer for each in judged(rule, contacts, world, now, zone, when=False)]


def next_change(
    rule: Rule, contacts: Sequence[Contact], world: Knowledge, now: datetime, zone: ZoneInfo
) -> list[datetime | None]:
    """Return, for each contact, the earliest instant after `now` at which the answer may change by time alone.

    None: never. It may be early, and then the rule is asked again; it is never late.
    """
    return [each.changes_at for each in judged(rule, contacts, world, now, zone)]


def judged(
    rule: Rule,
    contacts: Sequence[Contact],
    world: Knowledge,
    now: datetime,
    zone: ZoneInfo,
    *,
    when: bool = True,
    campaign: Campaign | None = None,
) -> list[Judged]:
    """Return both for each contact: the answer, and when it may change; without `when`, the second is None.

    `campaign`: whose file the rule stands in, if it is not a segment's.
    """
    asking = _Asking(list(contacts), world, now, zone, when, campaign)
    return asking.ask(rule) if contacts else []


# Where a rule stands in no campaign. What needs one is refused when the rule is read.
_NO_CAMPAIGN = Campaign(0, "", 0, {})


@dataclass
class _Asking:
    contacts: list[Contact]
    world: Knowledge
    now: datetime
    zone: ZoneInfo
    when: bool
    campaign: Campaign | None

    def ask(self, rule: Rule) -> list[Judged]:
        match rule:
            case Condition():
                return self.condition(rule)
            case rules.Not(one):
                return [_not(each) for each in self.ask(one)]
            case rules.All(several):
                return [_all(each) for each in self.each_of(several)]
            case rules.Any(several):
                # One of them: not all are not so.
                return [_not(_all(tuple(map(_not, each)))) for each in self.each_of(several)]

    def each_of(self, several: Sequence[Rule]) -> Iterator[tuple[Judged, ...]]:
        return zip(*map(self.ask, several), strict=True)

    def condition(self, asked: Condition) -> list[Judged]:
        answers = self.answers(asked, self.contacts)
        if not (self.when and asked.type.goes_by_time(asked.properties)):
            return [Judged(answer, None) for answer in answers]
        return list(map(Judged, answers, self.flips(asked)))

    def batch(self, asked: Condition, contacts: list[Contact]) -> Batch[Any]:
        step = Step(0, "", "", asked.type, asked.properties)
        return Batch(asked.properties, contacts, self.now, self.campaign or _NO_CAMPAIGN, step, self.world, self.zone)

    def answers(self, asked: Condition, contacts: list[Contact]) -> list[Answer]:
        """Ask all at once and, where that raises, in halves, so that nobody fails for another."""
        try:
            found = list(asked.type.run(self.batch(asked, contacts)))
            if len(found) != len(contacts):
                raise ValueError(f"{len(found)} answers for {len(contacts)} contacts")
            return [each if isinstance(each, Failed) else bool(each) for each in found]
        # Also the code of another package, which may raise anything.
        except Exception as error:
            if len(contacts) == 1:
                return [Failed(f"the condition {asked.type.name} failed ({type(error).__name__}: {error})"[:400])]
        middle = len(contacts) // 2
        return self.answers(asked, contacts[:middle]) + self.answers(asked, contacts[middle:])

    def flips(self, asked: Condition) -> list[datetime | None]:
        if asked.type.flips is None:
            return [self.tomorrow()] * len(self.contacts)
        try:
            found = list(asked.type.flips(self.batch(asked, self.contacts)))
            if len(found) != len(self.contacts):
                raise ValueError("another number of instants than of contacts")
            return [each if each is None or each > self.now else self.later(SOON) for each in found]
        except Exception:
            return [self.tomorrow()] * len(self.contacts)

    def tomorrow(self) -> datetime | None:
        return self.later(ONCE_A_DAY)

    def later(self, by: timedelta) -> datetime | None:
        try:
            return self.now + by
        except OverflowError:
            return None


def _not(judged: Judged) -> Judged:
    if isinstance(judged.answer, Failed):
        return judged
    return Judged(not judged.answer, judged.changes_at)


def _all(several: Sequence[Judged]) -> Judged:
    """Return what all together say.

    As long as one says no, no other matters: the answer can change only once the last of those that say no may. One
    that never changes settles it.
    """
    no = [each.changes_at for each in several if each.answer is False]
    if no:
        known = [at for at in no if at is not None]
        return Judged(False, max(known) if len(known) == len(no) else None)
    first = min((each.changes_at for each in several if each.changes_at is not None), default=None)
    failed = next((each.answer for each in several if isinstance(each.answer, Failed)), None)
    return Judged(True if failed is None else failed, first)


@dataclass(frozen=True, slots=True)
class Explained:
    """Why: a rule in words, its answer for one contact, what the contact has, and the same of what is below.

    `kind` is all, any, not or condition. `has` is JSON; None where nothing is known or the type does not say.
    """

    kind: str
    words: str
    answer: bool | None
    reason: str | None = None
    has: Any = None
    changes_at: datetime | None = None
    below: tuple[Explained, ...] = ()

    def as_json(self) -> Mapping[str, Any]:
        """Return the tree as `segments explain --json` prints it."""
        own: dict[str, Any] = {"kind": self.kind, "words": self.words, "answer": self.answer}
        if self.reason is not None:
            own["reason"] = self.reason
        if self.kind == "condition":
            own["has"] = self.has
        if self.below:
            own["below"] = [each.as_json() for each in self.below]
        return own


def explain(rule: Rule, contact: Contact, world: Knowledge, now: datetime, zone: ZoneInfo) -> Explained:
    """Return why a contact satisfies a rule or not, condition by condition."""
    [(answer, changes_at)] = judged(rule, [contact], world, now, zone)
    own = None if isinstance(answer, Failed) else answer
    reason = answer.error if isinstance(answer, Failed) else None
    if isinstance(rule, Condition):
        return Explained("condition", words(rule), own, reason, _shown(rule, contact, world, now, zone), changes_at)
    kind = type(rule).__name__.lower()
    below = tuple(explain(each, contact, world, now, zone) for each in rules.below(rule))
    return Explained(kind, _HEADS[kind], own, reason, None, changes_at, below)


_HEADS = {"all": "all of these", "any": "at least one of these", "not": "not this"}


def words(asked: Condition) -> str:
    """Return a condition in words."""
    if asked.type.says is not None:
        return words_from(asked.type.says, asked.properties) or asked.type.name
    given = asked.properties.model_dump(mode="json", exclude_defaults=True)
    return f"{asked.type.name} {', '.join(f'{name}: {value}' for name, value in given.items())}".strip()


def in_short(rule: Rule) -> str:
    """Return a rule in one line of words, no longer than people read."""
    said = _short(rule, outermost=True)
    return said if len(said) <= MOST_WORDS else f"{said[:MOST_WORDS]} …"


def _short(rule: Rule, *, outermost: bool = False) -> str:
    match rule:
        case Condition():
            return words(rule)
        case rules.Not(one):
            return f"not ({_short(one, outermost=True)})"
        case rules.All(several):
            said = " and ".join(map(_short, several))
        case rules.Any(several):
            said = " or ".join(map(_short, several))
    return said if outermost or len(several) == 1 else f"({said})"


def _shown(asked: Condition, contact: Contact, world: Knowledge, now: datetime, zone: ZoneInfo) -> Any:
    if asked.type.shows is None:
        return None
    batch = _Asking([contact], world, now, zone, False, None).batch(asked, [contact])
    try:
        return next(iter(asked.type.shows(batch)))
    except Exception:
        return None
