"""Numbers as people's programs write them: with a decimal comma, groups of thousands, a currency."""

from __future__ import annotations

import re
from typing import Literal

Decimal = Literal[".", ","]

_PLAIN = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_CURRENCY = re.compile(
    r"[€$£¥₹₽₺]|(?<![^\W\d_])(?:EUR|USD|GBP|CHF|SEK|NOK|DKK|PLN|CZK|JPY|CAD|AUD|kr\.?|zł|Kč|Fr\.)(?![^\W\d_])|%",
    re.IGNORECASE,
)
# Programs divide thousands by these; the first three are never typed by hand.
_NARROW = "\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
_WIDE = re.compile(rf"[{_NARROW}]")
_SIGNS = "+-\N{MINUS SIGN}"
_SHAPES = {
    decimal: re.compile(rf"(?:(?P<plain>0|[1-9]\d*)|[1-9]\d{{0,2}}(?:(?P<sep>[{other} '’])\d{{3}})(?:(?P=sep)\d{{3}})*)"
                        rf"(?:{re.escape(decimal)}(?P<part>\d+))?", re.ASCII)
    for decimal, other in ((",", "."), (".", ","))
}  # fmt: skip
# Digits that a JSON number keeps; longer ones are identifiers.
_MOST_DIGITS = 15
_LONGEST = 40


def is_plain(text: str) -> bool:
    """Return whether a text is a number that conditions compare as it is."""
    return _PLAIN.fullmatch(text) is not None


def is_certain(text: str) -> bool:
    """Return whether a text is written as nothing but a number is: with a currency, a decimal part, special spaces.

    Digits in groups may be a telephone number, or an identifier.
    """
    return bool(
        _CURRENCY.search(text)
        or _WIDE.search(text)
        or any((found := _match(text, decimal)) and found["part"] is not None for decimal in (".", ","))
    )


def read(text: str, decimal: Decimal) -> int | float | None:
    """Return the number that a text is, or None. A percentage is the number before its sign."""
    found = _match(text, decimal)
    if found is None:
        return None
    digits = re.sub(r"\D", "", found[0], flags=re.ASCII)
    if len(digits) > _MOST_DIGITS:
        return None
    negative = _bare(text).startswith(("-", "\N{MINUS SIGN}"))
    if found["part"] is None:
        return -int(digits) if negative else int(digits)
    value = float(f"{digits[: -len(found['part'])]}.{found['part']}")
    return -value if negative else value


def _match(text: str, decimal: Decimal) -> re.Match[str] | None:
    if len(text) > _LONGEST:
        return None
    return _SHAPES[decimal].fullmatch(_bare(text).lstrip(_SIGNS).strip())


def _bare(text: str) -> str:
    return _CURRENCY.sub("", _WIDE.sub(" ", text)).strip()
