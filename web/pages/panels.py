"""Forms for the properties of a step, made from the JSON Schema of its type, and what somebody wrote in them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from parcours.domain import operators
from parcours.domain.contacts.contact import ATTRIBUTES
from parcours.domain.steps.types import RefersTo, StepType
from parcours.domain.time.intervals import parse_interval
from parcours.domain.time.schedule import WEEKDAYS
from parcours.producers.files.campaigns import value_of
from parcours.services.draft_check import DraftProblem
from parcours.web.i18n import labels, plain_words, step_words
from parcours.web.i18n.field_words import field_name
from parcours.web.i18n.language import _, marked
from parcours.web.pages import comma_lists, compared_values, event_tests, rule_form
from parcours.web.pages.event_tests import EventTest
from parcours.web.pages.property_schemas import PropertySchema, example_of, scalar_text, schemas_of
from parcours.web.pages.rule_form import RuleView
from parcours.web.security.access import FormBody

# Whoever describes a property whose texts are filled in says so.
_MENTIONS_LIQUID = "Liquid"
# What a step may name that no page makes.
_OPEN = frozenset({RefersTo.STAGE, RefersTo.POINT_GROUP, RefersTo.COMPANY})
# What names a type of event.
_EVENT_TYPES = frozenset({("event.happened", "type"), ("event.count", "type")})
# The fields that a part of a mapping may have.
_OF_A_PART = frozenset({"text", "choice", "number"})
# Texts of several lines, in which names of contacts may be filled in.
LONG = frozenset({"text", "body", "message_text"})
UNITS = (
    ("minutes", marked("minutes")),
    ("hours", marked("hours")),
    ("days", marked("days")),
    ("weeks", marked("weeks")),
    ("months", marked("months")),
    ("years", marked("years")),
)
DAYS = tuple(zip(WEEKDAYS, labels.WEEKDAYS, strict=True))
PERIODS = (
    ("second", marked("per second")),
    ("minute", marked("per minute")),
    ("hour", marked("per hour")),
    ("day", marked("per day")),
)
_RATE = re.compile(r"(\d{1,9}) per (second|minute|hour|day)")
_LENGTH = re.compile(r"(\d{1,6}) (minute|hour|day|week|month|year)s?")


class PanelChoice(NamedTuple):
    """Something that a property may be: its value, and what people call it."""

    value: str
    label: str


@dataclass(frozen=True)
class PanelWidget:
    """A property as a field of a form. `kind` is text, area, number, check, choice, lines, pick, picks, rule, tests,
    parts, one or yaml.

    `value` is what stands in it, as text; `picked` are several. `one` and `yaml` are YAML of one line and of several.
    """

    name: str
    label: str
    kind: str
    value: str = ""
    picked: tuple[str, ...] = ()
    choices: Sequence[PanelChoice] = ()
    help: str = ""
    required: bool = False
    least: float | None = None
    most: float | None = None
    errors: tuple[str, ...] = ()
    # What the rule editor shows.
    rule: RuleView | None = None
    # Tests of an event's data, and an empty one; what a mapping says, as fields of their own.
    tests: Sequence[EventTest] = ()
    parts: Sequence[PanelWidget] = ()
    # What makes another one to choose, and where.
    new: str = ""
    new_url: str = ""
    # Whether another one than those to choose may be named, which is made then or kept elsewhere.
    open: bool = False
    # Whether its texts are filled in for each contact; then, what they say for one, or why they cannot.
    liquid: bool = False
    shown: str = ""
    shown_error: str = ""
    # What is written into YAML.
    example: str = ""
    # Whether it stands behind the rest: few need it, and it is not set.
    folded: bool = False

    @property
    def id(self) -> str:
        """The id and name of the control."""
        return field_id(self.name)


def field_id(name: str) -> str:
    """Return the id and name of the control of a property; of letters that an id cannot have, their numbers."""
    return "with-" + re.sub(r"[^A-Za-z0-9_-]", lambda found: f".{ord(found[0]):x}.", name)


Known = Mapping[RefersTo, Sequence[PanelChoice]]


def widgets(
    found: StepType,
    given: Mapping[str, Any],
    known: Known,
    problems: Iterable[DraftProblem],
    kinds: Mapping[str, str] | None = None,
) -> list[PanelWidget]:
    """Return the fields for a step's properties; `known` has what references may name.

    The field of a value follows the operator, and what is in the contact's field: `kinds` has that by its name.
    """
    schemas = schemas_of(found)
    wrong = [each for each in problems if each.field == "with" or each.field.startswith("with.")]
    made = []
    for name, schema in schemas.items():
        value = next((given[spelled] for spelled in found.spellings(name) if spelled in given), None)
        errors = tuple(p.sentence for p in wrong if p.field == f"with.{name}" or p.field.startswith(f"with.{name}."))
        widget = _widget(found, name, schema, value, known, errors)
        if widget.kind == "one" and "operator" in schemas:
            widget = _for_value(found, widget, value, given, kinds or {})
        if widget.kind != "hidden":
            made.append(widget)
    return made


def _for_value(
    found: StepType, widget: PanelWidget, value: Any, given: Mapping[str, Any], kinds: Mapping[str, str]
) -> PanelWidget:
    asked = str(given.get("field", "")) if found.name == "contact.field" else ""
    operator = operators.named(given.get("operator", "="))
    kind = compared_values.value_kind(operator, kinds.get(asked, ""), value)
    if kind == "hidden" and value is not None:
        # What does not belong there is shown, so that it can be taken out.
        return widget
    several = value if isinstance(value, list) else [] if value is None else [value]
    text = widget.value
    if kind == "list":
        if not all(isinstance(each, str | int | float) for each in several):
            return widget
        text = comma_lists.written(text_of("one", each) for each in several)
    labels_of = {"boolean": compared_values.BOOLEANS, "day": compared_values.DAYS}.get(kind, ())
    choices = [PanelChoice(key, _(label)) for key, label in labels_of]
    if kind == "day":
        text, choices = compared_values.day_shown(text), [PanelChoice(label, "") for _key, label in choices]
    if kind == "list":
        widget = replace(widget, help=f"{widget.help} {_(compared_values.LIST_HELP)}".strip())
    if kind == "boolean":
        return replace(widget, kind="choice", choices=[PanelChoice("", _("Please choose")), *choices])
    return replace(widget, kind="one" if kind == "text" else kind, value=text, choices=choices)


def _widget(
    found: StepType,
    name: str,
    schema: PropertySchema,
    value: Any,
    known: Known,
    errors: tuple[str, ...],
) -> PanelWidget:
    kind = _kind_of(found, name, schema, value)
    shown = _shown(kind, schema, value)
    choices: Sequence[PanelChoice] = ()
    if kind in ("pick", "picks"):
        choices = known.get(found.refers_to[name], ())
    elif kind == "choice" and name == "operator":
        among = schema.choices or operators.OPERATORS
        known_ones = [PanelChoice(*each) for each in step_words.operators() if each[0] in among]
        rest = [scalar_text(each) for each in among if each not in step_words.OPERATORS]
        choices = [*known_ones, *(PanelChoice(each, step_words.value_name(each, name)) for each in rest)]
        shown = operators.named(shown) if isinstance(shown, str) else shown
    elif kind == "choice" and schema.type == "boolean" and not schema.choices:
        choices = [PanelChoice(key, _(label)) for key, label in compared_values.BOOLEANS]
    elif kind == "choice":
        texts = [scalar_text(each) for each in schema.choices]
        choices = [PanelChoice(text, step_words.value_name(text, name)) for text in texts]
    elif kind == "pick-field":
        choices = [PanelChoice(each, field_name(each)) for each in sorted(ATTRIBUTES)]
    elif kind == "text" and (found.name, name) in _EVENT_TYPES:
        choices = [PanelChoice(each, labels.word(labels.EVENT_TYPES, each)) for each in sorted(labels.EVENT_TYPES)]
    text = text_of(kind, shown)
    if kind == "choice" and shown is not None and text not in {each.value for each in choices}:
        # As it is written, right or wrong.
        choices = [*choices, PanelChoice(text, text)]
    if kind == "choice" and (schema.empty or shown is None):
        choices = [PanelChoice("", _("Please choose")), *choices]
    return PanelWidget(
        name,
        step_words.property_name(found.kind.value, found.name, name),
        "pick" if kind == "pick-field" else kind,
        text,
        _several(shown) if kind == "picks" else (),
        choices,
        plain_words.help_of(schema.description),
        schema.required,
        schema.least,
        schema.most,
        errors,
        open=found.refers_to.get(name) in _OPEN,
        liquid=name in LONG
        or (kind in ("text", "area", "lines", "yaml", "one") and _MENTIONS_LIQUID in schema.description),
        example=example_of(name) if kind == "yaml" else "",
        folded=schema.advanced and value is None and not errors,
        tests=event_tests.shown(shown) if kind == "tests" else (),
        parts=_part_widgets(found, name, schema, shown or {}) if kind == "parts" else (),
    )


def _part_widgets(found: StepType, name: str, schema: PropertySchema, value: Mapping[str, Any]) -> list[PanelWidget]:
    """Return a field for each thing that a mapping says."""
    return [
        replace(_widget(found, part, each, value.get(part), {}, ()), name=f"{name}-{part}")
        for part, each in schema.parts.items()
    ]


def is_several(found: StepType, name: str) -> bool:
    """Return whether a property names several things."""
    schema = schemas_of(found).get(name)
    return schema is not None and _kind_of(found, name, schema) == "picks"


def _shown(kind: str, schema: PropertySchema, value: Any) -> Any:
    """Return what a field shows: a value, or what holds without one."""
    return schema.default if value is None and kind in ("choice", "check", "number") else value


def _kind_of(found: StepType, name: str, schema: PropertySchema, value: Any = None) -> str:
    """Return the kind of a property's field; YAML where the one of its type could not show the value."""
    kind = _kind_of_type(found, name, schema)
    shown = _shown(kind, schema, value)
    if kind == "parts":
        whole = shown is None or (isinstance(shown, Mapping) and _are_shown(found, schema, shown))
        return kind if whole else "yaml"
    if shown is None or _can_show(kind, shown):
        # A line has no place for a second one.
        return "area" if kind == "text" and "\n" in str(shown) else kind
    return "yaml"


def _kind_of_type(found: StepType, name: str, schema: PropertySchema) -> str:
    kind = schema.type
    if name == "rule" and found.rule_of is not None:
        return "rule"
    if name in found.refers_to and kind in ("string", "array"):
        return "pick" if kind == "string" else "picks"
    if schema.choices or (name == "operator" and kind == "string" and step_words.is_known(found)):
        return "choice"
    if kind == "array" and schema.items == "string":
        return "lines"
    if schema.is_tests:
        return "tests"
    if (
        kind == "object"
        and schema.parts
        and all(_kind_of_type(found, *each) in _OF_A_PART for each in schema.parts.items())
    ):
        return "parts"
    if kind == "string":
        return "area" if name in LONG else "pick-field" if name == "field" else "text"
    if kind == "boolean":
        return "choice" if schema.empty else "check"
    if kind in ("integer", "number"):
        return "number"
    return "one" if name == "value" else "yaml"


def _are_shown(found: StepType, schema: PropertySchema, value: Mapping[str, Any]) -> bool:
    """Return whether the fields of a mapping's parts show all that it says."""
    return all(
        name in schema.parts and _kind_of(found, name, schema.parts[name], each) in _OF_A_PART
        for name, each in value.items()
    )


def _can_show(kind: str, value: Any) -> bool:
    """Return whether a field of a kind shows a value as what it is."""
    match kind:
        case "check":
            return isinstance(value, bool)
        case "number":
            return isinstance(value, str | int | float) and not isinstance(value, bool)
        case "lines":
            several = isinstance(value, list) and all(isinstance(each, str) for each in value)
            return isinstance(value, str) or (several and _lines("\n".join(value)) == value)
        case "picks":
            return isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value))
        case "text" | "area" | "pick" | "pick-field" | "choice":
            return isinstance(value, str | int | float)
        case "one":
            return "\n" not in text_of(kind, value)
        case "tests":
            return event_tests.can_show(value)
    return True


def text_of(kind: str, value: Any) -> str:
    """Return a value as the text of a field of a kind."""
    if value is None:
        return ""
    if kind in ("tests", "parts"):
        return ""
    if kind == "one" or (isinstance(value, str) and kind in ("yaml", "rule")):
        return compared_values.line_of(value)
    if kind in ("yaml", "rule"):
        return compared_values.block_of(value)
    if kind == "lines":
        return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    if kind == "check":
        return "1" if value is True else ""
    return scalar_text(value)


def _several(value: Any) -> tuple[str, ...]:
    if isinstance(value, list | tuple):
        return tuple(map(str, value))
    return () if value is None else (str(value),)


def properties_of(found: StepType, given: Mapping[str, Any], form: FormBody) -> dict[str, Any]:
    """Return a step's properties as somebody wrote them, right or wrong; what the form does not show stays.

    So does what nobody changed, as it is written: a field may show less of it than there is.
    """
    made = dict(given)
    known: dict[str, Any] = {}
    for name, schema in schemas_of(found).items():
        spelled = {each: made.pop(each) for each in found.spellings(name) if each in made}
        before = next(iter(spelled.values()), None)
        kind, own = _kind_of(found, name, schema, before), field_id(name)
        if kind in ("tests", "parts") and f"{own}-{kind}" not in form:
            # It was drawn as YAML.
            kind = "yaml"
        if kind == "rule":
            value = rule_form.written(form, own, before)
        elif kind == "tests":
            value = event_tests.read(form, own, before)
        elif kind == "parts":
            value = _parts(found, name, schema, before, form)
        elif _is_untouched(kind, own, schema, before, form):
            value = before
        else:
            value = _value(kind, own, schema, form)
        if kind != "rule" and value is before:
            known |= spelled
            continue
        if value is not None and not (schema.has_default and _is_same(value, schema.default)):
            known[name] = value
    return made | known


def _parts(found: StepType, name: str, schema: PropertySchema, before: Any, form: FormBody) -> Any:
    """Return a mapping as the fields of its parts have it, None for nothing; `before` where they are as drawn."""
    old: Mapping[str, Any] = before or {}
    made, untouched = {}, True
    for part, each in schema.parts.items():
        kind, own = _kind_of(found, part, each, old.get(part)), field_id(f"{name}-{part}")
        if _is_untouched(kind, own, each, old.get(part), form):
            value = old.get(part)
        else:
            value, untouched = _value(kind, own, each, form), False
        if value is not None:
            made[part] = value
    return before if untouched else made or None


def _is_untouched(kind: str, own: str, schema: PropertySchema, before: Any, form: FormBody) -> bool:
    """Return whether a field says what it was drawn with."""
    shown = _shown(kind, schema, before)
    if kind == "check":
        # Of one that has to be answered, empty is an answer.
        return shown is not None and (own in form) is shown
    if kind == "picks":
        return _picked(own, form) == list(_several(shown))
    texts = {text_of(kind, shown)}
    if kind == "one" and isinstance(shown, list):
        texts.add(comma_lists.written(text_of(kind, each) for each in shown))
    return _as_sent(form.text(own)) in map(_as_sent, texts)


def _as_sent(text: str) -> str:
    """Return a text as all browsers send it, which have their own ends of lines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) is isinstance(other, bool)


def shape(found: StepType, given: Mapping[str, Any], kinds: Mapping[str, str] | None = None) -> object:
    """Return which fields a panel has, whatever is written in them; of another shape, it is drawn anew."""
    return [
        (
            each.name,
            rule_form.shape(given.get(each.name), kinds) if each.kind == "rule" else each.kind,
            [test.kind for test in each.tests],
        )
        for each in widgets(found, given, {}, (), kinds)
    ]


def _value(kind: str, name: str, schema: PropertySchema, form: FormBody) -> Any:
    if kind == "check":
        return name in form
    if kind == "picks":
        return _picked(name, form) or None
    text = _as_sent(form.text(name))
    if kind == "lines":
        return _lines(text) or None
    if not text.strip():
        return None
    if kind == "number":
        return _number(text.strip(), whole=schema.type == "integer")
    if kind == "choice":
        values = schema.choices or ((True, False) if schema.type == "boolean" else ())
        return next((each for each in values if scalar_text(each) == text), text)
    if kind == "one":
        operator = form.text(field_id("operator")) if name == field_id("value") else ""
        return compared_values.typed(operator, text)
    if kind == "yaml":
        return value_of(text)
    return text if kind == "area" else text.strip()


def _picked(name: str, form: FormBody) -> list[str]:
    picked = [*form.all(name), *_lines(form.text(f"{name}-more"))]
    return list(dict.fromkeys(each for each in picked if each))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _number(text: str, *, whole: bool) -> Any:
    try:
        found = int(text) if whole or re.fullmatch(r"[+-]?\d+", text) else float(text.replace(",", "."))
    except ValueError:
        # As it is written: what is wrong with it is said beside it.
        return text
    return found if math.isfinite(found) else text


# Timing.


@dataclass(frozen=True)
class Length:
    """An interval as a number and a unit; without a unit, `n` is an interval as a file has it, such as P1DT2H."""

    n: str = ""
    unit: str = "days"


def moment_of(value: object, zone: ZoneInfo) -> str:
    """Return a date of a draft as a field of day and time has it, in the campaign's timezone.

    A text that is no date is returned as far as such a field would show it.
    """
    text = str(value or "")
    try:
        at = datetime.fromisoformat(text)
        local = at if at.tzinfo is None else at.astimezone(zone)
    except (ValueError, OverflowError):
        return text[:16]
    return local.replace(tzinfo=None).isoformat(timespec="minutes")


def length_of(value: Any) -> Length:
    """Return an interval for two fields of a form."""
    if value is None:
        return Length()
    found = _LENGTH.fullmatch(str(value).strip())
    if found:
        return Length(found[1], f"{found[2]}s")
    try:
        parse_interval(value)
    except ValueError:
        # The number is put right where it stands, and gets the unit beside it.
        return Length(str(value))
    return Length(str(value), "")


def written_length(form: FormBody, name: str) -> str | None:
    """Return an interval as a file has it."""
    n, unit = form.text(name).strip(), form.text(f"{name}-unit")
    if not n:
        return None
    return f"{n} {unit.removesuffix('s') if n == '1' else unit}" if n.isdigit() and unit in dict(UNITS) else n


def rate_of(value: Any) -> Length:
    """Return a number per period for two fields of a form."""
    if value is None:
        return Length(unit="hour")
    found = _RATE.fullmatch(str(value).strip())
    return Length(found[1], found[2]) if found else Length(str(value), "hour")


def written_rate(form: FormBody, name: str) -> str | None:
    """Return a number per period as a file has it."""
    n, unit = form.text(name).strip(), form.text(f"{name}-unit")
    return f"{n} per {unit}" if n.isdigit() and unit in dict(PERIODS) else n or None


def timing_from(form: FormBody, kind: str) -> dict[str, Any]:
    """Return what a form says of when a step is done, by the names of a file; None takes out."""
    if kind == "decision":
        return {"within": written_length(form, "within"), "look_back": written_length(form, "look_back")}
    when = form.text("when")
    made: dict[str, Any] = dict.fromkeys(("after", "at", "hour", "between", "days", "late"))
    hour = form.text("hour").strip() or None
    if when == "on":
        made["at"] = form.text("at").strip() or None
        return made
    if when == "date":
        side = "before" if form.text("side") == "before" else "after"
        made["at"] = {
            name: value
            for name, value in (
                ("field", form.text("date-field").strip() or None),
                (side, written_length(form, "offset")),
                ("hour", hour),
            )
            if value is not None
        }
        made["late"] = "run" if form.text("late") == "run" and kind == "action" else None
        return made
    if when == "after":
        made["after"] = written_length(form, "after")
    start, end = form.text("start").strip(), form.text("end").strip()
    if start or end:
        made["between"] = [start, end]
    else:
        made["hour"] = hour
    days = [day for day in WEEKDAYS if day in form.all("days")]
    made["days"] = days if days and len(days) < len(WEEKDAYS) else None
    return made


def mode_of(step: Mapping[str, Any]) -> str:
    """Return which way of timing a step has: now, after, on a date, or by a date of the contact."""
    if isinstance(step.get("at"), Mapping):
        return "date"
    return "on" if step.get("at") is not None else "after" if step.get("after") is not None else "now"
