"""Checks of a campaign as a graph: loops, jumps, and decisions that nothing can answer."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from parcours.domain.campaign_file.model import BRANCH_NAMES, Path, dotted
from parcours.domain.campaign_file.sentences import did_you_mean, quoted
from parcours.domain.steps.types import Kind, StepType

# Steps looked at in search of loops; only hundreds of jumps that lead past hundreds of steps take more.
MOST_LOOKS = 1_000_000

# A loop that only waits must wait this long; it is also Mautic 5's limit for a restart.
LEAST_LOOP_SECONDS = 30 * 60


# Checking.


@dataclass
class Node:
    """A step while its file is checked. What could not be read is None."""

    path: Path
    data: Mapping[Any, Any]
    parent: Node | None
    branch: str
    kind: Kind | None = None
    type_name: str | None = None
    type: StepType | None = None
    key: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    # The least time between reaching the step and passing it; endless when the interval cannot be read,
    # which has been said already.
    seconds: float = 0.0
    children: dict[str, list[Node]] = field(default_factory=dict)

    def walk(self) -> Iterator[Node]:
        yield self
        for name in BRANCH_NAMES:
            for child in self.children.get(name, ()):
                yield from child.walk()

    @property
    def jumps(self) -> str | None:
        """The property that names the step to jump to; None when this is no jump."""
        return None if self.type is None else self.type.jumps


class _TooFarError(Exception):
    """There are too many ways through a campaign to follow all of them."""


class Graph:
    """Where contacts can walk: down the tree, and over jumps."""

    def __init__(
        self, say: Callable[[Path, str], None], roots: list[Node], nodes: list[Node], campaign: str | None
    ) -> None:
        self.say = say
        self.roots = roots
        self.nodes = nodes
        self.campaign = campaign
        self.by_key: dict[str, Node] = {}
        for node in nodes:
            if node.key:
                self.by_key.setdefault(node.key, node)
        self.targets: dict[int, Node] = {}
        self.looks = 0

    def check(self) -> None:
        for node in self.nodes:
            if node.type is None:
                continue
            if node.jumps is not None:
                self.jump(node, node.jumps)
            elif node.type.about is not None:
                self.about_a_message(node, node.type.about)
        self.alike()
        try:
            self.loops()
            self.restarts()
        except _TooFarError:
            self.say(("steps",), "the campaign has too many jumps to check; use fewer")

    def jump(self, node: Node, name: str) -> None:
        to, path = node.values["with"].get(name), (*node.path, "with", name)
        if not isinstance(to, str):
            return
        target = self.by_key.get(to)
        if target is None:
            self.say(path, f"there is no step {quoted(to)} to jump to{did_you_mean(to, self.by_key)}")
        elif target.kind is Kind.DECISION:
            self.say(path, f"{quoted(to)} is a decision; a jump must lead to an action or a condition")
        elif target.jumps is not None:
            self.say(path, f"{quoted(to)} is itself a jump; jump directly to its target")
        else:
            self.targets[id(node)] = target

    def about_a_message(self, node: Node, channel: str) -> None:
        """Source: Mautic 5's campaign builder; but any email above will do, not only the direct parent."""
        above = node.parent
        while above is not None:
            if above.type is not None and channel in above.type.sends:
                return
            above = above.parent
        given = node.data.get("with")
        # Properties that are no mapping have been said already.
        if given is None or (isinstance(given, Mapping) and not given.get(channel)):
            self.say(node.path, f"{node.type_name!r} refers to the nearest {channel} above it, but there is none")

    def alike(self) -> None:
        """Steps of one draw, for instance, divide the contacts only if they cut it alike."""
        seen: dict[tuple[str, str, str], Node] = {}
        for node in self.nodes:
            if node.type is None:
                continue
            for name, other in node.type.alike.items():
                given = node.values.get("with", {})
                value, same = given.get(name), given.get(other)
                if not isinstance(value, str) or not isinstance(same, Mapping):
                    continue
                first = seen.setdefault((node.type.name, name, value.strip()), node)
                # The order counts: it says which part of a draw a share is.
                if list(first.values["with"][other].items()) != list(same.items()):
                    place = dotted((*first.path, "with", other))
                    self.say(
                        (*node.path, "with", other),
                        f"the {name} {quoted(value.strip())} has different {other} at {place}; all its steps must "
                        f"list the same {other} in the same order",
                    )

    def loops(self) -> None:
        jumping: dict[int, list[Node]] = {}
        for node in self.nodes:
            if id(node) in self.targets:
                jumping.setdefault(id(self.targets[id(node)]), []).append(node)
        ways: dict[int, list[Node]] = {}
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
                f"this jump creates a loop without a pause ({names}); add a decision, or delays of at least "
                "30 minutes in total",
            )

    def restarts(self) -> None:
        joining = [(node, node.type.joins) for node in self.nodes if node.type is not None and node.type.joins]
        quick = self.quickest(self.roots) if joining else {}
        for node, name in joining:
            if id(node) in quick:
                self.restart(node, name)

    def restart(self, node: Node, name: str) -> None:
        added = node.values["with"].get(name)
        for index, key in enumerate(added if isinstance(added, list) else [added]):
            if key is None or key not in ("this", self.campaign):
                continue
            place = ("with", name, index) if isinstance(added, list) else ("with", name)
            self.say(
                (*node.path, *place),
                "this restarts the campaign in a loop without a pause; add a decision before it, or delays "
                "of at least 30 minutes in total",
            )

    def quickest(self, starts: list[Node]) -> dict[int, Node | None]:
        """Return the steps that one soon comes to without a decision, each with the one before it on the way."""
        # Only steps whose kind is known count: the others have been said, and may become decisions.
        best: dict[int, float] = {}
        queue: list[tuple[float, int, Node, Node | None]] = []
        came_from: dict[int, Node | None] = {}

        def reach(node: Node, seconds: float, source: Node | None) -> None:
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


def _way(came_from: Mapping[int, Node | None], goal: Node) -> list[Node]:
    """Return the way to a step, with its ends."""
    way = [goal]
    while (source := came_from[id(way[-1])]) is not None:
        way.append(source)
    return way[::-1]
