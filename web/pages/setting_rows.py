"""Lists in the settings of a draft, entry by entry: events and dates that let contacts in, exits, and the goal.

Each entry has its own fields; what they cannot show is edited as YAML, and what nobody changes stays as it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parcours.producers.files.campaigns import value_of, write
from parcours.services.draft_check import DraftProblem
from parcours.web.i18n import labels
from parcours.web.i18n.field_words import field_name
from parcours.web.i18n.language import _
from parcours.web.pages import draft_rules, event_tests, panels, rule_form
from parcours.web.pages.event_tests import EventTest
from parcours.web.pages.panels import Length
from parcours.web.pages.rule_form import RuleView
from parcours.web.security.access import FormBody

# Entries that the page shows; of more, the list is edited as YAML.
MOST_ROWS = 50
NO_LENGTH = Length()
# What an entry may say, by its kind; the first has to be there.
NAMES = {
    "event": ("event", "where", "key"),
    "type": ("type", "where", "key"),
    "segment": ("segment",),
    "rule": ("rule",),
    "date": ("field", "every", "before", "after", "hour"),
    "goal-event": ("event", "where", "key", "within", "value"),
    "goal-rule": ("rule", "within"),
}
# What the lists hold, and where they stand in the file.
KINDS = {"events": ("type",), "dates": ("date",), "exit": ("event", "segment", "rule")}
PLACES = {"events": "sources.events", "dates": "sources.dates", "exit": "exit"}


@dataclass(frozen=True)
class SettingRow:
    """An entry of a list, as fields of a form. `kind` is one of NAMES, or yaml; `errors` are by the entry's names."""

    id: str
    n: int
    kind: str
    values: Mapping[str, str] = field(default_factory=dict)
    length: Length = NO_LENGTH
    # The tests that there are, and an empty one.
    tests: Sequence[EventTest] = ()
    yaml: str = ""
    rule: RuleView | None = None
    errors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # What it does, for whoever does not know what events and their properties are called.
    said: str = ""


Viewing = Callable[[Any, list[Any], str], RuleView]


def rows(name: str, data: Any, problems: Iterable[DraftProblem], view: Viewing) -> list[SettingRow] | None:
    """Return the entries of a list, or None where it is none and is edited as YAML. `view` shows a rule."""
    if not is_list(data):
        return None
    found = list(problems)
    return [
        row(f"{name}-{n}", n, kind_of(each, KINDS[name]), each, f"{PLACES[name]}.{n}", found, view)
        for n, each in enumerate(data or ())
    ]


def row(id_: str, n: int, kind: str, data: Any, place: str, problems: list[DraftProblem], view: Viewing) -> SettingRow:
    """Return one entry; `place` is where it stands in the file."""
    errors: dict[str, list[str]] = {name: [] for name in ("", *NAMES.get(kind, ()))}
    for each in problems:
        if each.field == place or each.field.startswith(f"{place}."):
            at = each.field[len(place) + 1 :].split(".")[0]
            errors[at if at in errors else ""].append(each.sentence)
    if "rule" in errors:
        # They stand in the editor.
        errors["rule"] = []
    if kind == "yaml":
        return SettingRow(id_, n, kind, yaml=write(data).removesuffix("\n...\n").strip(), errors=errors)
    rule = None
    if "rule" in NAMES[kind]:
        wrong = draft_rules.problems(problems, f"{place}.rule")
        rule = view(data["rule"], wrong, f"{id_}-rule")
    own = {name: str(data.get(name) or "") for name in NAMES[kind] if name not in ("rule", "where")}
    if own.get("before"):
        own["side"] = "before"
    interval = data.get("before") or data.get("after") if kind == "date" else data.get("within")
    tests = event_tests.shown(data.get("where")) if "where" in NAMES[kind] else ()
    return SettingRow(id_, n, kind, own, panels.length_of(interval), tests, "", rule, errors, _said(kind, own))


def _said(kind: str, own: Mapping[str, str]) -> str:
    """Return what an entry with an event does, in sentences; nothing of others, or while the event is missing."""
    event = labels.word(labels.EVENT_TYPES, own.get("type") or own.get("event"))
    if not event:
        return ""
    key = field_name(own["key"]) if own.get("key") else ""
    if kind == "type":
        enters = _("A contact enters when this happens: {event}.", event=event)
        return f"{enters} {_('Each “{field}” is a run of its own.', field=key)}" if key else enters
    if kind == "goal-event":
        reached = _("The goal is reached when this happens: {event}.", event=event)
        return f"{reached} {_('It counts for the run with the same “{field}”.', field=key)}" if key else reached
    leaves = _("A contact leaves when this happens: {event}.", event=event)
    return f"{leaves} {_('Only the run with the same “{field}” ends.', field=key)}" if key else leaves


def is_list(data: Any) -> bool:
    """Return whether some data is a list that is shown entry by entry."""
    return data is None or (isinstance(data, list) and len(data) <= MOST_ROWS)


def kind_of(data: Any, kinds: Sequence[str]) -> str:
    """Return the kind of an entry, or yaml where the fields of none show all that it says."""
    if not isinstance(data, Mapping):
        return "yaml"
    for kind in kinds:
        first, *_rest = names = NAMES[kind]
        if first not in data or not set(data) <= set(names):
            continue
        texts = [value for name, value in data.items() if name not in ("rule", "where")]
        fits = all(value is None or isinstance(value, str) for value in texts)
        both = data.get("before") is not None and data.get("after") is not None
        if fits and not both and event_tests.can_show(data.get("where")):
            return kind
    return "yaml"


# Reading.


def read(form: FormBody, name: str, before: Any) -> Any:
    """Return a list as the form has it after what its button did; what the form says nothing of stays."""
    if name in form:
        text = form.text(name)
        return value_of(text) if text.strip() else None
    if f"{name}-rows" not in form or not is_list(before):
        return before
    do, __, rest = form.text("rows-do").partition(":")
    which, __, what = rest.partition(":")
    here = do if which == name else ""
    made = []
    for n, each in enumerate(before or ()):
        if f"{name}-{n}-kind" not in form:
            made.append(each)
        elif here != "remove" or what != str(n):
            made.append(entry(form, f"{name}-{n}", form.text(f"{name}-{n}-kind"), each))
    if here == "add" and what in KINDS[name]:
        made.append({NAMES[what][0]: {"all": []} if what == "rule" else ""})
    return made or None


def entry(form: FormBody, id_: str, kind: str, before: Any) -> Any:
    """Return one entry as the form has it; as it was written before, when the form says the same."""
    if kind == "yaml":
        text = form.text(f"{id_}-yaml")
        return value_of(text) if text.strip() else ""
    if kind not in NAMES:
        return before
    old = before if isinstance(before, Mapping) else {}
    made: dict[str, Any] = {}
    for name in NAMES[kind]:
        if name == "rule":
            value = rule_form.written(form, f"{id_}-rule", old.get("rule"))
        elif name == "where":
            where, was = f"{id_}-where", old.get("where")
            value = event_tests.read(form, where, was) if event_tests.is_written(form, where) else was
        elif name == "within":
            value = panels.written_length(form, f"{id_}-within")
        elif name in ("before", "after"):
            side = "before" if form.text(f"{id_}-side") == "before" else "after"
            value = panels.written_length(form, f"{id_}-offset") if name == side else None
        else:
            value = form.text(f"{id_}-{name}").strip() or None
        if value is not None or name == NAMES[kind][0]:
            made[name] = "" if value is None else value
    return before if _plain(made) == _plain(old) else made


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry without what says nothing, to compare it."""
    return {name: value for name, value in data.items() if value not in (None, "", [])}


def pressed(form: FormBody, data: Mapping[str, Any]) -> str | None:
    """Return what should have the focus after a button of a list, or None if none was used."""
    do, __, rest = form.text("rows-do").partition(":")
    name, __, what = rest.partition(":")
    if name not in KINDS:
        return None
    there = data.get("exit") if name == "exit" else (data.get("sources") or {}).get(name)
    last = len(there) - 1 if isinstance(there, list) else 0
    if do == "add" and what in KINDS[name]:
        return f"{name}-{last}-rule-root-new" if what == "rule" else f"{name}-{last}-{NAMES[what][0]}"
    return f"{name}-add"


def shape(data: Mapping[str, Any], kinds: Mapping[str, str]) -> object:
    """Return which fields the settings have, whatever is written in them."""
    sources = data["sources"] if isinstance(data.get("sources"), Mapping) else {}
    lists = {"events": sources.get("events"), "dates": sources.get("dates"), "exit": data.get("exit")}
    return [
        (name, [_shape(kind_of(each, KINDS[name]), each, kinds) for each in found or ()] if is_list(found) else "yaml")
        for name, found in lists.items()
    ] + [("goal", [_shape(goal_kind(data.get("goal")), data.get("goal"), kinds)])]


def _shape(kind: str, data: Any, kinds: Mapping[str, str]) -> object:
    if kind == "yaml" or not isinstance(data, Mapping):
        return kind
    return (
        kind,
        event_tests.shape(data.get("where")),
        rule_form.shape(data["rule"], kinds) if "rule" in NAMES[kind] else None,
    )


def goal_kind(goal: Any) -> str:
    """Return whether a goal is an event or a rule; nothing where there is none."""
    return "" if goal is None else kind_of(goal, ("goal-event", "goal-rule"))


def goal(form: FormBody, before: Any) -> Any:
    """Return the goal as the form has it; what the form says nothing of stays."""
    was = goal_kind(before)
    if "goal-kind" not in form:
        return before
    kind = form.text("goal-kind")
    if kind == "yaml":
        text = form.text("goal-yaml")
        return value_of(text) if text.strip() else None
    if kind not in NAMES:
        return None
    if kind != was:
        within = before.get("within") if isinstance(before, Mapping) else None
        fresh: dict[str, Any] = {"rule": {"all": []}} if kind == "goal-rule" else {"event": ""}
        return {**fresh, **({"within": within} if within else {})}
    return entry(form, "goal", kind, before)
