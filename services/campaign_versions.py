"""Versions of campaigns: who made them and why, what differs between two, and going back to one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.tables import campaigns
from parcours.db.tables.campaigns import Found, VersionLine
from parcours.domain.campaign_file.difference import Difference, differences
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.errors import CampaignError, NotFoundError, UnreadableCampaignError
from parcours.domain.time.text import iso
from parcours.services import campaign_plan
from parcours.services.campaign_plan import CampaignPlan


@dataclass(frozen=True)
class VersionDifference:
    """What a version says otherwise than another, with the keys of steps that come and go."""

    before: int
    after: int
    differences: list[Difference]
    added: list[str]
    removed: list[str]
    moved: list[str]

    @property
    def is_nothing(self) -> bool:
        return not (self.differences or self.added or self.removed or self.moved)

    def lines(self) -> list[str]:
        """Return the difference in sentences."""
        if self.is_nothing:
            return [f"versions {self.before} and {self.after} are the same"]
        lines = [f"version {self.before} → version {self.after}"]
        for each in self.differences:
            place = f"step {each.step}: {each.name.removeprefix('with.')}" if each.step else f"{each.name}:"
            lines.append(f"  ~ {place} {each.words()}")
        lines += [f"  + step {key}" for key in self.added]
        lines += [f"  - step {key}" for key in self.removed]
        return lines + [f"  > step {key} moves" for key in self.moved]

    def to_json(self) -> dict[str, Any]:
        return {
            "from": self.before,
            "to": self.after,
            "differences": [each.to_json() for each in self.differences],
            "added": self.added,
            "removed": self.removed,
            "moved": self.moved,
            "lines": self.lines(),
        }


def versions_json(conn: Connection, found: Found) -> list[dict[str, Any]]:
    """Return the versions of a campaign, newest first, each with what was changed later without making one, and why."""
    changes: dict[int, list[dict[str, Any]]] = {}
    for each in campaigns.reasons(conn, found.id):
        said = {"at": iso(each.at), "who": each.who, "what": each.what, "message": each.message}
        changes.setdefault(each.version, []).append(said)
    lines = campaigns.versions(conn, found.id)
    return [{**version_json(line, found.version), "changes": changes.get(line.version, [])} for line in lines]


def version_json(line: VersionLine, present: int) -> dict[str, Any]:
    """Return a version as it is listed."""
    return {
        "version": line.version,
        "at": iso(line.at),
        "who": line.who,
        "message": line.message,
        "present": line.version == present,
    }


def line_of(conn: Connection, found: Found, version: int) -> VersionLine:
    """Return a version as it is listed. Raises NotFoundError."""
    for line in campaigns.versions(conn, found.id):
        if line.version == version:
            return line
    raise _no_version(found, version)


def file_of(conn: Connection, found: Found, version: int) -> CampaignFile:
    """Return the file of a version. Raises NotFoundError where there is none, CampaignError for one not readable."""
    if not 1 <= version <= found.version:
        raise _no_version(found, version)
    try:
        return campaigns.definition(conn, found.id, version)
    except UnreadableCampaignError as error:
        raise CampaignError(f"version {version} of {found.key} cannot be read: {error.why}") from None


def _no_version(found: Found, version: int) -> NotFoundError:
    return NotFoundError("version", str(version), f"the versions of {found.key} are 1 to {found.version}")


def difference(conn: Connection, found: Found, before: int | None, after: int | None) -> VersionDifference:
    """Return what differs between two versions: of the present one and that before it, where none is named."""
    after = found.version if after is None else after
    before = max(1, after - 1) if before is None else before
    old, new = file_of(conn, found, before), file_of(conn, found, after)
    here, there = {step.step for step in old.walk()}, {step.step for step in new.walk()}
    return VersionDifference(
        before,
        after,
        differences(old, new),
        [step.step for step in new.walk() if step.step not in here],
        [step.step for step in old.walk() if step.step not in there],
        campaign_plan.moved(old, new, here & there),
    )


def plan_rollback(
    conn: Connection,
    found: Found,
    version: int,
    *,
    zone: ZoneInfo,
    now: datetime | None = None,
    counted: bool = True,
) -> CampaignPlan:
    """Return what going back to a version would do: its file becomes a new version, switched on or off as it is.

    Raises CampaignError where there is no such version, or where something that it names is gone.
    """
    file = file_of(conn, found, version).model_copy(update={"published": None})
    problems = campaign_plan.check_references(conn, file)
    if problems:
        raise CampaignError(f"version {version} of {found.key} cannot be applied any more: {problems[0]}")
    return campaign_plan.plan(conn, file, zone=zone, now=now, counted=counted)


def rollback_message(version: int, message: str | None) -> str:
    """Return why there is a version that goes back to another."""
    return f"rollback to version {version}" + (f": {message}" if message else "")
