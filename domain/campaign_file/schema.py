"""The JSON Schema of campaign files, for editors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from parcours.domain.campaign import Priority
from parcours.domain.campaign_file.check import (
    ACTION_NAMES,
    BRANCHES,
    CAMPAIGN_KEY,
    DECISION_NAMES,
    STEP_KEY,
    TIMING_NAMES,
)
from parcours.domain.campaign_file.model import FORMAT, Late, OnFailure, Reentry
from parcours.domain.campaign_file.sentences import a
from parcours.domain.events.matching import PropertyTest
from parcours.domain.goal import MOST_CONTROL
from parcours.domain.retries import MOST_STEP_ATTEMPTS
from parcours.domain.steps import registry
from parcours.domain.steps.types import Kind, StepType
from parcours.domain.time.dates import Every
from parcours.domain.time.schedule import WEEKDAYS

# For editors.


def file_schema(types: Sequence[StepType] | None = None) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a campaign file, with the given or all installed step types.

    It is for an editor's completion and hints; check() knows rules that a schema cannot state.
    """
    types = registry.all_types() if types is None else types
    interval = _or_null({"type": "string", "examples": ["3 days", "90 minutes", "P1DT2H"]})
    steps = {"type": ["array", "null"], "items": {"$ref": "#/$defs/step"}}
    hour = {"type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2}$", "examples": ["09:00"]}
    keys = {"type": ["array", "null"], "items": {"type": "string", "minLength": 1}, "uniqueItems": True}
    day = {"type": ["string", "null"], "examples": ["2026-12-24T09:00", "2026-12-24T09:00+01:00"]}

    hours = _or_null(hour)
    field = {"type": "string", "minLength": 1, "examples": ["webinar_at", "birthday"]}

    def of_contact(**more: Any) -> dict[str, Any]:
        return {
            "type": "object",
            "additionalProperties": False,
            "required": ["field"],
            "properties": {
                "field": told("The custom field that holds the date.", field),
                **more,
                "before": told("How long before the date.", interval),
                "after": told("How long after the date.", interval),
                "hour": told("At this time of that day, in the contact's timezone.", hours),
            },
        }

    def told(description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        return {"description": description, **schema}

    step = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "step": told(
                "Key, unique in the campaign. Default: derived from the type.",
                _or_null({"type": "string", "pattern": f"^{STEP_KEY.pattern}$"}),
            ),
            "name": told("Display name.", {"type": ["string", "null"]}),
            "note": told("A note for the people who read the campaign.", {"type": ["string", "null"]}),
            **{kind.value: _type_names(types, kind) for kind in Kind},
            "with": told("Properties of the step type.", {"type": ["object", "null"]}),
            "after": told("Delay after the previous step.", interval),
            "at": told(
                "Date and time, in the file's timezone unless it has an offset; or a date of the contact, which the "
                "step follows when that changes.",
                {"anyOf": [day, of_contact()]},
            ),
            "hour": told("Time of day, in the contact's timezone.", _or_null(hour)),
            "between": told(
                "Window of the day, in the contact's timezone.",
                {"type": ["array", "null"], "items": hour, "minItems": 2, "maxItems": 2},
            ),
            "days": told(
                "Days of the week on which the step may run.",
                {"type": ["array", "null"], "items": {"enum": list(WEEKDAYS)}},
            ),
            "late": told(
                "What to do with an action that, by a date of the contact, was due before the contact reached it.",
                {"enum": [*get_args(Late), None], "default": "skip"},
            ),
            "within": told("Deadline: how long to wait before taking the no branch.", interval),
            "look_back": told(
                "Maximum age of an event that happened before the contact reached the decision and still counts.",
                interval,
            ),
            "max_attempts": told(
                "Maximum number of attempts.",
                {"type": ["integer", "null"], "minimum": 1, "maximum": MOST_STEP_ATTEMPTS},
            ),
            "on_failure": told("Steps to run after the last failed attempt.", {"enum": [*get_args(OnFailure), None]}),
            "then": told("Steps that follow.", steps),
            "yes": told("Steps that follow when the answer is yes.", steps),
            "no": told("Steps that follow when the answer is no.", steps),
        },
        "oneOf": [{"required": [kind.value]} for kind in Kind],
        "allOf": [
            _when(Kind.ACTION, _without(*DECISION_NAMES, "yes", "no")),
            _when(Kind.DECISION, _without(*TIMING_NAMES, *ACTION_NAMES, "then")),
            _when(Kind.CONDITION, _without(*DECISION_NAMES, *ACTION_NAMES, "then")),
            *(_when(each.kind, _of_type(each), each.name) for each in types),
        ],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Campaign",
        "type": "object",
        "additionalProperties": False,
        "required": ["campaign", "sources", "steps"],
        "properties": {
            "format": told(
                "The format of the file: 2 where it uses event sources, exits, limits, dates, goals, control groups or "
                "notes; 1 when left out.",
                {"enum": [*range(1, FORMAT + 1), None]},
            ),
            "campaign": told(
                "Key: the permanent identity of the campaign.",
                {"type": "string", "pattern": f"^{CAMPAIGN_KEY.pattern}$"},
            ),
            "name": told("Display name. Default: the key.", {"type": ["string", "null"]}),
            "description": {"type": ["string", "null"]},
            "note": told("A note for the people who read the campaign.", {"type": ["string", "null"]}),
            "category": told("Key of a category.", {"type": ["string", "null"]}),
            "published": told(
                "Whether the campaign is published. If omitted, a new campaign is unpublished and an "
                "existing one does not change.",
                {"type": ["boolean", "null"]},
            ),
            "publish_from": told("Start of publication.", day),
            "publish_until": told("End of publication.", day),
            "reentry": told(
                "Whether a contact can go through the campaign again.",
                {"enum": [*get_args(Reentry), None], "default": "never"},
            ),
            "cooldown": told("Minimum time before a contact can re-enter.", interval),
            "grace": told(
                "How long a contact can be outside all source segments before leaving the campaign.", interval
            ),
            "catch_up": told(
                "What to do with steps that became due while the campaign was not running: run them, skip "
                "those older than an interval, or shift their due times by the length of the pause.",
                {
                    "oneOf": [
                        {"enum": ["run", "shift", None]},
                        {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["skip"],
                            "properties": {"skip": {"type": "string", "examples": ["1 day"]}},
                        },
                    ],
                    "default": "run",
                },
            ),
            "priority": told(
                "Priority of the campaign's messages in sending and under frequency caps.",
                {"enum": [*get_args(Priority), None], "default": "normal"},
            ),
            "rate": told(
                "Maximum sending rate of the campaign, all channels together.",
                {"type": ["string", "null"], "examples": ["100 per minute", "2000 per hour"]},
            ),
            "timezone": told("Timezone for dates in this file without an offset.", {"type": ["string", "null"]}),
            "exit_on_leave": told(
                "Whether a contact leaves the campaign after leaving all its sources.",
                {"type": ["boolean", "null"], "default": True},
            ),
            "sources": {
                "type": "object",
                "additionalProperties": False,
                "minProperties": 1,
                "properties": {
                    "segments": told("Keys of public, published segments.", keys),
                    "forms": told("Keys of forms.", keys),
                    "events": told(
                        "Events that let contacts in; the data of the event is known as `entry`.",
                        {"type": ["array", "null"], "items": {"$ref": "#/$defs/event_source"}},
                    ),
                    "dates": told(
                        "Dates of contacts, in custom fields; a contact enters when its date comes.",
                        {
                            "type": ["array", "null"],
                            "items": of_contact(
                                every=told(
                                    "Whether the date comes again; each time the contact enters again.",
                                    {"enum": [*get_args(Every), None]},
                                )
                            ),
                        },
                    ),
                    "existing": told(
                        "Whether who is in a segment already, when the campaign is published, joins too.",
                        {"type": ["boolean", "null"], "default": True},
                    ),
                },
            },
            "entry": told(
                "How many contacts may begin: at most so many ever, and in a while. Who is held back begins later.",
                {
                    "type": ["object", "null"],
                    "additionalProperties": False,
                    "minProperties": 1,
                    "properties": {
                        "most": {"type": ["integer", "null"], "minimum": 1, "examples": [10000]},
                        "rate": {"type": ["string", "null"], "examples": ["500 per hour"]},
                    },
                },
            ),
            "exit": told(
                "What ends a run at once, also while the contact waits: an event, coming into a segment, or a rule "
                "that becomes true.",
                {"type": ["array", "null"], "items": {"$ref": "#/$defs/exit"}},
            ),
            "goal": told(
                "What counts as a conversion: an event, or a rule that becomes true. Counted once each time a contact "
                "enters.",
                {"anyOf": [_goal(interval), {"type": "null"}]},
            ),
            "control": told(
                "Percentage of entering contacts to which nothing happens, to compare the others with.",
                {"type": ["number", "null"], "minimum": 0, "maximum": MOST_CONTROL, "examples": [10]},
            ),
            "redirect": told(
                "When this version is applied, moves contacts who wait at a removed step to another step: "
                "removed key to new key.",
                {"type": ["object", "null"], "additionalProperties": {"type": "string", "minLength": 1}},
            ),
            "steps": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}},
        },
        "$defs": {
            "step": step,
            "event_source": _event("type"),
            "exit": _exit(),
            **{f"{each.kind}.{each.name}": _properties_schema(each) for each in types},
        },
    }


def _event(named: str) -> dict[str, Any]:
    tests = PropertyTest.model_json_schema()
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [named],
        "properties": {
            named: {"type": "string", "minLength": 1, "examples": ["cart.updated", "order.paid"]},
            "where": {
                "description": "Tests of the event's data, all of which must hold.",
                "type": ["array", "null"],
                "items": tests,
            },
            "key": {
                "description": "Property of the event's data that holds the key of the run, such as cart_id.",
                "type": ["string", "null"],
            },
        },
    }


def _exit() -> dict[str, Any]:
    segment = {
        "type": "object",
        "additionalProperties": False,
        "required": ["segment"],
        "properties": {"segment": {"type": "string", "minLength": 1}},
    }
    rule = {
        "type": "object",
        "additionalProperties": False,
        "required": ["rule"],
        "properties": {"rule": {"description": "A rule, as in the file of a segment.", "type": "object"}},
    }
    return {"oneOf": [_event("event"), segment, rule]}


def _goal(interval: Mapping[str, Any]) -> dict[str, Any]:
    within = {"description": "How long after the contact entered a conversion counts.", **interval}
    event = _event("event")
    event["properties"] |= {
        "within": within,
        "value": {
            "description": "Property of the event's data that holds the value of the conversion, such as total.",
            "type": ["string", "null"],
        },
    }
    rule = {
        "type": "object",
        "additionalProperties": False,
        "required": ["rule"],
        "properties": {
            "rule": {"description": "A rule, as in the file of a segment.", "type": "object"},
            "within": within,
        },
    }
    return {"oneOf": [event, rule]}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "type": [schema["type"], "null"]}


def _type_names(types: Iterable[StepType], kind: Kind) -> dict[str, Any]:
    of_kind = [{"const": each.name, "description": each.description} for each in types if each.kind is kind]
    return {
        "description": f"The type of {a(kind)}.",
        **({"oneOf": of_kind} if of_kind else {"type": "string"}),
    }


def _when(kind: Kind, then: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    stated = {"properties": {kind.value: {"const": name}}} if name else {}
    return {"if": {"required": [kind.value], **stated}, "then": then}


def _without(*names: str) -> dict[str, Any]:
    return {"properties": {name: {"type": "null"} for name in names}}


def _of_type(found: StepType) -> dict[str, Any]:
    ref = {"$ref": f"#/$defs/{found.kind}.{found.name}"}
    required = any(info.is_required() for info in found.properties.model_fields.values())
    then: dict[str, Any] = {"properties": {"with": ref if required else {"anyOf": [ref, {"type": "null"}]}}}
    if required:
        then["required"] = ["with"]
    if found.last:
        nothing = {"type": ["array", "null"], "maxItems": 0}
        then["properties"] |= dict.fromkeys(BRANCHES[found.kind], nothing)
    return then


def _properties_schema(found: StepType) -> dict[str, Any]:
    # Its own definitions stay inside it, so that two types may name theirs alike.
    schema = found.properties.model_json_schema(ref_template=f"#/$defs/{found.kind}.{found.name}/$defs/{{model}}")
    return {**schema, "description": found.description}
