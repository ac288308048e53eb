"""Text messages that are commands: STOP and its like, in the languages of those who receive them."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

# Words that carriers and providers honour in English, and their like in other languages, without accents.
_STOP = frozenset(
    {
        *("stop", "stopall", "stop all", "stop sms", "unsubscribe", "cancel", "end", "quit", "optout", "opt out"),
        *("revoke", "arret", "arreter", "desabonnement", "desabonner", "me desabonner", "se desabonner"),
        *("desinscription", "desinscrire", "me desinscrire", "resilier"),
        # German, Dutch.
        *("stopp", "abmelden", "abbestellen", "afmelden"),
        # Spanish, Portuguese, Italian.
        *("baja", "alto", "cancelar", "parar", "sair", "cancella", "annulla"),
    }
)
# Only what can be no answer to anything else that we asked.
_START = frozenset(
    {
        *("start", "unstop", "subscribe", "resubscribe", "optin", "opt in", "start sms"),
        *("abonner", "reabonner", "me reabonner", "reabonnement", "reinscription", "me reinscrire"),
        # German, Dutch.
        *("anmelden", "abonnieren", "aanmelden"),
        # Spanish, Portuguese, Italian.
        *("suscribir", "subscrever", "iscriviti"),
    }
)


def command_of(text: object) -> Literal["stop", "start"] | None:
    """Return what a text message asks for, when it is nothing but that; case, accents and punctuation are forgiven."""
    if not isinstance(text, str) or len(text) > 100:
        return None
    plain = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    words = " ".join(re.findall(r"[^\W_]+", plain.casefold()))
    return "stop" if words in _STOP else "start" if words in _START else None
