"""What a person may say about a file, where the file does not say it by itself."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from parcours.domain.errors import CampaignError

Order = Literal["DMY", "MDY", "YMD"]

_DELIMITERS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


@dataclass(frozen=True, slots=True)
class Options:
    """How to read a file; what is None or empty is worked out from the file."""

    # Name of a column to what it is: an attribute of a contact, the name of a field, or "ignore".
    columns: dict[str, str] = field(default_factory=dict)
    # Columns that say who must not be written to, as they were given: COLUMN or COLUMN=CHANNEL.
    refusals: tuple[str, ...] = ()
    # The names of the columns of a file without a header.
    header: tuple[str, ...] = ()
    encoding: str | None = None
    delimiter: str | None = None
    dates: Order | None = None
    decimal: Literal[".", ","] | None = None


def parse(
    *,
    columns: Sequence[str] = (),
    refusals: Sequence[str] = (),
    header: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    dates: str | None = None,
    decimal: str | None = None,
) -> Options:
    """Return the options from what was typed; raises CampaignError with what to type instead."""
    return Options(
        columns=dict(_mapped(each) for each in columns),
        refusals=tuple(refusals),
        header=tuple(name.strip() for name in header.split(",")) if header else (),
        encoding=None if encoding is None else _encoding(encoding),
        delimiter=None if delimiter is None else _delimiter(delimiter),
        dates=None if dates is None else _order(dates),
        decimal=None if decimal is None else _decimal(decimal),
    )


def _mapped(text: str) -> tuple[str, str]:
    column, sign, target = text.rpartition("=")
    if not sign or not column.strip() or not target.strip():
        raise CampaignError(f'--map {text!r} is not of the form COLUMN=NAME; write it like --map "Email Address=email"')
    return column.strip(), target.strip()


def _encoding(name: str) -> str:
    try:
        found = codecs.lookup(name.strip())
        # Some codecs do not make text of bytes, such as base64.
        text = b"".decode(found.name)
    except (LookupError, ValueError):
        text = None
    if not isinstance(text, str):
        raise CampaignError(f"--encoding {name!r} is not known; common ones are utf-8, cp1252 (Excel), utf-16, latin1")
    return found.name


def _delimiter(text: str) -> str:
    sign = _DELIMITERS.get(text.strip().lower(), text)
    if len(sign) != 1 or sign in '"\r\n\0' or sign.isalnum():
        raise CampaignError(
            f'--delimiter {text!r} is not a single character; write it like --delimiter ";" or --delimiter tab'
        )
    return sign


def _order(text: str) -> Order:
    letters = [sign for sign in text.upper() if sign.isalpha()]
    # French and German people write JJ/MM/AAAA and TT.MM.JJJJ.
    named = {"D": "D", "M": "M", "Y": "Y", "T": "D", "A": "Y"}
    order = "".join(dict.fromkeys(named.get(sign, sign) for sign in letters))
    if letters.count("J") == 2 and "A" in letters:
        order = order.replace("J", "D")
    elif "T" in letters:
        order = order.replace("J", "Y")
    match order:
        case "DMY" | "MDY" | "YMD":
            return order
    raise CampaignError(f"--dates {text!r} is not known; write DD/MM/YYYY, MM/DD/YYYY or YYYY-MM-DD")


def _decimal(text: str) -> Literal[".", ","]:
    match text.strip().lower():
        case "." | "point" | "dot":
            return "."
        case "," | "comma":
            return ","
    raise CampaignError(f'--decimal {text!r} is not known; write --decimal "," or --decimal "."')
