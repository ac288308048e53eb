"""Files of email templates: YAML, checked as a whole before anything is stored."""

import re
from collections.abc import Iterable
from email.utils import parseaddr
from pathlib import Path

import yaml

from parcours.db.tables.emails import Email
from parcours.domain.contacts.identity import wire_sender
from parcours.domain.messages.content import Content, Variant
from parcours.domain.messages.templates import EMAIL_NAMES
from parcours.domain.messages.winner import WinnerRule, winner_rule
from parcours.producers.files.documents import (
    Document,
    DocumentProblem,
    Part,
    Places,
    mappings,
    mappings_of,
    plain_of,
    sort,
)

_LIKE = "an email must be a mapping: key, subject, …"
_CONTENT = ("subject", "html", "text")
PROPERTIES = ("key", *_CONTENT, "from", "category", "published", "tracking", "variants", "translations", "winner")
_VARIANT = ("name", "weight", *_CONTENT, "translations")
_LOCALE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")
# Floats that make 100 in a file are not always 100.
_WHOLE = 100 + 1e-9


def read(paths: list[Path]) -> tuple[list[Email], list[DocumentProblem]]:
    """Return the templates of some files, and everything that is wrong in any of them.

    Raises OSError when a file cannot be opened.
    """
    problems: list[DocumentProblem] = []
    emails = _emails(mappings(paths, problems, _LIKE), problems)
    sort(problems, paths)
    return emails, problems


def read_text(text: str, name: Path) -> tuple[list[Email], list[DocumentProblem]]:
    """Return the templates of a YAML or JSON text, which problems call by `name`; otherwise as `read`."""
    problems: list[DocumentProblem] = []
    emails = _emails(((name, node) for node in mappings_of(text, name, problems, _LIKE)), problems)
    sort(problems, [name])
    return emails, problems


def _emails(nodes: Iterable[tuple[Path, yaml.MappingNode]], problems: list[DocumentProblem]) -> list[Email]:
    emails = []
    places = Places()
    for path, node in nodes:
        document = Document(path, node, problems, kind="email", key_name="key", known=PROPERTIES)
        places.check(document)
        email = _email(document)
        if email is not None:
            emails.append(email)
    return emails


def _email(document: Document) -> Email | None:
    """Return the template of a mapping, or None when something is wrong with it, which is noted."""
    content = _content(document)
    sender, category = document.text("from"), (document.text("category") or "").strip()
    if sender is not None and ("\n" in sender or wire_sender(parseaddr(sender)[1]) is None):
        document.note("from", f"'from' must be an address such as 'Ann <ann@example.org>', not {sender!r}")
    published, tracking = (document.flag(name, default=True) for name in ("published", "tracking"))
    if not content.subject:
        document.note(document.node, "has no subject")
    if not content.html and not content.text:
        document.note(document.node, "has no html and no text")
    translations = _translations(document)
    variants = _variants(document, translations)
    winner = _winner(document, has_variants=bool(variants), tracking=tracking)
    if not document.is_right or document.key is None or content.subject is None:
        return None
    return Email(
        document.key,
        content.subject,
        content.html,
        content.text,
        sender,
        published,
        category or None,
        tracking,
        variants,
        translations,
        winner,
    )


def _content(part: Part) -> Content:
    """Return subject and bodies, each checked as Liquid."""
    return Content(**{name: part.text(name, liquid=EMAIL_NAMES) for name in _CONTENT})


def _translations(part: Part, of_variant: str = "") -> dict[str, Content]:
    """Return what is said in other locales, of an email or of one of its variants."""
    node = part.nodes.get("translations")
    if node is None or plain_of(node) is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        part.note(node, "'translations' must be a mapping of locales, such as fr or pt-BR, to subject, html and text")
        return {}
    found: dict[str, Content] = {}
    for locale, value in part.part(node, None).nodes.items():
        if not _LOCALE.fullmatch(locale):
            part.note(value, f"{locale!r} is not a locale; write it like fr or pt-BR")
        elif not isinstance(value, yaml.MappingNode):
            part.note(value, f"the translation {locale!r} must be a mapping of subject, html and text")
        else:
            where = f"{of_variant} in the translation {locale!r}"
            found[locale] = _content(part.part(value, _CONTENT, where))
            if found[locale] == Content():
                part.note(value, f"the translation {locale!r} is empty")
    return found


def _variants(document: Document, translations: dict[str, Content]) -> tuple[Variant, ...]:
    """Return the variants; the main content has what their weights leave of 100 percent."""
    node = document.nodes.get("variants")
    if node is None or plain_of(node) is None:
        return ()
    if not isinstance(node, yaml.SequenceNode):
        document.note(node, "'variants' must be a list of mappings: name, weight, and subject, html or text")
        return ()
    found = [variant for each in node.value if (variant := _variant(document, each, translations)) is not None]
    names = [variant.name for variant in found]
    if len(set(names)) < len(names):
        document.note(node, "two variants have the same name")
    if sum(variant.weight for variant in found) > _WHOLE:
        document.note(node, "the weights of the variants add up to more than 100 percent")
    return tuple(found)


def _winner(document: Document, *, has_variants: bool, tracking: bool) -> WinnerRule | None:
    """Return by what one of the versions wins."""
    node = document.nodes.get("winner")
    if node is None or plain_of(node) is None:
        return None
    if not isinstance(node, yaml.MappingNode):
        document.note(node, "'winner' must be a mapping of after and by, such as {after: 4 hours, by: clicked}")
        return None
    part = document.part(node, ("after", "by"), " in the winner")
    if "variants" not in document.nodes or not (has_variants or plain_of(document.nodes["variants"])):
        document.note(node, "there is no winner without variants; add variants, or remove 'winner'")
    if not tracking:
        document.note(node, "there is no winner without tracking; remove 'tracking: false' or 'winner'")
    try:
        return winner_rule(part.data("after"), part.data("by"))
    except ValueError as error:
        part.note(node, str(error))
        return None


def _variant(document: Document, node: yaml.Node, translations: dict[str, Content]) -> Variant | None:
    if not isinstance(node, yaml.MappingNode):
        document.note(node, "a variant must be a mapping: name, weight, and subject, html or text")
        return None
    part = document.part(node, _VARIANT, " in a variant")
    name = part.text("name")
    if name:
        part.where = f" in the variant {name!r}"
    content, own = _content(part), _translations(part, part.where)
    try:
        weight = float(str(plain_of(part.nodes["weight"]))) if "weight" in part.nodes else 0
    except ValueError:
        weight = 0
    if not name:
        part.note(node, "a variant has no name")
    if not 0 < weight <= 100:
        part.note("weight", "the weight of a variant must be a percentage above 0")
    if content == Content():
        part.note(node, "a variant does not differ from the email; add a subject, html or text")
    for locale in own.keys() - translations.keys():
        part.note("translations", f"a variant has the translation {locale!r}, but the email does not")
    return None if not name else Variant(name, weight, content, own)
