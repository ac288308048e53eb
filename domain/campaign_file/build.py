"""From a checked file to the campaign that runs, and from what is stored back to a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from parcours.domain.campaign import Branch, Campaign, Step
from parcours.domain.campaign_file.model import (
    BRANCH_NAMES,
    FORMAT,
    AtFile,
    CampaignFile,
    DateSourceFile,
    EntryFile,
    FindType,
    GoalFile,
    SkipFile,
    StepFile,
    dotted,
)
from parcours.domain.campaign_file.sentences import sentences
from parcours.domain.entry import EntryLimit, EventExit, EventSource
from parcours.domain.errors import CampaignError
from parcours.domain.events.matching import PropertyTest
from parcours.domain.goal import Goal, draw
from parcours.domain.invalid_values import called, why_invalid
from parcours.domain.messages.rate import parse_number_per, parse_rate
from parcours.domain.steps import registry
from parcours.domain.steps.types import Kind, Properties, StepType
from parcours.domain.time.dates import ContactDate
from parcours.domain.time.intervals import Interval, parse_interval
from parcours.domain.time.schedule import Timing, parse_days, parse_hour, parse_window


def stored(data: object) -> CampaignFile:
    """Return the campaign file of a stored definition.

    It was checked when it was applied and is trusted now, so a rule that came later changes nothing about it.
    Raises CampaignError with one sentence for what cannot be read.
    """
    if not isinstance(data, Mapping):
        raise CampaignError(f"the definition must be a mapping, not {called(data)}")
    try:
        if newer(data):
            raise CampaignError(newer(data))
        return CampaignFile.model_validate({name: value for name, value in data.items() if name != "format"})
    except ValidationError as error:
        first = error.errors()[0]
        raise CampaignError(f"{dotted(first['loc'])}: {why_invalid(first, first['input'])}") from None


def newer(data: Mapping[Any, Any]) -> str:
    """Return why a file of its format cannot be read; nothing if it can."""
    given = data.get("format", FORMAT)
    if type(given) is int and 1 <= given <= FORMAT:
        return ""
    return f"this version of Parcours reads formats 1 to {FORMAT}, not {given!r}; upgrade Parcours, or write {FORMAT}"


def build(
    file: CampaignFile,
    *,
    campaign_id: int,
    version: int,
    step_ids: Mapping[str, int],
    zone: ZoneInfo,
    moved: Collection[str] = (),
    step_type: FindType = registry.step_type,
) -> Campaign:
    """Return a file's tree as the engine walks it, its steps in the order of the document.

    `step_ids` has the id of each step's key, `moved` the keys of steps that stood elsewhere before. `zone` is
    for dates without an offset, which a file from check() does not have.
    """
    steps: dict[int, Step] = {}
    zone = ZoneInfo(file.timezone) if file.timezone else zone

    def place(found: StepFile, parent: int | None, branch: Branch | None) -> None:
        kind = step_type(found.kind, found.type)
        if found.step not in step_ids:
            raise CampaignError(f"the database has no row for the step {found.step!r}")
        step = Step(
            id=step_ids[found.step],
            key=found.step,
            name=found.name or found.step,
            type=kind,
            properties=_properties(kind, found),
            timing=timing_of(found, zone),
            parent=parent,
            branch=branch,
            within=_interval(found.within),
            look_back=_interval(found.look_back),
            max_attempts=found.max_attempts,
            on_failure=found.on_failure,
            late=found.late,
            moved=found.step in moved,
        )
        steps[step.id] = step
        for below, children in found.branches():
            for child in children:
                place(child, step.id, below)

    for root in file.steps:
        place(root, None, None)
    return Campaign(
        id=campaign_id,
        key=file.campaign,
        version=version,
        steps=steps,
        name=file.name,
        reentry=file.reentry,
        cooldown=_interval(file.cooldown),
        grace=_interval(file.grace),
        catch_up=parse_interval(file.catch_up.skip) if isinstance(file.catch_up, SkipFile) else file.catch_up,
        exit_on_leave=file.exit_on_leave,
        priority=file.priority,
        per_second=None if file.rate is None else parse_rate(file.rate),
        event_sources=tuple(EventSource(each.type, _tests(each.where), each.key) for each in file.sources.events),
        event_exits=tuple(
            EventExit(each.event, _tests(each.where), each.key) for each in file.exit if each.event is not None
        ),
        segment_exits=tuple(each.segment for each in file.exit if each.segment is not None),
        rule_exits=tuple(exit_rule(each.rule, step_type) for each in file.exit if each.rule is not None),
        entry=_limit(file.entry),
        dates=tuple(map(contact_date, file.sources.dates)),
        goal=_goal(file.goal),
        control=None if file.control is None else draw(file.campaign, file.control),
    )


def _tests(given: Iterable[Mapping[str, Any]]) -> tuple[PropertyTest, ...]:
    return tuple(map(PropertyTest.model_validate, given))


def exit_rule(data: Any, step_type: FindType = registry.step_type) -> Any:
    """Return the rule (`segments.rule.Rule`) of an exit: one that the decision `contact.matches` may wait for."""
    matches = step_type(Kind.DECISION, "contact.matches")
    try:
        properties = matches.properties.model_validate({"rule": data})
    except ValidationError as error:
        said = "; ".join(sentence for _, sentence in sentences(error, matches.properties, {"rule": data}))
        raise CampaignError(f"exit: {said}") from None
    assert matches.rule_of is not None
    return matches.rule_of(properties)


def _goal(given: GoalFile | None) -> Goal | None:
    if given is None:
        return None
    return Goal(given.event, _tests(given.where), given.key, _interval(given.within), given.value)


def _limit(given: EntryFile | None) -> EntryLimit | None:
    if given is None:
        return None
    rate, period = (None, None) if given.rate is None else parse_number_per(given.rate)
    return EntryLimit(given.most, rate, period)


def _properties(kind: StepType, step: StepFile) -> Properties:
    try:
        return kind.properties.model_validate({**kind.properties.meant_before, **step.with_})
    except ValidationError as error:
        wrong = sentences(error, kind.properties, step.with_)
        said = "; ".join(f"{dotted(('with', *place))}: {sentence}" for place, sentence in wrong)
        raise CampaignError(f"step {step.step!r}: {said}") from None
    # The code of a step type of another package.
    except (Exception, SystemExit) as error:
        why = (str(error).splitlines() or [""])[0][:200]
        raise CampaignError(
            f"step {step.step!r}: the step type {kind.name!r} failed to check this ({type(error).__name__}: {why})"
        ) from error


def timing_of(step: StepFile, zone: ZoneInfo) -> Timing:
    """Return when a step is done. Raises ValueError."""
    return Timing(
        after=_interval(step.after),
        at=with_offset(step.at, zone) if isinstance(step.at, datetime) else None,
        hour=None if step.hour is None else parse_hour(step.hour),
        between=None if step.between is None else parse_window(list(step.between)),
        days=parse_days(list(step.days)) if step.days else frozenset(),
        date=contact_date(step.at) if isinstance(step.at, AtFile) else None,
    )


def contact_date(file: AtFile) -> ContactDate:
    """Return the date of the contact that a step or a source goes by. Raises ValueError."""
    return ContactDate(
        field=file.field,
        offset=_interval(file.before) or _interval(file.after) or Interval(),
        before=file.before is not None,
        hour=None if file.hour is None else parse_hour(file.hour),
        every=file.every if isinstance(file, DateSourceFile) else None,
    )


def _interval(text: str | None) -> Interval | None:
    return None if text is None else parse_interval(text)


def to_data(file: CampaignFile) -> dict[str, Any]:
    """Return a file as plain data that JSON can hold: check() makes the same file of it again.

    Names come in the order of the documentation, defaults are left out, the keys of all steps are stated.
    `redirect` is left out too: it is for applying the file once.
    """
    data = _plain_fields(file)
    if file.format > 1:
        data = {"format": file.format, **data}
    data.pop("redirect", None)
    data["steps"] = [_step_data(step) for step in file.steps]
    return data


def _step_data(step: StepFile) -> dict[str, Any]:
    data = _plain_fields(step)
    for name in BRANCH_NAMES:
        if name in data:
            data[name] = [_step_data(child) for child in data[name]]
    return data


class _PlainField(NamedTuple):
    """A field of a file: its attribute, its name in the file, and what is left out; `info` where that is made."""

    attribute: str
    name: str
    default: object
    info: FieldInfo | None


_STATED = object()


@cache
def _fields(model: type[BaseModel]) -> list[_PlainField]:
    found = []
    for attribute, info in model.model_fields.items():
        made = info.default_factory is not None and info.default_factory is not dict
        default = _STATED if info.is_required() else {} if info.default_factory is dict else info.default
        found.append(_PlainField(attribute, info.alias or attribute, default, info if made else None))
    return found


def _plain_fields(model: BaseModel) -> dict[str, Any]:
    data: dict[str, Any] = {}
    values = vars(model)
    for attribute, name, default, info in _fields(type(model)):
        value = values[attribute]
        made = default if info is None else info.get_default(call_default_factory=True, validated_data=data)
        if value == made:
            continue
        if isinstance(value, datetime):
            value = value.isoformat()
        elif isinstance(value, BaseModel):
            value = _plain_fields(value)
        elif isinstance(value, tuple):
            # Those of steps come after, with their own.
            value = [
                _plain_fields(each) if isinstance(each, BaseModel) and not isinstance(each, StepFile) else each
                for each in value
            ]
        data[name] = value
    return data


def with_offset(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return the same instant with a fixed offset, so that it compares and reads back alike in any zone."""
    return datetime.fromisoformat(
        (moment if moment.utcoffset() is not None else moment.replace(tzinfo=zone)).isoformat()
    )
