"""Keys and fields as people type them."""

import re
import unicodedata

from parcours.domain.errors import CampaignError

KEY_LENGTH = 255
# Characters of a key that is made of a name.
MOST_OF_NAME = 80
# Letters that are not a letter with an accent. ß is "ss" already when case is folded.
_WHOLE_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ŋ": "n"}
)


def checked_key(what: str, key: str) -> str:
    """Return a key without blanks around it; raises CampaignError for one that cannot be a key."""
    trimmed = key.strip()
    if not trimmed:
        raise CampaignError(f"the key of a {what} cannot be blank")
    if "\0" in trimmed or len(trimmed) > KEY_LENGTH:
        raise CampaignError(f"the key of a {what} has at most {KEY_LENGTH} characters, and no NUL")
    return trimmed


def field_value(text: str) -> tuple[str, str]:
    """Return the name and the value of `NAME=VALUE`; raises CampaignError for a text of another form."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise CampaignError(f"--field {text!r} is not of the form NAME=VALUE")
    return name.strip(), value


def slug(name: str) -> str:
    """Return a key made of a name: "Série d’été 2026" is "serie-d-ete-2026"."""
    name = name.casefold().translate(_WHOLE_LETTERS)
    plain = "".join(each for each in unicodedata.normalize("NFKD", name) if not unicodedata.combining(each))
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:MOST_OF_NAME].strip("-")
