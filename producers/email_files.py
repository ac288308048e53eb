"""Files of email templates: YAML, checked as a whole before anything is stored."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from liquid import Environment, Mode
from liquid.exceptions import LiquidError

from db.emails import Email
from domain.errors import CampaignError
from producers.keys import checked_key

PROPERTIES = ("key", "subject", "html", "text", "from", "published")
_TEMPLATES = ("subject", "html", "text")
# A template stands alone: there is nowhere to load another from.
_LOADING_TAGS = ("include", "render", "extends", "import")

_liquid = Environment(tolerance=Mode.STRICT)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a file, and where; lines count from 1."""

    path: Path
    line: int
    key: str | None
    what: str

    def __str__(self) -> str:
        email = "" if self.key is None else f"email {self.key!r}: "
        return f"{self.path}:{self.line}: {email}{self.what}"


def read(paths: list[Path]) -> tuple[list[Email], list[Problem]]:
    """Return the templates of some files, and everything that is wrong in any of them.

    Raises OSError when a file cannot be opened.
    """
    emails: list[Email] = []
    problems: list[Problem] = []
    places: dict[str, str] = {}
    for path in paths:
        for node in _mappings(path, problems):
            key, line = _key_of(node), node.start_mark.line + 1
            if key in places:
                problems.append(Problem(path, line, key, f"is also in {places[key]}"))
            elif key is not None:
                places[key] = f"{path}:{line}"
            email = _email(path, node, key, problems)
            if email is not None:
                emails.append(email)
    problems.sort(key=lambda problem: (paths.index(problem.path), problem.line))
    return emails, problems


def _mappings(path: Path, problems: list[Problem]) -> Iterator[yaml.MappingNode]:
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
        for node in document.value if isinstance(document, yaml.SequenceNode) else [document]:
            if isinstance(node, yaml.MappingNode):
                yield node
            else:
                line = node.start_mark.line + 1
                problems.append(Problem(path, line, None, "an email is a mapping: key, subject, …"))


def _key_of(node: yaml.MappingNode) -> str | None:
    for name, value in node.value:
        if name.value == "key" and isinstance(value, yaml.ScalarNode):
            return value.value.strip() or None
    return None


def _email(path: Path, node: yaml.MappingNode, key: str | None, problems: list[Problem]) -> Email | None:
    """Return the template of a mapping, or None after noting what is wrong with it."""
    before = len(problems)
    nodes: dict[str, yaml.Node] = {}

    def note(at: yaml.Node, what: str, lines: int = 0) -> None:
        problems.append(Problem(path, at.start_mark.line + 1 + lines, key, what))

    for name, value in node.value:
        if name.value not in PROPERTIES:
            near = difflib.get_close_matches(str(name.value), PROPERTIES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(PROPERTIES)}"
            note(name, f"unknown property {name.value!r}; {hint}")
        elif name.value in nodes:
            note(name, f"{name.value!r} is there twice")
        else:
            nodes[name.value] = value
    given: dict[str, Any] = {}
    for name, value in nodes.items():
        given[name] = plain = _plain(value)
        if name == "published":
            if not isinstance(plain, bool):
                note(value, f"'published' is true or false, not {value.value!r}")
        elif plain is not None and not isinstance(plain, str):
            note(value, f"{name!r} is not a text")
            given[name] = None
        elif isinstance(plain, str) and "\0" in plain:
            note(value, f"{name!r} has a NUL character")
        elif name in _TEMPLATES and plain is not None:
            for what, lines in _liquid_problems(plain):
                # The text of a block begins on the line after its `|`.
                block = isinstance(value, yaml.ScalarNode) and value.style in ("|", ">")
                note(value, f"{name}: {what}", lines + block)
    if not key:
        note(node, "has no key")
    else:
        try:
            checked_key("email", key)
        except CampaignError as error:
            note(node, str(error))
    if "subject" not in nodes or not given["subject"]:
        note(node, "has no subject")
    if not given.get("html") and not given.get("text"):
        note(node, "has neither html nor text")
    if len(problems) > before or key is None:
        return None
    return Email(
        key=key,
        subject=given["subject"],
        html=given.get("html"),
        text=given.get("text"),
        sender=given.get("from"),
        published=given.get("published", True),
    )


def _plain(node: yaml.Node) -> Any:
    # A key or subject such as 2026 is a text without its quotes; true and 12:30 are not taken for one.
    if isinstance(node, yaml.ScalarNode) and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return node.value
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return None
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:bool":
        return yaml.SafeLoader.bool_values[node.value.lower()]
    return node.value if isinstance(node, yaml.ScalarNode) else []


def _liquid_problems(template: str) -> Iterator[tuple[str, int]]:
    """Yield what is wrong with a template, and how many lines down."""
    try:
        found = _liquid.from_string(template).analyze(include_partials=False)
    except LiquidError as error:
        index = max(error.token.start_index, 0) if error.token else 0
        yield str(error.message), template.count("\n", 0, index)
        return
    # Liquid itself notices these only when the first contact is written to.
    for name, spans in found.filters.items():
        if name not in _liquid.filters:
            yield f"unknown filter {name!r}", template.count("\n", 0, max(spans[0].index, 0))
    for name, spans in found.tags.items():
        if name in _LOADING_TAGS:
            yield f"a template cannot {name} another", template.count("\n", 0, max(spans[0].index, 0))
