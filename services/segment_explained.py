"""Why a contact is in a segment or not: condition by condition, and what was done by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.reads import batch
from parcours.db.tables import contacts, rules, segments
from parcours.db.tables.rules import RuleStanding
from parcours.domain.errors import NotFoundError
from parcours.domain.segments import judging
from parcours.domain.segments import rule as tree
from parcours.domain.segments.judging import Explained
from parcours.domain.segments.rule import All, Condition, Not, Rule
from parcours.domain.segments.rule import Any as AnyOf
from parcours.domain.time.text import iso, shown
from parcours.workers import rules as asking


@dataclass(frozen=True)
class SegmentExplained:
    """What can be told of a contact and a segment."""

    segment: str
    contact: str
    standing: RuleStanding | None
    # Without one, the segment has no rule, or it cannot be read here (`aside` says why).
    rule: Explained | None
    has_rule: bool
    aside: str | None
    # Of times in sentences.
    zone: ZoneInfo

    @property
    def inside(self) -> bool:
        return self.standing is not None and self.standing.active

    @property
    def by_hand(self) -> str | None:
        """What was done by hand, and holds whatever a rule says: added or removed."""
        if self.standing is None:
            return None
        return "added" if self.standing.manually_added else "removed" if self.standing.manually_removed else None

    def sentences(self) -> list[str]:
        """Return it in sentences, the conditions indented below the rule."""
        found = [f"{self.contact} is {'in' if self.inside else 'not in'} {self.segment}."]
        if self.by_hand is not None:
            found.append(f"It was {self.by_hand} manually. Rules do not change that.")
        if not self.has_rule:
            found.append("The segment has no rule. Contacts are added manually and by events.")
        if self.aside is not None:
            found.append(f"Its rule cannot be read: {self.aside}. Its members do not change.")
        if self.rule is not None:
            found += lines(self.rule)
            if self.rule.changes_at is not None:
                found.append(f"The result can next change with time at {shown(self.rule.changes_at, self.zone)}.")
            if asking.moves(bool(self.rule.answer), self.standing) is not None and self.rule.answer is not None:
                found.append("The membership is not up to date. `parcours update` corrects it.")
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "segment": self.segment,
            "contact": self.contact,
            "inside": self.inside,
            "manual": self.by_hand,
            "answer": None if self.rule is None else self.rule.answer,
            "changes_at": None if self.rule is None else iso(self.rule.changes_at),
            "rule": None if self.rule is None else self.rule.as_json(),
            "set_aside": self.aside,
            "explanation": self.sentences(),
        }


_SIGNS = {True: "yes", False: "no", None: "unknown"}
_WORDS = {"all": "all of", "any": "any of", "not": "not"}


def lines(explained: Explained, depth: int = 0) -> Iterator[str]:
    """Yield what a rule says, condition by condition, what is below indented."""
    words = _WORDS.get(explained.kind, explained.words)
    has = "" if explained.kind != "condition" or explained.has is None else f"; now: {_has(explained.has)}"
    why = "" if explained.reason is None else f" ({explained.reason})"
    yield f"{'  ' * (depth + 1)}{_SIGNS[explained.answer]}: {words}{has}{why}"
    for each in explained.below:
        yield from lines(each, depth + 1)


def _has(value: Any) -> str:
    """Return what a contact has, as a person writes it."""
    if isinstance(value, Mapping):
        if len(value) == 1:
            return _has(next(iter(value.values())))
        return ", ".join(f"{name}: {_has(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_has, value)) or "none"
    return "none" if value is None else str(value)


def explain(conn: Connection, segment: str, contact: str, *, now: datetime, zone: ZoneInfo) -> SegmentExplained:
    """Return why a contact is in a segment or not. Raises NotFoundError."""
    found = segments.find(conn, segment)
    if found is None:
        raise NotFoundError("segment", segment)
    contact_id = contacts.find(conn, contact)
    if contact_id is None:
        raise NotFoundError("contact", contact)
    how = next(iter(rules.standing(conn, [found.id], [contact_id])), None)
    book = rules.book(conn)
    known = book.rules.get(found.id)
    why = None
    if known is not None:
        facts = batch.load_rules(conn, [known.rule], [contact_id], now=now)
        why = judging.explain(known.rule, facts.contacts[contact_id], facts.world, now, zone)
    has_rule = known is not None or found.key in book.aside
    return SegmentExplained(found.key, contact, how, why, has_rule, book.aside.get(found.key), zone)


def in_words(rule: Rule, say: Callable[[Condition], str] = judging.words) -> Iterator[tuple[int, str | None, str]]:
    """Yield a rule line by line: how deep it stands, all, any or not, and the words of a condition."""
    waiting: list[tuple[int, Rule]] = [(0, rule)]
    while waiting:
        depth, each = waiting.pop(0)
        match each:
            case All():
                yield depth, "all", ""
            case AnyOf():
                yield depth, "any", ""
            case Not():
                yield depth, "not", ""
            case _:
                yield depth, None, say(each)
        waiting = [(depth + 1, below) for below in tree.below(each)] + waiting
