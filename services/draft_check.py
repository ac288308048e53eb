"""What is wrong with a draft, step by step, and what applying it would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from parcours.db.tables import campaigns, templates
from parcours.domain.campaign_file import edit
from parcours.domain.campaign_file.check import check
from parcours.domain.campaign_file.model import BRANCH_NAMES, CampaignFile, Path
from parcours.domain.campaign_file.sentences import quoted
from parcours.domain.errors import CampaignError
from parcours.domain.segments import parsing
from parcours.domain.segments import rule as rules
from parcours.domain.steps.properties import NO_CHOICE, empty_choices
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import RefersTo
from parcours.services.drafts import without_choices

# What a reference must name, and what that is called in a sentence.
_CALLED = {
    RefersTo.SEGMENT: "segment",
    RefersTo.FORM: "form",
    RefersTo.EMAIL: "email",
    RefersTo.SMS: "text message",
    RefersTo.PUSH: "notification",
    RefersTo.MESSAGE: "message",
    RefersTo.CAMPAIGN: "campaign",
}
_TEMPLATES: dict[RefersTo, templates.Kind] = {
    RefersTo.SMS: "sms",
    RefersTo.PUSH: "push",
    RefersTo.MESSAGE: "message",
}


class DraftProblem(NamedTuple):
    """One thing that is wrong: at a step, or in the settings (None). `field` is a name in it, as `with.email`."""

    step: str | None
    field: str
    sentence: str


@dataclass(frozen=True)
class CheckedDraft:
    """A draft's campaign file, or why there is none yet."""

    file: CampaignFile | None
    problems: list[DraftProblem] = field(default_factory=list)

    def at(self, step: str | None) -> list[DraftProblem]:
        """Return what is wrong at a step, or in the settings."""
        return [each for each in self.problems if each.step == step]


def check_draft(conn: Connection, data: Mapping[str, Any], zone: ZoneInfo) -> CheckedDraft:
    """Return what a draft says as a campaign file, or everything that is wrong with it.

    Whatever it names must be there: in a file, an email may come later; on a page, one chooses from what there is.
    """
    given = ready(data)
    checked = check(given, default_zone=zone)
    problems = [_placed(given, each.path, each.sentence) for each in checked.problems]
    problems += _of_goal(given)
    problems += _empty_choices(given)
    problems += _unknown(conn, given)
    return CheckedDraft(checked.file if not problems else None, problems)


def _empty_choices(data: Mapping[str, Any]) -> Iterator[DraftProblem]:
    """Yield the lists of which one is enough, and that hold nothing: a file may have them, who builds is asked."""
    for each in edit.walk(data):
        kind, given = edit.kind_of(each.step), each.step.get("with")
        if kind is None or not isinstance(given, Mapping):
            continue
        with suppress(CampaignError):  # of a type that is not installed
            for name in empty_choices(step_type(kind, str(each.step[kind.value])).properties, given):
                yield DraftProblem(each.step["step"], f"with.{name}", NO_CHOICE)


def _of_goal(data: Mapping[str, Any]) -> Iterator[DraftProblem]:
    """Yield what is wrong with the rule of the goal, which is read only when the campaign is applied."""
    goal = data.get("goal")
    if isinstance(goal, Mapping) and isinstance(goal.get("rule"), Mapping):
        _rule, problems = parsing.parse(goal["rule"], path=("goal", "rule"))
        for each in problems:
            yield DraftProblem(None, ".".join(map(str, each.path)), each.sentence)


def ready(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a draft as it would be applied: a step that is back needs nobody to be sent elsewhere."""
    made = without_choices(data)
    there = set(edit.keys(made))
    stated = made.get("redirect")
    if stated is not None and not isinstance(stated, Mapping):
        # Left for the check, which says what is wrong with it.
        return made
    made.pop("redirect", None)
    redirect = {old: new for old, new in edit.redirects(data).items() if old not in there}
    if redirect:
        made["redirect"] = redirect
    return made


def _placed(data: Mapping[str, Any], path: Path, sentence: str) -> DraftProblem:
    """Return a problem with the step that it is about."""
    step: str | None = None
    whole: Any = data
    rest = list(path)
    while len(rest) >= 2 and rest[0] in (edit.ROOT, *BRANCH_NAMES) and isinstance(rest[1], int):
        steps = whole.get(str(rest[0])) or []
        if rest[1] >= len(steps):
            break
        whole = steps[rest[1]]
        step, rest = whole["step"], rest[2:]
    return DraftProblem(step, ".".join(map(str, rest)), sentence)


class NamedThing(NamedTuple):
    """What a draft names, and where: at a step, or in the settings (None)."""

    step: str | None
    field: str
    what: RefersTo
    key: str


def names_in(data: Mapping[str, Any]) -> Iterator[NamedThing]:
    """Yield the segments, forms, emails, messages and campaigns that a draft names."""
    sources = data.get("sources")
    for name, what in (("segments", RefersTo.SEGMENT), ("forms", RefersTo.FORM)):
        keys = sources.get(name) if isinstance(sources, Mapping) else None
        for key in keys if isinstance(keys, list) else ():
            yield NamedThing(None, f"sources.{name}", what, str(key))
    for n, leaving in enumerate(data["exit"] if isinstance(data.get("exit"), list) else ()):
        if isinstance(leaving, Mapping) and leaving.get("segment") and isinstance(leaving["segment"], str):
            yield NamedThing(None, f"exit.{n}.segment", RefersTo.SEGMENT, leaving["segment"])
        if isinstance(leaving, Mapping):
            yield from _named_by_rule(data, None, ("exit", n, "rule"), leaving.get("rule"))
    if isinstance(data.get("goal"), Mapping):
        yield from _named_by_rule(data, None, ("goal", "rule"), data["goal"].get("rule"))
    for each in edit.walk(data):
        kind, given = edit.kind_of(each.step), each.step.get("with")
        if kind is None or not isinstance(given, Mapping):
            continue
        try:
            found = step_type(kind, str(each.step[kind.value]))
        except CampaignError:
            continue
        if found.rule_of is not None:
            yield from _named_by_rule(data, each.step["step"], ("with", "rule"), given.get("rule"))
        for name, what, key in found.references(given):
            if what in _CALLED and not (what is RefersTo.CAMPAIGN and key in ("this", data.get("campaign"))):
                yield NamedThing(each.step["step"], f"with.{name}", what, key)


def _named_by_rule(data: Mapping[str, Any], step: str | None, path: Path, rule: Any) -> Iterator[NamedThing]:
    read, _problems = parsing.parse(rule, path=path, of_campaign=True) if rule else (None, [])
    for place, what, key in rules.references(read) if read is not None else ():
        if what in _CALLED and not (what is RefersTo.CAMPAIGN and key in ("this", data.get("campaign"))):
            yield NamedThing(step, ".".join(map(str, place)), what, key)


def _unknown(conn: Connection, data: Mapping[str, Any]) -> Iterator[DraftProblem]:
    found = list(names_in(data))
    keys = {what: {each.key for each in found if each.what is what} for what in _CALLED}
    segments = campaigns.named(conn, "segments", keys[RefersTo.SEGMENT])
    forms = campaigns.named(conn, "forms", keys[RefersTo.FORM])
    known: dict[RefersTo, set[str]] = {
        RefersTo.SEGMENT: set(segments),
        RefersTo.FORM: set(forms),
        RefersTo.EMAIL: set(campaigns.named(conn, "emails", keys[RefersTo.EMAIL])),
        RefersTo.CAMPAIGN: {row.key for row in campaigns.listing(conn)} if keys[RefersTo.CAMPAIGN] else set(),
        **{what: templates.known(conn, kind, keys[what]) for what, kind in _TEMPLATES.items()},
    }
    for each in found:
        said = quoted(each.key)
        source = each.step is None and each.field.startswith("sources")
        if each.key not in known[each.what]:
            sentence = f"there is no {_CALLED[each.what]} {said}; choose another or create it"
        elif source and each.what is RefersTo.SEGMENT and not segments[each.key].public:
            sentence = f"segment {said} is private; only public segments can be sources"
        elif source and each.what is RefersTo.SEGMENT and not segments[each.key].published:
            sentence = f"segment {said} is not published; only published segments can be sources"
        elif source and each.what is RefersTo.FORM and forms[each.key].standalone:
            sentence = f"form {said} is standalone; only campaign forms can be sources"
        else:
            continue
        yield DraftProblem(each.step, each.field, sentence)
