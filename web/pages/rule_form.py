"""The rule editor: a rule as a form, what somebody did in it, and the rule that it makes.

Pages include `rule_editor.html` and give it a `RuleView`. The form brings every part of the rule, so nothing is kept
between two requests; a button that changes the tree sends it as `rule_do`. Without script all of it works. A page with
several rules gives each a name, with which its fields begin instead of `rule`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from parcours.db.tables import campaigns, contacts, emails, forms, segments
from parcours.domain import operators
from parcours.domain.campaign_file.model import Problem, dotted
from parcours.domain.contacts.contact import ATTRIBUTES
from parcours.domain.errors import CampaignError
from parcours.domain.segments import editing, parsing
from parcours.domain.segments.editing import Edited, EditedCondition, EditedGroup
from parcours.domain.steps.registry import all_types, step_type
from parcours.domain.steps.types import Kind, RefersTo, StepType
from parcours.producers.files.campaigns import value_of, write
from parcours.services.rule_count import RuleCount
from parcours.web.i18n import labels, plain_words, step_words
from parcours.web.i18n.language import DEFAULT, _, _n, marked, number, reader, typed_number
from parcours.web.i18n.sentences import told
from parcours.web.pages import comma_lists, event_tests
from parcours.web.pages.compared_values import (
    BOOLEANS,
    DAYS,
    LIST_HELP,
    ORDERING,
    WITH_INTERVAL,
    WITH_LIST,
    WITHOUT_VALUE,
    day_shown,
    day_typed,
    value_kind,
)
from parcours.web.pages.event_tests import EventTest
from parcours.web.pages.property_schemas import PropertySchema, example_of, scalar_text, schemas_of
from parcours.web.security.access import FormBody

# Parts of one rule, as many as the form can bring.
MOST_PARTS = 400
HOW_LABELS = {
    "all": marked("all of these are true"),
    "any": marked("at least one of these is true"),
    "none": marked("none of these is true"),
    "not_all": marked("at least one of these is not true"),
}
TYPE_LABELS = {
    "contact.field": marked("Field of the contact"),
    "contact.tags": marked("Tags"),
    "contact.segments": marked("Member of a segment"),
    "contact.campaigns": marked("In a campaign"),
    "contact.points": marked("Points"),
    "contact.stage": marked("Stage"),
    "contact.owner": marked("Owner"),
    "contact.dnc": marked("Do not contact"),
    "contact.device": marked("Device"),
    "contact.created": marked("Date of creation"),
    "contact.email_valid": marked("Valid email address"),
    "company.field": marked("Field of the company"),
    "email.activity": marked("Activity with emails"),
    "event.count": marked("Number of events"),
    "form.submitted": marked("Form submitted"),
    "form.field": marked("Field of a form"),
    "page.visited": marked("Page visited"),
}
PROPERTY_LABELS = {
    "field": marked("Field"),
    "operator": marked("Comparison"),
    "value": marked("Value"),
    "tags": marked("Tags"),
    "segments": marked("Segments"),
    "campaigns": marked("Campaigns"),
    "stages": marked("Stages"),
    "owners": marked("Owners"),
    "points": marked("Points"),
    "group": marked("Point group"),
    "channels": marked("Channels"),
    "reason": marked("Reason"),
    "match": marked("Match"),
    "within": marked("Within the last"),
    "older_than": marked("Longer ago than"),
    "activity": marked("Activity"),
    "emails": marked("Emails"),
    "forms": marked("Forms"),
    "form": marked("Form"),
    "type": marked("Event type"),
    "at_least": marked("At least"),
    "at_most": marked("At most"),
    "which": marked("Which"),
    "url": marked("Web addresses"),
    "page": marked("Pages"),
    "since": marked("Since"),
    "until": marked("Until"),
    "added": marked("Added"),
    "where": marked("Only if its data says"),
    "date": marked("Date"),
    "device_type": marked("Device types"),
    "device_brand": marked("Brands"),
    "device_os": marked("Operating systems"),
}
# Kinds of widgets that show what there is as what it is.
_AS_IT_IS = frozenset({"keys", "yaml", "tests", "parts"})
_NUMBER = re.compile(r"-?\d{1,15}([.,]\d{1,9})?")


@dataclass(frozen=True)
class RuleChoices:
    """What conditions may name: pairs of key and name, by the kind of thing."""

    keys: Mapping[RefersTo, Sequence[tuple[str, str]]] = field(default_factory=dict)
    fields: Sequence[str] = ()
    campaigns: Sequence[tuple[str, str]] = ()
    # What is in fields of contacts: number, boolean, date or text.
    kinds: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def there(cls, conn: Connection) -> RuleChoices:
        """Return what there is now."""
        return cls(
            {
                RefersTo.SEGMENT: list(segments.titles(conn).items()),
                RefersTo.EMAIL: [(each.key, each.key) for each in emails.listed(conn)],
                RefersTo.FORM: [(each.key, each.name) for each in forms.listed(conn)],
            },
            sorted({*ATTRIBUTES, *contacts.field_names(conn)}),
            [(row.key, row.name) for row in campaigns.listing(conn)],
            field_kinds(conn),
        )


@dataclass(frozen=True)
class Widget:
    """One property of a condition, as the form shows it."""

    name: str
    label: str
    kind: str
    value: str = ""
    # Of a value that is no text: what it was, so that it stays what it is when nobody changes it.
    was: str = ""
    chosen: tuple[str, ...] = ()
    choices: Sequence[tuple[str, str]] = ()
    help: str = ""
    least: Any = None
    most: Any = None
    errors: tuple[str, ...] = ()
    optional: bool = False
    # Names to choose from, by the end of their list's id.
    list: str = ""
    # Tests of an event's data, and an empty one; what a mapping says, as widgets of their own.
    tests: Sequence[EventTest] = ()
    parts: Sequence[Widget] = ()


@dataclass(frozen=True)
class PartView:
    """A group or a condition of the rule, as the form shows it."""

    place: str
    group: bool
    how: str = "all"
    type: str = ""
    about: str = ""
    negated: bool = False
    widgets: Sequence[Widget] = ()
    errors: Sequence[str] = ()
    children: Sequence[PartView] = ()
    first: bool = True
    last: bool = True


@dataclass(frozen=True)
class RuleView:
    """All that `rule_editor.html` shows."""

    root: PartView
    types: Sequence[tuple[str, str]]
    hows: Sequence[tuple[str, str]]
    fields: Sequence[str]
    yaml: str
    as_yaml: bool
    errors: Sequence[str]
    # What its fields begin with.
    name: str = "rule"
    # What compares.
    operators: Sequence[tuple[str, str]] = ()
    # The id of what should have the focus after a button.
    focus: str = ""
    most_tests: int = event_tests.MOST_TESTS
    # Types of events to choose from, with what they are called; none where no condition asks for one.
    events: Sequence[tuple[str, str]] = ()
    # Whether the form can show all that the rule says; else it is edited as YAML, so that nothing is lost.
    whole: bool = True


@dataclass(frozen=True)
class RuleForm:
    """The rule that a form brought. `did`: a button of the editor was used, and nothing else was asked."""

    data: Any
    rule: EditedGroup
    as_yaml: bool = False
    did: bool = False
    # The id of what should have the focus after a button.
    focus: str = ""
    # What cannot be read, by place and property.
    unread: Mapping[tuple[str, str], str] = field(default_factory=dict)


def field_kinds(conn: Connection) -> dict[str, str]:
    """Return what is in fields of contacts: number, boolean, date or text."""
    return {**contacts.field_kinds(conn), "points": "number", "last_active_at": "date"}


def read(form: FormBody, name: str = "rule") -> RuleForm:
    """Return the rule of a form, after what its button did."""
    do, _sign, place = form.text(f"{name}_do").partition(":")
    if form.text(f"{name}_as") == "yaml":
        data = value_of(form.text(f"{name}_yaml")) if form.text(f"{name}_yaml").strip() else None
        return RuleForm(data, editing.of_data(data), as_yaml=do != "form", did=bool(do))
    unread: dict[tuple[str, str], str] = {}
    before = rule = _read(form, name, unread)
    if do == "add":
        rule = editing.added(rule, place, EditedCondition(_known_type(form.text(f"{name}_new.{place}"))))
    elif do == "group":
        how: editing.How = "all" if form.text(f"{name}.{place}.how") == "any" else "any"
        rule = editing.added(rule, place, EditedGroup(how))
    elif do == "remove":
        rule = editing.removed(rule, place)
    elif do in ("up", "down"):
        rule = editing.moved(rule, place, -1 if do == "up" else 1)
    data = editing.to_data(rule) if rule.children else None
    focus = _focus(name, do, place, before) if do else ""
    return RuleForm(data, rule, as_yaml=do == "yaml", did=bool(do), unread=unread, focus=focus)


def written(form: FormBody, name: str, before: Any) -> Any:
    """Return the data of a rule after what a form did, for a draft: it may be unfinished.

    `before` stays as it is written when the form says the same.
    """
    found = read(form, name)
    if form.text(f"{name}_as") == "yaml":
        return found.data
    if can_show(before) and _plain(editing.of_data(before)) == _plain(found.rule):
        return before
    return editing.to_data(found.rule)


def of_draft(data: Any) -> RuleForm:
    """Return the rule of a draft for the editor: as YAML where the form could not show all of it."""
    whole = data is None or can_show(data)
    return RuleForm(data, editing.of_data(data) if whole else EditedGroup(), as_yaml=not whole)


def can_show(data: Any) -> bool:
    """Return whether the editor shows all that some data says, so that nothing is lost when it comes back."""
    if not editing.is_rule(data):
        return False
    parts = list(editing.parts(editing.of_data(data)))
    return len(parts) <= MOST_PARTS and all(
        set(each.given) <= set(_schemas(each.type)) and all(map(_is_one_line, each.given.values()))
        for each in parts
        if isinstance(each, EditedCondition)
    )


def _is_one_line(value: Any) -> bool:
    """Return whether a field of one line shows a value; what is edited as YAML has as many as it wants."""
    texts = value if isinstance(value, list | tuple) else [value]
    return not any(isinstance(each, str) and ("\n" in each or "\r" in each) for each in texts)


def shape(data: Any, kinds: Mapping[str, str] | None = None) -> object:
    """Return what the editor shows of a rule but for what is written in it; of another shape, it is drawn anew."""
    if data is not None and not can_show(data):
        return "yaml"
    parts = editing.parts(editing.of_data(data))
    return [len(each.children) if isinstance(each, EditedGroup) else _condition_shape(each, kinds) for each in parts]


def _condition_shape(condition: EditedCondition, kinds: Mapping[str, str] | None) -> object:
    given, schemas = condition.given, _schemas(condition.type)
    lists = [(name, _list_shape(each, given.get(name))) for name, each in schemas.items() if each.parts]
    if not {"operator", "value"} <= schemas.keys():
        return condition.type, lists
    asked = str(given.get("field", "")) if condition.type == "contact.field" else ""
    operator = operators.named(given.get("operator", "="))
    kind = value_kind(operator, (kinds or {}).get(asked, ""), given.get("value"))
    return condition.type, lists, kind


def _list_shape(schema: PropertySchema, value: Any) -> object:
    kind = _kind("", schema, "", refers=False, value=value)
    return event_tests.shape(value) if kind == "tests" else kind


def _plain(rule: Edited) -> Edited:
    """Return a rule without what says no more than the default does, to compare it."""
    if isinstance(rule, EditedGroup):
        return replace(rule, children=tuple(map(_plain, rule.children)))
    schemas = _schemas(rule.type)
    given = {name: _plain_value(name, schemas.get(name), value) for name, value in rule.given.items()}
    defaults = {name: schemas[name].default if name in schemas else None for name in given}
    return replace(rule, given={name: value for name, value in given.items() if value != defaults[name]})


def _plain_value(name: str, schema: PropertySchema | None, value: Any) -> Any:
    if name == "operator" and isinstance(value, str):
        return operators.named(value)
    return event_tests.plain(value) if schema is not None and schema.is_tests else value


def _focus(name: str, do: str, place: str, rule: EditedGroup) -> str:
    """Return the id of what somebody goes on with after a button of the editor."""
    above, _sign, last = place.rpartition(".")
    found = editing.at(rule, place)
    if do in ("add", "group") and isinstance(found, EditedGroup):
        new = str(len(found.children))
        return _id(name, f"{place}.{new}" if place else new) + ("--type" if do == "add" else "-how")
    if do in ("up", "down") and last.isdigit():
        to = str(max(0, int(last) + (-1 if do == "up" else 1)))
        end = "-how" if isinstance(found, EditedGroup) else "--type"
        return _id(name, f"{above}.{to}" if above else to) + end
    if do == "remove":
        return _id(name, above) + "-new"
    if do == "test" and isinstance(found, EditedCondition):
        tested = next((each for each, schema in _schemas(found.type).items() if schema.is_tests), "")
        there = found.given.get(tested)
        return f"{_id(name, place)}-{tested}-{len(there) if isinstance(there, list) else 0}-field"
    return _id(name, place) + "--type" if do == "type" and place else ""


def _id(name: str, place: str) -> str:
    return f"{name}-{place.replace('.', '-') or 'root'}"


def _read(form: FormBody, name: str, unread: dict[tuple[str, str], str]) -> EditedGroup:
    """Return the parts of a form as a tree. Parts come in their order; each has its parent before it."""
    parts: dict[str, Edited] = {}
    for place in dict.fromkeys(form.all(f"{name}_part")[:MOST_PARTS]):
        how = form.text(f"{name}.{place}.how")
        if how:
            parts[place] = EditedGroup(how if how in editing.HOWS else "all")
        else:
            parts[place] = _condition(form, name, place, unread)
    root = parts.pop("", EditedGroup("all"))
    assert isinstance(root, EditedGroup)
    # The innermost first, so that each is whole when it is put into its group.
    children: dict[str, list[Edited]] = {}
    for place in reversed(parts):
        part = parts[place]
        if isinstance(part, EditedGroup):
            part = replace(part, children=tuple(reversed(children.get(place, []))))
        children.setdefault(place.rpartition(".")[0], []).append(part)
    return replace(root, children=tuple(reversed(children.get("", []))))


def _condition(form: FormBody, rule: str, place: str, unread: dict[tuple[str, str], str]) -> EditedCondition:
    type_ = _known_type(form.text(f"{rule}.{place}.type"))
    given: dict[str, Any] = {}
    for name, schema in _schemas(type_).items():
        key = f"{rule}.{place}.with.{name}"
        error = ""
        if event_tests.is_written(form, key):
            value: Any = event_tests.read(form, key, None)
        elif f"{key}-parts" in form:
            parts = {part: _value(form, f"{key}-{part}", part, each, "")[0] for part, each in schema.parts.items()}
            value = {part: each for part, each in parts.items() if each is not None} or None
        elif key in form:
            value, error = _value(form, key, name, schema, form.text(f"{rule}.{place}.with.operator"))
        else:
            continue
        if error:
            unread[place, name] = error
        if value is not None:
            given[name] = value
    return EditedCondition(type_, given, negated=f"{rule}.{place}.negated" in form)


def _known_type(name: str) -> str:
    return name[:200] or "contact.field"


def _value(form: FormBody, key: str, name: str, schema: PropertySchema, operator: str) -> tuple[Any, str]:
    """Return what a widget says, None for nothing, and why it cannot be read."""
    text = form.text(key).strip()
    was = form.text(f"{key}.was")
    if was:
        try:
            before = json.loads(was)
        except (ValueError, RecursionError):
            before = None
        if before is not None and _as_text(before) == text:
            return before, ""
    kind = _kind(name, schema, operator, refers=False)
    # It was drawn as YAML, or its fields would be there.
    kind = "yaml" if kind in ("tests", "parts") else kind
    shown_as = form.text(f"{key}.as")
    if kind == "text" and shown_as == "boolean" and text in ("true", "false"):
        return text == "true", ""
    if name == "value" and kind == "text" and operator == "date" and text:
        return day_typed(text), ""
    number_ = typed_number(text) if kind == "text" and (shown_as == "number" or operator in ORDERING) else None
    if number_ is not None and name == "value":
        return number_, ""
    if kind == "text" and shown_as == "number" and _NUMBER.fullmatch(text):
        return (float(text.replace(",", ".")) if set(text) & {".", ","} else int(text)), ""
    if kind == "list":
        return [each for value in form.all(key) for each in comma_lists.read(value)] or None, ""
    if not text:
        return None, ""
    if kind == "integer":
        digits = text.replace("\u202f", "").replace(" ", "")
        if digits.lstrip("-").isascii() and digits.lstrip("-").isdigit() and len(digits) < 19:
            return int(digits), ""
        return text, _("Enter a whole number.")
    if kind == "enum":
        return next((each for each in schema.choices if scalar_text(each) == text), text), ""
    if kind == "yaml":
        found_data = value_of(text)
        wrong = schema.type in ("array", "object") and not isinstance(found_data, dict | list)
        return found_data, _("Enter a mapping or a list in YAML.") if wrong else ""
    return text, ""


def _schemas(type_: str) -> Mapping[str, PropertySchema]:
    """Return the JSON Schema of each property of a condition type; nothing of one that is unknown or does not say."""
    try:
        return schemas_of(step_type(Kind.CONDITION, type_))
    except CampaignError:
        return {}


def _kind(name: str, schema: PropertySchema, operator: str, *, refers: bool, value: Any = None) -> str:
    if schema.is_tests:
        return "tests" if event_tests.can_show(value) else "yaml"
    if schema.type == "object" and schema.parts:
        return "parts" if value is None or _shows_parts(schema, value) else "yaml"
    if name == "operator" and not schema.choices:
        return "operator"
    if schema.choices:
        return "enum"
    if name == "value" and not schema.type:
        if operator in WITHOUT_VALUE:
            return "hidden"
        return "list" if operator in WITH_LIST else "interval" if operator in WITH_INTERVAL else "text"
    match schema.type:
        case "array" if schema.items == "string":
            return "keys" if refers else "list"
        case "integer" | "number":
            return "integer" if schema.type == "integer" else "text"
        case "string":
            if refers:
                return "key"
            return "field" if name == "field" else "interval" if name in ("within", "older_than") else "text"
    return "yaml"


def _shows_parts(schema: PropertySchema, value: Any) -> bool:
    """Return whether the widgets of a mapping's parts show all that it says."""
    return (
        isinstance(value, Mapping)
        and value.keys() <= schema.parts.keys()
        and all(
            isinstance(each, str) and _is_one_line(each) and _kind(part, schema.parts[part], "", refers=False) != "yaml"
            for part, each in value.items()
        )
    )


def check(form: RuleForm) -> list[Problem]:
    """Return what is wrong with the rule of a form by itself; a rule without conditions is one."""
    if form.data is None:
        return [Problem(("rule",), _("Add at least one condition."))]
    _rule, problems = parsing.parse(form.data)
    return problems


def view(
    form: RuleForm, choices: RuleChoices, problems: Iterable[Problem] = (), *, name: str = "rule", whole: bool = True
) -> RuleView:
    """Return a rule as the editor shows it, with each problem at the widget or the part that it is about."""
    by_path: dict[tuple[Any, ...], list[str]] = {}
    for each in problems:
        sentence = each.sentence if form.as_yaml else plain_words.problem(each.sentence)
        by_path.setdefault(tuple(each.path), []).append(sentence)
    taken: set[tuple[Any, ...]] = set()
    root = _part(form, form.rule, "", choices, by_path, taken, True, True)
    shown = set() if form.as_yaml else taken
    rest = [
        f"{dotted(path)}: {told(sentence)}" if form.as_yaml and len(path) > 1 else sentence
        for path, said in by_path.items()
        if path not in shown
        for sentence in said
    ]
    data = form.data
    return RuleView(
        root,
        types=[(each.name, type_label(each)) for each in _types()],
        hows=[(how, _(label)) for how, label in HOW_LABELS.items()],
        fields=choices.fields,
        yaml="" if data is None else write(data) if isinstance(data, dict | list) else str(data),
        as_yaml=form.as_yaml,
        errors=rest,
        name=name,
        operators=step_words.operators(),
        focus=form.focus,
        events=_event_types(form.rule),
        whole=whole,
    )


def _event_types(rule: Edited) -> list[tuple[str, str]]:
    asked = any(isinstance(each, EditedCondition) and each.type == "event.count" for each in editing.parts(rule))
    return [(name, labels.word(labels.EVENT_TYPES, name)) for name in sorted(labels.EVENT_TYPES)] if asked else []


def count_words(counted: RuleCount) -> str:
    """Return how many contacts match, as the page says it beside the editor."""
    said = _n(
        "{n} of {total} contacts matches.",
        "{n} of {total} contacts match.",
        counted.matching,
        total=number(max(counted.total, counted.matching)),
    )
    if counted.failed:
        said += " " + _("The rule fails for {n} of the contacts checked.", n=number(counted.failed))
    return f"≈ {said}" if counted.about else said


def _part(
    form: RuleForm,
    here: Edited,
    place: str,
    choices: RuleChoices,
    problems: Mapping[tuple[Any, ...], list[str]],
    taken: set[tuple[Any, ...]],
    first: bool,
    last: bool,
) -> PartView:
    path = ("rule", *editing.path_of(form.rule, place))
    own = [*_taken(problems, taken, path), *_taken(problems, taken, (*path, "condition"))]
    own += _taken(problems, taken, (*path, "with"))
    if isinstance(here, EditedGroup):
        for below in ("all", "any"):
            own += _taken(problems, taken, (*path, below))
        own += [
            said
            for end in (("not",), ("not", "any"), ("not", "all"))
            for said in _taken(problems, taken, (*path, *end))
        ]
        children = [
            _part(
                form,
                each,
                f"{place}.{n}" if place else str(n),
                choices,
                problems,
                taken,
                n == 0,
                n == len(here.children) - 1,
            )
            for n, each in enumerate(here.children)
        ]
        return PartView(place, True, here.how, errors=own, children=children, first=first, last=last)
    type_ = _type(here.type)
    widgets = [
        _widget(here, type_, name, schema, choices, [*_taken(problems, taken, (*path, "with", name), deep=True)])
        for name, schema in _schemas(here.type).items()
    ]
    unread = {name: error for (at, name), error in form.unread.items() if at == place}
    widgets = [
        replace(each, errors=(*each.errors, unread[each.name])) if each.name in unread else each for each in widgets
    ]
    return PartView(
        place,
        False,
        type=here.type,
        about="" if type_ is None else told(type_.description.split("\n\n")[0].replace("\n", " ")),
        negated=here.negated,
        widgets=[each for each in widgets if each.kind != "hidden"],
        errors=own,
        first=first,
        last=last,
    )


def _taken(
    problems: Mapping[tuple[Any, ...], list[str]],
    taken: set[tuple[Any, ...]],
    path: tuple[Any, ...],
    *,
    deep: bool = False,
) -> list[str]:
    """Return what is said of a place, and note that it is shown; `deep`: of what is below it as well."""
    found = [each for each in problems if each == path or (deep and each[: len(path)] == path)]
    taken.update(found)
    return [said for each in found for said in problems[each]]


def _widget(
    condition: EditedCondition,
    type_: StepType | None,
    name: str,
    schema: PropertySchema,
    choices: RuleChoices,
    errors: Sequence[str],
) -> Widget:
    what = None if type_ is None else type_.refers_to.get(name)
    known = choices.keys.get(what) if what is not None else None
    if name == "campaigns" and condition.type == "contact.campaigns":
        known = choices.campaigns
    operator = str(condition.given.get("operator", "="))
    value = condition.given.get(name)
    kind = _kind(name, schema, operator, refers=known is not None, value=value)
    if kind in ("text", "list", "interval") and name == "value" and not schema.type:
        asked = str(condition.given.get("field", "")) if condition.type == "contact.field" else ""
        kind = value_kind(operators.named(operator), choices.kinds.get(asked, ""), value)
    chosen = tuple(map(str, value)) if isinstance(value, list | tuple) else () if value is None else (str(value),)
    label = PROPERTY_LABELS.get(name)
    options: Sequence[tuple[str, str]] = ()
    if kind == "operator":
        options = step_words.operators()
        chosen = tuple(map(operators.named, chosen))
        # As it is written, right or wrong.
        options = [*options, *((each, each) for each in chosen if each not in step_words.OPERATORS)]
    elif kind == "enum":
        options = [
            (text, dict(step_words.operators()).get(text) or step_words.value_name(text, name))
            for text in map(scalar_text, schema.choices)
        ]
    elif kind in ("keys", "key"):
        missing = [(each, each) for each in chosen if each not in dict(known or ())]
        options = [*(known or ()), *missing]
    if kind == "boolean":
        options = [(key, _(text)) for key, text in BOOLEANS]
        chosen = () if value is None else ("true" if value else "false",)
    if kind == "day":
        options = [(_(text), "") for _key, text in DAYS]
    if kind in ("operator", "enum"):
        # As it is written, right or wrong.
        options = [*options, *((each, each) for each in chosen if each not in dict(options))]
    if kind == "enum" and value is None and schema.default is not None:
        chosen = (scalar_text(schema.default),)
    described = _help(schema.description) if kind in ("yaml", "text", "list") and name != "value" else ""
    return Widget(
        name,
        step_words.property_name("condition", condition.type, name) if label is None else _(label),
        kind,
        value=_yaml_of(value) if kind == "yaml" else day_shown(_as_text(value)) if kind == "day" else _as_text(value),
        was="" if isinstance(value, str | None) or kind in _AS_IT_IS else json.dumps(value, default=str),
        chosen=chosen,
        choices=options,
        help=" ".join(filter(None, (described, _more_help(kind, name)))),
        least=schema.least,
        most=schema.most,
        errors=tuple(errors),
        optional=schema.has_default,
        list="fields" if kind == "field" else "events" if (condition.type, name) == ("event.count", "type") else "",
        tests=event_tests.shown(value) if kind == "tests" else (),
        parts=[
            replace(
                _widget(EditedCondition(condition.type, value or {}), type_, part, each, choices, ()),
                name=f"{name}-{part}",
            )
            for part, each in schema.parts.items()
        ]
        if kind == "parts"
        else (),
    )


def _more_help(kind: str, name: str) -> str:
    """Return how a value is written, where the field alone does not say."""
    if kind == "yaml":
        return _("As YAML, such as {example}", example=example_of(name))
    return _(LIST_HELP) if kind == "list" else ""


def _help(description: str) -> str:
    """Return the description of a property; nothing to who reads another language and has no translation."""
    said = told(description)
    return said if said != description or reader().language == DEFAULT else ""


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple) and all(isinstance(each, str | int | float) for each in value):
        return comma_lists.written(map(scalar_text, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _yaml_of(value: Any) -> str:
    return "" if value is None else write(value) if isinstance(value, dict | list) else scalar_text(value)


def _types() -> list[StepType]:
    found = [each for each in all_types() if each.kind is Kind.CONDITION and each.only_in_campaigns is None]
    order = list(TYPE_LABELS)
    return sorted(found, key=lambda each: (order.index(each.name) if each.name in order else len(order), each.name))


def type_label(type_: StepType) -> str:
    """Return what a condition type is called in the editor; one of another package by its name."""
    return _(TYPE_LABELS[type_.name]) if type_.name in TYPE_LABELS else type_.name


def _type(name: str) -> StepType | None:
    try:
        return step_type(Kind.CONDITION, name)
    except CampaignError:
        return None
