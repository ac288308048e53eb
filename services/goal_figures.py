"""What a campaign's goal came to: of all, of branches and variants, and against the control group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db.tables import campaigns, trials
from parcours.domain.campaign import Campaign
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.goal import Tried
from parcours.domain.lift import Lift, is_enough, lift

_NOBODY = Tried()


class PartFigures(NamedTuple):
    """A branch of a step, or a variant of an email that it sends ('': the main content)."""

    step: str
    kind: Literal["branch", "variant"]
    name: str
    tried: Tried


@dataclass(frozen=True)
class GoalFigures:
    """The figures of a campaign that has a goal or a control group, from counters."""

    file: CampaignFile
    treated: Tried
    control: Tried
    parts: list[PartFigures]

    @property
    def total(self) -> Tried:
        """Both groups together."""
        one, other = self.treated, self.control
        return Tried(one.entered + other.entered, one.reached + other.reached, one.value + other.value)

    @property
    def compares(self) -> bool:
        """Whether there is a control group."""
        return bool(self.file.control) or self.control.entered > 0

    @property
    def lift(self) -> Lift | None:
        """How much more often the goal is reached than in the control group; None: not enough data yet."""
        one, other = self.treated, self.control
        if self.file.goal is None or not is_enough(one.entered, one.reached, other.entered, other.reached):
            return None
        return lift(one.reached, one.entered, other.reached, other.entered)


def goal_figures(conn: Connection, campaign: Campaign) -> GoalFigures | None:
    """Return what a campaign's goal came to; None for one that has neither a goal nor a control group.

    The cost does not depend on its contacts.
    """
    if not campaign.watches:
        return None
    counted = trials.figures(conn, campaign.id)
    return GoalFigures(
        campaigns.definition(conn, campaign.id, campaign.version),
        counted.get("treated", _NOBODY),
        counted.get("control", _NOBODY),
        _parts(campaign, counted),
    )


def _parts(campaign: Campaign, counted: Mapping[str, Tried]) -> list[PartFigures]:
    """Return branches and variants in the order of the file; those of removed steps are left out."""
    found: dict[int, list[PartFigures]] = {}
    # Yes before no.
    for part, tried in sorted(counted.items(), reverse=True):
        for mark, kind in ((":", "branch"), ("=", "variant")):
            id_, there, name = part.partition(mark)
            if there and id_.isdigit() and int(id_) in campaign.steps and tried.entered:
                step = campaign.steps[int(id_)]
                found.setdefault(step.id, []).append(
                    PartFigures(step.key, "branch" if kind == "branch" else "variant", name, tried)
                )
                break
    return [part for step in campaign.steps.values() for part in found.get(step.id, [])]


def verdict(figures: GoalFigures) -> str:
    """Return in a sentence what the comparison with the control group says."""
    found = figures.lift
    if found is None:
        return "Not enough data yet to compare with the control group."
    return {
        1: "Contacts in the campaign reach the goal more often than the control group.",
        -1: "Contacts in the campaign reach the goal less often than the control group.",
        0: "The difference may be due to chance.",
    }[found.verdict]


def goal_json(figures: GoalFigures | None) -> dict[str, Any] | None:
    """Return the figures of a goal as `overview --json` has them; rates and differences are from 0 to 1."""
    if figures is None:
        return None
    goal, found = figures.file.goal, figures.lift
    return {
        "event": None if goal is None else goal.event,
        "rule": None if goal is None else goal.rule,
        "within": None if goal is None else goal.within,
        "value": None if goal is None else goal.value,
        "control_percent": figures.file.control,
        "total": _tried(figures.total),
        "treated": _tried(figures.treated),
        "control": _tried(figures.control) if figures.compares else None,
        "lift": None
        if not figures.compares
        else {
            "enough_data": found is not None,
            "difference": None if found is None else found.difference,
            "low": None if found is None else found.low,
            "high": None if found is None else found.high,
            "confidence": 0.95,
            "says": verdict(figures),
        },
        "branches": [
            {"step": each.step, "branch": each.name, **_tried(each.tried)}
            for each in figures.parts
            if each.kind == "branch"
        ],
        "variants": [
            {"step": each.step, "variant": each.name or None, **_tried(each.tried)}
            for each in figures.parts
            if each.kind == "variant"
        ],
    }


def _tried(tried: Tried) -> dict[str, Any]:
    return {
        "entered": tried.entered,
        "reached": tried.reached,
        "rate": tried.rate,
        "value": f"{tried.value.normalize():f}",
    }
