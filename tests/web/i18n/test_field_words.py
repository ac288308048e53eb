"""Fields and their values are said as people say them."""

from __future__ import annotations

from typing import Any

import pytest

from parcours.web.i18n.field_words import field_name, value_text
from parcours.web.i18n.language import Reader, speaking
from parcours.web.i18n.typography import spaced

SPACE = "\N{NARROW NO-BREAK SPACE}"


@pytest.mark.parametrize(
    ("name", "english", "french"),
    [
        ("last_name", "Last name", "Nom de famille"),
        ("company.city", "City of the company", "Ville de l’entreprise"),
        ("shoe_size", "Shoe size", "Shoe size"),
        ("Date de naissance", "Date de naissance", "Date de naissance"),
        ("SKU_2", "SKU_2", "SKU_2"),
    ],
)
def test_a_field_has_a_name_for_people(name: str, english: str, french: str) -> None:
    assert field_name(name) == english
    with speaking(Reader("fr")):
        assert field_name(name) == french


@pytest.mark.parametrize(
    ("value", "name", "english", "french"),
    [
        (1250.0, "total", "1,250", f"1{SPACE}250"),
        (2400.5, "total", "2,400.5", f"2{SPACE}400,5"),
        (75001, "zipcode", "75001", "75001"),
        (True, "vip", "yes", "oui"),
        ("1988-02-03", "birthday", "3 Feb 1988", "3 févr. 1988"),
        ("2026-13-45", "birthday", "2026-13-45", "2026-13-45"),
        (
            {"first_name": "Zoé", "total": 1000},
            "",
            "First name: Zoé, Total: 1,000",
            f"Prénom : Zoé, Total : 1{SPACE}000",
        ),
        ([1, "a"], "", "1, a", "1, a"),
        (None, "", "", ""),
    ],
)
def test_a_value_is_written_as_the_language_writes_it(value: Any, name: str, english: str, french: str) -> None:
    assert value_text(value, name) == english
    with speaking(Reader("fr")):
        assert value_text(value, name) == spaced("fr", french)
