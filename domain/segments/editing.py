"""A rule while somebody edits it: groups and conditions that may be unfinished, and the data that they make.

Every rule can be edited: `not` is a way of a group, or of one condition. A place is a text such as `0.2`, the second
child of the first; the outermost group has the place ``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

# Of groups in each other, as a rule of a file may have.
MAX_DEPTH = 20

# `none`: not any of them. `not_all`: at least one of them is not so.
How = Literal["all", "any", "none", "not_all"]
HOWS: tuple[How, ...] = ("all", "any", "none", "not_all")


@dataclass(frozen=True)
class EditedCondition:
    """A condition with what is filled in so far."""

    type: str
    given: Mapping[str, Any] = field(default_factory=dict)
    negated: bool = False


@dataclass(frozen=True)
class EditedGroup:
    """Conditions and groups, and how many of them must be so."""

    how: How = "all"
    children: tuple[EditedGroup | EditedCondition, ...] = ()


Edited = EditedGroup | EditedCondition


def of_data(data: Any) -> EditedGroup:
    """Return the rule of some data, right or wrong, for editing; what is no rule is left out."""
    found = _of_data(data)
    return found if isinstance(found, EditedGroup) else EditedGroup("all", () if found is None else (found,))


def is_rule(data: Any, depth: int = MAX_DEPTH) -> bool:
    """Return whether all that some data says is a rule, finished or not, so that `of_data` leaves nothing out."""
    if not isinstance(data, Mapping) or depth <= 0:
        return False
    if isinstance(data.get("condition"), str):
        return set(data) <= {"condition", "with"} and isinstance(data.get("with", {}), Mapping)
    for how in ("all", "any"):
        if isinstance(data.get(how), list | tuple):
            return len(data) == 1 and all(is_rule(each, depth - 1) for each in data[how])
    return len(data) == 1 and "not" in data and is_rule(data["not"], depth - 1)


def parts(rule: Edited) -> Iterator[Edited]:
    """Yield every group and condition of a rule, a group before what is in it."""
    yield rule
    if isinstance(rule, EditedGroup):
        for each in rule.children:
            yield from parts(each)


def at(rule: Edited, place: str) -> Edited | None:
    """Return what is at a place, or None where nothing is."""
    here = rule
    for step in _steps(place):
        if not isinstance(here, EditedGroup) or step >= len(here.children):
            return None
        here = here.children[step]
    return here


def _of_data(data: Any) -> Edited | None:
    if not isinstance(data, Mapping):
        return None
    if isinstance(data.get("condition"), str):
        given = data.get("with")
        return EditedCondition(data["condition"], dict(given) if isinstance(given, Mapping) else {})
    for how in ("all", "any"):
        if isinstance(data.get(how), list | tuple):
            children = [each for one in data[how] if (each := _of_data(one)) is not None]
            return EditedGroup(how, tuple(children))
    if "not" in data:
        return _negated(_of_data(data["not"]))
    return None


def _negated(below: Edited | None) -> Edited | None:
    match below:
        case None:
            return None
        case EditedCondition(negated=False):
            return replace(below, negated=True)
        case EditedGroup("any"):
            return replace(below, how="none")
        case EditedGroup("all"):
            return replace(below, how="not_all")
    return EditedGroup("none", (below,))


def to_data(edited: Edited) -> dict[str, Any]:
    """Return the data of a rule, as a file has it."""
    if isinstance(edited, EditedCondition):
        own: dict[str, Any] = {"condition": edited.type}
        if edited.given:
            own["with"] = dict(edited.given)
        return {"not": own} if edited.negated else own
    children = [to_data(each) for each in edited.children]
    match edited.how:
        case "all" | "any":
            return {edited.how: children}
        case "none":
            return {"not": {"any": children}}
    return {"not": {"all": children}}


def path_of(edited: Edited, place: str) -> tuple[str | int, ...]:
    """Return where a place is in the data that `to_data` makes, for problems of its check."""
    path: list[str | int] = []
    here = edited
    for step in _steps(place):
        if not isinstance(here, EditedGroup) or step >= len(here.children):
            break
        path += [*_GROUP_PATHS[here.how], step]
        here = here.children[step]
    return (*path, "not") if isinstance(here, EditedCondition) and here.negated else tuple(path)


_GROUP_PATHS: dict[How, tuple[str, ...]] = {
    "all": ("all",),
    "any": ("any",),
    "none": ("not", "any"),
    "not_all": ("not", "all"),
}


def added(rule: EditedGroup, place: str, new: Edited) -> EditedGroup:
    """Return a rule with one more child of the group at a place; unchanged where no group is."""

    def add(here: Edited) -> Edited | None:
        return replace(here, children=(*here.children, new)) if isinstance(here, EditedGroup) else here

    return _root(_changed(rule, _steps(place), add))


def removed(rule: EditedGroup, place: str) -> EditedGroup:
    """Return a rule without what is at a place; the outermost group is emptied."""
    steps = _steps(place)
    return _root(_changed(rule, steps, lambda _here: None)) if steps else replace(rule, children=())


def moved(rule: EditedGroup, place: str, by: int) -> EditedGroup:
    """Return a rule in which what is at a place stands before (-1) or behind (1) its neighbour."""
    steps = _steps(place)
    if not steps:
        return rule
    *above, last = steps

    def move(here: Edited) -> Edited | None:
        if not isinstance(here, EditedGroup) or not 0 <= last + by < len(here.children) or last >= len(here.children):
            return here
        children = list(here.children)
        children.insert(last + by, children.pop(last))
        return replace(here, children=tuple(children))

    return _root(_changed(rule, above, move))


def _root(edited: Edited | None) -> EditedGroup:
    assert isinstance(edited, EditedGroup)
    return edited


def _changed(here: Edited, steps: list[int], change: Any) -> Edited | None:
    if not steps:
        found: Edited | None = change(here)
        return found
    first, *rest = steps
    if not isinstance(here, EditedGroup) or first >= len(here.children):
        return here
    below = _changed(here.children[first], rest, change)
    children = [*here.children]
    children[first : first + 1] = [] if below is None else [below]
    return replace(here, children=tuple(children))


def _steps(place: str) -> list[int]:
    return [int(each) for each in place.split(".") if each.isascii() and each.isdigit() and len(each) < 5]
