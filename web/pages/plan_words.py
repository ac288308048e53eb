"""A plan's settings, rules and effects, in the reader's language."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from parcours.domain.campaign_file.difference import Difference
from parcours.domain.campaign_file.model import CampaignFile, EventSourceFile, ExitFile, GoalFile, StepFile
from parcours.domain.errors import CampaignError
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import RefersTo
from parcours.domain.time.intervals import parse_interval
from parcours.services.campaign_effects import CampaignEffect
from parcours.services.campaign_plan import KINDS, CampaignPlan
from parcours.services.entry_rules import entry_rules
from parcours.web.i18n import rule_words
from parcours.web.i18n.field_words import field_name
from parcours.web.i18n.labels import EVENT_TYPES, interval, word
from parcours.web.i18n.language import _, _n, marked, number, planned
from parcours.web.i18n.sentences import told
from parcours.web.i18n.step_words import property_name, type_name
from parcours.web.pages import panels
from parcours.web.pages.step_titles import Names, quoted

# What steps are called, by key; whoever writes the file knows its keys.
Titles = Mapping[str, str]
NO_TITLES: Titles = {}
NO_NAMES: Names = {}

Event = TypeVar("Event", EventSourceFile, ExitFile, GoalFile)

# Settings of campaign files; one that is not here is told by its name in the file.
SETTINGS = {
    "name": marked("Name"),
    "description": marked("Description"),
    "note": marked("Note"),
    "category": marked("Category"),
    "publish_from": marked("Start"),
    "publish_until": marked("End"),
    "reentry": marked("Re-entry"),
    "cooldown": marked("Cooldown"),
    "timezone": marked("Timezone"),
    "exit_on_leave": marked("Leaving with the segments"),
    "grace": marked("Grace period"),
    "catch_up": marked("After a pause"),
    "priority": marked("Message priority"),
    "rate": marked("Message rate"),
    "exit": marked("Exits"),
    "goal": marked("Goal"),
    "control": marked("Control group"),
    "sources": marked("Sources"),
    "entry": marked("Limits of entry"),
    "sources.segments": marked("Source segments"),
    "sources.forms": marked("Source forms"),
}

_INSTANTS = {"publish_from", "publish_until"}
_OF_SETTINGS = {"sources.segments": RefersTo.SEGMENT, "sources.forms": RefersTo.FORM}

# Of a step, as its panel calls them.
OF_STEPS = {
    "action": marked("Type"),
    "after": marked("How long to wait"),
    "at": marked("Date and time"),
    "between": marked("Time window"),
    "condition": marked("Type"),
    "days": marked("Only on these days"),
    "decision": marked("Type"),
    "hour": marked("At this time of day"),
    "late": marked("If that has passed already"),
    "look_back": marked("Also if it happened before, within"),
    "max_attempts": marked("Attempts"),
    "name": marked("Name"),
    "note": marked("Note"),
    "on_failure": marked("If it fails for good"),
    "within": marked("No after"),
}


# Notes of a plan, which name fields, segments and steps by their keys, as pages say them.
_NAME = r"""('.*'|".*")"""
_NOTES = tuple(
    (re.compile(english), said)
    for english, said in (
        (
            rf"no contact has the field {_NAME} yet; contacts wait until it contains a date",
            marked("No contact has a date in “{field}” yet. Contacts wait until there is one."),
        ),
        (
            rf"1 contact has a value in the field {_NAME} that is not a date; it does not enter by it",
            marked("1 contact has something in “{field}” that is not a date; it does not enter by it."),
        ),
        (
            rf"([\d,]+) contacts have a value in the field {_NAME} that is not a date; they do not enter by it",
            marked("{n} contacts have something in “{field}” that is not a date; they do not enter by it."),
        ),
        (
            rf"a contact enters by {_NAME} only once, because re-entry is never; .*",
            marked(
                "A contact enters by the date in “{field}” only once, because re-entry is “Never”. Choose another "
                "re-entry to let it enter again when the date changes."
            ),
        ),
        (
            rf"segment {_NAME} is a source and an exit: .*",
            marked(
                "Contacts enter by the segment “{segment}” and leave by it as well, at once. Remove it from one of the "
                "two."
            ),
        ),
        (
            r"step (\S+): a contact gets this email only once, .*",
            marked(
                "{step}: a contact gets this email only once, although it enters the campaign again. To send it each "
                "time, fill in “Send again” in the settings of the step."
            ),
        ),
        (
            rf"step (\S+): {_NAME} is empty, so the answer is always no; .*",
            marked("{step}: “{property}” is empty, so the answer is always no. Fill it in."),
        ),
    )
)


def note(warning: str, titles: Titles = NO_TITLES, names: Names = NO_NAMES) -> str:
    """Return a note of a plan by the names that people know; one that is not known here stays as it is."""
    for pattern, said in _NOTES:
        found = pattern.fullmatch(warning)
        if found is not None:
            return _(said, **dict(_filled(said, found.groups(), titles, names)))
    return warning


def _filled(said: str, found: Sequence[str], titles: Titles, names: Names) -> Iterator[tuple[str, str]]:
    """Yield what stands in each place of a note, in their order."""
    for place, value in zip(re.findall(r"\{(\w+)\}", said), found, strict=True):
        name = str(ast.literal_eval(value)) if value[0] in "'\"" else value
        match place:
            case "field":
                yield place, field_name(name)
            case "segment":
                yield place, names.get(RefersTo.SEGMENT, {}).get(name, name)
            case "step":
                yield place, quoted(titles, name)
            case "property":
                yield place, property_name("", "", name)
            case _:
                yield place, number(int(name.replace(",", "")))


def setting_name(name: str) -> str:
    """Return what a setting of a campaign is called; one without a name of its own as files call it."""
    return _(SETTINGS[name]) if name in SETTINGS else name


def setting_lines(planned: CampaignPlan, names: Names = NO_NAMES) -> Iterator[tuple[str, str]]:
    """Yield which settings and rules change, each with its kind: added, changed or removed."""
    for each in planned.settings:
        said = change(_called(each, _OF_SETTINGS.get(each.name), names))
        yield "changed", _("{setting}: {change}.", setting=setting_name(each.name), change=said)
    rules = _rules_said(planned, names)
    for rule in planned.rules_added:
        yield "added", _("New rule: {rule}.", rule=told(rules[rule]))
    for rule in planned.rules_removed:
        yield "removed", _("No longer a rule: {rule}.", rule=told(rules[rule]))


def _rules_said(planned: CampaignPlan, names: Names) -> dict[str, str]:
    """Return the rules of a plan as pages say them, by the names that people have for fields."""
    made: dict[str, str] = {}
    for file in (planned.before, planned.file):
        if file is not None:
            said = entry_rules(_called_file(file), lambda rule: rule_words.in_short(rule, names))
            made |= dict(zip(entry_rules(file), said, strict=True))
    return made


def _called_file(file: CampaignFile) -> CampaignFile:
    """Return a campaign file in which events and their properties have the names that people know, to be told."""
    sources = file.sources.model_copy(update={"events": tuple(_called_event(each) for each in file.sources.events)})
    goal = None if file.goal is None else _called_event(file.goal)
    entry = file.entry
    if entry is not None and entry.rate is not None:
        entry = entry.model_copy(update={"rate": _rate(entry.rate)})
    return file.model_copy(
        update={
            "sources": sources,
            "entry": entry,
            "exit": tuple(_called_event(each) for each in file.exit),
            "goal": goal,
        }
    )


def _called_event(given: Event) -> Event:
    called: dict[str, Any] = {}
    name_of_type = "type" if isinstance(given, EventSourceFile) else "event"
    if getattr(given, name_of_type):
        called[name_of_type] = word(EVENT_TYPES, getattr(given, name_of_type))
    if given.key:
        called["key"] = field_name(given.key)
    if given.where and name_of_type in called:
        tests = _(" and ").join(map(_called_test, given.where))
        called |= {name_of_type: f"{called[name_of_type]}{_(' where ')}{tests}", "where": []}
    if isinstance(given, GoalFile) and given.within is not None:
        called["within"] = interval(parse_interval(given.within))
    return given.model_copy(update=called)


def _called_test(test: Mapping[str, Any]) -> str:
    """Return a test of the data of an event in words."""
    return rule_words.test_said(str(test.get("field")), test.get("operator"), test.get("value"))


def _rate(rate: str) -> str:
    """Return a rate of a file in words; one that cannot be read as it is."""
    found = panels.rate_of(rate)
    period = dict(panels.PERIODS).get(found.unit)
    # Files may write it in other ways than pages do.
    return f"{number(int(found.n))} {_(period)}" if period and found.n.isdigit() else rate


def change(each: Difference) -> str:
    """Return a difference in short, such as `2 days → 5 days`."""
    if each.name in _INSTANTS:
        return f"{_when(each.before)} → {_when(each.after)}"
    return each.words(none=_("none"), yes=_("yes"), no=_("no"))


def _when(value: object) -> str:
    """Return an instant of a file as pages write it; what is no instant as it is, such as a day."""
    if value is None:
        return _("none")
    try:
        at = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    return str(value) if at.tzinfo is None else planned(at)


def _called(each: Difference, what: RefersTo | None, names: Names) -> Difference:
    """Return a difference with what people call the things that its values name."""
    called = {} if what is None else names.get(what, {})

    def said(value: Any) -> Any:
        if isinstance(value, list):
            return [said(one) for one in value]
        return called.get(value, value) if isinstance(value, str) else value

    return each._replace(before=said(each.before), after=said(each.after)) if called else each


def _refers_to(each: Difference, step: StepFile) -> RefersTo | None:
    """Return what the values of a property of a step name, if anything."""
    first, _dot, name = each.name.partition(".")
    if first != "with":
        return None
    try:
        found = step_type(step.kind, step.type)
    except CampaignError:
        return None
    return next((what for own, what in found.refers_to.items() if name in found.spellings(own)), None)


def step_change(planned: CampaignPlan, key: str, titles: Titles = NO_TITLES, names: Names = NO_NAMES) -> str:
    """Return how a step changes, with the names of the file, and how many contacts wait there."""
    step = planned.steps[key]
    said = ", ".join(
        f"{_setting(each, step)}{_(': ')}{_interval_change(_called(each, _refers_to(each, step), names))}"
        if titles
        else f"{each.name.removeprefix('with.')} {change(each)}"
        for each in planned.of_step(key)
    )
    changed = _("Step {key} will be changed: {change}.", key=quoted(titles, key), change=said)
    n = planned.waiting.get(key, 0)
    if not n or key in planned.retimed:
        return changed
    gets_type = any(each.name in KINDS for each in planned.of_step(key))
    if key in planned.crowded:
        more = (
            _("More than {n} contacts wait there and get the new type.", n=number(n))
            if gets_type
            else _("More than {n} contacts wait there.", n=number(n))
        )
        return f"{changed} {more}"
    if gets_type:
        gets = _n("{n} contact waits there and gets the new type.", "{n} contacts wait there and get the new type.", n)
        return f"{changed} {gets}"
    return f"{changed} {_n('{n} contact waits there.', '{n} contacts wait there.', n)}"


def _setting(each: Difference, step: StepFile) -> str:
    """Return what a panel calls a property of a step."""
    first, _dot, rest = each.name.partition(".")
    if first == "with" and rest:
        return property_name(step.kind.value, step.type, rest.split(".")[0])
    return _(OF_STEPS[first]) if first in OF_STEPS else each.name


def _interval_change(each: Difference) -> str:
    """Return a difference in short; lengths of time are in the reader's language."""
    try:
        before, after = (
            _("none") if value is None else interval(parse_interval(str(value))) for value in (each.before, each.after)
        )
    except ValueError:
        return change(each)
    return f"{before} → {after}"


def added_step(planned: CampaignPlan, key: str, titles: Titles = NO_TITLES) -> str:
    """Return that a step comes, and how many contacts wait there again if it was there before."""
    return f"{_('Step {key} will be added.', key=quoted(titles, key))} {_again(planned, key)}".rstrip()


def moved_step(key: str, below: int, titles: Titles = NO_TITLES) -> str:
    """Return that a step moves, with what is below it."""
    called = quoted(titles, key)
    if not below:
        return _("Step {key} will be moved. Contacts waiting there stay.", key=called)
    return _n(
        "Step {key} will be moved with {n} step below it. Contacts waiting there stay.",
        "Step {key} will be moved with {n} steps below it. Contacts waiting there stay.",
        below,
        key=called,
    )


def _again(planned: CampaignPlan, key: str) -> str:
    n = planned.restored.get(key, 0)
    return _n("{n} contact will wait there again.", "{n} contacts will wait there again.", n) if n else ""


def removed_step(planned: CampaignPlan, key: str, titles: Titles = NO_TITLES) -> tuple[str, str]:
    """Return that a step goes, or becomes one of another kind, and what happens to who waits there, with its kind."""
    waiting, step = planned.removed[key], planned.becomes.get(key)
    called = quoted(titles, key)
    if step is None:
        kind, gone = "removed", _("Step {key} will be removed.", key=called)
    else:
        name = type_name(step.kind.value, step.type)
        kind, gone = "changed", _("Step {key} becomes another kind of step: {type}.", key=called, type=name)
    if not waiting:
        fate = _("No contacts are waiting there.")
    elif key in planned.redirected:
        fate = _n(
            "{n} contact waiting there will go to {step}.",
            "{n} contacts waiting there will go to {step}.",
            waiting,
            step=quoted(titles, planned.redirected[key]),
        )
    else:
        fate = _n(
            "{n} contact waiting there will go no further.", "{n} contacts waiting there will go no further.", waiting
        )
    return kind, f"{gone} {fate} {_again(planned, key)}".rstrip()


def asked_again(planned: CampaignPlan, titles: Titles = NO_TITLES) -> Iterator[str]:
    """Yield at which decisions the rule is asked again of those who wait there."""
    for key, n in planned.rules_asked.items():
        if n:
            yield _n(
                "{n} contact waits at {key}, whose rule or deadline changes; the rule is evaluated again.",
                "{n} contacts wait at {key}, whose rule or deadline changes; the rule is evaluated again.",
                n,
                key=quoted(titles, key),
            )


def effect_line(effect: CampaignEffect) -> tuple[str, str]:
    """Return what happens to contacts, with its kind."""
    source, _sign, event = effect.detail.partition(" ")
    if effect.what == "source_ends" and source == "event":
        return effect.kind, _effect(effect, effect.n, told(f"event {word(EVENT_TYPES, event)}"))
    return effect.kind, _effect(effect, effect.n, told(effect.detail))


def _effect(effect: CampaignEffect, n: int, detail: str) -> str:
    match effect.what:
        case "joins":
            return _n("{n} contact will join.", "{n} contacts will join.", n)
        case "returns":
            return _n("{n} contact who left will come back.", "{n} contacts who left will come back.", n)
        case "leaves":
            return _n(
                "{n} contact will leave, because it is in none of the segments.",
                "{n} contacts will leave, because they are in none of the segments.",
                n,
            )
        case "leaves_after_grace":
            return _n(
                "{n} contact is in none of the segments and will leave after the grace period ({detail}).",
                "{n} contacts are in none of the segments and will leave after the grace period ({detail}).",
                n,
                detail=detail,
            )
        case "stays":
            return _n(
                "{n} contact is in none of the segments and will stay.",
                "{n} contacts are in none of the segments and will stay.",
                n,
            )
        case "exits":
            return _n(
                "{n} contact will leave, because it is in an exit segment.",
                "{n} contacts will leave, because they are in an exit segment.",
                n,
            )
        case "rule_exits":
            return _n(
                "{n} contact will leave, because a new exit rule is true for it.",
                "{n} contacts will leave, because a new exit rule is true for them.",
                n,
            )
        case "held_back":
            return _n(
                "{n} contact held back by the entry limit will join as the new limit allows.",
                "{n} contacts held back by the entry limit will join as the new limit allows.",
                n,
            )
        case "held_back_joins":
            return _n(
                "{n} contact held back by the entry limit will join.",
                "{n} contacts held back by the entry limit will join.",
                n,
            )
        case "in_grace":
            return _n("{n} contact in its grace period keeps it.", "{n} contacts in their grace period keep it.", n)
        case "in_grace_stays":
            return _n(
                "{n} contact in its grace period is in one of the segments again and will stay.",
                "{n} contacts in their grace period are in one of the segments again and will stay.",
                n,
            )
        case "refused":
            return _n(
                "{n} contact of the segments will not join, because the entry limit ({most}) is reached.",
                "{n} contacts of the segments will not join, because the entry limit ({most}) is reached.",
                n,
                most=detail,
            )
        case "held_back_refused":
            return _n(
                "{n} contact held back will not join, because the entry limit ({most}) is reached.",
                "{n} contacts held back will not join, because the entry limit ({most}) is reached.",
                n,
                most=detail,
            )
        case "delayed":
            return _("They will join as the limit allows ({rate}).", rate=detail)
        case "not_counted":
            return _n(
                "{n} contact inside does not count towards the new limit.",
                "{n} contacts inside do not count towards the new limit.",
                n,
            )
        case "source_ends":
            return _("No contact will join by {source} any more. Contacts who did stay.", source=detail)
        case "starts":
            return _n(
                "The campaign will start; {n} contact inside continues.",
                "The campaign will start; {n} contacts inside continue.",
                n,
            )
        case "stops":
            return _n(
                "The campaign will stop: {detail}. {n} contact inside keeps its place.",
                "The campaign will stop: {detail}. {n} contacts inside keep their places.",
                n,
                detail=detail,
            )
        case "later":
            return _("Contacts will join and leave once the campaign runs.")
        case "minimum":
            return _("The numbers of contacts are minimums; not everybody was counted.")
