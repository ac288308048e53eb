"""Files of policies: YAML, checked as a whole before anything is stored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from parcours.domain.messages.policy import (
    parse_blackout,
    parse_cap,
    parse_holidays,
    parse_over,
    parse_policy,
    parse_quiet_hours,
    parse_spread,
)
from parcours.producers.files.documents import Document, DocumentProblem, Places, mappings, sort

_RULES: dict[str, Callable[[Any], object]] = {
    "cap": parse_cap,
    "quiet_hours": parse_quiet_hours,
    "blackout": parse_blackout,
    "holidays": parse_holidays,
    "spread": parse_spread,
    "over": parse_over,
}
PROPERTIES = ("channel", *_RULES)


def read(paths: list[Path]) -> tuple[dict[str, dict[str, Any]], list[DocumentProblem]]:
    """Return the rules of some files by channel, and everything that is wrong in any of them.

    Raises OSError when a file cannot be opened.
    """
    policies: dict[str, dict[str, Any]] = {}
    problems: list[DocumentProblem] = []
    places = Places()
    for path, node in mappings(paths, problems, f"a policy must be a mapping: {', '.join(PROPERTIES)}"):
        document = Document(path, node, problems, kind="policy", key_name="channel", known=PROPERTIES)
        if document.key is not None:
            document.key = document.key.lower()
        places.check(document)
        rules = _rules(document)
        if document.is_right and document.key is not None:
            policies[document.key] = rules
    sort(problems, paths)
    return policies, problems


def _rules(document: Document) -> dict[str, Any]:
    rules = {name: value for name in _RULES if (value := document.data(name)) is not None}
    for name, value in rules.items():
        try:
            _RULES[name](value)
        except ValueError as error:
            document.note(name, f"{name}: {error}")
    if isinstance(rules.get("blackout"), list):
        # YAML reads days as dates, which JSON does not know.
        rules["blackout"] = [str(each) for each in rules["blackout"]]
    if document.is_right:
        try:
            parse_policy(rules)
        except ValueError as error:
            document.note(document.node, str(error))
    return rules
