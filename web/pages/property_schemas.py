"""What forms ask of the JSON Schema of a step type's properties, whatever another package says in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from parcours.domain.errors import CampaignError
from parcours.domain.steps.types import Properties, StepType
from parcours.web.pages.event_tests import TESTED

# Of more, no list is shown: one writes what one means, and the check says whether there is such a thing.
MOST_CHOICES = 500
# References that lead to others, before they are taken for a circle.
_MOST_REFERENCES = 20
_DEFINITIONS = "#/$defs/"


@dataclass(frozen=True)
class PropertySchema:
    """One property. `type` and `items` are those of JSON Schema; empty where it has none, or several."""

    type: str = ""
    items: str = ""
    # Values to choose from, each with another text; empty where anything of the type may be written.
    choices: tuple[str | int | float | bool, ...] = ()
    description: str = ""
    default: Any = None
    has_default: bool = False
    # Whether it may be null, which says something else than its other values.
    empty: bool = False
    required: bool = False
    least: float | None = None
    most: float | None = None
    # Whether few need it.
    advanced: bool = False
    # Of a mapping that may say nothing else, what it says; of a list of such mappings, what they say.
    parts: Mapping[str, PropertySchema] = field(default_factory=dict)

    @property
    def is_tests(self) -> bool:
        """Whether it is a list of tests of an event's data."""
        return self.type == "array" and self.parts.keys() == TESTED


def schemas_of(found: StepType) -> Mapping[str, PropertySchema]:
    """Return the schema of each property of a type by its name.

    Raises CampaignError where a form cannot have them one by one: all of them are written as YAML then.
    """
    made = _schemas(found.properties)
    if made is None:
        raise CampaignError(f"the step type {found.name!r} does not list its properties; write them as YAML")
    return made


def scalar_text(value: object) -> str:
    """Return what an option of a list is called that stands for a value."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@cache
def _schemas(properties: type[Properties]) -> Mapping[str, PropertySchema] | None:
    try:
        whole = properties.model_json_schema(by_alias=False)
    # The code of another package.
    except (Exception, SystemExit):
        return None
    definitions = whole.get("$defs") if isinstance(whole, Mapping) else None
    root = _resolved(whole, definitions)
    listed, required = root.get("properties", {}), root.get("required")
    if not isinstance(listed, Mapping) or root.get("additionalProperties") is not False:
        return None
    if not set(properties.model_fields) <= set(listed):
        return None
    needed = required if isinstance(required, list) else ()
    made = {str(name): _property(each, definitions, required=name in needed) for name, each in listed.items()}
    # What has to be there stands first.
    return dict(sorted(made.items(), key=lambda each: not each[1].required))


def _resolved(schema: object, definitions: object) -> Mapping[str, Any]:
    """Return a schema without what it refers to elsewhere; nothing where that leads nowhere."""
    for _each in range(_MOST_REFERENCES):
        if not isinstance(schema, Mapping):
            return {}
        among, every = schema.get("$ref"), schema.get("allOf")
        if isinstance(among, str) and isinstance(definitions, Mapping) and among.startswith(_DEFINITIONS):
            target = definitions.get(among.removeprefix(_DEFINITIONS))
            own = {name: value for name, value in schema.items() if name != "$ref"}
        elif among is None and isinstance(every, list) and len(every) == 1:
            target, own = every[0], {name: value for name, value in schema.items() if name != "allOf"}
        else:
            return schema if among is None and every is None else {}
        schema = {**target, **own} if isinstance(target, Mapping) else own
    return {}


def _property(given: object, definitions: object, *, required: bool, depth: int = 0) -> PropertySchema:
    outer = given if isinstance(given, Mapping) else {}
    schema, empty = _resolved(outer, definitions), False
    for name in ("anyOf", "oneOf"):
        several = schema.get(name)
        if isinstance(several, list):
            found = [_resolved(each, definitions) for each in several]
            left = [each for each in found if each.get("type") != "null"]
            empty = empty or len(left) < len(found)
            # Of several shapes, none.
            schema = {**schema, **left[0]} if len(left) == 1 else {}
    types = schema.get("type")
    types = types if isinstance(types, list) else [types]
    empty = empty or (len(types) > 1 and "null" in types)
    types = [each for each in types if each != "null"]
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    choices = choices if isinstance(choices, list) else []
    empty = empty or None in choices
    item = _resolved(schema.get("items"), definitions)
    items = item.get("type")
    described = outer.get("description", schema.get("description"))
    return PropertySchema(
        types[0] if len(types) == 1 and isinstance(types[0], str) else "",
        items if isinstance(items, str) else "",
        _choices([each for each in choices if each is not None]),
        " ".join(described.split()) if isinstance(described, str) else "",
        outer.get("default", schema.get("default")),
        "default" in outer or "default" in schema,
        empty,
        required,
        _number(schema.get("minimum", schema.get("ge"))),
        _number(schema.get("maximum", schema.get("le"))),
        outer.get("advanced", schema.get("advanced")) is True,
        _parts(schema if types == ["object"] else item, definitions, depth),
    )


def _parts(schema: Mapping[str, Any], definitions: object, depth: int) -> Mapping[str, PropertySchema]:
    listed = schema.get("properties")
    # What refers to itself has no end.
    if depth or not isinstance(listed, Mapping) or schema.get("additionalProperties") is not False:
        return {}
    needed = schema.get("required")
    needed = needed if isinstance(needed, list) else ()
    return {str(name): _property(each, definitions, required=name in needed, depth=1) for name, each in listed.items()}


def _choices(given: list[Any]) -> tuple[Any, ...]:
    fits = len(given) <= MOST_CHOICES and all(isinstance(each, str | int | float) and each != "" for each in given)
    return tuple(given) if fits and len({scalar_text(each) for each in given}) == len(given) else ()


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


# Of what is written as YAML, by the property; others map names to values.
_EXAMPLES = {
    "added": "within: 30 days",
    "where": "- {field: total, operator: gt, value: 100}",
    "headers": "X-Source: parcours",
    "body": "email: '{{ contact.email }}'",
    "shares": "a: 50",
}


def example_of(name: str) -> str:
    """Return what one may write for a property that is written as YAML."""
    return _EXAMPLES.get(name, "country: FR")
