"""Reading rules: every problem with its place and a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from parcours.domain import gate
from parcours.domain.campaign_file.check import MORE, Checker, EnoughError
from parcours.domain.campaign_file.graph import Node
from parcours.domain.campaign_file.model import FindType, Path, Problem
from parcours.domain.contacts.touched import CAMPAIGNS, RUN
from parcours.domain.invalid_values import called
from parcours.domain.segments import rule as rules
from parcours.domain.segments.rule import Condition, Rule
from parcours.domain.steps import registry
from parcours.domain.steps.properties import APPLYING_RULE

# Of all, any and not in each other, and of conditions in one rule.
MAX_DEPTH = 20
MOST_CONDITIONS = 200

_FORMS = ("all", "any", "not", "condition")


def parse(
    data: object,
    find_type: FindType = registry.step_type,
    *,
    path: Path = ("rule",),
    stored: bool = False,
    of_campaign: bool = False,
) -> tuple[Rule | None, list[Problem]]:
    """Return the rule that some data describes, or everything that is wrong with it.

    `data` is what a YAML or JSON reader returns, `path` its place in the file. What was `stored` before is not held to
    what only a new rule must keep to. A rule `of_campaign` may ask for the campaign that it stands in, and for the data
    of the run.
    """
    try:
        gate.check(data, "the rule", levels=3 * MAX_DEPTH)
    except gate.GateError as error:
        return None, [Problem(path, str(error))]
    checker = Checker(ZoneInfo("UTC"), find_type, None if stored else APPLYING_RULE)
    try:
        found = _Reading(checker, of_campaign).rule(data, path, 1)
    except EnoughError:
        return None, [*checker.problems, Problem(path, MORE)]
    return (None if checker.problems else found), checker.problems


class _Reading:
    """One reading of one rule."""

    def __init__(self, checker: Checker, of_campaign: bool) -> None:
        self.checker = checker
        self.of_campaign = of_campaign
        self.say = checker.say
        self.conditions = 0

    def rule(self, data: object, path: Path, depth: int) -> Rule | None:
        if not isinstance(data, Mapping):
            hint = "; write all: [...] or any: [...]" if isinstance(data, list | tuple) else ""
            self.say(path, f"a rule is a mapping with one of all, any, not and condition, not {called(data)}{hint}")
            return None
        if depth > MAX_DEPTH:
            self.say(path, f"all, any and not are nested too deeply; use at most {MAX_DEPTH} levels")
            return None
        stated = [name for name in _FORMS if name in data]
        if len(stated) != 1:
            self.checker.names(data, (*_FORMS, "with"), path)
            self.say(
                path, "a rule needs one of all, any, not and condition" + (", not several of them" if stated else "")
            )
            return None
        form = stated[0]
        self.checker.names(data, (form, "with") if form == "condition" else (form,), path)
        if form == "condition":
            return self.condition(data, path)
        if form == "not":
            one = self.rule(data["not"], (*path, "not"), depth + 1)
            return None if one is None else rules.Not(one, path)
        return self.several(form, data[form], path, depth)

    def several(self, form: str, data: object, path: Path, depth: int) -> Rule | None:
        if not isinstance(data, list | tuple):
            self.say((*path, form), f"must be a list of rules, not {called(data)}")
            return None
        if not data:
            self.say((*path, form), "must not be empty; list at least one condition")
            return None
        found = [self.rule(each, (*path, form, index), depth + 1) for index, each in enumerate(data)]
        known = tuple(each for each in found if each is not None)
        return rules.All(known, path) if form == "all" else rules.Any(known, path)

    def condition(self, data: Mapping[Any, Any], path: Path) -> Condition | None:
        self.conditions += 1
        if self.conditions > MOST_CONDITIONS:
            if self.conditions == MOST_CONDITIONS + 1:
                self.say(path, f"the rule has more than {MOST_CONDITIONS} conditions; split it into several segments")
            return None
        before = len(self.checker.problems)
        node = Node(path, data, None, "")
        self.checker.kind_and_type(node, set())
        given = self.checker.properties(node)
        if node.type is None or len(self.checker.problems) > before:
            return None
        why = node.type.only_in_campaigns
        if why is not None:
            where = "as a step of a campaign" if self.of_campaign else "in campaigns"
            self.say((*path, "condition"), f"{node.type.name!r} works only {where}: {why}")
            return None
        properties = node.type.properties.model_validate(given, context=self.checker.context)
        reads = node.type.reads_of(properties)
        if RUN in reads and not self.of_campaign:
            self.say(
                (*path, "with"), "'entry' is known only in campaigns; test the event with the condition event.count"
            )
        if f"{CAMPAIGNS}.this" in reads and not self.of_campaign:
            self.say((*path, "with"), "a segment belongs to no campaign; replace 'this' with the key of a campaign")
        if node.type.jumps:
            self.say((*path, "with", node.type.jumps), "a rule has no steps; remove this property")
        return Condition(node.type, properties, path)
