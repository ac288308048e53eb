"""Rules on pages: by the names that people have for fields, in both languages."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from parcours.domain.segments import parsing
from parcours.domain.steps.registry import step_type
from parcours.domain.steps.types import Kind, RefersTo
from parcours.web.i18n import rule_words, step_words
from parcours.web.i18n.language import Reader, speaking


def _test(field: str, operator: str, value: Any = None) -> dict[str, Any]:
    given = {"field": field, "operator": operator, **({} if value is None else {"value": value})}
    return {"condition": "contact.field", "with": given}


SAID = [
    (_test("first_name", "=", "Ann"), "First name is Ann", "Prénom est Ann"),
    (_test("favourite_colour", "!empty"), "Favourite colour is not empty", "Favourite colour n’est pas vide"),
    (
        _test("company.city", "in", ["Lyon"]),
        "City of the company is one of Lyon",
        "Ville de l’entreprise est l’un de Lyon",
    ),
    (_test("customer", "=", True), "Customer is yes", "Customer est oui"),
    (
        _test("birthday", "date", "anniversary"),
        "the anniversary of Birthday is today",
        "l’anniversaire de Anniversaire est aujourd’hui",
    ),
    (
        _test("first_name", "=", {"field": "last_name"}),
        "First name is what the field Last name says",
        "Prénom est ce que dit le champ Nom de famille",
    ),
    (
        {"any": [_test("city", "=", "Lyon"), {"not": {"all": [_test("points", "gt", 5), _test("city", "empty")]}}]},
        "City is Lyon or not (Points is more than 5 and City is empty)",
        "Ville est Lyon ou pas (Points est supérieur à 5 et Ville est vide)",
    ),
    (
        {"all": [{"any": [_test("city", "=", "a"), _test("city", "=", "b")]}, _test("points", "gt", 5)]},
        "(City is a or City is b) and Points is more than 5",
        "(Ville est a ou Ville est b) et Points est supérieur à 5",
    ),
    (
        {"condition": "contact.segments", "with": {"segments": ["vips"]}},
        "the contact is in the segment Our best",
        "le contact est dans le segment Our best",
    ),
]
NAMES = {RefersTo.SEGMENT: {"vips": "Our best"}}


@pytest.mark.parametrize(("data", "english", "french"), SAID, ids=[each[1] for each in SAID])
def test_a_rule_is_said_by_the_names_of_its_fields(data: dict[str, Any], english: str, french: str) -> None:
    rule, problems = parsing.parse(data)
    assert rule is not None, problems
    assert rule_words.in_short(rule, NAMES) == english
    with speaking(Reader("fr", UTC)):
        assert rule_words.in_short(rule, NAMES) == french


def test_a_decision_says_for_which_rule_it_waits() -> None:
    found = step_type(Kind.DECISION, "contact.matches")
    given = found.properties.model_validate({"rule": _test("city", "=", "Lyon")})
    assert step_words.in_words(found, given) == "A rule becomes true: City is Lyon"
    with speaking(Reader("fr", UTC)):
        assert step_words.in_words(found, given) == "Une règle devient vraie : Ville est Lyon"
