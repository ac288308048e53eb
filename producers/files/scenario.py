"""What a scenario is: who is there, what happens at which moment, and what is expected then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from parcours.db.tables.emails import Email
from parcours.db.tables.templates import Template
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.segments.file import SegmentFile
from parcours.producers.files.campaigns import FileProblem

# What contacts do.
ACTS = ("enters", "leaves", "submits", "changes", "does")
# What is done to campaigns, whoever the contacts are.
DEEDS = ("apply", "pause", "publish")
CHECKS = (
    *("sent", "waits", "step", "result", "results", "points", "tags", "fields", "stage", "in", "not in", "left"),
    "not",
)


@dataclass(frozen=True, slots=True)
class ScenarioContact:
    """A contact who is there from the start: the data of `contact.changed`, points, and segments."""

    key: str
    changes: Mapping[str, Any]
    points: int
    segments: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class ScenarioAct:
    """What happens to contacts: one of `ACTS` and its value, of which events have type and data.

    Or to a campaign: one of `DEEDS`, with the file that is applied, or the key of the campaign.
    """

    what: str
    value: Any
    line: int


@dataclass(frozen=True, slots=True)
class Check:
    """What is expected: one of `CHECKS` and its value; `step` has (step, result or None)."""

    what: str
    value: Any
    line: int
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ScenarioStep:
    """A moment: what the contacts do at it, and what is expected of them afterwards."""

    at: datetime
    line: int
    contacts: tuple[str, ...]
    # The campaign that expectations are about; None: any.
    campaign: str | None
    acts: tuple[ScenarioAct, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario with everything that its files hold."""

    name: str
    file: Path
    line: int
    start: datetime
    zone: ZoneInfo
    campaigns: tuple[CampaignFile, ...]
    segments: tuple[SegmentFile, ...]
    emails: tuple[Email, ...]
    templates: tuple[Template, ...]
    policies: Mapping[str, dict[str, Any]]
    forms: tuple[str, ...]
    contacts: tuple[ScenarioContact, ...]
    steps: tuple[ScenarioStep, ...]


@dataclass(frozen=True, slots=True)
class UnreadScenario:
    """A scenario, or a whole file of them, that cannot be run, and why."""

    name: str
    file: Path
    line: int
    problems: Sequence[FileProblem]


def after_start(at: datetime, start: datetime) -> str:
    """Return how long after the start something was, in words."""
    length = at - start
    if length.total_seconds() < 0:
        return "before"
    days, rest = divmod(int(length.total_seconds()), 86_400)
    hours, rest = divmod(rest, 3600)
    minutes = rest // 60
    parts = [f"{n} {unit}{'s' * (n != 1)}" for n, unit in ((days, "day"), (hours, "hour"), (minutes, "minute")) if n]
    return " ".join(parts[:3]) or "0 days"
