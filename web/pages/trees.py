"""A campaign's tree with its figures, as it is drawn: who reached each step, and what became of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parcours.db.reads.overview import StepFigures
from parcours.domain.campaign import Branch, Campaign, Step
from parcours.web.i18n.rule_words import named
from parcours.web.i18n.step_words import in_words
from parcours.web.pages.step_titles import Names

# In the order in which they stand in a bar.
PARTS = ("done", "yes", "no", "skipped", "queued", "undelivered", "failed", "cancelled", "waiting")
BRANCHES: tuple[Branch | None, ...] = (None, "yes", "no")


@dataclass(frozen=True)
class TreePart:
    """A part of a step's bar: how many of those who reached it, as a share in percent, from where on."""

    name: str
    n: int
    left: float
    width: float


@dataclass(frozen=True)
class Fork:
    """What is below a step: on its `yes` or `no` side with the share who took it in percent, or (None) simply next."""

    branch: Branch | None
    n: int
    percent: float | None
    nodes: Sequence[TreeStep]


@dataclass(frozen=True)
class TreeStep:
    """A step of the tree, with its figures.

    `share` is how many reached it in percent of the step that most reached; `conversion`, of those who
    reached its parent, or at a root, of all who were added and are not erased. None: nobody could, or more did than
    that: by jumps, or in several runs.
    """

    step: Step
    figures: StepFigures
    share: float
    conversion: float | None
    parts: tuple[TreePart, ...]
    forks: Sequence[Fork]
    # What it does, in words.
    words: str = ""

    @property
    def key(self) -> str:
        return self.step.key

    @property
    def jump(self) -> str | None:
        """The key of the step that it jumps to; None of all that do not jump."""
        name = self.step.type.jumps
        return None if name is None else str(getattr(self.step.properties, name))


def tree(
    campaign: Campaign, figures: Mapping[str, StepFigures], *, came: int, names: Names | None = None
) -> list[TreeStep]:
    """Return the roots of a campaign, with all below them; `figures` by the steps' keys.

    `came` is how many came to the first steps. `names` has what people call the things that steps refer to.
    """
    most = max((each.reached for each in figures.values()), default=0)
    return [_node(campaign, figures, step, came, most, names or {}) for step in campaign.roots]


def percent(part: int, whole: int) -> float | None:
    """Return a share in percent, with one decimal; None of nothing."""
    return None if whole <= 0 else round(100 * part / whole, 1)


def conversion(reached: int, came: int) -> float | None:
    """Return how many of those who came reached a step, in percent; None where more did, or nobody came."""
    return None if reached > came else percent(reached, came)


def parts(figures: StepFigures) -> tuple[TreePart, ...]:
    """Return what became of those who reached a step, as parts of a bar; what nobody had is left out.

    Who passed a step whose message did not arrive, or has not arrived yet, has a part of its own.
    """
    found = []
    left = 0.0
    undelivered = min(figures.undelivered, figures.results["done"])
    queued = min(figures.queued, figures.results["done"] - undelivered)
    counts = {**figures.results, "waiting": figures.waiting, "undelivered": undelivered, "queued": queued}
    counts["done"] -= undelivered + queued
    for name in PARTS:
        n = counts[name]
        if n <= 0 or figures.reached <= 0:
            continue
        width = 100 * n / figures.reached
        found.append(TreePart(name, n, round(left, 3), round(width, 3)))
        left += width
    return tuple(found)


def _node(
    campaign: Campaign, figures: Mapping[str, StepFigures], step: Step, came: int, most: int, names: Names
) -> TreeStep:
    own = figures[step.key]
    forks = []
    for branch in BRANCHES:
        children = campaign.children(step, branch)
        n = own.reached if branch is None else own.results[branch]
        if children or (branch is not None and n):
            nodes = [_node(campaign, figures, child, own.reached, most, names) for child in children]
            forks.append(Fork(branch, n, None if branch is None else percent(n, own.reached), nodes))
    share = percent(own.reached, most) or 0.0
    words = in_words(step.type, named(step.type, step.properties, names), names)
    return TreeStep(step, own, share, conversion(own.reached, came), parts(own), forks, words)
