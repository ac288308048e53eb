"""A draft as a tree to draw: what each step does in words, what is wrong with it, and what may stand where."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import ValidationError
from sqlalchemy import Connection

from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.build import timing_of
from parcours.domain.campaign_file.edit import StepPlace
from parcours.domain.campaign_file.model import BRANCH_NAMES, StepFile
from parcours.domain.errors import CampaignError
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import Kind, RefersTo, StepType
from parcours.domain.time.intervals import parse_interval
from parcours.services.draft_check import CheckedDraft, DraftProblem, check_draft
from parcours.services.drafts import without_choices
from parcours.web.i18n import labels, plain_words, rule_words, step_words
from parcours.web.pages import plan_words


def checked(conn: Connection, data: Mapping[str, Any], zone: ZoneInfo) -> CheckedDraft:
    """Return what a draft says as a campaign file, or everything that is wrong with it in words of the pages."""
    found = check_draft(conn, data, zone)
    said = [each._replace(sentence=plain_words.problem(each.sentence, each.field)) for each in found.problems]
    return replace(found, problems=said)


class Spot(NamedTuple):
    """Where a `+` stands. `around`: what is there comes below what is put in; `fits`: what is moved may go there."""

    place: StepPlace
    around: bool
    fits: bool = False

    @property
    def query(self) -> str:
        """The place as a query; the letters of keys stand for themselves there."""
        parent, branch, nth = self.place.parent or "", self.place.branch, self.place.nth
        return f"parent={parent}&branch={branch}&nth={nth}&around={'1' if self.around else ''}"


@dataclass(frozen=True)
class DraftFork:
    """What is below a step: on a side, or (None) simply next. The `first` spot is above all steps in it."""

    branch: str | None
    nodes: Sequence[DraftNode]
    first: Spot


@dataclass(frozen=True)
class DraftNode:
    """A step of a draft. `mark` is what a difference says of it: added, changed, moved, or nothing."""

    key: str
    kind: str
    type: str
    title: str
    words: str
    timing: str
    depth: int
    # Another one beside it, in the same list.
    beside: Spot
    problems: tuple[str, ...] = ()
    # What is below is no part of how the step itself is drawn.
    forks: Sequence[DraftFork] = field(default=(), compare=False)
    jump: str | None = None
    last: bool = False
    steps_below: int = 0
    mark: str = ""
    note: str = ""

    def walk(self) -> Iterator[DraftNode]:
        yield self
        for fork in self.forks:
            for node in fork.nodes:
                yield from node.walk()


@dataclass
class Drawing:
    """How a draft is drawn: for whom, with which names, and what is being moved."""

    zone: ZoneInfo
    names: Mapping[RefersTo, Mapping[str, str]] = field(default_factory=dict)
    problems: Mapping[str, Sequence[DraftProblem]] = field(default_factory=dict)
    moving: str | None = None
    marks: Mapping[str, str] = field(default_factory=dict)

    def nodes(self, data: Mapping[str, Any], *, only: str | None = None) -> list[DraftNode]:
        """Return the roots of a draft, or the branch below one step; with all below them."""
        self.steps = {each.step["step"]: each.step for each in edit.walk(data)}
        self.called = with_steps(self.names, self.steps)
        self.inside: Collection[str] = ()
        if self.moving is not None and self.moving in self.steps:
            self.inside = set(edit.keys({"steps": [self.steps[self.moving]]}))
            self.moved = _type_of(self.steps[self.moving])
            self.own = edit.find(data, self.moving).place
        if only is not None:
            found = edit.find(data, only)
            return [self._node(found.step, found.place, found.above)]
        return list(self._list(data.get(edit.ROOT) or (), None, edit.ROOT, ()))

    def _list(
        self, steps: Iterable[dict[str, Any]], parent: str | None, branch: str, above: tuple[dict[str, Any], ...]
    ) -> Iterator[DraftNode]:
        for nth, step in enumerate(steps):
            yield self._node(step, StepPlace(parent, branch, nth), above)

    def _node(self, step: dict[str, Any], place: StepPlace, above: tuple[dict[str, Any], ...]) -> DraftNode:
        key, kind = step["step"], edit.kind_of(step) or Kind.ACTION
        found = _type_of(step)
        forks = []
        below = (*above, step)
        for branch in edit.branches_of(step):
            nodes = list(self._list(step.get(branch) or (), key, branch, below))
            spot = self.spot(StepPlace(key, branch, 0), below, around=bool(nodes), others=len(nodes))
            forks.append(DraftFork(None if branch == "then" else branch, nodes, spot))
        words = words_of(step, self.called)
        title = str(step.get("name") or words)
        given = step.get("with")
        jump = found.jumps if found is not None else None
        return DraftNode(
            key,
            kind.value,
            str(step.get(kind.value) or ""),
            title,
            words if title != words else "",
            timing_words(step, self.zone),
            len(above) + 1,
            self.spot(place._replace(nth=place.nth + 1), above),
            tuple(each.sentence for each in self.problems.get(key, ())),
            forks,
            str(given[jump]) if jump and isinstance(given, Mapping) and given.get(jump) else None,
            found is not None and found.last,
            sum(1 + node.steps_below for fork in forks for node in fork.nodes),
            self.marks.get(key, ""),
            str(step.get("note") or ""),
        )

    def spot(
        self, place: StepPlace, above: tuple[dict[str, Any], ...] = (), *, around: bool = False, others: int = 0
    ) -> Spot:
        """Return the spot at a place, and whether what is moved may go there; `others` stand in that list."""
        if self.moving is None or place.parent in self.inside:
            return Spot(place, around)
        at_home = self.own is not None and self.own[:2] == place[:2]
        # Where it is already, it would not move.
        if at_home and self.own is not None and (others == 1 if around else place.nth - self.own.nth in (0, 1)):
            return Spot(place, around)
        # What is above it afterwards is without itself.
        fits = self.moved is None or edit.why_not(self.moved, above, below=around) is None
        return Spot(place, around, fits)

    moved: StepType | None = None
    own: StepPlace | None = None


def _type_of(step: Mapping[str, Any]) -> StepType | None:
    kind = edit.kind_of(step)
    if kind is None:
        return None
    try:
        return step_type(kind, str(step[kind.value]))
    except CampaignError:
        return None


def references(step: Mapping[str, Any]) -> Iterator[tuple[str, RefersTo, str]]:
    """Yield what a step refers to: the property, what it names, and the key."""
    found, given = _type_of(step), step.get("with")
    if found is not None and isinstance(given, Mapping):
        yield from found.references(given)


def with_steps(
    names: Mapping[RefersTo, Mapping[str, str]], steps: Mapping[str, Mapping[str, Any]]
) -> dict[RefersTo, Mapping[str, str]]:
    """Return names of things with those of a draft's steps, which are made once for all its words."""
    called = {key: str(each.get("name") or key) for key, each in steps.items()}
    for target in _jumped_to(steps):
        # Where that jumps too, a key says it.
        called[target["step"]] = title_of(target, names)
    return {**names, RefersTo.STEP: called}


def _jumped_to(steps: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for each in steps.values():
        found, given = _type_of(each), each.get("with")
        if found is not None and found.jumps is not None and isinstance(given, Mapping):
            target = steps.get(str(given.get(found.jumps)))
            if target is not None:
                yield target


def words_of(step: Mapping[str, Any], names: Mapping[RefersTo, Mapping[str, str]]) -> str:
    """Return what a step does in words, by the names of things; the name of its type while it is not finished."""
    kind, found = edit.kind_of(step), _type_of(step)
    if kind is None:
        return str(step.get("name") or step["step"])
    if found is None:
        return str(step[kind.value])
    try:
        given = found.properties.model_validate({**found.properties.meant_before, **(step.get("with") or {})})
    # Of another package, too, whose code may raise anything.
    except (Exception, SystemExit):
        return step_words.type_name(kind.value, found.name)
    return step_words.in_words(found, rule_words.named(found, given, names), names)


def title_of(step: Mapping[str, Any], names: Mapping[RefersTo, Mapping[str, str]]) -> str:
    """Return what a step is called: its name, or what it does. `names` are those `with_steps`."""
    return str(step.get("name") or words_of(step, names))


def timing_words(step: Mapping[str, Any], zone: ZoneInfo) -> str:
    """Return when a step is done, in words; nothing where that is at once, or cannot be read."""
    own = {name: value for name, value in step.items() if name not in (*BRANCH_NAMES, "with") and value is not None}
    if not {"after", "at", "hour", "between", "days", "within", "look_back"} & own.keys():
        return ""
    try:
        read = StepFile.model_validate(own)
        within, back = (None if text is None else parse_interval(text) for text in (read.within, read.look_back))
        return labels.when(timing_of(read, zone), within, back)
    except (ValidationError, ValueError, OverflowError):
        return ""


# Differences.


class TreeDifference(NamedTuple):
    """What one tree has that another has not: a mark for each step of the second, and titles of those that are gone."""

    marks: dict[str, str]
    gone: list[str]
    settings: list[str]


def difference(
    before: Mapping[str, Any], after: Mapping[str, Any], names: Mapping[RefersTo, Mapping[str, str]]
) -> TreeDifference:
    """Return how a tree became another; `names` are of what its steps refer to."""
    old, new = ({each.step["step"]: each for each in edit.walk(data)} for data in (before, after))
    marks = {}
    for key, each in new.items():
        was = old.get(key)
        if was is None:
            marks[key] = "added"
        elif _own(was.step) != _own(each.step):
            marks[key] = "changed"
        elif was.place[:2] != each.place[:2]:
            marks[key] = "moved"
    known = {*without_choices(before), *without_choices(after)} - {edit.ROOT, "format", "published", "redirect"}
    settings = sorted(name for name in known if before.get(name) != after.get(name))
    called = with_steps(names, {key: each.step for key, each in old.items()})
    gone = [title_of(old[key].step, called) for key in old if key not in new]
    return TreeDifference(marks, gone, list(map(plan_words.setting_name, settings)))


def _own(step: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name not in BRANCH_NAMES}
