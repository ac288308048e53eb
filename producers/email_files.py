"""Files of email templates: YAML, checked as a whole before anything is stored."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import yaml

from db.emails import Email
from domain.content import Content, Variant
from domain.errors import CampaignError
from producers import templates
from producers.keys import checked_key

PROPERTIES = ("key", "subject", "html", "text", "from", "published", "tracking", "variants", "translations")
_CONTENT = ("subject", "html", "text")
_VARIANT = ("name", "weight", *_CONTENT, "translations")
_LOCALE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
# Floats that make 100 in a file are not always 100.
_WHOLE = 100 + 1e-9


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a file, and where; lines and columns count from 1."""

    path: Path
    line: int
    key: str | None
    what: str
    # Of what is wrong in a template.
    column: int | None = None

    def __str__(self) -> str:
        email = "" if self.key is None else f"email {self.key!r}: "
        place = f"{self.path}:{self.line}" if self.column is None else f"{self.path}:{self.line}:{self.column}"
        return f"{place}: {email}{self.what}"


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
    problems.sort(key=lambda problem: (paths.index(problem.path), problem.line, problem.column or 0))
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
    reader = _Reader(path, key, problems)
    nodes = reader.named(node, PROPERTIES)
    content = reader.content(nodes)
    sender = reader.text(nodes, "from")
    if sender is not None and ("\n" in sender or "@" not in parseaddr(sender)[1]):
        reader.note(nodes["from"], f"'from' is an address such as 'Ann <ann@example.org>', not {sender!r}")
    published, tracking = (reader.flag(nodes, name) for name in ("published", "tracking"))
    if not key:
        reader.note(node, "has no key")
    else:
        try:
            checked_key("email", key)
        except CampaignError as error:
            reader.note(node, str(error))
    if not content.subject:
        reader.note(node, "has no subject")
    if not content.html and not content.text:
        reader.note(node, "has neither html nor text")
    translations = reader.translations(nodes)
    variants = reader.variants(nodes, translations)
    if len(problems) > before or key is None or content.subject is None:
        return None
    return Email(key, content.subject, content.html, content.text, sender, published, tracking, variants, translations)


class _Reader:
    """Reads the nodes of one email, and notes what is wrong with them."""

    def __init__(self, path: Path, key: str | None, problems: list[Problem]) -> None:
        self._path = path
        self._key = key
        self._problems = problems

    def note(self, at: yaml.Node, what: str) -> None:
        self._problems.append(Problem(self._path, at.start_mark.line + 1, self._key, what))

    def named(self, node: yaml.MappingNode, known: tuple[str, ...] | None, where: str = "") -> dict[str, yaml.Node]:
        """Return the values of a mapping by name; without `known` names, any will do."""
        nodes: dict[str, yaml.Node] = {}
        for name, value in node.value:
            if known is not None and name.value not in known:
                near = difflib.get_close_matches(str(name.value), known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                self.note(name, f"unknown property {name.value!r}{where}; {hint}")
            elif not isinstance(name, yaml.ScalarNode):
                self.note(name, "a name is a text")
            elif name.value in nodes:
                self.note(name, f"{name.value!r} is there twice{where}")
            else:
                nodes[name.value] = value
        return nodes

    def text(self, nodes: dict[str, yaml.Node], name: str) -> str | None:
        if name not in nodes:
            return None
        plain = _plain(nodes[name])
        if plain is None:
            return None
        if not isinstance(plain, str):
            self.note(nodes[name], f"{name!r} is not a text")
        elif "\0" in plain:
            self.note(nodes[name], f"{name!r} has a NUL character")
        else:
            return plain
        return None

    def flag(self, nodes: dict[str, yaml.Node], name: str) -> bool:
        plain = _plain(nodes[name]) if name in nodes else True
        if not isinstance(plain, bool):
            self.note(nodes[name], f"{name!r} is true or false, not {nodes[name].value!r}")
        return bool(plain)

    def content(self, nodes: dict[str, yaml.Node]) -> Content:
        """Return subject and bodies, each checked as Liquid."""
        given = {name: self.text(nodes, name) for name in _CONTENT}
        for name, value in given.items():
            if value is not None:
                for problem in templates.problems(value, templates.EMAIL_NAMES):
                    line, column = _place(nodes[name], problem)
                    self._problems.append(Problem(self._path, line, self._key, f"{name}: {problem.what}", column))
        return Content(**given)

    def translations(self, nodes: dict[str, yaml.Node]) -> dict[str, Content]:
        """Return what is said in other locales."""
        node = nodes.get("translations")
        if node is None or _plain(node) is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            self.note(node, "'translations' is a mapping of locales, such as fr or pt-BR, to subject, html and text")
            return {}
        found: dict[str, Content] = {}
        for locale, value in self.named(node, None).items():
            if not _LOCALE.fullmatch(locale):
                self.note(value, f"{locale!r} is not a locale; write it like fr or pt-BR")
            elif not isinstance(value, yaml.MappingNode):
                self.note(value, f"the translation {locale!r} is a mapping of subject, html and text")
            else:
                found[locale] = self.content(self.named(value, _CONTENT, f" in the translation {locale!r}"))
                if found[locale] == Content():
                    self.note(value, f"the translation {locale!r} says nothing")
        return found

    def variants(self, nodes: dict[str, yaml.Node], translations: dict[str, Content]) -> tuple[Variant, ...]:
        """Return the variants; the main content has what their weights leave of 100 percent."""
        node = nodes.get("variants")
        if node is None or _plain(node) is None:
            return ()
        if not isinstance(node, yaml.SequenceNode):
            self.note(node, "'variants' is a list of mappings: name, weight, and subject, html or text")
            return ()
        found = [variant for each in node.value if (variant := self._variant(each, translations)) is not None]
        names = [variant.name for variant in found]
        if len(set(names)) < len(names):
            self.note(node, "two variants have the same name")
        if sum(variant.weight for variant in found) > _WHOLE:
            self.note(node, "the weights of the variants come to more than 100 percent")
        return tuple(found)

    def _variant(self, node: yaml.Node, translations: dict[str, Content]) -> Variant | None:
        if not isinstance(node, yaml.MappingNode):
            self.note(node, "a variant is a mapping: name, weight, and subject, html or text")
            return None
        nodes = self.named(node, _VARIANT, " in a variant")
        name, content, own = self.text(nodes, "name"), self.content(nodes), self.translations(nodes)
        try:
            weight = float(str(_plain(nodes["weight"]))) if "weight" in nodes else 0
        except ValueError:
            weight = 0
        if not name:
            self.note(node, "a variant has no name")
        if not 0 < weight <= 100:
            self.note(nodes.get("weight", node), "the weight of a variant is a percentage above 0")
        if content == Content():
            self.note(node, "a variant says nothing else than the email: give it a subject, html or text")
        for locale in own.keys() - translations.keys():
            self.note(nodes["translations"], f"a variant has the translation {locale!r}, which the email has not")
        return None if not name else Variant(name, weight, content, own)


def _place(node: yaml.Node, problem: templates.TemplateProblem) -> tuple[int, int | None]:
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


def _plain(node: yaml.Node) -> Any:
    # A key or subject such as 2026 is a text without its quotes; true and 12:30 are not taken for one.
    if isinstance(node, yaml.ScalarNode) and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        return node.value
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return None
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:bool":
        return yaml.SafeLoader.bool_values[node.value.lower()]
    return node.value if isinstance(node, yaml.ScalarNode) else []
