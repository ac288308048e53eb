"""Conditions of rules in French, as pages show them."""

from __future__ import annotations

from datetime import UTC

import pytest
import yaml

from parcours.domain.segments import judging, parsing
from parcours.domain.segments.rule import conditions
from parcours.domain.steps.registry import all_types
from parcours.domain.steps.types import Kind
from parcours.web.i18n.conditions import condition
from parcours.web.i18n.language import Reader, speaking
from parcours.web.i18n.typography import spaced

SAID = {
    ("contact.tags", "tags: [vip]"): "le contact a le tag vip",
    ("contact.segments", "segments: [a, b]"): "le contact est dans l’un des segments a, b",
    ("contact.points", "operator: gte, points: 50"): "le nombre de points est au moins 50",
    ("contact.field", "field: last_active_at, operator: older_than, value: 90 days"): (
        "last_active_at date de plus de 90 jours"
    ),
    ("contact.field", "field: born, operator: within, value: 2 weeks"): "born date de moins de 2 semaines",
    ("contact.field", "field: country, operator: in, value: [FR, BE]"): "country est parmi FR, BE",
    ("contact.created", "within: 4 days"): "le contact a été créé il y a moins de 4 jours",
    ("contact.stage", "stages: [lead]"): "le contact est à l’étape de vie lead",
    ("contact.owner", "owners: [nora]"): "le contact a pour propriétaire nora",
    ("contact.dnc", "channels: [email]"): "le contact est marqué « ne pas contacter » sur email",
    ("contact.campaigns", "campaigns: [c]"): "le contact est dans la campagne c",
    ("contact.device", "device_type: [mobile]"): "le contact a été vu avec un tel appareil : mobile",
    ("contact.email_valid", ""): "l’adresse e-mail est écrite comme une adresse",
    ("company.field", "field: city, operator: '=', value: Bonn"): "de l’entreprise principale, city est Bonn",
    ("event.count", "type: order.paid, at_least: 2, within: 90 days"): (
        "l’événement order.paid a eu lieu au moins 2 fois il y a moins de 90 jours"
    ),
    ("email.activity", "activity: opened, emails: [hello]"): "l’e-mail hello a été ouvert",
    ("form.submitted", "forms: [signup]"): "le formulaire signup a été envoyé",
    ("form.field", "form: poll, field: size, operator: '=', value: L"): (
        "dans le dernier envoi du formulaire poll, size est L"
    ),
    ("page.visited", "page: [prices]"): "le contact a visité prices",
}


@pytest.mark.parametrize(("given", "french"), list(SAID.items()), ids=[f"{type_} {with_}" for type_, with_ in SAID])
def test_a_condition_is_said_in_french(given: tuple[str, str], french: str) -> None:

    rule, problems = parsing.parse({"condition": given[0], "with": yaml.safe_load(f"{{{given[1]}}}")})
    assert rule is not None, problems
    (one,) = conditions(rule)
    said = judging.words(one)
    assert condition(said) == said
    with speaking(Reader("fr", UTC)):
        assert condition(said) == spaced("fr", french)


def test_every_condition_of_rules_has_french_words() -> None:
    own = {each.name for each in all_types() if each.kind is Kind.CONDITION and each.says is not None}
    assert {name for name in own if not name.startswith("test.")} == {name for name, _ in SAID}
