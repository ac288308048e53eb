"""Circles of segments and campaigns: who is in one follows from who is in the other, and so on round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection

from parcours.db.tables import campaigns, rules
from parcours.domain.campaign_file.build import exit_rule
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.segments import rule as tree
from parcours.domain.segments.rule import Rule
from parcours.domain.steps.types import RefersTo

# Mostly it was meant to keep out who has been in the campaign.
INSTEAD_OF_CIRCLE = (
    "remove one of the references; to let each contact enter only once, write reentry: never in the campaign instead"
)


class Asker(NamedTuple):
    """A segment or a campaign, by its key."""

    kind: str
    key: str

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


@dataclass
class Circles:
    """Segments with rules and campaigns as they will be: those that are given, and all others as they are stored."""

    conn: Connection
    # The rule of each segment that is applied now; None: it has none.
    segments: Mapping[str, Rule | None] = field(default_factory=dict)
    campaigns: Mapping[str, CampaignFile] = field(default_factory=dict)

    def through(self, start: Asker) -> str | None:
        """Return a circle that leads over a campaign to a segment or campaign again, in words; None without one.

        Reads only what depends on each other; most rules ask for no campaign. Never recurses.
        """
        came: dict[Asker, Asker] = {}
        ahead = [start]
        for place in ahead:
            for other in self._asked_by(place):
                if other == start:
                    way = [start, place]
                    while way[-1] != start:
                        way.append(came[way[-1]])
                    if any(each.kind == "campaign" for each in way):
                        return " -> ".join(map(str, reversed(way)))
                elif other not in came:
                    came[other] = place
                    ahead.append(other)
        return None

    def _asked_by(self, place: Asker) -> Iterator[Asker]:
        """Yield what decides who is in a segment or a campaign."""
        if place.kind == "segment":
            yield from _named(self._rule(place.key))
            return
        file = self._file(place.key)
        if file is None:
            return
        for key in file.sources.segments:
            yield Asker("segment", key)
        for each in file.exit:
            if each.segment is not None:
                yield Asker("segment", each.segment)
            if each.rule is not None:
                yield from _named(exit_rule(each.rule))

    def _rule(self, key: str) -> Rule | None:
        if key in self.segments:
            return self.segments[key]
        return next((each.rule for each in rules.book(self.conn).rules.values() if each.key == key), None)

    def _file(self, key: str) -> CampaignFile | None:
        if key in self.campaigns:
            return self.campaigns[key]
        found = campaigns.stored(self.conn, key)
        if found is None or found.deleted or found.version == 0:
            return None
        return campaigns.read_version(self.conn, found.key, found.id, found.version).file


def _named(rule: Rule | None) -> Iterator[Asker]:
    for _, what, key in tree.references(rule) if rule is not None else ():
        if what in (RefersTo.SEGMENT, RefersTo.CAMPAIGN):
            yield Asker("segment" if what is RefersTo.SEGMENT else "campaign", key)
