"""What the files of a scenario name: its steps may speak of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from parcours.db.tables.emails import Email
from parcours.domain.campaign_file.model import CampaignFile
from parcours.domain.segments.file import SegmentFile
from parcours.domain.steps import registry


class Known:
    """What the files of a scenario name, those that its steps apply included."""

    def __init__(
        self,
        campaigns: Sequence[CampaignFile],
        segments: Sequence[SegmentFile],
        emails: Sequence[Email],
        forms: Sequence[str],
    ) -> None:
        self.campaigns = list(dict.fromkeys(each.campaign for each in campaigns))
        # Of all versions of a campaign.
        self.steps = {
            key: list(dict.fromkeys(step.step for each in campaigns if each.campaign == key for step in each.walk()))
            for key in self.campaigns
        }
        self.actions = [step.step for each in campaigns for step in each.walk() if step.kind == "action"]
        # Which template a step sends.
        self.sends = {
            step.step: str(step.with_["email"])
            for each in campaigns
            for step in each.walk()
            if step.kind == "action" and isinstance(step.with_.get("email"), str)
        }
        self.templates = list(dict.fromkeys([*(each.key for each in emails), *self.sends.values()]))
        self.templates += [
            str(step.with_[name])
            for each in campaigns
            for step in each.walk()
            for name in ("sms", "push", "message")
            if isinstance(step.with_.get(name), str)
        ]
        named = [each.segment for each in segments]
        named += [key for each in campaigns for key in each.sources.segments]
        named += [leaving.segment for each in campaigns for leaving in each.exit if leaving.segment is not None]
        asked = [
            *(value for each in segments for value in _under(each.data, "segments", "segment")),
            *(
                value
                for each in campaigns
                for step in each.walk()
                for value in _under(step.with_, "segments", "add", "remove")
                if step.type == "contact.segments"
            ),
        ]
        self.segments = list(dict.fromkeys([*named, *asked]))
        self.forms = list(dict.fromkeys([*forms, *(key for each in campaigns for key in each.sources.forms)]))
        self.forms += [
            value
            for each in campaigns
            for step in each.walk()
            if step.type in ("form.submit", "form.field")
            for value in _under(step.with_, "forms", "form")
            if value not in self.forms
        ]
        data = [each.model_dump(by_alias=True, mode="json") for each in campaigns]
        self.types = list(dict.fromkeys(_under([*data, *(each.data for each in segments)], "type", "event")))
        for each in campaigns:
            for step in each.walk():
                if step.kind == "decision":
                    kind = registry.step_type(step.kind, step.type)
                    made = kind.properties.model_validate(step.with_)
                    self.types += sorted(set(kind.events_of(made)) - {*self.types})

    def looks_at(self, type_: str) -> bool:
        """Return whether a campaign or a rule names a type of event, with or without a wildcard."""
        return any(type_ == each or ("*" in each and _fits(type_, each)) for each in self.types)


def _fits(type_: str, pattern: str) -> bool:
    before, _, after = pattern.partition("*")
    return type_.startswith(before) and type_.endswith(after.rpartition("*")[2])


def _under(data: object, *names: str) -> Iterator[str]:
    """Yield the texts that stand anywhere in data under some names."""
    open_: list[object] = [data]
    while open_:
        each = open_.pop()
        if isinstance(each, Mapping):
            for name, value in each.items():
                if name in names:
                    yield from (
                        text
                        for text in (value if isinstance(value, list | tuple) else [value])
                        if isinstance(text, str)
                    )
            open_ += each.values()
        elif isinstance(each, list | tuple):
            open_ += each
