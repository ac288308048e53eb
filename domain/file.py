"""The campaign file: what one may say, everything that is wrong with one, and the tree it describes."""

from __future__ import annotations

import difflib
import heapq
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from typing import Any, Literal, TypeVar, cast, get_args
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from domain import identity
from domain.campaign import Branch, Campaign, Priority, Step
from domain.errors import CampaignError
from domain.rate import parse_rate
from domain.schedule import (
    WEEKDAYS,
    Interval,
    Timing,
    parse_days,
    parse_hour,
    parse_interval,
    parse_window,
)
from domain.steps import registry
from domain.steps.properties import APPLYING
from domain.steps.registry import Kind, Properties, StepType

M = TypeVar("M", bound=BaseModel)
Path = tuple[str | int, ...]
FindType = Callable[[Kind, str], StepType]
Reentry = Literal["never", "after_exit", "always"]
OnFailure = Literal["stop", "continue"]

# What is wrong with a file is listed up to here, and then comes one sentence more.
MOST_PROBLEMS = 100
MORE = f"more may be wrong: the check stops at {MOST_PROBLEMS} problems; mend these first"
# Characters of a file that a problem repeats, and of a sentence.
MOST_ECHO = 100
MOST_SENTENCE = 400
# Steps looked at in search of loops; only hundreds of jumps that lead past hundreds of steps take more.
MOST_LOOKS = 1_000_000
# Of one campaign; the largest that anybody has are of some hundreds.
MOST_STEPS = 2_000
# The format of campaign files, and of the definitions that are stored: raised when an older release could not read
# a new one. What says nothing is of the first.
FORMAT = 1

# A loop that only waits must wait this long; it is also the reference engine's limit for a restart.
LEAST_LOOP_SECONDS = 30 * 60
# Trees are walked by recursion, here and by the engine.
MAX_DEPTH = 100
MAX_ATTEMPTS = 1000

_CAMPAIGN_KEY = re.compile(r"[a-z0-9][a-z0-9_.-]*")
_STEP_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_CAMPAIGN_NAMES = (
    "format", "campaign", "name", "description", "category", "published", "publish_from", "publish_until", "reentry",
    "cooldown", "timezone", "exit_on_leave", "grace", "catch_up", "priority", "rate", "sources", "redirect", "steps",
)  # fmt: skip
_TIMING_NAMES = ("after", "at", "hour", "between", "days")
_DECISION_NAMES = ("within", "look_back")
_ACTION_NAMES = ("max_attempts", "on_failure")
_BRANCH_NAMES = ("then", "yes", "no")
_STEP_NAMES = (
    "step", "name", *Kind, "with", *_TIMING_NAMES, *_DECISION_NAMES, *_ACTION_NAMES, *_BRANCH_NAMES,
)  # fmt: skip
_BRANCHES: dict[Kind, tuple[str, ...]] = {
    Kind.ACTION: ("then",),
    Kind.DECISION: ("yes", "no"),
    Kind.CONDITION: ("yes", "no"),
}
_ABOUT_AN_EMAIL = frozenset({"email.open", "email.click", "email.reply"})
_SENDS_AN_EMAIL = frozenset({"email.send", "message.send"})


class StepFile(BaseModel):
    """One step of a campaign file, with what is below it. Intervals and hours are kept as written."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    step: str
    name: str | None = None
    action: str | None = None
    decision: str | None = None
    condition: str | None = None
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    after: str | None = None
    at: datetime | None = None
    hour: str | None = None
    between: tuple[str, str] | None = None
    days: tuple[str, ...] = ()
    within: str | None = None
    look_back: str | None = None
    max_attempts: int = 5
    on_failure: OnFailure = "stop"
    then: tuple[StepFile, ...] = ()
    yes: tuple[StepFile, ...] = ()
    no: tuple[StepFile, ...] = ()

    @property
    def kind(self) -> Kind:
        if self.action is not None:
            return Kind.ACTION
        return Kind.DECISION if self.decision is not None else Kind.CONDITION

    @property
    def type(self) -> str:
        """The name of the step's type, of whichever kind."""
        return self.action or self.decision or self.condition or ""

    def branches(self) -> Iterator[tuple[Branch | None, tuple[StepFile, ...]]]:
        """Yield what is below, by branch; None is below an action."""
        yield None, self.then
        yield "yes", self.yes
        yield "no", self.no


class SourcesFile(BaseModel):
    """What feeds a campaign: keys of segments and forms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    segments: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()


class SkipFile(BaseModel):
    """A campaign's `catch_up` that skips what is older than an interval, kept as written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    skip: str


class CampaignFile(BaseModel):
    """A campaign file that check() found nothing wrong with. Its dates have an offset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    campaign: str
    name: str = Field(default_factory=lambda data: data["campaign"])
    description: str | None = None
    category: str | None = None
    # Unsaid: a new campaign is off, one that exists stays as it is.
    published: bool | None = None
    publish_from: datetime | None = None
    publish_until: datetime | None = None
    reentry: Reentry = "never"
    cooldown: str | None = None
    timezone: str | None = None
    exit_on_leave: bool = True
    grace: str | None = None
    catch_up: Literal["run", "shift"] | SkipFile = "run"
    priority: Priority = "normal"
    rate: str | None = None
    sources: SourcesFile
    # Where those go who wait at steps that this version drops. An act of applying, and no part of the version.
    redirect: dict[str, str] = Field(default_factory=dict)
    steps: tuple[StepFile, ...]

    def walk(self) -> Iterator[StepFile]:
        """Yield every step, depth first: the order of the document, `yes` before `no`."""
        for step in self.steps:
            yield from _walk(step)


def _walk(step: StepFile) -> Iterator[StepFile]:
    yield step
    for _, below in step.branches():
        for child in below:
            yield from _walk(child)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file, and where."""

    path: Path
    sentence: str

    @property
    def place(self) -> str:
        """The path as a person reads it, such as `steps[2].with.points`."""
        return dotted(self.path)

    def __str__(self) -> str:
        return f"{self.place}: {self.sentence}" if self.path else self.sentence


@dataclass(frozen=True, slots=True)
class Checked:
    """What check() found: a file, or the problems why there is none."""

    file: CampaignFile | None
    problems: list[Problem]


def dotted(path: Path) -> str:
    """Return a path as text, such as `steps[2].then[0].with.points`."""
    text = ""
    for piece in path:
        if isinstance(piece, int):
            text += f"[{piece}]"
            continue
        name = piece if len(piece) <= MOST_ECHO else f"{piece[:MOST_ECHO]}…"
        if re.fullmatch(r"[\w-]+", name):
            text += f".{name}" if text else name
        else:
            text += f"[{json.dumps(name, ensure_ascii=False)}]"
    return text


def check(
    data: object, *, default_zone: ZoneInfo, step_type: FindType = registry.step_type, stored: bool = False
) -> Checked:
    """Return the campaign file that some data describes, or everything that is wrong with it.

    What was `stored` before is not held to what only a new file must keep to.

    `data` is what a YAML or JSON reader returns; dates may be text or already parsed. Dates without an
    offset are in the file's timezone, or in `default_zone` when it names none.
    """
    checker = _Checker(default_zone, step_type, None if stored else APPLYING)
    try:
        file = checker.campaign(data)
    except _EnoughError:
        return Checked(None, [*checker.problems, Problem((), MORE)])
    return Checked(None if checker.problems else file, checker.problems)


def first_of(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems, no further than people read; the last one says if there may be more."""
    found = list(islice(problems, MOST_PROBLEMS + 1))
    return found if len(found) <= MOST_PROBLEMS else [*found[:-1], Problem((), MORE)]


def quoted(value: object) -> str:
    """Return a value of a file in quotes, shortened, for a sentence."""
    text = repr(value)
    return text if len(text) <= MOST_ECHO else f"{text[: MOST_ECHO - 20]}…{text[-19:]}"


def near(name: str, known: Iterable[str]) -> list[str]:
    """Return which of the known names was probably meant, if one was. Never compares what is no name any more."""
    if len(name) > MOST_ECHO:
        return []
    return difflib.get_close_matches(name, [each for each in known if len(each) <= MOST_ECHO], n=1)


def short(sentence: str, value: object = None) -> str:
    """Return a sentence about a value of a file, without repeating more of the value than helps."""
    for each in value if isinstance(value, list | tuple) else [value]:
        if isinstance(each, str) and len(each) > MOST_ECHO:
            sentence = sentence.replace(repr(each), quoted(each)).replace(each, quoted(each))
    half = MOST_SENTENCE // 4
    return sentence if len(sentence) <= MOST_SENTENCE else f"{sentence[:half]} … {sentence[-half:]}"


def stored(data: object) -> CampaignFile:
    """Return the campaign file of a stored definition.

    It was checked when it was applied and is trusted now, so a rule that came later changes nothing about it.
    Raises CampaignError with one sentence for what cannot be read.
    """
    if not isinstance(data, Mapping):
        raise CampaignError(f"the definition is {_called(data)} and no mapping")
    try:
        if _newer(data):
            raise CampaignError(_newer(data))
        return CampaignFile.model_validate({name: value for name, value in data.items() if name != "format"})
    except ValidationError as error:
        first = error.errors()[0]
        raise CampaignError(f"{dotted(first['loc'])}: {first['msg']}") from None


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
            below = {name: tuple(_outlined(step.get(name), depth + 1)) for name in _BRANCH_NAMES}
            own = {name: value for name, value in step.items() if name != "step" and name not in _BRANCH_NAMES}
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


def _newer(data: Mapping[Any, Any]) -> str:
    """Return why a file of its format cannot be read; nothing if it can."""
    given = data.get("format", FORMAT)
    if type(given) is int and 1 <= given <= FORMAT:
        return ""
    return f"the format is {given!r}, and this release of Parcours reads format {FORMAT}; upgrade it, or write {FORMAT}"


def build(
    file: CampaignFile,
    *,
    campaign_id: int,
    version: int,
    step_ids: Mapping[str, int],
    zone: ZoneInfo,
    moved: Collection[str] = (),
    step_type: FindType = registry.step_type,
) -> Campaign:
    """Return a file's tree as the engine walks it, its steps in the order of the document.

    `step_ids` has the id of each step's key, `moved` the keys of steps that stood elsewhere before. `zone` is
    for dates without an offset, which a file from check() does not have.
    """
    steps: dict[int, Step] = {}
    zone = ZoneInfo(file.timezone) if file.timezone else zone

    def place(found: StepFile, parent: int | None, branch: Branch | None) -> None:
        kind = step_type(found.kind, found.type)
        if found.step not in step_ids:
            raise CampaignError(f"the database has no row for the step {found.step!r}")
        step = Step(
            id=step_ids[found.step],
            key=found.step,
            name=found.name or found.step,
            type=kind,
            properties=_properties(kind, found),
            timing=_timing(found, zone),
            parent=parent,
            branch=branch,
            within=_interval(found.within),
            look_back=_interval(found.look_back),
            max_attempts=found.max_attempts,
            on_failure=found.on_failure,
            moved=found.step in moved,
        )
        steps[step.id] = step
        for below, children in found.branches():
            for child in children:
                place(child, step.id, below)

    for root in file.steps:
        place(root, None, None)
    return Campaign(
        id=campaign_id,
        key=file.campaign,
        version=version,
        steps=steps,
        name=file.name,
        reentry=file.reentry,
        cooldown=_interval(file.cooldown),
        grace=_interval(file.grace),
        catch_up=parse_interval(file.catch_up.skip) if isinstance(file.catch_up, SkipFile) else file.catch_up,
        exit_on_leave=file.exit_on_leave,
        priority=file.priority,
        per_second=None if file.rate is None else parse_rate(file.rate),
    )


def _properties(kind: StepType, step: StepFile) -> Properties:
    try:
        return kind.properties.model_validate(step.with_)
    except ValidationError as error:
        wrong = _sentences(error, kind.properties, step.with_)
        said = "; ".join(f"{dotted(('with', *place))}: {sentence}" for place, sentence in wrong)
        raise CampaignError(f"step {step.step!r}: {said}") from None


def _timing(step: StepFile, zone: ZoneInfo) -> Timing:
    return Timing(
        after=_interval(step.after),
        at=None if step.at is None else _with_offset(step.at, zone),
        hour=None if step.hour is None else parse_hour(step.hour),
        between=None if step.between is None else parse_window(list(step.between)),
        days=parse_days(list(step.days)) if step.days else frozenset(),
    )


def _interval(text: str | None) -> Interval | None:
    return None if text is None else parse_interval(text)


def to_data(file: CampaignFile) -> dict[str, Any]:
    """Return a file as plain data that JSON can hold: check() makes the same file of it again.

    Names come in the order of the documentation, defaults are left out, the keys of all steps are stated.
    `redirect` is left out too: it is for applying the file once.
    """
    data = _plain_fields(file)
    data.pop("redirect", None)
    data["steps"] = [_step_data(step) for step in file.steps]
    return data


def _step_data(step: StepFile) -> dict[str, Any]:
    data = _plain_fields(step)
    for name in _BRANCH_NAMES:
        if name in data:
            data[name] = [_step_data(child) for child in data[name]]
    return data


def _plain_fields(model: BaseModel) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if not info.is_required() and value == info.get_default(call_default_factory=True, validated_data=data):
            continue
        if isinstance(value, datetime):
            value = value.isoformat()
        elif isinstance(value, SourcesFile | SkipFile):
            value = _plain_fields(value)
        elif isinstance(value, tuple):
            value = list(value)
        data[info.alias or name] = value
    return data


# Checking.


@dataclass
class _Node:
    """A step while its file is checked. What could not be read is None."""

    path: Path
    data: Mapping[Any, Any]
    parent: _Node | None
    branch: str
    kind: Kind | None = None
    type_name: str | None = None
    type: StepType | None = None
    key: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    # The least time between reaching the step and passing it; endless when the interval cannot be read,
    # which has been said already.
    seconds: float = 0.0
    children: dict[str, list[_Node]] = field(default_factory=dict)

    def walk(self) -> Iterator[_Node]:
        yield self
        for name in _BRANCH_NAMES:
            for child in self.children.get(name, ()):
                yield from child.walk()

    def is_action(self, name: str) -> bool:
        return self.kind is Kind.ACTION and self.type_name == name


class _EnoughError(Exception):
    """So much is wrong that nobody reads on."""


class _TooFarError(Exception):
    """There are too many ways through a campaign to follow all of them."""


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


class _Checker:
    """One reading of one file, which collects what is wrong."""

    def __init__(self, zone: ZoneInfo, step_type: FindType, context: Mapping[str, Any] | None) -> None:
        self.problems: list[Problem] = []
        # Of the validation of properties.
        self.context = context
        self.zone = zone
        self.step_type = step_type

    def say(self, path: Path, sentence: str) -> None:
        if len(self.problems) == MOST_PROBLEMS:
            raise _EnoughError
        self.problems.append(Problem(path, short(sentence)))

    # The campaign.

    def campaign(self, data: object) -> CampaignFile | None:
        if data is None or data == {}:
            self.say((), "the file is empty; a campaign has at least 'campaign', 'sources' and 'steps'")
            return None
        if not isinstance(data, Mapping):
            self.say((), f"a campaign file is a mapping of names to values, not {_called(data)}")
            return None
        self.names(data, _CAMPAIGN_NAMES, ())
        if _newer(data):
            self.say(("format",), _newer(data))
        timezone = self.timezone(data)
        key = self.key(data, "campaign", _CAMPAIGN_KEY, ())
        if data.get("campaign") is None:
            self.say(("campaign",), "the key of the campaign is missing, such as 'campaign: welcome'")
        elif key == "this":
            self.say(("campaign",), "'this' cannot be a key, since steps mean their own campaign by it")
        values = {
            "campaign": key,
            "name": self.text(data, "name", ()) or key,
            "description": self.text(data, "description", (), empty=True),
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
        }
        first, last = values["publish_from"], values["publish_until"]
        if first is not None and last is not None and last <= first:
            self.say(("publish_until",), "'publish_until' must be after 'publish_from'")
        if not data.get("steps") and isinstance(data.get("steps"), list | None):
            self.say(("steps",), "the campaign has no step; give it at least one")
        if _steps_in(data.get("steps")) > MOST_STEPS:
            self.say(("steps",), f"the campaign has more than {MOST_STEPS:,} steps; divide it into several")
            return None
        roots = self.steps(data.get("steps"), ("steps",), None, "")
        nodes = [node for root in roots for node in root.walk()]
        self.give_keys(nodes)
        _Graph(self, roots, nodes, key).check()
        redirect = self.redirect(data, {node.key for node in nodes})
        if self.problems:
            return None
        return CampaignFile(**values, redirect=redirect, steps=tuple(map(_step_file, roots)))

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
            hint = _did_you_mean(value, ("run", "shift")) if isinstance(value, str) else ""
            if value == "skip":
                hint = "; say what is too old, such as {skip: 1 day}"
            self.say(("catch_up",), f"must be 'run', 'shift' or {{skip: INTERVAL}}, not {_shown(value)}{hint}")
            return None
        self.names(value, ("skip",), ("catch_up",))
        if value.get("skip") is None:
            self.say(("catch_up",), "says nothing to do; write 'run', 'shift' or such as {skip: 1 day}")
            return None
        interval = self.parsed(value, "skip", parse_interval, ("catch_up",))
        return None if interval is None else SkipFile(skip=interval)

    def sources(self, data: Mapping[Any, Any]) -> SourcesFile:
        found = data.get("sources")
        if found is not None and not isinstance(found, Mapping):
            self.say(("sources",), f"must be a mapping of 'segments' and 'forms' to lists, not {_called(found)}")
            return SourcesFile()
        found = found or {}
        self.names(found, ("segments", "forms"), ("sources",))
        if not any(found.get(name) for name in ("segments", "forms")):
            self.say(("sources",), "the campaign has no source; name at least one segment or form")
        return SourcesFile(segments=self.source_keys(found, "segments"), forms=self.source_keys(found, "forms"))

    def source_keys(self, data: Mapping[Any, Any], name: str) -> tuple[str, ...]:
        keys, path = data.get(name), ("sources", name)
        if keys is None:
            return ()
        if not isinstance(keys, list | tuple):
            hint = f"; write [{keys}]" if isinstance(keys, str) else ""
            self.say(path, f"must be a list of keys, not {_called(keys)}{hint}")
            return ()
        first: dict[str, int] = {}
        for index, key in enumerate(keys):
            if not isinstance(key, str) or not key.strip():
                self.say((*path, index), f"must be a key, not {_called(key)}")
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
            self.say(("redirect",), f"must be a mapping of removed steps to steps, not {_called(found)}")
            return {}
        for gone, target in found.items():
            if not isinstance(gone, str):
                self.say(("redirect",), f"the name {quoted(gone)} must be text; put it in quotes")
            elif not isinstance(target, str):
                self.say(("redirect", gone), f"must be the key of a step, not {_called(target)}")
            elif target not in keys:
                self.say(
                    ("redirect", gone), f"there is no step {quoted(target)} to wait at{_did_you_mean(target, keys)}"
                )
        return dict(found)

    # Steps.

    def steps(self, found: object, path: Path, parent: _Node | None, branch: str, depth: int = 1) -> list[_Node]:
        if found is None:
            return []
        if not isinstance(found, list | tuple):
            self.say(path, f"must be a list of steps, not {_called(found)}")
            return []
        if depth > MAX_DEPTH and found:
            self.say(path, f"steps can be at most {MAX_DEPTH} below each other")
            return []
        nodes = []
        for index, data in enumerate(found):
            if isinstance(data, Mapping):
                nodes.append(self.step(data, (*path, index), parent, branch, depth))
            else:
                self.say((*path, index), f"a step is a mapping of names to values, not {_called(data)}")
        return nodes

    def step(self, data: Mapping[Any, Any], path: Path, parent: _Node | None, branch: str, depth: int) -> _Node:
        node = _Node(path, data, parent, branch)
        unknown = self.names(data, _STEP_NAMES, path)
        self.kind_and_type(node, unknown)
        node.values = {
            "name": self.text(data, "name", path),
            "with": self.properties(node),
            **{name: self.parsed(data, name, parse_interval, path) for name in ("after", *_DECISION_NAMES)},
            "at": self.date(data, "at", path),
            "hour": self.parsed(data, "hour", parse_hour, path),
            "between": self.parsed(data, "between", parse_window, path),
            "days": self.parsed(data, "days", parse_days, path) or (),
            "max_attempts": self.attempts(data, path),
            "on_failure": self.choice(data, "on_failure", get_args(OnFailure), path) or "stop",
        }
        if data.get("after") is not None:
            after = node.values["after"]
            node.seconds = math.inf if after is None else _least_seconds(parse_interval(after))
        self.what_the_kind_allows(node)
        self.timing(node)
        for name in _BRANCH_NAMES:
            node.children[name] = self.steps(data.get(name), (*path, name), node, name, depth + 1)
        return node

    def kind_and_type(self, node: _Node, unknown: set[str]) -> None:
        stated = [kind for kind in Kind if node.data.get(kind.value) is not None]
        if len(stated) > 1:
            self.say(node.path, f"a step is one thing: this one has {_listed(stated, 'and')}")
            return
        if not stated:
            # A misspelt `acton` has been said already.
            if not any(near(name, list(Kind)) for name in unknown):
                self.say(node.path, f"says nothing to do; give it {_listed(list(Kind), 'or')}")
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
                sentence = f"{node.type_name!r} is {_a(others[0])}; write '{others[0]}: {node.type_name}'"
            else:
                sentence = short(str(error), node.type_name)
            self.say((*node.path, node.kind.value), sentence)

    def knows(self, kind: Kind, name: str) -> bool:
        try:
            self.step_type(kind, name)
        except CampaignError:
            return False
        return True

    def properties(self, node: _Node) -> dict[str, Any]:
        path, given = (*node.path, "with"), node.data.get("with")
        if given is not None and not isinstance(given, Mapping):
            self.say(path, f"must be a mapping of properties to values, not {_called(given)}")
            return {}
        if _nests(given, MAX_DEPTH):
            self.say(path, f"is nested too deeply; lists and mappings can be at most {MAX_DEPTH} in each other")
            return {}
        before = len(self.problems)
        plain: dict[str, Any] = self.plain(given or {}, path)
        if node.type is not None and len(self.problems) == before:
            try:
                node.type.properties.model_validate(plain, context=self.context)
            except ValidationError as error:
                for place, sentence in _sentences(error, node.type.properties, plain):
                    self.say((*path, *place), sentence)
            # The code of a step type of another package.
            except Exception as error:
                self.say(
                    path, f"the step type {node.type.name!r} failed to check this ({type(error).__name__}: {error})"
                )
        return plain

    def attempts(self, data: Mapping[Any, Any], path: Path) -> int:
        value = data.get("max_attempts")
        if value is None:
            return 5
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_ATTEMPTS:
            sentence = f"must be a whole number from 1 to {MAX_ATTEMPTS}, not {_shown(value)}"
            self.say((*path, "max_attempts"), sentence)
            return 5
        return value

    def what_the_kind_allows(self, node: _Node) -> None:
        if node.kind is None:
            return

        def refuse(names: Iterable[str], why: str) -> None:
            for name in names:
                if node.data.get(name) is not None:
                    self.say((*node.path, name), f"{_a(node.kind)} has no {name!r}; {why}")

        if node.kind is Kind.DECISION:
            refuse(
                _TIMING_NAMES,
                "it waits for what the contact does: set 'within', or delay the steps of its branches",
            )
        else:
            refuse(_DECISION_NAMES, "only a decision waits for something to happen")
        if node.kind is not Kind.ACTION:
            refuse(_ACTION_NAMES, "only an action can fail")
        allowed = _BRANCHES[node.kind]
        refuse(
            (name for name in _BRANCH_NAMES if name not in allowed),
            f"what follows it is below {_listed(allowed, 'or')}",
        )
        if node.type is not None and node.type.last:
            for name in allowed:
                if node.data.get(name):
                    self.say((*node.path, name), f"nothing can follow {node.type.name!r}")
        above = node.parent
        if above is None or above.kind is not Kind.DECISION:
            return
        if node.kind is Kind.DECISION:
            self.say(
                node.path,
                "a decision cannot stand directly below a decision; put an action or condition between",
            )
        elif (
            node.branch == "no"
            and above.data.get("within") is None
            and all(node.data.get(name) is None for name in ("after", "at"))
        ):
            self.say(
                node.path,
                "nobody can say when nothing has happened: give this step 'after' or 'at', or its decision 'within'",
            )

    def timing(self, node: _Node) -> None:
        has = {name for name in _TIMING_NAMES if node.data.get(name) is not None}
        if node.kind is Kind.DECISION:
            return
        if {"after", "at"} <= has:
            self.say((*node.path, "at"), "a step has 'after' or 'at', not both")
        if {"hour", "between"} <= has:
            self.say((*node.path, "between"), "a step has 'hour' or 'between', not both")
        if "at" in has:
            for name in ("hour", "between", "days"):
                if name in has:
                    self.say((*node.path, name), f"{name!r} cannot go with 'at', which already says when")

    def give_keys(self, nodes: Iterable[_Node]) -> None:
        nodes = list(nodes)
        taken: dict[str, _Node] = {}
        for node in nodes:
            stated = self.key(node.data, "step", _STEP_KEY, node.path)
            if stated is None:
                continue
            node.key = stated
            if stated in taken:
                first = dotted((*taken[stated].path, "step"))
                self.say(
                    (*node.path, "step"),
                    f"the key {quoted(stated)} is already used at {first}; each step needs its own",
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
                self.say((*path, name), f"unknown name {quoted(name)}{_did_you_mean(name, known)}")
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
            problem = f"must be text, not {_called(value)}{quotes}"
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
            letters = "small letters" if pattern is _CAMPAIGN_KEY else "letters without accents"
            self.say(
                (*path, name),
                f"{quoted(value)} cannot be a key; use {letters}, digits, '_', '.' and '-', "
                "beginning with a letter or digit",
            )
            return None
        return value

    def flag(self, data: Mapping[Any, Any], name: str, *, default: bool | None) -> bool | None:
        value = data.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.say((name,), f"must be true or false, not {_shown(value)}")
            return default
        return value

    def choice(self, data: Mapping[Any, Any], name: str, choices: Sequence[str], path: Path) -> Any:
        value = data.get(name)
        if value is None or (isinstance(value, str) and value in choices):
            return value
        hint = _did_you_mean(value, choices) if isinstance(value, str) else ""
        self.say((*path, name), f"must be {_listed(choices, 'or')}, not {_shown(value)}{hint}")
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
            self.say((*path, name), f"must be a date such as '2026-12-24T09:00', not {_called(value)}")
            return None
        # Near the ends of the calendar a change of timezone would leave it.
        if not 1900 <= value.year <= 9000:
            self.say((*path, name), f"the year must be between 1900 and 9000, not {value.year}")
            return None
        return _with_offset(value, self.zone)

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
            self.say(path, f"must be text, a number, true, false, a list or a mapping, not {_called(value)}")
        return value


class _Graph:
    """Where contacts can walk: down the tree, and over jumps."""

    def __init__(self, checker: _Checker, roots: list[_Node], nodes: list[_Node], campaign: str | None) -> None:
        self.say = checker.say
        self.roots = roots
        self.nodes = nodes
        self.campaign = campaign
        self.by_key: dict[str, _Node] = {}
        for node in nodes:
            if node.key:
                self.by_key.setdefault(node.key, node)
        self.targets: dict[int, _Node] = {}
        self.looks = 0

    def check(self) -> None:
        for node in self.nodes:
            if node.is_action("campaign.jump"):
                self.jump(node)
            elif node.kind is Kind.DECISION and node.type_name in _ABOUT_AN_EMAIL:
                self.about_an_email(node)
        self.draws()
        try:
            self.loops()
            self.restarts()
        except _TooFarError:
            self.say(("steps",), "so many jumps lead past so many steps that they cannot be checked; use fewer")

    def jump(self, node: _Node) -> None:
        to, path = node.values["with"].get("to"), (*node.path, "with", "to")
        if not isinstance(to, str) or node.type is None:
            return
        target = self.by_key.get(to)
        if target is None:
            self.say(path, f"there is no step {quoted(to)} to jump to{_did_you_mean(to, self.by_key)}")
        elif target.kind is Kind.DECISION:
            self.say(path, f"{quoted(to)} is a decision; a jump leads to an action or a condition")
        elif target.is_action("campaign.jump"):
            self.say(path, f"{quoted(to)} is a jump itself; jump to where it leads")
        else:
            self.targets[id(node)] = target

    def about_an_email(self, node: _Node) -> None:
        """Source: the builder of the reference engine; but any email above will do, not only the direct parent."""
        above = node.parent
        while above is not None:
            if above.kind is Kind.ACTION and above.type_name in _SENDS_AN_EMAIL:
                return
            above = above.parent
        given = node.data.get("with")
        # Properties that are no mapping have been said already.
        if given is None or (isinstance(given, Mapping) and not given.get("email")):
            self.say(node.path, f"{node.type_name!r} is about the nearest email above it, and there is none")

    def draws(self) -> None:
        """Steps of one draw divide the contacts only if they cut it alike."""
        seen: dict[str, _Node] = {}
        for node in self.nodes:
            given = node.values.get("with", {})
            name, shares = given.get("draw"), given.get("shares")
            if (node.kind, node.type_name) != (Kind.CONDITION, "split.random") or not isinstance(shares, Mapping):
                continue
            if not isinstance(name, str):
                continue
            first = seen.setdefault(name.strip(), node)
            # The order says which part of the draw a share is.
            if list(first.values["with"]["shares"].items()) != list(shares.items()):
                place = dotted((*first.path, "with", "shares"))
                self.say(
                    (*node.path, "with", "shares"),
                    f"the draw {quoted(name.strip())} has other shares at {place}; all its steps name the same ones, "
                    "in the same order",
                )

    def loops(self) -> None:
        jumping: dict[int, list[_Node]] = {}
        for node in self.nodes:
            if id(node) in self.targets:
                jumping.setdefault(id(self.targets[id(node)]), []).append(node)
        ways: dict[int, list[_Node]] = {}
        for nodes in jumping.values():
            came_from = self.quickest([self.targets[id(nodes[0])]])
            ways.update({id(node): _way(came_from, node) for node in nodes if id(node) in came_from})
        seen: set[frozenset[int]] = set()
        for node in self.nodes:
            way = ways.get(id(node))
            if way is None or frozenset(map(id, way)) in seen:
                continue
            seen.add(frozenset(map(id, way)))
            names = " → ".join([*(each.key for each in way), way[0].key])
            self.say(
                node.path,
                f"this jump makes a loop without rest ({names}); put a decision in it, or delays of 30 minutes in all",
            )

    def restarts(self) -> None:
        changing = [node for node in self.nodes if node.is_action("campaign.change")]
        quick = self.quickest(self.roots) if changing else {}
        for node in changing:
            if id(node) in quick:
                self.restart(node)

    def restart(self, node: _Node) -> None:
        added = node.values["with"].get("add")
        for index, key in enumerate(added if isinstance(added, list) else [added]):
            if key is None or key not in ("this", self.campaign):
                continue
            place = ("with", "add", index) if isinstance(added, list) else ("with", "add")
            self.say(
                (*node.path, *place),
                "this starts the campaign again and again without rest; "
                "put a decision before it, or delays of 30 minutes in all",
            )

    def quickest(self, starts: list[_Node]) -> dict[int, _Node | None]:
        """Return the steps that one soon comes to without a decision, each with the one before it on the way."""
        # Only steps whose kind is known count: the others have been said, and may become decisions.
        best: dict[int, float] = {}
        queue: list[tuple[float, int, _Node, _Node | None]] = []
        came_from: dict[int, _Node | None] = {}

        def reach(node: _Node, seconds: float, source: _Node | None) -> None:
            self.looks += 1
            if self.looks > MOST_LOOKS:
                raise _TooFarError
            seconds += node.seconds
            if node.kind in (Kind.ACTION, Kind.CONDITION) and seconds < best.get(id(node), LEAST_LOOP_SECONDS):
                best[id(node)] = seconds
                heapq.heappush(queue, (seconds, id(node), node, source))

        for start in starts:
            reach(start, 0.0, None)
        while queue:
            seconds, name, node, source = heapq.heappop(queue)
            if name in came_from:
                continue
            came_from[name] = source
            for children in node.children.values():
                for child in children:
                    reach(child, seconds, node)
            if name in self.targets:
                reach(self.targets[name], seconds, node)
        return came_from


def _way(came_from: Mapping[int, _Node | None], goal: _Node) -> list[_Node]:
    """Return the way to a step, with its ends."""
    way = [goal]
    while (source := came_from[id(way[-1])]) is not None:
        way.append(source)
    return way[::-1]


def _step_file(node: _Node) -> StepFile:
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


def _with_offset(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return the same instant with a fixed offset, so that it compares and reads back alike in any zone."""
    return datetime.fromisoformat(
        (moment if moment.utcoffset() is not None else moment.replace(tzinfo=zone)).isoformat()
    )


# Sentences.

_UNSTORABLE = "holds a character that cannot be stored (NUL, or half of a surrogate pair)"
# What pydantic calls an error, and what we say instead of its message.
_MUST_BE = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "decimal_parsing": "a number",
    "decimal_type": "a number",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "frozen_set_type": "a list",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "mapping_type": "a mapping",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "set_type": "a list",
    "string_type": "text",
    "tuple_type": "a list",
}


def _sentences(error: ValidationError, model: type[BaseModel], data: object) -> list[tuple[Path, str]]:
    """Return where a type's properties are wrong, and how; the choices of a union become one sentence."""
    found: dict[Path, list[str]] = {}
    for each in error.errors(include_url=False):
        place, value = _walkable(each["loc"], data, missing=each["type"] == "missing")
        sentence = _sentence(each, place, value, model)
        if sentence not in found.setdefault(place, []):
            found[place].append(sentence)
    return [(place, _one_sentence(sentences)) for place, sentences in found.items()]


def _walkable(loc: Path, data: object, *, missing: bool) -> tuple[Path, object]:
    """Return the part of pydantic's location that is in the data, and the value there.

    The location of a union's choice also names the choice, which the file does not have.
    """
    place: list[str | int] = []
    for index, piece in enumerate(loc):
        if (isinstance(data, Mapping) and piece in data) or (
            isinstance(data, list) and isinstance(piece, int) and piece < len(data)
        ):
            data = cast(Any, data)[piece]
        elif missing and index == len(loc) - 1:
            data = None
        else:
            continue
        place.append(piece)
    return tuple(place), data


def _sentence(error: ErrorDetails, place: Path, value: object, model: type[BaseModel]) -> str:
    kind, message, context = error["type"], error["msg"], error.get("ctx", {})
    if kind == "extra_forbidden":
        known = sorted(_property_names(model, place[:-1]))
        hint = _did_you_mean(str(place[-1]), known)
        if not hint:
            hint = f"; known are {_listed(known, 'and')}" if known else "; this takes none"
        return f"unknown property {quoted(place[-1])}{hint}"
    if kind == "missing":
        return f"the property {place[-1]!r} is missing"
    if kind in _MUST_BE:
        return f"must be {_MUST_BE[kind]}, not {_shown(value)}"
    if kind in ("literal_error", "enum"):
        choices = re.findall(r"'((?:[^'\\]|\\.)*)'", str(context.get("expected", "")))
        hint = _did_you_mean(value, choices) if isinstance(value, str) else ""
        return f"must be {context.get('expected')}, not {_shown(value)}{hint}"
    if kind in ("string_too_short", "too_short") and context.get("min_length") == 1:
        return "must not be empty"
    if kind == "value_error":
        return short(str(context.get("error", message)), value) or "cannot be used"
    if message.startswith("Input should be "):
        return f"must be {message.removeprefix('Input should be ')}, not {_shown(value)}"
    return message[:1].lower() + message[1:]


def _one_sentence(sentences: list[str]) -> str:
    alike = [re.fullmatch(r"must be (.*), not (.*)", sentence, re.DOTALL) for sentence in sentences]
    if len(sentences) > 1 and all(alike):
        wanted = [found[1] for found in alike if found]
        return f"must be {' or '.join(wanted)}, not {alike[0][2] if alike[0] else ''}"
    return "; or: ".join(sentences)


def _property_names(model: type[BaseModel], place: Path) -> set[str]:
    models = [model]
    for piece in place:
        if isinstance(piece, str):
            models = [
                nested
                for each in models
                for name, info in each.model_fields.items()
                if piece in (name, info.alias)
                for nested in _models_in(info.annotation)
            ]
    return {info.alias or name for each in models for name, info in each.model_fields.items()}


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    found = near(name, known)
    return f"; did you mean {found[0]!r}?" if found else ""


def _called(value: object) -> str:
    """Return what a value is, in the words of the file."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    for types, name in (
        (str, "text"),
        ((int, float), "a number"),
        (Mapping, "a mapping"),
        ((list, tuple), "a list"),
        (date, "a date"),
    ):
        if isinstance(value, types):
            return name
    return f"a {type(value).__name__}"


def _shown(value: object) -> str:
    """Return a value as the file has it, if it is short enough to help, else what it is."""
    if isinstance(value, str) and len(value) <= 60:
        return repr(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
        return repr(value)
    return _called(value)


def _listed(names: Sequence[str], word: str) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} {word} {quoted[-1]}"


def _a(kind: Kind | None) -> str:
    return f"an {kind}" if kind is Kind.ACTION else f"a {kind}"


def _storable(text: str) -> bool:
    """Return whether PostgreSQL can hold a text in JSON."""
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)


# For editors.


def file_schema(types: Sequence[StepType] | None = None) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a campaign file, with the given or all installed step types.

    It is for an editor's completion and hints; check() knows rules that a schema cannot state.
    """
    types = registry.all_types() if types is None else types
    interval = _or_null({"type": "string", "examples": ["3 days", "90 minutes", "P1DT2H"]})
    steps = {"type": ["array", "null"], "items": {"$ref": "#/$defs/step"}}
    hour = {"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2}$", "examples": ["09:00"]}
    keys = {"type": ["array", "null"], "items": {"type": "string", "minLength": 1}, "uniqueItems": True}
    day = {"type": ["string", "null"], "examples": ["2026-12-24T09:00", "2026-12-24T09:00+01:00"]}

    def told(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        return {"description": description, **schema}

    step = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "step": told(
                "Key, unique in the campaign; made from the type when left out.",
                _or_null({"type": "string", "pattern": f"^{_STEP_KEY.pattern}$"}),
            ),
            "name": told("What people read.", {"type": ["string", "null"]}),
            **{kind.value: _type_names(types, kind) for kind in Kind},
            "with": told("The properties of the type.", {"type": ["object", "null"]}),
            "after": told("How long after the step above.", interval),
            "at": told("A date, in the file's timezone unless it has an offset.", day),
            "hour": told("At this time of the contact's day.", _or_null(hour)),
            "between": told(
                "Only between these times of the contact's day.",
                {"type": ["array", "null"], "items": hour, "minItems": 2, "maxItems": 2},
            ),
            "days": told("Only on these days.", {"type": ["array", "null"], "items": {"enum": list(WEEKDAYS)}}),
            "within": told("How long to wait before the answer is no.", interval),
            "look_back": told("How old may be what the contact did before reaching the decision.", interval),
            "max_attempts": told(
                "How often to try.", {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_ATTEMPTS}
            ),
            "on_failure": told("What follows a failure for good.", {"enum": [*get_args(OnFailure), None]}),
            "then": told("What follows.", steps),
            "yes": told("What follows when it is so.", steps),
            "no": told("What follows when it is not.", steps),
        },
        "oneOf": [{"required": [kind.value]} for kind in Kind],
        "allOf": [
            _when(Kind.ACTION, _without(*_DECISION_NAMES, "yes", "no")),
            _when(Kind.DECISION, _without(*_TIMING_NAMES, *_ACTION_NAMES, "then")),
            _when(Kind.CONDITION, _without(*_DECISION_NAMES, *_ACTION_NAMES, "then")),
            *(_when(each.kind, _of_type(each), each.name) for each in types),
        ],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Campaign",
        "type": "object",
        "additionalProperties": False,
        "required": ["campaign", "sources", "steps"],
        "properties": {
            "campaign": told(
                "Key: the campaign's lasting identity.",
                {"type": "string", "pattern": f"^{_CAMPAIGN_KEY.pattern}$"},
            ),
            "name": told("What people read; the key when left out.", {"type": ["string", "null"]}),
            "description": {"type": ["string", "null"]},
            "category": told("Key of a category.", {"type": ["string", "null"]}),
            "published": told(
                "Whether it is on; when left out, a new campaign is off and another stays as it is.",
                {"type": ["boolean", "null"]},
            ),
            "publish_from": told("When it starts.", day),
            "publish_until": told("When it ends.", day),
            "reentry": told("May a contact pass again?", {"enum": [*get_args(Reentry), None], "default": "never"}),
            "cooldown": told("The least time between two passages.", interval),
            "grace": told("How long somebody may be out of every source segment before they leave.", interval),
            "catch_up": told(
                "What happens to work that fell due while the campaign did not run: it runs, it is skipped "
                "when it is older than an interval, or its due times move by the length of the pause.",
                {
                    "oneOf": [
                        {"enum": ["run", "shift", None]},
                        {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["skip"],
                            "properties": {"skip": {"type": "string", "examples": ["1 day"]}},
                        },
                    ],
                    "default": "run",
                },
            ),
            "priority": told(
                "Whose messages go first, and get a slot that a cap leaves free.",
                {"enum": [*get_args(Priority), None], "default": "normal"},
            ),
            "rate": told(
                "How fast its messages leave, all channels together; each goes when its turn comes.",
                {"type": ["string", "null"], "examples": ["100 per minute", "2000 per hour"]},
            ),
            "timezone": told("For dates in this file without an offset.", {"type": ["string", "null"]}),
            "exit_on_leave": told(
                "Whether leaving all sources ends the passage.",
                {"type": ["boolean", "null"], "default": True},
            ),
            "sources": {
                "type": "object",
                "additionalProperties": False,
                "minProperties": 1,
                "properties": {
                    "segments": told("Keys of public, published segments.", keys),
                    "forms": told("Keys of forms.", keys),
                },
            },
            "redirect": told(
                "When this version is applied: who waits at a step that it drops goes on at another; key to key.",
                {"type": ["object", "null"], "additionalProperties": {"type": "string", "minLength": 1}},
            ),
            "steps": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}},
        },
        "$defs": {"step": step, **{f"{each.kind}.{each.name}": _properties_schema(each) for each in types}},
    }


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _type_names(types: Iterable[StepType], kind: Kind) -> dict[str, Any]:
    of_kind = [{"const": each.name, "description": each.description} for each in types if each.kind is kind]
    return {
        "description": f"The type of {_a(kind)}.",
        **({"oneOf": of_kind} if of_kind else {"type": "string"}),
    }


def _when(kind: Kind, then: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    stated = {"properties": {kind.value: {"const": name}}} if name else {}
    return {"if": {"required": [kind.value], **stated}, "then": then}


def _without(*names: str) -> dict[str, Any]:
    return {"properties": {name: {"type": "null"} for name in names}}


def _of_type(found: StepType) -> dict[str, Any]:
    ref = {"$ref": f"#/$defs/{found.kind}.{found.name}"}
    required = any(info.is_required() for info in found.properties.model_fields.values())
    then: dict[str, Any] = {"properties": {"with": ref if required else {"anyOf": [ref, {"type": "null"}]}}}
    if required:
        then["required"] = ["with"]
    if found.last:
        nothing = {"type": ["array", "null"], "maxItems": 0}
        then["properties"] |= dict.fromkeys(_BRANCHES[found.kind], nothing)
    return then


def _properties_schema(found: StepType) -> dict[str, Any]:
    # Its own definitions stay inside it, so that two types may name theirs alike.
    schema = found.properties.model_json_schema(ref_template=f"#/$defs/{found.kind}.{found.name}/$defs/{{model}}")
    return {**schema, "description": found.description}
