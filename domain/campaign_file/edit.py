"""Changes to a campaign file as data: insert, remove, move, copy, set, rename. Pure; what is given stays as it is.

A file here may be half finished: steps without what their type needs, a campaign without sources. What it must have is
a shape that can be drawn: lists of steps in lists of steps, each with a key of its own. `normalised` sees to that.
"""

from __future__ import annotations

import copy as copying
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from parcours.domain.campaign_file.check import BRANCHES, MAX_DEPTH, MOST_STEPS, STEP_KEY
from parcours.domain.campaign_file.model import BRANCH_NAMES
from parcours.domain.campaign_file.sentences import quoted
from parcours.domain.errors import CampaignError
from parcours.domain.keys import slug
from parcours.domain.steps import registry
from parcours.domain.steps.types import Kind, StepType

Data = dict[str, Any]

ROOT = "steps"
_KINDS = tuple((kind.value, kind) for kind in Kind)


class EditError(CampaignError):
    """A change that a file cannot have; the message says why in one sentence."""


class StepPlace(NamedTuple):
    """Where a step stands: below which step (None: at the beginning), in which branch, and where in that list."""

    parent: str | None
    branch: str
    nth: int


class Offer(NamedTuple):
    """A step type at a place; `why_not` is None where it may stand there."""

    type: StepType
    why_not: str | None


class FoundStep(NamedTuple):
    """A step of a file, with its place and the steps above it, the topmost first."""

    step: Data
    place: StepPlace
    above: tuple[Data, ...]


# Reading.


def walk(data: Mapping[str, Any]) -> Iterator[FoundStep]:
    """Yield every step, in the order of the file."""
    yield from _walk(data.get(ROOT) or [], None, ROOT, ())


def _walk(steps: Sequence[Data], parent: str | None, branch: str, above: tuple[Data, ...]) -> Iterator[FoundStep]:
    # What is still to be looked at, the next one last: generators in generators take as long as the tree is deep.
    left = [FoundStep(step, StepPlace(parent, branch, index), above) for index, step in enumerate(steps)][::-1]
    while left:
        found = left.pop()
        yield found
        step = found.step
        for name in reversed(BRANCH_NAMES):
            if step.get(name):
                inside = (*found.above, step)
                key = step["step"]
                below = [FoundStep(each, StepPlace(key, name, index), inside) for index, each in enumerate(step[name])]
                left += reversed(below)


def find(data: Mapping[str, Any], key: str) -> FoundStep:
    """Return the step of a key. Raises EditError."""
    found = next((each for each in walk(data) if each.step["step"] == key), None)
    if found is None:
        raise EditError(f"there is no step {quoted(key)} in the draft any more")
    return found


def keys(data: Mapping[str, Any]) -> list[str]:
    """Return the keys of all steps, in the order of the file."""
    return [each.step["step"] for each in walk(data)]


def kind_of(step: Mapping[str, Any]) -> Kind | None:
    """Return the kind of a step, or None where the file does not say one."""
    return next((kind for name, kind in _KINDS if step.get(name) is not None), None)


def redirects(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return where contacts of removed steps go, by key; nothing where the file says something else there."""
    found = data.get("redirect")
    return dict(found) if isinstance(found, Mapping) else {}


def branches_of(step: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the branches that a step may have."""
    kind = kind_of(step)
    return ("then",) if kind is None else BRANCHES[kind]


# Changing.


def insert(data: Data, place: StepPlace, step: Data, *, around: bool = False) -> Data:
    """Return the file with a step more. `around`: what stands in that branch comes below the new step.

    Raises EditError.
    """
    made = copying.deepcopy(data)
    new = copying.deepcopy(step)
    taken = set(keys(made)) & {each.step["step"] for each in _walk([new], None, ROOT, ())}
    if taken:
        raise EditError(f"the key {quoted(sorted(taken)[0])} is already used; step keys must be unique")
    steps = _list_at(made, place)
    if around and steps:
        _put_around(new, steps)
    else:
        steps.insert(max(0, min(place.nth, len(steps))), new)
    return _bounded(made)


def remove(data: Data, key: str, *, lift: bool = False) -> Data:
    """Return the file without a step. What is below it goes too, or takes its place when it is lifted.

    Raises EditError.
    """
    made = copying.deepcopy(data)
    found = find(made, key)
    steps = _list_at(made, found.place)
    below = [child for name in BRANCH_NAMES for child in found.step.get(name) or []] if lift else []
    steps[found.place.nth : found.place.nth + 1] = below
    return _bounded(_tidied(made, found.place))


def move(data: Data, key: str, place: StepPlace, *, around: bool = False) -> Data:
    """Return the file with a step, and all below it, at another place; the place is counted before the move.

    `around`: what stands in that branch comes below the step. Raises EditError.
    """
    found = find(data, key)
    if place.parent is not None:
        to = find(data, place.parent)
        if key in (place.parent, *(each["step"] for each in to.above)):
            raise EditError("a step cannot be moved below itself")
    earlier = place[:2] == found.place[:2] and found.place.nth < place.nth
    made = copying.deepcopy(data)
    steps = _list_at(made, found.place)
    step = steps.pop(found.place.nth)
    target = _list_at(made, place)
    if around and target:
        _put_around(step, target)
    else:
        target.insert(max(0, min(place.nth - earlier, len(target))), step)
    return _bounded(_tidied(made, found.place))


def _put_around(step: Data, steps: list[Data]) -> None:
    """Make a step the only one of a list, with the others below it."""
    first = branches_of(step)[0]
    step[first] = [*step.get(first, []), *steps]
    steps[:] = [step]


def copy(data: Data, key: str, place: StepPlace, *, around: bool = False) -> tuple[Data, str]:
    """Return the file with a copy of a step, and of all below it, and the copy's key; copies have keys of their own.

    Jumps within what is copied lead to the copies. `around`: what stands in that branch comes below the copy.
    Raises EditError.
    """
    original = find(data, key).step
    taken = set(keys(data))
    fresh: dict[str, str] = {}
    for each in _walk([original], None, ROOT, ()):
        old = each.step["step"]
        fresh[old] = fresh_key(re.sub(r"-\d+$", "", old) or old, taken)
        taken.add(fresh[old])
    made = _renamed(copying.deepcopy(original), fresh)
    return insert(data, place, made, around=around), fresh[key]


def change(data: Data, key: str | None, values: Mapping[str, Any]) -> Data:
    """Return the file with values of a step, or of the campaign (None), set; None takes a value out.

    Raises EditError.
    """
    refused = {"step", *BRANCH_NAMES} if key is not None else {ROOT}
    wrong = sorted(refused & set(values))
    if wrong:
        raise EditError(f"{wrong[0]!r} cannot be set as a value")
    made = copying.deepcopy(data)
    whole = made if key is None else find(made, key).step
    for name, value in values.items():
        if value is None or value in ({}, []):
            whole.pop(name, None)
        else:
            whole[name] = copying.deepcopy(value)
    if key is not None:
        # Branches come last, so that a file reads from top to bottom.
        for name in BRANCH_NAMES:
            if name in whole:
                whole[name] = whole.pop(name)
    elif ROOT in made:
        made[ROOT] = made.pop(ROOT)
    return made


def rename(data: Data, key: str, to: str, *, live: Collection[str] = ()) -> Data:
    """Return the file with another key for a step; jumps follow it.

    `live` are the keys of the version that contacts are in: who waits at one goes on at its new name.
    Raises EditError.
    """
    if key == to:
        return data
    if not STEP_KEY.fullmatch(to):
        raise EditError(f"{quoted(to)} is not a valid key; use unaccented letters, digits, '_', '.' and '-'")
    find(data, key)
    if to in keys(data):
        raise EditError(f"the key {quoted(to)} is already used; step keys must be unique")
    made = _renamed(copying.deepcopy(data), {key: to})
    redirect = {old: to if new == key else new for old, new in redirects(made).items()}
    if key in live:
        redirect[key] = to
    redirect.pop(to, None)
    return change(made, None, {"redirect": redirect or None})


def shifted(data: Data, key: str, *, up: bool) -> Data:
    """Return the file with a step one further up or down: past its neighbour, else past the step above or below it.

    Raises EditError.
    """
    found = find(data, key)
    place = found.place
    neighbours = _list_at(data, place)
    if up and place.nth > 0:
        return move(data, key, place._replace(nth=place.nth - 1))
    if not up and place.nth < len(neighbours) - 1:
        return move(data, key, place._replace(nth=place.nth + 2))
    if up:
        return _past_parent(data, found)
    below = found.step.get("then") or []
    if len(below) != 1:
        raise EditError("there is no step below that it can change places with")
    return _past_parent(data, find(data, below[0]["step"]))


def _past_parent(data: Data, found: FoundStep) -> Data:
    if found.place.parent is None:
        raise EditError("the step is already the first")
    if kind_of(found.step) is not Kind.ACTION or _is_last(found.step):
        raise EditError("only an action can change places with the step above it; move this one to a place")
    above = find(data, found.place.parent)
    alone = {name: value for name, value in found.step.items() if name not in BRANCH_NAMES}
    made = remove(data, found.step["step"], lift=True)
    target = _list_at(made, above.place)
    target[above.place.nth] = {**copying.deepcopy(alone), "then": [target[above.place.nth]]}
    return _bounded(made)


# Keys.


def fresh_key(name: str, taken: Collection[str]) -> str:
    """Return a key made of a name that is not taken: `remind`, then `remind-2`."""
    plain = name if STEP_KEY.fullmatch(name) else slug(name) or "step"
    found, number = plain, 1
    while found in taken:
        number += 1
        found = f"{plain}-{number}"
    return found


def _renamed(whole: Data, fresh: Mapping[str, str]) -> Data:
    """Change keys of steps, in place, and what jumps to them."""
    steps = whole.get(ROOT)
    for each in list(_walk(steps if isinstance(steps, list) else [whole], None, ROOT, ())):
        step = each.step
        found = _type_of(step)
        jump = found.jumps if found is not None else None
        given = step.get("with")
        if jump is not None and isinstance(given, dict):
            target = given.get(jump)
            if isinstance(target, str) and target in fresh:
                step["with"] = {**given, jump: fresh[target]}
        step["step"] = fresh.get(step["step"], step["step"])
    return whole


# What may stand where.


def allowed(
    data: Mapping[str, Any], place: StepPlace, *, around: bool = False, types: Iterable[StepType] | None = None
) -> list[Offer]:
    """Return every step type, with why it may not stand at a place. Raises EditError for a place that is none."""
    above: tuple[Data, ...] = ()
    if place.parent is not None:
        found = find(data, place.parent)
        above = (*found.above, found.step)
        if place.branch not in branches_of(found.step):
            raise EditError("the step has no such branch; reload the page")
    below = bool(_steps_at(data, place)) and around
    everything = registry.all_types() if types is None else types
    return [Offer(each, why_not(each, above, below=below)) for each in everything]


def why_not(wanted: StepType, above: tuple[Data, ...], *, below: bool) -> str | None:
    """Return why a step of a type may not stand under some steps, the topmost first; `below`: with others under it."""
    parent = above[-1] if above else None
    if parent is not None and _is_last(parent):
        return "nothing can follow the step above"
    if len(above) >= MAX_DEPTH - 1:
        return "the tree is too deep here"
    if wanted.last and below:
        return "no step can follow it; add it at the end of a branch"
    if wanted.kind is Kind.DECISION and parent is not None and kind_of(parent) is Kind.DECISION:
        return "a decision cannot directly follow a decision; put an action or condition between them"
    if wanted.about is not None and not any(_sends(each, wanted.about) for each in above):
        return f"it is about a message of the channel {wanted.about}; add a step that sends one above"
    return None


def _sends(step: Data, channel: str) -> bool:
    found = _type_of(step)
    return found is not None and channel in found.sends


def _is_last(step: Mapping[str, Any]) -> bool:
    found = _type_of(step)
    return found is not None and found.last


def _type_of(step: Mapping[str, Any]) -> StepType | None:
    kind = kind_of(step)
    if kind is None:
        return None
    try:
        return registry.step_type(kind, str(step[kind.value]))
    except CampaignError:
        return None


# Shape.


def normalised(given: object) -> Data:
    """Return a campaign's data with a key for each step, or raise EditError with why it cannot be drawn."""
    if not isinstance(given, Mapping):
        raise EditError("a campaign is a mapping of names to values")
    steps = given.get(ROOT)
    if steps is not None and not isinstance(steps, list | tuple):
        raise EditError("'steps' must be a list of steps")
    made = {str(name): copying.deepcopy(value) for name, value in given.items() if name != ROOT}
    made[ROOT] = _shaped(steps or [], 1)
    taken: set[str] = set()
    for each in list(walk(made)):
        stated = each.step["step"]
        if stated:
            if stated in taken:
                raise EditError(f"the key {quoted(stated)} is used twice; step keys must be unique")
            taken.add(stated)
    _give_keys(made[ROOT], taken)
    return _bounded(made)


def _shaped(steps: Sequence[Any], depth: int) -> list[Data]:
    if depth > MAX_DEPTH:
        raise EditError(f"the steps are nested more than {MAX_DEPTH} levels deep")
    found = []
    for step in steps:
        if not isinstance(step, Mapping):
            raise EditError("a step is a mapping such as {action: email.send}")
        key = step.get("step")
        if key is not None and (not isinstance(key, str) or not STEP_KEY.fullmatch(key)):
            raise EditError(f"{quoted(key)} is not a valid key; use unaccented letters, digits, '_', '.' and '-'")
        kind = kind_of(step)
        if kind is not None and not isinstance(step[kind.value], str):
            raise EditError("the type of a step must be text, such as email.send")
        own = {
            str(name): copying.deepcopy(each)
            for name, each in step.items()
            if name != "step" and name not in BRANCH_NAMES and each is not None
        }
        below = {}
        for name in BRANCH_NAMES:
            children = step.get(name)
            if children is None or children == []:
                continue
            if not isinstance(children, list | tuple):
                raise EditError(f"{name!r} must be a list of steps")
            below[name] = _shaped(children, depth + 1)
        found.append({"step": key or "", **own, **below})
    return found


def _give_keys(steps: list[Data], taken: set[str]) -> None:
    for each in steps:
        if not each["step"]:
            kind = kind_of(each)
            named = each.get("name") or ("step" if kind is None else str(each[kind.value]).replace(".", "-"))
            each["step"] = fresh_key(slug(str(named)) or "step", taken)
            taken.add(each["step"])
        for name in BRANCH_NAMES:
            _give_keys(each.get(name) or [], taken)


def _bounded(data: Data) -> Data:
    for count, each in enumerate(walk(data), 1):
        if count > MOST_STEPS:
            raise EditError(f"the campaign has more than {MOST_STEPS:,} steps; split it into several campaigns")
        if len(each.above) >= MAX_DEPTH:
            raise EditError(f"the steps are nested more than {MAX_DEPTH} levels deep")
    return data


def _steps_at(data: Mapping[str, Any], place: StepPlace) -> Sequence[Data]:
    whole = data if place.parent is None else find(data, place.parent).step
    return whole.get(ROOT if place.parent is None else place.branch) or []


def _list_at(data: Data, place: StepPlace) -> list[Data]:
    """Return the list of a place, made when the branch is empty. Raises EditError."""
    if place.parent is None:
        found: list[Data] = data.setdefault(ROOT, [])
        return found
    step = find(data, place.parent).step
    if place.branch not in BRANCH_NAMES or place.branch not in branches_of(step):
        raise EditError("the step has no such branch; reload the page")
    below: list[Data] = step.setdefault(place.branch, [])
    return below


def _tidied(data: Data, place: StepPlace) -> Data:
    """Take a branch out that has become empty."""
    if place.parent is not None:
        whole = next((each.step for each in walk(data) if each.step["step"] == place.parent), None)
        if whole is not None and whole.get(place.branch) == []:
            del whole[place.branch]
    return data
