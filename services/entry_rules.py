"""What lets contacts into a campaign and out of it, besides segments and forms, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parcours.domain.campaign_file.build import exit_rule
from parcours.domain.campaign_file.model import CampaignFile, EntryFile, EventSourceFile, ExitFile, GoalFile
from parcours.domain.segments import parsing
from parcours.domain.segments.judging import in_short
from parcours.domain.segments.rule import Rule

# How a rule is said in a sentence.
Saying = Callable[[Rule], str]


def entry_rules(file: CampaignFile, say: Saying = in_short) -> list[str]:
    """Return a sentence for each event source, exit and limit of a file, for its goal and its control group."""
    return [rule for rules in rules_by_setting(file, say).values() for rule in rules]


def rules_by_setting(file: CampaignFile, say: Saying = in_short) -> dict[str, list[str]]:
    """Return the sentences of `entry_rules` by the setting that they tell."""
    existing = file.sources.existing
    return {
        "sources.events": [f"source {event_source(each)}" for each in file.sources.events],
        "sources.existing": [] if existing else ["source: only who enters a segment from now on"],
        "entry": [] if file.entry is None else [limit_of(file.entry)],
        "exit": [exit_of(each, say) for each in file.exit],
        "goal": [] if file.goal is None else [goal_of(file.goal, say)],
        "control": [] if file.control is None else [control_of(file.control)],
    }


def event_source(source: EventSourceFile) -> str:
    """Return an event source in words."""
    runs = f", a run for each {source.key}" if source.key is not None else ""
    return f"event {source.type}{_where(source.where)}{runs}"


def exit_of(leaving: ExitFile, say: Saying = in_short) -> str:
    """Return an exit in words."""
    if leaving.segment is not None:
        return f"exit on segment {leaving.segment}"
    if leaving.rule is not None:
        return f"exit on rule: {say(exit_rule(leaving.rule))}"
    runs = f", the run of the same {leaving.key}" if leaving.key is not None else ", all runs"
    return f"exit on event {leaving.event}{_where(leaving.where)}{runs}"


def goal_of(goal: GoalFile, say: Saying = in_short) -> str:
    """Return a goal in words."""
    within = f" within {goal.within} of entering" if goal.within is not None else " at any time after entering"
    if goal.event is None:
        rule, _ = parsing.parse(goal.rule)
        said = "the rule becomes true" if rule is None else f"the rule becomes true ({say(rule)})"
        return f"goal: {said}{within}; counted for contacts who enter from now on"
    runs = f", for the run of the same {goal.key}" if goal.key is not None else ""
    value = f", with the value {goal.value}" if goal.value is not None else ""
    return (
        f"goal: event {goal.event}{_where(goal.where)}{within}{runs}{value}; counted for contacts who enter from now on"
    )


def control_of(percent: float) -> str:
    """Return a control group in words."""
    return f"control group: {percent} percent of contacts who are new from now on; no steps run for them"


def limit_of(entry: EntryFile) -> str:
    """Return a limit of entrants in words."""
    parts = [f"{entry.most:,} entries at most"] if entry.most is not None else []
    return "limit: " + ", ".join(parts + ([f"{entry.rate} at most"] if entry.rate is not None else []))


def _where(tests: Sequence[Mapping[str, Any]]) -> str:
    said = [f"{each.get('field')} {each.get('operator')} {each.get('value', '')}".rstrip() for each in tests]
    return f" where {' and '.join(said)}" if said else ""
