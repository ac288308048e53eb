"""What a step type is, and how one is found.

A step type is a function with a decorator. An action gets a batch and returns one
`Result` a contact, a condition one bool a contact, a decision tells whether one event
is what it waits for. Another package adds a type by naming such a function in its
`parcours.steps` entry points as KIND.TYPE, for example `action.contact.points`."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache, wraps
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from parcours.domain.errors import CampaignError
from parcours.domain.steps.batch import Batch, Fact, Standing
from parcours.domain.steps.types import Failed, Kind, Look, Need, P, Properties, RefersTo, Result, StepType

# Top-level modules of version 0.1, which step types of other packages imported from.
_OLD_NAMES = frozenset({"domain", "db", "producers", "workers", "web", "settings"})


class StepExitError(Exception):
    """The function of a step type tried to end the process."""


class UnknownTypeError(CampaignError):
    """A campaign names a step type that no installed package has."""

    def __init__(self, kind: Kind, name: str) -> None:
        known = sorted(point.removeprefix(f"{kind}.") for point in _entry_points() if point.startswith(f"{kind}."))
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "run `parcours steps list` to see all step types"
        super().__init__(f"unknown {kind} {name!r}; {hint}")
        self.name = name


def action(
    name: str,
    *,
    properties: type[P],
    needs: Iterable[Need] | Callable[[P], frozenset[Need]] = (),
    refers_to: Mapping[str, RefersTo] | None = None,
    sends: Iterable[str] = (),
    joins: str | None = None,
    last: bool = False,
    reference: str | None = None,
    summary: Callable[[P], str] | None = None,
) -> Callable[[Callable[[Batch[P]], Iterable[Result]]], StepType]:
    """Define an action type. The docstring of the function is the description that users read.

    `needs` lists the data to load; it may be a function of the properties. `refers_to` maps properties that hold keys
    to what the keys name. `sends` lists the channels on which the action may send the contact a message. `joins` is the
    property that names campaigns which the contact joins. `summary` says in words what a step with its properties does.
    """
    return _decorator(
        name,
        Kind.ACTION,
        properties,
        needs=needs,
        refers_to=refers_to or {},
        sends=sends,
        joins=joins,
        last=last,
        reference=reference,
        summary=summary,
    )


def condition(
    name: str,
    *,
    properties: type[P],
    needs: Iterable[Need] | Callable[[P], frozenset[Need]] = (),
    refers_to: Mapping[str, RefersTo] | None = None,
    alike: Mapping[str, str] | None = None,
    reference: str | None = None,
    reads: Iterable[str] | Callable[[P], frozenset[str]] | None = None,
    flips: Callable[[Batch[P]], Sequence[datetime | None]] | None = None,
    looks: Callable[[P], tuple[Look, ...]] | None = None,
    shows: Callable[[Batch[P]], Sequence[Any]] | None = None,
    says: Callable[[P], str] | None = None,
    summary: Callable[[P], str] | None = None,
    only_in_campaigns: str | None = None,
) -> Callable[[Callable[[Batch[P]], Iterable[bool | Failed]]], StepType]:
    """Define a condition type. The function returns for each contact whether the condition is met, or `Failed`.

    `needs` and `refers_to` are as for `action`. `alike` maps a property to another one: steps of a campaign with the
    same value of the first must have the same value of the second.

    For segments: `reads` says which changes of a contact can change the answer (tokens such as `points`, `tags`,
    `fields.country`, `events.order.paid`, and `time`), or is a function of the properties; without it, the condition is
    asked again after every change and once a day. `flips` returns for each contact the earliest instant after now at
    which the answer may change by time alone, or None; without it, what reads time is asked once a day. `looks` says
    what has to be loaded of the history, `shows` returns what each contact has, `says` the condition in words;
    `summary` does so for a step of a campaign, if it is another text.
    `only_in_campaigns` says why the condition makes no sense in a segment.
    """
    return _decorator(
        name,
        Kind.CONDITION,
        properties,
        needs=needs,
        refers_to=refers_to or {},
        alike=alike or {},
        reference=reference,
        reads=reads,
        flips=flips,
        looks=looks,
        shows=shows,
        says=says,
        summary=summary,
        only_in_campaigns=only_in_campaigns,
    )


def decision(
    name: str,
    *,
    properties: type[P],
    events: Iterable[str] | Callable[[P], frozenset[str]],
    refers_to: Mapping[str, RefersTo] | None = None,
    about: str | None = None,
    run_key: str | None = None,
    rule_of: Callable[[P], Any] | None = None,
    needs: Iterable[Need] | Callable[[P], frozenset[Need]] = (),
    likely: float = 15,
    reference: str | None = None,
    summary: Callable[[P], str] | None = None,
) -> Callable[[Callable[[P, Fact, Standing], bool]], StepType]:
    """Define a decision type. The function returns whether an event answers the decision with yes.

    `events` lists the event types that it receives. It may be a function of the properties, whose result may contain
    `*` for any text; it is called when a campaign is applied. `refers_to` is as for `action`. `about` is the channel of
    the message above the step that the decision is about. `run_key` is the property that names where the event's data
    contains the key of the run. `rule_of` returns the rule in the properties for a decision that waits until it is
    true, and `needs` the data to load for it. `likely` is the percentage of contacts that a simulation answers with
    yes. `summary` says in words what the decision waits for.
    """
    return _decorator(
        name,
        Kind.DECISION,
        properties,
        events=events,
        refers_to=refers_to or {},
        about=about,
        run_key=run_key,
        rule_of=rule_of,
        needs=needs,
        likely=likely,
        reference=reference,
        summary=summary,
    )


def _decorator(name: str, kind: Kind, properties: type[Properties], **more: Any) -> Callable[[Any], StepType]:
    def decorate(function: Callable[..., Any]) -> StepType:
        sets = {
            key: frozenset(value)
            for key, value in more.items()
            if key in ("needs", "events", "sends", "reads") and value is not None and not callable(value)
        }
        for named in (*more["refers_to"], *more.get("alike", ()), *filter(None, [more.get("joins")])):
            if named not in properties.model_fields:
                raise ValueError(f"{name} has no property {named!r}")
        return StepType(
            name=name,
            kind=kind,
            properties=properties,
            run=_staying(name, kind, function),
            description=inspect.cleandoc(function.__doc__ or ""),
            **{**more, **sets},
        )

    return decorate


def _staying(name: str, kind: Kind, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as it is, but for `sys.exit`, which would end the work on everybody else: an error, too."""

    @wraps(function)
    def run(*given: Any) -> Any:
        try:
            answer = function(*given)
            # Here, since the results may be a generator.
            return answer if kind is Kind.DECISION else list(answer)
        except SystemExit as error:
            raise StepExitError(f"{name} tried to end the process (sys.exit, code {error.code})") from error

    return run


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="parcours.steps")}


@cache
def step_type(kind: Kind, name: str) -> StepType:
    """Return the type of a name in a campaign file; an action and a condition may share a name.

    Raises UnknownTypeError.
    """
    point = _entry_points().get(f"{kind}.{name}")
    if point is None:
        raise UnknownTypeError(kind, name)
    try:
        found = point.load()
    # Another package's code, which may raise anything.
    except (Exception, SystemExit) as error:
        why = (str(error).splitlines() or [""])[0][:200]
        old = isinstance(error, ImportError) and (error.name or "").split(".")[0] in _OLD_NAMES
        what = "it must import from parcours.steps" if old else "fix or remove it"
        raise CampaignError(
            f"the package of the {kind} {name!r} cannot be imported ({type(error).__name__}: {why}); {what}"
        ) from error
    if not isinstance(found, StepType) or (found.kind, found.name) != (kind, name):
        raise CampaignError(
            f"the entry point {point.name!r} ({point.value}) is not a step type of that name; "
            "decorate its function with parcours.steps.action, condition or decision"
        )
    return found


def all_types() -> list[StepType]:
    """Return the whole catalogue, by kind and name, without the types whose package cannot be imported."""
    found = []
    for kind, _, name in (point.partition(".") for point in _entry_points()):
        # What is broken is said to whoever uses it, and is no reason for others to stop.
        with suppress(CampaignError):
            found.append(step_type(Kind(kind), name))
    return sorted(found, key=lambda each: (each.kind, each.name))
