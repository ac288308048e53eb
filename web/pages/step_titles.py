"""What steps are called on pages: by their name, or where they have none, by what they do.

The builder draws from a draft (`draft_trees.title_of`); all other pages, from a version of the campaign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sqlalchemy import Connection

from parcours.db.tables import campaigns, emails, forms, scores, segments, stages, templates
from parcours.domain.campaign import Campaign, Step
from parcours.domain.steps.types import RefersTo
from parcours.web.i18n.language import _, reader
from parcours.web.i18n.rule_words import named
from parcours.web.i18n.step_words import in_words

Names = Mapping[RefersTo, Mapping[str, str]]

_INNER = {"en": (r"“(.*?)”", r"‘\1’"), "fr": (r"«\s*(.*?)\s*»", r"“\1”")}
_TEMPLATES = {"sms": RefersTo.SMS, "push": RefersTo.PUSH, "message": RefersTo.MESSAGE}


def titled(conn: Connection, campaign: Campaign) -> tuple[Campaign, Names]:
    """Return a campaign whose steps have titles for names, and what people call the things that they refer to."""
    names = names_of(
        conn, (each for step in campaign.steps.values() for each in step.type.references(vars(step.properties)))
    )
    titles = {step.key: _title(step, names) for step in campaign.steps.values() if step.type.jumps is None}
    names = {**names, RefersTo.STEP: titles}
    # A jump is called by the title of where it leads.
    steps = {
        id_: replace(step, name=titles[step.key] if step.key in titles else _title(step, names))
        for id_, step in campaign.steps.items()
    }
    return replace(campaign, steps=steps), names


def quoted(titles: Mapping[str, str], key: str) -> str:
    """Return the title of a step in quotes, or its key where no title is known. Quotes in it become inner ones."""
    if key not in titles:
        return key
    inner = _INNER.get(reader().language, _INNER["en"])
    return _("“{name}”", name=re.sub(inner[0], inner[1], titles[key]))


def _title(step: Step, names: Names) -> str:
    return step.name if step.name != step.key else in_words(step.type, named(step.type, step.properties, names), names)


def names_of(conn: Connection, references: Iterable[tuple[str, RefersTo, str]]) -> dict[RefersTo, Mapping[str, str]]:
    """Return what people call the things that steps refer to; a reference is a property, what it names, and a key."""
    keys: dict[RefersTo, set[str]] = {}
    for _property, what, key in references:
        keys.setdefault(what, set()).add(key)
    made: dict[RefersTo, Mapping[str, str]] = {}
    if RefersTo.SEGMENT in keys:
        made[RefersTo.SEGMENT] = segments.names(conn, keys[RefersTo.SEGMENT])
    if RefersTo.EMAIL in keys:
        made[RefersTo.EMAIL] = emails.titles(conn)
    if RefersTo.FORM in keys:
        made[RefersTo.FORM] = {each.key: each.name for each in forms.listed(conn)}
    if RefersTo.STAGE in keys:
        made[RefersTo.STAGE] = {each.key: each.name for each in stages.listed(conn)}
    if RefersTo.POINT_GROUP in keys:
        made[RefersTo.POINT_GROUP] = {each.key: each.name for each in scores.groups(conn)}
    if RefersTo.CAMPAIGN in keys:
        made[RefersTo.CAMPAIGN] = {row.key: row.name for row in campaigns.listing(conn)}
    if keys.keys() & set(_TEMPLATES.values()):
        listed = templates.listed(conn)
        for kind, what in _TEMPLATES.items():
            made[what] = {each.key: each.name for each in listed if each.kind == kind}
    return made
