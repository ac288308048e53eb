"""What a campaign file holds, as its author wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from parcours.domain.campaign import Branch, Priority
from parcours.domain.contacts.contact import ENTRY
from parcours.domain.retries import STEP_ATTEMPTS
from parcours.domain.steps.types import Kind, StepType
from parcours.domain.time.dates import Every

Path = tuple[str | int, ...]

FindType = Callable[[Kind, str], StepType]

Reentry = Literal["never", "after_exit", "always"]

OnFailure = Literal["stop", "continue"]

Late = Literal["skip", "run"]

# Characters of a file that a problem repeats, and of a sentence.
MOST_ECHO = 100

# The newest format of campaign files, and of the definitions that are stored: raised when an older release could not
# read a new one. What says nothing is of the first, unless it uses what came later.
FORMAT = 2

BRANCH_NAMES = ("then", "yes", "no")


class AtFile(BaseModel):
    """A date of the contact, and how long before or after it; kept as written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: str
    before: str | None = None
    after: str | None = None
    hour: str | None = None


class DateSourceFile(AtFile):
    """A date by which contacts enter, once or each time it comes again."""

    every: Every | None = None


class StepFile(BaseModel):
    """One step of a campaign file, with what is below it. Intervals and hours are kept as written."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    step: str
    name: str | None = None
    # What its author tells whoever reads it; it changes nothing.
    note: str | None = None
    action: str | None = None
    decision: str | None = None
    condition: str | None = None
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    after: str | None = None
    at: datetime | AtFile | None = None
    hour: str | None = None
    between: tuple[str, str] | None = None
    days: tuple[str, ...] = ()
    late: Late = "skip"
    within: str | None = None
    look_back: str | None = None
    max_attempts: int = STEP_ATTEMPTS
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

    @property
    def own(self) -> dict[str, Any]:
        """What it says of itself, by attribute, without the steps below it."""
        return {name: value for name, value in vars(self).items() if name not in BRANCH_NAMES}

    def branches(self) -> Iterator[tuple[Branch | None, tuple[StepFile, ...]]]:
        """Yield what is below, by branch; None is below an action."""
        yield None, self.then
        yield "yes", self.yes
        yield "no", self.no


class EventSourceFile(BaseModel):
    """Events that let contacts in: a type, tests of the data, and where in it the key of the run stands."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str
    where: tuple[dict[str, Any], ...] = ()
    key: str | None = None


class SourcesFile(BaseModel):
    """What feeds a campaign: keys of segments and forms, events, and dates of contacts.

    Without `existing`, only who comes from now on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    segments: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()
    events: tuple[EventSourceFile, ...] = ()
    dates: tuple[DateSourceFile, ...] = ()
    existing: bool = True


class EntryFile(BaseModel):
    """How many may begin in a campaign, ever and in a while, kept as written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    most: int | None = None
    rate: str | None = None


class ExitFile(BaseModel):
    """What ends a run before its end: an event, a segment, or a rule, kept as written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: str | None = None
    where: tuple[dict[str, Any], ...] = ()
    key: str | None = None
    segment: str | None = None
    rule: dict[str, Any] | None = None


class GoalFile(BaseModel):
    """What counts as a conversion: an event, or a rule that becomes true; kept as written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: str | None = None
    where: tuple[dict[str, Any], ...] = ()
    key: str | None = None
    rule: dict[str, Any] | None = None
    within: str | None = None
    value: str | None = None


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
    note: str | None = None
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
    entry: EntryFile | None = None
    exit: tuple[ExitFile, ...] = ()
    goal: GoalFile | None = None
    # Percent of those who come in.
    control: int | float | None = None
    # Where those go who wait at steps that this version drops. An act of applying, and no part of the version.
    redirect: dict[str, str] = Field(default_factory=dict)
    steps: tuple[StepFile, ...]

    @property
    def format(self) -> int:
        """The earliest format that has all of its names."""
        sources = self.sources
        later = sources.events or sources.dates or not sources.existing or self.entry is not None or self.exit
        measured = self.goal is not None or self.control is not None or self.note is not None
        return 2 if later or measured or any(_is_of_second_format(step) for step in self.walk()) else 1

    def walk(self) -> Iterator[StepFile]:
        """Yield every step, depth first: the order of the document, `yes` before `no`."""
        # One below the other, generators would pass each step on through all that is above it.
        pending = [*reversed(self.steps)]
        while pending:
            step = pending.pop()
            yield step
            pending += reversed((*step.then, *step.yes, *step.no))


def _is_of_second_format(step: StepFile) -> bool:
    """Return whether an older release would not read a step, or would not do what it says."""
    asks_for_a_run = step.type == "contact.field" and str(step.with_.get("field", "")).strip().startswith(ENTRY)
    new = isinstance(step.at, AtFile) or step.type == "contact.matches" or step.note is not None
    return asks_for_a_run or new


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


class ProblemsError(ValueError):
    """Properties hold something of its own kind, such as a rule, with these problems; paths begin at the property."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


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
