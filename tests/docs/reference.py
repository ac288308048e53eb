"""Writes the pages of docs/reference from the code: `python -m tests.docs.reference` (`make reference`)."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import typer
import yaml
from pydantic.fields import FieldInfo
from sqlalchemy import create_engine

from parcours import cli
from parcours.domain.campaign_file.schema import file_schema
from parcours.domain.events.table import EVENT_TYPES
from parcours.domain.steps.catalogue import page as step_types
from parcours.domain.steps.registry import all_types
from parcours.domain.steps.types import Kind
from parcours.ops.logs import FLOODABLE, LINES_A_MINUTE
from parcours.ops.settings import PREFIX, Settings
from parcours.web.app import make_app
from tests.conftest import ROOT
from tests.docs.meanings import LICENCES_NOT_INSTALLED, LOG_EVENTS

FOLDER = ROOT / "docs" / "reference"
# What other packages and programs may import; everything else may change without notice.
PUBLIC = ("steps", "providers", "client", "testing")
RENEW = "make reference"
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
# Licences under which we may use a package without its terms reaching our own code.
COMPATIBLE = re.compile(
    r"0BSD|Apache|BSD|CNRI-Python|ISC|LGPL|Lesser General Public|MIT|MPL|Mozilla Public|PSF|Python Software|Zlib"
)


def pages() -> dict[str, str]:
    """Return the text of every page by its file name."""
    return {name: f"{make().rstrip()}\n" for name, make in PAGES.items()}


def main() -> None:
    """Write the pages that have changed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        file = FOLDER / name
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
            sys.stdout.write(f"docs/reference/{name}\n")


# The command.


@dataclass(frozen=True)
class Command:
    """One command without commands below it."""

    name: str
    help: str
    arguments: list[Any]
    options: list[Any]


def commands() -> list[Command]:
    """Return every command, in the order of --help."""
    root: Any = typer.main.get_command(cli.app)
    return [each for name in root.list_commands(None) for each in _below(name, root.get_command(None, name))]


def root_options() -> list[Any]:
    """Return the options of `parcours` itself."""
    root: Any = typer.main.get_command(cli.app)
    return _shown(root.params)


def _below(name: str, found: Any) -> Iterator[Command]:
    if hasattr(found, "commands"):
        for below, each in found.commands.items():
            yield from _below(f"{name} {below}", each)
        return
    shown = _shown(found.params)
    arguments = [each for each in shown if each.param_type_name == "argument"]
    yield Command(
        name, inspect.cleandoc(found.help or ""), arguments, [each for each in shown if each not in arguments]
    )


def _shown(parameters: Iterable[Any]) -> list[Any]:
    # Every command would list the shell's completion again.
    return [each for each in parameters if not each.hidden and not each.opts[0].endswith("-completion")]


def commands_page() -> str:
    old = ", ".join(f"`parcours {alias}` is `parcours {name}`" for alias, name in cli.ALIASES.items())
    text = [
        *_head("Commands"),
        "Every command has `--help`. The exit code is 0 on success, 1 when the job failed, and 2 on wrong usage.",
        f"Names that Mautic's crontabs use are accepted too: {old}.",
        "",
        "`parcours --install-completion` sets up the completion of your shell.",
        "",
        "Options of `parcours` itself, written before the command (`--debug` may stand anywhere):",
        "",
        *_table(("option", "value", "default", "meaning"), map(_option, root_options())),
    ]
    group = ""
    for each in commands():
        first = each.name.split()[0]
        if first != group:
            group = first
            text += ["", f"## {group}", "", _escaped(cli.COMMANDS[group][1])]
        if each.name != group:
            text += ["", f"### {each.name}"]
        usage = " ".join(["parcours", each.name, *map(_placeholder, each.arguments)])
        text += ["", "```text", usage + (" [OPTIONS]" if each.options else ""), "```"]
        if each.help != cli.COMMANDS[group][1]:
            text += ["", _escaped(each.help)]
        if each.arguments:
            rows = [(f"`{_placeholder(it)}`", _escaped(it.help or "")) for it in each.arguments]
            text += ["", *_table(("argument", "meaning"), rows)]
        if each.options:
            text += ["", *_table(("option", "value", "default", "meaning"), map(_option, each.options))]
    return "\n".join(text)


def _placeholder(argument: Any) -> str:
    name = (argument.metavar or argument.name.rstrip("_").upper()).strip("[]").rstrip("….")
    name += "…" if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> tuple[str, str, str, str]:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else f"`{option.metavar or _word(option.type_descriptor.annotation)}`"
    default = "" if option.default in (None, False, [], ()) or callable(option.default) else f"`{option.default}`"
    return names, value, "required" if option.required else default, _escaped(option.help or "")


def _word(annotation: Any) -> str:
    """Return what an option takes in a word or in its choices."""
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if get_origin(annotation) is list:
        return _word(get_args(annotation)[0])
    if isinstance(annotation, type) and issubclass(annotation, Path):
        return "FILE"
    choices = getattr(annotation, "__members__", None)
    if choices:
        return "|".join(str(each.value) for each in choices.values())
    return {"int": "N", "float": "NUMBER"}.get(getattr(annotation, "__name__", ""), "TEXT")


# Settings.


def settings_page() -> str:
    rows = [
        (
            f"`{PREFIX}{name.upper()}`",
            _kind(info),
            _default(info),
            _escaped(info.description or ""),
        )
        for name, info in Settings.model_fields.items()
    ]
    return "\n".join(
        [
            *_head("Settings"),
            "Settings are read from the environment, and from `.env` in the working directory. The environment goes",
            f"first. An unknown variable that begins with `{PREFIX}` is refused, with the nearest known name. An",
            "empty value means the default.",
            "",
            *_table(("variable", "value", "default", "meaning"), rows),
        ]
    )


def _kind(info: FieldInfo) -> str:
    parts = [info.annotation]
    if get_origin(info.annotation) in (Union, types.UnionType):
        parts = [each for each in get_args(info.annotation) if each is not type(None)]
    words = {"int": "whole number", "float": "number", "str": "text", "bool": "`true`, `false`", "Path": "folder"}
    shown = [
        ", ".join(f"`{choice}`" for choice in get_args(each))
        if get_origin(each) is Literal
        else words[getattr(each, "__name__", "str")]
        for each in parts
    ]
    return " or ".join(shown) + _bounds(info)


def _bounds(info: FieldInfo) -> str:
    found = {name: getattr(each, name) for each in info.metadata for name in ("ge", "gt", "le") if hasattr(each, name)}
    least, above, most = (found.get(name) for name in ("ge", "gt", "le"))
    if most is not None:
        return f", {least if least is not None else f'above {above}'} to {most}"
    if least is not None:
        return f", {least} or more"
    return "" if above is None else f", above {above}"


def _default(info: FieldInfo) -> str:
    if info.default is None:
        return "unset"
    return f"`{str(info.default).lower() if isinstance(info.default, bool) else info.default}`"


# The campaign file and its steps.


def step_types_page() -> str:
    return step_types(all_types(), {}, renew=RENEW)


def campaign_file_page() -> str:
    whole = file_schema()
    step = whole["$defs"]["step"]
    several = whole["$defs"]["exit"]["oneOf"]
    ways = {name: value for each in several for name, value in each["properties"].items()}
    text = [
        *_head("Campaign file"),
        "A campaign is a YAML file. `parcours campaigns schema` prints its JSON Schema, for editors, and",
        "`parcours campaigns validate FILE` reports everything that is wrong with one, with the line.",
        "",
        "## Campaign",
        "",
        *_fields(whole),
        "",
        "## Step",
        "",
        "A step is one of `action`, `decision` and `condition`, with a type of [Step types](step-types.md).",
        "",
        *_fields(step),
        "",
        "## Event source",
        "",
        "See [Start a campaign by events](../howto/events-and-runs.md).",
        "",
        *_fields(whole["$defs"]["event_source"]),
        "",
        "## Exit",
        "",
        "An exit is an event, a segment or a rule.",
        "",
        *_fields({**several[0], "properties": ways, "required": []}),
    ]
    return "\n".join(text)


def _fields(found: Mapping[str, Any], prefix: str = "") -> list[str]:
    return list(_table(("name", "value", "default", "meaning"), _field_rows(found, prefix)))


def _field_rows(found: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, each in found["properties"].items():
        default = (
            "**required**"
            if name in found.get("required", ())
            else f"`{_json(each['default'])}`"
            if "default" in each
            else ""
        )
        meaning = _escaped(each.get("description", ""))
        examples = ", ".join(f"`{_json(one)}`" for one in each.get("examples", ()))
        yield f"`{prefix}{name}`", _shape(each), default, meaning + (f" Examples: {examples}." if examples else "")
        if each.get("properties"):
            yield from _field_rows(each, f"{prefix}{name}.")


_LINKS = {"step": "[step](#step)", "event_source": "[event source](#event-source)", "exit": "[exit](#exit)"}


def _shape(found: Mapping[str, Any]) -> str:
    if "$ref" in found:
        return _LINKS.get(found["$ref"].rpartition("/")[2], "mapping")
    if "const" in found:
        return f"`{found['const']}`"
    if "enum" in found:
        return ", ".join(f"`{each}`" for each in found["enum"] if each is not None)
    choices = found.get("oneOf") or found.get("anyOf")
    if choices:
        return " or ".join(dict.fromkeys(_shape(each) for each in choices if each != {"type": "null"}))
    kind = found.get("type", "any value")
    kinds = [each for each in ([kind] if isinstance(kind, str) else kind) if each != "null"]
    if kinds == ["array"]:
        return f"list of {_shape(found.get('items', {}))}"
    if kinds == ["object"]:
        inside = list(found.get("properties", {}))
        return f"mapping of {', '.join(f'`{name}`' for name in inside)}" if inside else "mapping"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "`true`, `false`"}
    return " or ".join(words.get(each, each) for each in kinds)


def _json(value: Any) -> str:
    return str(yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip())


# Contact events.


def events_page() -> str:
    deciding: dict[str, list[str]] = {}
    for each in all_types():
        if each.kind is Kind.DECISION and not callable(each.events):
            for type_ in each.events:
                deciding.setdefault(type_, []).append(each.name)
    rows = [
        (
            f"`{type_}`",
            _escaped(known.data),
            _escaped(known.effect),
            ", ".join(
                f"[`{name}`](step-types.md#decision-{name.replace('.', '')})" for name in deciding.get(type_, ())
            ),
        )
        for type_, known in EVENT_TYPES.items()
    ]
    return "\n".join(
        [
            *_head("Event types"),
            "Contact events are CloudEvents 1.0 in JSON. `subject` is the key of the contact, or its email address.",
            "How to send them: [Publish events](../howto/publish-events.md).",
            "",
            *_table(("type", "data", "effect", "decisions that look at it"), rows),
            "",
            "Any other type, such as `order.paid`, is yours. The decision",
            "[`event.happened`](step-types.md#decision-eventhappened) waits for it, with tests of its data.",
        ]
    )


# Metrics.


@dataclass(frozen=True)
class Metric:
    """One family, as the source declares it."""

    name: str
    type: str
    help: str
    labels: tuple[str, ...]

    @property
    def exported(self) -> str:
        """Return the name that Prometheus sees."""
        return self.name + ("_total" if self.type == "counter" and not self.name.endswith("_total") else "")


@cache
def metrics() -> list[Metric]:
    """Return every metric that the source declares: a call, or a row of a loop over families."""
    found = {}
    for _, tree in sources():
        for node in ast.walk(tree):
            values = node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.Tuple) else []
            named = [
                each.value for each in values[:2] if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
            if len(named) == 2 and re.fullmatch(r"parcours_[a-z_]+", named[0]) and " " in named[1]:
                found[named[0]] = Metric(named[0], _metric_type(node), named[1], _labels(node, values))
    return sorted(found.values(), key=lambda each: each.name)


def _metric_type(node: ast.AST) -> str:
    called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    return next((kind for kind in ("counter", "histogram") if kind in called.lower()), "gauge")


def _labels(node: ast.AST, values: Sequence[ast.expr]) -> tuple[str, ...]:
    given = [each.value for each in node.keywords if each.arg == "labels"] if isinstance(node, ast.Call) else []
    for each in [*given, *values[2:3]]:
        if isinstance(each, ast.List):
            return tuple(ast.literal_eval(each))
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            return (each.value,)
    return ()


def metrics_page() -> str:
    rows = [
        (f"`{each.exported}`", each.type, ", ".join(f"`{label}`" for label in each.labels), _escaped(each.help))
        for each in metrics()
    ]
    return "\n".join(
        [
            *_head("Metrics"),
            "`/metrics` of every long-running process exports them for Prometheus, with the usual `process_…` metrics.",
            "Metrics of the database and the broker have the same values in every process: aggregate them with",
            "`max by (…)`. `/metrics/process` omits them. A histogram has `_bucket`, `_sum` and `_count`.",
            "",
            *_table(("metric", "type", "labels", "meaning"), rows),
        ]
    )


# Log events.


@dataclass
class LogEvent:
    """One kind of line in the log."""

    levels: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)


def log_events() -> dict[str, LogEvent]:
    """Return every event that the source writes to the log, by name."""
    found: dict[str, LogEvent] = {}
    for _, tree in sources():
        writers = {
            target.id: _levels_in(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and _levels_in(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            levels = _levels_in(node.func) or (writers.get(node.func.id) if isinstance(node.func, ast.Name) else None)
            for name in _names_in(node.args[0]) if levels else ():
                event = found.setdefault(name, LogEvent())
                event.levels |= levels or set()
                event.names |= {each.arg for each in node.keywords if each.arg}
                expanded = {
                    each.value.id for each in node.keywords if not each.arg and isinstance(each.value, ast.Name)
                }
                event.names |= {key for name in expanded for key in _keys_of(name, tree)}
    return dict(sorted(found.items()))


def _keys_of(name: str, tree: ast.Module) -> set[str]:
    """Return the keys of the dictionaries that a module assigns to a name."""
    targets = (
        (node.targets[0] if isinstance(node, ast.Assign) else node.target, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
    )
    return {
        key.value
        for target, value in targets
        if isinstance(target, ast.Name) and target.id == name and isinstance(value, ast.Dict)
        for key in value.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def _names_in(argument: ast.expr) -> list[str]:
    """Return the event that a call names, or both when it chooses between two."""
    choices = [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]
    return [each.value for each in choices if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def _levels_in(node: ast.AST) -> set[str]:
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and each.attr in LEVELS and isinstance(each.value, ast.Name)
        if each.value.id == "log"
    }


def log_events_page() -> str:
    rows = [
        (
            f"`{name}`",
            ", ".join(sorted("error" if level == "exception" else level for level in each.levels)),
            ", ".join(f"`{key}`" for key in sorted(each.names | ({"left_out"} if name in FLOODABLE else set()))),
            _escaped(LOG_EVENTS[name]),
        )
        for name, each in log_events().items()
    ]
    return "\n".join(
        [
            *_head("Log events"),
            "One line is one JSON object, or columns on a terminal (`PARCOURS_LOG_FORMAT`). `event` is the name below.",
            "Lines that are written while a message is handled also have its `actor` and `message_id`. Some lines have",
            "more fields: counts, or `error`, `text` and `traceback`. Lines contain ids and numbers, and no data of",
            "contacts.",
            "",
            f"Lines that outside requests can cause are limited to {LINES_A_MINUTE} per minute, process and kind. They",
            "have the field `left_out` in the table below. If a line contains it, that many lines of its kind were",
            "omitted before it. Lines of libraries (`logger`) are limited in the same way, by logger and level.",
            "",
            *_table(("event", "level", "fields", "meaning"), rows),
        ]
    )


# REST.


def operations() -> list[tuple[str, str, Mapping[str, Any]]]:
    """Return method, path and description of every operation."""
    # Nobody connects to it: the app only has to be there to be described.
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    document = make_app(engine, None, Settings(), open_to_all=False).openapi()
    return [
        (method.upper(), path, found)
        for path, methods in document["paths"].items()
        for method, found in methods.items()
    ]


def rest_page() -> str:
    text = [
        *_head("REST and HTTP"),
        "A running installation shows the same at `/api/docs`, with the schema of every body, and as OpenAPI at",
        "`/api/openapi.json`. How to use it: [Use the REST API](../howto/rest.md).",
    ]
    group = ""
    for method, path, found in operations():
        name = "/".join(path.split("/")[:3]) if path.startswith("/api/") else f"/{path.split('/')[1]}"
        if name != group:
            group = name
            text += ["", f"## {group}"]
        text += [
            "",
            f"### {method} {path}",
            "",
            _escaped(f"**{found.get('summary', '')}.** {found.get('description', '')}"),
        ]
        rows = [
            (
                f"`{each['name']}`",
                each["in"],
                "yes" if each.get("required") else "",
                _escaped(each.get("description", "")),
            )
            for each in found.get("parameters", ())
        ]
        if rows:
            text += ["", *_table(("parameter", "in", "required", "meaning"), rows)]
        bodies = found.get("requestBody", {}).get("content", {})
        if bodies:
            text += ["", "Body: " + ", ".join(f"`{each}`" for each in bodies) + "."]
        answers = [(f"`{code}`", _escaped(each.get("description", ""))) for code, each in found["responses"].items()]
        text += ["", *_table(("status", "meaning"), sorted(answers))]
    return "\n".join(text)


# Licences.


def locked() -> dict[str, tuple[str, str]]:
    """Return version and marker of every package that runs, by name, as the lock has them."""
    text = (ROOT / "requirements.lock").read_text("utf-8")
    found = re.findall(r"^([\w.-]+)(?:\[[\w,]+\])?==([^\s;]+)(?: *; *([^\\\n]+))?", text, re.MULTILINE)
    return {name: (version, marker.strip()) for name, version, marker in found}


def licence(package: str) -> str:
    """Return the licence of a package as its metadata says it."""
    try:
        found = distribution(package)
    except PackageNotFoundError:
        return LICENCES_NOT_INSTALLED[package]
    return _licence_of(found) or "not stated"


def _licence_of(found: Distribution) -> str:
    expression, written, *_ = [*(found.metadata.get_all(name) or [""] for name in ("License-Expression", "License"))]
    classifiers = found.metadata.get_all("Classifier") or []
    classes = ", ".join(each.split(" :: ")[-1] for each in classifiers if each.startswith("License ::"))
    return expression[0] or classes or written[0].strip().split("\n")[0][:60]


def licences_page() -> str:
    rows = [
        (f"`{name}`", _escaped(licence(name)), f"`{marker}`" if marker else "")
        for name, (_, marker) in sorted(locked().items())
    ]
    return "\n".join(
        [
            *_head("Licences"),
            "Parcours is under the Apache License 2.0; the file `LICENSE` has its text. It needs the packages below,",
            "which are installed beside it and not copied into it. One script is copied: htmx (`0BSD`), for the pages.",
            "",
            "All of these licences allow that. Those of `dramatiq`, `psycopg` and `psycopg-binary` (LGPL) and",
            "`certifi` (MPL) ask whoever distributes changed versions *of these packages* to publish the changes; your",
            "own code, step types and campaigns are not affected. The versions are in `requirements.lock`.",
            "",
            *_table(("package", "licence", "only where"), rows),
        ]
    )


# What the pages share.


@cache
def sources() -> list[tuple[Path, ast.Module]]:
    """Return every module of the package, parsed."""
    tops = [ROOT / "parcours", *(link.resolve() for link in (ROOT / "parcours").iterdir() if link.is_symlink())]
    files = [path for top in tops for path in sorted(top.rglob("*.py"))]
    return [(path, ast.parse(path.read_text("utf-8"))) for path in files]


def _head(title: str) -> list[str]:
    return [f"# {title}", "", f"<!-- Written by `{RENEW}`; change the source, not this page. -->", ""]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |"


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)[|]", r"\\|", text).replace("\n", " ")


def _escaped(text: str) -> str:
    """Return a text with what is not in backticks kept from being read as HTML or emphasis."""
    parts = re.split(r"(`[^`]*`|\*\*[^*]+\*\*)", text.strip())
    return "".join(part if index % 2 else re.sub(r"([*<\[])", r"\\\1", part) for index, part in enumerate(parts))


# Python.


def python_page() -> str:
    lines = [
        "# Python modules",
        "",
        "<!-- Written by `make reference`; change the source, not this page. -->",
        "",
        "Packages and programs import these modules only. All other modules of Parcours can change without notice.",
    ]
    for name in PUBLIC:
        module = importlib.import_module(f"parcours.{name}")
        lines += ["", f"## parcours.{name}", "", inspect.cleandoc(module.__doc__ or "")]
        for public in sorted(module.__all__, key=str.lower):
            lines += _described(public, getattr(module, public))
    return "\n".join(lines)


def _described(name: str, value: Any) -> list[str]:
    if inspect.isclass(value) or inspect.isfunction(value):
        lines = ["", f"### {name}", "", f"```python\n{_signature(name, value)}\n```", "", _doc(value)]
        for method, function in vars(value).items() if inspect.isclass(value) else ():
            ours = inspect.isfunction(function) and function.__module__ == value.__module__
            if ours and not method.startswith("_"):
                lines += ["", f"```python\n{_signature(method, function)}\n```", "", _doc(function)]
        return lines
    shown = " | ".join(each.__name__ for each in get_args(value)) or repr(value)
    return ["", f"### {name}", "", f"`{shown}`"]


def _doc(value: Any) -> str:
    found = inspect.cleandoc(value.__doc__ or "")
    # What the language writes for a class without words of its own is the signature once more.
    return "" if found.startswith(f"{value.__name__}(") else found


def _signature(name: str, value: Any) -> str:
    if inspect.isclass(value) and issubclass(value, Enum):
        return "\n".join(f'{name}.{each.name} = "{each.value}"' for each in value)
    try:
        given = str(inspect.signature(value))
    except (TypeError, ValueError):
        return name
    homes = r"\b(?:parcours|collections|datetime|pathlib|typing|zoneinfo|sqlalchemy)(?:\.\w+)*\.(?=\w)"
    plain = re.sub(homes, "", re.sub(r"ForwardRef\(([^()]*)\)", r"\1", given.replace("'", "")))
    plain = re.sub(r"<factory>|<function [^>]*>|<object object[^>]*>", "…", plain)
    return f"{name}{plain}"


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "settings.md": settings_page,
    "campaign-file.md": campaign_file_page,
    "step-types.md": step_types_page,
    "events.md": events_page,
    "rest.md": rest_page,
    "python.md": python_page,
    "metrics.md": metrics_page,
    "log-events.md": log_events_page,
    "licences.md": licences_page,
}

if __name__ == "__main__":
    main()
