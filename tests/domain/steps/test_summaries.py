"""What a step does, in words: of every type, in English and French."""

from __future__ import annotations

from typing import Any

import pytest

from parcours.domain.steps.registry import all_types, step_type
from parcours.domain.steps.types import Kind
from parcours.web.i18n.conditions import condition
from parcours.web.i18n.language import Reader, speaking
from parcours.web.i18n.sentences import told
from parcours.web.i18n.typography import spaced


def said(kind: Kind, name: str, given: dict[str, Any]) -> str | None:
    found = step_type(kind, name)
    return found.in_words(found.properties.model_validate(given))


def test_every_type_of_ours_says_what_a_step_does() -> None:
    silent = [each.name for each in all_types() if each.summary is None and each.says is None]
    assert [name for name in silent if not name.startswith("test.")] == []


@pytest.mark.parametrize(
    ("kind", "name", "given", "english", "french"),
    [
        (Kind.ACTION, "email.send", {"email": "Welcome"}, "send “Welcome”", "envoyer « Welcome »"),
        (Kind.ACTION, "contact.points", {"points": 5}, "+5 points", "+5 points"),
        (
            Kind.ACTION,
            "contact.tags",
            {"add": ["a", "b"], "remove": ["c"]},
            "add the tags a, b; remove the tags c",
            "ajouter les tags a, b ; retirer les tags c",
        ),
        (Kind.ACTION, "campaign.jump", {"to": "thank"}, "jump to thank", "aller à thank"),
        (
            Kind.ACTION,
            "contact.segments",
            {"add": ["a"], "remove": ["b", "c"]},
            "add to the segment a; remove from the segments b, c",
            "ajouter au segment a ; retirer des segments b, c",
        ),
        (Kind.DECISION, "email.open", {}, "opens the email", "ouvre l’e-mail"),
        (Kind.DECISION, "form.submit", {"forms": ["a"]}, "submits the form a", "envoie le formulaire a"),
        (Kind.DECISION, "page.hit", {}, "visits any page", "visite une page quelconque"),
        (Kind.CONDITION, "contact.tags", {"tags": ["vip"]}, "the contact has the tag vip", "le contact a le tag vip"),
        (
            Kind.CONDITION,
            "split.random",
            {"percent": 50},
            "50% of contacts, at random",
            "50 % des contacts, au hasard",
        ),
    ],
)
def test_a_step_is_said_in_words(kind: Kind, name: str, given: dict[str, Any], english: str, french: str) -> None:
    found = said(kind, name, given)
    assert found == english
    with speaking(Reader("fr")):
        assert (told(found) if kind is not Kind.CONDITION or "%" in found else condition(found)) == spaced("fr", french)
