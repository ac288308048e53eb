"""Campaign files on disk: read with the line of every problem, and written for export."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml
from yaml.composer import Composer

from parcours.domain.campaign_file.check import MORE, MOST_PROBLEMS, check
from parcours.domain.campaign_file.model import MOST_ECHO, CampaignFile, FindType, Problem, dotted
from parcours.domain.campaign_file.model import Path as Place
from parcours.domain.campaign_file.sentences import quoted, short
from parcours.domain.errors import CampaignError
from parcours.domain.gate import joined
from parcours.domain.steps import registry
from parcours.producers.files import yaml_text
from parcours.producers.files.yaml_text import UnreadableFileError

_TAG = "tag:yaml.org,2002:"
# Of a file; those of the largest campaign that may be are half as many.
MAX_CHARACTERS = 1_000_000
TOO_LONG = f"the campaign has more than {MAX_CHARACTERS:,} characters; split it into several campaigns"


@dataclass(frozen=True, slots=True)
class FileProblem:
    """One thing that is wrong with a file. The line counts from 1; None means the file as a whole."""

    file: Path
    line: int | None
    path: str
    sentence: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line is not None else str(self.file)
        return ": ".join(piece for piece in (place, self.path, self.sentence) if piece)


class CampaignFileError(CampaignError):
    """A campaign file cannot be used. Its message has one line for each problem, up to where nobody reads on."""

    def __init__(self, problems: Sequence[FileProblem]) -> None:
        self.problems = first_of(problems)
        super().__init__("\n".join(map(str, self.problems)))


def first_of(problems: Sequence[FileProblem]) -> list[FileProblem]:
    """Return problems of one file or several, no further than people read; the last says if there may be more."""
    told = [problem for problem in problems if problem.sentence != MORE]
    if len(told) == len(problems) <= MOST_PROBLEMS:
        return told
    shown = told[:MOST_PROBLEMS]
    return [*shown, FileProblem(shown[-1].file, None, "", MORE)]


def read(
    path: Path,
    *,
    default_zone: ZoneInfo,
    step_type: FindType = registry.step_type,
    also: Iterable[Problem] = (),
) -> CampaignFile:
    """Return the campaign of a YAML or JSON file. Raises CampaignFileError with all its problems.

    `also` holds what others, who know more than the file, found wrong with it.
    """
    return read_text(_text(path), name=path, default_zone=default_zone, step_type=step_type, also=also)


def read_text(
    text: str,
    *,
    name: Path,
    default_zone: ZoneInfo,
    step_type: FindType = registry.step_type,
    also: Iterable[Problem] = (),
    around: Mapping[str, object] | None = None,
) -> CampaignFile:
    """Return the campaign of a YAML or JSON text, which problems call by `name`; otherwise as `read`.

    With `around`, the text holds the steps only, and that the rest of the campaign, whose problems have no line.
    """
    document = _document(name, text)
    within: Place = () if around is None else ("steps",)
    problems = [
        FileProblem(name, line, dotted((*within, *place)), sentence) for line, place, sentence in document.problems
    ]
    if document.broken:
        # What is missing from the data may be in the file, so that its checks would blame it for our loss.
        raise CampaignFileError(problems)
    data = document.data if around is None else {**around, "steps": document.data}
    checked = check(data, default_zone=default_zone, step_type=step_type)
    for problem in (*checked.problems, *also):
        inside = problem.path[: len(within)] == within
        place = problem.path[len(within) :] if inside else None
        if place not in document.not_text:
            line = document.line(place) if document.data is not None and place is not None else None
            problems.append(FileProblem(name, line, problem.place, problem.sentence))
    if problems or checked.file is None:
        raise CampaignFileError(sorted(problems, key=lambda problem: problem.line or 0))
    return checked.file


def value_of(text: str) -> object:
    """Return the data of a piece of YAML, or the text itself where that is none; its checks then say what is wrong."""
    try:
        document = CampaignDocument(compose(Path("value.yaml"), text[:MAX_CHARACTERS]))
    except (CampaignFileError, RecursionError):
        return text
    return text if document.broken else document.data


def document_of(path: Path, text: str | None = None) -> CampaignDocument:
    """Return the data of a file, or of a text that problems call by its path, with the line of each place in it.

    Raises CampaignFileError for what is no YAML, and for what is wrong in it as such.
    """
    document = _document(path, _text(path) if text is None else text)
    if document.problems:
        raise CampaignFileError(
            [FileProblem(path, line, dotted(place), sentence) for line, place, sentence in document.problems]
        )
    return document


def _document(name: Path, text: str) -> CampaignDocument:
    if len(text) > MAX_CHARACTERS:
        raise _unreadable(name, TOO_LONG)
    # A tab between JSON's tokens means nothing, but YAML takes it for indentation.
    root = compose(name, text.replace("\t", " ") if name.suffix.lower() == ".json" else text)
    try:
        return CampaignDocument(root)
    except RecursionError:
        raise _unreadable(name, yaml_text.TOO_DEEP) from None


def _unreadable(path: Path, sentence: str, line: int | None = None) -> CampaignFileError:
    return CampaignFileError([FileProblem(path, line, "", sentence)])


def _text(path: Path) -> str:
    try:
        return yaml_text.read(path, most=4 * MAX_CHARACTERS, too_long=TOO_LONG)
    except UnreadableFileError as error:
        raise _unreadable(path, str(error), error.line) from None


def compose(path: Path, text: str) -> yaml.Node | None:
    try:
        documents = yaml_text.documents(text, Loader, fast=fast_loader(text), most=2)
    except UnreadableFileError as error:
        raise _unreadable(path, short(str(error)), error.line) from None
    if len(documents) > 1:
        sentence = "the file contains several documents; put each campaign in its own file"
        raise _unreadable(path, sentence, documents[1].start_mark.line + 1)
    return documents[0] if documents else None


class Loader(yaml_text.BoundedLoader):
    """Plain scalars by the core schema of YAML 1.2, but numbers with a leading zero are text.

    In YAML 1.1 `yes:` and `no:` would be booleans, `09:30` the number 570 and a postal code 01234 octal;
    the core schema would take the zero from the postal code. Dates stay text, which the file's checks read.
    """

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012


if yaml.__with_libyaml__:

    class _FastLoader(yaml_text.BoundedComposer, yaml.CSafeLoader):
        """Reads as the other, with the scanner and the parser of libyaml, which take a tenth of the time."""

        yaml_implicit_resolvers: dict[Any, Any] = Loader.yaml_implicit_resolvers

        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            Composer.__init__(self)


# Where libyaml takes more than we do, or counts otherwise.
_FOR_US = re.compile(r"[\t\x85\u2028\u2029\ufeff]|[|>][-+0-9]*#")


def fast_loader(text: str) -> type[Any] | None:
    """Return the fast reader of a text, if there is one that reads it as ours does."""
    same = text.endswith("\n") and _FOR_US.search(text) is None
    return _FastLoader if yaml.__with_libyaml__ and same else None


class _Dumper(yaml.SafeDumper):
    """Block style, with the same schema as the loader."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


_WHOLE = "(?:0|[1-9][0-9]*)"
for _class in (Loader, _Dumper):
    for _name, _pattern, _first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", rf"[-+]?{_WHOLE}|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
        (
            "float",
            rf"[-+]?(?:(?:\.[0-9]+|{_WHOLE}\.[0-9]*)(?:[eE][-+]?[0-9]+)?|{_WHOLE}[eE][-+]?[0-9]+)"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
            "-+0123456789.",
        ),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        # Not of the core schema, but people share settings with it.
        ("merge", r"<<", "<"),
    ):
        _class.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern})\Z"), list(_first))


class CampaignDocument:
    """A document as plain data, with the line of each place in it.

    `problems` has line, place and sentence; with a `broken` document, some of the data could not be had.
    """

    def __init__(self, root: yaml.Node | None) -> None:
        self.root = root
        self.problems: list[tuple[int | None, Place, str]] = []
        self.broken = False
        self._full = False
        # Names that had to be made text, which has been said.
        self.not_text: set[Place] = set()
        self._said: set[tuple[int, str]] = set()
        self._lines: dict[Place, int] = {(): 1}
        self._count = 0
        self._open: set[int] = set()
        self.data: object = None if root is None else self._value(root, ())

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest above it that the file has."""
        while place not in self._lines:
            place = place[:-1]
        return self._lines[place]

    def _say(self, node: yaml.Node, place: Place, sentence: str) -> None:
        # Aliases bring us to the same node again.
        if (id(node), sentence) not in self._said and len(self.problems) <= MOST_PROBLEMS:
            self._said.add((id(node), sentence))
            self.problems.append((_line(node), place, short(sentence)))

    def _cannot(self, node: yaml.Node, place: Place, sentence: str) -> None:
        self.broken = True
        self._say(node, place, sentence)

    def _value(self, node: yaml.Node, place: Place) -> object:
        self._lines.setdefault(place, _line(node))
        if not self._may_read(node, place):
            return None
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        self._open.add(id(node))
        value: object
        if isinstance(node, yaml.MappingNode):
            pairs = self._pairs(node, place)
            self._lines.update({(*place, key): line for key, (line, _) in pairs.items()})
            value = {key: self._value(below, (*place, key)) for key, (_, below) in pairs.items()}
        else:
            value = [self._value(each, (*place, index)) for index, each in enumerate(node.value)]
        self._open.discard(id(node))
        return value

    def _may_read(self, node: yaml.Node, place: Place) -> bool:
        self._count += 1
        if self._count > yaml_text.MAX_NODES:
            if not self._full:
                self._full = self.broken = True
                self.problems.append((None, (), yaml_text.TOO_LARGE))
        elif id(node) in self._open:
            self._cannot(node, place, "an alias cannot refer to a value that contains it")
        elif not isinstance(node, yaml.ScalarNode) and node.tag not in (_TAG + "map", _TAG + "seq"):
            self._cannot(node, place, f"the tag {_shown_tag(node.tag)} is not allowed here")
        else:
            return True
        return False

    def _pairs(self, node: yaml.MappingNode, place: Place) -> dict[str, tuple[int, yaml.Node]]:
        """Return a mapping's names with their line and value; its own come before those it merges."""
        own: dict[str, tuple[int, yaml.Node]] = {}
        merged: dict[str, tuple[int, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _TAG + "merge":
                merged = {**self._merged(value_node, place), **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._cannot(key_node, place, "a name must be text, not a list or a mapping")
                continue
            key = joined(key_node.value)
            if key in own:
                sentence = f"{quoted(key)} is written twice, on lines {own[key][0]} and {_line(key_node)}"
                self._say(key_node, (*place, key), sentence)
                continue
            if key_node.tag != _TAG + "str":
                self.not_text.add((*place, key))
                self._say(key_node, (*place, key), short(f"the name {key} must be text; put it in quotes", key))
            own[key] = (_line(key_node), value_node)
        return {**merged, **own}

    def _merged(self, node: yaml.Node, place: Place) -> dict[str, tuple[int, yaml.Node]]:
        merged: dict[str, tuple[int, yaml.Node]] = {}
        for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(each, yaml.MappingNode):
                self._cannot(each, place, "'<<' takes a mapping, or a list of mappings")
            elif self._may_read(each, place):
                self._open.add(id(each))
                # Merging reads all of it again.
                self._count += len(each.value)
                merged = {**self._pairs(each, place), **merged}
                self._open.discard(id(each))
        return merged

    def _scalar(self, node: yaml.ScalarNode, place: Place) -> object:
        text = node.value
        try:
            match node.tag.removeprefix(_TAG):
                case "str" | "timestamp" | "merge":
                    return joined(text)
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int":
                    return int(text, 0 if text[:2] in ("0o", "0x") else 10)
                case "float":
                    return float(re.sub(r"\.(?=[a-zA-Z])", "", text))
        except (ValueError, KeyError):
            self._cannot(node, place, f"{text[:40]!r} cannot be read as {_shown_tag(node.tag)}")
            return None
        self._cannot(node, place, f"the tag {_shown_tag(node.tag)} is not allowed here")
        return None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _shown_tag(tag: str) -> str:
    shown = "!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag
    return shown if len(shown) <= MOST_ECHO else f"{shown[:MOST_ECHO]}…"


def write(data: dict[str, Any] | list[Any]) -> str:
    """Return a campaign, or its steps, as YAML: names in their order, text of several lines as a block."""
    if not data or type(data) not in (dict, list):
        return _dumped(data)
    writer = _Writer()
    writer.block(data, "")
    return "\n".join([*writer.lines, "...", ""] if writer.open_ended else [*writer.lines, ""])


def _dumped(data: object) -> str:
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=sys.maxsize))


class _Writer:
    """Writes what the dumper would, in a tenth of the time: it is asked only for what is not plain and short."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        # Whether the last text keeps its empty lines, so that the end of the document must be marked.
        self.open_ended = False

    def block(self, data: Any, pad: str) -> None:
        """Write a mapping or a list that holds something."""
        if type(data) is dict:
            for name, value in data.items():
                key = _plain_key(name)
                if key is None:
                    self.other({name: value}, pad)
                elif value and type(value) in (dict, list):
                    self.lines.append(f"{pad}{key}:")
                    self.block(value, f"{pad}  ")
                elif (plain := _plain(value)) is None:
                    self.other({name: value}, pad)
                else:
                    self.lines.append(f"{pad}{key}: {plain}")
                    self.open_ended = False
            return
        for value in data:
            if value and type(value) in (dict, list):
                first = len(self.lines)
                self.block(value, f"{pad}  ")
                self.lines[first] = f"{pad}- {self.lines[first][len(pad) + 2 :]}"
            elif (plain := _plain(value)) is None:
                self.other([value], pad)
            else:
                self.lines.append(f"{pad}- {plain}")
                self.open_ended = False

    def other(self, item: object, pad: str) -> None:
        """Have the dumper write one item."""
        text = _dumped(item)
        self.open_ended = text.endswith("\n...\n")
        text = text.removesuffix("\n...\n" if self.open_ended else "\n")
        # Empty lines of a text stay empty.
        self.lines.append(pad + re.sub(r"\n(?=[^\n])", f"\n{pad}", text))


_PLAIN_TEXT = re.compile(r"[a-zA-Z0-9](?:[-\w.,;/@()'+: ]*[\w.)])?", re.ASCII)


def _plain(value: object) -> str | None:
    """Return a value as it is written where it needs no quotes; None where only the dumper can tell."""
    if type(value) is str:
        plain = _PLAIN_TEXT.fullmatch(value) is not None and ": " not in value
        return value if plain and not _means_more(value) else None
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(value)
    return "null" if value is None else None


def _plain_key(name: object) -> str | None:
    if name in ("yes", "no"):
        return str(name)
    # A longer one stands on a line of its own.
    return _plain(name) if type(name) is str and len(name) < 100 else None


def _means_more(text: str) -> bool:
    """Return whether text without quotes would not be text, by our rules or by those of other programs."""
    resolvers = _Dumper.yaml_implicit_resolvers.get(text[:1], ())
    return any(pattern.match(text) for _, pattern in resolvers) or _in_yaml_1_1(text)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = None
    if _BLOCK.fullmatch(text):
        style = "|"
    elif _in_yaml_1_1(text) or _OTHER_LINE_BREAK.search(text):
        style = '"'
    return dumper.represent_scalar(_TAG + "str", text, style=style)


# Only what a literal block gives back exactly: no space at the end of a line, no other line breaks.
_BLOCK = re.compile(r"(?=[^\s])(?:[^\r\t\x85\u2028\u2029\n]*[^\s]\n|\n)+(?:[^\r\t\x85\u2028\u2029\n]*[^\s])?")


# YAML 1.1 has 10:30 for a number, but not 09:00. A reader of our export should see one rule.
_LIKE_AN_HOUR = re.compile(r"[0-9]{1,2}:[0-9]{2}")
# In any other style these become an ordinary line break, or a space.
_OTHER_LINE_BREAK = re.compile(r"[\r\x85\u2028\u2029]")


def _in_yaml_1_1(text: str) -> bool:
    """Return whether text without quotes is not text by the older rules, which other programs may use, or an hour."""
    resolvers = yaml.SafeDumper.yaml_implicit_resolvers.get(text[:1], ())
    return any(pattern.match(text) for _, pattern in resolvers) or _LIKE_AN_HOUR.fullmatch(text) is not None


def _represent_mapping(dumper: yaml.SafeDumper, data: dict[str, Any]) -> yaml.Node:
    node = dumper.represent_mapping(_TAG + "map", data, flow_style=not data)
    for key, _ in node.value:
        # A quoted 'yes' would be right too, but is not how people write a branch.
        if key.value in ("yes", "no"):
            key.style = None
        # Nor is a block.
        elif key.style == "|":
            key.style = '"'
    return node


def _represent_list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    return dumper.represent_sequence(_TAG + "seq", data, flow_style=not data)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(dict, _represent_mapping)
_Dumper.add_representer(list, _represent_list)
