"""What steps of any campaign are called on pages, those that its present version does not have any more too."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from parcours.db.tables import campaigns
from parcours.domain.campaign_file import edit
from parcours.domain.errors import CampaignError, NotFoundError
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import Kind, RefersTo
from parcours.services import drafts
from parcours.web.i18n.language import _
from parcours.web.pages import draft_trees
from parcours.web.pages.step_titles import names_of

# Versions that are looked through for a removed step, the latest first.
MOST_VERSIONS = 20


def titles_of(conn: Connection, campaign: str, keys: Collection[str]) -> dict[str, str]:
    """Return what steps of a campaign are called, by key; removed ones with a word that says so.

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
        data = drafts.data_of(conn, found._replace(version=version))
        steps = {each.step["step"]: each.step for each in edit.walk(data)}
        wanted = [step for key, step in steps.items() if key in left]
        if not wanted:
            continue
        names = draft_trees.with_steps(names_of(conn, (each for step in wanted for each in _references(step))), steps)
        for step in wanted:
            title = draft_trees.title_of(step, names)
            made[step["step"]] = title if version == found.version else _("{name} (removed)", name=title)
    return made


def _references(step: Mapping[str, Any]) -> Iterator[tuple[str, RefersTo, str]]:
    for kind in Kind:
        if kind.value in step and isinstance(step.get("with"), Mapping):
            try:
                found = step_type(kind, step[kind.value])
            except CampaignError:
                continue
            for each in found.references(step["with"]):
                if isinstance(each[2], str):
                    yield each
