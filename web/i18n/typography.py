"""What a language has between words and signs, so that translators type plain spaces."""

from __future__ import annotations

import re

_NO_BREAK = "\N{NO-BREAK SPACE}"
_NARROW = "\N{NARROW NO-BREAK SPACE}"
# A sign that ends a word or a sentence: not the one of `https://`, of 10:30, of `!=` or of `{% if %}`.
_ENDS = r"(?=[\s)\]»”…]|$)"
_RULES = {
    "fr": (
        (re.compile(rf" (?=[;?!]+{_ENDS})"), _NARROW),
        (re.compile(rf" (?=:{_ENDS})"), _NO_BREAK),
        (re.compile(r"(?<=«) "), _NO_BREAK),
        (re.compile(r" (?=»)"), _NO_BREAK),
        (re.compile(r"(?<=[0-9}]) (?=%(?!\}))"), _NARROW),
    )
}


def spaced(language: str, text: str) -> str:
    """Return a text of a language with the spaces that no line is broken at, where it has such.

    In French, a sign of two parts and a quotation mark never stand alone at the end or the beginning of a line.
    """
    for rule, space in _RULES.get(language, ()):
        text = rule.sub(space, text)
    return text
