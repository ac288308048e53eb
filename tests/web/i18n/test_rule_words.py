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
from parcours.web.i18n.typography import spaced


def _test(field: str, operator: str, value: Any = None) -> dict[str, Any]:
    given = {"field": field, "operator": operator, **({} if value is None else {"value": value})}
    return {"condition": "contact.field", "with": given}


SAID = [
    (_test("first_name", "=", "Ann"), "First name is Ann", "Prénom est Ann"),
    (_test("favourite_colour", "!empty"), "Favourite colour is not empty", "Favourite colour n’est pas vide"),
    (
        _test("company.city", "in", ["Lyon"]),
        "City of the company is one of Lyon",
        "Ville de l’entreprise est parmi Lyon",
    ),
    (_test("customer", "=", True), "Customer is yes", "Customer est oui"),
    (
        _test("birthday", "date", "anniversary"),
        "the anniversary of Birthday is today",
        "l’anniversaire de la date « Anniversaire » est aujourd’hui",
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
        _test("total", "gt", 1234.5),
        "Total is more than 1,234.5",
        "Total est supérieur à 1\u202f234,5",
    ),
    (
        _test("total", "in", [1000, 2500]),
        "Total is one of 1,000, 2,500",
        "Total est parmi 1\u202f000, 2\u202f500",
    ),
    (_test("zip", "=", 75001), "Postal code is 75001", "Code postal est 75001"),
    (_test("birthday", "date", "-P1D"), "Birthday is yesterday", "Anniversaire est hier"),
    (_test("birthday", "date", "+P3D"), "Birthday is 3 days from today", "Anniversaire est dans 3 jours"),
    (_test("birthday", "date", "-P1M"), "Birthday is 1 month before today", "Anniversaire était il y a 1 mois"),
    (
        _test("birthday", "gte", "2026-12-24"),
        "Birthday is on or after 24 Dec 2026",
        "Anniversaire est le 24 déc. 2026 ou après",
    ),
    (
        _test("last_active_at", "lt", "2026-12-24T09:00:00+01:00"),
        "Last active is before 24 Dec 2026, 08:00",
        "Dernière activité est avant le 24 déc. 2026 à 08:00",
    ),
    (
        _test("webinar_at", "in_next", "2 weeks"),
        "Date of the webinar is within the next 2 weeks",
        "Date du webinaire est d’ici 2 semaines",
    ),
    (
        {"condition": "contact.points", "with": {"operator": "gte", "points": 12500, "group": "loyalty"}},
        "in the point group loyalty, the number of points is at least 12,500",
        "dans le groupe de points loyalty, le nombre de points est au moins 12\u202f500",
    ),
    (
        {"condition": "email.activity", "with": {"activity": "opened", "emails": ["a", "b"], "within": "90 days"}},
        "one of the emails a, b was opened within the last 90 days",
        "l’un des e-mails a, b a été ouvert il y a moins de 90 jours",
    ),
    (
        {"condition": "email.activity", "with": {"activity": "bounced"}},
        "any email bounced",
        "un e-mail quelconque a été rejeté",
    ),
    (
        {
            "condition": "contact.campaigns",
            "with": {"campaigns": ["c"], "added": {"operator": "before", "date": "2026-01-01"}},
        },
        "the contact is in the campaign c, added before 1 Jan 2026",
        "le contact est dans la campagne c, ajouté avant le 1er janv. 2026",
    ),
    (
        {"condition": "contact.dnc", "with": {"channels": ["email", "sms"], "reason": "bounced"}},
        'the contact is marked as "do not contact" on email, text message, because of: bounced',
        "le contact est marqué « ne pas contacter » sur e-mail, SMS, motif : rejeté",
    ),
    (
        {
            "condition": "event.count",
            "with": {
                "type": "order.paid",
                "where": [
                    {"field": "total", "operator": "gt", "value": 1250.5},
                    {"field": "shop", "operator": "=", "value": "Rock and Roll"},
                ],
                "at_most": 0,
                "within": "90 days",
            },
        },
        "the event “Paid an order” where Total is more than 1,250.5 and Shop is Rock and Roll did not happen within "
        "the last 90 days",
        "l’événement « A payé une commande » où Total est supérieur à 1\u202f250,5 et Shop est Rock and Roll n’a pas "
        "eu lieu depuis 90 jours",
    ),
    (
        {"condition": "page.visited", "with": {"page": ["a"], "since": "2026-01-02", "until": "2026-02-01"}},
        "the contact visited a since 2 Jan 2026 until 1 Feb 2026",
        "le contact a visité a du 2 janv. 2026 au 1er févr. 2026",
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
        assert rule_words.in_short(rule, NAMES) == spaced("fr", french)


def test_a_decision_says_for_which_rule_it_waits() -> None:
    found = step_type(Kind.DECISION, "contact.matches")
    given = found.properties.model_validate({"rule": _test("city", "=", "Lyon")})
    assert step_words.in_words(found, given) == "A rule becomes true: City is Lyon"
    with speaking(Reader("fr", UTC)):
        assert step_words.in_words(found, given) == spaced("fr", "Une règle devient vraie : Ville est Lyon")


def test_a_condition_of_a_step_is_said_as_in_a_rule() -> None:
    found = step_type(Kind.CONDITION, "contact.campaigns")
    given = found.properties.model_validate({"campaigns": ["this"], "added": {"older_than": "2 days"}})
    said = "The contact is in this campaign, added longer ago than 2 days"
    assert step_words.in_words(found, given) == said
    with speaking(Reader("fr", UTC)):
        assert step_words.in_words(found, given) == "Le contact est dans cette campagne, ajouté il y a plus de 2 jours"
