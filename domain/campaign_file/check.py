"""Checks of a campaign file: every problem with its place and a sentence that says what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import islice
from typing import Any, TypeVar, cast, get_args
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ValidationError

from parcours.domain import operators
from parcours.domain.campaign import Priority
from parcours.domain.campaign_file.build import contact_date, newer, with_offset
from parcours.domain.campaign_file.graph import Graph, Node
from parcours.domain.campaign_file.model import (
    BRANCH_NAMES,
    AtFile,
    CampaignFile,
    DateSourceFile,
    EntryFile,
    EventSourceFile,
    ExitFile,
    FindType,
    GoalFile,
    Late,
    OnFailure,
    Path,
    Problem,
    Reentry,
    SkipFile,
    SourcesFile,
    StepFile,
    dotted,
)
from parcours.domain.campaign_file.sentences import (
    a,
    did_you_mean,
    listed,
    near,
    quoted,
    sentences,
    short,
)
from parcours.domain.contacts import identity
from parcours.domain.contacts.contact import ATTRIBUTES
from parcours.domain.contacts.touched import CAMPAIGNS, RUN
from parcours.domain.errors import CampaignError
from parcours.domain.events.matching import PropertyTest
from parcours.domain.events.table import refused_type
from parcours.domain.events.utm import NAMES as UTM_NAMES
from parcours.domain.goal import MOST_CONTROL
from parcours.domain.invalid_values import called, shown
from parcours.domain.messages.rate import parse_number_per, parse_rate
from parcours.domain.retries import MOST_STEP_ATTEMPTS
from parcours.domain.segments import rule as rules
from parcours.domain.steps import registry
from parcours.domain.steps.properties import APPLYING
from parcours.domain.steps.types import Kind
from parcours.domain.time.dates import Every
from parcours.domain.time.intervals import Interval, parse_interval
from parcours.domain.time.schedule import parse_days, parse_hour, parse_window

M = TypeVar("M", bound=BaseModel)

# What is wrong with a file is listed up to here, and then comes one sentence more.
MOST_PROBLEMS = 100

MORE = f"there may be more errors: the check stops at {MOST_PROBLEMS}; fix these first"

# Of one campaign; the largest that anybody has are of some hundreds.
MOST_STEPS = 2_000

# Event sources, exits, and tests of one of them.
MOST_LISTED = 100

# What a counter of entrants may be told to hold.
MOST_ENTRANTS = 10**12

# Trees are walked by recursion, here and by the engine.
MAX_DEPTH = 100


CAMPAIGN_KEY = re.compile(r"[a-z0-9][a-z0-9_.-]*")

STEP_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

# The property that tells a file of another kind, and what to do with such a file.
_OTHER_FILES = {
    "segment": "this is the file of a segment; use `parcours segments plan` or `parcours segments apply`",
    "scenario": "this is a scenario; use `parcours campaigns test`",
}
_CAMPAIGN_NAMES = (
    "format", "campaign", "name", "description", "note", "category", "published", "publish_from", "publish_until",
    "reentry", "cooldown", "timezone", "exit_on_leave", "grace", "catch_up", "priority", "rate", "sources", "entry",
    "exit", "goal", "control", "redirect", "steps",
)  # fmt: skip

SOURCE_NAMES = ("segments", "forms", "events", "dates")

TIMING_NAMES = ("after", "at", "hour", "between", "days", "late")

DATE_NAMES = ("field", "before", "after", "hour")

DECISION_NAMES = ("within", "look_back")

ACTION_NAMES = ("max_attempts", "on_failure")

_STEP_NAMES = (
    "step", "name", "note", *Kind, "with", *TIMING_NAMES, *DECISION_NAMES, *ACTION_NAMES, *BRANCH_NAMES,
)  # fmt: skip

BRANCHES: dict[Kind, tuple[str, ...]] = {
    Kind.ACTION: ("then",),
    Kind.DECISION: ("yes", "no"),
    Kind.CONDITION: ("yes", "no"),
}


@dataclass(frozen=True, slots=True)
class Checked:
    """What check() found: a file, or the problems why there is none."""

    file: CampaignFile | None
    problems: list[Problem]


def check(
    data: object, *, default_zone: ZoneInfo, step_type: FindType = registry.step_type, stored: bool = False
) -> Checked:
    """Return the campaign file that some data describes, or everything that is wrong with it.

    What was `stored` before is not held to what only a new file must keep to.

    `data` is what a YAML or JSON reader returns; dates may be text or already parsed. Dates without an
    offset are in the file's timezone, or in `default_zone` when it names none.
    """
    checker = Checker(default_zone, step_type, None if stored else APPLYING)
    try:
        file = checker.campaign(data)
    except EnoughError:
        return Checked(None, [*checker.problems, Problem((), MORE)])
    return Checked(None if checker.problems else file, checker.problems)


def first_of(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems, no further than people read; the last one says if there may be more."""
    found = list(islice(problems, MOST_PROBLEMS + 1))
    return found if len(found) <= MOST_PROBLEMS else [*found[:-1], Problem((), MORE)]


def outline(data: object, key: str) -> CampaignFile:
    """Return what can be understood of a stored definition that cannot be read, to plan another against it.

    What is refused in it is left out; a step without a key, with all below it.
    """
    given = data if isinstance(data, Mapping) else {}
    own = {name: value for name, value in given.items() if name not in ("campaign", "steps")}
    steps = tuple(_outlined(given.get("steps")))
    return _as_far_as(CampaignFile, {"sources": SourcesFile(), **own}, {"campaign": key, "steps": steps})


def _outlined(steps: object, depth: int = 1) -> Iterator[StepFile]:
    if not isinstance(steps, list) or depth > MAX_DEPTH:
        return
    for step in steps:
        if isinstance(step, Mapping) and isinstance(step.get("step"), str):
            below = {name: tuple(_outlined(step.get(name), depth + 1)) for name in BRANCH_NAMES}
            own = {name: value for name, value in step.items() if name != "step" and name not in BRANCH_NAMES}
            yield _as_far_as(StepFile, own, {"step": step["step"], **below})


def _as_far_as(model: type[M], given: Mapping[Any, Any], certain: Mapping[str, Any]) -> M:
    """Return a model of what is certain, and of what else was given as far as it is not refused."""
    try:
        return model.model_validate({**given, **certain})
    except ValidationError as error:
        refused = {each["loc"][0] for each in error.errors() if each["loc"]}
    rest = {name: value for name, value in given.items() if name not in refused}
    missing = {"sources": SourcesFile()} if model is CampaignFile and "sources" in refused else {}
    return model.model_validate({**rest, **missing, **certain})


class EnoughError(Exception):
    """So much is wrong that nobody reads on."""


def _steps_in(steps: object) -> int:
    """Return how many steps a list has, those below them included; counts no further than one above the most."""
    pending, found = [steps], 0
    while pending and found <= MOST_STEPS:
        each = pending.pop()
        if isinstance(each, list):
            pending += each
        elif isinstance(each, Mapping):
            found += 1
            pending += [each.get(branch) for branch in ("then", "yes", "no")]
    return found


class Checker:
    """One reading of one file, which collects what is wrong."""

    def __init__(self, zone: ZoneInfo, step_type: FindType, context: Mapping[str, Any] | None) -> None:
        self.problems: list[Problem] = []
        # Of the validation of properties.
        self.context = context
        self.zone = zone
        self.step_type = step_type

    def say(self, path: Path, sentence: str) -> None:
        if len(self.problems) == MOST_PROBLEMS:
            raise EnoughError
        self.problems.append(Problem(path, short(sentence)))

    # The campaign.

    def campaign(self, data: object) -> CampaignFile | None:
        if data is None or data == {}:
            self.say((), "the file is empty; a campaign needs at least 'campaign', 'sources' and 'steps'")
            return None
        if not isinstance(data, Mapping):
            self.say((), f"a campaign file must be a mapping of names to values, not {called(data)}")
            return None
        for name, other in _OTHER_FILES.items():
            if name in data:
                self.say((name,), other)
                return None
        self.names(data, _CAMPAIGN_NAMES, ())
        if newer(data):
            self.say(("format",), newer(data))
        timezone = self.timezone(data)
        key = self.key(data, "campaign", CAMPAIGN_KEY, ())
        if data.get("campaign") is None:
            self.say(("campaign",), "the key of the campaign is missing, such as 'campaign: welcome'")
        elif key == "this":
            self.say(("campaign",), "'this' cannot be a campaign key: in steps it means the present campaign")
        values = {
            "campaign": key,
            "name": self.text(data, "name", ()) or key,
            "description": self.text(data, "description", (), empty=True),
            "note": self.text(data, "note", ()),
            "category": self.text(data, "category", ()),
            "published": self.flag(data, "published", default=None),
            "publish_from": self.date(data, "publish_from", ()),
            "publish_until": self.date(data, "publish_until", ()),
            "reentry": self.choice(data, "reentry", get_args(Reentry), ()) or "never",
            "cooldown": self.parsed(data, "cooldown", parse_interval, ()),
            "grace": self.parsed(data, "grace", parse_interval, ()),
            "catch_up": self.catch_up(data) or "run",
            "priority": self.choice(data, "priority", get_args(Priority), ()) or "normal",
            "rate": self.parsed(data, "rate", parse_rate, ()),
            "timezone": timezone,
            "exit_on_leave": self.flag(data, "exit_on_leave", default=True),
            "sources": self.sources(data),
            "entry": self.entry(data),
            "exit": self.exits(data),
            "goal": self.goal(data),
            "control": self.control(data),
        }
        first, last = values["publish_from"], values["publish_until"]
        if first is not None and last is not None and last <= first:
            self.say(("publish_until",), "'publish_until' must be after 'publish_from'")
        if not data.get("steps") and isinstance(data.get("steps"), list | None):
            self.say(("steps",), "the campaign has no step; add at least one")
        if _steps_in(data.get("steps")) > MOST_STEPS:
            self.say(("steps",), f"the campaign has more than {MOST_STEPS:,} steps; split it into several campaigns")
            return None
        roots = self.steps(data.get("steps"), ("steps",), None, "")
        nodes = [node for root in roots for node in root.walk()]
        self.give_keys(nodes)
        Graph(self.say, roots, nodes, key).check()
        redirect = self.redirect(data, {node.key for node in nodes})
        self.run_keys(values["sources"], values["exit"], values["goal"], nodes)
        if self.problems:
            return None
        file = CampaignFile(**values, redirect=redirect, steps=tuple(map(_step_file, roots)))
        if type(data.get("format")) is int and data["format"] < file.format:
            self.say(("format",), f"the file uses properties of format {file.format}; write 'format: {file.format}'")
            return None
        return file

    def timezone(self, data: Mapping[Any, Any]) -> str | None:
        name = self.text(data, "timezone", ())
        if name is None:
            return None
        try:
            known = identity.timezone(name)
        except identity.IdentityError as error:
            self.say(("timezone",), str(error))
            return None
        self.zone = ZoneInfo(known)
        return known

    def catch_up(self, data: Mapping[Any, Any]) -> str | SkipFile | None:
        value = data.get("catch_up")
        if not isinstance(value, Mapping):
            if value is None or value in ("run", "shift"):
                return cast("str | None", value)
            hint = did_you_mean(value, ("run", "shift")) if isinstance(value, str) else ""
            if value == "skip":
                hint = "; give the age, such as {skip: 1 day}"
            self.say(("catch_up",), f"must be 'run', 'shift' or {{skip: INTERVAL}}, not {shown(value)}{hint}")
            return None
        self.names(value, ("skip",), ("catch_up",))
        if value.get("skip") is None:
            self.say(("catch_up",), "is empty; write 'run', 'shift' or, for example, {skip: 1 day}")
            return None
        interval = self.parsed(value, "skip", parse_interval, ("catch_up",))
        return None if interval is None else SkipFile(skip=interval)

    def sources(self, data: Mapping[Any, Any]) -> SourcesFile:
        found = data.get("sources")
        if found is not None and not isinstance(found, Mapping):
            self.say(
                ("sources",), f"must be a mapping of 'segments', 'forms', 'events' and 'dates', not {called(found)}"
            )
            return SourcesFile()
        found = found or {}
        self.names(found, (*SOURCE_NAMES, "existing"), ("sources",))
        if not any(found.get(name) for name in SOURCE_NAMES):
            self.say(("sources",), "the campaign has no source; add at least one segment, form, event or date")
        return SourcesFile(
            segments=self.source_keys(found, "segments"),
            forms=self.source_keys(found, "forms"),
            events=tuple(self.event_sources(found)),
            dates=self.date_sources(found),
            existing=self.flag(found, "existing", default=True, path=("sources",)) is not False,
        )

    def event_sources(self, sources: Mapping[Any, Any]) -> Iterator[EventSourceFile]:
        for path, given in self.mappings(sources, "events", ("sources",), "{type: cart.updated, key: cart_id}"):
            self.names(given, ("type", "where", "key"), path)
            type_ = self.event_type(given, "type", path)
            where, key = self.tests(given, path), self.property_name(given, path)
            if type_ is not None:
                yield EventSourceFile(type=type_, where=where, key=key)

    def date_sources(self, data: Mapping[Any, Any]) -> tuple[DateSourceFile, ...]:
        given, path = data.get("dates"), ("sources", "dates")
        if given is None:
            return ()
        if not isinstance(given, list | tuple):
            hint = "; put it in a list, as in [{field: birthday, every: year}]" if isinstance(given, Mapping) else ""
            self.say(path, f"must be a list of dates of contacts, not {called(given)}{hint}")
            return ()
        found: list[DateSourceFile] = []
        first: dict[str, int] = {}
        for index, each in enumerate(given):
            if not isinstance(each, Mapping):
                sentence = f"must be a mapping such as {{field: birthday, every: year}}, not {called(each)}"
                self.say((*path, index), sentence)
                continue
            values = self.contact_date(each, (*path, index), also=("every",))
            every = self.choice(each, "every", get_args(Every), (*path, index))
            if values is None:
                continue
            source = DateSourceFile(**values, every=every)
            name = contact_date(source).name
            if first.setdefault(name, index) != index:
                other = dotted((*path, first[name]))
                self.say((*path, index), f"this date is already a source at {other}; remove one of the two")
            found.append(source)
        return tuple(found)

    def exits(self, data: Mapping[Any, Any]) -> tuple[ExitFile, ...]:
        return tuple(self.each_exit(data))

    def each_exit(self, data: Mapping[Any, Any]) -> Iterator[ExitFile]:
        for path, given in self.mappings(data, "exit", (), "{event: order.paid} or {segment: customers}"):
            stated = [name for name in ("event", "segment", "rule") if given.get(name) is not None]
            if len(stated) != 1:
                self.say(path, "an exit needs one of 'event', 'segment' and 'rule'")
                continue
            if stated == ["rule"]:
                self.names(given, ("rule",), path)
                rule = self.exit_rule(given["rule"], (*path, "rule"))
                if rule is not None:
                    yield ExitFile(rule=rule)
                continue
            if stated == ["segment"]:
                self.names(given, ("segment",), path)
                segment = self.text(given, "segment", path)
                if segment is not None:
                    yield ExitFile(segment=segment)
                continue
            self.names(given, ("event", "where", "key"), path)
            type_ = self.event_type(given, "event", path, source=False)
            where, key = self.tests(given, path), self.property_name(given, path)
            if type_ is not None:
                yield ExitFile(event=type_, where=where, key=key)

    def exit_rule(self, data: object, path: Path) -> dict[str, Any] | None:
        """Return the rule of an exit, or None after saying what is wrong with it."""
        before = len(self.problems)
        plain = self.plain(data, path)
        matches = self.step_type(Kind.DECISION, "contact.matches")
        if len(self.problems) == before:
            try:
                properties = matches.properties.model_validate({"rule": plain}, context=self.context)
            except ValidationError as error:
                for place, sentence in sentences(error, matches.properties, {"rule": plain}):
                    self.say((*path, *place[1:]), sentence)
            else:
                assert matches.rule_of is not None
                reads = rules.reads(matches.rule_of(properties))
                if RUN in reads:
                    self.say(path, "'entry' is known only in steps; test the event with an exit by 'event'")
                if f"{CAMPAIGNS}.this" in reads:
                    self.say(path, "an exit cannot ask for the campaign itself; remove 'this'")
        return plain if len(self.problems) == before else None

    def goal(self, data: Mapping[Any, Any]) -> GoalFile | None:
        found, path = data.get("goal"), ("goal",)
        if found is None:
            return None
        if not isinstance(found, Mapping):
            hint = "; a campaign has one goal" if isinstance(found, list | tuple) else ""
            self.say(
                path, f"must be a mapping such as {{event: order.paid, within: 14 days}}, not {called(found)}{hint}"
            )
            return None
        stated = [name for name in ("event", "rule") if found.get(name) is not None]
        if len(stated) != 1:
            self.say(path, "a goal needs either 'event', such as order.paid, or 'rule'")
            return None
        within = self.parsed(found, "within", parse_interval, path)
        if within is not None and _least_seconds(parse_interval(within)) <= 0:
            self.say((*path, "within"), "must be longer than nothing, such as 14 days")
        if stated == ["rule"]:
            self.names(found, ("rule", "within"), path)
            if not isinstance(found["rule"], Mapping):
                self.say((*path, "rule"), f"must be a rule, as in the file of a segment, not {called(found['rule'])}")
                return None
            return GoalFile(rule=self.plain(found["rule"], (*path, "rule")), within=within)
        self.names(found, ("event", "where", "key", "within", "value"), path)
        type_ = self.event_type(found, "event", path, source=False)
        where, key = self.tests(found, path), self.property_name(found, path)
        value = self.property_name(found, path, "value")
        return None if type_ is None else GoalFile(event=type_, where=where, key=key, within=within, value=value)

    def control(self, data: Mapping[Any, Any]) -> int | float | None:
        found = data.get("control")
        if found is None:
            return None
        if isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found <= MOST_CONTROL:
            return found
        hint = "; write 10 for 10 percent" if isinstance(found, str) else ""
        self.say(("control",), f"must be a percentage from 0 to {MOST_CONTROL}, not {shown(found)}{hint}")
        return None

    def mappings(
        self, data: Mapping[Any, Any], name: str, above: Path, example: str
    ) -> Iterator[tuple[Path, Mapping[Any, Any]]]:
        """Yield the mappings of a list, after saying what in it is none."""
        found, path = data.get(name), (*above, name)
        if found is None:
            return
        if not isinstance(found, list | tuple):
            self.say(path, f"must be a list such as [{example}], not {called(found)}")
            return
        if len(found) > MOST_LISTED:
            self.say(path, f"has more than {MOST_LISTED} entries; remove some")
            return
        for index, each in enumerate(found):
            if isinstance(each, Mapping):
                yield (*path, index), each
            else:
                self.say((*path, index), f"must be a mapping such as {example}, not {called(each)}")

    def event_type(self, data: Mapping[Any, Any], name: str, path: Path, *, source: bool = True) -> str | None:
        """Return a type of events that contacts cause, or None after saying why it is none."""
        value = self.text(data, name, path)
        if value is None:
            if data.get(name) is None:
                self.say(path, f"'{name}' is missing: the type of the event, such as order.paid")
            return None
        type_ = value.strip()
        why = refused_type(type_, source=source)
        if why is not None:
            self.say((*path, name), why)
            return None
        return type_

    def tests(self, data: Mapping[Any, Any], above: Path) -> tuple[dict[str, Any], ...]:
        """Return tests of an event's data, as `event.happened` has them."""
        found = []
        for path, given in self.mappings(data, "where", above, "{field: total, operator: gte, value: 50}"):
            plain = self.plain(given, path)
            try:
                PropertyTest.model_validate(plain, context=self.context)
            except ValidationError as error:
                for place, sentence in sentences(error, PropertyTest, plain):
                    self.say((*path, *place), sentence)
            else:
                found.append(plain)
        return tuple(found)

    def property_name(self, data: Mapping[Any, Any], path: Path, name: str = "key") -> str | None:
        value = self.text(data, name, path)
        if value is not None and operators.TEMPLATE.search(value):
            self.say((*path, name), "must be the name of a property in the event's data, not a template")
            return None
        return None if value is None else value.strip()

    def entry(self, data: Mapping[Any, Any]) -> EntryFile | None:
        found = data.get("entry")
        if found is None:
            return None
        if not isinstance(found, Mapping):
            self.say(("entry",), f"must be a mapping such as {{most: 10000, rate: 500 per hour}}, not {called(found)}")
            return None
        self.names(found, ("most", "rate"), ("entry",))
        most = found.get("most")
        if most is not None and (isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= MOST_ENTRANTS):
            self.say(("entry", "most"), f"must be a whole number from 1 to {MOST_ENTRANTS:,}, not {shown(most)}")
            return None
        rate = self.parsed(found, "rate", parse_number_per, ("entry",))
        if found.get("most") is None and found.get("rate") is None:
            self.say(("entry",), "is empty; add 'most', such as 10000, or 'rate', such as 500 per hour")
            return None
        return EntryFile(most=most, rate=rate)

    def run_keys(
        self, sources: SourcesFile, exits: Iterable[ExitFile], goal: GoalFile | None, nodes: Iterable[Node]
    ) -> None:
        """Say what asks for the key of a run where no run can have one."""
        if any(each.key is not None for each in sources.events):
            return
        why = "no event source has a 'key'; add 'key' to a source in 'sources.events'"
        for index, each in enumerate(exits):
            if each.key is not None:
                self.say(("exit", index, "key"), why)
        if goal is not None and goal.key is not None:
            self.say(("goal", "key"), why)
        for node in nodes:
            name = None if node.type is None else node.type.run_key
            given = node.data.get("with")
            if name is not None and isinstance(given, Mapping) and given.get(name) is not None:
                self.say((*node.path, "with", name), why)

    def source_keys(self, data: Mapping[Any, Any], name: str) -> tuple[str, ...]:
        keys, path = data.get(name), ("sources", name)
        if keys is None:
            return ()
        if not isinstance(keys, list | tuple):
            hint = f"; write [{keys}]" if isinstance(keys, str) else ""
            self.say(path, f"must be a list of keys, not {called(keys)}{hint}")
            return ()
        first: dict[str, int] = {}
        for index, key in enumerate(keys):
            if not isinstance(key, str) or not key.strip():
                self.say((*path, index), f"must be a key, not {called(key)}")
            elif not _storable(key):
                self.say((*path, index), _UNSTORABLE)
            elif first.setdefault(key, index) != index:
                self.say((*path, index), f"{quoted(key)} is already named at {dotted((*path, first[key]))}")
        return tuple(key for key in keys if isinstance(key, str))

    def redirect(self, data: Mapping[Any, Any], keys: set[str]) -> dict[str, str]:
        found = data.get("redirect")
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            self.say(("redirect",), f"must be a mapping of removed steps to steps, not {called(found)}")
            return {}
        for gone, target in found.items():
            if not isinstance(gone, str):
                self.say(("redirect",), f"the name {quoted(gone)} must be text; put it in quotes")
            elif not isinstance(target, str):
                self.say(("redirect", gone), f"must be the key of a step, not {called(target)}")
            elif target not in keys:
                self.say(
                    ("redirect", gone), f"there is no step {quoted(target)} to wait at{did_you_mean(target, keys)}"
                )
        return dict(found)

    def at(self, data: Mapping[Any, Any], path: Path) -> datetime | AtFile | None:
        value = data.get("at")
        if not isinstance(value, Mapping):
            return self.date(data, "at", path)
        values = self.contact_date(value, (*path, "at"))
        return None if values is None else AtFile(**values)

    def contact_date(self, data: Mapping[Any, Any], path: Path, *, also: tuple[str, ...] = ()) -> dict[str, Any] | None:
        """Return what says when something is due by a date of the contact, or None after saying what is wrong."""
        before = len(self.problems)
        self.names(data, (*DATE_NAMES, *also), path)
        field = self.text(data, "field", path)
        if data.get("field") is None:
            self.say((*path, "field"), "the custom field that contains the date is missing, such as 'field: birthday'")
        elif field in ATTRIBUTES or field in UTM_NAMES:
            self.say((*path, "field"), f"{field!r} is not a custom field; use a custom field that contains a date")
        if data.get("before") is not None and data.get("after") is not None:
            self.say((*path, "after"), "a date can have 'before' or 'after', not both")
        values = {
            "field": field,
            "before": self.parsed(data, "before", parse_interval, path),
            "after": self.parsed(data, "after", parse_interval, path),
            "hour": self.parsed(data, "hour", parse_hour, path),
        }
        interval = values["before"] or values["after"]
        if interval is not None and values["hour"] is not None and parse_interval(interval).exact:
            self.say((*path, "hour"), f"'hour' already sets the time of day; replace {interval!r} with whole days")
        return values if len(self.problems) == before else None

    # Steps.

    def steps(self, found: object, path: Path, parent: Node | None, branch: str, depth: int = 1) -> list[Node]:
        if found is None:
            return []
        if not isinstance(found, list | tuple):
            self.say(path, f"must be a list of steps, not {called(found)}")
            return []
        if depth > MAX_DEPTH and found:
            self.say(path, f"steps can be nested at most {MAX_DEPTH} levels deep")
            return []
        nodes = []
        for index, data in enumerate(found):
            if isinstance(data, Mapping):
                nodes.append(self.step(data, (*path, index), parent, branch, depth))
            else:
                self.say((*path, index), f"a step must be a mapping of names to values, not {called(data)}")
        return nodes

    def step(self, data: Mapping[Any, Any], path: Path, parent: Node | None, branch: str, depth: int) -> Node:
        node = Node(path, data, parent, branch)
        unknown = self.names(data, _STEP_NAMES, path)
        self.kind_and_type(node, unknown)
        node.values = {
            "name": self.text(data, "name", path),
            "note": self.text(data, "note", path),
            "with": self.properties(node),
            **{name: self.parsed(data, name, parse_interval, path) for name in ("after", *DECISION_NAMES)},
            "at": self.at(data, path),
            "hour": self.parsed(data, "hour", parse_hour, path),
            "between": self.parsed(data, "between", parse_window, path),
            "days": self.parsed(data, "days", parse_days, path) or (),
            "late": self.choice(data, "late", get_args(Late), path) or "skip",
            "max_attempts": self.attempts(data, path),
            "on_failure": self.choice(data, "on_failure", get_args(OnFailure), path) or "stop",
        }
        if data.get("after") is not None:
            after = node.values["after"]
            node.seconds = math.inf if after is None else _least_seconds(parse_interval(after))
        self.what_the_kind_allows(node)
        self.timing(node)
        for name in BRANCH_NAMES:
            node.children[name] = self.steps(data.get(name), (*path, name), node, name, depth + 1)
        return node

    def kind_and_type(self, node: Node, unknown: set[str]) -> None:
        stated = [kind for kind in Kind if node.data.get(kind.value) is not None]
        if len(stated) > 1:
            self.say(node.path, f"a step can be only one of these; this one has {listed(stated, 'and')}")
            return
        if not stated:
            # A misspelt `acton` has been said already.
            if not any(near(name, list(Kind)) for name in unknown):
                self.say(node.path, f"has no type; add {listed(list(Kind), 'or')}")
            return
        node.kind = stated[0]
        node.type_name = self.text(node.data, node.kind.value, node.path)
        if node.type_name is None:
            return
        try:
            node.type = self.step_type(node.kind, node.type_name)
        except CampaignError as error:
            others = [kind for kind in Kind if kind is not node.kind and self.knows(kind, node.type_name)]
            if others:
                sentence = f"{node.type_name!r} is {a(others[0])}; write '{others[0]}: {node.type_name}'"
            else:
                sentence = short(str(error), node.type_name)
            self.say((*node.path, node.kind.value), sentence)

    def knows(self, kind: Kind, name: str) -> bool:
        try:
            self.step_type(kind, name)
        except CampaignError:
            return False
        return True

    def properties(self, node: Node) -> dict[str, Any]:
        path, given = (*node.path, "with"), node.data.get("with")
        if given is not None and not isinstance(given, Mapping):
            self.say(path, f"must be a mapping of properties to values, not {called(given)}")
            return {}
        if _nests(given, MAX_DEPTH):
            self.say(path, f"is nested too deeply; lists and mappings can be nested at most {MAX_DEPTH} levels deep")
            return {}
        before = len(self.problems)
        plain: dict[str, Any] = self.plain(given or {}, path)
        if node.type is not None and len(self.problems) == before:
            try:
                made = node.type.properties.model_validate(plain, context=self.context)
                # Asked for when the campaign is applied, when nobody could say where it failed.
                frozenset(node.type.needs_of(made))
                frozenset(node.type.events_of(made))
            except ValidationError as error:
                for place, sentence in sentences(error, node.type.properties, plain):
                    self.say((*path, *place), sentence)
            # The code of a step type of another package.
            except (Exception, SystemExit) as error:
                why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
                self.say(path, f"the step type {node.type.name!r} failed to check this ({why})")
            if self.context is APPLYING:
                fields = node.type.properties.model_fields
                plain = {**{name: fields[name].default for name in node.type.properties.meant_before}, **plain}
        return plain

    def attempts(self, data: Mapping[Any, Any], path: Path) -> int:
        value = data.get("max_attempts")
        if value is None:
            return 5
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_STEP_ATTEMPTS:
            sentence = f"must be a whole number from 1 to {MOST_STEP_ATTEMPTS}, not {shown(value)}"
            self.say((*path, "max_attempts"), sentence)
            return 5
        return value

    def what_the_kind_allows(self, node: Node) -> None:
        if node.kind is None:
            return

        def refuse(names: Iterable[str], why: str) -> None:
            for name in names:
                if node.data.get(name) is not None:
                    self.say((*node.path, name), f"{a(node.kind)} cannot have {name!r}; {why}")

        if node.kind is Kind.DECISION:
            refuse(
                TIMING_NAMES,
                "to set a deadline, use 'within', or delay the steps in its branches",
            )
            if node.type is not None and node.type.rule_of is not None and node.data.get("look_back") is not None:
                self.say((*node.path, "look_back"), f"{node.type.name!r} needs no 'look_back'; its rule tests the past")
        else:
            refuse(DECISION_NAMES, "only decisions wait for an event")
        if node.kind is not Kind.ACTION:
            refuse(ACTION_NAMES, "only actions can fail")
        allowed = BRANCHES[node.kind]
        refuse(
            (name for name in BRANCH_NAMES if name not in allowed),
            f"put the steps that follow under {listed(allowed, 'or')}",
        )
        if node.type is not None and node.type.last:
            for name in allowed:
                if node.data.get(name):
                    self.say((*node.path, name), f"no step can follow {node.type.name!r}")
        above = node.parent
        if above is None or above.kind is not Kind.DECISION:
            return
        if node.kind is Kind.DECISION:
            self.say(
                node.path,
                "a decision cannot directly follow a decision; put an action or condition between them",
            )
        elif (
            node.branch == "no"
            and above.data.get("within") is None
            and all(node.data.get(name) is None for name in ("after", "at"))
        ):
            self.say(
                node.path,
                "the decision needs a deadline: give this step 'after' or 'at', or give the decision 'within'",
            )
        elif node.branch == "no" and above.data.get("within") is None and isinstance(node.data.get("at"), Mapping):
            self.say(
                (*node.path, "at"),
                "the decision above needs a deadline; add 'within' to it",
            )

    def timing(self, node: Node) -> None:
        has = {name for name in TIMING_NAMES if node.data.get(name) is not None}
        if node.kind is Kind.DECISION:
            return
        if {"after", "at"} <= has:
            self.say((*node.path, "at"), "a step can have 'after' or 'at', not both")
        if {"hour", "between"} <= has:
            self.say((*node.path, "between"), "a step can have 'hour' or 'between', not both")
        by_date = isinstance(node.data.get("at"), Mapping)
        if "at" in has:
            for name in ("hour", "between", "days"):
                if name in has:
                    hint = "; write the hour inside 'at'" if by_date and name == "hour" else ""
                    sentence = f"{name!r} cannot be used with 'at', which already sets the time{hint}"
                    self.say((*node.path, name), sentence)
        if "late" in has and not (by_date and node.kind is Kind.ACTION):
            self.say((*node.path, "late"), "'late' can only be used on an action whose 'at' names a field")

    def give_keys(self, nodes: Iterable[Node]) -> None:
        nodes = list(nodes)
        taken: dict[str, Node] = {}
        for node in nodes:
            stated = self.key(node.data, "step", STEP_KEY, node.path)
            if stated is None:
                continue
            node.key = stated
            if stated in taken:
                first = dotted((*taken[stated].path, "step"))
                self.say(
                    (*node.path, "step"),
                    f"the key {quoted(stated)} is already used at {first}; step keys must be unique",
                )
            taken.setdefault(stated, node)
        numbers: dict[str, int] = {}
        for node in nodes:
            if node.data.get("step") is None and node.type is not None:
                plain = node.key = node.type.name.replace(".", "-")
                number = numbers.get(plain, 1)
                while node.key in taken:
                    number += 1
                    node.key = f"{plain}-{number}"
                numbers[plain] = number
                taken[node.key] = node

    # Values.

    def names(self, data: Mapping[Any, Any], known: Sequence[str], path: Path) -> set[str]:
        """Say which names are unknown, and return them."""
        unknown = set()
        for name in data:
            if not isinstance(name, str):
                self.say(path, f"the name {quoted(name)} must be text; put it in quotes")
            elif name not in known:
                unknown.add(name)
                self.say((*path, name), f"unknown name {quoted(name)}{did_you_mean(name, known)}")
        return unknown

    def text(
        self, data: Mapping[Any, Any], name: str, path: Path, *, empty: bool = False, quietly: bool = False
    ) -> str | None:
        value = data.get(name)
        problem = None
        if value is None:
            return None
        if not isinstance(value, str):
            quotes = "" if isinstance(value, Mapping | list | tuple) else "; put it in quotes"
            problem = f"must be text, not {called(value)}{quotes}"
        elif not value.strip() and not empty:
            problem = "must not be empty"
        elif not _storable(value):
            problem = _UNSTORABLE
        if problem is None:
            return cast(str, value)
        if not quietly:
            self.say((*path, name), problem)
        return None

    def key(self, data: Mapping[Any, Any], name: str, pattern: re.Pattern[str], path: Path) -> str | None:
        value = self.text(data, name, path)
        if value is not None and not pattern.fullmatch(value):
            letters = "lowercase letters" if pattern is CAMPAIGN_KEY else "unaccented letters"
            self.say(
                (*path, name),
                f"{quoted(value)} is not a valid key; use {letters}, digits, '_', '.' and '-', starting with "
                "a letter or digit",
            )
            return None
        return value

    def flag(self, data: Mapping[Any, Any], name: str, *, default: bool | None, path: Path = ()) -> bool | None:
        value = data.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.say((*path, name), f"must be true or false, not {shown(value)}")
            return default
        return value

    def choice(self, data: Mapping[Any, Any], name: str, choices: Sequence[str], path: Path) -> Any:
        value = data.get(name)
        if value is None or (isinstance(value, str) and value in choices):
            return value
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        self.say((*path, name), f"must be {listed(choices, 'or')}, not {shown(value)}{hint}")
        return None

    def parsed(self, data: Mapping[Any, Any], name: str, parse: Callable[[Any], object], path: Path) -> Any:
        """Return a value as it was written, or None after saying why it cannot be read."""
        value = data.get(name)
        if value is None:
            return None
        try:
            parse(value)
        except ValueError as error:
            self.say((*path, name), short(str(error), value))
            return None
        return tuple(value) if isinstance(value, list | tuple) else value

    def date(self, data: Mapping[Any, Any], name: str, path: Path) -> datetime | None:
        value = data.get(name)
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value.strip())
            except ValueError:
                sentence = (
                    f"{quoted(value)} is not a date; write it like '2026-12-24T09:00' or '2026-12-24T09:00+01:00'"
                )
                self.say((*path, name), sentence)
                return None
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)  # noqa: DTZ001
        if not isinstance(value, datetime):
            self.say((*path, name), f"must be a date such as '2026-12-24T09:00', not {called(value)}")
            return None
        # Near the ends of the calendar a change of timezone would leave it.
        if not 1900 <= value.year <= 9000:
            self.say((*path, name), f"the year must be between 1900 and 9000, not {value.year}")
            return None
        return with_offset(value, self.zone)

    def plain(self, value: object, path: Path) -> Any:
        """Return properties as JSON could hold them, after saying what in them it could not."""
        if isinstance(value, Mapping):
            for name in value:
                if not isinstance(name, str):
                    self.say(path, f"the name {quoted(name)} must be text; put it in quotes")
                elif not _storable(name):
                    self.say(path, f"the name {quoted(name)} {_UNSTORABLE}")
            return {name: self.plain(each, (*path, name)) for name, each in value.items() if isinstance(name, str)}
        if isinstance(value, list | tuple):
            return [self.plain(each, (*path, index)) for index, each in enumerate(value)]
        if isinstance(value, str):
            if not _storable(value):
                self.say(path, _UNSTORABLE)
            return value
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, float) and not math.isfinite(value):
            self.say(path, "must be a finite number")
        elif value is not None and not isinstance(value, bool | int | float):
            self.say(path, f"must be text, a number, true, false, a list or a mapping, not {called(value)}")
        return value


def _step_file(node: Node) -> StepFile:
    assert node.kind is not None
    below = {name: tuple(map(_step_file, children)) for name, children in node.children.items()}
    return StepFile(**{"step": node.key, node.kind.value: node.type_name, **node.values, **below})


def _nests(value: object, limit: int) -> bool:
    """Return whether more lists and mappings are in each other than the limit."""
    if not isinstance(value, Mapping | list | tuple):
        return False
    below = value.values() if isinstance(value, Mapping) else value
    return limit == 0 or any(_nests(each, limit - 1) for each in below)


def _least_seconds(interval: Interval) -> float:
    return (interval.months * 28 + interval.days) * 86_400 + interval.exact.total_seconds()


# Sentences.

_UNSTORABLE = "contains a character that cannot be stored (NUL or a lone surrogate)"


def _storable(text: str) -> bool:
    """Return whether PostgreSQL can hold a text in JSON."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
