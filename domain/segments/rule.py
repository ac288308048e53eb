"""A segment's rule: a tree of all, any and not over conditions, and what can be told of it without contacts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from parcours.domain.campaign_file.model import Path
from parcours.domain.contacts.touched import Reads
from parcours.domain.steps.types import Look, Need, Properties, RefersTo, StepType


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, of the types that campaigns have; `path` is its place in the file."""

    type: StepType
    properties: Properties
    path: Path = ()


@dataclass(frozen=True, slots=True)
class All:
    """Every one of these; there is at least one."""

    rules: tuple[Rule, ...]
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Any:
    """One of these at least; there is at least one."""

    rules: tuple[Rule, ...]
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary."""

    rule: Rule
    path: Path = ()


Rule = All | Any | Not | Condition


def below(rule: Rule) -> tuple[Rule, ...]:
    """Return what a rule is made of; a condition is made of nothing."""
    match rule:
        case All(rules) | Any(rules):
            return rules
        case Not(one):
            return (one,)
    return ()


def conditions(rule: Rule) -> Iterator[Condition]:
    """Yield the conditions of a rule, in the order of the file."""
    if isinstance(rule, Condition):
        yield rule
    for each in below(rule):
        yield from conditions(each)


def needs(rule: Rule) -> frozenset[Need]:
    """Return what has to be loaded of contacts."""
    return frozenset(need for each in conditions(rule) for need in each.type.needs_of(each.properties))


def looks(rule: Rule) -> tuple[Look, ...]:
    """Return what has to be loaded of contacts' histories, and how far back."""
    return tuple(look for each in conditions(rule) for look in each.type.looks_of(each.properties))


def references(rule: Rule) -> Iterator[tuple[Path, RefersTo, str]]:
    """Yield the place, kind and key of everything that a rule names: segments, campaigns, forms, emails, …"""
    for each in conditions(rule):
        for written, what, key in each.type.references(vars(each.properties)):
            yield (*each.path, "with", written), what, key


def segments(rule: Rule) -> frozenset[str]:
    """Return the keys of the segments that a rule asks for."""
    return frozenset(key for _, what, key in references(rule) if what is RefersTo.SEGMENT)


def reads(rule: Rule) -> Reads:
    """Return which changes of a contact can change the answer: tokens of `contacts.touched`."""
    return frozenset(token for each in conditions(rule) for token in each.type.reads_of(each.properties))


def reads_time(rule: Rule) -> bool:
    """Return whether the answer may change by time alone."""
    return any(each.type.goes_by_time(each.properties) for each in conditions(rule))


def circle(key: str, rules: Mapping[str, Rule | Collection[str]]) -> list[str] | None:
    """Return a circle that a segment is part of, from its key to its key again, or None.

    `rules` has the rule of each segment by its key, or just the keys of the segments that it asks for. Never recurses.
    """
    asked = {
        name: segments(rule) if isinstance(rule, All | Any | Not | Condition) else rule for name, rule in rules.items()
    }
    # Where each was come from, nearest first.
    came: dict[str, str] = {}
    ahead = [key]
    for name in ahead:
        for other in sorted(asked.get(name, ())):
            if other == key:
                back = [key, name]
                while back[-1] != key:
                    back.append(came[back[-1]])
                return back[::-1]
            if other not in came:
                came[other] = name
                ahead.append(other)
    return None
