"""What an email says, and to whom which of its variants and translations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import sha256
from typing import NamedTuple

_SALT = b"parcours.variant"
# How the main version is written where variants have their names.
MAIN = ""
# The custom fields that say which language a contact reads, the first that has a value.
LOCALE_FIELDS = ("locale", "language", "preferred_locale")


@dataclass(frozen=True, slots=True)
class Content:
    """Texts in Liquid; None takes that of whatever stands below."""

    subject: str | None = None
    html: str | None = None
    text: str | None = None

    def over(self, below: Content) -> Content:
        """Return this content on top of another. One that has a body of its own takes none from below."""
        html, text = self.html, self.text
        if html is None and text is None:
            html, text = below.html, below.text
        return Content(self.subject if self.subject is not None else below.subject, html, text)


@dataclass(frozen=True, slots=True)
class Variant:
    """What `weight` percent of the contacts get in place of the main content, by locale where it is translated."""

    name: str
    weight: float
    content: Content
    translations: Mapping[str, Content] = field(default_factory=dict)


class Chosen(NamedTuple):
    """What one contact gets: the names of variant and locale, None being the main one, and the content."""

    variant: str | None
    locale: str | None
    content: Content


def choose(
    key: str,
    main: Content,
    variants: Iterable[Variant],
    translations: Mapping[str, Content],
    *,
    contact_id: int,
    language: str | None,
    version: str | None = None,
) -> Chosen:
    """Return what a contact gets of an email; always the same, so that a retry says what the first try said.

    A `version` that is settled, the name of a variant or '' for the main content, takes the place of the draw.

    The locale goes first, so that nobody gets a variant in a language that they do not read: of the
    variants, those that exist in the contact's locale take part, and the main content has the rest.
    """
    locale = best_locale(language, translations)
    if locale is not None:
        main = translations[locale].over(main)
    variants = list(variants)
    # One that there is no more is as good as none.
    is_settled = version is not None and (version == MAIN or version in {variant.name for variant in variants})
    drawn = draw(key, contact_id)
    edge = Fraction(0)
    for variant in variants:
        if locale is not None and locale not in variant.translations:
            continue
        edge += Fraction(variant.weight)
        if variant.name == version if is_settled else drawn < edge:
            content = variant.translations[locale].over(variant.content) if locale is not None else variant.content
            return Chosen(variant.name, locale, content.over(main))
    return Chosen(None, locale, main)


def draw(key: str, contact_id: int) -> Fraction:
    """Return a number from 0 up to 100, the same for an email and a contact whenever it is asked for."""
    digest = sha256(b"\0".join([_SALT, key.encode(), str(contact_id).encode()])).digest()
    return Fraction(int.from_bytes(digest[:8]) * 100, 2**64)


def best_locale(language: str | None, locales: Iterable[str]) -> str | None:
    """Return the locale that suits a reader of a language: the exact one, else one of the same language, else None.

    `pt_BR`, `pt-br` and `pt-BR` are the same. Where several regions have the language, the one without a
    region goes first, then the order given.
    """
    if not language:
        return None
    wanted = _normal(language)
    known = {_normal(locale): locale for locale in locales}
    if wanted in known:
        return known[wanted]
    tongue = wanted.split("-")[0]
    if tongue in known:
        return known[tongue]
    return next((locale for normal, locale in known.items() if normal.split("-")[0] == tongue), None)


def _normal(locale: str) -> str:
    return locale.strip().replace("_", "-").lower()
