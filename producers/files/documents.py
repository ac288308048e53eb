"""YAML documents that are not campaigns: read one by one, with the line of everything that is wrong in them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from parcours.domain.campaign_file.check import MOST_PROBLEMS
from parcours.domain.errors import CampaignError
from parcours.domain.gate import INCOMPLETE, clean, is_incomplete, joined
from parcours.domain.keys import checked_key
from parcours.domain.messages import templates
from parcours.domain.messages.templates import Names, TemplateProblem
from parcours.producers.files import yaml_text
from parcours.producers.files.yaml_text import UnreadableFileError


class TemplatePlace(NamedTuple):
    """Which of a file's templates is wrong, for whoever sees it in a form and not in a file."""

    # Such as `html`, and in which part, such as ` in the variant 'short'`.
    name: str
    where: str
    problem: TemplateProblem
    # Of how many lines it is.
    lines: int

    def __str__(self) -> str:
        line = f", line {self.problem.line}" if self.lines > 1 else ""
        name = "HTML" if self.name == "html" else self.name
        return f"{name}{self.where}{line}: {self.problem.what}"


@dataclass(frozen=True, slots=True)
class DocumentProblem:
    """Something wrong in a file, and where; lines and columns count from 1."""

    path: Path
    # None: the file as a whole.
    line: int | None
    # What it is wrong with, such as `email 'hello'`.
    about: str | None
    what: str
    # Of what is wrong in a template.
    column: int | None = None
    template: TemplatePlace | None = None

    def __str__(self) -> str:
        about = "" if self.about is None else f"{self.about}: "
        place = ":".join(str(part) for part in (self.path, self.line, self.column) if part is not None)
        return f"{place}: {about}{self.what}"


def mappings(
    paths: Sequence[Path], problems: list[DocumentProblem], like: str
) -> Iterator[tuple[Path, yaml.MappingNode]]:
    """Yield the mappings of files: documents, or items of lists. What is no mapping is noted as not `like` one."""
    for path in paths:
        try:
            text = yaml_text.read(path)
        except UnreadableFileError as error:
            problems.append(DocumentProblem(path, error.line, None, str(error)))
            continue
        for node in mappings_of(text, path, problems, like):
            yield path, node


def mappings_of(text: str, path: Path, problems: list[DocumentProblem], like: str) -> Iterator[yaml.MappingNode]:
    """Yield the mappings of a text, whose problems are noted as of `path`; otherwise as `mappings`."""
    for node in _nodes(text, path, problems):
        if isinstance(node, yaml.MappingNode):
            other = _other_file(node)
            if other is None:
                yield node
            else:
                problems.append(DocumentProblem(path, node.start_mark.line + 1, None, other))
        else:
            problems.append(DocumentProblem(path, node.start_mark.line + 1, None, like))


# Properties that tell a file of another kind, and what to do with such a file.
_OTHER_FILES = (
    (
        {"campaign", "steps"},
        "this is the file of a campaign; use `parcours campaigns plan` or `parcours campaigns apply`",
    ),
    ({"segment", "rule"}, "this is the file of a segment; use `parcours segments plan` or `parcours segments apply`"),
    ({"scenario"}, "this is a scenario; use `parcours campaigns test`"),
)


def _other_file(node: yaml.MappingNode) -> str | None:
    """Return what is said of a mapping that belongs to another command, or None."""
    names = {name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)}
    return next((said for telling, said in _OTHER_FILES if names >= telling), None)


def _nodes(text: str, path: Path, problems: list[DocumentProblem]) -> Iterator[yaml.Node]:
    try:
        documents = yaml_text.documents(text)
    except UnreadableFileError as error:
        problems.append(DocumentProblem(path, error.line, None, str(error)))
        return
    if not documents:
        problems.append(DocumentProblem(path, 1, None, "the file is empty"))
    for document in documents:
        _complete(document, path, problems)
        yield from document.value if isinstance(document, yaml.SequenceNode) else [document]


def _complete(document: yaml.Node, path: Path, problems: list[DocumentProblem]) -> None:
    """Make one character of the two escapes that JSON writes for an emoji, and note where one of them stands alone."""
    left, seen = [document], set[int]()
    while left:
        node = left.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            node.value = joined(node.value)
            if is_incomplete(node.value):
                what = f"contains {INCOMPLETE}; write the whole character"
                problems.append(DocumentProblem(path, node.start_mark.line + 1, None, what))
                node.value = clean(node.value)
        else:
            left += [each for pair in node.value for each in (pair if isinstance(pair, tuple) else (pair,))]


class Part:
    """One mapping of a file: its properties are asked for by name, and what is wrong is noted on the way."""

    def __init__(
        self,
        path: Path,
        node: yaml.MappingNode,
        problems: list[DocumentProblem],
        *,
        about: str | None,
        known: Sequence[str] | None,
        where: str = "",
    ) -> None:
        """Take the properties of a mapping. Without `known` names, any will do; `where` ends what is noted of them."""
        self.path, self.node, self._about, self.where = path, node, about, where
        self.problems = problems
        self.nodes: dict[str, yaml.Node] = {}
        for name, value in node.value:
            if known is not None and name.value not in known:
                near = difflib.get_close_matches(str(name.value), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known properties are {', '.join(known)}"
                self.note(name, f"unknown property {name.value!r}{where}; {hint}")
            elif not isinstance(name, yaml.ScalarNode):
                self.note(name, "a name must be text")
            elif name.value in self.nodes:
                self.note(name, f"{name.value!r} appears twice{where}")
            else:
                self.nodes[name.value] = value

    @property
    def about(self) -> str | None:
        """What problems are about, for a person; None where that is not known."""
        return self._about

    def part(self, node: yaml.MappingNode, known: Sequence[str] | None, where: str = "") -> Part:
        """Return a mapping inside of this one, whose problems are noted with ours."""
        return Part(self.path, node, self.problems, about=self.about, known=known, where=where)

    def note(self, at: yaml.Node | str, what: str) -> None:
        """Note something wrong at a node, or at the property of a name."""
        node = self.nodes.get(at, self.node) if isinstance(at, str) else at
        self.problems.append(DocumentProblem(self.path, node.start_mark.line + 1, self.about, what))

    def text(self, name: str, *, liquid: Names | None = None) -> str | None:
        """Return a text, or None when there is none or it is wrong, which is noted.

        `liquid` holds the names that it may use if it is a template.
        """
        node = self.nodes.get(name)
        plain = None if node is None else plain_of(node)
        if node is None or plain is None:
            return None
        if not isinstance(plain, str):
            self.note(node, f"{name!r} is not text")
            return None
        if "\0" in plain:
            self.note(node, f"{name!r} has a NUL character")
            return None
        for problem in templates.problems(plain, liquid) if liquid is not None else ():
            line, column = _place(node, problem)
            place = TemplatePlace(name, self.where, problem, plain.strip().count("\n") + 1)
            what = f"{name}: {problem.what}"
            self.problems.append(DocumentProblem(self.path, line, self.about, what, column, place))
        return plain

    def flag(self, name: str, *, default: bool) -> bool:
        """Return whether a property is true, noting what is neither true nor false."""
        node = self.nodes.get(name)
        plain = default if node is None else plain_of(node)
        if isinstance(plain, bool):
            return plain
        assert node is not None
        self.note(node, f"{name!r} must be true or false, not {node.value!r}")
        return default

    def data(self, name: str) -> Any:
        """Return a property of any shape as plain data, or None when there is none or it cannot be read."""
        node = self.nodes.get(name)
        if node is None:
            return None
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_document(node)
        except (yaml.YAMLError, ValueError, TypeError) as error:
            self.note(node, f"{name!r} cannot be read: {str(error).splitlines()[0]}")
            return None
        except RecursionError:
            self.note(node, yaml_text.TOO_DEEP)
            return None
        finally:
            loader.dispose()


class Document(Part):
    """A mapping that has a key."""

    def __init__(
        self,
        path: Path,
        node: yaml.MappingNode,
        problems: list[DocumentProblem],
        *,
        kind: str,
        key_name: str,
        known: Sequence[str],
    ) -> None:
        self.kind = kind
        self.key = next((_text_of(value) for name, value in node.value if name.value == key_name), None)
        self._before = len(problems)
        super().__init__(path, node, problems, about=None, known=known)
        if not self.key:
            self.note(node, f"has no {'key' if key_name == kind else key_name}")
            return
        try:
            checked_key(kind, self.key)
        except CampaignError as error:
            self.note(node, str(error))

    @property
    def about(self) -> str | None:
        return f"{self.kind} {self.key!r}" if self.key else None

    @property
    def is_right(self) -> bool:
        """Whether nothing wrong was found in it so far."""
        return len(self.problems) == self._before

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1


class Places:
    """Where each key was first met, to note those that come twice."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], str] = {}

    def check(self, document: Document) -> None:
        if document.key is None:
            return
        first = self._seen.setdefault((document.kind, document.key), f"{document.path}:{document.line}")
        if first != f"{document.path}:{document.line}":
            document.note(document.node, f"is also in {first}")


def sort(problems: list[DocumentProblem], paths: Sequence[Path]) -> None:
    """Bring problems into the order of files and lines."""
    problems.sort(key=lambda problem: (paths.index(problem.path), problem.line or 0, problem.column or 0))


def stop_at(problems: Sequence[DocumentProblem], tell: Callable[[str], None]) -> None:
    """Tell each problem. Raises CampaignError when there are any."""
    for problem in problems[:MOST_PROBLEMS]:
        tell(str(problem))
    if problems:
        count = "1 error" if len(problems) == 1 else f"{len(problems):,} errors"
        if len(problems) > MOST_PROBLEMS:
            count = f"{count}, of which these are the first {MOST_PROBLEMS},"
        raise CampaignError(f"{count} in the files; nothing was changed")


def _text_of(node: yaml.Node) -> str | None:
    return node.value.strip() or None if isinstance(node, yaml.ScalarNode) else None


def _place(node: yaml.Node, problem: TemplateProblem) -> tuple[int, int | None]:
    """Return line and column in the file of a place in a template; no column where lines were folded or escaped."""
    mark = node.start_mark
    style = getattr(node, "style", None)
    if style in ("|", ">"):
        # The text of a block begins on the line after its `|`, further in than whatever holds it.
        line = mark.line + 1 + problem.line
        if style == ">" or mark.buffer is None:
            return line, None
        lines = mark.buffer[mark.index + 1 :].split("\n")[1:]
        first = next((each for each in lines if each.strip()), "")
        return line, len(first) - len(first.lstrip(" ")) + problem.column
    if problem.line > 1 or mark.line != node.end_mark.line or style == '"':
        return mark.line + problem.line, None
    return mark.line + 1, mark.column + problem.column + (style == "'")


def plain_of(node: yaml.Node) -> Any:
    """Return a value that is a text, true, false or nothing; an empty list stands for every other shape."""
    # A key or subject such as 2026 is a text without its quotes; true and 12:30 are not taken for one.
    if isinstance(node, yaml.ScalarNode) and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return node.value
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return None
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:bool":
        return yaml.SafeLoader.bool_values[node.value.lower()]
    return node.value if isinstance(node, yaml.ScalarNode) else []
