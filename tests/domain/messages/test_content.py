"""Who gets which variant and translation of an email."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parcours.domain.messages.content import Chosen, Content, Variant, best_locale, choose

MAIN = Content("subject", "html", "text")
FRENCH = Content("sujet", None, "texte")


def chosen(contact_id: int, language: str | None = None, *variants: Variant) -> Chosen:
    return choose("hello", MAIN, variants, {"fr": FRENCH}, contact_id=contact_id, language=language)


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("fr", "fr"),
        ("FR", "fr"),
        ("fr-CA", "fr-CA"),
        ("fr_CA", "fr-CA"),
        ("fr-BE", "fr"),
        ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("de", None),
        ("", None),
        (None, None),
    ],
)
def test_the_exact_locale_then_the_language_then_the_default(language: str | None, expected: str | None) -> None:
    assert best_locale(language, ["fr", "fr-CA", "pt-BR"]) == expected


def test_a_translation_says_what_it_says_and_takes_the_rest_from_the_main_one() -> None:
    assert chosen(1, "fr") == Chosen(None, "fr", FRENCH)
    subject_only = choose("hello", MAIN, (), {"fr": Content("sujet")}, contact_id=1, language="fr")
    assert subject_only.content == Content("sujet", "html", "text")


@given(st.integers(1, 10**9), st.floats(0.1, 100))
def test_a_contact_gets_the_same_variant_whenever_it_is_asked(contact_id: int, weight: float) -> None:
    variant = Variant("b", weight, Content("other"))
    assert chosen(contact_id, None, variant) == chosen(contact_id, None, variant)


@given(st.integers(1, 10**9), st.floats(0.1, 99), st.floats(0, 1))
def test_who_has_a_variant_keeps_it_when_its_weight_grows(contact_id: int, weight: float, more: float) -> None:
    small, large = (Variant("b", each, Content("other")) for each in (weight, weight + more))
    if chosen(contact_id, None, small).variant == "b":
        assert chosen(contact_id, None, large).variant == "b"


def test_weights_are_shares_and_the_main_one_has_the_rest() -> None:
    variants = (Variant("b", 20, Content("b")), Variant("c", 30, Content("c")))
    drawn = Counter(chosen(contact_id, None, *variants).variant for contact_id in range(10_000))
    assert drawn[None] == pytest.approx(5000, abs=250)
    assert drawn["b"] == pytest.approx(2000, abs=200)
    assert drawn["c"] == pytest.approx(3000, abs=230)


def test_nobody_gets_a_variant_in_a_language_that_they_do_not_read() -> None:
    untranslated, translated = Variant("b", 100, Content("b")), Variant("b", 100, Content("b"), {"fr": Content("b!")})
    assert chosen(1, "fr", untranslated) == Chosen(None, "fr", FRENCH)
    assert chosen(1, "fr", translated) == Chosen("b", "fr", Content("b!", None, "texte"))
