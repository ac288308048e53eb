"""What a cell says about not being written to."""

from __future__ import annotations

from typing import Any

from parcours.producers.files.headers import folded

_YES = frozenset(
    folded(word)
    for word in [
        "1",
        "true",
        "yes",
        "y",
        "t",
        "x",
        "on",
        "oui",
        "o",
        "ja",
        "j",
        "si",
        "sì",
        "wahr",
        "vrai",
        "verdadero",
    ]
)
_NO = frozenset(
    folded(word)
    for word in [
        "0",
        "false",
        "no",
        "n",
        "f",
        "off",
        "non",
        "nein",
        "falsch",
        "faux",
        "null",
        "none",
        "na",
        "never",
        "nie",
        "jamais",
    ]
)
_DASHES = frozenset(("", "-", "\N{EN DASH}", "\N{EM DASH}"))
# Words of the status of a subscriber; the text may have more around them.
_GONE = frozenset(
    folded(word)
    for word in [
        "unsubscribed",
        "unsubscribe",
        "optout",
        "opted-out",
        "opt_out",
        "bounced",
        "bounce",
        "hardbounced",
        "hardbounce",
        "cleaned",
        "complained",
        "complaint",
        "spam",
        "suppressed",
        "neversubscribed",
        "blocklisted",
        "blacklisted",
        "blocked",
        "removed",
        "donotcontact",
        "donotemail",
        "désinscrit",
        "désinscrite",
        "désabonné",
        "désabonnée",
        "abgemeldet",
        "gesperrt",
        "archived",
        "nonsubscribed",
        "notsubscribed",
    ]
)

# Words of the status of somebody who may be written to.
_STAYS = frozenset(
    folded(word)
    for word in [
        "subscribed",
        "active",
        "confirmed",
        "opted-in",
        "optin",
        "inscrit",
        "inscrite",
        "abonné",
        "abonnée",
        "actif",
        "angemeldet",
        "aktiv",
        "bestätigt",
    ]
)


def refuses(value: Any, *, on_no: bool) -> bool:
    """Return whether a cell says that somebody must not be written to.

    What is neither yes nor no refuses in a column that is about refusing (it may be the date, or the reason), and
    does not in one that is about consenting.
    """
    if isinstance(value, list | dict):
        return bool(value) and not on_no
    text = "" if value is None else str(value).strip()
    if on_no:
        # Blank says nothing.
        return bool(text) and (_is_no(text) or folded(text) in _GONE)
    return not _is_no(text) and folded(text) not in _STAYS


def is_plain(value: Any) -> bool:
    """Return whether a cell says yes or no, and nothing else."""
    text = "" if value is None else str(value).strip()
    return _is_no(text) or folded(text) in _YES or not folded(text)


def _is_no(text: str) -> bool:
    # A date of nothing but zeros is none. A mark such as a tick has no letters and is a yes, a dash is a no.
    word = folded(text)
    return word in _NO if word.strip("0") else bool(word) or text in _DASHES


def is_gone(value: Any) -> bool:
    """Return whether the status of a subscriber is one that must not be written to."""
    return isinstance(value, str) and folded(value) in _GONE
