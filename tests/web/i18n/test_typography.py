"""French has spaces that no line is broken at; translators type plain ones."""

from __future__ import annotations

import re

import pytest

from parcours.web.i18n.language import catalogue
from parcours.web.i18n.plain_pages import notice
from parcours.web.i18n.sentences import sentences
from parcours.web.i18n.typography import spaced


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("Se désabonner ?", "Se désabonner\u202f?"),
        ("Non ! Oui ?!", "Non\u202f! Oui\u202f?!"),
        ("motif : {reason} ; fin", "motif\u00a0: {reason}\u202f; fin"),
        ("étape « {name} » : {why}", "étape «\u00a0{name}\u00a0»\u00a0: {why}"),
        ("{n} % des contacts, 5 %", "{n}\u202f% des contacts, 5\u202f%"),
        # What is no punctuation.
        ("de 10:30 à 11:00, https://example.com/?a=1", "de 10:30 à 11:00, https://example.com/?a=1"),
        ("écrivez {% unless %} ou !=, ou {% {end} %}", "écrivez {% unless %} ou !=, ou {% {end} %}"),
        ("par exemple country: FR, ni ::: ", "par exemple country: FR, ni ::: "),
        ("{{ contact.points | plus: 1 }}", "{{ contact.points | plus: 1 }}"),
        ("", ""),
    ],
)
def test_signs_do_not_stand_alone_at_the_end_of_a_line(typed: str, written: str) -> None:
    assert spaced("fr", typed) == written
    assert spaced("fr", written) == written
    assert spaced("en", typed) == typed


def test_every_french_sentence_has_them() -> None:
    said = [*catalogue("fr").values(), *sentences("fr").values(), *sentences("fr", "conditions").values()]
    assert sum("\u00a0" in each or "\u202f" in each for each in said) > 500
    assert [each for each in said if re.search(r"« | »| [:;?!](?=\s|$)|[\d}] %(?!})", each)] == []


def test_so_have_pages_for_those_who_are_no_users() -> None:
    page = bytes(notice("Se désabonner ?", "Oui : ceci.", language="fr").body).decode()
    assert "<h1>Se désabonner\u202f?</h1>" in page
    assert "<p>Oui\u00a0: ceci.</p>" in page
