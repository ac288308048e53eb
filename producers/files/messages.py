"""Files of text messages, push messages and marketing messages: YAML, checked as a whole before anything is stored."""

from pathlib import Path

import yaml

from parcours.db.tables.templates import Kind, Template
from parcours.domain.messages.templates import NAMES
from parcours.producers.files.documents import Document, DocumentProblem, Places, mappings, sort

_COMMON = ("name", "published")
PROPERTIES: dict[Kind, tuple[str, ...]] = {
    "sms": ("sms", "text", *_COMMON),
    "push": ("push", "title", "text", "url", *_COMMON),
    "message": ("message", "email", "sms", "push", *_COMMON),
}
_LIKE = "write one of {sms: KEY, text: …}, {push: KEY, title: …, text: …} and {message: KEY, email: KEY, sms: KEY}"


def read(paths: list[Path]) -> tuple[list[Template], list[DocumentProblem]]:
    """Return the templates of some files, and everything that is wrong in any of them.

    Raises OSError when a file cannot be opened.
    """
    templates: list[Template] = []
    problems: list[DocumentProblem] = []
    places = Places()
    for path, node in mappings(paths, problems, _LIKE):
        kind = _kind(node)
        if kind is None:
            problems.append(DocumentProblem(path, node.start_mark.line + 1, None, _LIKE))
            continue
        document = Document(path, node, problems, kind=kind, key_name=kind, known=PROPERTIES[kind])
        places.check(document)
        template = _template(document, kind)
        if template is not None:
            templates.append(template)
    sort(problems, paths)
    return templates, problems


def _kind(node: yaml.MappingNode) -> Kind | None:
    """Return what a document is: a marketing message names the others, so its own name decides."""
    names = {name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)}
    kinds: tuple[Kind, ...] = ("message", "sms", "push")
    return next((kind for kind in kinds if kind in names), None)


def _template(document: Document, kind: Kind) -> Template | None:
    own = [name for name in PROPERTIES[kind] if name not in (kind, *_COMMON)]
    content = {name: document.text(name, liquid=None if kind == "message" else NAMES) for name in own}
    said = {name: text.strip() if kind == "message" else text for name, text in content.items() if text}
    for needed in {"sms": ["text"], "push": ["title", "text"]}.get(kind, []):
        if needed not in said:
            document.note(document.node, f"has no {needed}")
    if kind == "message" and not any(said.values()):
        document.note(document.node, "has no template; add at least one of email, sms and push")
    name, published = document.text("name"), document.flag("published", default=True)
    if not document.is_right or document.key is None:
        return None
    return Template(kind, document.key, name or document.key, published, said)
