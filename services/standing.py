"""Where contacts of a campaign wait, since when, and why some wait longer than planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from parcours.db.reads import standing as reads
from parcours.db.reads.standing import StepStanding
from parcours.db.tables import installation
from parcours.domain.campaign import Campaign
from parcours.domain.time.text import iso
from parcours.services.installation_status import SILENT_AFTER

# So many steps are named.
MOST_NAMED = 3
# Fewer contacts who have not answered are nothing to look into.
LEAST_UNANSWERED = 10

What = Literal["not_running", "no_worker", "workers_behind", "retrying", "held", "unsent"]


class Cause(NamedTuple):
    """Why so many contacts, or messages, are longer at a step than planned; `detail` is an error, or a reason."""

    what: What
    n: int
    detail: str | None = None


@dataclass(frozen=True)
class Standings:
    """The steps at which somebody waits, in their order. `why_not`: why the campaign does not run."""

    steps: list[StepStanding]
    why_not: str | None
    has_worker: bool

    @property
    def stuck(self) -> list[StepStanding]:
        """The steps with the most contacts who are there longer than planned."""
        found = sorted((each for each in self.steps if each.stuck), key=lambda each: -each.stuck)
        return found[:MOST_NAMED]

    @property
    def unanswered(self) -> list[StepStanding]:
        """The decisions with the most contacts who have not answered."""
        found = (each for each in self.steps if each.answer >= LEAST_UNANSWERED)
        return sorted(found, key=lambda each: -each.answer)[:MOST_NAMED]

    def causes(self, step: StepStanding) -> list[Cause]:
        """Return why contacts are at a step longer than planned, each cause with its number."""
        late: What = "not_running" if self.why_not is not None else "workers_behind" if self.has_worker else "no_worker"
        found = [
            Cause(late, step.late, self.why_not),
            Cause("retrying", step.retrying),
            Cause("held", step.held),
            Cause("unsent", step.unsent, step.unsent_error),
        ]
        return [each for each in found if each.n]


def standings(
    conn: Connection, campaign: Campaign, waiting: Mapping[str, int], *, why_not: str | None, now: datetime
) -> Standings:
    """Return who waits where; `waiting` says how many, by the key of a step. The cost has a bound."""
    by_id = {step.id: waiting.get(step.key, 0) for step in campaign.steps.values()}
    alive = any(now - each.at <= SILENT_AFTER for each in installation.workers(conn))
    return Standings(reads.of(conn, campaign, by_id, now=now), why_not, alive)


def said(cause: Cause) -> str:
    """Return a cause in a sentence."""
    contacts, messages = (f"{cause.n:,} {word}{'' if cause.n == 1 else 's'}" for word in ("contact", "message"))
    match cause.what:
        case "not_running":
            return f"{contacts} due, but the campaign is not running: {cause.detail}"
        case "no_worker":
            return f"{contacts} due for more than 15 minutes: no worker is running"
        case "workers_behind":
            return f"{contacts} due for more than 15 minutes: the workers are behind"
        case "retrying":
            return f"{contacts} failed and will be tried again"
        case "held":
            return f"{contacts} held back by a frequency cap or by a pause of the contact"
        case "unsent":
            return f"{messages} not sent yet{': ' + cause.detail if cause.detail else ''}"


def standings_json(found: Standings) -> list[dict[str, Any]]:
    """Return who waits where as `overview --json` has it."""
    return [
        {
            "step": each.step,
            "waiting": each.waiting,
            "about": each.about,
            "median_since": iso(each.median_since),
            "oldest_since": iso(each.oldest_since),
            "planned": each.planned,
            "answer": each.answer,
            "late": each.late,
            "retrying": each.retrying,
            "held": each.held,
            "unsent": each.unsent,
            "causes": [
                {"cause": cause.what, "n": cause.n, "detail": cause.detail, "says": said(cause)}
                for cause in found.causes(each)
            ],
        }
        for each in found.steps
    ]
