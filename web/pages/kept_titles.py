"""What steps of any campaign are called on pages, those that its present version does not have any more too."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from parcours.db.tables import campaigns
from parcours.domain.campaign_file.model import BRANCH_NAMES
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import Kind, RefersTo
from parcours.web.i18n.language import _
from parcours.web.pages import draft_trees
from parcours.web.pages.step_titles import names_of

# Versions that are looked through for a removed step, the latest first.
MOST_VERSIONS = 20


def titles_of(conn: Connection, campaign: str, keys: Collection[str], *, marked: bool = True) -> dict[str, str]:
    """Return what steps of a campaign are called, by key; removed ones, if `marked`, with a word that says so.

    Keys that are not found are left out, and so is everything of a campaign that is deleted.
    """
    try:
        found = campaigns.find(conn, campaign)
    except NotFoundError:
        return {}
    made: dict[str, str] = {}
    for version in range(found.version, max(0, found.version - MOST_VERSIONS), -1):
        left = set(keys) - made.keys()
        if not left:
            break
        # To load twenty versions as campaigns would take a second where they are large.
        data = campaigns.raw_definition(conn, found.id, version)
        steps = {each["step"]: each for each in _steps(data.get("steps") if isinstance(data, Mapping) else None)}
        wanted = [step for key, step in steps.items() if key in left]
        if not wanted:
            continue
        names = draft_trees.with_steps(names_of(conn, (each for step in wanted for each in _references(step))), steps)
        for step in wanted:
            title = draft_trees.title_of(step, names)
            is_marked = marked and version != found.version
            made[step["step"]] = _("{name} (removed)", name=title) if is_marked else title
    return made


def _steps(stored: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a stored tree that have a key; another version of Parcours may have written it."""
    for step in stored if isinstance(stored, list) else ():
        if isinstance(step, Mapping):
            if isinstance(step.get("step"), str):
                yield step
            for branch in BRANCH_NAMES:
                yield from _steps(step.get(branch))


def _references(step: Mapping[str, Any]) -> Iterator[tuple[str, RefersTo, str]]:
    for kind in Kind:
        if kind.value in step and isinstance(step.get("with"), Mapping):
            try:
                found = step_type(kind, str(step[kind.value]))
            except CampaignError:
                continue
            for each in found.references(step["with"]):
                if isinstance(each[2], str):
                    yield each
