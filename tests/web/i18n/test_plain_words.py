"""What the builder asks for, in words of somebody who never saw a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from parcours.domain.campaign_file.check import check
from parcours.domain.steps.registry import all_types
from parcours.domain.steps.types import Kind, StepType
from parcours.web.i18n.language import Reader, speaking
from parcours.web.i18n.plain_words import HELP, problem
from parcours.web.pages.campaign_templates import TEMPLATES
from parcours.web.pages.panels import widgets

ALL = sorted(all_types(), key=lambda each: (each.kind, each.name))
# Words of files, which no field of a page has; an event has properties on pages too.
JARGON = re.compile(r"'\w+'|`|\bkeys?\b|\bclés?\b|Liquid|\btemplate\b|\balias", re.IGNORECASE)
PROPERTY = re.compile(r"\bproperty\b|\bpropriété\b", re.IGNORECASE)
# What no page lists goes by its key.
KEYS = {"Its key.", "Sa clé."}


TECHNICAL = re.compile(r"\w+[._]\w+")


def test_a_template_of_a_campaign_says_what_it_is_and_needs_without_technical_words() -> None:
    for each in TEMPLATES:
        assert each.needs or each.key == "empty"
        assert TECHNICAL.search(f"{each.about} {each.needs}".replace(". ", " ").rstrip(".")) is None


def said_of(found: StepType) -> Iterator[str]:
    """Yield what the check says of a step of a type that was just added, with nothing filled in."""
    step: dict[str, Any] = {"step": "new", found.kind.value: found.name}
    if found.kind is Kind.DECISION:
        step["within"] = "3 days"
    channel = "sms.send" if found.name == "sms.reply" else "email.send"
    above = {"step": "above", "action": channel, "with": {"text" if channel == "sms.send" else "email": "hello"}}
    file = {"campaign": "new", "sources": {"segments": ["all"]}, "steps": [{**above, "then": [step]}]}
    yield from (each.sentence for each in check(file, default_zone=ZoneInfo("UTC")).problems)


@pytest.mark.parametrize("found", ALL, ids=lambda each: f"{each.kind.value} {each.name}")
@pytest.mark.parametrize("language", ["en", "fr"])
def test_what_a_new_step_still_needs_is_asked_for_in_a_plain_sentence(found: StepType, language: str) -> None:
    required = found.properties.model_json_schema(by_alias=False).get("required", ())
    sentences = list(said_of(found))
    assert len(sentences) >= len(required)
    with speaking(Reader(language)):
        for sentence in sentences:
            plain = problem(sentence)
            assert plain != sentence
            assert plain.endswith(".")
            assert not JARGON.search(plain), plain
            assert not PROPERTY.search(plain), plain


@pytest.mark.parametrize("language", ["en", "fr"])
def test_no_field_of_a_step_is_explained_in_words_of_files(language: str) -> None:
    with speaking(Reader(language)):
        helps = {field.help for found in ALL for field in widgets(found, {}, {}, ())}
    assert [each for each in sorted(helps - KEYS) if JARGON.search(each)] == []


def test_every_plain_explanation_is_of_a_property_that_there_is() -> None:
    described = {
        " ".join(str(each.get("description", "")).split())
        for found in ALL
        for each in found.properties.model_json_schema(by_alias=False).get("properties", {}).values()
    }
    assert HELP.keys() - described == set()


def test_a_property_of_another_package_is_asked_for_by_its_name() -> None:
    assert problem("the property 'gift_card' is missing") == "Fill in “Gift card”."
    assert problem("must be a whole number, not 'x'") == "must be a whole number, not 'x'"
