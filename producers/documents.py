"""YAML documents that are not campaigns: read one by one, with the line of everything that is wrong in them."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from domain import templates
from domain.errors import CampaignError
from producers.keys import checked_key


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a file, and where; lines count from 1."""

    path: Path
    line: int
    # What it is wrong with, such as `email 'hello'`.
    about: str | None
    what: str

    def __str__(self) -> str:
        about = "" if self.about is None else f"{self.about}: "
        return f"{self.path}:{self.line}: {about}{self.what}"


def mappings(paths: Sequence[Path], problems: list[Problem], like: str) -> Iterator[tuple[Path, yaml.MappingNode]]:
    """Yield the mappings of files: documents, or items of lists. What is no mapping is noted as not `like` one.

    Raises OSError when a file cannot be opened.
    """
    for path in paths:
        for node in _nodes(path, problems):
            if isinstance(node, yaml.MappingNode):
                yield path, node
            else:
                problems.append(Problem(path, node.start_mark.line + 1, None, like))


def _nodes(path: Path, problems: list[Problem]) -> Iterator[yaml.Node]:
    try:
        documents = [node for node in yaml.compose_all(path.read_text("utf-8-sig"), yaml.SafeLoader) if node]
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.append(Problem(path, line, None, f"byte 0x{error.object[error.start]:02x} is not UTF-8"))
        return
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"not YAML: {error.problem or error.context}"
        problems.append(Problem(path, mark.line + 1 if mark else 1, None, what))
        return
    except yaml.YAMLError as error:
        problems.append(Problem(path, 1, None, f"not YAML: {str(error).splitlines()[0]}"))
        return
    if not documents:
        problems.append(Problem(path, 1, None, "the file is empty"))
    for document in documents:
        yield from document.value if isinstance(document, yaml.SequenceNode) else [document]


class Document:
    """One mapping of a file: its properties are asked for by name, and what is wrong is noted on the way."""

    def __init__(
        self,
        path: Path,
        node: yaml.MappingNode,
        problems: list[Problem],
        *,
        kind: str,
        key_name: str,
        known: Sequence[str],
    ) -> None:
        self.path, self.node, self.kind = path, node, kind
        self._problems, self._before = problems, len(problems)
        self._nodes: dict[str, yaml.Node] = {}
        self.key = next((_text_of(value) for name, value in node.value if name.value == key_name), None)
        for name, value in node.value:
            if name.value not in known:
                near = difflib.get_close_matches(str(name.value), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                self.note(name, f"unknown property {name.value!r}; {hint}")
            elif name.value in self._nodes:
                self.note(name, f"{name.value!r} is there twice")
            else:
                self._nodes[name.value] = value
        if not self.key:
            self.note(node, f"has no {'key' if key_name == kind else key_name}")
            return
        try:
            checked_key(kind, self.key)
        except CampaignError as error:
            self.note(node, str(error))

    @property
    def is_right(self) -> bool:
        """Whether nothing wrong was found in it so far."""
        return len(self._problems) == self._before

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    def note(self, at: yaml.Node | str, what: str, lines: int = 0) -> None:
        """Note something wrong at a node, or at the property of a name."""
        node = self._nodes.get(at, self.node) if isinstance(at, str) else at
        about = f"{self.kind} {self.key!r}" if self.key else None
        self._problems.append(Problem(self.path, node.start_mark.line + 1 + lines, about, what))

    def text(self, name: str, *, liquid: bool = False) -> str | None:
        """Return a text, or None when there is none or it is wrong, which is noted."""
        node = self._nodes.get(name)
        plain = None if node is None else _plain(node)
        if node is None or plain is None:
            return None
        if not isinstance(plain, str):
            self.note(node, f"{name!r} is not a text")
            return None
        if "\0" in plain:
            self.note(node, f"{name!r} has a NUL character")
            return None
        for what, lines in templates.problems(plain) if liquid else ():
            # The text of a block begins on the line after its `|`.
            block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
            self.note(node, f"{name}: {what}", lines + block)
        return plain

    def flag(self, name: str, *, default: bool) -> bool:
        """Return whether a property is true, noting what is neither true nor false."""
        node = self._nodes.get(name)
        plain = default if node is None else _plain(node)
        if isinstance(plain, bool):
            return plain
        assert node is not None
        self.note(node, f"{name!r} is true or false, not {node.value!r}")
        return default

    def data(self, name: str) -> Any:
        """Return a property of any shape as plain data, or None when there is none or it cannot be read."""
        node = self._nodes.get(name)
        if node is None:
            return None
        loader = yaml.SafeLoader("")
        try:
            return loader.construct_document(node)
        except (yaml.YAMLError, ValueError, TypeError) as error:
            self.note(node, f"{name!r} cannot be read: {str(error).splitlines()[0]}")
            return None
        finally:
            loader.dispose()


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


def sort(problems: list[Problem], paths: Sequence[Path]) -> None:
    """Bring problems into the order of files and lines."""
    problems.sort(key=lambda problem: (paths.index(problem.path), problem.line))


def stop_at(problems: Sequence[Problem], tell: Callable[[str], None]) -> None:
    """Tell each problem. Raises CampaignError when there are any."""
    for problem in problems:
        tell(str(problem))
    if problems:
        count = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        raise CampaignError(f"{count} in the files; nothing was written")


def _text_of(node: yaml.Node) -> str | None:
    return node.value.strip() or None if isinstance(node, yaml.ScalarNode) else None


def _plain(node: yaml.Node) -> Any:
    # A key or subject such as 2026 is a text without its quotes; true and 12:30 are not taken for one.
    if isinstance(node, yaml.ScalarNode) and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return node.value
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return None
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:bool":
        return yaml.SafeLoader.bool_values[node.value.lower()]
    return node.value if isinstance(node, yaml.ScalarNode) else []
